/* Is it the right model? The default model on every path this CPU can run, teacher-forced over the
 * reference outputs of transformers in float32 (tests/data/smollm2_reference.json, written by
 * make_reference.py).
 *
 * What can be equal, and how nearly:
 *  - prompt token ids: exactly.
 *  - `reference` (float activations, sums in double): the weights are the same numbers, so what is
 * left is float rounding in 30 layers on both sides, and keys and values stored as f16. Half a unit
 * of f16 is 2^-12 = 2.4e-4 of a value; it is random from value to value and is averaged by sums
 * over heads of 64, so log-probabilities move by about as much, and by more only for unlikely
 * tokens at flat places.
 *  - int8 activations: each block of 32 inputs is rounded to 1/127 of its largest value, at 4
 * places in each of 30 layers; a relative noise of about 0.4 % a product. llama.cpp, which rounds
 * in the same way, was measured at a median of 0.063 from the same reference over 12 prompts.
 * Greedy tokens: a first choice may differ only where the reference's own margin between first and
 * second is within the noise, that is below TOP_MARGIN, for both logits carry it. The measured
 * figures are printed. */

#include <jansson.h>
#include <stdlib.h>

#include "difference.h"
#include "forced_model.h"
#include "log_softmax.h"
#include "unit_test.h"

#define CONTEXT_MAX 1024u
#define TOP_COUNT   5u

struct bounds {
    double median, p99, largest; /* of |log-probability difference| */
    double top_margin;
    uint32_t prompt_step; /* every n-th prompt: the oracle is slow by design */
    uint32_t ids_max;     /* longer sequences are left out */
};

static const struct bounds FLOAT_BOUNDS = {0.001, 0.01, 0.02, 0.01, 3, 64};
static const struct bounds INT8_BOUNDS = {0.10, 0.7, 2.0, 0.5, 1, UINT32_MAX};
/* Keys, queries and values of 8 bits beside that. Measured: median 0.089, p99 0.64, largest 1.6,
 * widest margin lost 0.66. Keys changed by 1e-4, less than f16 rounds, are answered by the codes of
 * activations with other roundings: so perturbed, the margin was 0.39 to 0.83 in three runs, and
 * with an f16 cache, which loses 0.30 as it is, 0.32 to 0.70. */
static const struct bounds INT8_CACHE_BOUNDS = {0.10, 0.75, 2.5, 1.0, 1, UINT32_MAX};
/* The paths differ in instructions, not in what they compute; the first among equals sees all
 * prompts. */
static const struct bounds INT8_SAMPLE_BOUNDS = {0.10, 0.7, 2.0, 0.5, 3, UINT32_MAX};

struct item {
    const char *name, *text;
    int32_t *ids; /* owned; prompt, then output */
    uint32_t prompt_count, count;
    const json_t *prompt_logprobs, *top; /* inside the document */
};

struct comparison {
    const struct item *item;
    const struct bounds *bounds;
    struct differences likely; /* top five of output positions */
    struct differences prompt; /* the token that follows in the prompt */
    uint32_t tops, tops_equal, tops_clear, vocabulary;
    double lost_margin; /* the reference's widest margin where our first choice is another */
};

static json_t *document;

static void load_item(const json_t *source, struct item *out)
{
    const json_t *prompt = json_object_get(source, "prompt_ids"),
                 *output = json_object_get(source, "output_ids");
    *out = (struct item){.name = json_string_value(json_object_get(source, "name")),
                         .text = json_string_value(json_object_get(source, "text")),
                         .prompt_count = (uint32_t)json_array_size(prompt),
                         .prompt_logprobs = json_object_get(source, "prompt_logprobs"),
                         .top = json_object_get(source, "top")};
    out->count = out->prompt_count + (uint32_t)json_array_size(output);
    assert_true(out->count <= CONTEXT_MAX && out->prompt_count > 0);
    out->ids = calloc(out->count, sizeof *out->ids);
    assert_non_null(out->ids);
    for (uint32_t i = 0; i < out->count; i++) {
        const json_t *id = i < out->prompt_count ? json_array_get(prompt, i)
                                                 : json_array_get(output, i - out->prompt_count);
        out->ids[i] = (int32_t)json_integer_value(id);
    }
}

