#include "edge_metrics.h"

#include <stdio.h>

#include "check.h"
#include "memory.h"
#include "replica.h"

static const char *const route_names[ROUTE_COUNT] = {
    [ROUTE_CHAT_COMPLETIONS] = "/v1/chat/completions",
    [ROUTE_COMPLETIONS] = "/v1/completions",
    [ROUTE_MESSAGES] = "/v1/messages",
    [ROUTE_RESPONSES] = "/v1/responses",
    [ROUTE_RESPONSE] = "/v1/responses/{id}",
    [ROUTE_COUNT_TOKENS] = "count_tokens",
    [ROUTE_EMBEDDINGS] = "/v1/embeddings",
    [ROUTE_RERANK] = "rerank",
    [ROUTE_SCORE] = "score",
    [ROUTE_TOKENIZE] = "/tokenize",
    [ROUTE_DETOKENIZE] = "/detokenize",
    [ROUTE_TOKENIZER_INFO] = "/tokenizer_info",
    [ROUTE_ADAPTERS] = "lora_adapter",
    [ROUTE_MODELS] = "/v1/models",
    [ROUTE_MODEL] = "/v1/models/{id}",
    [ROUTE_HEALTH] = "health",
    [ROUTE_VERSION] = "/version",
    [ROUTE_OPENAPI] = "/openapi.json",
    [ROUTE_ADMIN] = "admin",
    [ROUTE_OTHER] = "other",
};

static const uint16_t codes[] = {200, 400, 401, 403, 404, 405, 408, 409, 413, 415,
                                 422, 429, 431, 499, 500, 501, 502, 503, 504};
static const char *const code_classes[] = {"2xx", "4xx", "5xx"};
_Static_assert(ARRAY_COUNT(codes) + ARRAY_COUNT(code_classes) == EDGE_CODE_COUNT,
               "one slot a code");
_Static_assert(REPLICA_STATE_COUNT <= 10, "one series a state");

/* vLLM's buckets, so that the gateway's and the replicas' histograms can be laid over each other.
 */
static const double first_token_bounds[] = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,
                                            0.25,  0.5,   0.75, 1,    2.5,  5,    7.5,  10,
                                            20,    40,    80,   160,  640,  2560};
static const double inter_token_bounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1,
                                            0.15,  0.2,    0.3,   0.4,  0.5,   0.75, 1,     2.5,
                                            5,     7.5,    10,    20,   40,    80};
static const double duration_bounds[] = {0.001, 0.005, 0.01, 0.05, 0.1, 0.3, 0.5, 0.8,
                                         1,     1.5,   2,    2.5,  5,   10,  15,  20,
                                         30,    40,    50,   60,   120, 240, 480};

struct families {
    metrics_family *in_flight, *restarts, *retries, *fallbacks, *retries_refused, *quarantined,
        *distrusted, *shadows, *shadow_tokens, *shadow_equal, *first_token, *inter_token, *replicas,
        *control_silence;
};

static const char *const model_label[] = {"model", NULL};

