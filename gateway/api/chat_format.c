/* POST /v1/chat/completions: answers whole and as server-sent events. */

#include "completion_parts.h"
#include "openai_response.h"

#define OBJECT       "chat.completion"
#define CHUNK_OBJECT "chat.completion.chunk"

static void answer_begin(struct buffer *out, const struct api_answer *answer)
{
    completion_write_head(out, answer, OBJECT);
}

static void answer_choice(struct buffer *out, const struct api_answer *answer,
                          const struct api_choice *choice)
{
    (void)answer;
    json_write_comma(out);
    completion_choice_begin(out, choice->index);
    buffer_append_text(out, ",\"message\":{\"role\":\"assistant\",\"content\":");
    json_write_string(out, choice->text);
    buffer_append_text(out, ",\"refusal\":null}");
    completion_write_logprobs(out, choice);
    completion_write_finish(out, choice);
    completion_write_ids(out, "token_ids", choice->token_ids, choice->token_count);
    buffer_append_byte(out, '}');
}

static void answer_end(struct buffer *out, const struct api_answer *answer,
                       const struct api_usage *usage)
{
    buffer_append_byte(out, ']');
    completion_write_usage(out, usage);
    completion_write_ids(out, "prompt_token_ids", answer->prompt_ids, answer->prompt_count);
    buffer_append_byte(out, '}');
}

/* The first chunk of a choice names the role; that of the first choice may carry the prompt's ids. */
static void stream_begin(struct buffer *out, const struct api_answer *answer,
                         const struct api_choice *choice, const struct api_usage *usage)
{
    completion_chunk_begin(out, answer, CHUNK_OBJECT);
    completion_choice_begin(out, choice->index);
    buffer_append_text(out, ",\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}"
                            ",\"logprobs\":null,\"finish_reason\":null}]");
    if (choice->index == 0)
        completion_write_ids(out, "prompt_token_ids", answer->prompt_ids, answer->prompt_count);
    completion_chunk_end(out, answer, usage, false);
}

static void stream_delta(struct buffer *out, const struct api_answer *answer,
                         const struct api_choice *choice, const struct api_usage *usage)
{
    completion_chunk_begin(out, answer, CHUNK_OBJECT);
    completion_choice_begin(out, choice->index);
    buffer_append_text(out, ",\"delta\":{\"content\":");
    json_write_string(out, choice->text);
    buffer_append_byte(out, '}');
    completion_write_logprobs(out, choice);
    buffer_append_text(out, ",\"finish_reason\":null");
    completion_write_ids(out, "token_ids", choice->token_ids, choice->token_count);
    buffer_append_text(out, "}]");
    completion_chunk_end(out, answer, usage, false);
}

static void stream_finish(struct buffer *out, const struct api_answer *answer,
                          const struct api_choice *choice, const struct api_usage *usage)
{
    completion_chunk_begin(out, answer, CHUNK_OBJECT);
    completion_choice_begin(out, choice->index);
    buffer_append_text(out, ",\"delta\":{},\"logprobs\":null");
    completion_write_finish(out, choice);
    buffer_append_text(out, "}]");
    completion_chunk_end(out, answer, usage, false);
}

static void stream_end(struct buffer *out, const struct api_answer *answer,
                       const struct api_usage *usage)
{
    completion_stream_end(out, answer, CHUNK_OBJECT, usage);
}

const struct wire_format wire_format_chat = {
    .id_prefix = "chatcmpl-",
    .parse = api_chat_request_parse,
    .stream_begin = stream_begin,
    .stream_delta = stream_delta,
    .stream_finish = stream_finish,
    .stream_end = stream_end,
    .stream_error = completion_stream_error,
    .answer_begin = answer_begin,
    .answer_choice = answer_choice,
    .answer_end = answer_end,
};
