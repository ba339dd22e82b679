#include "pooling.h"

#include "check.h"
#include "unit_test.h"

static const struct api_limits LIMITS = {
    .json_depth_max = 16, .json_values_max = 1000, .prompt_bytes_max = 64, .vocabulary = 100};

static void expect_error(enum api_pooling_kind kind, const char *body, const char *param)
{
    struct api_pooling_request request;
    struct api_error error;
    if (api_pooling_request_parse(kind, text_slice_of(body), &LIMITS, 3, &request, &error) ==
        STATUS_OK)
        fail_msg("%s was taken", body);
    assert_int_equal(error.http_status, 400);
    if (strcmp(error.param, param) != 0)
        fail_msg("%s: '%s', not '%s' (%s)", body, error.param, param, error.message);
}

static void parse(enum api_pooling_kind kind, const char *body, struct api_pooling_request *out)
{
    struct api_error error;
    if (api_pooling_request_parse(kind, text_slice_of(body), &LIMITS, 3, out, &error) != STATUS_OK)
        fail_msg("%s: %s", body, error.message);
}

static void inputs_of_every_form_are_read(void **state)
{
    (void)state;
    struct api_pooling_request r;
    parse(POOLING_EMBED, "{\"input\":\"one\"}", &r);
    assert_int_equal(r.input_count, 1);
    assert_true(text_slice_is(r.inputs[0].text, "one"));
    assert_true(r.truncate == -2 && !r.is_base64 && r.dimensions == 0 && r.add_special);
    api_pooling_request_deinit(&r);
    parse(POOLING_EMBED,
          "{\"model\":\"m\",\"input\":[\"one\",[1,2],\"three\"],\"encoding_format\":\"base64\","
          "\"dimensions\":7,\"user\":\"u\",\"truncate_prompt_tokens\":-1,"
          "\"add_special_tokens\":false}",
          &r);
    assert_int_equal(r.input_count, 3);
    assert_int_equal(r.inputs[1].token_count, 2);
    assert_int_equal(r.inputs[1].tokens[1], 2);
    assert_null(r.inputs[2].tokens);
    assert_true(r.truncate == -1 && r.is_base64 && r.dimensions == 7 && !r.add_special);
    assert_string_equal(r.model, "m");
    api_pooling_request_deinit(&r);
    parse(POOLING_EMBED, "{\"input\":[5,6,99]}", &r);
    assert_int_equal(r.input_count, 1);
    assert_int_equal(r.inputs[0].token_count, 3);
    api_pooling_request_deinit(&r);
}

