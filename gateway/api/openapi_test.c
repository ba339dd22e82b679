#include "openapi.h"

#include "json.h"
#include "request_parse.h"
#include "schema_text.h"
#include "unit_test.h"

static json_t *load(const struct buffer *text)
{
    json_t *root = json_loadb(text->data, text->bytes, 0, NULL);
    assert_int_equal(text->failed, STATUS_OK);
    assert_non_null(root);
    return root;
}

static void a_line_of_schema_is_written_as_json_schema(void **state)
{
    (void)state;
    static const struct {
        const char *line, *schema;
    } rows[] = {
        {"any", "{}"},
        {"string", "{\"type\":\"string\"}"},
        {"integer(0..5)", "{\"type\":\"integer\",\"minimum\":0.0,\"maximum\":5.0}"},
        {"number(-2..2.5)", "{\"type\":\"number\",\"minimum\":-2.0,\"maximum\":2.5}"},
        {"number(..0)", "{\"type\":\"number\",\"maximum\":0.0}"},
        {"integer(1..)", "{\"type\":\"integer\",\"minimum\":1.0}"},
        {"'a'|null", "{\"anyOf\":[{\"const\":\"a\"},{\"type\":\"null\"}]}"},
        {"[#Thing]", "{\"type\":\"array\",\"items\":{\"$ref\":\"#/components/schemas/Thing\"}}"},
        {"{[integer]|null}",
         "{\"type\":\"object\",\"additionalProperties\":{\"anyOf\":[{\"type\":\"array\",\"items\":"
         "{\"type\":\"integer\"}},{\"type\":\"null\"}]}}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buffer out;
        buffer_init(&out, 1 << 16);
        schema_text_write(rows[i].line, &out);
        assert_int_equal(out.failed, STATUS_OK);
        assert_string_equal(out.data, rows[i].schema);
        buffer_deinit(&out);
    }
}

/* Every "$ref" in the tree names a schema that is there. */
static void assert_references(const json_t *value, const json_t *schemas)
{
    const char *name;
    json_t *item;
    size_t index;
    json_object_foreach((json_t *)value, name, item)
    {
        const char prefix[] = "#/components/schemas/";
        if (strcmp(name, "$ref") == 0 &&
            json_object_get(schemas, json_string_value(item) + strlen(prefix)) == NULL)
            fail_msg("%s is not there", json_string_value(item));
        assert_references(item, schemas);
    }
    json_array_foreach(value, index, item) assert_references(item, schemas);
}

static void the_document_is_whole_for_both_roles(void **state)
{
    (void)state;
    for (int role = API_REPLICA; role <= API_GATEWAY; role++) {
        struct buffer out;
        buffer_init(&out, 1 << 20);
        api_openapi_write((enum api_role)role, "m", &out);
        json_t *root = load(&out);
        const json_t *paths = json_object_get(root, "paths");
        assert_string_equal(json_string_value(json_object_get(root, "openapi")), "3.1.0");
        assert_non_null(json_object_get(paths, "/v1/chat/completions"));
        assert_true((json_object_get(paths, "/metrics") != NULL) == (role == API_REPLICA));
        assert_references(root, json_object_get(json_object_get(root, "components"), "schemas"));
        json_decref(root);
        buffer_deinit(&out);
    }
}

static void every_field_of_the_table_is_in_its_requests_schema(void **state)
{
    (void)state;
    struct buffer out;
    buffer_init(&out, 1 << 20);
    api_openapi_write(API_REPLICA, "m", &out);
    json_t *root = load(&out);
    const json_t *schemas = json_object_get(json_object_get(root, "components"), "schemas");
    static const struct {
        unsigned scope;
        const char *name;
    } requests[] = {{SCOPE_CHAT, "ChatRequest"}, {SCOPE_TEXT, "TextRequest"}};
    for (size_t i = 0; i < 2; i++) {
        const json_t *fields =
            json_object_get(json_object_get(schemas, requests[i].name), "properties");
        size_t count = 0;
        for (size_t j = 0; j < request_field_count(); j++) {
            const struct request_field *field = request_field_at(j);
            if ((field->scope & requests[i].scope) == 0)
                continue;
            count++;
            assert_non_null(json_object_get(json_object_get(fields, field->name), "x-penstock"));
        }
        assert_int_equal(json_object_size(fields), count);
    }
    const json_t *heat = json_object_get(
        json_object_get(json_object_get(schemas, "ChatRequest"), "properties"), "temperature");
    char *text = json_dumps(heat, JSON_COMPACT);
    assert_string_equal(text,
                        "{\"x-penstock\":\"honoured\",\"allOf\":[{\"anyOf\":[{\"type\":"
                        "\"number\",\"minimum\":0.0,\"maximum\":2.0},{\"type\":\"null\"}]}]}");
    free(text);
    json_decref(root);
    buffer_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_of_schema_is_written_as_json_schema),
        cmocka_unit_test(the_document_is_whole_for_both_roles),
        cmocka_unit_test(every_field_of_the_table_is_in_its_requests_schema),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
