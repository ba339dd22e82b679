/* Every path that the gateway answers, as a table: method, path, who may ask, what answers. The
 * walk of a request through the gateway begins here: handle -> (key) -> answer, which for the model
 * endpoints is proxy_start. */
#include "routes.h"

#include "adapter_changes.h"
#include "admin.h"
#include "admin_history.h"
#include "admin_page.h"
#include "admin_pool.h"
#include "allowance.h"
#include "answers.h"
#include "capacity_admin.h"
#include "check.h"
#include "clock.h"
#include "edge.h"
#include "metrics_replicas.h"
#include "model_activity.h"
#include "proxy.h"
#include "reply.h"
#include "request_records.h"
#include "request_stories.h"
#include "scaling_admin.h"
#include "scope.h"
#include "scrape.h"
#include "tracing.h"
#include "wire_format.h"

struct route {
    const char *method, *path; /* a path that ends in '*' matches what begins like it */
    enum edge_route metric;
    enum scope scope;  /* that a key must have */
    bool is_open;      /* needs no key */
    bool is_passed_on; /* to a replica, under the same path; with '*': the one that an id names */
    void (*answer)(struct edge_record *record, struct text_slice rest);
    const struct wire_format *format; /* of errors; NULL: OpenAI's */
};

// clang-format off
static const struct route public_routes[] = {
    {"POST", "/v1/chat/completions", ROUTE_CHAT_COMPLETIONS, SCOPE_INFERENCE, false, true, NULL, NULL},
    {"POST", "/v1/completions", ROUTE_COMPLETIONS, SCOPE_INFERENCE, false, true, NULL, NULL},
    {"POST", "/v1/messages", ROUTE_MESSAGES, SCOPE_INFERENCE, false, true, NULL, &wire_format_messages},
    {"POST", "/v1/messages/count_tokens", ROUTE_COUNT_TOKENS, SCOPE_INFERENCE, false, true, NULL, &wire_format_messages},
    {"POST", "/v1/responses", ROUTE_RESPONSES, SCOPE_INFERENCE, false, true, NULL, &wire_format_responses},
    {"POST", "/v1/responses/input_tokens", ROUTE_COUNT_TOKENS, SCOPE_INFERENCE, false, true, NULL, &wire_format_responses},
    {"GET", "/v1/responses/*", ROUTE_RESPONSE, SCOPE_INFERENCE, false, true, NULL, &wire_format_responses},
    {"DELETE", "/v1/responses/*", ROUTE_RESPONSE, SCOPE_INFERENCE, false, true, NULL, &wire_format_responses},
    {"POST", "/v1/responses/*", ROUTE_RESPONSE, SCOPE_INFERENCE, false, true, NULL, &wire_format_responses},
    {"POST", "/v1/embeddings", ROUTE_EMBEDDINGS, SCOPE_EMBEDDINGS, false, true, NULL, NULL},
    {"POST", "/rerank", ROUTE_RERANK, SCOPE_EMBEDDINGS, false, true, NULL, NULL},
    {"POST", "/v1/rerank", ROUTE_RERANK, SCOPE_EMBEDDINGS, false, true, NULL, NULL},
    {"POST", "/v2/rerank", ROUTE_RERANK, SCOPE_EMBEDDINGS, false, true, NULL, NULL},
    {"POST", "/score", ROUTE_SCORE, SCOPE_EMBEDDINGS, false, true, NULL, NULL},
    {"POST", "/v1/score", ROUTE_SCORE, SCOPE_EMBEDDINGS, false, true, NULL, NULL},
    {"POST", "/tokenize", ROUTE_TOKENIZE, SCOPE_INFERENCE, false, true, NULL, NULL},
    {"POST", "/detokenize", ROUTE_DETOKENIZE, SCOPE_INFERENCE, false, true, NULL, NULL},
    {"GET", "/tokenizer_info", ROUTE_TOKENIZER_INFO, SCOPE_INFERENCE, false, true, NULL, NULL},
    {"POST", "/v1/load_lora_adapter", ROUTE_ADAPTERS, SCOPE_ADMIN, false, false, answer_load_adapter, NULL},
    {"POST", "/v1/unload_lora_adapter", ROUTE_ADAPTERS, SCOPE_ADMIN, false, false, answer_unload_adapter, NULL},
    {"GET", "/openapi.json", ROUTE_OPENAPI, SCOPE_NONE, true, false, answer_openapi, NULL},
    {"GET", "/v1/models", ROUTE_MODELS, SCOPE_NONE, false, false, answer_models, NULL},
    {"GET", "/v1/models/*", ROUTE_MODEL, SCOPE_NONE, false, false, answer_model, NULL},
    {"GET", "/livez", ROUTE_HEALTH, SCOPE_NONE, true, false, answer_livez, NULL},
    {"GET", "/readyz", ROUTE_HEALTH, SCOPE_NONE, true, false, answer_readyz, NULL},
    {"GET", "/health", ROUTE_HEALTH, SCOPE_NONE, true, false, answer_readyz, NULL},
    {"GET", "/version", ROUTE_VERSION, SCOPE_NONE, true, false, answer_version, NULL},
};
static const struct route admin_routes[] = {
    {"GET", "/metrics", ROUTE_ADMIN, SCOPE_NONE, true, false, admin_metrics, NULL},
    {"GET", "/metrics/replicas", ROUTE_ADMIN, SCOPE_NONE, true, false, metrics_replicas_list, NULL},
    {"GET", "/metrics/replicas/*", ROUTE_ADMIN, SCOPE_NONE, true, false, metrics_replicas_page, NULL},
    {"GET", "/livez", ROUTE_HEALTH, SCOPE_NONE, true, false, answer_livez, NULL},
    {"GET", "/readyz", ROUTE_HEALTH, SCOPE_NONE, true, false, answer_readyz, NULL},
    {"GET", "/admin/replicas", ROUTE_ADMIN, SCOPE_ADMIN, true, false, admin_replicas, NULL},
    {"GET", "/admin/pool", ROUTE_ADMIN, SCOPE_ADMIN, true, false, admin_pool, NULL},
    {"GET", "/admin/pool/slices", ROUTE_ADMIN, SCOPE_ADMIN, true, false, admin_pool_slices, NULL},
    {"GET", "/admin/placement/*", ROUTE_ADMIN, SCOPE_ADMIN, true, false, admin_placement, NULL},
    {"GET", "/admin/capacity", ROUTE_ADMIN, SCOPE_ADMIN, true, false, admin_capacity, NULL},
    {"GET", "/admin/scaling", ROUTE_ADMIN, SCOPE_ADMIN, true, false, admin_scaling, NULL},
    {"GET", "/admin/rollouts", ROUTE_ADMIN, SCOPE_ADMIN, true, false, admin_rollouts, NULL},
    {"POST", "/admin/route", ROUTE_ADMIN, SCOPE_ADMIN, true, false, admin_route, NULL},
    {"GET", "/admin/usage", ROUTE_ADMIN, SCOPE_ADMIN, true, false, admin_usage, NULL},
    {"GET", "/admin/replicas/*", ROUTE_ADMIN, SCOPE_ADMIN, true, false, admin_flight, NULL},
    {"GET", "/admin/requests", ROUTE_ADMIN, SCOPE_ADMIN, true, false, admin_requests, NULL},
    {"GET", "/admin/requests/*", ROUTE_ADMIN, SCOPE_ADMIN, true, false, admin_request, NULL},
    {"GET", "/admin/", ROUTE_ADMIN, SCOPE_NONE, true, false, admin_page, NULL},
    {"GET", "/admin/ui/*", ROUTE_ADMIN, SCOPE_NONE, true, false, admin_page_file, NULL},
    {"GET", "/admin/history", ROUTE_ADMIN, SCOPE_ADMIN, true, false, admin_history, NULL},
    {"GET", "/admin/anomalies", ROUTE_ADMIN, SCOPE_ADMIN, true, false, admin_anomalies, NULL},
    {"GET", "/admin/config", ROUTE_ADMIN, SCOPE_ADMIN, true, false, admin_config, NULL},
};
// clang-format on

