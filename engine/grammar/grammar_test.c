#include "grammar.h"

#include <stdlib.h>

#include "byte_tokenizer.h"
#include "unit_test.h"

/* The texts that grammars have are compared with Python's re and jsonschema in tests/parity/test_grammar.py. Here: masks against
 * trying every token, the notation, limits, and the cache. */

static const char *const words[] = {
    "ab",  "abc",      "\"}",    "\",",   "\": ",  "{\"",  "\"a\"", "\"a\":", "12",   "123",
    "}}",  "]}",       "},{",    "true",  "false", "null", "  ",    "\n  ",   "\\\"", "xx",
    "xxx", "\xC3\xA9", "\xA9\"", "a\"",   "1,",    "1}",   "1]",    "+1",     ")+(",  "call{",
    "all", "l{1",      "}c",     "\\u00", "é\"}",  "-",    ", \"",  ",\n\"",  "[[",   "]]",
};
enum { WORDS = sizeof words / sizeof words[0] };

static const struct grammar_limits limits = {.states_max = 50000,
                                             .compile_timeout_ns = 5000000000ull,
                                             .memory_bytes_max = 64u << 20,
                                             .mask_bytes_max = 1u << 20,
                                             .depth_max = 64};

struct fixture {
    tokenizer *tokens;
    grammar_vocabulary *vocabulary;
    uint32_t mask_words;
    int32_t end;
};

static struct fixture fixture_create(void)
{
    struct fixture f;
    struct text_slice texts[WORDS];
    for (uint32_t i = 0; i < WORDS; i++)
        texts[i] = text_slice_of(words[i]);
    f.tokens = byte_tokenizer_create(texts, WORDS);
    f.end = (int32_t)byte_tokenizer_end(WORDS);
    assert_int_equal(
        grammar_vocabulary_create(f.tokens, (uint32_t)f.end + 1, &f.end, 1, &f.vocabulary),
        STATUS_OK);
    f.mask_words = grammar_mask_words(f.vocabulary);
    return f;
}

static void fixture_destroy(struct fixture *f)
{
    grammar_vocabulary_destroy(f->vocabulary);
    tokenizer_destroy(f->tokens);
}

static status compile(const struct fixture *f, struct grammar_source source, grammar **out,
                      struct error_note *note)
{
    return grammar_compile(&source, f->vocabulary, &limits, out, note);
}

static struct grammar_source source_of(enum grammar_kind kind, const char *text)
{
    return (struct grammar_source){.kind = kind, .text = text_slice_of(text)};
}

struct run {
    arena *memory;
    grammar_matcher *matcher;
};

/* A matcher that has taken these tokens; false: one of them was not allowed. */
static bool run_start(struct run *r, grammar *g, const int32_t *tokens, uint32_t count)
{
    assert_int_equal(arena_create(64u << 20, &r->memory), STATUS_OK);
    assert_int_equal(grammar_matcher_create(g, r->memory, &r->matcher), STATUS_OK);
    for (uint32_t i = 0; i < count; i++) {
        if (grammar_matcher_accept(r->matcher, tokens[i]) != STATUS_OK)
            return false;
    }
    return true;
}

static void run_end(struct run *r)
{
    arena_destroy(r->memory);
}

static bool has(const uint32_t *mask, int32_t token)
{
    return (mask[token / 32] >> (token % 32) & 1) != 0;
}

struct subject {
    enum grammar_kind kind;
    const char *text, *trigger;
};

static const struct subject subjects[] = {
    {GRAMMAR_REGEX, "(ab|abc|x{2,4})*[0-9]{1,3}", NULL},
    {GRAMMAR_REGEX, "(.*a){3}", NULL},
    {GRAMMAR_JSON_OBJECT, "", NULL},
    {GRAMMAR_EBNF, "root ::= e\ne ::= e \"+\" t | t\nt ::= [0-9] | \"(\" e \")\"", NULL},
    {GRAMMAR_EBNF, "root ::= \"x\" root | [a-c] root? | \"\\\"\"", NULL},
    {GRAMMAR_EBNF, "root ::= a b\na ::= \"\" | \"a\" a\nb ::= a \"b\" | \"{\" b \"}\"", NULL},
    {GRAMMAR_EBNF, "root ::= [0-9] \"}\"", "call{"},
    {GRAMMAR_JSON_SCHEMA,
     "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"abc\":{\"type\":"
     "\"string\","
     "\"maxLength\":3},\"x\":{\"type\":\"array\",\"items\":{\"$ref\":\"#\"}}},\"required\":["
     "\"abc\"],"
     "\"additionalProperties\":{\"type\":\"boolean\"}}",
     NULL},
    {GRAMMAR_JSON_SCHEMA, "{\"type\":\"string\",\"pattern\":\"^[a\\\"\\u00e9]+$\"}", NULL},
};

