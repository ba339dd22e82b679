/* The gateway role put together: the models' table, listeners, the control thread; then main waits
 * for signals.
 *
 * Order of life: everything is made before anything runs; loops run before the control thread,
 * which sends them messages; at the end the client side drains first, since its requests need the
 * replicas, then replicas, then the loops. */
#include "gateway.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "adapter_changes.h"
#include "admin.h"
#include "check.h"
#include "clock.h"
#include "control.h"
#include "edge.h"
#include "edge_admission.h"
#include "join.h"
#include "life.h"
#include "log.h"
#include "memory.h"
#include "model_activity.h"
#include "model_cost.h"
#include "proxy.h"
#include "quota.h"
#include "replica_metrics.h"
#include "reply.h"
#include "routes.h"
#include "run_directory.h"
#include "scrape.h"
#include "state_database.h"
#include "story_book.h"
#include "suspects.h"
#include "takeover.h"
#include "targets.h"
#include "thread.h"
#include "tracing.h"
#include "upstream.h"

#define LOOP_COUNT_AUTO_MAX 4u
#define REPLICA_END_NS      (3 * NS_PER_SECOND) /* for replicas to end, when nothing runs in them */
#define CUT_GRACE_NS        (1 * NS_PER_SECOND) /* for the last bytes to clients that are cut */
#define MODEL_COUNT_MAX     64u                 /* the settings table's limit */
#define PATH_BYTES_MAX      4096u               /* the kernel's limit */

/* --- making --- */

static uint32_t loop_count(const struct config *config)
{
    unsigned half = thread_core_count() / 2;

    if (config->server.loops > 0)
        return (uint32_t)config->server.loops;
    half = half < LOOP_COUNT_AUTO_MAX ? half : LOOP_COUNT_AUTO_MAX;
    return half > 0 ? half : 1;
}

/* A child of ours: its socket, and the page that it shares. */
static status local_init(struct edge *edge, struct edge_replica *replica, struct error_note *note)
{
    const struct edge_model *model = replica->model;
    struct takeover_replica *taken =
        takeover_replica_find(edge->takeover, model->index, replica->index);
    char path[EDGE_PAGE_PATH_BYTES];
    status result;

    if (taken != NULL) {
        (void)snprintf(replica->address, sizeof(replica->address), "%s", taken->address);
        edge_page_path(replica, path);
        replica->is_borrowed = true;
        result = shared_page_open(path, &replica->page);
        if (result != STATUS_OK)
            error_note_set(note, "%s cannot be opened: %s", path, status_name(result));
        return result;
    }
    if (run_directory_socket(edge->run_directory, model->name, model->index, replica->index,
                             edge->epoch, replica->address,
                             sizeof(replica->address)) != STATUS_OK) {
        error_note_set(note, "server.run_directory %s is too long for a socket's path",
                       edge->run_directory);
        return STATUS_TOO_LARGE;
    }
    edge_page_path(replica, path);
    result = shared_page_create(path, &replica->page);
    if (result != STATUS_OK)
        error_note_set(note, "%s cannot be made: %s", path, strerror(errno));
    return result;
}

static status upstream_init(struct edge *edge, struct edge_replica *replica,
                            const struct config_model *row, struct error_note *note)
{
    const char *url = ((const char *const *)row->upstream.urls.items)[replica->index];
    status result = edge_upstream_create(edge, replica, row, url, note);

    (void)snprintf(replica->address, sizeof(replica->address), "%s", url);
    if (result != STATUS_OK)
        error_note_prefix(note, "the upstream %s of model '%s'", url, row->name);
    return result;
}

