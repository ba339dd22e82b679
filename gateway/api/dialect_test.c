/* What the other APIs' bodies become: chat messages, tools and choices, and errors in their words. */

#include "responses.h"

#include "unit_test.h"

static const struct api_limits limits = {
    .messages_max = 8,
    .stops_max = 4,
    .n_max = 8,
    .logit_bias_max = 3,
    .json_depth_max = 32,
    .json_values_max = 500,
    .stop_bytes_max = 16,
    .prompt_bytes_max = 64,
    .vocabulary = 1000,
};

/* One answer is kept: its id is "resp_1", its one item has the id "msg_1". */
#define KEPT                                                                                       \
    "{\"role\":\"user\",\"content\":\"before\"},"                                                  \
    "{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"content\":"                   \
    "[{\"type\":\"output_text\",\"text\":\"said\"}]}"

static status find(void *context, struct text_slice id, struct buffer *out)
{
    (void)context;
    if (!text_slice_is(id, "resp_1"))
        return STATUS_NOT_FOUND;
    buffer_append_text(out, KEPT);
    return STATUS_OK;
}

static json_t *find_item(void *context, const char *id)
{
    (void)context;
    json_t *items = strcmp(id, "msg_1") == 0 ? json_loads("[" KEPT "]", 0, NULL) : NULL;
    json_t *item = json_incref(json_array_get(items, 1));
    json_decref(items);
    return item;
}

static const struct api_history history = {NULL, find, find_item};

static status parse(const struct wire_format *format, const char *body,
                    struct api_completion_request *out, struct api_error *error)
{
    struct wire_request source = {text_slice_of(body), &limits, &history};
    memset(error, 0, sizeof *error);
    return format->parse(&source, out, error);
}

static struct api_completion_request parse_good(const struct wire_format *format, const char *body)
{
    struct api_completion_request request;
    struct api_error error;
    if (parse(format, body, &request, &error) != STATUS_OK)
        fail_msg("%s: %s", body, error.message);
    return request;
}

/* `expected` may use ' for ". */
static void check_json(const json_t *got, const char *expected)
{
    char text[4096];
    snprintf(text, sizeof text, "%s", expected);
    for (char *c = text; *c != '\0'; c++)
        *c = *c == '\'' ? '"' : *c;
    json_t *wanted = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(wanted);
    if (json_equal((json_t *)got, wanted) != 1) {
        char *shown = json_dumps(got, JSON_ENCODE_ANY);
        fail_msg("got %s\nwanted %s", shown, text);
    }
    json_decref(wanted);
}

static void check_messages(const struct wire_format *format, const char *body, const char *expected)
{
    struct api_completion_request request = parse_good(format, body);
    check_json(request.messages, expected);
    api_completion_request_deinit(&request);
}

#define MESSAGES(members) "{\"model\":\"m\",\"max_tokens\":5," members "}"
#define USER              "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

static void blocks_become_chat_messages(void **state)
{
    (void)state;
    check_messages(&wire_format_messages,
                   MESSAGES("\"system\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\","
                            "\"text\":\"b\"}]," USER),
                   "[{'role':'system','content':'a\\nb'},{'role':'user','content':'hi'}]");
    check_messages(
        &wire_format_messages,
        MESSAGES("\"messages\":[{\"role\":\"assistant\",\"content\":["
                 "{\"type\":\"thinking\",\"thinking\":\"why\",\"signature\":\"\"},"
                 "{\"type\":\"text\",\"text\":\"so\"},"
                 "{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"f\",\"input\":{\"a\":1}}]},"
                 "{\"role\":\"user\",\"content\":["
                 "{\"type\":\"text\",\"text\":\"and\"},"
                 "{\"type\":\"tool_result\",\"tool_use_id\":\"t1\",\"content\":\"x\"},"
                 "{\"type\":\"tool_result\",\"tool_use_id\":\"t2\"}]}]"),
        "[{'role':'assistant','content':'so','reasoning_content':'why','tool_calls':[{'id':'t1',"
        "'type':'function','function':{'name':'f','arguments':{'a':1}}}]},"
        "{'role':'tool','tool_call_id':'t1','content':'x'},"
        "{'role':'tool','tool_call_id':'t2','content':''},{'role':'user','content':'and'}]");
}

#define MARK_5M                ",\"cache_control\":{\"type\":\"ephemeral\"}"
#define MARK_1H                ",\"cache_control\":{\"type\":\"ephemeral\",\"ttl\":\"1h\"}"
#define TEXT_BLOCK(text, mark) "{\"type\":\"text\",\"text\":\"" text "\"" mark "}"

