/* One exchange with a replica
 *
 *   attempt_start -> on_head -> on_body... -> on_end -> answered, failed, or sent again
 *
 * Two rules decide what reaches the client:
 *   1. Nothing goes to it before it is certain that it need not be taken back. An answer that is no
 * event stream is kept until it is whole (its replica made it whole before the first byte, so this
 * costs no time). Of an event stream only whole events are passed on, and its head goes with the
 * first of them.
 *   2. Once an event with content has reached the client, a request is sent again only to go on
 * exactly there (resumption.h). Where that cannot be, a failure ends the stream with an error
 * event: what a replica would say the second time need not match what it said the first.
 *
 * Back-pressure: when the client's side holds more than limits.response_buffer, reading from the
 * replica stops until it has drained. What is held here is at most one unfinished event. */
#include "attempt.h"

#include <strings.h>

#include "allowance.h"
#include "clock.h"
#include "edge_admission.h"
#include "json.h"
#include "log.h"
#include "openai.h"
#include "proxy_state.h"
#include "request_stories.h"
#include "shadow_text.h"
#include "suspects.h"
#include "targets.h"
#include "tracing.h"
#include "upstream.h"
#include "upstream_usage.h"
#include "usage_report.h"
#include "wire_format.h"

/* Of an answer that is kept whole: n=128 long choices with logprobs. */
#define BODY_BYTES_MAX  (64u << 20)
#define EVENT_BYTES_MAX (1u << 20) /* of one unfinished event */
#define TOGETHER_NS                                                                                \
    (10 * NS_PER_SECOND) /* replicas of a cluster that are lost within it are lost together */

static void usage_take(struct proxy *proxy, const struct api_usage *usage)
{
    proxy->record->usage = (struct request_usage){
        .is_known = true,
        .prompt_tokens = usage->prompt_tokens,
        .cached_tokens = usage->cached_tokens,
        .completion_tokens = usage->completion_tokens,
        .reasoning_tokens = usage->reasoning_tokens,
        .busy_ns = proxy->attempt.busy_before_ns + usage->busy_ns,
        .finish = usage->finish,
    };
    admission_deliver(proxy->choice.model->admission, &proxy->waiting.ticket,
                      &proxy->record->usage);
}

/* Whole events to the client, without our replica's reports (comments, if `has_comment`), which tell what is used with what goes
 * out here; or without what the client has not asked for. Returns whether the client's side has room for more. */
static bool events_write(struct proxy *proxy, struct text_slice events, bool has_comment)
{
    bool is_ours = proxy->attempt.replica->upstream == NULL, has_room = true, has_report = false;
    struct usage_report report;

    if (is_ours && !has_comment) {
        shadow_take(proxy->shadow, events);
        return events.bytes == 0 || http_stream_write(proxy->record->request, events);
    }
    while (events.bytes > 0) {
        struct text_slice run =
            is_ours ? usage_report_skip(&events, &report, &has_report)
                    : upstream_usage_skip(&events, proxy->takes_usage_out, &proxy->record->usage);

        shadow_take(proxy->shadow, run);
        if (run.bytes > 0)
            has_room = http_stream_write(proxy->record->request, run);
        if (has_report) {
            usage_take(proxy, &report.usage);
            resumption_note(proxy, &report);
        }
    }
    return has_room;
}

/* --- servers that are not ours --- */

static uint32_t bounded(uint64_t tokens)
{
    return tokens < UINT32_MAX ? (uint32_t)tokens : UINT32_MAX;
}

static void usage_estimate(struct proxy *proxy, uint64_t completion_tokens)
{
    struct request_usage *usage = &proxy->record->usage;

    if (!usage->is_known)
        usage->prompt_tokens = allowance_prompt_tokens(proxy->record);
    if (completion_tokens > usage->completion_tokens)
        usage->completion_tokens = bounded(completion_tokens);
    usage->is_known = usage->is_estimated = true;
}

/* Servers send an event for each token, or for some that came together. */
void attempt_usage_end(struct proxy *proxy)
{
    const struct attempt *attempt = &proxy->attempt;
    const struct request_usage *usage = &proxy->record->usage;

    if (attempt->replica != NULL && attempt->replica->upstream != NULL &&
        attempt->is_event_stream && attempt->splitter.event_count > 0 &&
        (!usage->is_known || usage->is_estimated))
        usage_estimate(proxy, attempt->splitter.event_count);
}