static bool path_matches(const struct route *route, struct text_slice path, struct text_slice *rest)
{
    size_t bytes = strlen(route->path);

    *rest = (struct text_slice){NULL, 0};
    if (route->path[bytes - 1] != '*')
        return text_slice_is(path, route->path);
    if (path.bytes < bytes || memcmp(path.data, route->path, bytes - 1) != 0)
        return false;
    *rest = (struct text_slice){path.data + bytes - 1, path.bytes - (bytes - 1)};
    return true;
}

/* HEAD is answered like GET; the server leaves the body out. */
static bool method_matches(const struct route *route, struct text_slice method)
{
    return text_slice_is(method, route->method) ||
           (text_slice_is(method, "HEAD") && strcmp(route->method, "GET") == 0);
}

/* False: it has been refused. */
static bool authenticate(struct edge_record *record, const struct route *route)
{
    const struct config_snapshot *snapshot = config_store_get(&record->edge->configs);
    struct api_error error = {0};
    const char *why;
    status result = identity_authenticate(record->edge->identity, snapshot->config, snapshot->keys,
                                          record->request, &record->caller, &why);

    if (result == STATUS_AGAIN) {
        api_error_set(&error, 503, "server_error", "issuer_not_ready", "",
                      "The keys of the token's issuer have not been read yet; try again");
        error.retry_after_ms = 1000;
    } else if (result != STATUS_OK) {
        metrics_add(record->edge->metrics.auth_failures, 1);
        api_error_set(&error, 401, "invalid_request_error", "invalid_api_key", "", "%s%s%s",
                      why != NULL ? "The token is not accepted: "
                                  : "A valid API key is needed, as 'Authorization: Bearer KEY' or "
                                    "'x-api-key: KEY'",
                      why != NULL ? why : "", why != NULL ? "." : "");
    } else if ((route->scope & ~record->caller->scopes) != 0) {
        api_error_set(&error, 403, "invalid_request_error", "insufficient_permissions", "",
                      "The API key may not do this: it needs the scope '%s'",
                      scope_name(route->scope));
    } else {
        return true;
    }
    edge_reply_error(record, &error);
    return false;
}