static void marks_stand_where_their_block_ends_and_leave_no_trace(void **state)
{
    (void)state;
    struct api_completion_request request = parse_good(
        &wire_format_messages,
        MESSAGES("\"system\":[" TEXT_BLOCK("ab", MARK_1H) "," TEXT_BLOCK(
            "cd", "") "],"
                      "\"messages\":[{\"role\":\"user\",\"content\":[" TEXT_BLOCK(
                          "x", MARK_5M) "," TEXT_BLOCK("yz", MARK_5M) "," TEXT_BLOCK("w",
                                                                                     "") "]}]"));
    const struct api_cache_mark *marks = request.cache_marks;
    assert_int_equal(marks[CACHE_TTL_1H].place, CACHE_MESSAGE);
    assert_int_equal(marks[CACHE_TTL_1H].message, 0);
    assert_int_equal(marks[CACHE_TTL_1H].bytes, 2);
    assert_int_equal(marks[CACHE_TTL_5M].place, CACHE_MESSAGE);
    assert_int_equal(marks[CACHE_TTL_5M].message, 1);
    assert_int_equal(marks[CACHE_TTL_5M].bytes, 4); /* x, a newline, yz */
    check_json(request.messages, "[{'role':'system','content':'ab\\ncd'},"
                                 "{'role':'user','content':'x\\nyz\\nw'}]");
    api_completion_request_deinit(&request);

    request = parse_good(
        &wire_format_messages,
        MESSAGES(
            "\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\","
            "\"content\":[{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"f\",\"input\":{}" MARK_5M
            "}]},{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\","
            "\"tool_use_id\":\"t\",\"content\":\"four\"" MARK_1H "}]}]"));
    marks = request.cache_marks;
    assert_int_equal(marks[CACHE_TTL_5M].message, 1);
    assert_int_equal(marks[CACHE_TTL_5M].bytes, 0);
    assert_int_equal(marks[CACHE_TTL_1H].message, 2);
    assert_int_equal(marks[CACHE_TTL_1H].bytes, 4);
    check_json(json_array_get(request.messages, 2),
               "{'role':'tool','tool_call_id':'t','content':'four'}");
    api_completion_request_deinit(&request);

    request = parse_good(&wire_format_messages,
                         MESSAGES("\"cache_control\":{\"type\":\"ephemeral\"}," USER));
    assert_int_equal(request.cache_marks[CACHE_TTL_5M].place, CACHE_PROMPT);
    api_completion_request_deinit(&request);
}