/* Of a good answer that is whole. */
static void usage_of_answer(struct proxy *proxy)
{
    struct text_slice answer = buffer_slice(&proxy->attempt.held);
    struct buffer text;

    if (upstream_usage_read(answer, &proxy->record->usage))
        return;
    buffer_init(&text, BODY_BYTES_MAX);
    if (shadow_text_read(answer, &text))
        usage_estimate(proxy,
                       (text.bytes + ALLOWANCE_BYTES_PER_TOKEN - 1) / ALLOWANCE_BYTES_PER_TOKEN);
    buffer_deinit(&text);
}

/* A suspect's trial is over: it has had a token, or its end. */
static void trial_end(struct attempt *attempt)
{
    if (attempt->is_on_trial)
        atomic_store_explicit(&attempt->replica->trial_until_ns, 0, memory_order_relaxed);
    attempt->is_on_trial = false;
}

/* For the judgement of its replica's version. */
static void version_count(const struct proxy *proxy, const struct attempt *attempt,
                          enum breaker_outcome outcome)
{
    const struct edge_replica *replica = attempt->replica;
    uint32_t version = atomic_load_explicit(&replica->version, memory_order_relaxed);
    struct model_versions *versions = &replica->model->versions;
    uint64_t gaps = attempt->splitter.event_count - attempt->events_before;

    if (replica->upstream != NULL || !proxy->waiting.is_queued)
        return;
    model_versions_count(versions, version, outcome);
    if (outcome != BREAKER_GOOD || !attempt->has_event)
        return;
    gaps = gaps > 0 ? gaps - 1 : 0;
    model_versions_count_stream(versions, version, attempt->first_event_ns - attempt->start_ns,
                                gaps > 0 ? (proxy->last_event_ns - attempt->first_event_ns) / gaps
                                         : 0);
}

static void breaker_count(const struct flow_model_metrics *metrics, enum breaker_state state)
{
    if (state == BREAKER_CLOSED)
        metrics_add(metrics->breaker_closed, 1);
    if (state != BREAKER_OPEN)
        return;
    metrics_add(metrics->breaker_opened, 1);
    metrics_add(metrics->ejections[EJECTION_BREAKER], 1);
}

void attempt_close(const struct proxy *proxy, struct attempt *attempt, enum breaker_outcome outcome)
{
    struct edge *edge = proxy->record->edge;
    struct edge_replica *replica = attempt->replica;
    struct breaker_policy policy = replica_guard_policy(config_store_get(&edge->configs)->config);

    request_stories_attempt_end(proxy, attempt);
    attempt->exchange = NULL;
    (void)atomic_fetch_sub_explicit(&replica->outstanding, 1, memory_order_relaxed);
    trial_end(attempt);
    /* What a process did that is gone says nothing of the one in its place. */
    if (atomic_load_explicit(&replica->generation, memory_order_relaxed) != attempt->generation)
        outcome = BREAKER_UNKNOWN;
    metrics_add(edge->flow_metrics.models[replica->model->index].attempts[outcome], 1);
    version_count(proxy, attempt, outcome);
    if (!replica_guard_end(&replica->guard, &policy, outcome, attempt->is_breaker_trial,
                           clock_now_ns()))
        return;
    breaker_count(&edge->flow_metrics.models[replica->model->index],
                  replica_guard_state(&replica->guard));
    log_warn("gateway/edge", "replica %s#%u: its circuit breaker is %s now", replica->model->name,
             replica->index, replica_guard_state_name(&replica->guard));
    edge_slots_update(edge, replica->model);
}

uint64_t attempt_content_hash(const struct proxy *proxy)
{
    return suspects_hash(proxy->record->edge->suspects, proxy->path, proxy->record->caller->tenant,
                         proxy->body);
}

/* The replica was lost with the request, or its connection was; told from a drain and from the end
 * of the gateway. */
static bool is_lost(const struct proxy *proxy, const struct attempt *attempt, status result)
{
    return result == STATUS_CLOSED && !attempt->splitter.is_done && !proxy->loop->is_closed &&
           edge_replica_state(attempt->replica) != REPLICA_DRAINING;
}

