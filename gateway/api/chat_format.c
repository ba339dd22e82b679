/* POST /v1/chat/completions: answers whole and as server-sent events. */

#include "completion_parts.h"
#include "openai_response.h"

#define OBJECT       "chat.completion"
#define CHUNK_OBJECT "chat.completion.chunk"

static void answer_begin(struct buffer *out, struct api_answer *answer)
{
    completion_write_head(out, answer, OBJECT);
}

/* {"index","id","type","function":{"name","arguments": the value is the caller's to write. */
static void call_begin(struct buffer *out, const struct api_answer *answer, uint32_t choice,
                       uint32_t call, struct text_slice name, bool with_index)
{
    struct api_item_id id = api_item_id_make("call_", answer, choice, call);
    buffer_append_byte(out, '{');
    if (with_index)
        buffer_append_format(out, "\"index\":%u,", call);
    buffer_append_format(out,
                         "\"id\":\"%s\",\"type\":\"function\",\"function\":{\"name\":", id.text);
    json_write_string(out, name);
    json_write_key(out, "arguments");
}

static void calls_write(struct buffer *out, const struct api_answer *answer,
                        const struct api_choice *choice)
{
    uint32_t call = 0;
    json_write_key(out, "tool_calls");
    buffer_append_byte(out, '[');
    for (uint32_t i = 0; i < choice->items->count; i++) {
        const struct output_item *item = &choice->items->items[i];
        if (item->kind != OUTPUT_TOOL_BEGIN)
            continue;
        json_write_comma(out);
        call_begin(out, answer, choice->index, call++, buffer_slice(&item->name), false);
        json_write_string(out, buffer_slice(&item->text));
        buffer_append_text(out, "}}");
    }
    buffer_append_byte(out, ']');
}

/* The call as those know it who asked with `functions`. */
static void function_call_write(struct buffer *out, const struct api_choice *choice)
{
    for (uint32_t i = 0; i < choice->items->count; i++) {
        const struct output_item *item = &choice->items->items[i];
        if (item->kind != OUTPUT_TOOL_BEGIN)
            continue;
        buffer_append_text(out, ",\"function_call\":{\"name\":");
        json_write_string(out, buffer_slice(&item->name));
        json_write_key(out, "arguments");
        json_write_string(out, buffer_slice(&item->text));
        buffer_append_byte(out, '}');
        return;
    }
}

/* Reasoning has two names among servers; clients look for either. */
static void message_write(struct buffer *out, const struct api_answer *answer,
                          const struct api_choice *choice)
{
    bool has_text = output_items_has(choice->items, OUTPUT_TEXT);
    bool has_calls = output_items_has(choice->items, OUTPUT_TOOL_BEGIN);
    buffer_append_text(out, ",\"message\":{\"role\":\"assistant\",\"content\":");
    if (has_text || !has_calls)
        output_items_write(choice->items, OUTPUT_TEXT, out);
    else
        buffer_append_text(out, "null");
    buffer_append_text(out, ",\"refusal\":null");
    if (output_items_has(choice->items, OUTPUT_REASONING)) {
        json_write_key(out, "reasoning_content");
        output_items_write(choice->items, OUTPUT_REASONING, out);
        json_write_key(out, "reasoning");
        output_items_write(choice->items, OUTPUT_REASONING, out);
    }
    if (has_calls && answer->request->has_functions)
        function_call_write(out, choice);
    else if (has_calls)
        calls_write(out, answer, choice);
    buffer_append_byte(out, '}');
}

/* A piece of a call. */
static void call_delta_write(struct buffer *out, const struct api_answer *answer,
                             const struct api_choice *choice)
{
    const struct output_delta *delta = choice->delta;
    bool is_function = answer->request->has_functions;
    if (delta->kind == OUTPUT_TOOL_BEGIN && is_function) {
        buffer_append_text(out, "\"function_call\":{\"name\":");
        json_write_string(out, delta->tool_name);
        buffer_append_text(out, ",\"arguments\":\"\"}");
    } else if (delta->kind == OUTPUT_TOOL_BEGIN) {
        buffer_append_text(out, "\"tool_calls\":[");
        call_begin(out, answer, choice->index, delta->tool_index, delta->tool_name, true);
        buffer_append_text(out, "\"\"}}]");
    } else if (is_function) {
        buffer_append_text(out, "\"function_call\":{\"arguments\":");
        json_write_string(out, delta->text);
        buffer_append_byte(out, '}');
    } else {
        buffer_append_format(
            out, "\"tool_calls\":[{\"index\":%u,\"function\":{\"arguments\":", delta->tool_index);
        json_write_string(out, delta->text);
        buffer_append_text(out, "}}]");
    }
}