static grammar *compile_subject(const struct fixture *f, const struct subject *subject)
{
    struct grammar_source source = source_of(subject->kind, subject->text);
    struct text_slice trigger = text_slice_of(subject->trigger);
    source.triggers = &trigger;
    source.trigger_count = subject->trigger != NULL;
    grammar *g = NULL;
    struct error_note note = {""};
    assert_int_equal(compile(f, source, &g, &note), STATUS_OK);
    return g;
}

/* Compares the mask after `tokens` with taking each token in turn; returns one that is allowed, -1: only the end is. */
static int32_t check_mask(const struct fixture *f, grammar *g, const int32_t *tokens,
                          uint32_t count, uint32_t *mask, uint64_t pick)
{
    struct run r;
    int32_t allowed[512];
    uint32_t allowed_count = 0;
    assert_true(run_start(&r, g, tokens, count));
    assert_int_equal(grammar_matcher_fill(r.matcher, mask), STATUS_OK);
    bool is_complete = grammar_matcher_is_complete(r.matcher);
    bool is_finished = grammar_matcher_is_finished(r.matcher);
    run_end(&r);
    assert_int_equal(has(mask, f->end), is_complete);
    for (int32_t token = 0; token < f->end; token++) {
        struct run other;
        assert_true(run_start(&other, g, tokens, count));
        bool is_taken = grammar_matcher_accept(other.matcher, token) == STATUS_OK;
        run_end(&other);
        assert_int_equal(has(mask, token), is_taken);
        if (is_taken)
            allowed[allowed_count++] = token;
    }
    assert_int_equal(is_finished, is_complete && allowed_count == 0);
    return allowed_count > 0 ? allowed[pick % allowed_count] : -1;
}

static void a_mask_has_just_the_tokens_that_can_be_taken(void **state)
{
    (void)state;
    struct fixture f = fixture_create();
    uint32_t *mask = calloc(f.mask_words, sizeof *mask);
    uint64_t random = 1;
    for (size_t s = 0; s < sizeof subjects / sizeof subjects[0]; s++) {
        grammar *g = compile_subject(&f, &subjects[s]);
        for (uint32_t walk = 0; walk < 6; walk++) {
            int32_t tokens[24];
            for (uint32_t count = 0; count < 24; count++) {
                random = random * 6364136223846793005ull + 1442695040888963407ull;
                int32_t next = check_mask(&f, g, tokens, count, mask, random >> 33);
                if (next < 0)
                    break;
                tokens[count] = next;
            }
        }
        grammar_release(g);
    }
    free(mask);
    fixture_destroy(&f);
}

static bool accepts(const struct fixture *f, grammar *g, const char *text)
{
    struct run r;
    bool is_good = run_start(&r, g, NULL, 0);
    for (; is_good && *text != '\0'; text++)
        is_good = grammar_matcher_accept(r.matcher, (uint8_t)*text) == STATUS_OK;
    is_good = is_good && grammar_matcher_is_complete(r.matcher);
    run_end(&r);
    (void)f;
    return is_good;
}

static void expect_texts(struct grammar_source source, const char *const *good,
                         const char *const *bad)
{
    struct fixture f = fixture_create();
    grammar *g = NULL;
    struct error_note note = {""};
    status s = compile(&f, source, &g, &note);
    if (s != STATUS_OK)
        fail_msg("%s", note.text);
    for (; *good != NULL; good++) {
        if (!accepts(&f, g, *good))
            fail_msg("not accepted: %s", *good);
    }
    for (; *bad != NULL; bad++) {
        if (accepts(&f, g, *bad))
            fail_msg("accepted: %s", *bad);
    }
    grammar_release(g);
    fixture_destroy(&f);
}

