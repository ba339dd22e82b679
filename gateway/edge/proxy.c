/* Proxy: one request to one replica, and again to another when that is safe
 *
 *   proxy_start -> dispatch -> exchange -> on_head -> on_body... -> on_end
 *                  ^     |         |                                  |
 *                  |     |         +-- client gone: cancel            |
 *                  |     `-> no replica is ready: wait                |
 *                  +-- wake, timer --+                                |
 *                  +-------- nothing produced and the replica failed -+
 *
 * Three rules decide everything:
 *   1. The request's body is not changed (but for the model's name, where the client left it out); it lies in the request's memory until the
 * end, so it can be sent again.
 *   2. Nothing goes to the client before it is certain that it need not be taken back. An answer
 * that is no event stream is kept until it is whole (its replica made it whole before the first
 * byte, so this costs no time). Of an event stream only whole events are passed on, and its head
 * goes with the first of them.
 *   3. A request is sent again only while no event with content has reached the client. Afterwards
 * a failure ends the stream with an error event: what a replica would say the second time need not
 * match what it said the first.
 *
 * Back-pressure: when the client's side holds more than limits.response_buffer, reading from the
 * replica stops until it has drained. What is held here is at most one unfinished event.
 *
 * Waiting requests stand in a list of their loop and are woken by the control thread when any
 * replica changes its state.
 *
 * Memory: struct proxy lives in the request's memory and is dead once http_reply or http_stream_end
 * has been called, so each of these is the last thing a function does. */
#include "proxy.h"

#include <stdio.h>
#include <strings.h>

#include "check.h"
#include "clock.h"
#include "hash.h"
#include "log.h"
#include "route_body.h"
#include "router.h"
#include "sse_splitter.h"
#include "stored_replica.h"
#include "upstream_headers.h"
#include "wire_format.h"

/* Of an answer that is kept whole: n=128 long choices with logprobs. */
#define BODY_BYTES_MAX (64u << 20)
/* A query is part of the head, which is bounded by 16 KiB; its name may be escaped. */
#define QUERY_BODY_BYTES_MAX (128u << 10)
#define EVENT_BYTES_MAX      (1u << 20) /* of one unfinished event */
#define REPLICA_COUNT_MAX    64u        /* of a model; the settings table's limit */
/* A replica that has just failed is left alone for so long, unless it restarts. */
#define AVOID_NS (250 * NS_PER_MS)

struct proxy {
    struct edge_record *record;
    struct edge_loop *loop;
    struct edge_model *model;
    struct edge_replica *keeper; /* has the response that is asked for; NULL: any replica will do */
    bool has_group;              /* a prompt_cache_key was given */
    uint64_t group;
    const char *method, *path;
    struct text_slice body;
    struct http_header headers[UPSTREAM_HEADER_COUNT_MAX]; /* for the replica */
    size_t header_count;
    char number[STORED_REPLICA_BYTES]; /* of the replica that is asked, for its ids */
    uint64_t connect_timeout_ns, first_byte_timeout_ns,
        idle_timeout_ns; /* copied: a reload may come */
    uint32_t retries_left;

    /* waiting */
    struct proxy *next, **link; /* in loop->waiting; link NULL: not in it */
    struct http_timer timer;
    uint64_t wait_deadline_ns;

    /* the replica that failed last */
    const struct edge_replica *avoid;
    uint32_t avoid_generation;
    uint64_t avoid_until_ns;

    /* the attempt under way */
    http_exchange *exchange; /* NULL: none */
    struct edge_replica *replica;
    uint32_t generation;
    int status_code; /* 0: no head yet */
    bool is_event_stream;
    const struct http_header *answer_headers;
    size_t answer_header_count;
    const char *content_type;
    struct buffer held; /* the answer, or its unfinished event */
    struct sse_splitter splitter;

    bool is_streaming; /* the client has the head */
    uint64_t last_event_ns;
};

static void dispatch(struct proxy *proxy);

static struct edge_model_metrics *model_metrics(const struct proxy *proxy)
{
    return &proxy->record->edge->metrics.models[proxy->model->index];
}

/* --- ends --- */

