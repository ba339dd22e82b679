/* Small encoders against transformers (tests/parity/make_tiny_encoders.py), on every path of this CPU, and the queue
 * around them. Tolerances: vectors have length 1 and come of two layers in f32, scores of a sigmoid; classes
 * are logits of about 3. */
#include "encoder.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "backend.h"
#include "check.h"
#include "json_file.h"
#include "unit_test.h"

#define FOLDER "tests/data/tiny_encoders"

static json_t *reference; /* lives for all tests */

static int load_reference(void **state)
{
    (void)state;
    return folder_json_read(FOLDER, "reference.json", &reference, NULL) == STATUS_OK ? 0 : -1;
}

static int free_reference(void **state)
{
    (void)state;
    json_decref(reference);
    return 0;
}

static struct encoder_options options_of(const char *path, const char *path_name)
{
    return (struct encoder_options){.model_path = path,
                                    .backend = path_name,
                                    .threads = 2,
                                    .batch_tokens_max = 100,
                                    .sequence_count_max = 3,
                                    .queue_requests_max = 8,
                                    .queue_tokens_max = 4096,
                                    .served_name = "tiny"};
}

static encoder *open_or_fail(const char *name, const char *path_name)
{
    char path[128];
    struct error_note note = {""};
    encoder *e = NULL;
    snprintf(path, sizeof path, FOLDER "/%s", name);
    struct encoder_options options = options_of(path, path_name);
    if (encoder_open(&options, &e, &note) != STATUS_OK)
        fail_msg("%s: %s", path, note.text);
    return e;
}

/* A request that one can wait for. */
struct waited {
    struct encoder_request request;
    struct token_list tokens;
    uint32_t text_start[16], second_start[16];
    float out[16 * 64];
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool is_done;
    status result;
};

static void on_done(struct encoder_request *request, status result)
{
    struct waited *w = request->context;
    pthread_mutex_lock(&w->mutex);
    w->is_done = true;
    w->result = result;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->mutex);
}

static void waited_init(struct waited *w)
{
    *w = (struct waited){.is_done = false};
    token_list_init(&w->tokens, 100000);
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->changed, NULL);
    w->request = (struct encoder_request){
        .text_start = w->text_start, .out = w->out, .on_done = on_done, .context = w};
}

static void waited_add(struct waited *w, encoder *e, const char *text, bool is_pair)
{
    size_t second = 0;
    uint32_t i = w->request.text_count++;
    struct token_list one;
    token_list_init(&one, 1000);
    status s = is_pair ? tokenizer_encode_pair(encoder_get_tokenizer(e), text_slice_of("the river"),
                                               text_slice_of(text), 0, &one, &second)
                       : tokenizer_encode(encoder_get_tokenizer(e), text_slice_of(text), NULL, 0,
                                          true, &one);
    assert_int_equal(s, STATUS_OK);
    for (size_t k = 0; k < one.count; k++)
        assert_int_equal(token_list_append(&w->tokens, one.ids[k]), STATUS_OK);
    w->second_start[i] = (uint32_t)second;
    w->text_start[i + 1] = (uint32_t)w->tokens.count;
    token_list_deinit(&one);
    w->request.tokens = w->tokens.ids;
    w->request.second_start = is_pair ? w->second_start : NULL;
}

static status waited_wait(struct waited *w)
{
    pthread_mutex_lock(&w->mutex);
    while (!w->is_done)
        pthread_cond_wait(&w->changed, &w->mutex);
    pthread_mutex_unlock(&w->mutex);
    return w->result;
}

static void waited_deinit(struct waited *w)
{
    token_list_deinit(&w->tokens);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->mutex);
}

static void check_model(const char *name, const char *path_name, bool is_pair, double bound)
{
    const json_t *texts = json_object_get(reference, "texts"),
                 *expected = json_object_get(reference, name);
    encoder *e = open_or_fail(name, path_name);
    uint32_t count = encoder_output_count(encoder_get_info(e));
    struct waited w;
    waited_init(&w);
    for (size_t i = 0; i < json_array_size(texts); i++)
        waited_add(&w, e, json_string_value(json_array_get(texts, i)), is_pair);
    assert_int_equal(encoder_submit(e, &w.request), STATUS_OK);
    assert_int_equal(waited_wait(&w), STATUS_OK);
    for (size_t i = 0; i < json_array_size(texts); i++) {
        const json_t *row = json_array_get(expected, i);
        assert_int_equal(json_array_size(row), count);
        for (uint32_t c = 0; c < count; c++) {
            double want = json_number_value(json_array_get(row, c));
            if (!(fabs((double)w.out[i * count + c] - want) <= bound))
                fail_msg("%s, %s, text %zu: number %u is %g, not %g", name, path_name, i, c,
                         (double)w.out[i * count + c], want);
        }
    }
    waited_deinit(&w);
    encoder_close(e);
}

static void numbers_are_those_of_transformers_on_every_path(void **state)
{
    (void)state;
    static const char *const backends[] = {"reference", "avx2", "avx-vnni", "avx512-vnni", "amx"};
    static const enum backend_path paths[] = {BACKEND_REFERENCE, BACKEND_AVX2, BACKEND_AVX_VNNI,
                                              BACKEND_AVX512_VNNI, BACKEND_AMX};
    for (size_t i = 0; i < ARRAY_COUNT(backends); i++) {
        if (!backend_path_is_supported(paths[i]))
            continue;
        check_model("bert_mean", backends[i], false, 2e-6);
        check_model("roberta_cls", backends[i], false, 2e-6);
        check_model("bert_cross", backends[i], true, 5e-6);
        check_model("roberta_classes", backends[i], true, 2e-5);
    }
}