static status model_init(struct edge *edge, struct edge_model *model,
                         const struct config_model *row, uint32_t index, struct error_note *note)
{
    bool is_elsewhere = row->upstream.urls.count > 0;
    uint32_t count = is_elsewhere ? row->upstream.urls.count : (uint32_t)config_model_slots(row);
    status result = STATUS_OK;

    model->index = index;
    model->name = row->name;
    model->scales_from_zero = row->autoscale.max > 0 && row->autoscale.min == 0;
    model_versions_init(&model->versions, edge->configs.first->config, row);
    retry_budget_init(&model->retries, (uint32_t)edge->configs.first->config->upstream.retry_burst);
    model->replicas = memory_allocate_array(count, sizeof(model->replicas[0]));
    if (model->replicas == NULL)
        return STATUS_NO_MEMORY;
    model->replica_count = count;
    for (uint32_t i = 0; i < count && result == STATUS_OK; i++) {
        struct edge_replica *replica = &model->replicas[i];

        replica->id = edge->replica_count++;
        replica->index = i;
        replica->model = model;
        atomic_init(&replica->version, 1);
        atomic_init(&replica->sequences_max, (uint32_t)row->max_num_seqs);
        replica_guard_init(&replica->guard);
        result = is_elsewhere ? upstream_init(edge, replica, row, note)
                              : local_init(edge, replica, note);
    }
    return result;
}

static status models_init(struct edge *edge, const struct config *config, struct error_note *note)
{
    status result = STATUS_OK;

    edge->models = memory_allocate_array(config->models.count, sizeof(edge->models[0]));
    if (edge->models == NULL)
        return STATUS_NO_MEMORY;
    edge->model_count = config->models.count;
    atomic_init(&edge->queue_ahead, (uint32_t)config->admission.queue_ahead);
    atomic_init(&edge->slot_reserve, config->admission.reserve);
    answer_source_init(&edge->answers);
    edge->suspects = suspects_create();
    if (edge->suspects == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < edge->model_count && result == STATUS_OK; i++) {
        result = model_init(edge, &edge->models[i], config_model_at(config, i), i, note);
        if (result == STATUS_OK)
            result = edge_admission_create(edge, &edge->models[i], config, loop_count(config));
    }
    return result;
}

static status metrics_init(struct edge *edge)
{
    const char *names[MODEL_COUNT_MAX];
    status result = metrics_registry_create(&edge->registry);

    CHECK(edge->model_count <= ARRAY_COUNT(names));
    for (uint32_t i = 0; i < edge->model_count; i++)
        names[i] = edge->models[i].name;
    if (result == STATUS_OK)
        result = edge_metrics_init(&edge->metrics, edge->registry, names, edge->model_count,
                                   edge->version);
    if (result == STATUS_OK)
        result = queue_metrics_init(&edge->queue_metrics, edge->registry, edge->metrics.names,
                                    edge->model_count);
    if (result == STATUS_OK)
        result = model_costs_init(edge);
    if (result == STATUS_OK)
        result = stream_metrics_init(&edge->stream_metrics, edge->registry, edge->metrics.names,
                                     edge->model_count);
    if (result == STATUS_OK)
        result = tenant_metrics_create(edge->registry, &edge->tenant_metrics);
    if (result == STATUS_OK)
        result = flow_metrics_init(&edge->flow_metrics, edge->registry, edge->metrics.names,
                                   edge->model_count);
    if (result == STATUS_OK)
        result = scaling_metrics_init(&edge->scaling_metrics, edge->registry, edge->metrics.names,
                                      edge->model_count);
    if (result == STATUS_OK)
        result = rollout_metrics_init(&edge->rollout_metrics, edge->registry, edge->metrics.names,
                                      edge->model_count);
    if (result == STATUS_OK)
        result = replica_metrics_create(edge, &edge->replica_metrics);
    if (result == STATUS_OK)
        metrics_on_scrape(edge->registry, admin_collect, edge);
    if (result == STATUS_OK)
        result = scraper_create(edge->registry, &edge->scraper);
    return result;
}

