#include "unit_test.h"

#include "check.h"
#include "route_body.h"

static const char *aliases[] = {"gpt-small", "org/alias"};
static struct config_model models[] = {{.name = "smollm2", .aliases = {aliases, 2}},
                                       {.name = "qwen"}};
static struct config config = {.limits = {.json_depth = 8, .json_values = 100},
                               .models = {models, 2}};

static struct api_error error;
static bool has_name;
static struct route_target target;

static status route(const char *body, uint32_t *model)
{
    memset(&error, 0, sizeof(error));
    target = (struct route_target){.model = 99};
    status result = route_body(&config, text_slice_of(body), &target, &error);
    *model = target.model;
    has_name = target.has_name;
    return result;
}

static void names_and_aliases_route_to_their_model(void **state)
{
    const struct {
        const char *body;
        uint32_t model;
    } rows[] = {
        {"{\"model\":\"smollm2\"}", 0},
        {"{\"messages\":[{\"model\":\"qwen\"}],\"model\":\"gpt-small\",\"stream\":true}", 0},
        {"{\"model\":\"org\\/alias\"}", 0},
        {"{\"model\":\"q\\u0077en\"}", 1},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        uint32_t model = 99;

        if (route(rows[i].body, &model) != STATUS_OK || model != rows[i].model)
            fail_msg("%s: %u %s", rows[i].body, model, error.message);
    }
}

static void a_stream_is_asked_for_by_true_alone(void **state)
{
    const struct {
        const char *body;
        bool wants_stream;
    } rows[] = {
        {"{\"model\":\"qwen\",\"stream\":true}", true},
        {"{\"stream\": true ,\"model\":\"qwen\"}", true},
        {"{\"model\":\"qwen\",\"stream\":false}", false},
        {"{\"model\":\"qwen\",\"stream\":\"true\"}", false},
        {"{\"model\":\"qwen\",\"stream_options\":{\"stream\":true}}", false},
        {"{\"model\":\"qwen\"}", false},
    };
    uint32_t model;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        assert_int_equal(route(rows[i].body, &model), STATUS_OK);
        if (target.wants_stream != rows[i].wants_stream)
            fail_msg("%s", rows[i].body);
    }
}

static void the_cache_key_is_found_where_it_is_a_text(void **state)
{
    uint32_t model;

    (void)state;
    assert_int_equal(route("{\"model\":\"qwen\",\"prompt_cache_key\":\"team 7\"}", &model),
                     STATUS_OK);
    assert_true(text_slice_is(target.prompt_cache_key, "team 7"));
    assert_int_equal(route("{\"model\":\"qwen\",\"prompt_cache_key\":7}", &model), STATUS_OK);
    assert_int_equal(target.prompt_cache_key.bytes, 0);
    assert_int_equal(route("{\"model\":\"qwen\"}", &model), STATUS_OK);
    assert_int_equal(target.prompt_cache_key.bytes, 0);
}

