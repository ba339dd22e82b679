/* The events of an answer with reasoning, text and a call, byte for byte: names, order and numbers
 * are what stream helpers live by. */

#include "responses.h"

#include "unit_test.h"

static const struct output_delta deltas[] = {
    {.kind = OUTPUT_REASONING, .text = {"why", 3}},
    {.kind = OUTPUT_TEXT, .text = {"a\n", 2}},
    {.kind = OUTPUT_TEXT, .text = {"b", 1}},
    {.kind = OUTPUT_TOOL_BEGIN, .tool_name = {"f", 1}},
    {.kind = OUTPUT_TOOL_ARGUMENTS, .text = {"{}", 2}},
    {.kind = OUTPUT_TOOL_END},
};

/* The whole stream. */
static void stream(const struct wire_format *format, struct api_answer *answer,
                   enum finish_reason finish, struct buffer *out)
{
    struct output_items items;
    struct api_usage usage = {.prompt_tokens = 9,
                              .cached_tokens = 4,
                              .cache_write_tokens = 2,
                              .marked_write_tokens = 2,
                              .long_write_tokens = 1,
                              .completion_tokens = 6,
                              .reasoning_tokens = 1};
    struct api_choice choice = {.items = &items, .stop_token = -1};
    output_items_init(&items, 1 << 16);
    format->stream_begin(out, answer, &choice, &usage);
    for (size_t i = 0; i < sizeof deltas / sizeof deltas[0]; i++) {
        output_items_add(&items, &deltas[i]);
        choice.delta = &deltas[i];
        format->stream_delta(out, answer, &choice, &usage);
    }
    choice.delta = NULL;
    choice.finish = finish;
    choice.call_count = 1;
    format->stream_finish(out, answer, &choice, &usage);
    format->stream_end(out, answer, &usage);
    output_items_deinit(&items);
}

#define EVENT(name, rest) "event: " name "\ndata: {\"type\":\"" name "\"" rest "}\n\n"
#define BLOCK(name, rest) EVENT(name, ",\"index\":" rest)

static void messages_events_are_anthropics(void **state)
{
    (void)state;
    struct api_completion_request request = {0};
    struct api_answer answer = {.id = "msg_u", .unique = "u", .model = "m", .request = &request};
    struct buffer out;
    buffer_init(&out, 1 << 16);
    stream(&wire_format_messages, &answer, FINISH_STOP, &out);
#define CACHE_SPLIT                                                                                \
    "\"cache_creation\":{\"ephemeral_5m_input_tokens\":1,\"ephemeral_1h_input_tokens\":1},"
#define USAGE(split)                                                                               \
    "\"usage\":{\"input_tokens\":3,\"cache_creation_input_tokens\":2,"                             \
    "\"cache_read_input_tokens\":4," split "\"output_tokens\":6,"                                  \
    "\"output_tokens_details\":{\"thinking_tokens\":1}}"
    assert_string_equal(
        out.data,
        EVENT(
            "message_start",
            ",\"message\":{\"id\":\"msg_u\",\"type\":\"message\",\"role\":\"assistant\",\"model\":"
            "\"m\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null," USAGE(
                CACHE_SPLIT) "}") EVENT("ping", "")
            BLOCK(
                "content_block_start",
                "0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}")
                BLOCK("content_block_delta",
                      "0,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"why\"}")
                    BLOCK("content_block_stop",
                          "0") BLOCK("content_block_start",
                                     "1,\"content_block\":{\"type\":\"text\",\"text\":\"\"}")
                        BLOCK("content_block_delta",
                              "1,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\\n\"}")
                            BLOCK("content_block_delta",
                                  "1,\"delta\":{\"type\":\"text_delta\",\"text\":\"b\"}")
                                BLOCK("content_block_stop",
                                      "1") BLOCK("content_block_start",
                                                 "2,\"content_block\":{\"type\":\"tool_use\","
                                                 "\"id\":\"toolu_u0000\",\"name\":\"f\","
                                                 "\"input\":{}}")
                                    BLOCK("content_block_delta",
                                          "2,\"delta\":{\"type\":\"input_json_delta\",\"partial_"
                                          "json\":\"{}\"}") BLOCK("content_block_stop", "2")
                                        EVENT("message_delta",
                                              ",\"delta\":{\"stop_reason\":\"tool_use\",\"stop_"
                                              "sequence\":null}," USAGE(""))
                                            EVENT("message_stop", ""));
    buffer_deinit(&out);
}

#define NUMBERED(name, number, rest) EVENT(name, ",\"sequence_number\":" number rest)
#define RESPONSE_BEGUN                                                                             \
    ",\"response\":{\"id\":\"resp_u\",\"object\":\"response\",\"created_at\":7,"                   \
    "\"status\":\"in_progress\",\"error\":null,\"incomplete_details\":null,\"model\":\"m\","       \
    "\"output\":[],\"store\":true,\"service_tier\":\"default\",\"usage\":null}"
