#include "byte_tokenizer.h"
#include "grammar.h"

/* The first byte chooses the language, the second how the walk goes, the rest is the source. Whatever comes, there is a
 * grammar or a note that says why not, within the limits; and of a grammar every mask has a token, each token that is in it can
 * be taken, and some that are not cannot. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

#define STEPS_MAX 24u

static const struct grammar_limits limits = {
    .states_max = 3000, .memory_bytes_max = 16u << 20, .mask_bytes_max = 1u << 16, .depth_max = 32};

static const char *const words[] = {"\"}", "\": ", "{\"",  "ab",      "12",
                                    "},{", "  ",   "true", "\xC3\xA9"};
enum { WORDS = sizeof words / sizeof words[0] };

struct fixture {
    grammar_vocabulary *vocabulary;
    uint32_t *mask; /* of grammar_mask_words */
    int32_t end;
};

static const struct fixture *fixture_get(void)
{
    static struct fixture f;
    static uint32_t mask[64];
    if (f.vocabulary != NULL)
        return &f;
    struct text_slice texts[WORDS];
    for (uint32_t i = 0; i < WORDS; i++)
        texts[i] = text_slice_of(words[i]);
    tokenizer *t = byte_tokenizer_create(texts, WORDS);
    f.end = (int32_t)byte_tokenizer_end(WORDS);
    f.mask = mask;
    status s = grammar_vocabulary_create(t, (uint32_t)f.end + 1, &f.end, 1, &f.vocabulary);
    CHECK(s == STATUS_OK && grammar_mask_words(f.vocabulary) <= ARRAY_COUNT(mask));
    return &f;
}

static bool has(const uint32_t *mask, int32_t token)
{
    return (mask[token / 32] >> (token % 32) & 1) != 0;
}

/* The `pick`-th token that is allowed, the end left out; -1: only the end is. */
static int32_t choose(const struct fixture *f, uint32_t pick)
{
    uint32_t count = 0;
    for (int32_t token = 0; token < f->end; token++)
        count += has(f->mask, token);
    if (count == 0)
        return -1;
    pick %= count;
    for (int32_t token = 0;; token++) {
        if (has(f->mask, token) && pick-- == 0)
            return token;
    }
}

static void walk(const struct fixture *f, grammar *g, uint32_t seed)
{
    arena *memory;
    grammar_matcher *m;
    CHECK(arena_create(8u << 20, &memory) == STATUS_OK);
    CHECK(grammar_matcher_create(g, memory, &m) == STATUS_OK);
    for (uint32_t i = 0; i < STEPS_MAX; i++) {
        status s = grammar_matcher_fill(m, f->mask);
        CHECK(s == STATUS_OK || s == STATUS_TOO_LARGE);
        if (s != STATUS_OK)
            break;
        CHECK(has(f->mask, f->end) == grammar_matcher_is_complete(m));
        seed = seed * 1664525u + 1013904223u;
        int32_t other = (int32_t)(seed >> 8) % f->end;
        if (!has(f->mask, other))
            CHECK(grammar_matcher_accept(m, other) != STATUS_OK);
        int32_t token = choose(f, seed >> 16);
        CHECK((token < 0) == grammar_matcher_is_finished(m));
        if (token < 0)
            break;
        s = grammar_matcher_accept(m, token);
        CHECK(s == STATUS_OK || s == STATUS_TOO_LARGE);
        if (s != STATUS_OK)
            break;
    }
    arena_destroy(memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const char kinds[] = "osrce";
    const struct fixture *f = fixture_get();
    if (bytes < 2)
        return 0;
    const char *kind = strchr(kinds, data[0]);
    struct text_slice text = {(const char *)data + 2, bytes - 2};
    struct text_slice trigger = {text.data, text.bytes < 3 ? text.bytes : 3};
    struct grammar_source source = {
        .kind = kind != NULL && *kind != '\0' ? (enum grammar_kind)(kind - kinds) : GRAMMAR_EBNF,
        .text = text,
        .choices = &trigger,
        .choice_count = 1,
        .triggers = &trigger,
        .trigger_count = data[1] % 8 == 1};
    struct error_note note = {""};
    grammar *g = NULL;
    status s = grammar_compile(&source, f->vocabulary, &limits, &g, &note);
    CHECK(s == STATUS_OK || note.text[0] != '\0');
    if (s == STATUS_OK)
        walk(f, g, data[1]);
    grammar_release(g);
    return 0;
}