static enum breaker_outcome outcome_of(const struct proxy *proxy, const struct attempt *attempt,
                                       status result)
{
    int status_code = attempt->status_code;

    if (attempt->splitter.is_done)
        return BREAKER_GOOD;
    if (result != STATUS_OK || status_code == 0)
        return result == STATUS_CLOSED && !is_lost(proxy, attempt, result) ? BREAKER_UNKNOWN
                                                                           : BREAKER_FAILED;
    if (status_code == 503 || status_code == 429)
        return BREAKER_UNKNOWN; /* full, loading or draining */
    return status_code >= 500 && status_code != 501 ? BREAKER_FAILED : BREAKER_GOOD;
}

/* What counts as one loss: a replica here; elsewhere all that go at once, as a cluster does, with whatever was asked of its
 * replicas in turn. */
static uint64_t loss_of(const struct attempt *attempt, uint64_t now_ns)
{
    const struct edge_replica *replica = attempt->replica;

    if (!attempt->is_elsewhere)
        return (uint64_t)replica->id << 32 | attempt->generation;
    return 1ull << 63 |
           (uint64_t)atomic_load_explicit(&replica->member, memory_order_relaxed) << 32 |
           (uint32_t)(now_ns / TOGETHER_NS);
}

/* What the request's end says of it: it may be what the replica has died of, or it is cleared. */
static void suspicion_note(struct proxy *proxy, const struct attempt *attempt, status result)
{
    const struct edge *edge = proxy->record->edge;
    uint64_t time_ns = config_store_get(&edge->configs)->config->upstream.quarantine_ns;
    uint64_t now_ns = clock_now_ns();

    /* What runs elsewhere is not ours to lose. */
    if (!proxy->waiting.is_queued || time_ns == 0 || attempt->replica->upstream != NULL)
        return;
    if (is_lost(proxy, attempt, result))
        proxy->losses = suspects_note(edge->suspects, attempt_content_hash(proxy),
                                      loss_of(attempt, now_ns), time_ns, now_ns);
    else if (outcome_of(proxy, attempt, result) == BREAKER_GOOD && suspects_are_any(edge->suspects))
        suspects_clear(edge->suspects, attempt_content_hash(proxy));
}

void attempt_lose(struct proxy *proxy, struct attempt *attempt, status result)
{
    if (attempt->is_elsewhere && is_lost(proxy, attempt, result) &&
        !atomic_exchange_explicit(&attempt->replica->guard.is_doubted, true, memory_order_relaxed))
        metrics_add(proxy_flow(proxy)->ejections[EJECTION_LOST], 1);
    suspicion_note(proxy, attempt, result);
    request_stories_result(attempt, result);
    attempt_close(proxy, attempt, outcome_of(proxy, attempt, result));
}

/* The prompt is read again, and what came of an answer that the client has not had is lost with it. */
static uint64_t retry_waste(const struct proxy *proxy)
{
    const struct request_usage *usage = &proxy->record->usage;
    uint64_t prompt =
        usage->is_known ? usage->prompt_tokens : allowance_prompt_tokens(proxy->record);

    /* Nothing was computed where it was refused at once. */
    if (proxy->attempt.status_code == 503)
        return 0;
    return prompt + (proxy->attempt.splitter.has_begun ? 0 : usage->completion_tokens);
}

/* Whether the request goes out once more, for all of the answer or for what the client has not had of it; then it already
 * has. */
static bool retry(struct proxy *proxy)
{
    bool has_begun = proxy->attempt.splitter.has_begun;

    if (proxy->retries_left == 0 || (has_begun && !resumption_prepare(proxy)))
        return false;
    if (!retry_budget_spend(&proxy->choice.model->retries)) {
        metrics_add(proxy_metrics(proxy)->retries_refused, 1);
        return false;
    }
    proxy->retries_left--;
    proxy->record->retries++;
    metrics_add(proxy_metrics(proxy)->retries, 1);
    metrics_add(proxy_flow(proxy)->wasted[WASTE_RETRIED], (double)retry_waste(proxy));
    log_info("gateway/edge", "request_id=%s is sent again%s: replica %s#%u failed",
             http_request_id(proxy->record->request), has_begun ? ", to go on" : "",
             proxy->choice.model->name, proxy->attempt.replica->index);
    proxy->resumption.is_under_way = has_begun;
    if (has_begun) /* another version would go on differently */
        proxy->choice.version =
            atomic_load_explicit(&proxy->attempt.replica->version, memory_order_relaxed);
    replica_choice_avoid(&proxy->choice, proxy->attempt.replica, proxy->attempt.generation,
                         clock_now_ns());
    proxy_dispatch(proxy);
    return true;
}

