/* Proxy: one request to one replica, and again to another when that is safe
 *
 *   proxy_start -> waiting.c -> proxy_dispatch -> attempt (attempt.c) -> its answer's end
 *                   a slot        ^     |           |                         |
 *                                 |     |           +-- client gone: cancel   |
 *                                 |     `-> no replica is ready: waiting.c    |
 *                                 +-- wake, timer --+                         |
 *                                 +-- nothing produced and the replica failed +
 *
 * The request's body is not changed (but for the model's name, where the client left it out); it
 * lies in the request's memory until the end, so it can be sent again. What of an answer may reach
 * the client, and until when a request may be sent again, is decided in attempt.c; which replica
 * is asked, in replica_choice.c. */
#include "proxy.h"

#include <stdio.h>
#include <string.h>

#include "allowance.h"
#include "clock.h"
#include "hash.h"
#include "log.h"
#include "proxy_state.h"
#include "request_stories.h"
#include "request_wishes.h"
#include "route_body.h"
#include "suspects.h"
#include "upstream.h"
#include "upstream_usage.h"
#include "wire_format.h"

/* A query is part of the head, which is bounded by 16 KiB; its name may be escaped. */
#define QUERY_BODY_BYTES_MAX (128u << 10)

/* --- ends --- */

void proxy_fail(struct proxy *proxy, int http_status, const char *code, const char *message,
                uint64_t retry_after_ms)
{
    struct api_error error = {0};

    waiting_release(proxy);
    if (proxy_fall_back(proxy, http_status, text_slice_of(code)))
        return;
    api_error_set(&error, http_status, http_status == 429 ? "rate_limit_error" : "server_error",
                  code, "", "%s", message);
    error.retry_after_ms = retry_after_ms;
    if (proxy->is_streaming)
        proxy_end_stream(proxy, &error);
    else
        edge_reply_error(proxy->record, &error);
}

void proxy_end_stream(struct proxy *proxy, const struct api_error *error)
{
    struct edge_record *record = proxy->record;
    struct buffer event;

    waiting_release(proxy);
    buffer_init(&event, sizeof(*error) * 6 + 1024); /* every byte escaped, and what is around */
    record->format->stream_error(&event, NULL, error, http_request_id(record->request));
    record->status_code = error->http_status;
    edge_note_error(record, error->code);
    if (event.failed == STATUS_OK)
        (void)http_stream_write(record->request, buffer_slice(&event));
    buffer_deinit(&event);
    http_stream_end(record->request, false);
}

void proxy_fail_closed(struct proxy *proxy)
{
    proxy_fail(proxy, 503, "shutting_down", "The gateway is shutting down; try again elsewhere",
               1000);
}

void proxy_fail_quarantined(struct proxy *proxy)
{
    metrics_add(proxy_metrics(proxy)->quarantined, 1);
    proxy->plan.count = proxy->plan.at + 1; /* nor to another model */
    proxy_fail(proxy, 500, "request_quarantined",
               "Replicas were lost while they had this request: it is not sent to another one for "
               "now",
               0);
}

/* What its replica kept went with it. */
static void refuse_lost(struct edge_record *record)
{
    struct api_error error = {0};

    api_error_set(&error, 404, "invalid_request_error", "response_not_found", "",
                  "The response is not stored, or not any more: the replica that kept it is gone");
    edge_reply_error(record, &error);
}

/* The replica that gets the request now, with all that is counted before it is sent; NULL: none. */
static struct edge_replica *replica_take(struct proxy *proxy, uint64_t now_ns)
{
    struct edge_replica *replica = replica_choice_pick(&proxy->choice, now_ns);
    bool may, is_suspect = proxy->losses > 0;

    if (replica == NULL)
        return NULL;
    if (is_suspect && !suspects_trial_begin(&replica->trial_until_ns, now_ns))
        return NULL;
    may = replica_guard_begin(&replica->guard, now_ns, &proxy->attempt.is_breaker_trial);
    if (!may && proxy->choice.keeper == NULL) {
        if (is_suspect)
            atomic_store_explicit(&replica->trial_until_ns, 0, memory_order_relaxed);
        return NULL;
    }
    proxy->attempt.is_on_trial = is_suspect;
    metrics_add(proxy_flow(proxy)->decisions[proxy->choice.reason], 1);
    metrics_add(proxy_flow(proxy)->routed_tokens, proxy->choice.prompt_tokens);
    metrics_add(proxy_flow(proxy)->matched_tokens, proxy->choice.matched_tokens);
    return replica;
}

