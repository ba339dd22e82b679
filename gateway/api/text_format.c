/* POST /v1/completions: answers whole and as server-sent events, which have one shape. */

#include "completion_parts.h"
#include "openai_response.h"

#define OBJECT "text_completion"

static void answer_begin(struct buffer *out, struct api_answer *answer)
{
    completion_write_head(out, answer, OBJECT);
}

static void answer_choice(struct buffer *out, struct api_answer *answer,
                          const struct api_choice *choice)
{
    json_write_comma(out);
    completion_choice_begin(out, choice->index);
    json_write_key(out, "text");
    output_items_write(choice->items, OUTPUT_TEXT, out);
    completion_write_logprobs(out, choice);
    completion_write_finish(out, answer, choice);
    completion_write_prompt_scores(out, choice->prompt_scores);
    completion_write_ids(out, "prompt_token_ids", choice->prompt_ids, choice->prompt_count);
    completion_write_ids(out, "token_ids", choice->token_ids, choice->token_count);
    buffer_append_byte(out, '}');
}

static void answer_end(struct buffer *out, struct api_answer *answer, const struct api_usage *usage)
{
    (void)answer;
    buffer_append_byte(out, ']');
    completion_write_usage(out, usage);
    buffer_append_byte(out, '}');
}

/* There is no role to name: a first chunk is needed only for the prompt's ids. */
static void stream_begin(struct buffer *out, struct api_answer *answer,
                         const struct api_choice *choice, const struct api_usage *usage)
{
    if (choice->prompt_ids == NULL)
        return;
    completion_chunk_begin(out, answer, OBJECT, choice);
    buffer_append_text(out, ",\"text\":\"\",\"logprobs\":null,\"finish_reason\":null");
    completion_write_ids(out, "prompt_token_ids", choice->prompt_ids, choice->prompt_count);
    buffer_append_text(out, "}]");
    completion_chunk_end(out, answer, usage);
}

static void stream_delta(struct buffer *out, struct api_answer *answer,
                         const struct api_choice *choice, const struct api_usage *usage)
{
    completion_chunk_begin(out, answer, OBJECT, choice);
    json_write_key(out, "text");
    json_write_string(out, choice->delta->text);
    completion_delta_end(out, answer, choice, usage);
}

static void stream_finish(struct buffer *out, struct api_answer *answer,
                          const struct api_choice *choice, const struct api_usage *usage)
{
    completion_chunk_begin(out, answer, OBJECT, choice);
    buffer_append_text(out, ",\"text\":\"\"");
    completion_finish_end(out, answer, choice, usage);
}

static void stream_end(struct buffer *out, struct api_answer *answer, const struct api_usage *usage)
{
    completion_stream_end(out, answer, OBJECT, usage);
}

static void stream_usage(struct buffer *out, struct api_answer *answer,
                         const struct api_usage *usage)
{
    completion_stream_usage(out, answer, OBJECT, usage);
}

static status parse(const struct wire_request *source, struct api_completion_request *out,
                    struct api_error *error)
{
    return api_completion_request_parse(source->body, source->limits, out, error);
}

const struct wire_format wire_format_text = {
    .id_prefix = "cmpl-",
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