/* Its file: as set, else with what else is kept on this machine, else none. */
static status history_init(struct edge *edge, const struct config *config, struct error_note *note)
{
    const char *names[MODEL_COUNT_MAX];
    char beside[PATH_BYTES_MAX];
    struct history_options options = {.path = config->observability.history.file,
                                      .settings = config->observability.history,
                                      .anomalies = config->observability.anomalies,
                                      .models = names,
                                      .model_count = edge->model_count,
                                      .registry = edge->registry};

    for (uint32_t i = 0; i < edge->model_count; i++)
        names[i] = edge->models[i].name;
    if (options.path[0] == '\0' &&
        state_spool_path(&config->state, "history.sqlite", beside, sizeof(beside)))
        options.path = beside;
    edge->activities = memory_allocate_array(edge->model_count, sizeof(edge->activities[0]));
    if (edge->activities == NULL)
        return STATUS_NO_MEMORY;
    return history_open(&options, &edge->history, note);
}

/* Sockets of the gateway before this one, where it listens on the same address. */
static void sockets_take(const struct edge *edge, struct http_listener_options *options)
{
    const struct takeover_listener *taken =
        takeover_listener_find(edge->takeover, options->address);

    if (taken == NULL)
        return;
    options->descriptors = taken->descriptors;
    options->descriptor_count = taken->count;
}

static status server_init(struct edge *edge, const struct config *config, struct error_note *note)
{
    bool has_tls = config->server.tls_certificate[0] != '\0';
    struct http_listener_options listeners[] = {
        {.address = config->server.listen,
         .certificate = has_tls ? config->server.tls_certificate : NULL,
         .key = has_tls ? config->server.tls_key : NULL,
         .client_authorities =
             config->server.tls_client_ca[0] != '\0' ? config->server.tls_client_ca : NULL,
         .is_client_certificate_required = config->server.tls_client_required,
         .handler = routes_handle_public,
         .context = edge,
         .headers = api_answer_headers,
         .header_count = api_answer_header_count,
         .time_header = API_TIME_HEADER},
        {.address = config->server.admin_listen, .handler = routes_handle_admin, .context = edge},
    };
    const struct http_server_options options = {
        .loop_count = loop_count(config),
        .limits = config_http_limits(config),
        .listeners = listeners,
        .listener_count = config->server.admin_listen[0] != '\0' ? 2 : 1,
        .metrics = edge->registry,
        .server_name = "penstock",
        .is_held = edge->takeover != NULL,
    };

    for (uint32_t i = 0; i < options.listener_count; i++)
        sockets_take(edge, &listeners[i]);
    return http_server_create(&options, &edge->server, note);
}

static status edge_init(struct edge *edge, struct config *config, bool has_model_path,
                        struct error_note *note)
{
    status result = config_store_init(&edge->configs, config);

    if (result != STATUS_OK) {
        config_destroy(config);
        return result;
    }
    if (edge->takeover == NULL)
        result =
            run_directory_open(config->server.run_directory, edge->run_directory,
                               sizeof(edge->run_directory), &edge->run_directory_is_ours, note);
    if (result == STATUS_OK)
        result = run_directory_write_config(edge->run_directory, config->text);
    if (result == STATUS_OK)
        result = identity_open(config, edge->takeover != NULL, &edge->identity, note);
    if (result == STATUS_OK)
        result = quota_book_create(&config->state, &edge->quotas, note);
    if (result == STATUS_OK)
        result = models_init(edge, config, note);
    if (result == STATUS_OK)
        result = metrics_init(edge);
    if (result == STATUS_OK)
        result = history_init(edge, config, note);
    if (result == STATUS_OK)
        result = records_open(config, loop_count(config), edge->registry,
                              identity_leader(edge->identity), &edge->records, note);
    if (result == STATUS_OK)
        result = tracing_open(edge, config, loop_count(config), note);
    if (result == STATUS_OK)
        result = server_init(edge, config, note);
    if (result == STATUS_OK)
        result = join_open(edge, config, has_model_path, &edge->join, note);
    return result;
}

static void replica_deinit(struct edge_replica *replica)
{
    char path[EDGE_PAGE_PATH_BYTES];

    edge_upstream_destroy(replica->upstream);
    if (replica->upstream != NULL || replica->address[0] == '\0')
        return;
    edge_page_path(replica, path);
    if (replica->is_borrowed) {
        shared_page_close(replica->page);
        return;
    }
    shared_page_destroy(replica->page, path);
    (void)unlink(replica->address + strlen("unix:"));
}