static bool can_go_elsewhere(const struct proxy *proxy)
{
    if (proxy->choice.keeper != NULL)
        return false;
    if (edge_replica_state(proxy->attempt.replica) != REPLICA_READY)
        return true;
    return edge_ready_count(proxy->choice.model) > 1;
}

static const char *text_of(const json_t *error, const char *name)
{
    const char *text = json_string_value(json_object_get(error, name));

    return text != NULL ? text : "";
}

/* What the replica's refusal calls it: by its code, or by its kind where it has none. */
static void refusal_note(struct proxy *proxy)
{
    const struct buffer *held = &proxy->attempt.held;
    json_t *body = json_loadb(held->bytes > 0 ? held->data : "", held->bytes, 0, NULL);
    const json_t *error = json_object_get(body, "error");
    const char *code = text_of(error, "code");

    edge_note_error(proxy->record, code[0] != '\0' ? code : text_of(error, "type"));
    json_decref(body);
}

/* The replica's refusal of a request whose stream has begun: what its body says, as an event. */
static void refusal_pass_on(struct proxy *proxy)
{
    const struct buffer *held = &proxy->attempt.held;
    json_t *body = json_loadb(held->bytes > 0 ? held->data : "", held->bytes, 0, NULL);
    const json_t *told = json_object_get(body, "error");
    int http_status = proxy->attempt.status_code >= 400 ? proxy->attempt.status_code : 502;
    struct api_error error = {0};

    api_error_set(
        &error, http_status, http_status < 500 ? "invalid_request_error" : "server_error",
        told != NULL ? text_of(told, "code") : "upstream_error", text_of(told, "param"), "%s",
        told != NULL ? text_of(told, "message") : "The model's replica refused the request");
    json_decref(body);
    proxy_end_stream(proxy, &error);
}

static void fail_timeout(struct proxy *proxy)
{
    proxy_fail(proxy, 504, "upstream_timeout", "The model's replica did not answer in time", 0);
}

/* The client has had a part of the answer, and the rest of it will not come from there. */
static void broke_off(struct proxy *proxy, status result)
{
    bool is_possible = resumption_is_possible(proxy);
    bool is_poison = is_possible && proxy->losses >= QUARANTINE_LOSS_MAX;

    resumption_end(proxy, RESUMPTION_FAILED);
    if (is_possible && !is_poison && retry(proxy))
        return;
    resumption_count(proxy, is_possible ? RESUMPTION_REFUSED : RESUMPTION_IMPOSSIBLE);
    if (is_poison)
        proxy_fail_quarantined(proxy);
    else if (result == STATUS_TIMEOUT)
        fail_timeout(proxy);
    else
        proxy_fail(proxy, 502, "replica_lost", "The model's replica failed while it was answering",
                   0);
}

