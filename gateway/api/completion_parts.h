#ifndef PENSTOCK_GATEWAY_API_COMPLETION_PARTS_H
#define PENSTOCK_GATEWAY_API_COMPLETION_PARTS_H

#include "wire_format.h"

/* What chat and text completions write alike. */

/* {"id":...,"object":...,"created":...,"model":...,"system_fingerprint":...,"choices":[
 * The caller closes the list. */
void completion_write_head(struct buffer *out, const struct api_answer *answer, const char *object);
/* "name":[ids]; nothing where `ids` is NULL. */
void completion_write_ids(struct buffer *out, const char *name, const int32_t *ids, uint32_t count);
/* "prompt_logprobs":[...]; nothing where `scores` is NULL. */
void completion_write_prompt_scores(struct buffer *out, const struct api_prompt_scores *scores);
/* "usage":{...} */
void completion_write_usage(struct buffer *out, const struct api_usage *usage);
/* "finish_reason":...,"stop_reason":...; call_reason: the word for an answer with calls */
void completion_write_finish(struct buffer *out, const struct api_choice *choice,
                             const char *call_reason);
/* "logprobs":{...} or null */
void completion_write_logprobs(struct buffer *out, const struct api_choice *choice);

/* One event: data: head, the choices that the caller writes, end. */
void completion_chunk_begin(struct buffer *out, const struct api_answer *answer,
                            const char *object);
/* After the list of choices. `is_last`: the one chunk that carries the usage for
 * stream_options.include_usage. */
void completion_chunk_end(struct buffer *out, const struct api_answer *answer,
                          const struct api_usage *usage, bool is_last);
/* {"index":... */
void completion_choice_begin(struct buffer *out, uint32_t index);
/* The chunk with the usage where it is wanted. */
void completion_stream_usage(struct buffer *out, const struct api_answer *answer,
                             const char *object, const struct api_usage *usage);
/* The same, and the mark of the end. */
void completion_stream_end(struct buffer *out, const struct api_answer *answer, const char *object,
                           const struct api_usage *usage);
void completion_stream_error(struct buffer *out, struct api_answer *answer,
                             const struct api_error *error, const char *request_id);
/* OpenAI's envelope, for all of its APIs. */
void completion_error_write(struct buffer *out, const struct api_error *error,
                            const char *request_id);

#endif