static void a_texts_numbers_do_not_depend_on_its_neighbours(void **state)
{
    (void)state;
    encoder *e = open_or_fail("bert_mean", "auto");
    static const char *const texts[] = {"the gate",      "of water and of power", "1",
                                        "a b c d e f g", "the gate of the river", "gate",
                                        "the the the"};
    struct waited all, alone[ARRAY_COUNT(texts)];
    waited_init(&all);
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++)
        waited_add(&all, e, texts[i], false);
    assert_int_equal(encoder_submit(e, &all.request), STATUS_OK);
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        waited_init(&alone[i]);
        waited_add(&alone[i], e, texts[i], false);
        assert_int_equal(encoder_submit(e, &alone[i].request), STATUS_OK);
    }
    assert_int_equal(waited_wait(&all), STATUS_OK);
    uint64_t busy_ns = 0;
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        assert_int_equal(waited_wait(&alone[i]), STATUS_OK);
        assert_memory_equal(alone[i].out, all.out + i * 32, 32 * sizeof(float));
        busy_ns += alone[i].request.busy_ns;
        waited_deinit(&alone[i]);
    }
    struct encoder_stats stats;
    encoder_get_stats(e, &stats);
    assert_int_equal(stats.texts, 2 * ARRAY_COUNT(texts));
    assert_true(busy_ns > 0 && busy_ns + all.request.busy_ns == stats.busy_ns);
    waited_deinit(&all);
    encoder_close(e);
}

static void what_cannot_be_computed_is_refused_at_once(void **state)
{
    (void)state;
    encoder *e = open_or_fail("bert_mean", "reference");
    const struct encoder_info *info = encoder_get_info(e);
    int32_t token = (int32_t)info->vocabulary;
    uint32_t starts[3] = {0, 1, 1};
    float out[64];
    struct encoder_request request = {
        .text_count = 1, .tokens = &token, .text_start = starts, .out = out, .on_done = on_done};
    assert_int_equal(encoder_submit(e, &request), STATUS_INVALID); /* no such token */
    token = 1;
    request.text_count = 2;
    assert_int_equal(encoder_submit(e, &request), STATUS_INVALID); /* an empty text */
    request.text_count = 0;
    assert_int_equal(encoder_submit(e, &request), STATUS_INVALID);
    int32_t *many = calloc(info->context_max + 1, sizeof *many);
    starts[1] = info->context_max + 1;
    request.tokens = many;
    request.text_count = 1;
    assert_int_equal(encoder_submit(e, &request), STATUS_INVALID); /* too long */
    free(many);
    encoder_close(e);
}

static void unwanted_texts_are_left_out_and_ended(void **state)
{
    (void)state;
    encoder *e = open_or_fail("bert_mean", "reference");
    _Atomic bool is_unwanted = true;
    struct waited w;
    waited_init(&w);
    waited_add(&w, e, "the gate", false);
    w.request.is_unwanted = &is_unwanted;
    assert_int_equal(encoder_submit(e, &w.request), STATUS_OK);
    assert_int_equal(waited_wait(&w), STATUS_OK);
    struct encoder_stats stats;
    encoder_get_stats(e, &stats);
    assert_int_equal(stats.texts, 0);
    waited_deinit(&w);
    encoder_close(e);
}

static void files_that_are_no_encoder_are_told(void **state)
{
    (void)state;
    struct error_note note = {""};
    struct encoder_info info;
    encoder *e = NULL;
    struct encoder_options options = options_of("tests/data/tiny/qwen2.gguf", "auto");
    assert_false(encoder_can_open("tests/data/tiny/qwen2.gguf"));
    assert_false(encoder_can_open("/nowhere"));
    assert_true(encoder_can_open(FOLDER "/bert_cross"));
    assert_int_not_equal(encoder_open(&options, &e, &note), STATUS_OK);
    assert_true(note.text[0] != '\0');
    options = options_of(FOLDER "/bert_mean", "abacus");
    assert_int_equal(encoder_open(&options, &e, &note), STATUS_INVALID);
    options = options_of(FOLDER "/bert_mean", "reference");
    options.context_max = 97;
    assert_int_equal(encoder_open(&options, &e, &note), STATUS_INVALID);
    assert_non_null(strstr(note.text, "context_max"));
    assert_int_equal(encoder_file_info(FOLDER "/roberta_classes", &info, &note), STATUS_OK);
    assert_int_equal(info.class_count, 3);
    assert_int_equal(info.context_max, 94);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_those_of_transformers_on_every_path),
        cmocka_unit_test(a_texts_numbers_do_not_depend_on_its_neighbours),
        cmocka_unit_test(what_cannot_be_computed_is_refused_at_once),
        cmocka_unit_test(unwanted_texts_are_left_out_and_ended),
        cmocka_unit_test(files_that_are_no_encoder_are_told),
    };
    return cmocka_run_group_tests(tests, load_reference, free_reference);
}
