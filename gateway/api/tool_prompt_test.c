#include "tool_prompt.h"

#include "chat_template.h"
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

/* Phi-4-mini-instruct's own template. */
static const char phi4_template[] =
    "{% for message in messages %}{% if message['role'] == 'system' and 'tools' in message and "
    "message['tools'] is not none %}{{ '<|' + message['role'] + '|>' + message['content'] + "
    "'<|tool|>' + message['tools'] + '<|/tool|>' + '<|end|>' }}{% else %}{{ '<|' + "
    "message['role'] + '|>' + message['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}";

static void check_phi4(const char *messages, const char *functions, bool has_member,
                       const char *wanted)
{
    chat_template *chat = NULL;
    struct error_note note = {""};
    json_t *list = json_loads(messages, 0, NULL), *out = NULL;
    json_t *known = functions != NULL ? json_loads(functions, 0, NULL) : NULL;
    struct text_span_list trusted = {0};
    struct buffer text;
    buffer_init(&text, 1 << 16);
    assert_int_equal(chat_template_create(text_slice_of(phi4_template), &chat, &note), STATUS_OK);
    assert_int_equal(chat_template_tool_form(chat), TOOL_FORM_NONE);
    assert_int_equal(tool_prompt_messages_phi4(list, known, has_member, &out), STATUS_OK);
    struct chat_template_input input = {.messages = out,
                                        .bos_token = "",
                                        .eos_token = "<|endoftext|>",
                                        .add_generation_prompt = true};
    assert_int_equal(chat_template_render(chat, &input, &text, &trusted, &note), STATUS_OK);
    assert_true(text_slice_is(buffer_slice(&text), wanted));
    text_span_list_deinit(&trusted);
    buffer_deinit(&text);
    chat_template_destroy(chat);
    json_decref(out);
    json_decref(known);
    json_decref(list);
}

static void phi4_mini_gets_tools_as_it_was_trained(void **state)
{
    (void)state;
#define TOLD "<|tool|>[{\"name\": \"f\"}]<|/tool|><|end|><|user|>hi<|end|><|assistant|>"
    check_phi4("[{\"role\":\"system\",\"content\":\"Be brief.\"},"
               "{\"role\":\"user\",\"content\":\"hi\"}]",
               tools, true, "<|system|>Be brief." TOLD);
    check_phi4("[{\"role\":\"system\",\"content\":\"Be brief.\"},"
               "{\"role\":\"user\",\"content\":\"hi\"}]",
               tools, false, "<|system|>Be brief." TOLD);
    check_phi4("[{\"role\":\"user\",\"content\":\"hi\"}]", tools, true,
               "<|system|>You are a helpful assistant with some tools." TOLD);
    check_phi4(
        "[{\"role\":\"user\",\"content\":\"hi\"},"
        "{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"function\":{\"name\":\"f\","
        "\"arguments\":{\"a\":1}}},{\"function\":{\"name\":\"g\"}}]},"
        "{\"role\":\"tool\",\"content\":\"four\"}]",
        NULL, true,
        "<|user|>hi<|end|><|assistant|><|tool_call|>[{\"name\": \"f\", \"arguments\": "
        "{\"a\": 1}}, {\"name\": \"g\", \"arguments\": {}}]<|/tool_call|><|end|>"
        "<|tool_response|>four<|end|><|assistant|>");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tools_are_told_behind_the_system_message),
        cmocka_unit_test(a_conversation_without_a_system_message_gets_one),
        cmocka_unit_test(calls_and_results_become_text),
        cmocka_unit_test(phi4_mini_gets_tools_as_it_was_trained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