static double logprob_of(const json_t *candidates, size_t rank)
{
    return json_number_value(json_array_get(json_array_get(candidates, rank), 1));
}

static uint32_t id_of(const json_t *candidates, size_t rank)
{
    return (uint32_t)json_integer_value(json_array_get(json_array_get(candidates, rank), 0));
}

static void compare_output(struct comparison *c, const json_t *candidates, const float *logprobs)
{
    for (size_t rank = 0; rank < TOP_COUNT; rank++)
        differences_add(&c->likely, (double)logprobs[id_of(candidates, rank)],
                        logprob_of(candidates, rank));
    bool is_equal = largest_index(logprobs, c->vocabulary) == id_of(candidates, 0);
    double margin = logprob_of(candidates, 0) - logprob_of(candidates, 1);
    c->tops++;
    c->tops_equal += is_equal;
    c->tops_clear += margin > c->bounds->top_margin;
    if (!is_equal && margin > c->lost_margin)
        c->lost_margin = margin;
    if (!is_equal && margin > c->bounds->top_margin)
        fail_msg("%s: another first choice although the reference is sure by %.3f", c->item->name,
                 margin);
}

static void compare_position(void *context, uint32_t position, const float *logprobs)
{
    struct comparison *c = context;
    uint32_t first_output = c->item->prompt_count - 1;
    if (position < first_output) {
        double theirs = json_number_value(json_array_get(c->item->prompt_logprobs, position));
        differences_add(&c->prompt, (double)logprobs[c->item->ids[position + 1]], theirs);
    } else {
        compare_output(c, json_array_get(c->item->top, position - first_output), logprobs);
    }
}

static void check_bounds(struct comparison *c, const char *path)
{
    double median = differences_at(&c->likely, 0.5), p99 = differences_at(&c->likely, 0.99),
           largest = differences_at(&c->likely, 1), prompt = differences_at(&c->prompt, 0.5);
    print_message("%s: %u output positions, first choice equal in %u (%u are clear, widest margin "
                  "lost %.3f); "
                  "log-probabilities differ by: median %.5f, p99 %.5f, largest %.5f; in %zu prompt "
                  "positions: "
                  "median %.5f\n",
                  path, c->tops, c->tops_equal, c->tops_clear, c->lost_margin, median, p99, largest,
                  c->prompt.count, prompt);
    assert_true(c->tops_clear > c->tops / 2);
    assert_true(median <= c->bounds->median);
    assert_true(p99 <= c->bounds->p99);
    assert_true(largest <= c->bounds->largest);
    assert_true(prompt <= c->bounds->median);
}

/* Prompts go in chunks of changing size, outputs one token a step as in serving. */
static void compare_cache(enum backend_path path, enum kv_type type, const struct bounds *bounds)
{
    struct forced_model forced;
    forced_model_open(&forced, getenv("PENSTOCK_TEST_MODEL"), path, type, CONTEXT_MAX);
    struct comparison c = {.bounds = bounds, .vocabulary = model_get_info(forced.m)->vocabulary};
    const json_t *items = json_object_get(document, "items");
    for (size_t i = 0; i < json_array_size(items); i += bounds->prompt_step) {
        struct item item;
        load_item(json_array_get(items, i), &item);
        c.item = &item;
        struct forced_run run = {.ids = item.ids,
                                 .count = item.count,
                                 .chunk = 1 + (uint32_t)(i * 29 + 60) % FORCED_CHUNK_MAX,
                                 .decode_from = item.prompt_count};
        if (item.count <= bounds->ids_max)
            forced_model_run(&forced, &run, compare_position, &c);
        free(item.ids);
    }
    forced_model_close(&forced);
    char name[64];
    (void)snprintf(name, sizeof name, "%s, %s cache", backend_path_name(path), kv_type_name(type));
    check_bounds(&c, name);
    differences_free(&c.likely);
    differences_free(&c.prompt);
}

