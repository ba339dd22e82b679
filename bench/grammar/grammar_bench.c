/* What structured output costs: compiling, and a mask for each token of given texts, cold and warm.
 *
 *     grammar_bench MODEL < tasks       tasks: {"name", "kind": "schema" | "regex" | "object", "text", "texts": [...]} a line
 *     grammar_bench MODEL --vocabulary  the pieces of the vocabulary as JSON, for peers
 *
 * Writes a line of JSON a task: milliseconds to compile, microseconds a mask of the first pass over the texts and of the best
 * later one, and all masks of that one. Run by peers.py beside it. */

#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "clock.h"
#include "grammar.h"
#include "json.h"
#include "model.h"
#include "model_source.h"

#define PASSES      5u
#define SAMPLES_MAX 100000u

/* Those of the settings, but for the time to compile. */
static const struct grammar_limits limits = {.states_max = 200000,
                                             .learn_time_ns = 20 * NS_PER_MS,
                                             .compile_timeout_ns = 10 * NS_PER_SECOND,
                                             .memory_bytes_max = 128u << 20,
                                             .mask_bytes_max = 4u << 20,
                                             .depth_max = 512};

struct bench {
    tokenizer *tokens;
    grammar_vocabulary *vocabulary;
    int32_t *end_tokens;
    uint32_t end_token_count;
    uint32_t *mask;
};

static void open_bench(struct bench *b, const char *path)
{
    struct error_note note = {""};
    model_source *source;
    struct model_info info;
    struct tokenizer_folder text;
    CHECK(model_source_open(path, &source, &note) == STATUS_OK);
    CHECK(model_file_info(source, KV_F16, &info, &note) == STATUS_OK);
    CHECK(model_file_text(source, &text, &note) == STATUS_OK);
    b->tokens = text.tokenizer;
    b->end_tokens = calloc(info.vocabulary, sizeof *b->end_tokens);
    for (uint32_t i = 0; i < info.vocabulary; i++) {
        if (tokenizer_is_end(b->tokens, (int32_t)i))
            b->end_tokens[b->end_token_count++] = (int32_t)i;
    }
    CHECK(grammar_vocabulary_create(b->tokens, info.vocabulary, b->end_tokens, b->end_token_count,
                                    &b->vocabulary) == STATUS_OK);
    b->mask = calloc(grammar_mask_words(b->vocabulary), sizeof *b->mask);
    CHECK(b->mask != NULL);
    model_source_close(source);
}

static void write_vocabulary(const struct bench *b)
{
    printf("{\"end\":[");
    for (uint32_t i = 0; i < b->end_token_count; i++)
        printf("%s%d", i > 0 ? "," : "", b->end_tokens[i]);
    printf("],\"pieces\":[");
    for (int32_t i = 0; (uint32_t)i < tokenizer_token_count(b->tokens); i++) {
        struct text_slice piece = tokenizer_piece(b->tokens, i, false);
        printf("%s\"", i > 0 ? "," : "");
        for (size_t at = 0; at < piece.bytes; at++)
            printf("%02x", (uint8_t)piece.data[at]);
        printf("\"");
    }
    printf("]}\n");
}

struct samples {
    double us[SAMPLES_MAX];
    uint32_t count;
    double total_us;
};

/* Masks along a text; false: the text is not the grammar's. */
static bool run_text(const struct bench *b, grammar *g, const char *text, struct samples *out)
{
    arena *memory;
    grammar_matcher *m;
    struct token_list list;
    bool is_good = true;
    CHECK(arena_create(64u << 20, &memory) == STATUS_OK);
    CHECK(grammar_matcher_create(g, memory, &m) == STATUS_OK);
    token_list_init(&list, SAMPLES_MAX);
    CHECK(tokenizer_encode(b->tokens, text_slice_of(text), NULL, 0, false, &list) == STATUS_OK);
    for (size_t i = 0; is_good && i <= list.count; i++) {
        uint64_t start = clock_now_ns();
        is_good = grammar_matcher_fill(m, b->mask) == STATUS_OK;
        uint64_t end = clock_now_ns();
        if (out->count < SAMPLES_MAX)
            out->us[out->count++] = (double)(end - start) / (double)NS_PER_US;
        out->total_us += (double)(end - start) / (double)NS_PER_US;
        if (i < list.count)
            is_good = is_good && grammar_matcher_accept(m, list.ids[i]) == STATUS_OK;
        else
            is_good = is_good && grammar_matcher_is_complete(m);
    }
    token_list_deinit(&list);
    arena_destroy(memory);
    return is_good;
}

static void run_texts(const struct bench *b, grammar *g, const json_t *texts, struct samples *out)
{
    out->count = 0;
    out->total_us = 0;
    for (size_t i = 0; i < json_array_size(texts); i++)
        CHECK(run_text(b, g, json_string_value(json_array_get(texts, i)), out));
}

static json_t *list_of(const struct samples *s)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < s->count; i++)
        json_array_append_new(list, json_real(s->us[i]));
    return list;
}

static void run_task(const struct bench *b, const json_t *task)
{
    static struct samples cold;
    static struct samples pass;
    const char *kind = json_string_value(json_object_get(task, "kind"));
    struct grammar_source source = {
        .kind = strcmp(kind, "schema") == 0  ? GRAMMAR_JSON_SCHEMA
                : strcmp(kind, "regex") == 0 ? GRAMMAR_REGEX
                                             : GRAMMAR_JSON_OBJECT,
        .text = text_slice_of(json_string_value(json_object_get(task, "text")))};
    struct error_note note = {""};
    grammar *g = NULL;
    uint64_t start = clock_now_ns();
    status s = grammar_compile(&source, b->vocabulary, &limits, &g, &note);
    double compile_ms = (double)(clock_now_ns() - start) / (double)NS_PER_MS;
    json_t *out = json_object();
    json_object_set(out, "name", json_object_get(task, "name"));
    json_object_set_new(out, "compile_ms", json_real(compile_ms));
    if (s != STATUS_OK) {
        json_object_set_new(out, "error", json_string(note.text));
    } else {
        const json_t *texts = json_object_get(task, "texts");
        json_t *best = NULL;
        double best_us = 0;
        run_texts(b, g, texts, &cold);
        for (uint32_t i = 0; i < PASSES; i++) {
            run_texts(b, g, texts, &pass);
            if (best != NULL && pass.total_us >= best_us)
                continue;
            json_decref(best);
            best = list_of(&pass);
            best_us = pass.total_us;
        }
        json_object_set_new(out, "cold_us", list_of(&cold));
        json_object_set_new(out, "warm_us", best);
    }
    CHECK(json_dumpf(out, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6)) == 0);
    (void)putchar('\n');
    json_decref(out);
    grammar_release(g);
}

int main(int argc, char **argv)
{
    static struct bench b;
    if (argc < 2) {
        (void)fprintf(stderr, "usage: grammar_bench MODEL [--vocabulary] < tasks\n");
        return 2;
    }
    open_bench(&b, argv[1]);
    if (argc > 2) {
        write_vocabulary(&b);
        return 0;
    }
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, stdin) > 0) {
        json_t *task = json_loads(line, 0, NULL);
        CHECK(task != NULL);
        run_task(&b, task);
        json_decref(task);
    }
    free(line);
    return 0;
}