static void rules_may_come_back_to_themselves_from_either_side(void **state)
{
    (void)state;
    expect_texts(source_of(GRAMMAR_EBNF, "root ::= sum # a comment\n"
                                         "sum ::= sum [+-] product |\n  product\n"
                                         "product ::= product \"*\" atom | atom\n"
                                         "atom ::= [0-9]{1,2} | '(' sum ')'"),
                 (const char *const[]){"1", "1+2*3", "(1-2)*33", "((((5))))", NULL},
                 (const char *const[]){"", "1+", "123", "(1", "1)", NULL});
    expect_texts(
        source_of(GRAMMAR_EBNF, "root ::= a | \"\"\na ::= b root \"y\"\nb ::= \"\" | \"x\""),
        (const char *const[]){"", "y", "xy", "xyy", "xxyy", NULL},
        (const char *const[]){"x", "xyx", "yx", NULL});
}

static void a_grammar_embeds_schemas_and_patterns(void **state)
{
    (void)state;
    expect_texts(source_of(GRAMMAR_EBNF,
                           "root ::= \"<\" %json{\"enum\": [\"}\", 7]} \">\" %regex{[}]x{2}\\}}"),
                 (const char *const[]){"<\"}\">}xx}", "<7>}xx}", NULL},
                 (const char *const[]){"<8>}xx}", "<7>", "<7>}x}", NULL});
}

static void a_trigger_ends_free_text(void **state)
{
    (void)state;
    struct grammar_source source = source_of(GRAMMAR_EBNF, "root ::= [0-9]+ \"}\"");
    struct text_slice triggers[] = {text_slice_of("call{"), text_slice_of("<<")};
    source.triggers = triggers;
    source.trigger_count = 2;
    expect_texts(source,
                 (const char *const[]){"", "free", "cal", "cacall{12}", "<<1} and call{2}<",
                                       "\xC3 broken", NULL},
                 (const char *const[]){"call{", "call{}", "<<x", "call{1} <<", NULL});
}

static void anchors_stand_wherever_they_like(void **state)
{
    (void)state;
    expect_texts(source_of(GRAMMAR_JSON_SCHEMA,
                           "{\"type\":\"string\",\"pattern\":\"(^|,)a(,|$)\",\"maxLength\":4}"),
                 (const char *const[]){"\"a\"", "\"a,b\"", "\"b,a\"", "\"x,a,\"", NULL},
                 (const char *const[]){"\"ab\"", "\"ba\"", "\"bab\"", "\"x,a,b\"", NULL});
}

struct refusal {
    enum grammar_kind kind;
    const char *text;
    status expected;
    const char *word; /* in the note */
};