static status families_create(struct edge_metrics *metrics, metrics_registry *registry,
                              struct families *families, metrics_family **auth,
                              metrics_family **reloads, metrics_family **upgrades,
                              metrics_family **build, metrics_family **leader,
                              metrics_family **away)
{
    static const char *const request_labels[] = {"route", "model", "code", NULL};
    static const char *const class_labels[] = {"route", "band", "code", NULL};
    static const char *const duration_labels[] = {"route", "model", NULL};
    static const char *const shadow_labels[] = {"model", "result", NULL};
    static const char *const replica_labels[] = {"model", "state", NULL};
    static const char *const loop_label[] = {"loop", NULL};
    static const char *const result_label[] = {"result", NULL};
    static const char *const store_label[] = {"store", NULL};
    static const char *const version_label[] = {"version", NULL};
    const struct metrics_family_row rows[] = {
        {&metrics->requests,
         {METRICS_COUNTER, "penstock_requests_total", "Requests that have ended, by answer.",
          request_labels, NULL, 0, 4000}},
        {&metrics->classes,
         {METRICS_COUNTER, "penstock_class_requests_total",
          "Requests to models that have ended, by the priority band of their class and by answer.",
          class_labels, NULL, 0, 4000}},
        {&metrics->duration,
         {METRICS_HISTOGRAM, "penstock_request_duration_seconds",
          "From a request's head to the end of its answer.", duration_labels, duration_bounds,
          ARRAY_COUNT(duration_bounds), 0}},
        {&families->first_token,
         {METRICS_HISTOGRAM, "penstock_time_to_first_token_seconds",
          "From a streaming request's head to the first event with content.", model_label,
          first_token_bounds, ARRAY_COUNT(first_token_bounds), 0}},
        {&families->inter_token,
         {METRICS_HISTOGRAM, "penstock_inter_token_seconds", "Between events of an event stream.",
          model_label, inter_token_bounds, ARRAY_COUNT(inter_token_bounds), 0}},
        {&families->retries,
         {METRICS_COUNTER, "penstock_upstream_retries_total",
          "Requests sent again because their replica failed.", model_label, NULL, 0, 0}},
        {&families->shadows,
         {METRICS_COUNTER, "penstock_shadow_requests_total",
          "Copies of requests that another model got, by what the comparison of the answers gave.",
          shadow_labels, NULL, 0, 0}},
        {&families->shadow_tokens,
         {METRICS_COUNTER, "penstock_shadow_tokens_total",
          "Tokens (words and signs) of answers that were compared.", model_label, NULL, 0, 0}},
        {&families->shadow_equal,
         {METRICS_COUNTER, "penstock_shadow_equal_tokens_total",
          "Those before the first difference.", model_label, NULL, 0, 0}},
        {&families->fallbacks,
         {METRICS_COUNTER, "penstock_model_fallbacks_total",
          "Requests that went to another model because this one failed.", model_label, NULL, 0, 0}},
        {&families->retries_refused,
         {METRICS_COUNTER, "penstock_upstream_retries_refused_total",
          "Requests that were not sent again because the budget of retries was spent.", model_label,
          NULL, 0, 0}},
        {&families->quarantined,
         {METRICS_COUNTER, "penstock_quarantine_refusals_total",
          "Requests refused because replicas were lost while they ran.", model_label, NULL, 0, 0}},
        {&families->distrusted,
         {METRICS_GAUGE, "penstock_replicas_distrusted",
          "Replicas that get few or no requests: their circuit breaker is not closed, or their "
          "steps "
          "stand still.",
          model_label, NULL, 0, 0}},
        {&families->replicas,
         {METRICS_GAUGE, "penstock_replicas", "Replicas, by state.", replica_labels, NULL, 0, 0}},
        {&families->restarts,
         {METRICS_COUNTER, "penstock_replica_restarts_total",
          "Starts of replicas after their first.", model_label, NULL, 0, 0}},
        {&families->in_flight,
         {METRICS_GAUGE, "penstock_requests_in_flight", "Requests that have not ended.",
          model_label, NULL, 0, 0}},
        {&metrics->loop_silence,
         {METRICS_GAUGE, "penstock_http_loop_silence_seconds",
          "Since an event loop has last turned; it turns ten times a second.", loop_label, NULL, 0,
          0}},
        {&families->control_silence,
         {METRICS_GAUGE, "penstock_control_silence_seconds",
          "Since the thread that looks after replicas has last turned; it turns at least once a "
          "second.",
          NULL, NULL, 0, 0}},
        {auth,
         {METRICS_COUNTER, "penstock_auth_failures_total",
          "Requests refused for want of a valid key.", NULL, NULL, 0, 0}},
        {reloads,
         {METRICS_COUNTER, "penstock_config_reloads_total", "Attempts to load the config again.",
          result_label, NULL, 0, 0}},
        {leader,
         {METRICS_GAUGE, "penstock_leader",
          "1 while this gateway does what only one of those that share a database may do.", NULL,
          NULL, 0, 0}},
        {away,
         {METRICS_GAUGE, "penstock_state_away",
          "1 while what is shared or kept there cannot be reached.", store_label, NULL, 0, 0}},
        {upgrades,
         {METRICS_COUNTER, "penstock_upgrades_total",
          "Attempts to hand over to a new process; the new one counts success, the old one "
          "failure.",
          result_label, NULL, 0, 0}},
        {build, {METRICS_GAUGE, "penstock_build_info", "Always 1.", version_label, NULL, 0, 0}},
    };

    return metrics_families_create(registry, rows, sizeof(rows) / sizeof(rows[0]));
}

static void model_series(struct edge_model_metrics *model, const struct families *families,
                         const char *name)
{
    const char *const values[] = {name};

    model->in_flight = metrics_series_get(families->in_flight, values);
    model->restarts = metrics_series_get(families->restarts, values);
    model->retries = metrics_series_get(families->retries, values);
    model->fallbacks = metrics_series_get(families->fallbacks, values);
    model->retries_refused = metrics_series_get(families->retries_refused, values);
    model->quarantined = metrics_series_get(families->quarantined, values);
    model->distrusted = metrics_series_get(families->distrusted, values);
    model->shadow_same = metrics_series_get(families->shadows, (const char *const[]){name, "same"});
    model->shadow_different =
        metrics_series_get(families->shadows, (const char *const[]){name, "different"});
    model->shadow_failed =
        metrics_series_get(families->shadows, (const char *const[]){name, "failed"});
    model->shadow_tokens = metrics_series_get(families->shadow_tokens, values);
    model->shadow_equal_tokens = metrics_series_get(families->shadow_equal, values);
    model->time_to_first_token = metrics_series_get(families->first_token, values);
    model->inter_token = metrics_series_get(families->inter_token, values);
    for (unsigned state = 0; state < REPLICA_STATE_COUNT; state++) {
        const char *const pair[] = {name, replica_state_name((enum replica_state)state)};

        model->replicas[state] = metrics_series_get(families->replicas, pair);
    }
}