static void proxy_fail(struct proxy *proxy, int http_status, const char *code, const char *message,
                       uint64_t retry_after_ms)
{
    struct edge_record *record = proxy->record;
    struct api_error error = {0};
    struct buffer event;

    api_error_set(&error, http_status, http_status == 429 ? "rate_limit_error" : "server_error",
                  code, "", "%s", message);
    error.retry_after_ms = retry_after_ms;
    if (!proxy->is_streaming) {
        edge_reply_error(record, &error);
        return;
    }
    buffer_init(&event, sizeof(error) * 6 + 1024); /* every byte escaped, and what is around */
    record->format->stream_error(&event, NULL, &error, http_request_id(record->request));
    record->status_code = http_status;
    if (event.failed == STATUS_OK)
        (void)http_stream_write(record->request, buffer_slice(&event));
    buffer_deinit(&event);
    http_stream_end(record->request, false);
}

static void attempt_over(struct proxy *proxy)
{
    proxy->exchange = NULL;
    (void)atomic_fetch_sub_explicit(&proxy->replica->outstanding, 1, memory_order_relaxed);
}

/* Whether the request goes out once more; then it already has. */
static bool retry(struct proxy *proxy)
{
    if (proxy->splitter.has_begun || proxy->retries_left == 0)
        return false;
    proxy->retries_left--;
    metrics_add(model_metrics(proxy)->retries, 1);
    log_info("gateway/edge", "request_id=%s is sent again: replica %s#%u failed",
             http_request_id(proxy->record->request), proxy->model->name, proxy->replica->index);
    proxy->avoid = proxy->replica;
    proxy->avoid_generation = proxy->generation;
    proxy->avoid_until_ns = clock_now_ns() + AVOID_NS;
    dispatch(proxy);
    return true;
}

static bool can_go_elsewhere(const struct proxy *proxy)
{
    if (proxy->keeper != NULL)
        return false;
    if (edge_replica_state(proxy->replica) != REPLICA_READY)
        return true;
    return edge_ready_count(proxy->model) > 1;
}

/* A whole answer that is no event stream, or not a good one. */
static void answer_end(struct proxy *proxy)
{
    /* 503 before anything was produced: a replica that loads or drains. When it is the only one,
     * and ready, it is full: the client hears so at once, with the replica's own Retry-After. */
    if (proxy->status_code == 503 && can_go_elsewhere(proxy) && retry(proxy))
        return;
    if (proxy->is_streaming) { /* an earlier attempt had sent comments */
        proxy_fail(proxy, proxy->status_code >= 400 ? proxy->status_code : 502, "upstream_error",
                   "The model's replica refused the request", 0);
        return;
    }
    proxy->record->status_code = proxy->status_code;
    http_reply(proxy->record->request, proxy->status_code, proxy->answer_headers,
               proxy->answer_header_count, proxy->content_type, buffer_slice(&proxy->held));
}

static void stream_start(struct proxy *proxy)
{
    if (proxy->is_streaming)
        return;
    proxy->is_streaming = true;
    proxy->record->status_code = proxy->status_code;
    http_stream_start(proxy->record->request, proxy->status_code, proxy->answer_headers,
                      proxy->answer_header_count, proxy->content_type);
}

static void on_end(http_exchange *exchange, status result, bool any_byte, void *context)
{
    struct proxy *proxy = context;
    bool is_good = result == STATUS_OK && proxy->status_code != 0;

    (void)exchange;
    (void)any_byte;
    attempt_over(proxy);
    if (proxy->is_event_stream && (is_good || proxy->splitter.is_done)) {
        /* Also when the connection broke after "[DONE]": the client lacks nothing. */
        stream_start(proxy);
        if (proxy->held.bytes > 0)
            (void)http_stream_write(proxy->record->request, buffer_slice(&proxy->held));
        http_stream_end(proxy->record->request, false);
        return;
    }
    if (is_good) {
        answer_end(proxy);
        return;
    }
    log_warn("gateway/edge", "request_id=%s replica %s#%u: the answer broke off (%s)",
             http_request_id(proxy->record->request), proxy->model->name, proxy->replica->index,
             status_name(result));
    if (result == STATUS_TIMEOUT)
        proxy_fail(proxy, 504, "upstream_timeout", "The model's replica did not answer in time", 0);
    else if (proxy->splitter.has_begun)
        proxy_fail(proxy, 502, "replica_lost", "The model's replica failed while it was answering",
                   0);
    else if (!retry(proxy))
        proxy_fail(proxy, 502, "replica_lost", "The model's replica failed, more than once", 0);
}