/* A whole answer that is no event stream, or not a good one. */
static void answer_end(struct proxy *proxy)
{
    if (proxy->resumption.is_under_way) { /* a refusal: it is full, it drains, or it cannot */
        broke_off(proxy, STATUS_CLOSED);
        return;
    }
    /* 503 before anything was produced: a replica that loads or drains. When it is the only one,
     * and ready, it is full: the client hears so at once, with the replica's own Retry-After. */
    if (proxy->attempt.status_code == 503 && can_go_elsewhere(proxy) && retry(proxy))
        return;
    if (proxy_fall_back(proxy, proxy->attempt.status_code, buffer_slice(&proxy->attempt.held)))
        return;
    if (proxy->attempt.replica->upstream != NULL &&
        edge_upstream_is_ours(proxy->attempt.status_code)) {
        log_error("gateway/edge", "request_id=%s upstream %s answers with %d",
                  http_request_id(proxy->record->request), proxy->choice.model->name,
                  proxy->attempt.status_code);
        proxy_fail(proxy, 502, "upstream_error",
                   "The server that has the model refuses the gateway", 0);
        return;
    }
    if (proxy->is_streaming) { /* an earlier attempt had sent comments, or the wait was long */
        refusal_pass_on(proxy);
        return;
    }
    if (proxy->attempt.status_code >= 400)
        refusal_note(proxy);
    else if (proxy->attempt.replica->upstream != NULL && proxy->waiting.is_queued)
        usage_of_answer(proxy);
    waiting_release(proxy);
    shadow_take(proxy->shadow, buffer_slice(&proxy->attempt.held));
    edge_work_end(proxy->record, clock_now_ns());
    proxy->record->status_code = proxy->attempt.status_code;
    http_reply_kept(proxy->record->request, proxy->attempt.status_code,
                    proxy->attempt.answer_headers, proxy->attempt.answer_header_count,
                    proxy->attempt.content_type, buffer_slice(&proxy->attempt.held));
}

static void stream_start(struct proxy *proxy)
{
    if (proxy->is_streaming)
        return;
    proxy->is_streaming = true;
    proxy->record->status_code = proxy->attempt.status_code;
    http_stream_start(proxy->record->request, proxy->attempt.status_code,
                      proxy->attempt.answer_headers, proxy->attempt.answer_header_count,
                      proxy->attempt.content_type);
}

static void on_end(http_exchange *exchange, status result, bool any_byte, void *context)
{
    struct proxy *proxy = context;
    bool is_good;

    (void)any_byte;
    if (hedge_meet_end(proxy, exchange, result))
        return;
    is_good = result == STATUS_OK && proxy->attempt.status_code != 0;
    attempt_lose(proxy, &proxy->attempt, result);
    if (hedge_take_over(proxy))
        return;
    if (proxy->attempt.is_event_stream && (is_good || proxy->attempt.splitter.is_done)) {
        /* Also when the connection broke after "[DONE]": the client lacks nothing. */
        edge_work_begin(proxy->record, clock_now_ns());
        stream_start(proxy);
        (void)events_write(proxy, buffer_slice(&proxy->attempt.held), true);
        waiting_release(proxy);
        edge_work_end(proxy->record, clock_now_ns());
        http_stream_end(proxy->record->request, false);
        return;
    }
    edge_work_begin(proxy->record, clock_now_ns());
    if (is_good) {
        answer_end(proxy);
        return;
    }
    log_warn("gateway/edge", "request_id=%s replica %s#%u: the answer broke off (%s)",
             http_request_id(proxy->record->request), proxy->choice.model->name,
             proxy->attempt.replica->index, status_name(result));
    if (proxy->attempt.splitter.has_begun)
        broke_off(proxy, result);
    else if (result == STATUS_TIMEOUT)
        fail_timeout(proxy);
    else if (proxy->losses >= QUARANTINE_LOSS_MAX)
        proxy_fail_quarantined(proxy);
    else if (!retry(proxy))
        proxy_fail(proxy, 502, "replica_lost", "The model's replica failed, more than once", 0);
}

/* --- the answer comes --- */

static void usage_of_head(struct proxy *proxy, const struct http_header *headers, size_t count)
{
    struct api_usage usage;

    for (size_t i = 0; i < count; i++) {
        if (text_slice_is(headers[i].name, USAGE_REPORT_HEADER) &&
            usage_report_read(headers[i].value, &usage))
            usage_take(proxy, &usage);
    }
}

static void on_head(http_exchange *exchange, int status_code, const struct http_header *headers,
                    size_t header_count, void *context)
{
    struct proxy *proxy = context;

    if (!hedge_meet_head(proxy, exchange, status_code))
        return;
    proxy->attempt.status_code = status_code;
    request_stories_head(proxy);
    if (proxy->attempt.replica->upstream == NULL)
        usage_of_head(proxy, headers, header_count);
    proxy->attempt.answer_header_count = upstream_headers_copy(
        proxy->record->request, proxy->attempt.replica->upstream != NULL, headers, header_count,
        &proxy->attempt.answer_headers, &proxy->attempt.content_type);
    proxy->attempt.answer_header_count += waiting_headers_make(
        proxy, proxy->attempt.answer_headers + proxy->attempt.answer_header_count);
    proxy->attempt.is_event_stream =
        status_code == 200 &&
        strncasecmp(proxy->attempt.content_type, "text/event-stream", 17) == 0;
    /* An unfinished event of an earlier attempt is forgotten; whether anything has begun is not. */
    buffer_deinit(&proxy->attempt.held);
    buffer_init(&proxy->attempt.held,
                proxy->attempt.is_event_stream ? EVENT_BYTES_MAX : BODY_BYTES_MAX);
}

