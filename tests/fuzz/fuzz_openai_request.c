#include "check.h"
#include "openai.h"
#include "wire_format.h"

/* The first byte chooses the kind of request, the rest is its body. Whatever comes, the answer is a
 * request whose numbers are in their ranges, or an error that is complete. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static const struct api_limits limits = {
    .messages_max = 64,
    .stops_max = 8,
    .n_max = 16,
    .logit_bias_max = 32,
    .json_depth_max = 64,
    .json_values_max = 5000,
    .stop_bytes_max = 64,
    .prompt_bytes_max = 4096,
    .grammar_bytes_max = 4096,
    .vocabulary = 1000,
};

static void check_error(const struct api_error *error)
{
    CHECK(error->http_status >= 400 && error->http_status < 600);
    CHECK(error->type != NULL && error->message[0] != '\0');
    struct buffer out;
    buffer_init(&out, 1 << 16);
    api_error_write(error, &out);
    json_t *value = json_loadb(out.data, out.bytes, 0, NULL);
    CHECK(out.failed == STATUS_OK && value != NULL);
    json_decref(value);
    buffer_deinit(&out);
}

static void check_request(const struct api_completion_request *request)
{
    const struct sampling_params *sampling = &request->sampling;
    CHECK(request->model != NULL);
    CHECK(sampling->temperature >= 0 && sampling->temperature <= 2);
    CHECK(sampling->top_p > 0 && sampling->top_p <= 1);
    CHECK(sampling->min_p >= 0 && sampling->min_p <= 1);
    CHECK(sampling->repetition_penalty > 0);
    CHECK(sampling->logprobs >= -1 && sampling->logprobs <= (int32_t)LOGPROBS_MAX);
    CHECK(request->n >= 1 && request->n <= limits.n_max);
    CHECK(request->max_tokens >= -1);
    CHECK(request->stop_count <= limits.stops_max);
    for (uint32_t i = 0; i < request->stop_count; i++)
        CHECK(request->stops[i].bytes >= 1 && request->stops[i].bytes <= limits.stop_bytes_max);
    for (uint32_t i = 0; i < sampling->bias_count; i++)
        CHECK(sampling->biases[i].token >= 0 && sampling->biases[i].token < 1000);
    if (request->is_chat)
        CHECK(json_array_size(request->messages) >= 1);
    for (uint32_t i = 0; i < request->prompt_count; i++)
        CHECK((request->prompts[i].tokens != NULL) == (request->prompts[i].token_count > 0));
    for (const char *c = request->ignored; *c != '\0'; c++)
        CHECK(*c > ' ' && *c < 127);
}

/* One answer is kept, whatever its id. */
static status find(void *context, struct text_slice id, struct buffer *out)
{
    (void)context;
    (void)id;
    buffer_append_text(out, "{\"role\":\"user\",\"content\":\"before\"}");
    return STATUS_OK;
}

static json_t *find_item(void *context, const char *id)
{
    (void)context;
    return json_pack("{s:s, s:s, s:s}", "id", id, "role", "assistant", "content", "before");
}

static void run_completion(struct text_slice body, const struct wire_format *format)
{
    static const struct api_history history = {NULL, find, find_item};
    struct wire_request source = {body, &limits, &history};
    struct api_completion_request request;
    struct api_error error = {0};
    if (format->parse(&source, &request, &error) != STATUS_OK) {
        check_error(&error);
        return;
    }
    check_request(&request);
    api_completion_request_release_body(&request);
    api_completion_request_deinit(&request);
}

static void run_tokens(struct text_slice body, bool is_tokenize)
{
    struct api_tokenize_request tokenize;
    struct api_detokenize_request detokenize;
    struct api_error error = {0};
    status s = is_tokenize ? api_tokenize_request_parse(body, &limits, &tokenize, &error)
                           : api_detokenize_request_parse(body, &limits, &detokenize, &error);
    if (s != STATUS_OK)
        check_error(&error);
    else if (is_tokenize)
        api_tokenize_request_deinit(&tokenize);
    else
        api_detokenize_request_deinit(&detokenize);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes == 0)
        return 0;
    struct text_slice body = {(const char *)data + 1, bytes - 1};
    switch (data[0]) {
    case 'c':
        run_completion(body, &wire_format_chat);
        break;
    case 't':
        run_completion(body, &wire_format_text);
        break;
    case 'm':
        run_completion(body, &wire_format_messages);
        break;
    case 'r':
        run_completion(body, &wire_format_responses);
        break;
    case 'k':
        run_tokens(body, true);
        break;
    default:
        run_tokens(body, false);
        break;
    }
    return 0;
}
