/* POST /v1/responses: answers whole and as events. Oracle: the types and the stream helper of the
 * official Python client, version 3.
 *
 *   response.created, response.in_progress
 *     response.output_item.added                    for each item of the output
 *       a message:   content_part.added, output_text.delta..., output_text.done, content_part.done
 *       reasoning:   content_part.added, reasoning_text.delta..., reasoning_text.done,
 *                    content_part.done
 *       a call:      function_call_arguments.delta..., function_call_arguments.done
 *     response.output_item.done
 *   response.completed | response.incomplete | response.failed
 *
 * Events are numbered from 0. An answer has one choice, so its end is that of the stream. */

#include "completion_parts.h"
#include "openai_response.h"
#include "responses_object.h"
#include "responses_request.h"

/* event: NAME, data: {"type":"NAME","sequence_number":N */
static void event_begin(struct buffer *out, struct api_answer *answer, const char *name)
{
    buffer_append_format(out, "event: %s\ndata: {\"type\":\"%s\",\"sequence_number\":%u", name,
                         name, answer->progress.sequence++);
}

static void event_end(struct buffer *out)
{
    buffer_append_text(out, "}\n\n");
}

static uint32_t open_index(const struct api_answer *answer)
{
    return answer->progress.item_count - 1;
}

/* An event of a part of the open item: its place, as all of them have it. */
static void part_event_begin(struct buffer *out, struct api_answer *answer, const char *name)
{
    enum output_kind kind = answer->progress.open_kind;
    uint32_t index = open_index(answer);
    struct api_item_id id = responses_item_id(answer, kind, index);
    event_begin(out, answer, name);
    buffer_append_format(out, ",\"item_id\":\"%s\",\"output_index\":%u", id.text, index);
    if (kind != OUTPUT_TOOL_BEGIN)
        buffer_append_text(out, ",\"content_index\":0");
}

static void response_event(struct buffer *out, struct api_answer *answer, const char *name,
                           const struct api_choice *choice, const struct api_usage *usage,
                           const struct api_error *error)
{
    event_begin(out, answer, name);
    json_write_key(out, "response");
    responses_write(out, answer, choice, usage, error);
    event_end(out);
}

static void stream_begin(struct buffer *out, struct api_answer *answer,
                         const struct api_choice *choice, const struct api_usage *usage)
{
    (void)choice;
    response_event(out, answer, "response.created", NULL, usage, NULL);
    response_event(out, answer, "response.in_progress", NULL, usage, NULL);
}

static void text_done(struct buffer *out, struct api_answer *answer, const char *name,
                      const char *member, const struct api_choice *choice)
{
    part_event_begin(out, answer, name);
    json_write_key(out, member);
    json_write_string(out, buffer_slice(&choice->items->items[open_index(answer)].text));
    if (answer->progress.open_kind == OUTPUT_TEXT) {
        json_write_key(out, "logprobs");
        api_logprobs_write_all(choice->logprobs, out);
    }
    event_end(out);
}

static uint32_t calls_before(const struct api_choice *choice, uint32_t index)
{
    uint32_t calls = 0;
    for (uint32_t i = 0; i < index; i++)
        calls += choice->items->items[i].kind == OUTPUT_TOOL_BEGIN;
    return calls;
}

/* `is_cut`: by max_output_tokens. */
static void item_close(struct buffer *out, struct api_answer *answer,
                       const struct api_choice *choice, bool is_cut)
{
    enum output_kind kind = answer->progress.open_kind;
    uint32_t index = open_index(answer);
    if (!answer->progress.is_open)
        return;
    if (kind == OUTPUT_TOOL_BEGIN)
        text_done(out, answer, "response.function_call_arguments.done", "arguments", choice);
    else if (kind == OUTPUT_REASONING)
        text_done(out, answer, "response.reasoning_text.done", "text", choice);
    else
        text_done(out, answer, "response.output_text.done", "text", choice);
    if (kind != OUTPUT_TOOL_BEGIN) {
        part_event_begin(out, answer, "response.content_part.done");
        json_write_key(out, "part");
        responses_part_write(out, kind, choice, index);
        event_end(out);
    }
    event_begin(out, answer, "response.output_item.done");
    buffer_append_format(out, ",\"output_index\":%u,\"item\":", index);
    responses_item_write(out, answer, choice, index, calls_before(choice, index),
                         is_cut ? ITEM_INCOMPLETE : ITEM_COMPLETED);
    event_end(out);
    answer->progress.is_open = false;
}

