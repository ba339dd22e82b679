#include "tool_prompt.h"

#include "unit_test.h"

static json_t *told(const char *messages, const char *tools)
{
    json_t *list = json_loads(messages, 0, NULL);
    json_t *functions = tools != NULL ? json_loads(tools, 0, NULL) : NULL;
    json_t *out = NULL;
    assert_int_equal(tool_prompt_messages(list, functions, &out), STATUS_OK);
    json_decref(list);
    json_decref(functions);
    return out;
}

static const char *content(const json_t *messages, size_t index)
{
    return json_string_value(json_object_get(json_array_get(messages, index), "content"));
}

static const char *role(const json_t *messages, size_t index)
{
    return json_string_value(json_object_get(json_array_get(messages, index), "role"));
}

static const char tools[] = "[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]";

static void tools_are_told_behind_the_system_message(void **state)
{
    (void)state;
    json_t *out = told("[{\"role\":\"system\",\"content\":\"Be brief.\"},"
                       "{\"role\":\"user\",\"content\":\"hi\"}]",
                       tools);
    assert_int_equal(json_array_size(out), 2);
    assert_true(strncmp(content(out, 0), "Be brief.\n\nYou can call", 23) == 0);
    assert_non_null(strstr(content(out, 0), "<tools>\n{\"type\": \"function\", "
                                            "\"function\": {\"name\": \"f\"}}\n</tools>\n"));
    json_decref(out);
}

static void a_conversation_without_a_system_message_gets_one(void **state)
{
    (void)state;
    json_t *out = told("[{\"role\":\"user\",\"content\":\"hi\"}]", tools);
    assert_int_equal(json_array_size(out), 2);
    assert_string_equal(role(out, 0), "system");
    assert_string_equal(content(out, 1), "hi");
    json_decref(out);
}

static void calls_and_results_become_text(void **state)
{
    (void)state;
    json_t *out =
        told("[{\"role\":\"assistant\",\"content\":\"So.\",\"tool_calls\":[{\"function\":{\"name\":"
             "\"f\","
             "\"arguments\":{\"a\":1}}},{\"function\":{\"name\":\"g\"}}]},"
             "{\"role\":\"tool\",\"content\":\"one\"},{\"role\":\"tool\",\"content\":\"two\"},"
             "{\"role\":\"user\",\"content\":\"And?\"}]",
             NULL);
    assert_int_equal(json_array_size(out), 3);
    assert_string_equal(content(out, 0),
                        "So.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n"
                        "</tool_call>\n<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n"
                        "</tool_call>");
    assert_string_equal(role(out, 1), "user");
    assert_string_equal(content(out, 1), "<tool_response>\none\n</tool_response>\n"
                                         "<tool_response>\ntwo\n</tool_response>");
    assert_string_equal(content(out, 2), "And?");
    json_decref(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tools_are_told_behind_the_system_message),
        cmocka_unit_test(a_conversation_without_a_system_message_gets_one),
        cmocka_unit_test(calls_and_results_become_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