static void messages_fields_mean_what_chats_do(void **state)
{
    (void)state;
    struct api_completion_request request = parse_good(
        &wire_format_messages,
        MESSAGES("\"stop_sequences\":[\"x\",\"y\"],\"temperature\":0.5,\"top_k\":7,\"stream\":true,"
                 "\"metadata\":{\"user_id\":\"u\"},\"min_p\":0.25,\"tools\":[{\"name\":\"f\","
                 "\"description\":\"d\",\"input_schema\":{\"type\":\"object\"},"
                 "\"cache_control\":{\"type\":\"ephemeral\",\"ttl\":\"1h\"}}]," USER));
    assert_int_equal(request.max_tokens, 5);
    assert_int_equal(request.stop_count, 2);
    assert_true(text_slice_is(request.stops[1], "y"));
    assert_true(request.sampling.temperature == 0.5f && request.sampling.min_p == 0.25f);
    assert_int_equal(request.sampling.top_k, 7);
    assert_true(request.stream && !request.continue_final_message);
    assert_int_equal(request.cache_marks[CACHE_TTL_1H].place, CACHE_TOOLS);
    assert_int_equal(request.cache_marks[CACHE_TTL_5M].place, CACHE_NOWHERE);
    assert_string_equal(request.user, "u");
    check_json(request.tools, "[{'type':'function','function':{'name':'f','description':'d',"
                              "'parameters':{'type':'object'}}}]");
    check_json(request.template_variables, "{'enable_thinking':false,'thinking':false}");
    assert_int_equal(request.reasoning_budget, -1);
    api_completion_request_deinit(&request);

    request = parse_good(&wire_format_messages,
                         MESSAGES("\"thinking\":{\"type\":\"adaptive\"},\"messages\":[{\"role\":"
                                  "\"assistant\",\"content\":\"I\"}]"));
    assert_true(request.continue_final_message && !request.add_generation_prompt);
    check_json(request.template_variables, "{'enable_thinking':true,'thinking':true}");
    api_completion_request_deinit(&request);

    request =
        parse_good(&wire_format_messages,
                   MESSAGES("\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":2000}," USER));
    assert_int_equal(request.reasoning_budget, 2000);
    check_json(request.template_variables, "{'enable_thinking':true,'thinking':true}");
    api_completion_request_deinit(&request);
}

#define RESPONSES(members) "{\"model\":\"m\"," members "}"

static void items_become_chat_messages(void **state)
{
    (void)state;
    check_messages(&wire_format_responses, RESPONSES("\"input\":\"hi\",\"instructions\":\"do\""),
                   "[{'role':'system','content':'do'},{'role':'user','content':'hi'}]");
    check_messages(
        &wire_format_responses,
        RESPONSES(
            "\"input\":[{\"role\":\"developer\",\"content\":\"d\"},"
            "{\"type\":\"reasoning\",\"summary\":[],\"content\":[{\"type\":\"reasoning_text\","
            "\"text\":\"why\"}]},"
            "{\"role\":\"assistant\",\"content\":[{\"type\":\"output_text\",\"text\":\"so\"}]},"
            "{\"type\":\"function_call\",\"call_id\":\"c1\",\"name\":\"f\",\"arguments\":\"{}\"},"
            "{\"type\":\"function_call\",\"call_id\":\"c2\",\"name\":\"g\",\"arguments\":\"{}\"},"
            "{\"type\":\"function_call_output\",\"call_id\":\"c1\",\"output\":\"x\"},"
            "{\"type\":\"function_call\",\"call_id\":\"c3\",\"name\":\"g\",\"arguments\":\"{}\"}]"),
        "[{'role':'system','content':'d'},"
        "{'role':'assistant','content':'so','reasoning_content':'why','tool_calls':["
        "{'id':'c1','type':'function','function':{'name':'f','arguments':{}}},"
        "{'id':'c2','type':'function','function':{'name':'g','arguments':{}}}]},"
        "{'role':'tool','tool_call_id':'c1','content':'x'},"
        "{'role':'assistant','content':'','tool_calls':["
        "{'id':'c3','type':'function','function':{'name':'g','arguments':{}}}]}]");
    check_messages(&wire_format_responses,
                   RESPONSES("\"previous_response_id\":\"resp_1\",\"instructions\":\"new\","
                             "\"input\":\"hi\""),
                   "[{'role':'system','content':'new'},{'role':'user','content':'before'},"
                   "{'role':'assistant','content':'said'},{'role':'user','content':'hi'}]");
    check_messages(&wire_format_responses,
                   RESPONSES("\"input\":[{\"type\":\"item_reference\",\"id\":\"msg_1\"}]"),
                   "[{'role':'assistant','content':'said'}]");
}

static void a_response_keeps_what_it_will_say_again(void **state)
{
    (void)state;
    struct api_completion_request request = parse_good(
        &wire_format_responses,
        RESPONSES(
            "\"input\":[{\"id\":\"own\",\"role\":\"user\",\"content\":\"hi\"}],\"store\":false,"
            "\"max_output_tokens\":7,\"previous_response_id\":\"resp_1\",\"text\":{},"
            "\"metadata\":{\"a\":\"b\"}"));
    assert_false(request.responses->is_stored);
    assert_int_equal(request.max_tokens, 7);
    assert_true(text_slice_is(buffer_slice(&request.responses->context), KEPT));
    json_t *input = json_loads(request.responses->input.data, 0, NULL);
    check_json(input, "{'id':'own','type':'message','role':'user','status':'completed',"
                      "'content':[{'type':'input_text','text':'hi'}]}");
    json_decref(input);
    struct buffer object;
    buffer_init(&object, 4096);
    buffer_append_text(&object, "{\"x\":0");
    buffer_append_slice(&object, buffer_slice(&request.responses->echo));
    buffer_append_byte(&object, '}');
    json_t *echo = json_loads(object.data, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(echo);
    check_json(json_object_get(echo, "metadata"), "{'a':'b'}");
    check_json(json_object_get(echo, "text"), "{'format':{'type':'text'}}");
    check_json(json_object_get(echo, "max_output_tokens"), "7");
    check_json(json_object_get(echo, "tools"), "[]");
    check_json(json_object_get(echo, "store"), "false");
    json_decref(echo);
    buffer_deinit(&object);
    api_completion_request_deinit(&request);
}

struct bad_row {
    const struct wire_format *format;
    const char *body, *param;
};

static void errors_name_the_clients_own_field(void **state)
{
    (void)state;
    static const struct bad_row rows[] = {
        {&wire_format_messages, "{\"model\":\"m\"," USER "}", "max_tokens"},
        {&wire_format_messages, MESSAGES("\"messages\":[]"), "messages"},
        {&wire_format_messages, MESSAGES("\"messages\":[{\"role\":\"user\"}]"),
         "messages[0].content"},
        {&wire_format_messages, MESSAGES("\"stop_sequences\":[\"\"]," USER), "stop_sequences[0]"},
        {&wire_format_messages, MESSAGES("\"metadata\":{\"user_id\":7}," USER), "metadata.user_id"},
        {&wire_format_messages,
         MESSAGES("\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"x\","
                  "\"cache_control\":{\"type\":\"eternal\"}}]}]"),
         "messages[0].content[0].cache_control.type"},
        {&wire_format_messages,
         MESSAGES("\"messages\":[{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\","
                  "\"id\":\"a\",\"name\":\"f\",\"input\":\"x\"}]}]"),
         "messages[0].content[0].input"},
        {&wire_format_messages, MESSAGES("\"n\":2," USER), "n"},
        {&wire_format_responses, RESPONSES("\"store\":true"), "input"},
        {&wire_format_responses, RESPONSES("\"input\":\"x\",\"max_output_tokens\":0"),
         "max_output_tokens"},
        {&wire_format_responses, RESPONSES("\"input\":\"x\",\"background\":true"), "background"},
        {&wire_format_responses, RESPONSES("\"input\":\"x\",\"previous_response_id\":\"resp_2\""),
         "previous_response_id"},
        {&wire_format_responses,
         RESPONSES("\"input\":[{\"type\":\"item_reference\",\"id\":\"msg_2\"}]"), "input[0].id"},
        {&wire_format_responses,
         RESPONSES("\"input\":[{\"type\":\"function_call_output\",\"call_id\":\"c\"}]"),
         "input[0].output"},
        {&wire_format_responses,
         RESPONSES("\"input\":\"x\",\"tool_choice\":{\"type\":\"web_search\"}"),
         "tool_choice.type"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct api_completion_request request;
        struct api_error error;
        status s = parse(rows[i].format, rows[i].body, &request, &error);
        if (s == STATUS_OK || strcmp(error.param, rows[i].param) != 0)
            fail_msg("%s: %s %s", rows[i].body, error.param, error.message);
    }
}

static void page(const char *query, const char *expected)
{
    struct buffer out;
    struct api_error error;
    const char *items = "{\"id\":\"a\"},{\"id\":\"b\"},{\"id\":\"c\"}";
    buffer_init(&out, 4096);
    assert_int_equal(
        api_responses_write_items(&out, text_slice_of(items), text_slice_of(query), &error),
        STATUS_OK);
    json_t *root = json_loads(out.data, 0, NULL);
    check_json(root, expected);
    json_decref(root);
    buffer_deinit(&out);
}

static void items_are_listed_in_pages(void **state)
{
    (void)state;
    struct buffer out;
    struct api_error error;
    page("", "{'object':'list','data':[{'id':'c'},{'id':'b'},{'id':'a'}],'first_id':'c',"
             "'last_id':'a','has_more':false}");
    page("order=asc&limit=2", "{'object':'list','data':[{'id':'a'},{'id':'b'}],'first_id':'a',"
                              "'last_id':'b','has_more':true}");
    page("after=b&order=asc", "{'object':'list','data':[{'id':'c'}],'first_id':'c','last_id':'c',"
                              "'has_more':false}");
    page("after=c&limit=1&include[]=x", "{'object':'list','data':[{'id':'b'}],'first_id':'b',"
                                        "'last_id':'b','has_more':true}");
    page("after=a", "{'object':'list','data':[],'first_id':'','last_id':'','has_more':false}");
    buffer_init(&out, 4096);
    static const char *const wrong[] = {"limit=0", "limit=101", "limit=x", "order=up"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(
            api_responses_write_items(&out, text_slice_of(""), text_slice_of(wrong[i]), &error),
            STATUS_INVALID);
    buffer_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_become_chat_messages),
        cmocka_unit_test(messages_fields_mean_what_chats_do),
        cmocka_unit_test(marks_stand_where_their_block_ends_and_leave_no_trace),
        cmocka_unit_test(items_become_chat_messages),
        cmocka_unit_test(a_response_keeps_what_it_will_say_again),
        cmocka_unit_test(errors_name_the_clients_own_field),
        cmocka_unit_test(items_are_listed_in_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