void proxy_dispatch(struct proxy *proxy)
{
    uint64_t now_ns = clock_now_ns();
    struct edge_replica *replica;

    edge_work_begin(proxy->record, now_ns);
    waiting_leave(proxy);
    if (proxy->loop->is_closed) {
        proxy_fail_closed(proxy);
        return;
    }
    replica = replica_take(proxy, now_ns);
    if (replica != NULL)
        attempt_start(proxy, replica);
    else if (proxy->choice.keeper != NULL &&
             edge_replica_state(proxy->choice.keeper) != REPLICA_READY)
        refuse_lost(proxy->record);
    else if (edge_ready_count(proxy->choice.model) > 0 ||
             !proxy_fall_back(proxy, 503, text_slice_of("model_not_ready")))
        waiting_for_replica(proxy, now_ns);
}

/* --- life --- */

static void on_gone(http_request *request, void *context)
{
    struct proxy *proxy = context;

    (void)request;
    proxy->record->status_code = 499;
    attempt_cancel(proxy);
    waiting_release(proxy);
}

int32_t proxy_priority(const struct proxy *proxy)
{
    return proxy->waiting.priority;
}

void proxy_measure(const struct proxy *proxy)
{
    const struct edge_record *record = proxy->record;
    const struct flow_model_metrics *metrics = proxy_flow(proxy);

    flow_metrics_count_tokens(metrics->tokens, &record->usage);
    if (proxy->attempt.start_ns == 0) /* it never came to a replica */
        return;
    metrics_observe(metrics->added, (double)record->own_ns / 1e9);
    if (record->status_code == 499)
        metrics_add(metrics->wasted[WASTE_CLIENT_GONE],
                    (double)flow_tokens_computed(&record->usage));
}

void proxy_release(struct proxy *proxy)
{
    waiting_release(proxy);
    shadow_leave(proxy->shadow, proxy->record->status_code);
    if (proxy->record->status_code != 499)
        resumption_end(proxy, RESUMPTION_FAILED);
    hedge_cancel(proxy);
    resumption_deinit(proxy);
    attempt_deinit(&proxy->attempt);
}

/* The body as the model's replicas want it: with the name that they know. Copied where that is not what it has. */
static struct text_slice body_for(const struct proxy *proxy, const char *name)
{
    http_request *request = proxy->record->request;
    struct text_slice body = http_request_body(request);
    char *copy;

    if (proxy->target.has_name && text_slice_is(proxy->target.name, name))
        return body;
    copy = http_request_allocate(request, route_body_named_bytes(body, name));
    if (proxy->target.has_name)
        return (struct text_slice){copy, route_body_rename(body, proxy->target.name, name, copy)};
    return (struct text_slice){copy, route_body_name(body, name, copy)};
}

/* Of a stream whose server tells its usage only where it is asked to: the body asks. What stands before the name, or behind it,
 * is where it was, counted from the body's beginning or its end. */
static struct text_slice body_ask(struct proxy *proxy, struct text_slice body)
{
    enum edge_route route = proxy->record->route;
    struct text_slice whole = http_request_body(proxy->record->request),
                      options = proxy->target.stream_options;
    bool is_behind = !proxy->target.has_name || options.data > proxy->target.name.data;
    char *copy;
    size_t bytes;

    if (!proxy->wants_stream || (route != ROUTE_CHAT_COMPLETIONS && route != ROUTE_COMPLETIONS))
        return body;
    if (options.data != NULL)
        options.data = is_behind
                           ? body.data + body.bytes - (whole.data + whole.bytes - options.data)
                           : body.data + (options.data - whole.data);
    copy = http_request_allocate(proxy->record->request, body.bytes + UPSTREAM_USAGE_ASK_BYTES);
    bytes = upstream_usage_ask(body, options, copy);
    proxy->takes_usage_out = bytes > 0;
    return bytes > 0 ? (struct text_slice){copy, bytes} : body;
}

static uint64_t timeout_of(uint64_t own_ns, uint64_t general_ns)
{
    return own_ns > 0 ? own_ns : general_ns;
}

