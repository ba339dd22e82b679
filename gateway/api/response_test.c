#include "openai_response.h"

#include <math.h>

#include "unit_test.h"
#include "utf8.h"

/* A vocabulary of the 256 bytes in GPT-2's alphabet, then "<end>", then "ab" twice spelled. */
#define TOKEN_END 256
#define TOKEN_AB  257

static tokenizer *words;

static size_t spell_byte(unsigned byte, char out[4])
{
    bool is_visible =
        (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
    unsigned before = 0; /* invisible bytes get the code points from 256 on, in order */
    for (unsigned b = 0; b < byte; b++)
        before += !((b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255));
    return utf8_encode(is_visible ? byte : 256 + before, out);
}

static int make_words(void **state)
{
    (void)state;
    static char spelled[256][4];
    static struct text_slice tokens[258];
    static int32_t attributes[258];
    for (unsigned i = 0; i < 256; i++) {
        tokens[i] = (struct text_slice){spelled[i], spell_byte(i, spelled[i])};
        attributes[i] = TOKEN_NORMAL;
    }
    tokens[TOKEN_END] = text_slice_of("<end>");
    attributes[TOKEN_END] = TOKEN_CONTROL;
    tokens[TOKEN_AB] = text_slice_of("ab");
    attributes[TOKEN_AB] = TOKEN_NORMAL;
    struct text_slice merge = text_slice_of("a b");
    struct tokenizer_source source = {
        .kind = "gpt2",
        .pre = "gpt-2",
        .token_count = 258,
        .tokens = tokens,
        .attributes = attributes,
        .merge_count = 1,
        .merges = &merge,
        .bos = -1,
        .eos = TOKEN_END,
        .eot = -1,
        .unknown = -1,
        .padding = -1,
    };
    struct error_note note = {""};
    status s = tokenizer_create(&source, &words, &note);
    if (s != STATUS_OK)
        print_error("%s\n", note.text);
    return s == STATUS_OK ? 0 : -1;
}

static int free_words(void **state)
{
    (void)state;
    tokenizer_destroy(words);
    return 0;
}

static const struct api_completion_request chat_request = {.is_chat = true};

static struct api_answer chat = {.id = "chatcmpl-1",
                                 .request = &chat_request,
                                 .unique = "1",
                                 .created_s = 1700000000,
                                 .model = "m\"x",
                                 .fingerprint = "fp_1"};
static const struct api_completion_request text_request = {.is_chat = false};

static struct api_answer text = {.id = "cmpl-1",
                                 .request = &text_request,
                                 .unique = "1",
                                 .created_s = 1700000000,
                                 .model = "m",
                                 .fingerprint = "fp_1"};

static json_t *read_back(const struct buffer *out)
{
    json_error_t error;
    assert_int_equal(out->failed, STATUS_OK);
    json_t *value = json_loadb(out->data, out->bytes, JSON_REJECT_DUPLICATES, &error);
    if (value == NULL)
        print_error("%s\n%.*s\n", error.text, (int)out->bytes, out->data);
    assert_non_null(value);
    return value;
}

/* The JSON of an event's data line. */
static json_t *read_event(const struct buffer *out)
{
    assert_memory_equal(out->data, "data: ", 6);
    assert_memory_equal(out->data + out->bytes - 2, "\n\n", 2);
    struct buffer inner = {.data = out->data + 6, .bytes = out->bytes - 8};
    assert_null(memchr(inner.data, '\n', inner.bytes));
    return read_back(&inner);
}

static const json_t *at(const json_t *value, const char *name)
{
    const json_t *member = json_object_get(value, name);
    if (member == NULL)
        print_error("no member %s\n", name);
    assert_non_null(member);
    return member;
}

static const char *text_at(const json_t *value, const char *name)
{
    const char *found = json_string_value(at(value, name));
    assert_non_null(found);
    return found;
}

static struct output_items text_items(const char *content)
{
    struct output_items items;
    struct output_delta delta = {.kind = OUTPUT_TEXT, .text = text_slice_of(content)};
    output_items_init(&items, 1 << 16);
    output_items_add(&items, &delta);
    return items;
}

static void a_chat_completion_has_all_members_of_the_official_type(void **state)
{
    (void)state;
    struct buffer out;
    struct api_usage usage = {.prompt_tokens = 7, .cached_tokens = 4, .completion_tokens = 5};
    int32_t ids[] = {1, 2};
    struct output_items items = text_items("line\n\"q\" \xc3\xa9");
    struct api_choice choice = {
        .index = 0,
        .items = &items,
        .token_ids = ids,
        .token_count = 2,
        .finish = FINISH_STOP,
        .stop_text = text_slice_of("END"),
        .stop_token = -1,
    };
    buffer_init(&out, 1 << 20);
    struct api_answer answer = chat;
    answer.prompt_ids = ids;
    answer.prompt_count = 2;
    wire_format_chat.answer_begin(&out, &answer);
    wire_format_chat.answer_choice(&out, &answer, &choice);
    choice.index = 1;
    choice.finish = FINISH_LENGTH;
    choice.stop_text.bytes = 0;
    wire_format_chat.answer_choice(&out, &answer, &choice);
    wire_format_chat.answer_end(&out, &answer, &usage);
    json_t *root = read_back(&out);
    assert_string_equal(text_at(root, "object"), "chat.completion");
    assert_string_equal(text_at(root, "id"), "chatcmpl-1");
    assert_string_equal(text_at(root, "model"), "m\"x");
    assert_string_equal(text_at(root, "system_fingerprint"), "fp_1");
    assert_int_equal(json_integer_value(at(root, "created")), 1700000000);
    const json_t *choices = at(root, "choices");
    assert_int_equal(json_array_size(choices), 2);
    const json_t *first = json_array_get(choices, 0);
    assert_string_equal(text_at(at(first, "message"), "content"), "line\n\"q\" \xc3\xa9");
    assert_string_equal(text_at(at(first, "message"), "role"), "assistant");
    assert_true(json_is_null(at(at(first, "message"), "refusal")));
    assert_true(json_is_null(at(first, "logprobs")));
    assert_string_equal(text_at(first, "finish_reason"), "stop");
    assert_string_equal(text_at(first, "stop_reason"), "END");
    assert_int_equal(json_array_size(at(first, "token_ids")), 2);
    const json_t *second = json_array_get(choices, 1);
    assert_string_equal(text_at(second, "finish_reason"), "length");
    assert_true(json_is_null(at(second, "stop_reason")));
    const json_t *u = at(root, "usage");
    assert_int_equal(json_integer_value(at(u, "total_tokens")), 12);
    assert_int_equal(json_integer_value(at(at(u, "prompt_tokens_details"), "cached_tokens")), 4);
    assert_int_equal(json_integer_value(at(at(u, "completion_tokens_details"), "reasoning_tokens")),
                     0);
    assert_int_equal(json_array_size(at(root, "prompt_token_ids")), 2);
    json_decref(root);
    output_items_deinit(&items);
    buffer_deinit(&out);
}

static void calls_and_reasoning_stand_beside_the_content(void **state)
{
    (void)state;
    static const struct output_delta deltas[] = {
        {.kind = OUTPUT_REASONING, .text = {"why", 3}},
        {.kind = OUTPUT_TOOL_BEGIN, .tool_name = {"f", 1}},
        {.kind = OUTPUT_TOOL_ARGUMENTS, .text = {"{\"a\"", 4}},
        {.kind = OUTPUT_TOOL_ARGUMENTS, .text = {":1}", 3}},
        {.kind = OUTPUT_TOOL_END},
        {.kind = OUTPUT_TOOL_BEGIN, .tool_name = {"g", 1}, .tool_index = 1},
        {.kind = OUTPUT_TOOL_ARGUMENTS, .text = {"{}", 2}, .tool_index = 1},
    };
    struct buffer out;
    struct output_items items;
    struct api_usage usage = {.prompt_tokens = 1, .cached_tokens = 0, .completion_tokens = 2};
    struct api_choice choice = {
        .items = &items, .finish = FINISH_STOP, .stop_token = -1, .call_count = 2};
    buffer_init(&out, 1 << 20);
    output_items_init(&items, 1 << 16);
    for (size_t i = 0; i < sizeof deltas / sizeof deltas[0]; i++)
        output_items_add(&items, &deltas[i]);
    wire_format_chat.answer_begin(&out, &chat);
    wire_format_chat.answer_choice(&out, &chat, &choice);
    wire_format_chat.answer_end(&out, &chat, &usage);
    json_t *root = read_back(&out);
    const json_t *first = json_array_get(at(root, "choices"), 0);
    const json_t *message = at(first, "message");
    const json_t *call = json_array_get(at(message, "tool_calls"), 0);
    assert_true(json_is_null(at(message, "content")));
    assert_string_equal(text_at(message, "reasoning_content"), "why");
    assert_string_equal(text_at(at(call, "function"), "arguments"), "{\"a\":1}");
    assert_string_equal(text_at(at(call, "function"), "name"), "f");
    assert_string_not_equal(text_at(call, "id"),
                            text_at(json_array_get(at(message, "tool_calls"), 1), "id"));
    assert_string_equal(text_at(first, "finish_reason"), "tool_calls");

    buffer_clear(&out);
    choice.delta = &deltas[1];
    wire_format_chat.stream_delta(&out, &chat, &choice, &usage);
    json_t *event = read_event(&out);
    const json_t *delta = at(json_array_get(at(event, "choices"), 0), "delta");
    const json_t *begun = json_array_get(at(delta, "tool_calls"), 0);
    assert_string_equal(text_at(begun, "id"), text_at(call, "id"));
    assert_string_equal(text_at(at(begun, "function"), "arguments"), "");
    json_decref(event);
    json_decref(root);
    output_items_deinit(&items);
    buffer_deinit(&out);
}

static void a_text_completion_has_its_own_shape(void **state)
{
    (void)state;
    struct buffer out;
    struct api_usage usage = {.prompt_tokens = 1, .cached_tokens = 0, .completion_tokens = 2};
    struct output_items items = text_items("t");
    struct api_choice choice = {.items = &items, .finish = FINISH_STOP, .stop_token = 17};
    buffer_init(&out, 1 << 20);
    wire_format_text.answer_begin(&out, &text);
    wire_format_text.answer_choice(&out, &text, &choice);
    wire_format_text.answer_end(&out, &text, &usage);
    json_t *root = read_back(&out);
    const json_t *first = json_array_get(at(root, "choices"), 0);
    assert_string_equal(text_at(root, "object"), "text_completion");
    assert_string_equal(text_at(first, "text"), "t");
    assert_int_equal(json_integer_value(at(first, "stop_reason")), 17);
    assert_null(json_object_get(first, "message"));
    json_decref(root);
    output_items_deinit(&items);
    buffer_deinit(&out);
}

static void chunks_are_events_with_one_json_line(void **state)
{
    (void)state;
    struct buffer out;
    struct api_answer streamed = chat;
    struct api_usage usage = {.prompt_tokens = 3, .cached_tokens = 0, .completion_tokens = 1};
    struct output_delta piece = {.kind = OUTPUT_TEXT, .text = text_slice_of("a\nb")};
    struct api_choice choice = {
        .index = 2, .delta = &piece, .finish = FINISH_LENGTH, .stop_token = -1};
    buffer_init(&out, 1 << 20);
    streamed.is_usage_wanted = true;

    wire_format_chat.stream_begin(&out, &streamed, &choice, &usage);
    json_t *root = read_event(&out);
    const json_t *delta = at(json_array_get(at(root, "choices"), 0), "delta");
    assert_string_equal(text_at(root, "object"), "chat.completion.chunk");
    assert_string_equal(text_at(delta, "role"), "assistant");
    assert_true(json_is_null(at(root, "usage")));
    json_decref(root);

    buffer_clear(&out);
    streamed.is_usage_continuous = true;
    wire_format_chat.stream_delta(&out, &streamed, &choice, &usage);
    streamed.is_usage_continuous = false;
    root = read_event(&out);
    delta = at(json_array_get(at(root, "choices"), 0), "delta");
    assert_string_equal(text_at(delta, "content"), "a\nb");
    assert_true(json_is_null(at(json_array_get(at(root, "choices"), 0), "finish_reason")));
    assert_int_equal(json_integer_value(at(at(root, "usage"), "completion_tokens")), 1);
    json_decref(root);

    buffer_clear(&out);
    wire_format_chat.stream_finish(&out, &streamed, &choice, &usage);
    root = read_event(&out);
    assert_int_equal(json_object_size(at(json_array_get(at(root, "choices"), 0), "delta")), 0);
    assert_string_equal(text_at(json_array_get(at(root, "choices"), 0), "finish_reason"), "length");
    json_decref(root);

    buffer_clear(&out);
    wire_format_chat.stream_end(&out, &streamed, &usage);
    static const char done[] = "data: [DONE]\n\n";
    assert_string_equal(out.data + out.bytes - strlen(done), done);
    out.bytes -= strlen(done);
    root = read_event(&out);
    assert_int_equal(json_array_size(at(root, "choices")), 0);
    assert_int_equal(json_integer_value(at(at(root, "usage"), "total_tokens")), 4);
    json_decref(root);

    buffer_clear(&out);
    wire_format_chat.stream_end(&out, &chat, &usage);
    assert_string_equal(out.data, done);
    buffer_deinit(&out);
}

static void a_scored_prompt_comes_first_in_the_text_logprobs(void **state)
{
    (void)state;
    static const int32_t ids[] = {TOKEN_END, 'a', 'b'}; /* the first was put there by the server */
    static const struct token_score scores[] = {{7.0f, 7}, {-0.5f, 2}, {-INFINITY, 258}};
    static const struct token_logprob best[] = {{3, 9.0f},    {4, 9.0f},   {'x', -0.25f},
                                                {'a', -0.5f}, {'y', 0.0f}, {-1, 0.0f}};
    struct api_prompt_scores prompt = {.tokenizer = words,
                                       .ids = ids,
                                       .count = 3,
                                       .scores = scores,
                                       .alternatives = best,
                                       .width = 2,
                                       .asked_count = 2,
                                       .shown_count = 1};
    struct api_logprobs logprobs;
    struct buffer out;
    buffer_init(&out, 1 << 16);
    api_logprobs_init(&logprobs, false, words, 1 << 16);
    api_logprobs_add_prompt(&logprobs, &prompt, true);
    struct engine_token token = {.id = 'c', .logprob = -1.0f};
    api_logprobs_add(&logprobs, &token, 1);
    api_logprobs_write(&logprobs, &out);
    assert_string_equal(out.data, "{\"tokens\":[\"<end>\",\"a\",\"b\",\"c\"],"
                                  "\"token_logprobs\":[null,-0.5,-9999.0,-1.0],"
                                  "\"top_logprobs\":[null,{\"x\":-0.25,\"a\":-0.5},"
                                  "{\"y\":0.0,\"b\":-9999.0},{\"c\":-1.0}],"
                                  "\"text_offset\":[0,0,1,2]}");
    buffer_clear(&out);
    api_prompt_scores_write(&prompt, &out);
    assert_string_equal(out.data,
                        "[null,"
                        "{\"97\":{\"logprob\":-0.5,\"rank\":2,\"decoded_token\":\"a\"},"
                        "\"120\":{\"logprob\":-0.25,\"rank\":1,\"decoded_token\":\"x\"}},"
                        "{\"98\":{\"logprob\":-9999.0,\"rank\":258,\"decoded_token\":\"b\"},"
                        "\"121\":{\"logprob\":0.0,\"rank\":1,\"decoded_token\":\"y\"}}]");
    buffer_clear(&out);
    logprobs.shows_ids = true;
    api_logprobs_add(&logprobs, &token, 1);
    api_logprobs_write(&logprobs, &out);
    assert_non_null(strstr(out.data, "\"tokens\":[\"token_id:99\"]"));
    assert_non_null(strstr(out.data, "{\"token_id:99\":-1.0}"));
    api_logprobs_deinit(&logprobs);
    buffer_deinit(&out);
}

static void the_last_usage_tells_tokens_by_kind_and_times(void **state)
{
    (void)state;
    struct buffer out;
    struct api_usage usage = {.prompt_tokens = 40,
                              .cached_tokens = 16,
                              .cache_write_tokens = 16,
                              .completion_tokens = 9,
                              .reasoning_tokens = 4,
                              .timings = {.queue = 1.5, .total = 12.25},
                              .has_timings = true};
    struct api_answer answer = chat;
    answer.service_tier = "flex";
    buffer_init(&out, 1 << 16);
    wire_format_chat.answer_begin(&out, &answer);
    wire_format_chat.answer_end(&out, &answer, &usage);
    json_t *root = read_back(&out);
    const json_t *u = at(root, "usage");
    const json_t *prompt = at(u, "prompt_tokens_details");
    assert_int_equal(json_integer_value(at(prompt, "cache_write_tokens")), 16);
    assert_int_equal(json_integer_value(at(at(u, "completion_tokens_details"), "reasoning_tokens")),
                     4);
    assert_true(json_real_value(at(at(u, "timings"), "queue_ms")) == 1.5);
    assert_true(json_real_value(at(at(u, "timings"), "total_ms")) == 12.25);
    assert_string_equal(text_at(root, "service_tier"), "flex");
    json_decref(root);
    buffer_deinit(&out);
}

static void prompt_ids_stand_where_vllm_has_them(void **state)
{
    (void)state;
    struct buffer out;
    int32_t ids[] = {5, 6, 7};
    buffer_init(&out, 1 << 20);
    struct api_answer answer = chat;
    struct api_usage usage = {.prompt_tokens = 3, .cached_tokens = 0, .completion_tokens = 0};
    struct api_choice choice = {.prompt_ids = ids, .prompt_count = 3};
    answer.prompt_ids = ids;
    answer.prompt_count = 3;
    wire_format_chat.stream_begin(&out, &answer, &choice, &usage);
    json_t *root = read_event(&out);
    assert_int_equal(json_array_size(at(root, "prompt_token_ids")), 3);
    json_decref(root);
    buffer_clear(&out);
    wire_format_text.stream_begin(&out, &text, &choice, &usage);
    root = read_event(&out);
    assert_int_equal(
        json_array_size(at(json_array_get(at(root, "choices"), 0), "prompt_token_ids")), 3);
    json_decref(root);
    buffer_deinit(&out);
}

static void chat_logprobs_carry_bytes_even_of_broken_characters(void **state)
{
    (void)state;
    struct buffer out;
    struct api_logprobs logprobs;
    struct token_logprob alternatives[] = {{'a', -0.5f}, {0xe2, -INFINITY}};
    struct engine_token tokens[] = {{0xe2, -1.5f, 2, alternatives}, {TOKEN_END, -0.25f, 0, NULL}};
    buffer_init(&out, 1 << 20);
    api_logprobs_init(&logprobs, true, words, 1 << 20);
    api_logprobs_add(&logprobs, tokens, 1);
    api_logprobs_add(&logprobs, tokens + 1, 1);
    api_logprobs_write(&logprobs, &out);
    json_t *root = read_back(&out);
    const json_t *content = at(root, "content");
    assert_int_equal(json_array_size(content), 2);
    const json_t *first = json_array_get(content, 0);
    assert_string_equal(text_at(first, "token"), "\\xe2");
    assert_int_equal(json_integer_value(json_array_get(at(first, "bytes"), 0)), 0xe2);
    const json_t *top = at(first, "top_logprobs");
    assert_int_equal(json_array_size(top), 2);
    assert_string_equal(text_at(json_array_get(top, 0), "token"), "a");
    assert_true(json_number_value(at(json_array_get(top, 1), "logprob")) == -9999.0);
    assert_string_equal(text_at(json_array_get(content, 1), "token"), "<end>");
    json_decref(root);

    buffer_clear(&out);
    api_logprobs_write(&logprobs, &out);
    assert_string_equal(out.data, "{\"content\":[],\"refusal\":null}");
    api_logprobs_deinit(&logprobs);
    buffer_deinit(&out);
}

static void text_logprobs_are_four_lists_of_equal_length(void **state)
{
    (void)state;
    struct buffer out;
    struct api_logprobs logprobs;
    struct token_logprob alternatives[] = {{'x', -0.5f}, {'x', -0.75f}, {'y', -2.0f}};
    struct engine_token tokens[] = {
        {TOKEN_AB, -1.0f, 3, alternatives}, {'y', -2.0f, 3, alternatives}, {0xc3, NAN, 0, NULL}};
    buffer_init(&out, 1 << 20);
    api_logprobs_init(&logprobs, false, words, 1 << 20);
    api_logprobs_add(&logprobs, tokens, 3);
    api_logprobs_write(&logprobs, &out);
    json_t *root = read_back(&out); /* which refuses a key twice */
    assert_int_equal(json_array_size(at(root, "tokens")), 3);
    assert_int_equal(json_array_size(at(root, "token_logprobs")), 3);
    assert_true(json_is_null(json_array_get(at(root, "token_logprobs"), 2)));
    assert_string_equal(json_string_value(json_array_get(at(root, "tokens"), 2)), "bytes:\\xc3");
    const json_t *top = json_array_get(at(root, "top_logprobs"), 0);
    assert_int_equal(json_object_size(top), 3);
    assert_true(json_number_value(at(top, "ab")) == -1.0);
    assert_true(json_number_value(at(top, "x")) == -0.5);
    assert_int_equal(json_integer_value(json_array_get(at(root, "text_offset"), 1)), 2);
    assert_int_equal(json_integer_value(json_array_get(at(root, "text_offset"), 2)), 3);
    json_decref(root);
    api_logprobs_deinit(&logprobs);
    buffer_deinit(&out);
}

static void every_status_makes_a_complete_envelope(void **state)
{
    (void)state;
    for (int s = 0; s < STATUS_COUNT; s++) {
        struct api_error error;
        struct buffer out;
        buffer_init(&out, 1 << 16);
        api_error_from_status(&error, (status)s, NULL);
        assert_true(error.http_status >= 400 && error.http_status < 600);
        api_error_write(&error, &out);
        json_t *root = read_back(&out);
        const json_t *envelope = at(root, "error");
        assert_true(strlen(text_at(envelope, "message")) > 0);
        assert_true(strlen(text_at(envelope, "type")) > 0);
        assert_true(json_is_null(at(envelope, "param")));
        json_decref(root);
        bool is_overload = s == STATUS_FULL || s == STATUS_CLOSED || s == STATUS_AGAIN;
        assert_true(!is_overload || error.retry_after_ms > 0);
        buffer_deinit(&out);
    }
}

static void an_error_event_is_what_the_client_raises(void **state)
{
    (void)state;
    struct api_error error;
    struct buffer out;
    buffer_init(&out, 1 << 16);
    api_error_set(&error, 400, "invalid_request_error", "c", "p", "a \"quoted\" %s\n", "text");
    wire_format_chat.stream_error(&out, &chat, &error, "r");
    json_t *root = read_event(&out);
    assert_string_equal(text_at(at(root, "error"), "message"), "a \"quoted\" text\n");
    assert_string_equal(text_at(at(root, "error"), "param"), "p");
    assert_string_equal(text_at(at(root, "error"), "code"), "c");
    json_decref(root);
    buffer_deinit(&out);
}

static void models_and_tokens_have_vllms_shapes(void **state)
{
    (void)state;
    struct buffer out;
    struct api_model model = {.id = "alias",
                              .root = "a",
                              .created_s = 1,
                              .context_max = 2048,
                              .capabilities = API_CAN_CHAT | API_CAN_COMPLETE};
    int32_t ids[] = {'h', TOKEN_AB, TOKEN_END};
    buffer_init(&out, 1 << 16);
    api_model_write(&out, &model);
    json_t *root = read_back(&out);
    assert_string_equal(text_at(root, "id"), "alias");
    assert_string_equal(text_at(root, "root"), "a");
    assert_int_equal(json_integer_value(at(root, "context_length")), 2048);
    assert_int_equal(json_array_size(at(root, "capabilities")), 2);
    assert_true(json_is_null(at(root, "parent")));
    json_decref(root);
    buffer_clear(&out);
    model.context_max = model.capabilities = 0; /* nothing is claimed before it is known */
    model.parent = "m";                         /* an adapter's */
    api_model_write(&out, &model);
    root = read_back(&out);
    assert_null(json_object_get(root, "max_model_len"));
    assert_null(json_object_get(root, "capabilities"));
    assert_string_equal(text_at(root, "parent"), "m");
    json_decref(root);
    buffer_clear(&out);
    api_tokenize_write(&out, words, ids, 3, 2048, true);
    root = read_back(&out);
    assert_int_equal(json_integer_value(at(root, "count")), 3);
    assert_int_equal(json_integer_value(at(root, "max_model_len")), 2048);
    assert_string_equal(json_string_value(json_array_get(at(root, "token_strs"), 1)), "ab");
    json_decref(root);
    buffer_clear(&out);
    api_detokenize_write(&out, words, ids, 3);
    root = read_back(&out);
    assert_string_equal(text_at(root, "prompt"), "hab<end>");
    json_decref(root);
    buffer_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chat_completion_has_all_members_of_the_official_type),
        cmocka_unit_test(calls_and_reasoning_stand_beside_the_content),
        cmocka_unit_test(a_text_completion_has_its_own_shape),
        cmocka_unit_test(chunks_are_events_with_one_json_line),
        cmocka_unit_test(a_scored_prompt_comes_first_in_the_text_logprobs),
        cmocka_unit_test(the_last_usage_tells_tokens_by_kind_and_times),
        cmocka_unit_test(prompt_ids_stand_where_vllm_has_them),
        cmocka_unit_test(chat_logprobs_carry_bytes_even_of_broken_characters),
        cmocka_unit_test(text_logprobs_are_four_lists_of_equal_length),
        cmocka_unit_test(every_status_makes_a_complete_envelope),
        cmocka_unit_test(an_error_event_is_what_the_client_raises),
        cmocka_unit_test(models_and_tokens_have_vllms_shapes),
    };
    return cmocka_run_group_tests(tests, make_words, free_words);
}
