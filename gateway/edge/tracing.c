#include "tracing.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "json.h"
#include "memory.h"
#include "otlp_exporter.h"
#include "replica_call.h"
#include "replica_story.h"
#include "story_spans.h"
#include "trace_sampler.h"

/* A replica notes a request's end about when its last bytes leave: the gateway may ask before. */
#define ASK_COUNT_MAX  5u
#define ASK_AGAIN_US   20000u
#define ASK_TIMEOUT_NS (500 * NS_PER_MS)
#define PATH_BYTES     (STORY_TEXT_BYTES + 16)

struct tracing {
    const struct config_tracing *settings; /* borrowed */
    otlp_exporter *exporter;               /* owned */
    struct trace_ids *ids;                 /* [loop_count], owned; each its loop's */
    struct edge *edge;
    struct http_fetch_session *session; /* owned; the exporter's thread */
};

/* --- loops --- */

void tracing_read(struct edge_record *record)
{
    struct request_trace *trace = &record->trace;
    struct text_slice state = http_request_header(record->request, "tracestate");

    trace->is_set = trace->has_parent =
        trace_context_read(http_request_header(record->request, "traceparent"), &trace->context);
    if (!trace->is_set)
        return;
    trace_id_hex(trace->context.trace_id, record->trace_id);
    if (tracestate_is_good(state))
        trace->state = state;
}

static uint8_t flags_of(const struct tracing *tracing, const struct request_trace *trace)
{
    uint8_t random =
        trace->has_parent ? trace->context.flags & TRACE_FLAG_RANDOM : TRACE_FLAG_RANDOM;
    bool is_sampled = trace_is_sampled_early(tracing->settings, &trace->context, trace->has_parent);

    return random | (is_sampled ? TRACE_FLAG_SAMPLED : 0);
}

static void story_tell(const struct edge_record *record, struct request_story *story)
{
    const struct request_trace *trace = &record->trace;

    memcpy(story->trace_id, record->trace_id, sizeof(story->trace_id));
    story->has_remote_parent = trace->has_parent;
    story->trace_flags = trace->context.flags;
    if (trace->has_parent)
        span_id_hex(trace->context.span_id, story->parent_span_id);
}

void tracing_begin(struct edge_record *record)
{
    const struct tracing *tracing = record->edge->tracing;
    struct request_trace *trace = &record->trace;
    struct request_story *story = record->story;
    struct trace_ids *ids;

    if (tracing == NULL || story == NULL) {
        if (story != NULL && trace->is_set)
            story_tell(record, story);
        return;
    }
    ids = &tracing->ids[http_loop_index(http_request_loop(record->request))];
    if (!trace->has_parent)
        trace_ids_make_trace(ids, trace->context.trace_id);
    trace_id_hex(trace->context.trace_id, record->trace_id);
    story_tell(record, story);
    trace->context.flags = flags_of(tracing, trace);
    trace_ids_make_span(ids, trace->context.span_id);
    span_id_hex(trace->context.span_id, story->span_id);
    trace->is_set = trace->is_own = true;
}

size_t tracing_attempt(const struct edge_record *record, struct story_attempt *told,
                       struct http_header *headers, size_t count, char text[TRACEPARENT_BYTES])
{
    const struct tracing *tracing = record->edge->tracing;
    struct trace_context context = record->trace.context;

    if (!record->trace.is_set)
        return count;
    if (record->trace.is_own && told != NULL) {
        trace_ids_make_span(&tracing->ids[http_loop_index(http_request_loop(record->request))],
                            context.span_id);
        span_id_hex(context.span_id, told->span_id);
    }
    trace_context_write(&context, text);
    headers[count++] = (struct http_header){text_slice_of("traceparent"), text_slice_of(text)};
    if (record->trace.state.bytes > 0)
        headers[count++] = (struct http_header){text_slice_of("tracestate"), record->trace.state};
    return count;
}

static void story_ended(void *context, const struct request_story *story)
{
    const struct tracing *tracing = context;
    struct genai_sample sample;

    if (!story_sample_make(story, &sample))
        return;
    otlp_exporter_measure(tracing->exporter, story->loop, &sample);
    if (trace_story_is_wanted(tracing->settings, story))
        otlp_exporter_put(tracing->exporter, story->loop, story);
}

/* --- the exporter's thread --- */

static void span_take(void *context, const struct span *span)
{
    otlp_exporter_span(context, span);
}