/* --- the answer comes --- */

static void on_head(http_exchange *exchange, int status_code, const struct http_header *headers,
                    size_t header_count, void *context)
{
    struct proxy *proxy = context;

    (void)exchange;
    proxy->status_code = status_code;
    proxy->answer_header_count =
        upstream_headers_copy(proxy->record->request, headers, header_count, &proxy->answer_headers,
                              &proxy->content_type);
    proxy->is_event_stream =
        status_code == 200 && strncasecmp(proxy->content_type, "text/event-stream", 17) == 0;
    /* An unfinished event of an earlier attempt is forgotten; whether anything has begun is not. */
    buffer_deinit(&proxy->held);
    buffer_init(&proxy->held, proxy->is_event_stream ? EVENT_BYTES_MAX : BODY_BYTES_MAX);
}

static void on_drained(http_request *request, void *context)
{
    struct proxy *proxy = context;

    (void)request;
    if (proxy->exchange != NULL)
        http_exchange_resume(proxy->exchange);
}

static void events_measure(struct proxy *proxy, bool had_begun)
{
    uint64_t now_ns = clock_now_ns();

    if (!proxy->splitter.has_begun)
        return;
    if (!had_begun)
        metrics_observe(model_metrics(proxy)->time_to_first_token,
                        (double)(now_ns - proxy->record->start_ns) / 1e9);
    else
        metrics_observe(model_metrics(proxy)->inter_token,
                        (double)(now_ns - proxy->last_event_ns) / 1e9);
    proxy->last_event_ns = now_ns;
}

static void events_forward(struct proxy *proxy, struct text_slice bytes)
{
    bool had_begun = proxy->splitter.has_begun;
    size_t complete = sse_splitter_feed(&proxy->splitter, bytes);
    bool has_room = true;

    if (complete > 0) {
        stream_start(proxy);
        if (proxy->held.bytes > 0)
            (void)http_stream_write(proxy->record->request, buffer_slice(&proxy->held));
        buffer_clear(&proxy->held);
        has_room =
            http_stream_write(proxy->record->request, (struct text_slice){bytes.data, complete});
        events_measure(proxy, had_begun);
    }
    if (complete < bytes.bytes)
        buffer_append(&proxy->held, bytes.data + complete, bytes.bytes - complete);
    if (!has_room) {
        http_exchange_pause(proxy->exchange);
        http_stream_on_drained(proxy->record->request, on_drained, proxy);
    }
}

/* More than we are ready to hold, or no memory for it. */
static void answer_refuse(struct proxy *proxy)
{
    http_exchange *exchange = proxy->exchange;

    log_error("gateway/edge",
              "request_id=%s replica %s#%u sent an answer or event that is too large",
              http_request_id(proxy->record->request), proxy->model->name, proxy->replica->index);
    attempt_over(proxy);
    http_exchange_cancel(exchange);
    proxy_fail(proxy, 502, "upstream_error", "The answer of the model's replica is too large", 0);
}

static void on_body(http_exchange *exchange, struct text_slice bytes, void *context)
{
    struct proxy *proxy = context;

    (void)exchange;
    if (proxy->is_event_stream)
        events_forward(proxy, bytes);
    else
        buffer_append_slice(&proxy->held, bytes);
    if (proxy->held.failed != STATUS_OK)
        answer_refuse(proxy);
}

/* --- finding a replica --- */

static void waiting_remove(struct proxy *proxy)
{
    http_timer_cancel(&proxy->timer);
    if (proxy->link == NULL)
        return;
    *proxy->link = proxy->next;
    if (proxy->next != NULL)
        proxy->next->link = proxy->link;
    else
        proxy->loop->waiting_tail = proxy->link;
    proxy->link = NULL;
    proxy->loop->waiting_count--;
    (void)atomic_fetch_sub_explicit(&proxy->model->waiting_count, 1, memory_order_relaxed);
}