static const struct refusal refusals[] = {
    {GRAMMAR_REGEX, "(a", STATUS_INVALID, "')'"},
    {GRAMMAR_REGEX, "a)", STATUS_INVALID, "'('"},
    {GRAMMAR_REGEX, "*", STATUS_INVALID, "repeat"},
    {GRAMMAR_REGEX, "(a)\\1", STATUS_UNSUPPORTED, "back reference"},
    {GRAMMAR_REGEX, "(?=a)", STATUS_UNSUPPORTED, "look-around"},
    {GRAMMAR_REGEX, "a{1000000000}", STATUS_TOO_LARGE, "too large"},
    {GRAMMAR_REGEX, "((a{1000}){1000}){1000}", STATUS_TOO_LARGE, "too large"},
    {GRAMMAR_REGEX, "[^\\s\\S]", STATUS_INVALID, "no text"},
    {GRAMMAR_EBNF, "root ::= a", STATUS_INVALID, "'a'"},
    {GRAMMAR_EBNF, "a ::= \"b\"", STATUS_INVALID, "'root'"},
    {GRAMMAR_EBNF, "root ::= root", STATUS_INVALID, "no text"},
    {GRAMMAR_EBNF, "root ::= \"a\"\nroot ::= \"b\"", STATUS_INVALID, "twice"},
    {GRAMMAR_EBNF, "root ::= \"a", STATUS_INVALID, "line 1"},
    {GRAMMAR_JSON_SCHEMA,
     "{\"type\":\"object\",\"properties\":{\"a\":{\"unevaluatedItems\":{\"type\":\"null\"}}}}",
     STATUS_UNSUPPORTED, "'/properties/a': 'unevaluatedItems'"},
    {GRAMMAR_JSON_SCHEMA, "{\"minLength\":-1}", STATUS_INVALID, "minLength"},
    {GRAMMAR_JSON_SCHEMA, "{\"type\":\"sting\"}", STATUS_INVALID, "'type'"},
    {GRAMMAR_JSON_SCHEMA, "{\"$ref\":\"#/$defs/a\"}", STATUS_INVALID, "$ref"},
    {GRAMMAR_JSON_SCHEMA, "{\"$ref\":\"http://example.com/a\"}", STATUS_UNSUPPORTED, "$ref"},
    {GRAMMAR_JSON_SCHEMA, "{\"$ref\":\"#/$defs/a\",\"$defs\":{\"a\":{\"$ref\":\"#/$defs/a\"}}}",
     STATUS_INVALID, "circle"},
    {GRAMMAR_JSON_SCHEMA,
     "{\"type\":\"object\",\"required\":[\"a\"],\"properties\":{\"a\":{\"$ref\":\"#\"}}}",
     STATUS_INVALID, "no text"},
    {GRAMMAR_JSON_SCHEMA, "{\"oneOf\":[{\"type\":\"string\"},{\"type\":\"string\"}]}",
     STATUS_INVALID, "no text"},
    {GRAMMAR_JSON_SCHEMA,
     "{\"type\":\"integer\",\"oneOf\":[{\"multipleOf\":2},{\"multipleOf\":3}]}", STATUS_UNSUPPORTED,
     "'/oneOf/0': 'multipleOf'"},
    {GRAMMAR_JSON_SCHEMA,
     "{\"type\":\"array\",\"items\":{\"type\":\"object\"},\"minItems\":2,\"uniqueItems\":true}",
     STATUS_UNSUPPORTED, "'uniqueItems'"},
    {GRAMMAR_JSON_SCHEMA, "{\"not\":{}}", STATUS_INVALID, "no text"},
    {GRAMMAR_JSON_SCHEMA, "{\"not\":{\"$ref\":\"#\"}}", STATUS_INVALID, "no text"},
    {GRAMMAR_JSON_SCHEMA, "{\"not\":3}", STATUS_INVALID, "'not' must be a schema"},
    {GRAMMAR_JSON_SCHEMA, "{\"dependentRequired\":{\"a\":\"b\"}}", STATUS_INVALID,
     "arrays of strings"},
    {GRAMMAR_JSON_SCHEMA, "{\"contains\":{},\"minContains\":1e9}", STATUS_TOO_LARGE, "minContains"},
    {GRAMMAR_JSON_SCHEMA, "{\"type\":\"integer\",\"minimum\":5,\"maximum\":4}", STATUS_INVALID,
     "no text"},
    {GRAMMAR_JSON_SCHEMA, "{\"type\":\"string\",\"maxLength\":2000000000,\"minLength\":1}",
     STATUS_TOO_LARGE, "too large"},
    {GRAMMAR_JSON_SCHEMA, "[]", STATUS_INVALID, "neither"},
    {GRAMMAR_JSON_SCHEMA, "{", STATUS_INVALID, "JSON"},
};

static void what_cannot_be_kept_is_refused_by_name(void **state)
{
    (void)state;
    struct fixture f = fixture_create();
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        grammar *g = NULL;
        struct error_note note = {""};
        status s = compile(&f, source_of(refusals[i].kind, refusals[i].text), &g, &note);
        if (s != refusals[i].expected || strstr(note.text, refusals[i].word) == NULL)
            fail_msg("%s: %s, %s", refusals[i].text, status_name(s), note.text);
    }
    fixture_destroy(&f);
}