static void wrong_fields_are_named(void **state)
{
    (void)state;
    static const struct {
        enum api_pooling_kind kind;
        const char *body, *param;
    } cases[] = {
        {POOLING_EMBED, "{}", "input"},
        {POOLING_EMBED, "{\"input\":null}", "input"},
        {POOLING_EMBED, "{\"input\":\"\"}", "input"},
        {POOLING_EMBED, "{\"input\":[]}", "input"},
        {POOLING_EMBED, "{\"input\":[[]]}", "input[0]"},
        {POOLING_EMBED, "{\"input\":7}", "input"},
        {POOLING_EMBED, "{\"input\":{\"a\":1}}", "input"},
        {POOLING_EMBED, "{\"input\":[\"a\",7]}", "input[1]"},
        {POOLING_EMBED, "{\"input\":[7,\"a\"]}", "input[1]"},
        {POOLING_EMBED, "{\"input\":[100]}", "input[0]"},
        {POOLING_EMBED, "{\"input\":[[1,-1]]}", "input[0][1]"},
        {POOLING_EMBED, "{\"input\":[\"a\",\"b\",\"c\",\"d\"]}", "input"},
        {POOLING_EMBED, "{\"input\":\"a\",\"encoding_format\":\"hex\"}", "encoding_format"},
        {POOLING_EMBED, "{\"input\":\"a\",\"dimensions\":0}", "dimensions"},
        {POOLING_EMBED, "{\"input\":\"a\",\"truncate_prompt_tokens\":0}", "truncate_prompt_tokens"},
        {POOLING_EMBED, "{\"input\":\"a\",\"truncate_prompt_tokens\":-2}",
         "truncate_prompt_tokens"},
        {POOLING_EMBED, "{\"input\":\"a\",\"model\":1}", "model"},
        {POOLING_RERANK, "{\"documents\":[\"a\"]}", "query"},
        {POOLING_RERANK, "{\"query\":\"a\"}", "documents"},
        {POOLING_RERANK, "{\"query\":\"a\",\"documents\":[]}", "documents"},
        {POOLING_RERANK, "{\"query\":\"a\",\"documents\":[{}]}", "documents[0]"},
        {POOLING_RERANK, "{\"query\":\"a\",\"documents\":[\"a\"],\"top_n\":-1}", "top_n"},
        {POOLING_SCORE, "{\"text_1\":\"a\"}", "text_2"},
        {POOLING_SCORE, "{\"text_1\":[\"a\",\"b\"],\"text_2\":[\"c\"]}", "text_2"},
        {POOLING_SCORE, "{\"text_1\":[],\"text_2\":[]}", "text_2"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        expect_error(cases[i].kind, cases[i].body, cases[i].param);
}

static void pairs_are_one_to_many_or_side_by_side(void **state)
{
    (void)state;
    struct api_pooling_request r;
    uint32_t first, second;
    parse(POOLING_RERANK, "{\"query\":\"q\",\"documents\":[\"a\",{\"text\":\"b\"}]}", &r);
    assert_int_equal(api_pooling_pair_count(&r), 2);
    api_pooling_pair(&r, 1, &first, &second);
    assert_true(text_slice_is(r.inputs[first].text, "q"));
    assert_true(text_slice_is(r.inputs[second].text, "b"));
    api_pooling_request_deinit(&r);
    struct api_error error;
    const char *body = "{\"text_1\":[\"a\",\"b\"],\"text_2\":[\"c\",\"d\"]}";
    assert_int_equal(
        api_pooling_request_parse(POOLING_SCORE, text_slice_of(body), &LIMITS, 4, &r, &error),
        STATUS_OK);
    assert_int_equal(api_pooling_pair_count(&r), 2);
    api_pooling_pair(&r, 1, &first, &second);
    assert_true(text_slice_is(r.inputs[first].text, "b"));
    assert_true(text_slice_is(r.inputs[second].text, "d"));
    api_pooling_request_deinit(&r);
}

static const struct api_pooling_answer ANSWER = {"id-1", "m", 17, 9};

static void expect_written(struct buffer *out, const char *part)
{
    buffer_append_byte(out, '\0');
    assert_int_equal(out->failed, STATUS_OK);
    if (strstr(out->data, part) == NULL)
        fail_msg("%s\nlacks %s", out->data, part);
    buffer_deinit(out);
}

static void embeddings_are_cut_and_made_long_again(void **state)
{
    (void)state;
    struct api_pooling_request r;
    struct buffer out;
    const float vectors[] = {0.6f, 0.0f, 0.8f};
    parse(POOLING_EMBED, "{\"input\":\"a\",\"dimensions\":2}", &r);
    buffer_init(&out, 4096);
    api_embeddings_write(&out, &r, &ANSWER, vectors, 3, true);
    expect_written(&out, "\"embedding\":[1,0]}");
    buffer_init(&out, 4096);
    api_embeddings_write(&out, &r, &ANSWER, vectors, 3, false);
    expect_written(&out, "\"embedding\":[0.600000024,0]}");
    r.dimensions = 0;
    r.is_base64 = true;
    buffer_init(&out, 4096);
    api_embeddings_write(&out, &r, &ANSWER, (const float[]){1, -2}, 2, true);
    expect_written(&out, "\"embedding\":\"AACAPwAAAMA=\"}");
    buffer_init(&out, 4096);
    api_embeddings_write(&out, &r, &ANSWER, (const float[]){1, -2, 0.5f, 3}, 4, true);
    expect_written(&out, "\"embedding\":\"AACAPwAAAMAAAAA/AABAQA==\"}");
    api_pooling_request_deinit(&r);
}

static void documents_come_best_first(void **state)
{
    (void)state;
    struct api_pooling_request r;
    struct buffer out;
    uint32_t order[6];
    parse(POOLING_RERANK, "{\"query\":\"q\",\"documents\":[\"a\",\"b\"],\"top_n\":1}", &r);
    buffer_init(&out, 4096);
    api_rerank_write(&out, &r, &ANSWER, (const float[]){0.25f, 0.5f}, order);
    expect_written(&out, "\"results\":[{\"index\":1,\"document\":{\"text\":\"b\"},"
                         "\"relevance_score\":0.5}]");
    r.top_n = 0;
    r.return_documents = false;
    buffer_init(&out, 4096);
    api_rerank_write(&out, &r, &ANSWER, (const float[]){0.5f, 0.5f}, order);
    expect_written(&out, "\"results\":[{\"index\":0,\"relevance_score\":0.5},"
                         "{\"index\":1,\"relevance_score\":0.5}]");
    api_pooling_request_deinit(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inputs_of_every_form_are_read),
        cmocka_unit_test(wrong_fields_are_named),
        cmocka_unit_test(pairs_are_one_to_many_or_side_by_side),
        cmocka_unit_test(embeddings_are_cut_and_made_long_again),
        cmocka_unit_test(documents_come_best_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