static void on_drained(http_request *request, void *context)
{
    struct proxy *proxy = context;

    (void)request;
    if (proxy->attempt.exchange != NULL)
        http_exchange_resume(proxy->attempt.exchange);
}

static void events_measure(struct proxy *proxy, bool had_begun)
{
    uint64_t now_ns = clock_now_ns();

    if (proxy->attempt.splitter.event_count == proxy->attempt.events_before)
        return;
    if (!proxy->attempt.has_event) {
        proxy->attempt.has_event = true;
        proxy->attempt.first_event_ns = now_ns;
        trial_end(&proxy->attempt);
        replica_choice_first_event(&proxy->choice, proxy->attempt.replica, now_ns);
        resumption_end(proxy, RESUMPTION_DONE);
    }
    if (!had_begun) {
        hedge_note_first(proxy, now_ns);
        proxy->waiting.ticket.first_ns = now_ns;
        metrics_observe_traced(proxy_metrics(proxy)->time_to_first_token,
                               (double)(now_ns - proxy->record->start_ns) / 1e9,
                               proxy->record->trace_id);
        latency_counts_note(&proxy_activity(proxy)->first_token,
                            (double)(now_ns - proxy->record->start_ns) / 1e9);
    } else {
        metrics_observe_traced(proxy_metrics(proxy)->inter_token,
                               (double)(now_ns - proxy->last_event_ns) / 1e9,
                               proxy->record->trace_id);
        latency_counts_note(&proxy_activity(proxy)->inter_token,
                            (double)(now_ns - proxy->last_event_ns) / 1e9);
    }
    proxy->last_event_ns = now_ns;
    request_story_note(proxy->record->story, STORY_FIRST_TOKEN, now_ns);
    request_story_note(proxy->record->story, STORY_LAST_TOKEN, now_ns);
}

/* `bytes` ends the event of which the beginning may be held: in one piece, as a report's line may be cut anywhere. */
static bool events_complete(struct proxy *proxy, struct text_slice bytes)
{
    struct buffer *held = &proxy->attempt.held;
    bool has_room, has_comment = proxy->attempt.splitter.has_comment;

    if (held->bytes == 0)
        return events_write(proxy, bytes, has_comment);
    buffer_append_slice(held, bytes);
    has_room = held->failed != STATUS_OK || events_write(proxy, buffer_slice(held), has_comment);
    if (held->failed == STATUS_OK)
        buffer_clear(held);
    return has_room;
}

static void events_forward(struct proxy *proxy, struct text_slice bytes)
{
    bool had_begun = proxy->attempt.splitter.has_begun;
    size_t complete = sse_splitter_feed(&proxy->attempt.splitter, bytes);
    bool has_room = true;

    if (complete > 0) {
        stream_start(proxy);
        has_room = events_complete(proxy, (struct text_slice){bytes.data, complete});
        events_measure(proxy, had_begun);
    }
    if (complete < bytes.bytes)
        buffer_append(&proxy->attempt.held, bytes.data + complete, bytes.bytes - complete);
    if (!has_room) {
        http_exchange_pause(proxy->attempt.exchange);
        http_stream_on_drained(proxy->record->request, on_drained, proxy);
    }
}

/* More than we are ready to hold, or no memory for it. */
static void answer_refuse(struct proxy *proxy)
{
    http_exchange *exchange = proxy->attempt.exchange;

    log_error("gateway/edge",
              "request_id=%s replica %s#%u sent an answer or event that is too large",
              http_request_id(proxy->record->request), proxy->choice.model->name,
              proxy->attempt.replica->index);
    attempt_close(proxy, &proxy->attempt, BREAKER_UNKNOWN);
    http_exchange_cancel(exchange);
    proxy_fail(proxy, 502, "upstream_error", "The answer of the model's replica is too large", 0);
}