/* What follows from the model that the plan has come to. */
static void model_take(struct proxy *proxy, const struct config *config)
{
    uint32_t index = proxy->plan.models[proxy->plan.at];
    struct edge_model *model = &proxy->record->edge->models[index];
    const struct config_model *row = config_model_at(config, index);
    const struct edge_upstream *upstream =
        model->replica_count > 0 ? model->replicas[0].upstream : NULL;
    const char *name = upstream != NULL ? upstream->model : model->name;
    bool is_asked_for = index == proxy->target.model && proxy->target.has_name && upstream == NULL;

    proxy->choice.model = model;
    proxy->attempt_number = 0;
    request_stories_model(proxy);
    proxy->first_byte_timeout_ns =
        timeout_of(row->first_byte_timeout_ns, config->upstream.first_byte_timeout_ns);
    proxy->idle_timeout_ns = timeout_of(row->idle_timeout_ns, config->upstream.idle_timeout_ns);
    hedge_init(proxy, row);
    proxy->retries_left = proxy->choice.keeper == NULL ? (uint32_t)config->upstream.retries : 0;
    if (proxy->body.data != NULL) /* it has none of its own */
        return;
    /* An alias or an adapter is the model's own affair. */
    proxy->body = is_asked_for ? http_request_body(proxy->record->request) : body_for(proxy, name);
    proxy->takes_usage_out = false;
    if (upstream != NULL)
        proxy->body = body_ask(proxy, proxy->body);
    if (proxy->choice.keeper != NULL)
        return;
    replica_choice_learn(&proxy->choice, proxy->record, &proxy->target,
                         is_asked_for ? proxy->target.name : text_slice_of(name),
                         (enum router_policy)config->routing.policy);
}

/* Where none can take it at once and there is another model, it does not wait. */
static void model_begin(struct proxy *proxy, const struct config *config)
{
    if (edge_ready_count(proxy->choice.model) > 0 ||
        !proxy_fall_back(proxy, 503, text_slice_of("model_not_ready")))
        waiting_start(proxy, config);
}

bool proxy_fall_back(struct proxy *proxy, int http_status, struct text_slice body)
{
    const struct config *config = config_store_get(&proxy->record->edge->configs)->config;
    const char *failed = proxy->choice.model->name;

    if (proxy->attempt.splitter.has_begun || proxy->loop->is_closed ||
        proxy->choice.keeper != NULL ||
        !route_plan_next(&proxy->plan, route_plan_cause(http_status, body)))
        return false;
    waiting_release(proxy);
    proxy->waiting.ticket = (struct admission_ticket){0};
    proxy->record->usage = (struct request_usage){0};
    metrics_add(proxy_metrics(proxy)->in_flight, -1);
    metrics_add(proxy_metrics(proxy)->fallbacks, 1);
    if (strcmp(proxy->method, "POST") == 0)
        proxy->body.data = NULL;
    model_take(proxy, config);
    metrics_add(proxy_metrics(proxy)->in_flight, 1);
    proxy->record->model = proxy->choice.model;
    log_info("gateway/edge", "request_id=%s goes to model %s: %s failed with %d",
             http_request_id(proxy->record->request), proxy->choice.model->name, failed,
             http_status);
    model_begin(proxy, config);
    return true;
}

/* Any number of a request: what goes by chance for it, a version or a copy. */
static uint64_t number_of(const char *request_id)
{
    static const struct hash_key key = {0x76657273696f6e20ull, 0x6f6620612072656bull};

    return hash64(&key, request_id, strlen(request_id));
}

static void headers_make(struct proxy *proxy)
{
    const struct edge_record *record = proxy->record;
    const struct admission_request request = {.caller = record->caller,
                                              .priority = proxy->waiting.priority};

    proxy->header_count =
        upstream_headers_make(record->request, record->caller->tenant, proxy->headers);
    proxy->number_header = proxy->header_count;
    proxy->headers[proxy->header_count++] = (struct http_header){
        text_slice_of(STORED_REPLICA_HEADER), {proxy->number, STORED_REPLICA_BYTES - 1}};
    (void)snprintf(proxy->priority, sizeof(proxy->priority), "%d", waiting_room_band(&request));
    proxy->headers[proxy->header_count++] =
        (struct http_header){text_slice_of("x-penstock-priority"), text_slice_of(proxy->priority)};
}

static void start(struct edge_record *record, const struct proxy *given)
{
    const struct config *config = config_store_get(&record->edge->configs)->config;
    http_request *request = record->request;
    struct proxy *proxy = http_request_allocate(request, sizeof(*proxy));

    *proxy = *given;
    proxy->record = record;
    proxy->loop = http_loop_get(http_request_loop(request), EDGE_LOOP_SLOT);
    proxy->choice.story = record->story;
    request_stories_admit(proxy);
    proxy->connect_timeout_ns = config->upstream.connect_timeout_ns;
    model_take(proxy, config);
    retry_budget_earn(&proxy->choice.model->retries, config->upstream.retry_budget,
                      (uint32_t)config->upstream.retry_burst);
    attempt_init(&proxy->attempt);
    record->model = proxy->choice.model;
    record->proxy = proxy;
    metrics_add(proxy_metrics(proxy)->in_flight, 1);
    headers_make(proxy);
    resumption_init(proxy, config);
    http_request_on_gone(request, on_gone, proxy);
    if (strcmp(proxy->method, "POST") == 0)
        proxy->shadow = shadow_start(proxy, config, number_of(http_request_id(request)));
    model_begin(proxy, config);
}

