/* POST /v1/messages (Anthropic): answers whole and as events. Oracle: the types and the stream
 * helper of the official Python client, version 2.
 *
 *   message_start
 *     content_block_start, content_block_delta..., content_block_stop   for each block
 *   message_delta   the reason of the end, the usage
 *   message_stop
 *
 * One ping follows message_start, as clients of the original know it. */

#include "messages_request.h"

#include <stdio.h>
#include <string.h>

#include "check.h"

/* The three kinds of input add up to the prompt. Prefixes are cached without being asked; what was
 * written is told apart only before marks. The split by time is of messages, not of their deltas. */
static void usage_write(struct buffer *out, const struct api_usage *usage, bool is_split)
{
    uint32_t written = usage->marked_write_tokens;
    json_write_key(out, "usage");
    buffer_append_format(out,
                         "{\"input_tokens\":%u,\"cache_creation_input_tokens\":%u,"
                         "\"cache_read_input_tokens\":%u,",
                         usage->prompt_tokens - usage->cached_tokens - written, written,
                         usage->cached_tokens);
    if (is_split)
        buffer_append_format(out,
                             "\"cache_creation\":{\"ephemeral_5m_input_tokens\":%u,"
                             "\"ephemeral_1h_input_tokens\":%u},",
                             written - usage->long_write_tokens, usage->long_write_tokens);
    buffer_append_format(out,
                         "\"output_tokens\":%u,\"output_tokens_details\":{\"thinking_tokens\":%u}}",
                         usage->completion_tokens, usage->reasoning_tokens);
}

static void head_write(struct buffer *out, const struct api_answer *answer)
{
    buffer_append_text(out, "{\"id\":");
    json_write_text(out, answer->id);
    buffer_append_text(out, ",\"type\":\"message\",\"role\":\"assistant\",\"model\":");
    json_write_text(out, answer->model);
    json_write_key(out, "content");
    buffer_append_byte(out, '[');
}

/* "stop_reason":...,"stop_sequence":... */
static void stop_write(struct buffer *out, const struct api_choice *choice)
{
    json_write_key(out, "stop_reason");
    if (api_choice_is_cut(choice))
        json_write_text(out, "max_tokens");
    else if (choice->call_count > 0)
        json_write_text(out, "tool_use");
    else
        json_write_text(out, choice->stop_text.bytes > 0 ? "stop_sequence" : "end_turn");
    json_write_key(out, "stop_sequence");
    if (choice->stop_text.bytes > 0)
        json_write_string(out, choice->stop_text);
    else
        buffer_append_text(out, "null");
}

static void answer_begin(struct buffer *out, struct api_answer *answer)
{
    head_write(out, answer);
}

/* {"type":"tool_use","id":...,"name":...,"input": */
static void tool_use_begin(struct buffer *out, const struct api_answer *answer,
                           const struct api_choice *choice, uint32_t call, struct text_slice name)
{
    struct api_item_id id = api_item_id_make("toolu_", answer, choice->index, call);
    buffer_append_format(out, "{\"type\":\"tool_use\",\"id\":\"%s\",\"name\":", id.text);
    json_write_string(out, name);
    json_write_key(out, "input");
}

/* The arguments as an object; those that were cut off by max_tokens are none. */
static void input_write(struct buffer *out, struct text_slice arguments)
{
    static const struct json_limits limits = {.depth_max = 512, .value_count_max = UINT32_MAX};
    bool is_object = json_scan(arguments, &limits, NULL, 0, NULL) == STATUS_OK;
    buffer_append_slice(out, is_object ? arguments : text_slice_of("{}"));
}

static void answer_choice(struct buffer *out, struct api_answer *answer,
                          const struct api_choice *choice)
{
    uint32_t call = 0;
    for (uint32_t i = 0; i < choice->items->count; i++) {
        const struct output_item *item = &choice->items->items[i];
        json_write_comma(out);
        if (item->kind == OUTPUT_TOOL_BEGIN) {
            tool_use_begin(out, answer, choice, call++, buffer_slice(&item->name));
            input_write(out, buffer_slice(&item->text));
        } else if (item->kind == OUTPUT_REASONING) {
            buffer_append_text(out, "{\"type\":\"thinking\",\"thinking\":");
            json_write_string(out, buffer_slice(&item->text));
            buffer_append_text(out, ",\"signature\":\"\"");
        } else {
            buffer_append_text(out, "{\"type\":\"text\",\"text\":");
            json_write_string(out, buffer_slice(&item->text));
            buffer_append_text(out, ",\"citations\":null");
        }
        buffer_append_byte(out, '}');
    }
    buffer_append_byte(out, ']');
    stop_write(out, choice);
}

static void answer_end(struct buffer *out, struct api_answer *answer, const struct api_usage *usage)
{
    (void)answer;
    usage_write(out, usage, true);
    buffer_append_byte(out, '}');
}

/* event: NAME, data: {"type":"NAME" */
static void event_begin(struct buffer *out, const char *name)
{
    buffer_append_format(out, "event: %s\ndata: {\"type\":\"%s\"", name, name);
}

static void event_end(struct buffer *out)
{
    buffer_append_text(out, "}\n\n");
}

static void stream_begin(struct buffer *out, struct api_answer *answer,
                         const struct api_choice *choice, const struct api_usage *usage)
{
    (void)choice;
    event_begin(out, "message_start");
    json_write_key(out, "message");
    head_write(out, answer);
    buffer_append_text(out, "],\"stop_reason\":null,\"stop_sequence\":null");
    usage_write(out, usage, true);
    buffer_append_byte(out, '}');
    event_end(out);
    event_begin(out, "ping");
    event_end(out);
}