static void everything_else_is_refused_with_the_field_named(void **state)
{
    const struct {
        const char *body;
        int http_status;
        const char *code, *param, *text;
    } rows[] = {
        {"{\"model\":\"smolm2\"}", 404, "model_not_found", "model", "did you mean 'smollm2'?"},
        {"{\"model\":\"banana\"}", 404, "model_not_found", "model",
         "served here: smollm2, gpt-small, org/alias, qwen"},
        {"{\"model\":7}", 400, "", "model", "must be a string"},
        {"{\"model\":null}", 400, "", "model", "must be a string"},
        {"{\"model\":\"\"}", 404, "model_not_found", "model", "does not exist"},
        {"{}", 400, "", "model", "more than one model"},
        {"", 400, "", "", "not a valid JSON object"},
        {"[]", 400, "", "", "not a valid JSON object"},
        {"{\"model\":\"qwen\"", 400, "", "", "not a valid JSON object"},
        {"{\"model\":\"qwen\",\"model\":\"smollm2\"}", 400, "", "", "not a valid JSON object"},
        {"{\"a\":[[[[[[[[[[]]]]]]]]]],\"model\":\"qwen\"}", 400, "", "", "not a valid JSON object"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        uint32_t model = 99;

        if (route(rows[i].body, &model) == STATUS_OK || error.http_status != rows[i].http_status ||
            strcmp(error.code, rows[i].code) != 0 || strcmp(error.param, rows[i].param) != 0 ||
            strstr(error.message, rows[i].text) == NULL)
            fail_msg("%s: %d %s", rows[i].body, error.http_status, error.message);
    }
}

static void what_is_continued_is_told(void **state)
{
    uint32_t model = 99;

    (void)state;
    assert_int_equal(route("{\"model\":\"qwen\",\"previous_response_id\":\"resp_1\"}", &model),
                     STATUS_OK);
    assert_true(text_slice_is(target.previous_response_id, "resp_1"));
    assert_int_equal(route("{\"model\":\"qwen\",\"previous_response_id\":null}", &model),
                     STATUS_OK);
    assert_int_equal(target.previous_response_id.bytes, 0);
    assert_int_equal(route("{\"model\":\"qwen\",\"x\":{\"previous_response_id\":\"r\"}}", &model),
                     STATUS_OK);
    assert_int_equal(target.previous_response_id.bytes, 0);
}

static void a_long_model_name_is_not_found(void **state)
{
    static char body[2048] = "{\"model\":\"";
    uint32_t model;

    (void)state;
    memset(body + strlen(body), 'x', 300);
    memcpy(body + strlen(body), "\"}", 3);
    assert_int_equal(route(body, &model), STATUS_NOT_FOUND);
    assert_int_equal(error.http_status, 404);
}

static void the_only_model_needs_no_name(void **state)
{
    uint32_t model = 99;

    (void)state;
    config.models.count = 1;
    assert_int_equal(route("{\"prompt\":\"x\"}", &model), STATUS_OK);
    assert_int_equal(model, 0);
    assert_false(has_name);
    assert_int_equal(route("{\"model\":\"smollm2\"}", &model), STATUS_OK);
    assert_true(has_name);
    config.models.count = 2;
}

static void the_name_is_put_into_a_body_without_one(void **state)
{
    const struct {
        const char *body, *named;
    } rows[] = {
        {"{\"a\":1}", "{\"model\":\"m\",\"a\":1}"},
        {" \n{ \"a\":{}} ", "{\"model\":\"m\",\"a\":{}} "},
        {"{}", "{\"model\":\"m\"}"},
        {"{ \t}", "{\"model\":\"m\"}"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct text_slice body = text_slice_of(rows[i].body);
        char out[64];
        size_t bytes = route_body_name(body, "m", out);

        assert_true(bytes <= route_body_named_bytes(body, "m"));
        assert_true(text_slice_is((struct text_slice){out, bytes}, rows[i].named));
    }
}

static void what_may_be_made_is_read(void **state)
{
    static const struct {
        const char *body;
        bool has;
        uint64_t tokens;
        uint32_t choices;
    } rows[] = {
        {"{\"model\":\"qwen\"}", false, 0, 1},
        {"{\"model\":\"qwen\",\"max_tokens\":17,\"n\":3}", true, 17, 3},
        {"{\"model\":\"qwen\",\"max_completion_tokens\":0}", true, 0, 1},
        {"{\"model\":\"qwen\",\"max_output_tokens\": 999999999 }", true, 999999999, 1},
        {"{\"model\":\"qwen\",\"max_tokens\":9999999999,\"n\":-1}", false, 0, 1},
        {"{\"model\":\"qwen\",\"max_tokens\":null,\"n\":\"2\"}", false, 0, 1},
    };
    uint32_t model;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        assert_int_equal(route(rows[i].body, &model), STATUS_OK);
        assert_int_equal(target.has_output_tokens_max, rows[i].has);
        assert_int_equal(target.output_tokens_max, rows[i].tokens);
        assert_int_equal(target.choice_count, rows[i].choices);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_is_asked_for_by_true_alone),
        cmocka_unit_test(names_and_aliases_route_to_their_model),
        cmocka_unit_test(the_cache_key_is_found_where_it_is_a_text),
        cmocka_unit_test(everything_else_is_refused_with_the_field_named),
        cmocka_unit_test(what_is_continued_is_told),
        cmocka_unit_test(a_long_model_name_is_not_found),
        cmocka_unit_test(what_may_be_made_is_read),
        cmocka_unit_test(the_only_model_needs_no_name),
        cmocka_unit_test(the_name_is_put_into_a_body_without_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
