#include "replica_tracing.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "clock.h"
#include "memory.h"
#include "story_spans.h"
#include "trace_sampler.h"

struct replica_tracing {
    const struct config_tracing *settings; /* borrowed */
    const char *model;                     /* borrowed */
    otlp_exporter *exporter;               /* owned */
    struct trace_ids *ids;                 /* [loop_count], owned; each its loop's */
    /* Jobs end on several threads: one at a time is the exporter's loop 0. */
    pthread_mutex_t lock;
};

struct item {
    struct replica_story story;
    const char *operation; /* static */
};

/* --- requests --- */

void replica_tracing_begin(struct replica_tracing *tracing, const http_request *request,
                           struct replica_story *story, struct job_trace *trace)
{
    struct trace_context context;

    trace->has_parent = trace_context_read(http_request_header(request, "traceparent"), &context);
    if (trace->has_parent) {
        trace->flags = context.flags;
        trace_id_hex(context.trace_id, story->trace_id);
        span_id_hex(context.span_id, story->parent_span_id);
    } else if (tracing != NULL) {
        trace_ids_make_trace(&tracing->ids[http_loop_index(http_request_loop(request))],
                             context.trace_id);
        trace_id_hex(context.trace_id, story->trace_id);
    }
}

static double seconds_between(const struct replica_story *story, enum replica_story_moment from,
                              enum replica_story_moment to)
{
    return (double)(story->moments_ns[to] - story->moments_ns[from]) / (double)NS_PER_SECOND;
}

static void sample_make(const struct replica_tracing *tracing, const struct replica_story *story,
                        const char *operation, bool is_error, struct genai_sample *out)
{
    uint64_t first_ns = story->moments_ns[REPLICA_STORY_FIRST_TOKEN];
    uint64_t last_ns = story->moments_ns[REPLICA_STORY_LAST_TOKEN];

    *out = (struct genai_sample){
        .operation = operation,
        .duration_s = (double)story->moments_ns[REPLICA_STORY_ENDED] / (double)NS_PER_SECOND,
        .first_token_s = first_ns > 0 ? (double)first_ns / (double)NS_PER_SECOND : -1,
        .per_token_s = -1,
        .has_usage = story->prompt_tokens > 0,
        .input_tokens = story->prompt_tokens,
        .output_tokens = story->completion_tokens};
    (void)snprintf(out->model, sizeof(out->model), "%s", tracing->model);
    (void)snprintf(out->error_type, sizeof(out->error_type), "%s", is_error ? "engine" : "");
    if (first_ns > 0 && last_ns > first_ns && story->completion_tokens > 1)
        out->per_token_s =
            seconds_between(story, REPLICA_STORY_FIRST_TOKEN, REPLICA_STORY_LAST_TOKEN) /
            (story->completion_tokens - 1);
}

static uint64_t latency_of(const struct replica_story *story)
{
    uint64_t first_ns = story->moments_ns[REPLICA_STORY_FIRST_TOKEN];

    return first_ns > 0 ? first_ns : story->moments_ns[REPLICA_STORY_ENDED];
}

void replica_tracing_end(struct replica_tracing *tracing, const struct replica_story *story,
                         const struct job_trace *trace, const char *operation)
{
    bool is_error = strcmp(story->finish, "error") == 0;
    const struct trace_facts facts = {.trace_id = story->trace_id,
                                      .flags = trace->flags,
                                      .has_remote_parent = trace->has_parent,
                                      .is_error = is_error,
                                      .latency_ns = latency_of(story)};
    struct item item = {.operation = operation};
    struct genai_sample sample;

    if (tracing == NULL)
        return;
    item.story = *story;
    sample_make(tracing, story, operation, is_error, &sample);
    CHECK(pthread_mutex_lock(&tracing->lock) == 0);
    otlp_exporter_measure(tracing->exporter, 0, &sample);
    if (trace_is_wanted(tracing->settings, &facts))
        otlp_exporter_put(tracing->exporter, 0, &item);
    CHECK(pthread_mutex_unlock(&tracing->lock) == 0);
}

/* --- the exporter's thread --- */

static void span_take(void *context, const struct span *span)
{
    otlp_exporter_span(context, span);
}

static void spans_make(void *context, otlp_exporter *exporter, const void *given)
{
    const struct replica_tracing *tracing = context;
    const struct item *item = given;

    replica_story_spans_emit(&item->story, item->operation, tracing->model, span_take, exporter);
}

/* --- life --- */

status replica_tracing_open(const struct config_tracing *settings, const char *model,
                            uint32_t loop_count, metrics_registry *metrics,
                            struct replica_tracing **out, struct error_note *note)
{
    struct replica_tracing *tracing = memory_allocate_array(1, sizeof(*tracing));
    const struct otlp_exporter_options options = {.settings = settings,
                                                  .metrics = metrics,
                                                  .loop_count = 1,
                                                  .item_bytes = sizeof(struct item),
                                                  .spans = spans_make,
                                                  .context = tracing};
    status result = STATUS_NO_MEMORY;

    if (tracing == NULL)
        return STATUS_NO_MEMORY;
    CHECK(pthread_mutex_init(&tracing->lock, NULL) == 0);
    tracing->settings = settings;
    tracing->model = model;
    tracing->ids = memory_allocate_array(loop_count, sizeof(tracing->ids[0]));
    if (tracing->ids != NULL)
        result = otlp_exporter_create(&options, &tracing->exporter, note);
    if (result == STATUS_OK)
        result = otlp_exporter_start(tracing->exporter);
    if (result == STATUS_OK)
        *out = tracing;
    else
        replica_tracing_close(tracing);
    return result;
}

void replica_tracing_close(struct replica_tracing *tracing)
{
    if (tracing == NULL)
        return;
    otlp_exporter_stop(tracing->exporter);
    otlp_exporter_destroy(tracing->exporter);
    memory_release(tracing->ids);
    (void)pthread_mutex_destroy(&tracing->lock);
    memory_release(tracing);
}