static void on_body(http_exchange *exchange, struct text_slice bytes, void *context)
{
    struct proxy *proxy = context;

    (void)exchange;
    edge_work_begin(proxy->record, clock_now_ns());
    if (proxy->attempt.is_event_stream)
        events_forward(proxy, bytes);
    else
        buffer_append_slice(&proxy->attempt.held, bytes);
    edge_work_end(proxy->record, clock_now_ns());
    if (proxy->attempt.held.failed != STATUS_OK)
        answer_refuse(proxy);
}

/* --- life --- */

status attempt_send(struct proxy *proxy, struct attempt *attempt, struct edge_replica *replica,
                    const char *number)
{
    struct http_header headers[UPSTREAM_HEADER_COUNT_MAX];
    char traceparent[TRACEPARENT_BYTES];
    struct http_exchange_options options = {
        .method = proxy->method,
        .path = proxy->path,
        .headers = headers,
        .header_count = proxy->header_count,
        .body = proxy->resumption.body.data != NULL ? proxy->resumption.body : proxy->body,
        .connect_timeout_ns = proxy->connect_timeout_ns,
        .first_byte_timeout_ns = proxy->first_byte_timeout_ns,
        .idle_timeout_ns = proxy->idle_timeout_ns,
        .callbacks = {on_head, on_body, on_end},
        .context = proxy,
    };

    if (replica->upstream != NULL) {
        options.path = edge_upstream_path(replica->upstream, proxy->record->request, proxy->path);
        options.header_count =
            edge_upstream_headers(replica->upstream, proxy->record->request, headers);
    } else {
        memcpy(headers, proxy->headers, proxy->header_count * sizeof(headers[0]));
        headers[proxy->number_header].value.data = number;
    }
    attempt->replica = replica;
    attempt->generation = atomic_load_explicit(&replica->generation, memory_order_relaxed);
    attempt->is_elsewhere = atomic_load_explicit(&replica->link, memory_order_relaxed) != 0;
    attempt->status_code = 0;
    request_stories_attempt(proxy, attempt);
    options.header_count =
        tracing_attempt(proxy->record, attempt->told, headers, options.header_count, traceparent);
    (void)atomic_fetch_add_explicit(&replica->outstanding, 1, memory_order_relaxed);
    return http_exchange_start(targets_get(proxy->loop, replica), &options, &attempt->exchange);
}

void attempt_start(struct proxy *proxy, struct edge_replica *replica)
{
    struct attempt *attempt = &proxy->attempt;

    if (!attempt->splitter.has_begun) /* else the answer has its id */
        stored_replica_write(replica->id, proxy->number);
    attempt->busy_before_ns = proxy->record->usage.busy_ns;
    attempt->start_ns = clock_now_ns();
    attempt->is_event_stream = false;
    /* A new stream starts at a line's start; what the client has had stays known. */
    attempt->splitter = (struct sse_splitter){.has_begun = attempt->splitter.has_begun,
                                              .event_count = attempt->splitter.event_count};
    attempt->events_before = attempt->splitter.event_count;
    attempt->has_event = false;
    buffer_clear(&attempt->held);
    if (attempt_send(proxy, attempt, replica, proxy->number) == STATUS_OK) {
        proxy->attempt_number++;
        hedge_arm(proxy);
        edge_work_end(proxy->record, clock_now_ns());
        return;
    }
    request_stories_not_sent(attempt);
    attempt_close(proxy, attempt, BREAKER_UNKNOWN);
    proxy_fail(proxy, 503, "overloaded",
               "The gateway has no room for another request; try again later", 1000);
}

void attempt_cancel(struct proxy *proxy)
{
    http_exchange *exchange = proxy->attempt.exchange;

    hedge_cancel(proxy);
    if (exchange == NULL)
        return;
    attempt_close(proxy, &proxy->attempt, BREAKER_UNKNOWN);
    http_exchange_cancel(exchange);
}

void attempt_init(struct attempt *attempt)
{
    buffer_init(&attempt->held, BODY_BYTES_MAX);
}

void attempt_deinit(struct attempt *attempt)
{
    buffer_deinit(&attempt->held);
}
