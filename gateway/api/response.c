/* Answers to completion requests: whole and as server-sent events. */

#include "openai_response.h"

#include "check.h"

/* {"id":...,"object":...,"created":...,"model":...,"system_fingerprint":...,"choices":[
 * The caller closes the list. */
static void write_head(struct buffer *out, const struct api_answer *answer, const char *object)
{
    buffer_append_text(out, "{\"id\":");
    json_write_text(out, answer->id);
    json_write_key(out, "object");
    json_write_text(out, object);
    json_write_key(out, "created");
    buffer_append_u64(out, answer->created_s);
    json_write_key(out, "model");
    json_write_text(out, answer->model);
    json_write_key(out, "system_fingerprint");
    json_write_text(out, answer->fingerprint);
    json_write_key(out, "choices");
    buffer_append_byte(out, '[');
}

static void write_ids(struct buffer *out, const char *name, const int32_t *ids, uint32_t count)
{
    if (ids == NULL)
        return;
    json_write_key(out, name);
    buffer_append_byte(out, '[');
    for (uint32_t i = 0; i < count; i++) {
        json_write_comma(out);
        buffer_append_i64(out, ids[i]);
    }
    buffer_append_byte(out, ']');
}

static void write_usage(struct buffer *out, const struct api_usage *usage)
{
    json_write_key(out, "usage");
    buffer_append_format(out,
                         "{\"prompt_tokens\":%u,\"completion_tokens\":%u,\"total_tokens\":%llu,"
                         "\"prompt_tokens_details\":{\"cached_tokens\":%u,\"audio_tokens\":0},"
                         "\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0,"
                         "\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}",
                         usage->prompt_tokens, usage->completion_tokens,
                         (unsigned long long)usage->prompt_tokens + usage->completion_tokens,
                         usage->cached_tokens);
}

static void write_finish(struct buffer *out, const struct api_choice *choice)
{
    DCHECK(choice->finish == FINISH_STOP || choice->finish == FINISH_LENGTH);
    json_write_key(out, "finish_reason");
    json_write_text(out, choice->finish == FINISH_STOP ? "stop" : "length");
    json_write_key(out, "stop_reason");
    if (choice->stop_text.bytes > 0)
        json_write_string(out, choice->stop_text);
    else if (choice->stop_token >= 0)
        buffer_append_i64(out, choice->stop_token);
    else
        buffer_append_text(out, "null");
}

static void write_logprobs(struct buffer *out, const struct api_choice *choice)
{
    json_write_key(out, "logprobs");
    if (choice->logprobs != NULL)
        api_logprobs_write(choice->logprobs, out);
    else
        buffer_append_text(out, "null");
}

void api_completion_write_begin(struct buffer *out, const struct api_answer *answer)
{
    write_head(out, answer, answer->is_chat ? "chat.completion" : "text_completion");
}

void api_completion_write_choice(struct buffer *out, const struct api_answer *answer,
                                 const struct api_choice *choice)
{
    json_write_comma(out);
    buffer_append_text(out, "{\"index\":");
    buffer_append_u64(out, choice->index);
    if (answer->is_chat) {
        buffer_append_text(out, ",\"message\":{\"role\":\"assistant\",\"content\":");
        json_write_string(out, choice->text);
        buffer_append_text(out, ",\"refusal\":null}");
    } else {
        json_write_key(out, "text");
        json_write_string(out, choice->text);
    }
    write_logprobs(out, choice);
    write_finish(out, choice);
    write_ids(out, "prompt_token_ids", choice->prompt_ids, choice->prompt_count);
    write_ids(out, "token_ids", choice->token_ids, choice->token_count);
    buffer_append_byte(out, '}');
}

void api_completion_write_end(struct buffer *out, const struct api_answer *answer,
                              const struct api_usage *usage, const int32_t *prompt_ids,
                              uint32_t prompt_count)
{
    buffer_append_byte(out, ']');
    write_usage(out, usage);
    if (answer->is_chat)
        write_ids(out, "prompt_token_ids", prompt_ids, prompt_count);
    buffer_append_byte(out, '}');
}

static void chunk_begin(struct buffer *out, const struct api_answer *answer)
{
    buffer_append_text(out, "data: ");
    write_head(out, answer, answer->is_chat ? "chat.completion.chunk" : "text_completion");
}

/* After the list of choices. */
static void chunk_end(struct buffer *out, const struct api_answer *answer,
                      const struct api_usage *usage)
{
    if (usage != NULL)
        write_usage(out, usage);
    else if (answer->is_usage_wanted)
        buffer_append_text(out, ",\"usage\":null");
    buffer_append_text(out, "}\n\n");
}

static void choice_begin(struct buffer *out, uint32_t index)
{
    buffer_append_text(out, "{\"index\":");
    buffer_append_u64(out, index);
}

void api_chunk_write_role(struct buffer *out, const struct api_answer *answer, uint32_t index,
                          const int32_t *prompt_ids, uint32_t prompt_count,
                          const struct api_usage *usage)
{
    chunk_begin(out, answer);
    choice_begin(out, index);
    if (answer->is_chat)
        buffer_append_text(out, ",\"delta\":{\"role\":\"assistant\",\"content\":\"\","
                                "\"refusal\":null}");
    else
        buffer_append_text(out, ",\"text\":\"\"");
    buffer_append_text(out, ",\"logprobs\":null,\"finish_reason\":null");
    if (!answer->is_chat)
        write_ids(out, "prompt_token_ids", prompt_ids, prompt_count);
    buffer_append_text(out, "}]");
    if (answer->is_chat)
        write_ids(out, "prompt_token_ids", prompt_ids, prompt_count);
    chunk_end(out, answer, usage);
}

void api_chunk_write_delta(struct buffer *out, const struct api_answer *answer,
                           const struct api_choice *choice, const struct api_usage *usage)
{
    chunk_begin(out, answer);
    choice_begin(out, choice->index);
    buffer_append_text(out, answer->is_chat ? ",\"delta\":{\"content\":" : ",\"text\":");
    json_write_string(out, choice->text);
    if (answer->is_chat)
        buffer_append_byte(out, '}');
    write_logprobs(out, choice);
    buffer_append_text(out, ",\"finish_reason\":null");
    write_ids(out, "token_ids", choice->token_ids, choice->token_count);
    buffer_append_text(out, "}]");
    chunk_end(out, answer, usage);
}

void api_chunk_write_finish(struct buffer *out, const struct api_answer *answer,
                            const struct api_choice *choice, const struct api_usage *usage)
{
    chunk_begin(out, answer);
    choice_begin(out, choice->index);
    buffer_append_text(out, answer->is_chat ? ",\"delta\":{}" : ",\"text\":\"\"");
    buffer_append_text(out, ",\"logprobs\":null");
    write_finish(out, choice);
    buffer_append_text(out, "}]");
    chunk_end(out, answer, usage);
}

void api_chunk_write_usage(struct buffer *out, const struct api_answer *answer,
                           const struct api_usage *usage)
{
    chunk_begin(out, answer);
    buffer_append_byte(out, ']');
    chunk_end(out, answer, usage);
}

void api_event_write_error(struct buffer *out, const struct api_error *error)
{
    buffer_append_text(out, "data: ");
    api_error_write(error, out);
    buffer_append_text(out, "\n\n");
}

void api_event_write_done(struct buffer *out)
{
    buffer_append_text(out, "data: [DONE]\n\n");
}