static void compare_path(enum backend_path path, const struct bounds *bounds)
{
    if (!backend_path_is_supported(path)) {
        print_message("this CPU cannot run %s\n", backend_path_name(path));
        skip();
    }
    compare_cache(path, KV_F16, bounds);
}

static void prompt_token_ids_are_equal(void **state)
{
    (void)state;
    struct error_note note = {""};
    model_source *source;
    struct tokenizer_folder files;
    assert_int_equal(model_source_open(getenv("PENSTOCK_TEST_MODEL"), &source, &note), STATUS_OK);
    assert_int_equal(model_file_text(source, &files, &note), STATUS_OK);
    const json_t *items = json_object_get(document, "items");
    for (size_t i = 0; i < json_array_size(items); i++) {
        struct item item;
        load_item(json_array_get(items, i), &item);
        struct text_slice text = text_slice_of(item.text);
        struct text_span all = {0, text.bytes}; /* the template wrote the control tokens */
        struct token_list ids;
        token_list_init(&ids, CONTEXT_MAX);
        assert_int_equal(tokenizer_encode(files.tokenizer, text, &all, 1, true, &ids), STATUS_OK);
        if (ids.count != item.prompt_count ||
            memcmp(ids.ids, item.ids, ids.count * sizeof *ids.ids) != 0)
            fail_msg("%s: other prompt token ids (%zu, %u expected)", item.name, ids.count,
                     item.prompt_count);
        token_list_deinit(&ids);
        free(item.ids);
    }
    tokenizer_folder_deinit(&files);
    model_source_close(source);
}

static void the_oracle_agrees_to_float_rounding(void **state)
{
    (void)state;
    compare_path(BACKEND_REFERENCE, &FLOAT_BOUNDS);
}

static void avx2_agrees_to_int8_rounding(void **state)
{
    (void)state;
    compare_path(BACKEND_AVX2, &INT8_SAMPLE_BOUNDS);
}

static void avx_vnni_agrees_to_int8_rounding(void **state)
{
    (void)state;
    compare_path(BACKEND_AVX_VNNI, &INT8_SAMPLE_BOUNDS);
}

static void avx512_vnni_agrees_to_int8_rounding(void **state)
{
    (void)state;
    compare_path(BACKEND_AVX512_VNNI, &INT8_BOUNDS);
}

static void amx_agrees_to_int8_rounding(void **state)
{
    (void)state;
    compare_path(BACKEND_AMX, &INT8_BOUNDS);
}

static void an_int8_cache_agrees_on_the_default_path(void **state)
{
    (void)state;
    if (!backend_path_is_supported(BACKEND_AVX2))
        skip(); /* the oracle it would be: hours */
    compare_cache(BACKEND_AUTO, KV_INT8, &INT8_CACHE_BOUNDS);
}

static int load_document(void **state)
{
    (void)state;
    json_error_t error;
    document = json_load_file("tests/data/smollm2_reference.json", 0, &error);
    if (document == NULL)
        print_error("tests/data/smollm2_reference.json: %s\n", error.text);
    return document != NULL ? 0 : -1;
}

static int free_document(void **state)
{
    (void)state;
    json_decref(document);
    return 0;
}

int main(void)
{
    if (getenv("PENSTOCK_TEST_MODEL") == NULL) {
        printf("skipped: PENSTOCK_TEST_MODEL does not name the default model's file\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompt_token_ids_are_equal),
        cmocka_unit_test(the_oracle_agrees_to_float_rounding),
        cmocka_unit_test(avx2_agrees_to_int8_rounding),
        cmocka_unit_test(avx_vnni_agrees_to_int8_rounding),
        cmocka_unit_test(avx512_vnni_agrees_to_int8_rounding),
        cmocka_unit_test(amx_agrees_to_int8_rounding),
        cmocka_unit_test(an_int8_cache_agrees_on_the_default_path),
    };
    return cmocka_run_group_tests_name("parity", tests, load_document, free_document);
}
