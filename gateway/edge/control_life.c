/* The control thread's beginning and end, and what other threads call. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "control_internal.h"
#include "hash.h"
#include "memory.h"
#include "thread.h"

#define MIN_RUN_NS       (60 * NS_PER_SECOND) /* before a quota takes a replica back */
#define CORE_MILLI_LEAST 100u                 /* the step of a machine's slices */

static void control_wake(struct control *control)
{
    const uint64_t one = 1;

    while (write(control->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        continue;
}

static void fleet_wake(void *context)
{
    control_wake(context);
}

/* --- beginning --- */

/* A gateway whose place is taken goes on, while its replicas drain. */
static uint64_t strangers_until_ns(const struct control *control)
{
    const struct config_server *server = &control->edge->configs.first->config->server;

    if (control->edge->takeover == NULL)
        return 0;
    return clock_now_ns() + server->upgrade_timeout_ns + server->drain_timeout_ns +
           server->drain_delay_ns;
}

static status fleet_make(struct control *control, const struct config *config,
                         struct error_note *note)
{
    struct replica_fleet_options options = {.limits = POOL_LIMITS_DEFAULT,
                                            .events = control_slot_events,
                                            .drain_ns = config->pool.drain_time_ns,
                                            .min_run_ns = MIN_RUN_NS,
                                            .may_preempt = config->pool.preempt,
                                            .strangers_until_ns = strangers_until_ns(control),
                                            .wake = fleet_wake,
                                            .wake_context = control};
    status result = model_slices_quotas(&config->pool, &options.quota, note);

    options.events.context = control;
    if (result == STATUS_OK)
        result = replica_fleet_create(&options, &control->fleet);
    if (result == STATUS_OK)
        result = pool_members_create(&control->members, config, control->fleet,
                                     control->edge->registry, note);
    if (result == STATUS_OK)
        result = pool_metrics_init(&control->pool_metrics, control->edge->registry);
    return result;
}

/* This machine's cores, divided among so many. */
static uint32_t core_milli(uint32_t replicas)
{
    uint32_t milli = thread_core_count() * 1000u / (replicas > 0 ? replicas : 1);

    milli -= milli % CORE_MILLI_LEAST;
    return milli > CORE_MILLI_LEAST ? milli : CORE_MILLI_LEAST;
}

static uint32_t inherited_count(const struct control *control, const struct edge_model *model)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < model->replica_count; i++)
        count += control->slots[model->replicas[i].id].inherited.pid_fd >= 0;
    return count;
}

static status models_make(struct control *control, const struct config *config)
{
    struct edge *edge = control->edge;
    uint32_t replicas = config_replica_count(config), slots = 0;
    status result = STATUS_OK;

    for (uint32_t i = 0; i < config->models.count; i++)
        slots += (uint32_t)config_model_slots(config_model_at(config, i));
    control->slices = memory_allocate_array(edge->model_count, sizeof(control->slices[0]));
    control->scalings = memory_allocate_array(edge->model_count, sizeof(control->scalings[0]));
    control->rollouts = memory_allocate_array(edge->model_count, sizeof(control->rollouts[0]));
    if (control->slices == NULL || control->scalings == NULL || control->rollouts == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < edge->model_count && result == STATUS_OK; i++) {
        struct edge_model *model = &edge->models[i];
        const struct config_model *row = config_model_at(config, i);

        if (config_model_slots(row) == 0)
            continue;
        model_rollout_init(&control->rollouts[i], edge, model, model->replicas[0].id,
                           clock_now_ns());
        result = model_slices_init(&control->slices[i], config, i, core_milli(replicas),
                                   core_milli(slots), replica_fleet_pool(control->fleet));
        if (result == STATUS_OK)
            result = model_scaling_init(&control->scalings[i], model, row, model->replicas[0].id,
                                        inherited_count(control, model), clock_now_ns());
    }
    return result;
}

static status slots_make(struct control *control, const struct control_process *processes)
{
    uint32_t count = control->edge->replica_count;

    control->slots = memory_allocate_array(count, sizeof(control->slots[0]));
    if (control->slots == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t id = 0; id < count; id++) {
        struct control_slot *slot = &control->slots[id];

        slot->inherited = processes != NULL
                              ? processes[id]
                              : (struct control_process){.pid_fd = -1, .lifeline_fd = -1};
        slot->replica = edge_replica_at(control->edge, id);
        slot->leave_by_ns = UINT64_MAX;
        replica_probe_init(&slot->probe);
    }
    return STATUS_OK;
}

static status control_build(struct control *control, const struct config *config,
                            const struct control_process *processes, struct error_note *note)
{
    const struct replica_policy policy = {
        .backoff_first_ns = config->supervise.backoff_first_ns,
        .backoff_max_ns = config->supervise.backoff_max_ns,
        .start_timeout_ns = config->supervise.start_timeout_ns,
        .heartbeat_timeout_ns = config->supervise.heartbeat_timeout_ns,
        .drain_timeout_ns = config->server.drain_timeout_ns + CONTROL_KILL_GRACE_NS,
    };
    struct replica_driver driver = control_slot_driver;
    uint64_t seed;
    status result = slots_make(control, processes);

    driver.context = control;
    random_bytes(&seed, sizeof(seed));
    control->stall_timeout_ns = config->supervise.stall_timeout_ns;
    control->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    control->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (control->epoll_fd < 0 || control->wake_fd < 0 ||
        !control_watch_add(control, control->wake_fd, CONTROL_WATCH_WAKE)) {
        error_note_set(note, "no descriptor is free: %s", strerror(errno));
        return STATUS_IO;
    }
    if (result == STATUS_OK)
        result = replica_order_memory_init(&control->order_memory);
    if (result == STATUS_OK)
        result = replica_manager_create(control->edge->replica_count, &policy, &driver, seed,
                                        clock_now_ns(), &control->manager);
    if (result == STATUS_OK)
        result = fleet_make(control, config, note);
    if (result == STATUS_OK)
        result = models_make(control, config);
    if (result == STATUS_OK)
        result = history_sample_init(&control->history_sample, control, clock_now_ns());
    return result;
}

