/* Control thread
 *
 * One epoll set holds a pidfd a child, a socket for each probe under way, and an eventfd by which
 * main asks for something. Whatever happens becomes an event of the replica manager; what the
 * manager wants done comes back through the driver functions below. The thread sleeps until the
 * earliest of: the manager's deadline, the next probe, a probe's end.
 *
 * Replicas outlive a gateway that hands over to the next (upgrade.c): the next one adopts their processes, and starts
 * them again when they end; the old one, while it drains, only looks whether they answer. */
#include "control.h"

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "edge_admission.h"
#include "hash.h"
#include "local_process.h"
#include "log.h"
#include "memory.h"
#include "replica_manager.h"
#include "replica_probe.h"
#include "thread.h"

#define PROBE_STARTING_NS (20 * NS_PER_MS) /* readiness is noticed within one of these */
#define PROBE_READY_NS                                                                             \
    (500 * NS_PER_MS) /* two probes in the shortest sensible heartbeat_timeout of a second */
#define TURN_NS_MAX     NS_PER_SECOND /* so that liveness has something to read */
#define KILL_GRACE_NS   (2 * NS_PER_SECOND)
#define EVENT_COUNT_MAX 64

struct control_child {
    struct local_process process;
    struct replica_probe probe;
    uint64_t probe_next_ns;
    struct edge_replica *replica;
    struct control_process inherited; /* until it is adopted; pid_fd -1: none */
    bool is_adopted;                  /* its address was the gateway's before this one */
    bool is_released;                 /* the next gateway's */
    _Atomic int32_t release_pid;      /* set by main, then the eventfd; 0: nothing is asked */
};

struct control {
    struct edge *edge;
    struct control_options options;
    replica_manager *manager; /* control thread */
    uint64_t stall_timeout_ns;
    struct control_child *children; /* [edge->replica_count], control thread */
    int epoll_fd, wake_fd;
    pthread_t thread;
    _Atomic bool is_stopping;                 /* set by main, then the eventfd */
    _Atomic bool has_reload;                  /* set by main, then the eventfd */
    _Atomic(struct control_process *) wanted; /* where main waits for processes; then the eventfd */
    sem_t wanted_done;
    _Atomic bool is_owner;             /* of the addresses of adopted replicas */
    _Atomic uint64_t drain_timeout_ns; /* set by main, then the eventfd */
    _Atomic uint64_t last_turn_ns;     /* relaxed: only its age matters */
};

/* What epoll hands back: the child's number, and which of its descriptors. */
enum watch { WATCH_WAKE, WATCH_PROCESS, WATCH_PROBE };

