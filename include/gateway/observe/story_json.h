#ifndef PENSTOCK_OBSERVE_STORY_JSON_H
#define PENSTOCK_OBSERVE_STORY_JSON_H

#include "buffer.h"
#include "request_story.h"

/* Stories as the admin API tells them. Times are milliseconds, moments from the request's start; what is not known is null, and what has
 * not come is left out. Pure; any thread. `now_ns` is monotonic, for requests that are under way. Buffers' ceilings are the
 * caller's. */

/* A row of GET /admin/requests:
 *   {"id", "loop", "number", "state": "live" | "ended", "start_ms" (Unix), "seconds", "phase" (the last moment that it has come to), "route",
 *    "model", "status" (null: it has none yet), "error", "organisation", "team", "key", "attempts_made", "prompt_tokens", "completion_tokens",
 *    "trace_id"} */
void request_story_write_row(const struct request_story *story, uint64_t now_ns,
                             struct buffer *out);

/* What is said of each attempt beside what the gateway knows: `write` adds members to the attempt's object, each with json_write_key. */
struct story_attempt_addition {
    void (*write)(void *context, uint32_t attempt, struct buffer *out);
    void *context;
};

/* GET /admin/requests/{id}: the row's members, and
 *   {"asked_model", "method", "stream", "band", "finish", "moments_ms": {name: ms},
 *    "phases": [{"name", "ms"}], which together are all of its time
 *    "queue": [{"at_ms", "ahead", "eta_ms"}],
 *    "decision": {"policy", "at_ms", "attempt", "prompt_tokens_guess", "candidate_count",
 *                 "candidates": [{"replica", "outcome", "score_ms", "queued_ms", "step_ms", "prefill_ms_per_token", "cached_tokens",
 *                                 "outstanding", "waiting", "running"}]} (null: nobody was to choose),
 *    "attempts": [{"replica": "model#index", "member", "remote", "upstream", "why", "start_ms", "head_ms", "end_ms", "result",
 *                  "status", "span_id", ...}], the first of them
 *    "retries", "hedges", "continuations", "fallbacks",
 *    "usage": {"estimated", "prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens", "busy_ms"} (null),
 *    "cost", "bytes_in", "bytes_out", "parent_span_id", "span_id"} */
void request_story_write(const struct request_story *story, uint64_t now_ns,
                         const struct story_attempt_addition *addition, struct buffer *out);

#endif
