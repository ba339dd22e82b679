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
/* "finish_reason":...,"stop_reason":... */
void completion_write_finish(struct buffer *out, const struct api_answer *answer,
                             const struct api_choice *choice);
/* "logprobs":{...} or null */
void completion_write_logprobs(struct buffer *out, const struct api_choice *choice);

/* {"index":... */
void completion_choice_begin(struct buffer *out, uint32_t index);

/* One event: data: head, the beginning of one choice; members that the caller writes; an end. */
void completion_chunk_begin(struct buffer *out, const struct api_answer *answer, const char *object,
                            const struct api_choice *choice);
/* After the list of choices, which the caller has closed. */
void completion_chunk_end(struct buffer *out, const struct api_answer *answer,
                          const struct api_usage *usage);
/* The end of a choice's chunk behind what is new in its text. */
void completion_delta_end(struct buffer *out, const struct api_answer *answer,
                          const struct api_choice *choice, const struct api_usage *usage);
/* The end of a choice's last chunk: why it is the last. */
void completion_finish_end(struct buffer *out, const struct api_answer *answer,
                           const struct api_choice *choice, const struct api_usage *usage);
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