static void wait_over(struct http_timer *timer, http_loop *loop)
{
    (void)loop;
    dispatch(CONTAINER_OF(timer, struct proxy, timer));
}

/* Someone will be ready one day: a model whose replicas are all in a crash loop is told apart, so
 * that its clients do not wait for nothing. */
static bool has_hope(const struct edge_model *model)
{
    for (uint32_t i = 0; i < model->replica_count; i++) {
        enum replica_state state = edge_replica_state(&model->replicas[i]);

        if (state != REPLICA_FAILED && state != REPLICA_STOPPED)
            return true;
    }
    return false;
}

static void wait_for_replica(struct proxy *proxy, uint64_t now_ns)
{
    uint64_t until_ns = proxy->wait_deadline_ns;

    if (now_ns >= until_ns || !has_hope(proxy->model)) {
        proxy_fail(proxy, 503, "model_not_ready",
                   "No replica of the model is ready; try again later", 5000);
        return;
    }
    if (atomic_fetch_add_explicit(&proxy->model->waiting_count, 1, memory_order_relaxed) >=
        proxy->model->waiting_count_max) {
        (void)atomic_fetch_sub_explicit(&proxy->model->waiting_count, 1, memory_order_relaxed);
        proxy_fail(proxy, 429, "queue_full",
                   "Too many requests wait for the model; try again later", 5000);
        return;
    }
    if (proxy->avoid != NULL && proxy->avoid_until_ns > now_ns && proxy->avoid_until_ns < until_ns)
        until_ns = proxy->avoid_until_ns;
    proxy->next = NULL;
    proxy->link = proxy->loop->waiting_tail;
    *proxy->link = proxy;
    proxy->loop->waiting_tail = &proxy->next;
    proxy->loop->waiting_count++;
    proxy->timer.run = wait_over;
    http_timer_set(proxy->loop->loop, &proxy->timer, until_ns);
}

/* A replica that has just failed counts as not ready until it has restarted or the time is over:
 * its death may not have been noticed yet. */
static struct edge_replica *replica_pick(const struct proxy *proxy, uint64_t now_ns)
{
    struct router_candidate candidates[REPLICA_COUNT_MAX];
    struct edge_model *model = proxy->model;
    uint32_t turn = atomic_fetch_add_explicit(&model->turn, 1, memory_order_relaxed), picked;

    if (proxy->keeper != NULL)
        return edge_replica_state(proxy->keeper) == REPLICA_READY ? proxy->keeper : NULL;
    CHECK(model->replica_count <= REPLICA_COUNT_MAX);
    for (uint32_t i = 0; i < model->replica_count; i++) {
        const struct edge_replica *replica = &model->replicas[i];
        bool has_just_failed = replica == proxy->avoid && now_ns < proxy->avoid_until_ns &&
                               atomic_load_explicit(&replica->generation, memory_order_relaxed) ==
                                   proxy->avoid_generation;

        candidates[i].is_ready = edge_replica_state(replica) == REPLICA_READY && !has_just_failed;
        candidates[i].outstanding =
            atomic_load_explicit(&replica->outstanding, memory_order_relaxed);
    }
    if (proxy->has_group)
        picked = router_pick_near(candidates, model->replica_count, turn, proxy->group);
    else
        picked = router_pick(candidates, model->replica_count, turn, ROUTER_NONE);
    return picked == ROUTER_NONE ? NULL : &model->replicas[picked];
}

/* What its replica kept went with it. */
static void refuse_lost(struct edge_record *record)
{
    struct api_error error = {0};

    api_error_set(&error, 404, "invalid_request_error", "response_not_found", "",
                  "The response is not stored, or not any more: the replica that kept it is gone");
    edge_reply_error(record, &error);
}

