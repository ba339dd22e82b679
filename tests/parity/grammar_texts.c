/* Which texts does a grammar have? Reads questions, one JSON object a line, and writes an answer each:
 *
 *     {"kind": "regex", "text": "a+", "texts": ["a", "b"]}     {"accepts": [true, false]}
 *     {"kind": "schema", "text": "{\"not\": {}}", ..}          {"error": "unsupported", "message": "..."}
 *
 * Kinds: regex, schema, ebnf, object, choice (with "choices"); "triggers" and "whitespace" as in grammar.h. Every text goes through the
 * masks byte by byte, as tokens of one byte would: it is accepted if each byte is allowed after those before it, and the end
 * after the last. Used by test_grammar.py. */

#include <stdio.h>
#include <stdlib.h>

#include "byte_tokenizer.h"
#include "grammar.h"
#include "json.h"

#define TEXTS_MAX 64u

struct question {
    struct grammar_source source;
    struct text_slice choices[TEXTS_MAX], triggers[TEXTS_MAX];
    const json_t *texts;
};

static const struct grammar_limits limits = {.states_max = 200000,
                                             .compile_timeout_ns = 2000000000ull,
                                             .memory_bytes_max = 256u << 20,
                                             .mask_bytes_max = 4u << 20,
                                             .depth_max = 512};

static struct text_slice text_of(const json_t *value)
{
    return (struct text_slice){json_string_value(value), json_string_length(value)};
}

static uint32_t read_texts(const json_t *array, struct text_slice *out)
{
    uint32_t count = 0;
    for (; count < TEXTS_MAX && count < json_array_size(array); count++)
        out[count] = text_of(json_array_get(array, count));
    return count;
}

static void read_question(const json_t *line, struct question *q)
{
    static const struct {
        const char *name;
        enum grammar_kind kind;
    } kinds[] = {{"regex", GRAMMAR_REGEX},
                 {"schema", GRAMMAR_JSON_SCHEMA},
                 {"ebnf", GRAMMAR_EBNF},
                 {"object", GRAMMAR_JSON_OBJECT},
                 {"choice", GRAMMAR_CHOICE}};
    const char *name = json_string_value(json_object_get(line, "kind"));
    CHECK(name != NULL);
    *q = (struct question){.texts = json_object_get(line, "texts")};
    for (size_t i = 0; i < ARRAY_COUNT(kinds); i++) {
        if (strcmp(name, kinds[i].name) == 0)
            q->source.kind = kinds[i].kind;
    }
    q->source.text = text_of(json_object_get(line, "text"));
    q->source.whitespace = text_of(json_object_get(line, "whitespace"));
    q->source.choice_count = read_texts(json_object_get(line, "choices"), q->choices);
    q->source.choices = q->choices;
    q->source.trigger_count = read_texts(json_object_get(line, "triggers"), q->triggers);
    q->source.triggers = q->triggers;
}

static bool is_allowed(grammar_matcher *m, uint32_t *mask, uint32_t token)
{
    return grammar_matcher_fill(m, mask) == STATUS_OK &&
           (mask[token / 32] >> (token % 32) & 1) != 0;
}

static bool accepts(grammar *g, struct text_slice text, uint32_t *mask)
{
    arena *memory;
    grammar_matcher *m;
    CHECK(arena_create(64u << 20, &memory) == STATUS_OK);
    CHECK(grammar_matcher_create(g, memory, &m) == STATUS_OK);
    bool is_good = true;
    for (size_t i = 0; is_good && i < text.bytes; i++) {
        uint8_t byte = (uint8_t)text.data[i];
        is_good = is_allowed(m, mask, byte) && grammar_matcher_accept(m, byte) == STATUS_OK;
    }
    is_good = is_good && grammar_matcher_is_complete(m);
    arena_destroy(memory);
    return is_good;
}

static void answer(const grammar_vocabulary *v, const json_t *line, uint32_t *mask)
{
    static struct question q;
    struct error_note note = {""};
    grammar *g = NULL;
    read_question(line, &q);
    status s = grammar_compile(&q.source, v, &limits, &g, &note);
    json_t *out = json_object();
    if (s != STATUS_OK) {
        json_object_set_new(out, "error", json_string(status_name(s)));
        json_object_set_new(out, "message", json_string(note.text));
    } else {
        json_t *list = json_array();
        for (size_t i = 0; i < json_array_size(q.texts); i++)
            json_array_append_new(
                list, json_boolean(accepts(g, text_of(json_array_get(q.texts, i)), mask)));
        json_object_set_new(out, "accepts", list);
    }
    CHECK(json_dumpf(out, stdout, JSON_COMPACT) == 0);
    (void)putchar('\n');
    (void)fflush(stdout);
    json_decref(out);
    grammar_release(g);
}

int main(void)
{
    tokenizer *t = byte_tokenizer_create(NULL, 0);
    int32_t end = (int32_t)byte_tokenizer_end(0);
    grammar_vocabulary *v;
    CHECK(grammar_vocabulary_create(t, (uint32_t)end + 1, &end, 1, &v) == STATUS_OK);
    uint32_t *mask = calloc(grammar_mask_words(v), sizeof *mask);
    CHECK(mask != NULL);
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, stdin) > 0) {
        json_t *question = json_loads(line, JSON_ALLOW_NUL, NULL);
        CHECK(question != NULL);
        answer(v, question, mask);
        json_decref(question);
    }
    free(line);
    free(mask);
    grammar_vocabulary_destroy(v);
    tokenizer_destroy(t);
    return 0;
}