#define REASONING_ITEM                                                                             \
    "{\"id\":\"rs_u0000\",\"type\":\"reasoning\",\"status\":\"completed\",\"summary\":[],"         \
    "\"content\":[{\"type\":\"reasoning_text\",\"text\":\"why\"}]}"
#define TEXT_PART(text)                                                                            \
    "{\"type\":\"output_text\",\"text\":\"" text "\",\"annotations\":[],\"logprobs\":[]}"
#define TEXT_ITEM                                                                                  \
    "{\"id\":\"msg_u0001\",\"type\":\"message\",\"status\":\"completed\",\"role\":\"assistant\","  \
    "\"content\":[" TEXT_PART("a\\nb") "]}"
#define CALL_ITEM(state, arguments)                                                                \
    "{\"id\":\"fc_u0002\",\"type\":\"function_call\",\"status\":\"" state "\","                    \
    "\"call_id\":\"call_u0000\",\"name\":\"f\",\"arguments\":\"" arguments "\"}"
#define PLACE(id, index) ",\"item_id\":\"" id "\",\"output_index\":" index
#define PART(id, index)  PLACE(id, index) ",\"content_index\":0"

static void responses_events_are_openais(void **state)
{
    (void)state;
    struct api_responses responses = {.is_stored = true};
    struct api_completion_request request = {.responses = &responses};
    struct api_answer answer = {
        .id = "resp_u", .unique = "u", .model = "m", .created_s = 7, .request = &request};
    struct buffer out;
    buffer_init(&responses.echo, 64);
    buffer_append_text(&responses.echo, ",\"store\":true");
    buffer_init(&out, 1 << 16);
    stream(&wire_format_responses, &answer, FINISH_STOP, &out);
    assert_string_equal(
        out.data,
        NUMBERED("response.created", "0", RESPONSE_BEGUN) NUMBERED(
            "response.in_progress", "1",
            RESPONSE_BEGUN) NUMBERED("response.output_item.added", "2",
                                     ",\"output_index\":0,\"item\":{\"id\":\"rs_u0000\","
                                     "\"type\":\"reasoning\","
                                     "\"status\":\"in_progress\",\"summary\":[],\"content\":[]"
                                     "}") NUMBERED("response.content_part.added", "3",
                                                   PART("rs_u0000",
                                                        "0") ",\"part\":{\"type\":\"reasoning_"
                                                             "text\",\"text\":\"\"}")
            NUMBERED(
                "response.reasoning_text.delta", "4",
                PART("rs_u0000",
                     "0") ",\"delta\":\"why\"") NUMBERED("response.reasoning_text.done", "5",
                                                         PART("rs_u0000", "0") ",\"text\":\"why\"")
                NUMBERED("response.content_part.done", "6",
                         PART("rs_u0000", "0") ",\"part\":{\"type\":\"reasoning_text\",\"text\":"
                                               "\"why\"}") NUMBERED("response.output_item.done",
                                                                    "7",
                                                                    ",\"output_index\":0,"
                                                                    "\"item\":" REASONING_ITEM)
                    NUMBERED(
                        "response.output_item.added", "8",
                        ",\"output_index\":1,\"item\":{\"id\":\"msg_u0001\",\"type\":\"message\","
                        "\"status\":\"in_progress\",\"role\":\"assistant\",\"content\":[]}")
                        NUMBERED("response.content_part.added", "9",
                                 PART("msg_u0001", "1") ",\"part\":" TEXT_PART(
                                     "")) NUMBERED("response.output_text.delta", "10",
                                                   PART("msg_u0001",
                                                        "1") ",\"delta\":\"a\\n\",\"logprobs\":[]")
                            NUMBERED("response.output_text.delta", "11",
                                     PART("msg_u0001", "1") ",\"delta\":\"b\",\"logprobs\":[]")
                                NUMBERED(
                                    "response.output_text.done", "12",
                                    PART("msg_u0001", "1") ",\"text\":\"a\\nb\",\"logprobs\":[]")
                                    NUMBERED("response.content_part.done", "13",
                                             PART("msg_u0001", "1") ",\"part\":" TEXT_PART(
                                                 "a\\nb")) NUMBERED("response.output_item.done",
                                                                    "14",
                                                                    ",\"output_index\":1,"
                                                                    "\"item\":" TEXT_ITEM)
                                        NUMBERED("response.output_item.added", "15",
                                                 ",\"output_index\":2,\"item\":" CALL_ITEM(
                                                     "in_progress",
                                                     "")) NUMBERED("response.function_call_"
                                                                   "arguments.delta",
                                                                   "16",
                                                                   PLACE("fc_u0002",
                                                                         "2") ",\"delta\":\"{}\"")
                                            NUMBERED("response.function_call_arguments.done", "17",
                                                     PLACE("fc_u0002", "2") ",\"arguments\":\"{}\"")
                                                NUMBERED("response.output_item.done", "18",
                                                         ",\"output_index\":2,\"item\":" CALL_ITEM(
                                                             "completed", "{}"))
                                                    NUMBERED(
                                                        "response.completed", "19",
                                                        ",\"response\":{\"id\":\"resp_u\","
                                                        "\"object\":\"response\",\"created_at\":7,"
                                                        "\"status\":\"completed\",\"error\":null,"
                                                        "\"incomplete_details\":null,\"model\":"
                                                        "\"m\","
                                                        "\"output\":[" REASONING_ITEM "," TEXT_ITEM
                                                        "," CALL_ITEM(
                                                            "completed",
                                                            "{}") "],\"store\":true,\"service_"
                                                                  "tier\":\"default\",\"usage\":{"
                                                                  "\"input_tokens\":9,"
                                                                  "\"input_tokens_details\":{"
                                                                  "\"cached_tokens\":4,\"cache_"
                                                                  "write_tokens\":2},"
                                                                  "\"output_tokens\":6,\"output_"
                                                                  "tokens_details\":{\"reasoning_"
                                                                  "tokens\":1},"
                                                                  "\"total_tokens\":15}}"));
    buffer_deinit(&out);
    buffer_deinit(&responses.echo);
}