static void edge_deinit(struct edge *edge)
{
    scraper_destroy(edge->scraper);
    http_server_destroy(edge->server);
    join_close(edge->join);
    tracing_close(edge);
    records_close(edge->records);
    quota_book_destroy(edge->quotas);
    identity_close(edge->identity);
    scaling_metrics_deinit(&edge->scaling_metrics);
    rollout_metrics_deinit(&edge->rollout_metrics);
    stream_metrics_deinit(&edge->stream_metrics);
    flow_metrics_deinit(&edge->flow_metrics);
    tenant_metrics_destroy(edge->tenant_metrics);
    replica_metrics_destroy(edge->replica_metrics);
    queue_metrics_deinit(&edge->queue_metrics);
    edge_metrics_deinit(&edge->metrics);
    model_costs_deinit(edge);
    history_close(edge->history);
    memory_release(edge->activities);
    metrics_registry_destroy(edge->registry);
    for (uint32_t i = 0; i < edge->model_count; i++) {
        for (uint32_t j = 0; edge->models[i].replicas != NULL && j < edge->models[i].replica_count;
             j++) {
            replica_guard_deinit(&edge->models[i].replicas[j].guard);
            replica_deinit(&edge->models[i].replicas[j]);
        }
        memory_release(edge->models[i].replicas);
        model_versions_deinit(&edge->models[i].versions);
        admission_destroy(edge->models[i].admission);
    }
    memory_release(edge->models);
    suspects_destroy(edge->suspects);
    if (edge->run_directory[0] != '\0' && edge->has_place)
        run_directory_close(edge->run_directory, edge->run_directory_is_ours);
    takeover_close(edge->takeover);
    config_store_deinit(&edge->configs);
}

/* --- loops --- */

static void loop_wake(struct http_message *message, http_loop *loop)
{
    struct edge_loop *state = CONTAINER_OF(message, struct edge_loop, wake);
    bool has_changed;

    (void)loop;
    /* Before the look: a change after it sends the message again. acq_rel with the control thread's
     * exchange. */
    (void)atomic_exchange_explicit(&state->wake_is_sent, false, memory_order_acq_rel);
    has_changed =
        atomic_exchange_explicit(&state->replicas_have_changed, false, memory_order_acquire);
    if (has_changed)
        targets_prune(state);
    proxy_wake(state, has_changed);
}

/* Running exchanges end as though their replica had died: with an error that the client can read.
 */
static void loop_close(struct http_message *message, http_loop *loop)
{
    struct edge_loop *state = CONTAINER_OF(message, struct edge_loop, close);

    (void)loop;
    state->is_closed = true;
    targets_close(state);
    proxy_wake(state, true);
}

static void loops_close(struct edge *edge)
{
    uint64_t end_ns = clock_now_ns() + CUT_GRACE_NS;

    for (uint32_t i = 0; i < http_server_loop_count(edge->server); i++) {
        struct edge_loop *state = http_loop_get(http_server_loop(edge->server, i), EDGE_LOOP_SLOT);

        http_loop_send(state->loop, &state->close);
    }
    while (http_server_request_count(edge->server) > 0 && clock_now_ns() < end_ns)
        (void)usleep(1000);
}

/* Of a loop: together they keep what is asked for. */
static uint32_t stories_kept(const struct edge *edge)
{
    uint32_t loops = http_server_loop_count(edge->server);
    uint32_t kept = (uint32_t)edge->configs.first->config->observability.requests.kept;

    return (kept + loops - 1) / loops;
}

/* Memory that ran out here ends the process: without a loop's state nothing can be served. */
static void loop_start(void *context, http_loop *loop)
{
    struct edge *edge = context;
    struct edge_loop *state = memory_allocate_array(1, sizeof(*state));

    CHECK(state != NULL);
    state->edge = edge;
    state->loop = loop;
    state->waiting_tail = &state->waiting;
    state->wake.run = loop_wake;
    state->close.run = loop_close;
    CHECK(story_book_create(http_loop_index(loop), stories_kept(edge), &state->stories) ==
          STATUS_OK);
    targets_create(state);
    http_loop_set(loop, EDGE_LOOP_SLOT, state);
}