/* A response is continued by the model that made it, which the one that is asked for may stand for. */
static bool check_keeper(struct proxy *proxy, struct api_error *error)
{
    struct route_plan *plan = &proxy->plan;

    if (proxy->choice.keeper == NULL)
        return true;
    for (uint32_t i = 0; i < plan->count; i++) {
        if (plan->models[i] != proxy->choice.keeper->model->index)
            continue;
        *plan = (struct route_plan){.models = {plan->models[i]}, .count = 1};
        return true;
    }
    api_error_set(error, 400, "invalid_request_error", "invalid_value", "previous_response_id",
                  "The previous response was made by the model '%s', and only that one can "
                  "continue it",
                  proxy->choice.keeper->model->name);
    return false;
}

/* As OpenAI says it of a project without the model. */
static bool check_model(const struct edge_record *record, const struct proxy *proxy,
                        struct api_error *error)
{
    if (caller_may_use(record->caller, proxy->choice.model->name))
        return true;
    api_error_set(error, 403, "invalid_request_error", "model_not_found", "model",
                  "The API key may not use the model '%s'", proxy->choice.model->name);
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

static bool has_streams(enum edge_route route)
{
    return route == ROUTE_CHAT_COMPLETIONS || route == ROUTE_COMPLETIONS ||
           route == ROUTE_MESSAGES || route == ROUTE_RESPONSES;
}

/* What the model works on for long; what only its tokenizer is asked goes past the waiting room. */
static bool takes_slot(enum edge_route route)
{
    return route == ROUTE_CHAT_COMPLETIONS || route == ROUTE_COMPLETIONS ||
           route == ROUTE_MESSAGES || route == ROUTE_RESPONSES || route == ROUTE_EMBEDDINGS ||
           route == ROUTE_RERANK || route == ROUTE_SCORE;
}

/* What the waiting room is to know of a request with a body. */
static struct waiting waiting_of(const struct edge_record *record,
                                 const struct route_target *target)
{
    uint64_t output = target->output_tokens_max * target->choice_count;

    return (struct waiting){
        .is_queued = takes_slot(record->route),
        .priority = request_priority_of_header(record->request, target->priority),
        .output_tokens_max =
            target->has_output_tokens_max && output < UINT32_MAX ? (uint32_t)output : 0,
    };
}

void proxy_start(struct edge_record *record, const char *method, const char *upstream_path)
{
    const struct config *config = config_store_get(&record->edge->configs)->config;
    struct text_slice body = http_request_body(record->request);
    struct route_target target;
    struct api_error error = {0};
    uint64_t number;
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
        .choice.model = &record->edge->models[target.model],
        .choice.keeper =
            keeper != STORED_REPLICA_NONE ? edge_replica_at(record->edge, keeper) : NULL,
        .target = is_get ? (struct route_target){.model = target.model} : target,
        .method = method,
        .path = upstream_path,
        .waiting = waiting_of(record, &target),
        .body = {is_get ? "" : NULL, 0},
    };
    given.wants_stream = target.wants_stream && has_streams(record->route);
    if (!replica_choice_session(record, &target, &number))
        number = number_of(http_request_id(record->request));
    route_plan_make(config, target.model, number, &given.plan);
    if (!check_keeper(&given, &error) || !check_model(record, &given, &error))
        edge_reply_error(record, &error);
    else if (allowance_take(record, given.choice.model, &record->edge->models[given.plan.models[0]],
                            is_get ? NULL : &target))
        start(record, &given);
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
    struct proxy given = {.choice.keeper = keeper, .method = method, .plan.count = 1};
    struct api_error error = {0};

    if (keeper == NULL) {
        refuse_lost(record);
        return;
    }
    given.choice.model = keeper->model;
    given.plan.models[0] = (uint16_t)keeper->model->index;
    if (!check_model(record, &given, &error)) {
        edge_reply_error(record, &error);
        return;
    }
    given.path = whole_path(record->request);
    given.body = (struct text_slice){"", 0};
    if (allowance_take(record, given.choice.model, given.choice.model, NULL))
        start(record, &given);
}