status edge_metrics_init(struct edge_metrics *metrics, metrics_registry *registry,
                         const char *const *model_names, uint32_t model_count, const char *version)
{
    const char *const good[] = {"success"}, *const bad[] = {"failure"},
                      *const versions[] = {version}, *const database[] = {"database"},
                      *const redis[] = {"redis"};
    metrics_family *auth, *reloads, *upgrades, *build, *leader, *away;
    struct families families;
    status result = families_create(metrics, registry, &families, &auth, &reloads, &upgrades,
                                    &build, &leader, &away);

    if (result != STATUS_OK)
        return result;
    metrics_family_keep_exemplars(metrics->duration);
    metrics_family_keep_exemplars(families.first_token);
    metrics_family_keep_exemplars(families.inter_token);
    metrics->models = memory_allocate_array(model_count + 1, sizeof(metrics->models[0]));
    metrics->names = memory_allocate_array(model_count + 1, sizeof(metrics->names[0]));
    if (metrics->models == NULL || metrics->names == NULL) {
        edge_metrics_deinit(metrics);
        return STATUS_NO_MEMORY;
    }
    metrics->model_count = model_count;
    for (uint32_t i = 0; i < model_count; i++) {
        metrics->names[i] = model_names[i];
        model_series(&metrics->models[i], &families, model_names[i]);
    }
    metrics->names[model_count] = "";
    metrics->control_silence = metrics_series_get(families.control_silence, NULL);
    metrics->auth_failures = metrics_series_get(auth, NULL);
    metrics->reloads_good = metrics_series_get(reloads, good);
    metrics->reloads_bad = metrics_series_get(reloads, bad);
    metrics->leader = metrics_series_get(leader, NULL);
    metrics->database_away = metrics_series_get(away, database);
    metrics->upgrades_good = metrics_series_get(upgrades, good);
    metrics->upgrades_bad = metrics_series_get(upgrades, bad);
    metrics->redis_away = metrics_series_get(away, redis);
    metrics_set(metrics_series_get(build, versions), 1);
    return STATUS_OK;
}

void edge_metrics_deinit(struct edge_metrics *metrics)
{
    memory_release(metrics->models);
    memory_release(metrics->names);
    metrics->models = NULL;
    metrics->names = NULL;
}

/* The slot of a code, and its label. */
static uint32_t code_slot(int status_code, char label[8])
{
    for (uint32_t i = 0; i < ARRAY_COUNT(codes); i++) {
        if (codes[i] == status_code) {
            (void)snprintf(label, 8, "%u", codes[i]);
            return i;
        }
    }
    for (uint32_t i = 0; i < ARRAY_COUNT(code_classes); i++) {
        if (code_classes[i][0] == '0' + status_code / 100 || i + 1 == ARRAY_COUNT(code_classes)) {
            (void)snprintf(label, 8, "%s", code_classes[i]);
            return (uint32_t)ARRAY_COUNT(codes) + i;
        }
    }
    CHECK(false);
    return 0;
}

const char *edge_route_name(enum edge_route route)
{
    return route_names[route];
}

void edge_metrics_request(struct edge_metrics *metrics, uint32_t model, enum edge_route route,
                          int status_code, double seconds, const char *trace_id)
{
    struct edge_model_metrics *row = &metrics->models[model];
    metrics_series *requests, *duration;
    char label[8];
    uint32_t slot = code_slot(status_code, label);

    /* Two threads that both miss get the same series. */
    requests = atomic_load_explicit(&row->requests[route][slot], memory_order_acquire);
    if (requests == NULL) {
        const char *const values[] = {route_names[route], metrics->names[model], label};

        requests = metrics_series_get(metrics->requests, values);
        atomic_store_explicit(&row->requests[route][slot], requests, memory_order_release);
    }
    duration = atomic_load_explicit(&row->duration[route], memory_order_acquire);
    if (duration == NULL) {
        const char *const values[] = {route_names[route], metrics->names[model]};

        duration = metrics_series_get(metrics->duration, values);
        atomic_store_explicit(&row->duration[route], duration, memory_order_release);
    }
    metrics_add(requests, 1);
    metrics_observe_traced(duration, seconds, trace_id);
}

void edge_metrics_class(struct edge_metrics *metrics, int32_t band, enum edge_route route,
                        int status_code)
{
    char code[8], band_text[8];
    uint32_t slot = code_slot(status_code, code);
    _Atomic(metrics_series *) *kept =
        &metrics->class_requests[band + WAITING_ROOM_BAND_HALF][route][slot];
    metrics_series *series = atomic_load_explicit(kept, memory_order_acquire);

    if (series == NULL) {
        const char *const values[] = {route_names[route], band_text, code};

        (void)snprintf(band_text, sizeof(band_text), "%d", band);
        series = metrics_series_get(metrics->classes, values);
        atomic_store_explicit(kept, series, memory_order_release);
    }
    metrics_add(series, 1);
}