static void dispatch(struct proxy *proxy)
{
    struct http_exchange_options options = {
        .method = proxy->method,
        .path = proxy->path,
        .headers = proxy->headers,
        .header_count = proxy->header_count,
        .body = proxy->body,
        .connect_timeout_ns = proxy->connect_timeout_ns,
        .first_byte_timeout_ns = proxy->first_byte_timeout_ns,
        .idle_timeout_ns = proxy->idle_timeout_ns,
        .callbacks = {on_head, on_body, on_end},
        .context = proxy,
    };
    uint64_t now_ns = clock_now_ns();
    struct edge_replica *replica;

    waiting_remove(proxy);
    if (proxy->loop->is_closed) {
        proxy_fail(proxy, 503, "shutting_down", "The gateway is shutting down; try again elsewhere",
                   1000);
        return;
    }
    replica = replica_pick(proxy, now_ns);
    if (replica == NULL && proxy->keeper != NULL) {
        refuse_lost(proxy->record);
        return;
    }
    if (replica == NULL) {
        wait_for_replica(proxy, now_ns);
        return;
    }
    proxy->replica = replica;
    stored_replica_write(replica->id, proxy->number);
    proxy->generation = atomic_load_explicit(&replica->generation, memory_order_relaxed);
    proxy->status_code = 0;
    proxy->is_event_stream = false;
    /* A new stream starts at a line's start; what the client has had stays known. */
    proxy->splitter = (struct sse_splitter){.has_begun = proxy->splitter.has_begun};
    buffer_clear(&proxy->held);
    (void)atomic_fetch_add_explicit(&replica->outstanding, 1, memory_order_relaxed);
    if (http_exchange_start(proxy->loop->targets[replica->id], &options, &proxy->exchange) ==
        STATUS_OK)
        return;
    attempt_over(proxy);
    proxy_fail(proxy, 503, "overloaded",
               "The gateway has no room for another request; try again later", 1000);
}

void proxy_wake(struct edge_loop *state)
{
    /* Each of those that wait now, once: who must go on waiting goes to the end. */
    for (uint32_t i = state->waiting_count; i > 0 && state->waiting != NULL; i--)
        dispatch(state->waiting);
}

/* --- life --- */

static void on_gone(http_request *request, void *context)
{
    struct proxy *proxy = context;
    http_exchange *exchange = proxy->exchange;

    (void)request;
    waiting_remove(proxy);
    proxy->record->status_code = 499;
    if (exchange != NULL) {
        attempt_over(proxy);
        http_exchange_cancel(exchange);
    }
}

void proxy_release(struct proxy *proxy)
{
    buffer_deinit(&proxy->held);
}

/* The only time that a body is copied. */
static struct text_slice body_with_name(const struct proxy *proxy)
{
    http_request *request = proxy->record->request;
    struct text_slice body = http_request_body(request);
    char *copy = http_request_allocate(request, route_body_named_bytes(body, proxy->model->name));

    return (struct text_slice){copy, route_body_name(body, proxy->model->name, copy)};
}

static void start(struct edge_record *record, const struct proxy *given)
{
    const struct config *config = config_store_get(&record->edge->configs)->config;
    http_request *request = record->request;
    struct proxy *proxy = http_request_allocate(request, sizeof(*proxy));

    *proxy = *given;
    proxy->record = record;
    proxy->loop = http_loop_get(http_request_loop(request), EDGE_LOOP_SLOT);
    proxy->connect_timeout_ns = config->upstream.connect_timeout_ns;
    proxy->first_byte_timeout_ns = config->upstream.first_byte_timeout_ns;
    proxy->idle_timeout_ns = config->upstream.idle_timeout_ns;
    proxy->retries_left = proxy->keeper == NULL ? (uint32_t)config->upstream.retries : 0;
    proxy->wait_deadline_ns = clock_now_ns() + config->upstream.ready_timeout_ns;
    if (proxy->body.data == NULL && strcmp(proxy->method, "POST") == 0)
        proxy->body = body_with_name(proxy);
    buffer_init(&proxy->held, BODY_BYTES_MAX);
    record->model = proxy->model;
    record->proxy = proxy;
    metrics_add(model_metrics(proxy)->in_flight, 1);
    proxy->header_count = upstream_headers_make(request, record->caller->tenant, proxy->headers);
    proxy->headers[proxy->header_count++] = (struct http_header){
        text_slice_of(STORED_REPLICA_HEADER), {proxy->number, STORED_REPLICA_BYTES - 1}};
    http_request_on_gone(request, on_gone, proxy);
    dispatch(proxy);
}