static void block_close(struct buffer *out, struct api_progress *progress)
{
    if (!progress->is_open)
        return;
    progress->is_open = false;
    event_begin(out, "content_block_stop");
    buffer_append_format(out, ",\"index\":%u", progress->item_count - 1);
    event_end(out);
}

static void block_open(struct buffer *out, struct api_answer *answer,
                       const struct api_choice *choice)
{
    const struct output_delta *delta = choice->delta;
    struct api_progress *progress = &answer->progress;
    block_close(out, progress);
    progress->is_open = true;
    progress->open_kind = delta->kind;
    event_begin(out, "content_block_start");
    buffer_append_format(out, ",\"index\":%u,\"content_block\":", progress->item_count++);
    if (delta->kind == OUTPUT_TOOL_BEGIN) {
        tool_use_begin(out, answer, choice, delta->tool_index, delta->tool_name);
        buffer_append_text(out, "{}}");
    } else if (delta->kind == OUTPUT_REASONING) {
        buffer_append_text(out, "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}");
    } else {
        buffer_append_text(out, "{\"type\":\"text\",\"text\":\"\"}");
    }
    event_end(out);
}

static void block_delta(struct buffer *out, const struct api_progress *progress, const char *type,
                        const char *member, struct text_slice text)
{
    event_begin(out, "content_block_delta");
    buffer_append_format(out, ",\"index\":%u,\"delta\":{\"type\":\"%s\"", progress->item_count - 1,
                         type);
    json_write_key(out, member);
    json_write_string(out, text);
    buffer_append_byte(out, '}');
    event_end(out);
}

static void stream_delta(struct buffer *out, struct api_answer *answer,
                         const struct api_choice *choice, const struct api_usage *usage)
{
    const struct output_delta *delta = choice->delta;
    struct api_progress *progress = &answer->progress;
    (void)usage;
    switch (delta->kind) {
    case OUTPUT_TOOL_BEGIN:
        block_open(out, answer, choice);
        return;
    case OUTPUT_TOOL_END:
        block_close(out, progress);
        return;
    case OUTPUT_TOOL_ARGUMENTS:
        block_delta(out, progress, "input_json_delta", "partial_json", delta->text);
        return;
    case OUTPUT_TEXT:
    case OUTPUT_REASONING:
        break;
    }
    if (delta->text.bytes == 0)
        return;
    if (!progress->is_open || progress->open_kind != delta->kind)
        block_open(out, answer, choice);
    if (delta->kind == OUTPUT_TEXT)
        block_delta(out, progress, "text_delta", "text", delta->text);
    else
        block_delta(out, progress, "thinking_delta", "thinking", delta->text);
}

static void stream_finish(struct buffer *out, struct api_answer *answer,
                          const struct api_choice *choice, const struct api_usage *usage)
{
    block_close(out, &answer->progress);
    event_begin(out, "message_delta");
    buffer_append_text(out, ",\"delta\":{");
    stop_write(out, choice);
    buffer_append_byte(out, '}');
    usage_write(out, usage, false);
    event_end(out);
}

static void stream_end(struct buffer *out, struct api_answer *answer, const struct api_usage *usage)
{
    (void)answer;
    (void)usage;
    event_begin(out, "message_stop");
    event_end(out);
}

static const char *error_type(int http_status)
{
    switch (http_status) {
    case 401:
        return "authentication_error";
    case 403:
        return "permission_error";
    case 404:
        return "not_found_error";
    case 413:
        return "request_too_large";
    case 429:
        return "rate_limit_error";
    case 503:
    case 529:
        return "overloaded_error";
    case 504:
        return "timeout_error";
    default:
        return http_status >= 500 ? "api_error" : "invalid_request_error";
    }
}

/* There is no member for the field that is wrong: the text names it. */
static void message_write(struct buffer *out, const struct api_error *error)
{
    char text[sizeof error->message + sizeof error->param + 8];
    bool is_named = error->param[0] == '\0' || strstr(error->message, error->param) != NULL;
    snprintf(text, sizeof text, "%s%s%s", is_named ? "" : error->param, is_named ? "" : ": ",
             error->message);
    json_write_text(out, text);
}

/* "error":{...},"request_id":... */
static void error_members(struct buffer *out, const struct api_error *error, const char *request_id)
{
    buffer_append_format(
        out, ",\"error\":{\"type\":\"%s\",\"message\":", error_type(error->http_status));
    message_write(out, error);
    buffer_append_byte(out, '}');
    json_write_key(out, "request_id");
    json_write_text(out, request_id);
}

static void stream_error(struct buffer *out, struct api_answer *answer,
                         const struct api_error *error, const char *request_id)
{
    (void)answer;
    event_begin(out, "error");
    error_members(out, error, request_id);
    event_end(out);
}

static void error_write(struct buffer *out, const struct api_error *error, const char *request_id)
{
    buffer_append_text(out, "{\"type\":\"error\"");
    error_members(out, error, request_id);
    buffer_append_byte(out, '}');
}

static void count_write(struct buffer *out, uint32_t prompt_tokens)
{
    buffer_append_format(out, "{\"input_tokens\":%u}", prompt_tokens);
}

const struct wire_format wire_format_messages = {
    .id_prefix = "msg_",
    .request_id_header = "request-id",
    .parse = messages_parse,
    .parse_count = messages_parse_count,
    .count_write = count_write,
    .stream_begin = stream_begin,
    .stream_delta = stream_delta,
    .stream_finish = stream_finish,
    .stream_end = stream_end,
    .stream_error = stream_error,
    .answer_begin = answer_begin,
    .answer_choice = answer_choice,
    .answer_end = answer_end,
    .error_write = error_write,
};
