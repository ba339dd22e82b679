#include "completion_parts.h"

#include <stdio.h>

#include "check.h"
#include "openai_response.h"

void completion_write_head(struct buffer *out, const struct api_answer *answer, const char *object)
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
    if (answer->service_tier != NULL) {
        json_write_key(out, "service_tier");
        json_write_text(out, answer->service_tier);
    }
    json_write_key(out, "choices");
    buffer_append_byte(out, '[');
}

void completion_write_ids(struct buffer *out, const char *name, const int32_t *ids, uint32_t count)
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

void completion_write_usage(struct buffer *out, const struct api_usage *usage)
{
    const struct api_timings *ms = &usage->timings;
    json_write_key(out, "usage");
    buffer_append_format(
        out,
        "{\"prompt_tokens\":%u,\"completion_tokens\":%u,\"total_tokens\":%llu,"
        "\"prompt_tokens_details\":{\"cached_tokens\":%u,"
        "\"cache_write_tokens\":%u,\"audio_tokens\":0},"
        "\"completion_tokens_details\":{\"reasoning_tokens\":%u,\"audio_tokens\":0,"
        "\"accepted_prediction_tokens\":%u,\"rejected_prediction_tokens\":%u}",
        usage->prompt_tokens, usage->completion_tokens,
        (unsigned long long)usage->prompt_tokens + usage->completion_tokens, usage->cached_tokens,
        usage->cache_write_tokens, usage->reasoning_tokens, usage->accepted_prediction_tokens,
        usage->rejected_prediction_tokens);
    if (usage->has_timings)
        buffer_append_format(out,
                             ",\"timings\":{\"prepare_ms\":%.3f,\"queue_ms\":%.3f,"
                             "\"prefill_ms\":%.3f,\"decode_ms\":%.3f,\"total_ms\":%.3f}",
                             ms->prepare, ms->queue, ms->prefill, ms->decode, ms->total);
    buffer_append_byte(out, '}');
}

void completion_write_prompt_scores(struct buffer *out, const struct api_prompt_scores *scores)
{
    if (scores == NULL)
        return;
    json_write_key(out, "prompt_logprobs");
    api_prompt_scores_write(scores, out);
}

void completion_write_finish(struct buffer *out, const struct api_answer *answer,
                             const struct api_choice *choice)
{
    const char *call_reason = answer->request->has_functions ? "function_call" : "tool_calls";
    json_write_key(out, "finish_reason");
    if (choice->finish == FINISH_LENGTH)
        json_write_text(out, "length");
    else if (choice->finish == FINISH_REPETITION) /* vLLM's word for it */
        json_write_text(out, "repetition");
    else
        json_write_text(out, choice->call_count > 0 ? call_reason : "stop");
    json_write_key(out, "stop_reason");
    if (choice->stop_text.bytes > 0)
        json_write_string(out, choice->stop_text);
    else if (choice->finish == FINISH_REPETITION)
        json_write_text(out, "repetition_detected");
    else if (choice->stop_token >= 0)
        buffer_append_i64(out, choice->stop_token);
    else
        buffer_append_text(out, "null");
}

void completion_write_logprobs(struct buffer *out, const struct api_choice *choice)
{
    json_write_key(out, "logprobs");
    if (choice->logprobs != NULL)
        api_logprobs_write(choice->logprobs, out);
    else
        buffer_append_text(out, "null");
}

void completion_choice_begin(struct buffer *out, uint32_t index)
{
    buffer_append_text(out, "{\"index\":");
    buffer_append_u64(out, index);
}

void completion_chunk_begin(struct buffer *out, const struct api_answer *answer, const char *object,
                            const struct api_choice *choice)
{
    buffer_append_text(out, "data: ");
    completion_write_head(out, answer, object);
    completion_choice_begin(out, choice->index);
}

void completion_chunk_end(struct buffer *out, const struct api_answer *answer,
                          const struct api_usage *usage)
{
    if (answer->is_usage_continuous)
        completion_write_usage(out, usage);
    else if (answer->is_usage_wanted)
        buffer_append_text(out, ",\"usage\":null");
    buffer_append_text(out, "}\n\n");
}

void completion_delta_end(struct buffer *out, const struct api_answer *answer,
                          const struct api_choice *choice, const struct api_usage *usage)
{
    completion_write_logprobs(out, choice);
    buffer_append_text(out, ",\"finish_reason\":null");
    completion_write_ids(out, "token_ids", choice->token_ids, choice->token_count);
    buffer_append_text(out, "}]");
    completion_chunk_end(out, answer, usage);
}

void completion_finish_end(struct buffer *out, const struct api_answer *answer,
                           const struct api_choice *choice, const struct api_usage *usage)
{
    buffer_append_text(out, ",\"logprobs\":null");
    completion_write_finish(out, answer, choice);
    buffer_append_text(out, "}]");
    completion_chunk_end(out, answer, usage);
}

void completion_stream_usage(struct buffer *out, const struct api_answer *answer,
                             const char *object, const struct api_usage *usage)
{
    if (!answer->is_usage_wanted)
        return;
    buffer_append_text(out, "data: ");
    completion_write_head(out, answer, object);
    buffer_append_byte(out, ']');
    completion_write_usage(out, usage);
    buffer_append_text(out, "}\n\n");
}

void completion_stream_end(struct buffer *out, const struct api_answer *answer, const char *object,
                           const struct api_usage *usage)
{
    completion_stream_usage(out, answer, object, usage);
    buffer_append_text(out, "data: [DONE]\n\n");
}

void completion_stream_error(struct buffer *out, struct api_answer *answer,
                             const struct api_error *error, const char *request_id)
{
    (void)answer;
    (void)request_id;
    buffer_append_text(out, "data: ");
    api_error_write(error, out);
    buffer_append_text(out, "\n\n");
}

void completion_error_write(struct buffer *out, const struct api_error *error,
                            const char *request_id)
{
    (void)request_id;
    api_error_write(error, out);
}

struct api_item_id api_item_id_make(const char *prefix, const struct api_answer *answer,
                                    uint32_t choice, uint32_t item)
{
    struct api_item_id id;
    snprintf(id.text, sizeof id.text, "%s%s%02x%02x", prefix, answer->unique, choice, item);
    return id;
}
