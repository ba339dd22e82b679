#ifndef PENSTOCK_ENGINE_METRICS_H
#define PENSTOCK_ENGINE_METRICS_H

#include <stdint.h>

#include "block_allocator.h"
#include "engine.h"

/* The engine's figures under vLLM's names, labels and buckets, so that dashboards, autoscalers and
 * routers made for it work unchanged (vllm/v1/metrics/loggers.py and docs/usage/metrics.md). Every
 * function accepts NULL and then does nothing. Updates are single atomic adds: step and publisher
 * thread call them as they go. */
struct engine_metrics;

struct engine_metrics_options {
    metrics_registry *registry; /* borrowed */
    const char *model_name;     /* borrowed during the call */
    uint32_t context_max, block_count;
    uint32_t draft_tokens_max; /* 0: no speculation, and no families of it */
    const char *cache_dtype;
    bool has_host; /* memory below the cache is wanted; else no families of it */
};
NODISCARD status engine_metrics_create(const struct engine_metrics_options *options,
                                       struct engine_metrics **out);
void engine_metrics_destroy(struct engine_metrics *m);

/* Step thread, after each step and when it goes idle. */
struct engine_gauges {
    uint32_t running, waiting;
    uint64_t tokens_used, tokens_total; /* positions of the KV cache */
    uint32_t blocks_pinned;
    double host_usage; /* share of the slots below the cache that hold a block */
};
void engine_metrics_set_gauges(struct engine_metrics *m, const struct engine_gauges *gauges);
/* Step thread: it sleeps so deep; 0: it is awake. */
void engine_metrics_sleep(struct engine_metrics *m, uint32_t level);
/* Step thread, after each step. */
struct engine_step_record {
    uint32_t rows, decodes, drafts; /* of the rows, one a sequence that generates; and drafts */
    uint64_t elapsed_ns;
    double predicted_ns; /* 0: there was no prediction */
    /* Since the step before */
    uint64_t preemptions, recomputed_tokens, saved_blocks, loaded_blocks;
    uint64_t lost_tokens; /* that preempted sequences compute again */
};
void engine_metrics_step(struct engine_metrics *m, const struct engine_step_record *step);
/* Step thread: a request starts for the first time. */
struct engine_admission_record {
    uint32_t prompt_tokens;
    uint32_t cached_tokens,
        host_tokens; /* of the prompt; host_tokens, from below the cache, of those */
    bool has_cache;  /* the prefix cache was asked */
};
void engine_metrics_admitted(struct engine_metrics *m,
                             const struct engine_admission_record *record);
/* Step thread: a sequence's step had `drafted` drafts, of which the first `accepted` were right. */
void engine_metrics_drafts(struct engine_metrics *m, uint32_t drafted, uint32_t accepted);
/* Step thread: the device has failed, and nothing is computed any more. */
void engine_metrics_failed(struct engine_metrics *m);
/* Step thread: how a block of the KV cache has lived (block_watch_fn; the context is the metrics). */
void engine_metrics_block(void *metrics, enum block_figure figure, uint64_t ns);
/* Step thread: a row of logits was not finite. */
void engine_metrics_corrupted(struct engine_metrics *m);

/* Publisher: a token for a client. since_ns: the token before it of the same sequence; 0: it is the
 * first. */
void engine_metrics_token(struct engine_metrics *m, uint64_t now_ns, uint64_t since_ns);
/* Publisher: the first token of a request. */
void engine_metrics_first_token(struct engine_metrics *m, uint64_t latency_ns);

/* Publisher: a request has ended. Times are monotonic ns, 0 where not reached. */
struct engine_request_record {
    enum finish_reason finish;
    uint64_t submitted_ns, admitted_ns, first_token_ns, last_token_ns, now_ns;
    uint32_t prompt_tokens, cached_tokens, n, max_tokens, preemptions;
    uint32_t generated_tokens;     /* of all sequences */
    uint32_t generated_tokens_max; /* of the longest */
};
void engine_metrics_request(struct engine_metrics *m, const struct engine_request_record *record);

#endif
