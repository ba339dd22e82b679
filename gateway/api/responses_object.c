/* The response object and its items. Oracle: the types of the official Python client, version 3. */

#include "responses_object.h"

#include "openai_response.h"

static const struct output_item *item_at(const struct api_choice *choice, uint32_t index)
{
    return &choice->items->items[index];
}

struct api_item_id responses_item_id(const struct api_answer *answer, enum output_kind kind,
                                     uint32_t index)
{
    return api_item_id_make(kind == OUTPUT_TEXT        ? "msg_"
                            : kind == OUTPUT_REASONING ? "rs_"
                                                       : "fc_",
                            answer, 0, index);
}

void responses_part_write(struct buffer *out, enum output_kind kind,
                          const struct api_choice *choice, uint32_t index)
{
    struct text_slice text = {NULL, 0};
    if (choice != NULL)
        text = buffer_slice(&item_at(choice, index)->text);
    buffer_append_format(
        out, "{\"type\":\"%s\",\"text\":", kind == OUTPUT_TEXT ? "output_text" : "reasoning_text");
    json_write_string(out, text);
    if (kind == OUTPUT_TEXT) {
        buffer_append_text(out, ",\"annotations\":[],\"logprobs\":");
        api_logprobs_write_all(choice != NULL ? choice->logprobs : NULL, out);
    }
    buffer_append_byte(out, '}');
}

/* {"id":...,"type":...,"status":... */
static void head_write(struct buffer *out, const struct api_answer *answer, enum output_kind kind,
                       uint32_t index, enum item_status state)
{
    static const char *const words[] = {"in_progress", "completed", "incomplete"};
    struct api_item_id id = responses_item_id(answer, kind, index);
    buffer_append_format(out, "{\"id\":\"%s\",\"type\":\"%s\",\"status\":\"%s\"", id.text,
                         kind == OUTPUT_TEXT        ? "message"
                         : kind == OUTPUT_REASONING ? "reasoning"
                                                    : "function_call",
                         words[state]);
}

static void call_write(struct buffer *out, const struct api_answer *answer, uint32_t call,
                       struct text_slice name, struct text_slice arguments)
{
    struct api_item_id id = api_item_id_make("call_", answer, 0, call);
    buffer_append_format(out, ",\"call_id\":\"%s\",\"name\":", id.text);
    json_write_string(out, name);
    json_write_key(out, "arguments");
    json_write_string(out, arguments);
    buffer_append_byte(out, '}');
}

void responses_item_begin(struct buffer *out, const struct api_answer *answer, uint32_t index,
                          const struct output_delta *delta)
{
    struct text_slice none = {NULL, 0};
    head_write(out, answer, delta->kind, index, ITEM_BEGUN);
    if (delta->kind == OUTPUT_TOOL_BEGIN)
        call_write(out, answer, delta->tool_index, delta->tool_name, none);
    else if (delta->kind == OUTPUT_REASONING)
        buffer_append_text(out, ",\"summary\":[],\"content\":[]}");
    else
        buffer_append_text(out, ",\"role\":\"assistant\",\"content\":[]}");
}

void responses_item_write(struct buffer *out, const struct api_answer *answer,
                          const struct api_choice *choice, uint32_t index, uint32_t call,
                          enum item_status state)
{
    const struct output_item *item = item_at(choice, index);
    head_write(out, answer, item->kind, index, state);
    if (item->kind == OUTPUT_TOOL_BEGIN) {
        call_write(out, answer, call, buffer_slice(&item->name), buffer_slice(&item->text));
        return;
    }
    buffer_append_text(out, item->kind == OUTPUT_TEXT ? ",\"role\":\"assistant\",\"content\":["
                                                      : ",\"summary\":[],\"content\":[");
    responses_part_write(out, item->kind, choice, index);
    buffer_append_text(out, "]}");
}

/* Comma-separated. The last item of an answer that was cut off is incomplete. */
static void output_write(struct buffer *out, const struct api_answer *answer,
                         const struct api_choice *choice)
{
    uint32_t calls = 0;
    for (uint32_t i = 0; i < choice->items->count; i++) {
        bool is_cut = api_choice_is_cut(choice) && i + 1 == choice->items->count;
        if (i > 0)
            buffer_append_byte(out, ',');
        responses_item_write(out, answer, choice, i, calls,
                             is_cut ? ITEM_INCOMPLETE : ITEM_COMPLETED);
        calls += item_at(choice, i)->kind == OUTPUT_TOOL_BEGIN;
    }
}

static void usage_write(struct buffer *out, const struct api_usage *usage)
{
    buffer_append_format(out,
                         "{\"input_tokens\":%u,\"input_tokens_details\":{\"cached_tokens\":%u,"
                         "\"cache_write_tokens\":%u},\"output_tokens\":%u,"
                         "\"output_tokens_details\":{\"reasoning_tokens\":%u},"
                         "\"total_tokens\":%llu}",
                         usage->prompt_tokens, usage->cached_tokens, usage->cache_write_tokens,
                         usage->completion_tokens, usage->reasoning_tokens,
                         (unsigned long long)usage->prompt_tokens + usage->completion_tokens);
}

/* "status", "error", "incomplete_details" */
static void status_write(struct buffer *out, const struct api_choice *choice,
                         const struct api_error *error)
{
    bool is_cut = choice != NULL && api_choice_is_cut(choice);
    json_write_key(out, "status");
    json_write_text(out, error != NULL    ? "failed"
                         : choice == NULL ? "in_progress"
                         : is_cut         ? "incomplete"
                                          : "completed");
    json_write_key(out, "error");
    if (error != NULL) {
        buffer_append_format(out, "{\"code\":\"%s\",\"message\":",
                             error->http_status == 429 ? "rate_limit_exceeded" : "server_error");
        json_write_text(out, error->message);
        buffer_append_byte(out, '}');
    } else {
        buffer_append_text(out, "null");
    }
    buffer_append_text(out, is_cut ? ",\"incomplete_details\":{\"reason\":\"max_output_tokens\"}"
                                   : ",\"incomplete_details\":null");
}

void responses_write(struct buffer *out, const struct api_answer *answer,
                     const struct api_choice *choice, const struct api_usage *usage,
                     const struct api_error *error)
{
    const char *tier = answer->service_tier != NULL ? answer->service_tier : "default";
    buffer_append_text(out, "{\"id\":");
    json_write_text(out, answer->id);
    buffer_append_format(out, ",\"object\":\"response\",\"created_at\":%llu",
                         (unsigned long long)answer->created_s);
    status_write(out, choice, error);
    json_write_key(out, "model");
    json_write_text(out, answer->model);
    json_write_key(out, "output");
    buffer_append_byte(out, '[');
    if (choice != NULL)
        output_write(out, answer, choice);
    buffer_append_byte(out, ']');
    buffer_append_slice(out, buffer_slice(&answer->request->responses->echo));
    json_write_key(out, "service_tier");
    json_write_text(out, tier);
    json_write_key(out, "usage");
    if (choice != NULL)
        usage_write(out, usage);
    else
        buffer_append_text(out, "null");
    buffer_append_byte(out, '}');
}

void api_responses_write_record(struct api_answer *answer, const struct api_choice *choice,
                                const struct api_usage *usage, struct buffer *response,
                                struct buffer *output)
{
    responses_write(response, answer, choice, usage, NULL);
    output_write(output, answer, choice);
}