/* The loops end; then nobody can reach their state. */
static void loops_free(struct edge *edge)
{
    uint32_t count = http_server_loop_count(edge->server);

    http_server_stop(edge->server);
    for (uint32_t i = 0; i < count; i++) {
        struct edge_loop *state = http_loop_get(http_server_loop(edge->server, i), EDGE_LOOP_SLOT);

        targets_free(state);
        story_book_destroy(state->stories);
        memory_release(state);
    }
    control_destroy(edge->control);
}

/* --- servers elsewhere --- */

static status upstreams_start(const struct edge *edge)
{
    status result = STATUS_OK;

    for (uint32_t id = 0; id < edge->replica_count && result == STATUS_OK; id++) {
        struct edge_upstream *upstream = edge_replica_at(edge, id)->upstream;

        if (upstream != NULL)
            result = edge_upstream_start(upstream);
    }
    return result;
}

/* All are asked before the first is waited for. */
static void upstreams_stop(const struct edge *edge)
{
    for (uint32_t id = 0; id < 2 * edge->replica_count; id++) {
        struct edge_upstream *upstream = edge_replica_at(edge, id % edge->replica_count)->upstream;

        if (upstream != NULL && id < edge->replica_count)
            edge_upstream_end(upstream);
        else if (upstream != NULL)
            edge_upstream_join(upstream);
    }
}

/* --- the whole --- */

static void listeners_log(const struct edge *edge, const struct config *config)
{
    log_info("gateway/edge", "API on %s (port %u)", config->server.listen,
             http_server_port(edge->server, 0));
    if (config->server.admin_listen[0] != '\0')
        log_info("gateway/edge", "metrics and admin on %s (port %u)", config->server.admin_listen,
                 http_server_port(edge->server, 1));
}

static status life_audit(struct edge *edge, const struct gateway_options *options,
                         const char *action, struct error_note *note)
{
    char detail[64];
    const struct audit_event event = {"gateway", action, options->config_file, detail};

    (void)snprintf(detail, sizeof(detail), "version %s, process %d", edge->version, (int)getpid());
    return records_audit(edge->records, &event, note);
}

/* What the gateway before has started, by the numbers that the replicas have here; descriptors go over to the control thread. */
static status processes_take(const struct edge *edge, struct control_process **out)
{
    struct control_process *processes =
        memory_allocate_array(edge->replica_count, sizeof(processes[0]));

    if (processes == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t id = 0; id < edge->replica_count; id++) {
        const struct edge_replica *replica = edge_replica_at(edge, id);
        struct takeover_replica *taken =
            takeover_replica_find(edge->takeover, replica->model->index, replica->index);

        processes[id] = (struct control_process){.pid_fd = -1, .lifeline_fd = -1};
        if (taken == NULL)
            continue;
        processes[id] = taken->process;
        taken->process.pid_fd = taken->process.lifeline_fd = -1;
    }
    *out = processes;
    return STATUS_OK;
}

/* One on another machine; on its listener's thread. */
static void replica_has_told(void *context, uint32_t id, uint64_t uid, enum replica_event event)
{
    if (event == REPLICA_ANSWERED)
        control_answered(context, id, uid);
}

static status replicas_start(struct edge *edge, const struct gateway_options *options,
                             struct error_note *note)
{
    char config_copy[160];
    struct control_options control_options = {options->config_file, config_copy,
                                              options->overrides.model_path != NULL, NULL};
    struct control_process *processes = NULL;
    status result = STATUS_OK;

    run_directory_config_path(edge->run_directory, config_copy, sizeof(config_copy));
    if (edge->takeover != NULL)
        result = processes_take(edge, &processes);
    control_options.processes = processes;
    if (result == STATUS_OK)
        result = control_start(edge, &control_options, &edge->control, note);
    memory_release(processes);
    if (result == STATUS_OK)
        atomic_store_explicit(&edge->has_control, true, memory_order_release);
    if (result == STATUS_OK && edge->join != NULL)
        result = join_start(edge->join, &(struct join_sink){replica_has_told, edge->control});
    if (result == STATUS_OK)
        result = upstreams_start(edge);
    return result;
}