static void a_whole_answer_is_what_its_stream_ends_with(void **state)
{
    (void)state;
    struct api_responses responses = {.is_stored = true};
    struct api_completion_request request = {.responses = &responses};
    struct api_answer answer = {
        .id = "resp_u", .unique = "u", .model = "m", .created_s = 7, .request = &request};
    struct api_answer again = answer;
    struct api_usage usage = {.prompt_tokens = 9,
                              .cached_tokens = 4,
                              .cache_write_tokens = 2,
                              .completion_tokens = 6,
                              .reasoning_tokens = 1};
    struct output_items items;
    struct api_choice choice = {
        .items = &items, .finish = FINISH_LENGTH, .stop_token = -1, .call_count = 1};
    struct buffer events, whole, record, output;
    buffer_init(&responses.echo, 64);
    buffer_init(&events, 1 << 16);
    buffer_init(&whole, 1 << 16);
    buffer_init(&record, 1 << 16);
    buffer_init(&output, 1 << 16);
    output_items_init(&items, 1 << 16);
    for (size_t i = 0; i < sizeof deltas / sizeof deltas[0]; i++)
        output_items_add(&items, &deltas[i]);
    stream(&wire_format_responses, &answer, FINISH_LENGTH, &events);
    wire_format_responses.answer_begin(&whole, &again);
    wire_format_responses.answer_choice(&whole, &again, &choice);
    wire_format_responses.answer_end(&whole, &again, &usage);
    assert_non_null(strstr(events.data, "event: response.incomplete\n"));
    assert_non_null(
        strstr(whole.data, "\"incomplete_details\":{\"reason\":\"max_output_tokens\"}"));
    assert_non_null(strstr(events.data, whole.data));
    wire_format_responses.record_write(&again, &choice, &usage, &record, &output);
    assert_string_equal(record.data, whole.data);
    assert_non_null(strstr(whole.data, output.data));
    output_items_deinit(&items);
    buffer_deinit(&output);
    buffer_deinit(&record);
    buffer_deinit(&whole);
    buffer_deinit(&events);
    buffer_deinit(&responses.echo);
}

static void errors_have_each_apis_shape(void **state)
{
    (void)state;
    struct api_error error;
    struct buffer out;
    buffer_init(&out, 1 << 16);
    api_error_set(&error, 429, "rate_limit_error", "overloaded", "input", "too \"much\"");
    wire_format_messages.error_write(&out, &error, "req_1");
    assert_string_equal(out.data,
                        "{\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":"
                        "\"input: too \\\"much\\\"\"},\"request_id\":\"req_1\"}");
    buffer_clear(&out);
    wire_format_messages.stream_error(&out, NULL, &error, "req_1");
    assert_string_equal(out.data, "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":"
                                  "\"rate_limit_error\",\"message\":\"input: too \\\"much\\\"\"},"
                                  "\"request_id\":\"req_1\"}\n\n");
    buffer_clear(&out);
    wire_format_responses.stream_error(&out, NULL, &error, "req_1");
    assert_string_equal(out.data,
                        "event: error\ndata: {\"type\":\"error\",\"sequence_number\":0,\"code\":"
                        "\"overloaded\",\"message\":\"too \\\"much\\\"\",\"param\":null}\n\n");
    buffer_deinit(&out);
}

static void counts_have_each_apis_shape(void **state)
{
    (void)state;
    struct buffer out;
    buffer_init(&out, 1 << 10);
    wire_format_messages.count_write(&out, 12);
    assert_string_equal(out.data, "{\"input_tokens\":12}");
    buffer_clear(&out);
    wire_format_responses.count_write(&out, 12);
    assert_string_equal(out.data, "{\"object\":\"response.input_tokens\",\"input_tokens\":12}");
    buffer_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_events_are_anthropics),
        cmocka_unit_test(responses_events_are_openais),
        cmocka_unit_test(a_whole_answer_is_what_its_stream_ends_with),
        cmocka_unit_test(errors_have_each_apis_shape),
        cmocka_unit_test(counts_have_each_apis_shape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