status control_start(struct edge *edge, const struct control_options *options, struct control **out,
                     struct error_note *note)
{
    const struct config *config = edge->configs.first->config;
    struct control *control = memory_allocate_array(1, sizeof(*control));
    status result;

    if (control == NULL)
        return STATUS_NO_MEMORY;
    control->edge = edge;
    control->texts = (struct replica_order_texts){options->config_file, options->config_copy,
                                                  options->has_model_path};
    control->epoll_fd = control->wake_fd = -1;
    control->end_by_ns = UINT64_MAX;
    if (sem_init(&control->wanted_done, 0, 0) != 0) {
        memory_release(control);
        return STATUS_IO;
    }
    control_questions_init(&control->questions);
    atomic_init(&control->is_owner, options->processes == NULL);
    atomic_init(&control->drain_timeout_ns, config->server.drain_timeout_ns);
    atomic_init(&control->last_turn_ns, clock_now_ns());
    result = control_build(control, config, options->processes, note);
    if (result == STATUS_OK) {
        *out = control; /* before the thread runs: it is reached through the edge */
        result = thread_start(&control->thread, "control", control_run, control);
    }
    if (result != STATUS_OK) {
        *out = NULL;
        control_destroy(control);
    }
    return result;
}

/* --- end --- */

void control_stop(struct control *control, uint64_t drain_timeout_ns)
{
    if (control == NULL)
        return;
    atomic_store_explicit(&control->drain_timeout_ns, drain_timeout_ns, memory_order_release);
    atomic_store_explicit(&control->is_stopping, true, memory_order_release);
    control_wake(control);
    (void)pthread_join(control->thread, NULL);
}

void control_destroy(struct control *control)
{
    if (control == NULL)
        return;
    replica_fleet_destroy(control->fleet);
    pool_members_deinit(&control->members);
    for (uint32_t i = 0; i < control->edge->model_count; i++) {
        if (control->scalings != NULL)
            model_scaling_deinit(&control->scalings[i]);
        if (control->slices != NULL)
            model_slices_deinit(&control->slices[i]);
    }
    replica_manager_destroy(control->manager);
    replica_order_memory_deinit(&control->order_memory);
    (void)sem_destroy(&control->wanted_done);
    control_questions_deinit(&control->questions);
    if (control->epoll_fd >= 0)
        close(control->epoll_fd);
    if (control->wake_fd >= 0)
        close(control->wake_fd);
    history_sample_deinit(&control->history_sample);
    memory_release(control->scalings);
    memory_release(control->rollouts);
    memory_release(control->slices);
    memory_release(control->slots);
    memory_release(control);
}

/* --- other threads' calls --- */

void control_set_drain_timeout(struct control *control, uint64_t drain_timeout_ns)
{
    atomic_store_explicit(&control->drain_timeout_ns, drain_timeout_ns, memory_order_release);
    control_wake(control);
}

void control_look(struct control *control)
{
    control_wake(control);
}

void control_reload_replicas(struct control *control)
{
    atomic_store_explicit(&control->has_reload, true, memory_order_release);
    control_wake(control);
}

void control_processes(struct control *control, struct control_process *out)
{
    atomic_store_explicit(&control->wanted, out, memory_order_release);
    control_wake(control);
    while (sem_wait(&control->wanted_done) != 0 && errno == EINTR)
        continue;
}

void control_release(struct control *control, uint32_t id, int32_t pid)
{
    atomic_store_explicit(&control->slots[id].release_pid, pid, memory_order_release);
    control_wake(control);
}

void control_own(struct control *control)
{
    atomic_store_explicit(&control->is_owner, true, memory_order_release);
}

void control_ask(struct control *control, struct edge_model *model)
{
    if (!atomic_exchange_explicit(&model->is_asked_for, true, memory_order_acq_rel))
        if (control != NULL) /* else it looks when it begins */
            control_wake(control);
}

void control_answered(struct control *control, uint32_t id, uint64_t uid)
{
    struct replica_guard *guard = &control->slots[id].replica->guard;

    if (atomic_exchange_explicit(&guard->is_doubted, false, memory_order_relaxed))
        control_wake_loops(control->edge);
    atomic_store_explicit(&control->slots[id].answered_uid, uid, memory_order_release);
    control_wake(control);
}

uint64_t control_silence_ns(const struct control *control, uint64_t now_ns)
{
    uint64_t last_ns = atomic_load_explicit(&control->last_turn_ns, memory_order_relaxed);

    return now_ns > last_ns ? now_ns - last_ns : 0;
}

bool control_is_alive(const struct control *control, uint64_t now_ns, uint64_t limit_ns)
{
    return control == NULL || control_silence_ns(control, now_ns) < limit_ns;
}