static const struct edge_replica *replica_of(const struct edge *edge,
                                             const struct story_attempt *attempt)
{
    for (uint32_t i = 0; i < edge->model_count; i++) {
        const struct edge_model *model = &edge->models[i];

        if (model->name == attempt->model && attempt->replica < model->replica_count)
            return &model->replicas[attempt->replica];
    }
    return NULL;
}

static status ask(const struct tracing *tracing, const struct edge_replica *replica,
                  const char *path, struct replica_story *out)
{
    static const struct json_limits limits = {.depth_max = 16, .value_count_max = 100000};
    const struct http_fetch fetch = {.timeout_ns = ASK_TIMEOUT_NS, .session = tracing->session};
    struct error_note note;
    struct buffer answer;
    json_t *read = NULL;
    status result;
    int code = 0;

    buffer_init(&answer, REPLICA_STORY_ANSWER_BYTES);
    result = replica_call(tracing->edge, replica, path, &fetch, &code, &answer, &note);
    if (result == STATUS_OK && code != 200)
        result = STATUS_NOT_FOUND;
    if (result == STATUS_OK)
        result = json_load_limited(buffer_slice(&answer), &limits, &read, &note);
    if (result == STATUS_OK)
        result = replica_story_read(read, out);
    json_decref(read);
    buffer_deinit(&answer);
    return result;
}

/* What the replica of this attempt knows of it. A replica that is gone, or another one by now, knows nothing. */
static void replica_spans(const struct tracing *tracing, const struct request_story *story,
                          const struct story_attempt *attempt)
{
    const struct edge_replica *replica = replica_of(tracing->edge, attempt);
    char path[PATH_BYTES];
    struct replica_story told;

    if (replica == NULL || attempt->is_upstream || attempt->span_id[0] == '\0' ||
        attempt->result == STORY_NOT_SENT)
        return;
    (void)snprintf(path, sizeof(path), "/stories/%s", story->request_id); /* ids are plain */
    for (uint32_t i = 0; i < ASK_COUNT_MAX; i++) {
        if (i > 0)
            (void)usleep(ASK_AGAIN_US);
        if (ask(tracing, replica, path, &told) != STATUS_OK)
            return;
        if (told.is_over)
            break;
    }
    if (strcmp(told.parent_span_id, attempt->span_id) == 0)
        replica_story_spans_emit(&told, genai_operation_of(story->route), attempt->model, span_take,
                                 tracing->exporter);
}

static void spans_make(void *context, otlp_exporter *exporter, const void *item)
{
    const struct tracing *tracing = context;
    const struct request_story *story = item;

    story_spans_emit(story, span_take, exporter);
    for (uint32_t i = 0; i < story->attempt_count && i < STORY_ATTEMPTS_MAX; i++)
        replica_spans(tracing, story, &story->attempts[i]);
}

/* --- life --- */

status tracing_open(struct edge *edge, const struct config *config, uint32_t loop_count,
                    struct error_note *note)
{
    const struct config_tracing *settings = &config->observability.tracing;
    struct otlp_exporter_options options = {.settings = settings,
                                            .metrics = edge->registry,
                                            .loop_count = loop_count,
                                            .item_bytes = sizeof(struct request_story),
                                            .spans = spans_make};
    struct tracing *tracing;

    if (settings->endpoint[0] == '\0')
        return STATUS_OK;
    tracing = memory_allocate_array(1, sizeof(*tracing));
    if (tracing == NULL)
        return STATUS_NO_MEMORY;
    edge->tracing = tracing;
    tracing->settings = settings;
    tracing->edge = edge;
    tracing->ids = memory_allocate_array(loop_count, sizeof(tracing->ids[0]));
    tracing->session = http_fetch_session_create();
    if (tracing->ids == NULL || tracing->session == NULL)
        return STATUS_NO_MEMORY;
    options.context = tracing;
    story_sinks_add(&edge->story_sinks, story_ended, tracing);
    return otlp_exporter_create(&options, &tracing->exporter, note);
}

status tracing_start(struct edge *edge)
{
    return edge->tracing != NULL ? otlp_exporter_start(edge->tracing->exporter) : STATUS_OK;
}

void tracing_stop(struct edge *edge)
{
    if (edge->tracing != NULL)
        otlp_exporter_stop(edge->tracing->exporter);
}

void tracing_close(struct edge *edge)
{
    struct tracing *tracing = edge->tracing;

    if (tracing == NULL)
        return;
    otlp_exporter_destroy(tracing->exporter);
    http_fetch_session_destroy(tracing->session);
    memory_release(tracing->ids);
    memory_release(tracing);
    edge->tracing = NULL;
}