/* A response is continued by the model that made it. */
static bool check_keeper(const struct proxy *proxy, struct api_error *error)
{
    if (proxy->keeper == NULL || proxy->keeper->model == proxy->model)
        return true;
    api_error_set(error, 400, "invalid_request_error", "invalid_value", "previous_response_id",
                  "The previous response was made by the model '%s', and only that one can "
                  "continue it",
                  proxy->keeper->model->name);
    return false;
}

/* Which model a request without a body is for: ?model=NAME, or the only one. */
static status route_query(const struct config *config, http_request *request,
                          struct route_target *target, struct api_error *error)
{
    static const char key[] = "model=";
    struct text_slice query = http_request_query(request);
    struct buffer body;
    status result;

    buffer_init(&body, QUERY_BODY_BYTES_MAX);
    buffer_append_byte(&body, '{');
    if (query.bytes > sizeof(key) - 1 && memcmp(query.data, key, sizeof(key) - 1) == 0) {
        query.data += sizeof(key) - 1;
        query.bytes -= sizeof(key) - 1;
        json_write_key(&body, "model");
        json_write_string(&body, edge_percent_decode(request, query));
    }
    buffer_append_byte(&body, '}');
    result = body.failed;
    if (result == STATUS_OK)
        result = route_body(config, buffer_slice(&body), target, error);
    else
        api_error_from_status(error, result, NULL);
    buffer_deinit(&body);
    return result;
}

/* Equal keys of equal tenants. The key is no secret: whoever makes groups collide only fills a replica
 * up to ROUTER_NEAR_SLACK. */
static uint64_t group_of(struct text_slice cache_key, const char *tenant)
{
    static const struct hash_key key = {0x70726f6d70742063ull, 0x61636865206b6579ull};
    uint64_t group = hash64(&key, cache_key.data, cache_key.bytes);

    return tenant != NULL ? group ^ hash64(&key, tenant, strlen(tenant)) : group;
}

void proxy_start(struct edge_record *record, const char *method, const char *upstream_path)
{
    const struct config *config = config_store_get(&record->edge->configs)->config;
    struct text_slice body = http_request_body(record->request);
    struct route_target target;
    struct api_error error = {0};
    uint32_t keeper;
    bool is_get = strcmp(method, "GET") == 0;
    status found = is_get ? route_query(config, record->request, &target, &error)
                          : route_body(config, body, &target, &error);

    if (found != STATUS_OK) {
        edge_reply_error(record, &error);
        return;
    }
    keeper = stored_replica_read(target.previous_response_id);
    struct proxy given = {
        .model = &record->edge->models[target.model],
        .keeper = keeper != STORED_REPLICA_NONE ? edge_replica_at(record->edge, keeper) : NULL,
        .method = method,
        .path = upstream_path,
    };
    if (target.prompt_cache_key.bytes > 0) {
        given.has_group = true;
        given.group = group_of(target.prompt_cache_key, record->caller->tenant);
    }
    if (is_get)
        given.body = (struct text_slice){"", 0};
    else if (target.has_name)
        given.body = body;
    if (check_keeper(&given, &error))
        start(record, &given);
    else
        edge_reply_error(record, &error);
}

/* The path with its query, as it came. */
static const char *whole_path(http_request *request)
{
    struct text_slice path = http_request_path(request), query = http_request_query(request);
    char *copy = http_request_allocate(request, path.bytes + query.bytes + 2);

    memcpy(copy, path.data, path.bytes);
    copy[path.bytes] = query.bytes > 0 ? '?' : '\0';
    if (query.bytes > 0)
        memcpy(copy + path.bytes + 1, query.data, query.bytes);
    copy[path.bytes + query.bytes + (query.bytes > 0)] = '\0';
    return copy;
}

void proxy_start_stored(struct edge_record *record, const char *method, struct text_slice id)
{
    uint32_t number = stored_replica_read(id);
    struct edge_replica *keeper =
        number != STORED_REPLICA_NONE ? edge_replica_at(record->edge, number) : NULL;
    struct proxy given = {.keeper = keeper, .method = method};

    if (keeper == NULL) {
        refuse_lost(record);
        return;
    }
    given.model = keeper->model;
    given.path = whole_path(record->request);
    given.body = (struct text_slice){"", 0};
    start(record, &given);
}