/* Schemas whose choices multiply: each compiles, or is too large, within the limits. */
static void choices_that_multiply_end_within_the_limits(void **state)
{
    (void)state;
    struct fixture f = fixture_create();
    static char text[1u << 16];
    static const char *const parts[][3] = {
        {"{\"oneOf\":[", "{\"minimum\":%u,\"maxLength\":%u,\"minItems\":%u}", "]}"},
        {"{\"allOf\":[",
         "{\"if\":{\"properties\":{\"p%u\":{\"const\":%u}}},\"then\":{\"required\":[\"q%u\"]}}",
         "]}"},
        {"{\"type\":\"object\",\"allOf\":[", "{\"dependentRequired\":{\"p%u\":[\"q%u\",\"r%u\"]}}",
         "]}"},
        {"{\"allOf\":[", "{\"not\":{\"required\":[\"p%u\",\"q%u\",\"r%u\"]}}", "]}"},
        {"{\"type\":\"array\",\"allOf\":[", "{\"contains\":{\"minimum\":%u},\"maxItems\":1%u%u}",
         "]}"},
        {"{\"type\":\"array\",\"uniqueItems\":true,\"minItems\":30,\"items\":{\"enum\":[",
         "\"%u-%u-%u\"", "]}}"},
    };
    const struct grammar_limits small = {.states_max = 20000,
                                         .compile_timeout_ns = 500000000ull,
                                         .memory_bytes_max = 32u << 20,
                                         .mask_bytes_max = 1u << 20,
                                         .depth_max = 64};
    for (size_t p = 0; p < sizeof parts / sizeof parts[0]; p++) {
        size_t used = (size_t)snprintf(text, sizeof text, "%s", parts[p][0]);
        for (unsigned i = 0; i < 40; i++) {
            used += (size_t)snprintf(text + used, sizeof text - used, "%s", i > 0 ? "," : "");
            /* Every part has three numbers. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            used += (size_t)snprintf(text + used, sizeof text - used, parts[p][1], i, i, i);
#pragma GCC diagnostic pop
        }
        (void)snprintf(text + used, sizeof text - used, "%s", parts[p][2]);
        grammar *g = NULL;
        struct error_note note = {""};
        struct grammar_source source = source_of(GRAMMAR_JSON_SCHEMA, text);
        status s = grammar_compile(&source, f.vocabulary, &small, &g, &note);
        if (s != STATUS_OK && s != STATUS_TOO_LARGE)
            fail_msg("%s: %s", parts[p][1], note.text);
        grammar_release(g);
    }
    fixture_destroy(&f);
}

static void masks_learnt_ahead_are_those_met_later(void **state)
{
    (void)state;
    struct fixture f = fixture_create();
    uint32_t *ahead = calloc(f.mask_words, sizeof *ahead);
    uint32_t *met = calloc(f.mask_words, sizeof *met);
    struct grammar_limits learns = limits;
    learns.learn_time_ns = 60000000000ull;
    for (size_t s = 0; s < sizeof subjects / sizeof subjects[0]; s++) {
        grammar *early = NULL;
        grammar *late = compile_subject(&f, &subjects[s]);
        struct grammar_source source = source_of(subjects[s].kind, subjects[s].text);
        struct text_slice trigger = text_slice_of(subjects[s].trigger);
        source.triggers = &trigger;
        source.trigger_count = subjects[s].trigger != NULL;
        assert_int_equal(grammar_compile(&source, f.vocabulary, &learns, &early, NULL), STATUS_OK);
        int32_t tokens[24];
        for (uint32_t count = 0; count < 24; count++) {
            int32_t next = check_mask(&f, early, tokens, count, ahead, count * 7);
            assert_int_equal(check_mask(&f, late, tokens, count, met, count * 7), next);
            assert_memory_equal(ahead, met, f.mask_words * sizeof *met);
            if (next < 0)
                break;
            tokens[count] = next;
        }
        grammar_release(early);
        grammar_release(late);
    }
    free(ahead);
    free(met);
    fixture_destroy(&f);
}

static void nesting_has_an_end_that_can_still_be_closed(void **state)
{
    (void)state;
    struct fixture f = fixture_create();
    grammar *g = NULL;
    struct run r;
    uint32_t *mask = calloc(f.mask_words, sizeof *mask);
    assert_int_equal(compile(&f, source_of(GRAMMAR_JSON_SCHEMA, "{}"), &g, NULL), STATUS_OK);
    assert_true(run_start(&r, g, NULL, 0));
    uint32_t depth = 0;
    for (; depth < 100000; depth++) {
        assert_int_equal(grammar_matcher_fill(r.matcher, mask), STATUS_OK);
        if (!has(mask, '['))
            break;
        assert_int_equal(grammar_matcher_accept(r.matcher, '['), STATUS_OK);
    }
    assert_in_range(depth, limits.depth_max, 99999);
    for (; depth > 0; depth--)
        assert_int_equal(grammar_matcher_accept(r.matcher, ']'), STATUS_OK);
    assert_true(grammar_matcher_is_finished(r.matcher));
    run_end(&r);
    grammar_release(g);
    free(mask);
    fixture_destroy(&f);
}

static void long_lists_take_no_more_memory_than_short_ones(void **state)
{
    (void)state;
    struct fixture f = fixture_create();
    grammar *g = NULL;
    struct run r;
    assert_int_equal(
        compile(&f, source_of(GRAMMAR_EBNF, "root ::= a | b\na ::= \"x\" b\nb ::= \"x\" a | \"y\""),
                &g, NULL),
        STATUS_OK);
    assert_true(run_start(&r, g, NULL, 0));
    for (uint32_t i = 0; i < 20000; i++)
        assert_int_equal(grammar_matcher_accept(r.matcher, 'x'), STATUS_OK);
    assert_int_equal(grammar_matcher_accept(r.matcher, 'y'), STATUS_OK);
    assert_true(grammar_matcher_is_finished(r.matcher));
    run_end(&r);
    grammar_release(g);
    fixture_destroy(&f);
}

static void equal_sources_share_a_grammar_until_it_is_dropped(void **state)
{
    (void)state;
    struct fixture f = fixture_create();
    grammar_cache *cache;
    grammar *first = NULL;
    grammar *second = NULL;
    struct grammar_source source = source_of(GRAMMAR_REGEX, "a+");
    assert_int_equal(grammar_cache_create(f.vocabulary, &limits, 1u << 20, &cache), STATUS_OK);
    assert_int_equal(grammar_cache_get(cache, &source, &first, NULL), STATUS_OK);
    assert_int_equal(grammar_cache_get(cache, &source, &second, NULL), STATUS_OK);
    assert_ptr_equal(first, second);
    grammar_release(second);
    for (uint32_t i = 0; i < 1000; i++) {
        char text[32];
        (void)snprintf(text, sizeof text, "b{%u}", i);
        struct grammar_source other = source_of(GRAMMAR_REGEX, text);
        assert_int_equal(grammar_cache_get(cache, &other, &second, NULL), STATUS_OK);
        grammar_release(second);
    }
    assert_int_equal(grammar_cache_get(cache, &source, &second, NULL), STATUS_OK);
    assert_ptr_not_equal(first, second);
    assert_true(accepts(&f, first, "aa")); /* in use, it outlives its place */
    grammar_release(first);
    grammar_release(second);
    struct error_note note = {""};
    source.text = text_slice_of("(");
    for (uint32_t i = 0; i < 2; i++) {
        note.text[0] = '\0';
        assert_int_equal(grammar_cache_get(cache, &source, &first, &note), STATUS_INVALID);
        assert_non_null(strstr(note.text, "')'"));
    }
    grammar_cache_destroy(cache);
    fixture_destroy(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mask_has_just_the_tokens_that_can_be_taken),
        cmocka_unit_test(rules_may_come_back_to_themselves_from_either_side),
        cmocka_unit_test(a_grammar_embeds_schemas_and_patterns),
        cmocka_unit_test(a_trigger_ends_free_text),
        cmocka_unit_test(anchors_stand_wherever_they_like),
        cmocka_unit_test(what_cannot_be_kept_is_refused_by_name),
        cmocka_unit_test(choices_that_multiply_end_within_the_limits),
        cmocka_unit_test(masks_learnt_ahead_are_those_met_later),
        cmocka_unit_test(nesting_has_an_end_that_can_still_be_closed),
        cmocka_unit_test(long_lists_take_no_more_memory_than_short_ones),
        cmocka_unit_test(equal_sources_share_a_grammar_until_it_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