static void delta_write(struct buffer *out, const struct api_answer *answer,
                        const struct api_choice *choice)
{
    const struct output_delta *delta = choice->delta;
    buffer_append_text(out, ",\"delta\":{");
    switch (delta->kind) {
    case OUTPUT_TEXT:
        json_write_key(out, "content");
        json_write_string(out, delta->text);
        break;
    case OUTPUT_REASONING:
        json_write_key(out, "reasoning_content");
        json_write_string(out, delta->text);
        json_write_key(out, "reasoning");
        json_write_string(out, delta->text);
        break;
    case OUTPUT_TOOL_BEGIN:
    case OUTPUT_TOOL_ARGUMENTS:
        call_delta_write(out, answer, choice);
        break;
    case OUTPUT_TOOL_END:
        break;
    }
    buffer_append_byte(out, '}');
}

static void answer_choice(struct buffer *out, struct api_answer *answer,
                          const struct api_choice *choice)
{
    json_write_comma(out);
    completion_choice_begin(out, choice->index);
    message_write(out, answer, choice);
    completion_write_logprobs(out, choice);
    completion_write_finish(out, answer, choice);
    completion_write_ids(out, "token_ids", choice->token_ids, choice->token_count);
    buffer_append_byte(out, '}');
}

static void answer_end(struct buffer *out, struct api_answer *answer, const struct api_usage *usage)
{
    buffer_append_byte(out, ']');
    completion_write_usage(out, usage);
    completion_write_prompt_scores(out, answer->prompt_scores);
    completion_write_ids(out, "prompt_token_ids", answer->prompt_ids, answer->prompt_count);
    buffer_append_byte(out, '}');
}

/* The first chunk of a choice names the role; that of the first choice may carry the prompt's ids. */
static void stream_begin(struct buffer *out, struct api_answer *answer,
                         const struct api_choice *choice, const struct api_usage *usage)
{
    completion_chunk_begin(out, answer, CHUNK_OBJECT, choice);
    buffer_append_text(out, ",\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}"
                            ",\"logprobs\":null,\"finish_reason\":null}]");
    if (choice->index == 0)
        completion_write_ids(out, "prompt_token_ids", answer->prompt_ids, answer->prompt_count);
    completion_chunk_end(out, answer, usage);
}

static void stream_delta(struct buffer *out, struct api_answer *answer,
                         const struct api_choice *choice, const struct api_usage *usage)
{
    bool has_more = choice->logprobs != NULL || choice->token_ids != NULL;
    if (choice->delta->kind == OUTPUT_TOOL_END && !has_more)
        return; /* the next call, or the end, tells */
    completion_chunk_begin(out, answer, CHUNK_OBJECT, choice);
    delta_write(out, answer, choice);
    completion_delta_end(out, answer, choice, usage);
}

static void stream_finish(struct buffer *out, struct api_answer *answer,
                          const struct api_choice *choice, const struct api_usage *usage)
{
    completion_chunk_begin(out, answer, CHUNK_OBJECT, choice);
    buffer_append_text(out, ",\"delta\":{}");
    completion_finish_end(out, answer, choice, usage);
}

static void stream_end(struct buffer *out, struct api_answer *answer, const struct api_usage *usage)
{
    completion_stream_end(out, answer, CHUNK_OBJECT, usage);
}

static void stream_usage(struct buffer *out, struct api_answer *answer,
                         const struct api_usage *usage)
{
    completion_stream_usage(out, answer, CHUNK_OBJECT, usage);
}

static status parse(const struct wire_request *source, struct api_completion_request *out,
                    struct api_error *error)
{
    return api_chat_request_parse(source->body, source->limits, out, error);
}

const struct wire_format wire_format_chat = {
    .id_prefix = "chatcmpl-",
    .parse = parse,
    .stream_begin = stream_begin,
    .stream_delta = stream_delta,
    .stream_finish = stream_finish,
    .stream_end = stream_end,
    .stream_usage = stream_usage,
    .stream_error = completion_stream_error,
    .answer_begin = answer_begin,
    .answer_choice = answer_choice,
    .answer_end = answer_end,
    .error_write = completion_error_write,
};
