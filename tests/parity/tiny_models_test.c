/* One feature a model: RoPE scalings (linear, YaRN, llama3), biases, an untied head, a head width
 * that is not d / n_heads, a sliding window, and the families beside llama. Random models of two
 * layers from make_tiny_models.py, compared over all tokens of their vocabulary with transformers
 * in float32.
 *
 * Float oracle: what is left is f16 rounding of keys and values (2^-12 of a value), enlarged
 * because the weights are made large so that attention is peaked and the features matter: each
 * moves some log-probability by 0.3 nats at least when it is switched off (the script checks that).
 * Int8 paths: sums are over 32 to 64 terms only, so rounding averages out less than in a real
 * model; they are here to show that no path leaves a feature out. Measured: oracle median 0.0005,
 * largest 0.006; int8 0.018 and 0.18. */

#include <jansson.h>

#include "difference.h"
#include "forced_model.h"
#include "unit_test.h"

#define FOLDER           "tests/data/tiny/"
#define LENGTH_MAX       128u
#define INT8_MEDIAN_MAX  0.03
#define INT8_LARGEST_MAX 0.35

struct comparison {
    const json_t *positions, *logprobs;
    uint32_t vocabulary;
    struct differences differences;
};

static json_t *document;

static void compare_position(void *context, uint32_t position, const float *logprobs)
{
    struct comparison *c = context;
    for (size_t i = 0; i < json_array_size(c->positions); i++) {
        if (json_integer_value(json_array_get(c->positions, i)) != position)
            continue;
        const json_t *theirs = json_array_get(c->logprobs, i);
        assert_int_equal(json_array_size(theirs), c->vocabulary);
        for (uint32_t token = 0; token < c->vocabulary; token++)
            differences_add(&c->differences, (double)logprobs[token],
                            json_number_value(json_array_get(theirs, token)));
    }
}

static void compare_model(const json_t *item, enum backend_path path, double median_max,
                          double largest_max)
{
    const char *name = json_string_value(json_object_get(item, "name"));
    const json_t *ids = json_object_get(document, "ids");
    int32_t tokens[LENGTH_MAX];
    uint32_t count = (uint32_t)json_array_size(ids);
    assert_true(count > 0 && count <= LENGTH_MAX);
    for (uint32_t i = 0; i < count; i++)
        tokens[i] = (int32_t)json_integer_value(json_array_get(ids, i));
    char file[128];
    assert_true(snprintf(file, sizeof file, FOLDER "%s.gguf", name) < (int)sizeof file);
    struct forced_model forced;
    forced_model_open(&forced, file, path, KV_F16, LENGTH_MAX);
    struct comparison c = {.positions = json_object_get(document, "positions"),
                           .logprobs = json_object_get(item, "logprobs"),
                           .vocabulary = model_get_info(forced.m)->vocabulary};
    struct forced_run run = {.ids = tokens, .count = count, .chunk = 13, .decode_from = 70};
    forced_model_run(&forced, &run, compare_position, &c);
    forced_model_close(&forced);
    double median = differences_at(&c.differences, 0.5),
           largest = differences_at(&c.differences, 1);
    print_message("%s on %s: %zu log-probabilities, difference: median %.5f, largest %.5f\n", name,
                  backend_path_name(path), c.differences.count, median, largest);
    assert_int_equal(c.differences.count, json_array_size(c.positions) * c.vocabulary);
    differences_free(&c.differences);
    if (median > median_max || largest > largest_max)
        fail_msg("%s on %s: median %.5f (at most %.5f), largest %.5f (at most %.5f)", name,
                 backend_path_name(path), median, median_max, largest, largest_max);
}

static void compare_all(enum backend_path path, double median_max, double largest_max)
{
    if (!backend_path_is_supported(path))
        skip();
    const json_t *items = json_object_get(document, "items");
    assert_true(json_array_size(items) >= 7);
    for (size_t i = 0; i < json_array_size(items); i++)
        compare_model(json_array_get(items, i), path, median_max, largest_max);
}

static void every_feature_agrees_on_the_oracle(void **state)
{
    (void)state;
    compare_all(BACKEND_REFERENCE, 0.001, 0.01);
}

static void every_feature_is_on_avx2(void **state)
{
    (void)state;
    compare_all(BACKEND_AVX2, INT8_MEDIAN_MAX, INT8_LARGEST_MAX);
}

static void every_feature_is_on_avx_vnni(void **state)
{
    (void)state;
    compare_all(BACKEND_AVX_VNNI, INT8_MEDIAN_MAX, INT8_LARGEST_MAX);
}

static void every_feature_is_on_avx512_vnni(void **state)
{
    (void)state;
    compare_all(BACKEND_AVX512_VNNI, INT8_MEDIAN_MAX, INT8_LARGEST_MAX);
}

static int load_document(void **state)
{
    (void)state;
    json_error_t error;
    document = json_load_file(FOLDER "reference.json", 0, &error);
    if (document == NULL)
        print_error(FOLDER "reference.json: %s\n", error.text);
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
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_feature_agrees_on_the_oracle),
        cmocka_unit_test(every_feature_is_on_avx2),
        cmocka_unit_test(every_feature_is_on_avx_vnni),
        cmocka_unit_test(every_feature_is_on_avx512_vnni),
    };
    return cmocka_run_group_tests_name("tiny models", tests, load_document, free_document);
}