/* Of a request that was refused before it was known what it asks for: the usual one, or the best that its caller may have. */
static int32_t band_of(const struct edge_record *record)
{
    const struct admission_request asked = {
        .caller = record->caller,
        .priority = record->proxy != NULL ? proxy_priority(record->proxy) : 0};

    return waiting_room_band(&asked);
}

static void record_end(void *context)
{
    struct edge_record *record = context;
    struct edge_metrics *metrics = &record->edge->metrics;
    uint32_t model = record->model != NULL ? record->model->index : metrics->model_count;
    uint64_t now_ns = clock_now_ns();
    double seconds = (double)(now_ns - record->start_ns) / 1e9;

    allowance_settle(record);
    if (record->proxy != NULL)
        proxy_measure(record->proxy);
    edge_metrics_request(metrics, model, record->route, record->status_code, seconds,
                         record->trace_id);
    request_records_end(record, now_ns);
    request_stories_end(record, now_ns);
    model_activity_note(record);
    if (record->proxy != NULL) {
        metrics_add(metrics->models[model].in_flight, -1);
        proxy_release(record->proxy);
    }
    scrape_release(record->scrape);
    if (record->is_for_model) {
        edge_metrics_class(metrics, band_of(record), record->route, record->status_code);
        tenant_row_request(edge_tenant(record), record->status_code, &record->usage);
    }
}

static bool asks_for_key(const struct edge_record *record, const struct route *route)
{
    const struct config *config = config_store_get(&record->edge->configs)->config;

    if (route->scope == SCOPE_ADMIN) /* nobody has it where no keys are asked for */
        return route->is_open ? config->auth.admin : config_asks_for_keys(config);
    return !route->is_open;
}

static void refuse_path(struct edge_record *record, const struct route *other)
{
    struct api_error error = {0};

    if (other == NULL)
        api_error_set_unknown_path(&error, record->request);
    else
        api_error_set_method(&error, record->request,
                             strcmp(other->method, "GET") == 0 ? "GET, HEAD" : other->method);
    edge_reply_error(record, &error);
}

static void handle(http_request *request, struct edge *edge, const struct route *routes,
                   size_t count)
{
    struct edge_record *record = http_request_allocate(request, sizeof(*record));
    struct text_slice path = http_request_path(request), rest;
    const struct route *route = NULL, *other = NULL;
    struct api_error error = {0};

    *record = (struct edge_record){.edge = edge,
                                   .request = request,
                                   .route = ROUTE_OTHER,
                                   .caller = &caller_anonymous,
                                   .format = &wire_format_chat,
                                   .start_ns = http_request_start_ns(request),
                                   .own_since_ns = clock_now_ns(),
                                   .status_code = 499};
    http_request_on_end(request, record_end, record);
    tracing_read(record);
    for (size_t i = 0; i < count && route == NULL; i++) {
        if (!path_matches(&routes[i], path, &rest))
            continue;
        other = &routes[i];
        if (other->format != NULL)
            record->format = other->format;
        if (method_matches(other, http_request_method(request)))
            route = other;
    }
    if (route == NULL) {
        refuse_path(record, other);
        return;
    }
    record->route = route->metric;
    record->is_for_model = route->is_passed_on;
    record->is_admin = route->scope == SCOPE_ADMIN;
    if (asks_for_key(record, route) && !authenticate(record, route))
        return;
    if (route->is_passed_on)
        request_stories_begin(record);
    if (route->is_passed_on && strcmp(route->method, "POST") == 0 &&
        !api_check_content_type(request, &error))
        edge_reply_error(record, &error);
    else if (route->is_passed_on && !request_records_begin(record))
        return;
    else if (route->is_passed_on && rest.data != NULL)
        proxy_start_stored(record, route->method, rest);
    else if (route->is_passed_on)
        proxy_start(record, route->method, route->path);
    else
        route->answer(record, rest);
}

void routes_handle_public(http_request *request, void *context)
{
    handle(request, context, public_routes, ARRAY_COUNT(public_routes));
}

void routes_handle_admin(http_request *request, void *context)
{
    handle(request, context, admin_routes, ARRAY_COUNT(admin_routes));
}