static bool watch_add(const struct control *control, int fd, enum watch watch, uint32_t id)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)watch << 32 | id};

    return epoll_ctl(control->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

/* --- loops are told --- */

void control_wake_loops(struct edge *edge)
{
    for (uint32_t i = 0; i < http_server_loop_count(edge->server); i++) {
        struct edge_loop *state = http_loop_get(http_server_loop(edge->server, i), EDGE_LOOP_SLOT);

        atomic_store_explicit(&state->replicas_have_changed, true, memory_order_release);
        edge_loop_wake(edge, i);
    }
}

static void driver_changed(void *context, uint32_t id, const struct replica *replica,
                           enum replica_state before)
{
    struct control *control = context;
    struct edge_replica *shared = control->children[id].replica;
    uint64_t restarts = atomic_load_explicit(&shared->restart_count, memory_order_relaxed);
    enum log_level level = replica->state == REPLICA_FAILED ? LOG_ERROR : LOG_INFO;

    if (replica->restart_count > restarts)
        metrics_add(control->edge->metrics.models[shared->model->index].restarts,
                    (double)(replica->restart_count - restarts));
    atomic_store_explicit(&shared->restart_count, replica->restart_count, memory_order_relaxed);
    atomic_store_explicit(&shared->state_since_ns, replica->state_since_ns, memory_order_relaxed);
    atomic_store_explicit(&shared->expected_ns, replica_expected_ns(replica, clock_now_ns()),
                          memory_order_relaxed);
    atomic_store_explicit(&shared->generation, replica->generation, memory_order_relaxed);
    atomic_store_explicit(&shared->state, replica->state, memory_order_release);
    log_write(level, "gateway/edge", "replica %s#%u: %s -> %s", shared->model->name, shared->index,
              replica_state_name(before), replica_state_name(replica->state));
    control->children[id].probe_next_ns = 0;
    if (replica->state == REPLICA_READY)
        replica_guard_reset(&shared->guard);
    edge_slots_update(control->edge, shared->model);
    control_wake_loops(control->edge);
}

/* --- the driver: child processes --- */

/* Neither the next gateway's, nor still that of the one before. */
static bool is_ours(const struct control *control, const struct control_child *child)
{
    return !child->is_released &&
           (!child->is_adopted || atomic_load_explicit(&control->is_owner, memory_order_acquire));
}

/* One that runs already, from the gateway before. */
static void child_adopt(struct control_child *child)
{
    local_process_adopt(&child->process, child->inherited.pid, child->inherited.pid_fd,
                        child->inherited.lifeline_fd);
    child->inherited.pid_fd = -1;
    child->is_adopted = true;
}

static status child_start(struct control *control, uint32_t id)
{
    struct control_child *child = &control->children[id];
    const struct edge_replica *replica = child->replica;
    const struct config_model *model =
        config_model_at(control->edge->configs.first->config, replica->model->index);
    char index[16], *arguments[18];
    struct buffer adapters;
    size_t count = 0;
    status result;

    (void)snprintf(index, sizeof(index), "%u", replica->index);
    (void)unlink(replica->address + strlen("unix:"));
    /* execv takes char *const[] for history's sake; nothing writes to them. */
#define ARGUMENT(text) arguments[count++] = (char *)(uintptr_t)(text)
    ARGUMENT("penstock");
    ARGUMENT("replica");
    ARGUMENT(control->options.config_file);
    ARGUMENT("--config-copy");
    ARGUMENT(control->options.config_copy);
    ARGUMENT("--model");
    ARGUMENT(model->name);
    ARGUMENT("--index");
    ARGUMENT(index);
    ARGUMENT("--listen");
    ARGUMENT(replica->address);
    buffer_init(&adapters, RUNTIME_ADAPTERS_BYTES_MAX + 1);
    runtime_adapters_write(&control->edge->adapters, model->name, &adapters);
    buffer_append_byte(&adapters, '\0');
    if (adapters.bytes > 1) {
        ARGUMENT("--adapters");
        ARGUMENT(adapters.data);
    }
    if (control->options.has_model_path) {
        ARGUMENT("--model-path");
        ARGUMENT(model->path);
    }
    ARGUMENT(NULL);
#undef ARGUMENT
    result = adapters.failed;
    if (result == STATUS_OK)
        result = local_process_start(&child->process, arguments);
    buffer_deinit(&adapters);
    return result;
}

static status driver_start(void *context, uint32_t id, uint32_t generation)
{
    struct control *control = context;
    struct control_child *child = &control->children[id];
    const struct edge_replica *replica = child->replica;
    char text[64];
    status result = STATUS_OK;

    (void)generation;
    if (child->is_released) /* the next gateway does it; a probe will tell */
        return STATUS_OK;
    if (child->inherited.pid_fd >= 0)
        child_adopt(child);
    else if (!is_ours(control, child))
        return STATUS_AGAIN; /* the gateway before still does it */
    else
        result = child_start(control, id);
    if (result == STATUS_OK && !watch_add(control, child->process.pid_fd, WATCH_PROCESS, id)) {
        local_process_signal(&child->process, SIGKILL);
        local_process_collect(&child->process, text, sizeof(text));
        result = STATUS_IO;
    }
    if (result != STATUS_OK) {
        log_error("gateway/edge", "replica %s#%u cannot be started: %s", replica->model->name,
                  replica->index, strerror(errno));
        return result;
    }
    atomic_store_explicit(&child->replica->pid, child->process.pid, memory_order_relaxed);
    log_info("gateway/edge", "replica %s#%u: pid %d%s", replica->model->name, replica->index,
             child->process.pid, child->process.is_adopted ? ", taken over" : "");
    return STATUS_OK;
}

static void driver_drain(void *context, uint32_t id)
{
    const struct control *control = context;
    const struct control_child *child = &control->children[id];

    if (is_ours(control, child))
        local_process_signal(&child->process, SIGTERM);
}

static void driver_kill(void *context, uint32_t id)
{
    const struct control *control = context;
    const struct control_child *child = &control->children[id];

    if (!is_ours(control, child))
        return;
    log_warn("gateway/edge", "replica %s#%u took too long: it is killed",
             child->replica->model->name, child->replica->index);
    local_process_signal(&child->process, SIGKILL);
}

/* --- what happens --- */

static void child_ended(struct control *control, uint32_t id, uint64_t now_ns)
{
    struct control_child *child = &control->children[id];
    bool is_asked = replica_manager_get(control->manager, id)->state == REPLICA_DRAINING;
    char text[64];

    if (child->process.pid == 0)
        return;
    local_process_collect(&child->process, text, sizeof(text));
    replica_probe_stop(&child->probe);
    atomic_store_explicit(&child->replica->pid, 0, memory_order_relaxed);
    log_write(is_asked ? LOG_INFO : LOG_WARN, "gateway/edge", "replica %s#%u %s",
              child->replica->model->name, child->replica->index, text);
    replica_manager_event(control->manager, id, REPLICA_ENDED, now_ns);
}

/* Replicas of one model say the same but for the memory that they got: the last word counts. */
static void note_model(struct control_child *child)
{
    struct edge_model *model = child->replica->model;
    uint32_t context_max, capabilities;

    if (!replica_probe_model(&child->probe, &context_max, &capabilities))
        return;
    atomic_store_explicit(&model->context_max, context_max, memory_order_relaxed);
    atomic_store_explicit(&model->capabilities, capabilities, memory_order_relaxed);
}

/* It has requests in its batch, and no step of them has ended for long. Its loop may still answer. */
static bool is_stalled(const struct control *control, const struct edge_replica *replica,
                       uint64_t now_ns)
{
    struct shared_page_state state;

    return edge_replica_state(replica) == REPLICA_READY && replica->page != NULL &&
           shared_page_read(replica->page, &state) && state.running > 0 &&
           now_ns > state.last_step_ns && now_ns - state.last_step_ns > control->stall_timeout_ns;
}

static void stall_look(struct control *control, struct edge_replica *replica, uint64_t now_ns)
{
    bool is = is_stalled(control, replica, now_ns);

    if (is == atomic_exchange_explicit(&replica->guard.is_stalled, is, memory_order_relaxed))
        return;
    log_write(is ? LOG_WARN : LOG_INFO, "gateway/edge", "replica %s#%u %s", replica->model->name,
              replica->index,
              is ? "ends no steps: it gets no requests" : "ends steps again, or is gone");
    edge_slots_update(control->edge, replica->model);
    control_wake_loops(control->edge);
}

static void probe_take(struct control *control, uint32_t id, enum probe_result result,
                       uint64_t now_ns)
{
    if (result == PROBE_READY &&
        atomic_load_explicit(&control->children[id].replica->guard.is_stalled,
                             memory_order_relaxed)) {
        replica_manager_event(control->manager, id, REPLICA_NOT_READY, now_ns);
    } else if (result == PROBE_READY) {
        note_model(&control->children[id]);
        replica_manager_event(control->manager, id, REPLICA_ANSWERED, now_ns);
    } else if (result == PROBE_NOT_READY)
        replica_manager_event(control->manager, id, REPLICA_NOT_READY, now_ns);
}

/* Begins or ends the child's probe where that is due; returns when to look again. */
static uint64_t probe_tick(struct control *control, uint32_t id, uint64_t now_ns)
{
    struct control_child *child = &control->children[id];
    enum replica_state state = replica_manager_get(control->manager, id)->state;
    bool is_fresh = state == REPLICA_STARTING;
    enum probe_result result;

    stall_look(control, child->replica, now_ns);
    if (child->probe.fd >= 0) {
        if (now_ns >= child->probe.deadline_ns)
            probe_take(control, id, replica_probe_read(&child->probe, now_ns), now_ns);
        return child->probe.fd >= 0 ? child->probe.deadline_ns : now_ns + PROBE_STARTING_NS;
    }
    if (!is_fresh && state != REPLICA_READY)
        return UINT64_MAX;
    if (now_ns < child->probe_next_ns)
        return child->probe_next_ns;
    child->probe_next_ns = now_ns + (is_fresh ? PROBE_STARTING_NS : PROBE_READY_NS);
    result = replica_probe_start(&child->probe, child->replica->address, now_ns);
    if (result == PROBE_PENDING && !watch_add(control, child->probe.fd, WATCH_PROBE, id))
        replica_probe_stop(&child->probe);
    return child->probe_next_ns;
}

static int descriptor_copy(int descriptor)
{
    return descriptor >= 0 ? fcntl(descriptor, F_DUPFD_CLOEXEC, 0) : -1;
}

static void processes_tell(const struct control *control, struct control_process *out)
{
    for (uint32_t id = 0; id < control->edge->replica_count; id++) {
        const struct local_process *process = &control->children[id].process;

        out[id] = (struct control_process){process->pid, descriptor_copy(process->pid_fd),
                                           descriptor_copy(process->lifeline_fd)};
    }
}

static void releases_take(struct control *control)
{
    for (uint32_t id = 0; id < control->edge->replica_count; id++) {
        struct control_child *child = &control->children[id];
        int32_t pid = atomic_exchange_explicit(&child->release_pid, 0, memory_order_acquire);

        child->is_released |= pid != 0 && pid == child->process.pid;
    }
}

static void requests_take(struct control *control, uint64_t now_ns)
{
    struct control_process *wanted =
        atomic_exchange_explicit(&control->wanted, NULL, memory_order_acquire);
    uint64_t drain_ns = atomic_load_explicit(&control->drain_timeout_ns, memory_order_acquire);
    uint64_t count;

    while (read(control->wake_fd, &count, sizeof(count)) < 0 && errno == EINTR)
        continue;
    replica_manager_set_drain_timeout(control->manager, drain_ns + KILL_GRACE_NS);
    releases_take(control);
    if (wanted != NULL) {
        processes_tell(control, wanted);
        (void)sem_post(&control->wanted_done);
    }
    if (atomic_exchange_explicit(&control->has_reload, false, memory_order_acquire)) {
        for (uint32_t id = 0; id < control->edge->replica_count; id++)
            local_process_signal(&control->children[id].process, SIGHUP);
    }
    if (!atomic_load_explicit(&control->is_stopping, memory_order_acquire))
        return;
    for (uint32_t id = 0; id < control->edge->replica_count; id++) {
        if (is_ours(control, &control->children[id]))
            replica_manager_event(control->manager, id, REPLICA_UNWANTED, now_ns);
    }
}

static void events_take(struct control *control, const struct epoll_event *events, int count,
                        uint64_t now_ns)
{
    for (int i = 0; i < count; i++) {
        uint32_t id = (uint32_t)events[i].data.u64;

        switch ((enum watch)(events[i].data.u64 >> 32)) {
        case WATCH_WAKE:
            requests_take(control, now_ns);
            break;
        case WATCH_PROCESS:
            child_ended(control, id, now_ns);
            break;
        case WATCH_PROBE:
            if (control->children[id].probe.fd >= 0)
                probe_take(control, id, replica_probe_read(&control->children[id].probe, now_ns),
                           now_ns);
            break;
        }
    }
}

static bool is_over(const struct control *control)
{
    if (!atomic_load_explicit(&control->is_stopping, memory_order_acquire))
        return false;
    for (uint32_t id = 0; id < control->edge->replica_count; id++) {
        if (is_ours(control, &control->children[id]) &&
            replica_has_process(replica_manager_get(control->manager, id)))
            return false;
    }
    return true;
}

static int wait_ms(uint64_t now_ns, uint64_t until_ns)
{
    if (until_ns <= now_ns)
        return 0;
    return (int)((until_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS);
}

static void *control_run(void *context)
{
    struct control *control = context;
    struct epoll_event events[EVENT_COUNT_MAX];
    uint64_t now_ns = clock_now_ns();

    for (uint32_t id = 0; id < control->edge->replica_count; id++) {
        if (control->children[id].replica->upstream == NULL)
            replica_manager_event(control->manager, id, REPLICA_WANTED, now_ns);
    }
    while (!is_over(control)) {
        uint64_t until_ns = now_ns + TURN_NS_MAX,
                 next_ns = replica_manager_tick(control->manager, now_ns);
        int count;

        until_ns = next_ns < until_ns ? next_ns : until_ns;
        for (uint32_t id = 0; id < control->edge->replica_count; id++) {
            next_ns = probe_tick(control, id, now_ns);
            until_ns = next_ns < until_ns ? next_ns : until_ns;
        }
        count = epoll_wait(control->epoll_fd, events, EVENT_COUNT_MAX, wait_ms(now_ns, until_ns));
        now_ns = clock_now_ns();
        atomic_store_explicit(&control->last_turn_ns, now_ns, memory_order_relaxed);
        events_take(control, events, count, now_ns);
    }
    return NULL;
}

/* --- life --- */

void control_destroy(struct control *control)
{
    if (control == NULL)
        return;
    replica_manager_destroy(control->manager);
    (void)sem_destroy(&control->wanted_done);
    for (uint32_t id = 0; control->children != NULL && id < control->edge->replica_count; id++)
        local_process_forget(&control->children[id].process);
    if (control->epoll_fd >= 0)
        close(control->epoll_fd);
    if (control->wake_fd >= 0)
        close(control->wake_fd);
    memory_release(control->children);
    memory_release(control);
}

static status control_build(struct control *control)
{
    const struct config *config = control->edge->configs.first->config;
    const struct replica_policy policy = {
        .backoff_first_ns = config->supervise.backoff_first_ns,
        .backoff_max_ns = config->supervise.backoff_max_ns,
        .start_timeout_ns = config->supervise.start_timeout_ns,
        .heartbeat_timeout_ns = config->supervise.heartbeat_timeout_ns,
        .drain_timeout_ns = config->server.drain_timeout_ns + KILL_GRACE_NS,
    };
    const struct replica_driver driver = {driver_start, driver_drain, driver_kill, driver_changed,
                                          control};
    uint64_t seed;

    control->stall_timeout_ns = config->supervise.stall_timeout_ns;
    random_bytes(&seed, sizeof(seed));
    control->children =
        memory_allocate_array(control->edge->replica_count, sizeof(control->children[0]));
    if (control->children == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t id = 0; id < control->edge->replica_count; id++) {
        control->children[id].process.pid_fd = control->children[id].process.lifeline_fd = -1;
        control->children[id].inherited = control->options.processes != NULL
                                              ? control->options.processes[id]
                                              : (struct control_process){.pid_fd = -1};
        control->children[id].replica = edge_replica_at(control->edge, id);
        replica_probe_init(&control->children[id].probe);
    }
    control->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    control->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (control->epoll_fd < 0 || control->wake_fd < 0 ||
        !watch_add(control, control->wake_fd, WATCH_WAKE, 0))
        return STATUS_IO;
    return replica_manager_create(control->edge->replica_count, &policy, &driver, seed,
                                  clock_now_ns(), &control->manager);
}

status control_start(struct edge *edge, const struct control_options *options, struct control **out)
{
    struct control *control = memory_allocate_array(1, sizeof(*control));
    status result;

    if (control == NULL)
        return STATUS_NO_MEMORY;
    control->edge = edge;
    control->options = *options;
    control->epoll_fd = control->wake_fd = -1;
    if (sem_init(&control->wanted_done, 0, 0) != 0) {
        memory_release(control);
        return STATUS_IO;
    }
    atomic_init(&control->is_owner, options->processes == NULL);
    atomic_init(&control->drain_timeout_ns, edge->configs.first->config->server.drain_timeout_ns);
    atomic_init(&control->last_turn_ns, clock_now_ns());
    result = control_build(control);
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

static void control_wake(struct control *control)
{
    const uint64_t one = 1;

    while (write(control->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        continue;
}

void control_set_drain_timeout(struct control *control, uint64_t drain_timeout_ns)
{
    atomic_store_explicit(&control->drain_timeout_ns, drain_timeout_ns, memory_order_release);
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
    atomic_store_explicit(&control->children[id].release_pid, pid, memory_order_release);
    control_wake(control);
}

void control_own(struct control *control)
{
    atomic_store_explicit(&control->is_owner, true, memory_order_release);
}

void control_stop(struct control *control, uint64_t drain_timeout_ns)
{
    if (control == NULL)
        return;
    atomic_store_explicit(&control->drain_timeout_ns, drain_timeout_ns, memory_order_release);
    atomic_store_explicit(&control->is_stopping, true, memory_order_release);
    control_wake(control);
    (void)pthread_join(control->thread, NULL);
}

bool control_is_alive(const struct control *control, uint64_t now_ns, uint64_t limit_ns)
{
    uint64_t last_ns = atomic_load_explicit(&control->last_turn_ns, memory_order_relaxed);

    return last_ns > now_ns || now_ns - last_ns < limit_ns;
}