static status edge_run(struct edge *edge, const struct gateway_options *options,
                       const sigset_t *signals, pid_t *successor, struct error_note *note)
{
    struct error_note audit_note = {""};
    status result = life_audit(edge, options, "gateway.start", note);

    if (result != STATUS_OK)
        return result;
    result = http_server_start(edge->server, loop_start, edge);
    if (result != STATUS_OK) {
        error_note_set(note, "the loops cannot be started (%s)", status_name(result));
        return result;
    }
    result = identity_start(edge->identity, edge->server);
    if (result == STATUS_OK)
        result = quota_book_start(edge->quotas);
    if (result == STATUS_OK)
        result = records_start(edge->records);
    if (result == STATUS_OK)
        result = history_start(edge->history);
    if (result == STATUS_OK)
        result = tracing_start(edge);
    if (result == STATUS_OK)
        result = replicas_start(edge, options, note);
    if (result == STATUS_OK) {
        listeners_log(edge, edge->configs.first->config);
        result = life_run(edge, options, signals, successor, note);
    } else {
        error_note_prefix(note, "the gateway cannot be started (%s)", status_name(result));
    }
    loops_close(edge);
    tracing_stop(edge);
    identity_stop(edge->identity);
    upstreams_stop(edge);
    control_stop(edge->control, REPLICA_END_NS);
    history_stop(edge->history);
    scraper_stop(edge->scraper);
    if (edge->join != NULL)
        join_stop(edge->join);
    loops_free(edge);
    quota_book_stop(edge->quotas);
    records_stop(edge->records);
    if (life_audit(edge, options, "gateway.stop", &audit_note) != STATUS_OK)
        log_error("gateway/edge", "the end is not in the audit log: %s", audit_note.text);
    return result;
}

/* What of the gateway before is of use here. */
static status takeover_begin(struct edge *edge, const struct config *config,
                             const struct gateway_options *options, struct error_note *note)
{
    int socket = takeover_socket();
    status result;

    edge->has_place = socket < 0;
    if (socket < 0)
        return STATUS_OK;
    result = takeover_open(socket, edge, config, &edge->takeover, note);
    if (result != STATUS_OK)
        return result;
    takeover_compare(edge->takeover, config, options);
    edge->epoch = edge->takeover->epoch;
    edge->keeper = edge->takeover->keeper;
    edge->run_directory_is_ours = edge->takeover->run_directory_is_ours;
    (void)snprintf(edge->run_directory, sizeof(edge->run_directory), "%s",
                   edge->takeover->run_directory);
    return STATUS_OK;
}

status gateway_run(struct config *config, const struct gateway_options *options, pid_t *successor,
                   struct error_note *note)
{
    struct edge *edge = memory_allocate_array(1, sizeof(*edge));
    sigset_t signals;
    status result;

    *successor = 0;
    if (edge == NULL) {
        config_destroy(config);
        return STATUS_NO_MEMORY;
    }
    life_signals_block(&signals);
    runtime_adapters_init(&edge->adapters);
    adapter_changes_open(edge);
    edge->version = options->version;
    edge->start_wall_ms = clock_wall_ms();
    result = takeover_begin(edge, config, options, note);
    if (result == STATUS_OK)
        result = edge_init(edge, config, options->overrides.model_path != NULL, note);
    else
        config_destroy(config);
    if (result == STATUS_OK)
        result = edge_run(edge, options, &signals, successor, note);
    if (result != STATUS_OK && note->text[0] == '\0')
        error_note_set(note, "the gateway cannot start: %s", status_name(result));
    if (edge->configs.first != NULL)
        edge_deinit(edge);
    runtime_adapters_deinit(&edge->adapters);
    memory_release(edge);
    return result;
}