static void item_open(struct buffer *out, struct api_answer *answer,
                      const struct api_choice *choice)
{
    const struct output_delta *delta = choice->delta;
    item_close(out, answer, choice, false);
    answer->progress.open_kind = delta->kind;
    answer->progress.is_open = true;
    event_begin(out, answer, "response.output_item.added");
    buffer_append_format(out, ",\"output_index\":%u,\"item\":", answer->progress.item_count);
    responses_item_begin(out, answer, answer->progress.item_count++, delta);
    event_end(out);
    if (delta->kind == OUTPUT_TOOL_BEGIN)
        return;
    part_event_begin(out, answer, "response.content_part.added");
    json_write_key(out, "part");
    responses_part_write(out, delta->kind, NULL, 0);
    event_end(out);
}

static void delta_event(struct buffer *out, struct api_answer *answer, const char *name,
                        const struct api_choice *choice)
{
    part_event_begin(out, answer, name);
    json_write_key(out, "delta");
    json_write_string(out, choice->delta->text);
    if (choice->delta->kind == OUTPUT_TEXT) {
        json_write_key(out, "logprobs");
        api_logprobs_write_new(choice->logprobs, out);
    }
    event_end(out);
}

static void stream_delta(struct buffer *out, struct api_answer *answer,
                         const struct api_choice *choice, const struct api_usage *usage)
{
    const struct output_delta *delta = choice->delta;
    (void)usage;
    switch (delta->kind) {
    case OUTPUT_TOOL_BEGIN:
        item_open(out, answer, choice);
        return;
    case OUTPUT_TOOL_END:
        item_close(out, answer, choice, false);
        return;
    case OUTPUT_TOOL_ARGUMENTS:
        delta_event(out, answer, "response.function_call_arguments.delta", choice);
        return;
    case OUTPUT_TEXT:
    case OUTPUT_REASONING:
        break;
    }
    if (delta->text.bytes == 0)
        return;
    if (!answer->progress.is_open || answer->progress.open_kind != delta->kind)
        item_open(out, answer, choice);
    delta_event(out, answer,
                delta->kind == OUTPUT_TEXT ? "response.output_text.delta"
                                           : "response.reasoning_text.delta",
                choice);
}

static void stream_finish(struct buffer *out, struct api_answer *answer,
                          const struct api_choice *choice, const struct api_usage *usage)
{
    bool is_cut = api_choice_is_cut(choice);
    item_close(out, answer, choice, is_cut);
    response_event(out, answer, is_cut ? "response.incomplete" : "response.completed", choice,
                   usage, NULL);
}

static void stream_end(struct buffer *out, struct api_answer *answer, const struct api_usage *usage)
{
    (void)out;
    (void)answer;
    (void)usage;
}

static void stream_error(struct buffer *out, struct api_answer *answer,
                         const struct api_error *error, const char *request_id)
{
    struct api_answer unknown = {0};
    (void)request_id;
    if (answer != NULL) {
        response_event(out, answer, "response.failed", NULL, NULL, error);
        return;
    }
    event_begin(out, &unknown, "error");
    json_write_key(out, "code");
    json_write_text(out, error->code);
    json_write_key(out, "message");
    json_write_text(out, error->message);
    json_write_key(out, "param");
    json_write_text(out, NULL);
    event_end(out);
}

/* All of an answer is in its one choice, but for the usage, which comes with the end. */
static void answer_begin(struct buffer *out, struct api_answer *answer)
{
    (void)out;
    (void)answer;
}

static void answer_choice(struct buffer *out, struct api_answer *answer,
                          const struct api_choice *choice)
{
    (void)out;
    answer->progress.whole = choice;
}

static void answer_end(struct buffer *out, struct api_answer *answer, const struct api_usage *usage)
{
    responses_write(out, answer, answer->progress.whole, usage, NULL);
}

static void count_write(struct buffer *out, uint32_t prompt_tokens)
{
    buffer_append_format(out, "{\"object\":\"response.input_tokens\",\"input_tokens\":%u}",
                         prompt_tokens);
}

const struct wire_format wire_format_responses = {
    .id_prefix = "resp_",
    .keeps_output = true,
    .parse = responses_parse,
    .parse_count = responses_parse,
    .count_write = count_write,
    .stream_begin = stream_begin,
    .stream_delta = stream_delta,
    .stream_finish = stream_finish,
    .stream_end = stream_end,
    .stream_error = stream_error,
    .answer_begin = answer_begin,
    .answer_choice = answer_choice,
    .answer_end = answer_end,
    .record_write = api_responses_write_record,
    .error_write = completion_error_write,
};
