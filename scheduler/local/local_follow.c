/* The watcher. It sleeps until a process ends, somebody wakes it, or a grace is over; what happened is noted with the lock, and told
 * without it, since a sink may take a while. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "clock.h"
#include "local_internal.h"

#define EVENTS_MAX 64
/* A member is heard of at least as often. */
#define HEARD_NS NS_PER_SECOND

struct turn {
    struct local_member *member;
    const struct member_sink *sink;
    uint64_t heard_ns;  /* when something was told last */
    uint64_t looked_ns; /* when slices were looked at last */
};

/* --- faults of devices --- */

void local_fault_note(void *context, const struct nvml_fault *fault)
{
    struct local_member *member = context;
    struct local_fault *row;

    (void)pthread_mutex_lock(&member->fault_lock);
    if (member->fault_count < LOCAL_FAULTS_MAX) {
        row = &member->faults[member->fault_count++];
        *row = (struct local_fault){.gpu_instance = fault->gpu_instance,
                                    .is_broken = fault->is_broken};
        (void)snprintf(row->id, sizeof row->id, "%s", fault->id);
        (void)snprintf(row->text, sizeof row->text, "Xid %llu: %s", (unsigned long long)fault->xid,
                       fault->text);
    }
    (void)pthread_mutex_unlock(&member->fault_lock);
    local_wake(member);
}

static bool is_about(const struct local_fault *fault, const struct device *device)
{
    if (device->kind != SLICE_MIG)
        return strcmp(fault->id, device->id) == 0;
    return strcmp(fault->id, device->parent) == 0 &&
           (fault->gpu_instance == UINT32_MAX || fault->gpu_instance == device->gpu_instance);
}

static void fault_take(struct local_member *member, const struct local_fault *fault)
{
    for (uint32_t row = 0; row < member->replica_bound; row++) {
        struct local_replica *replica = member->replicas[row];

        for (uint32_t i = 0; replica != NULL && i < replica->part_count; i++) {
            struct local_part *part = &replica->parts[i];
            const struct device *device = local_slice_device(member, part->slice_id);

            if (device == NULL || !is_about(fault, device))
                continue;
            (void)snprintf(part->fault, sizeof part->fault, "%s", fault->text);
            part->is_device_broken |= fault->is_broken;
        }
    }
}

/* A fault shows in the next reading, which is asked for now. */
static void faults_take(struct local_member *member)
{
    struct local_fault faults[LOCAL_FAULTS_MAX];
    uint32_t count;

    (void)pthread_mutex_lock(&member->fault_lock);
    count = member->fault_count;
    memcpy(faults, member->faults, count * sizeof faults[0]);
    member->fault_count = 0;
    (void)pthread_mutex_unlock(&member->fault_lock);
    if (count == 0)
        return;
    device_watch_refresh(member->watches[LOCAL_NVML]);
    (void)pthread_mutex_lock(&member->lock);
    for (uint32_t i = 0; i < count; i++)
        fault_take(member, &faults[i]);
    (void)pthread_mutex_unlock(&member->lock);
}

/* --- ends, with the lock --- */

static bool is_node_to_blame(const struct local_member *member, const struct local_part *part)
{
    const struct device *device = local_slice_device(member, part->slice_id);

    return part->is_device_broken || (device != NULL && device->health == SLICE_BAD);
}

/* The last of its parts is gone. */
static void replica_end(struct local_replica *replica)
{
    bool is_asked = replica->is_stopping || replica->is_released;

    replica->phase = is_asked ? MEMBER_REPLICA_ENDED : MEMBER_REPLICA_FAILED;
    if (is_asked)
        replica->cause = MEMBER_CAUSE_NONE;
    replica->has_news = true;
}

static void part_collect(struct local_member *member, uint32_t row, uint32_t number)
{
    struct local_replica *replica = member->replicas[row];
    struct local_part *part = &replica->parts[number];
    bool is_first = replica->cause == MEMBER_CAUSE_NONE;
    char text[64];

    if (part->child.pid == 0)
        return;
    (void)epoll_ctl(member->epoll_fd, EPOLL_CTL_DEL, part->child.pid_fd, NULL);
    (void)child_collect(&part->child, text, sizeof text);
    if (is_first) {
        replica->cause = is_node_to_blame(member, part) ? MEMBER_CAUSE_NODE : MEMBER_CAUSE_PROGRAM;
        (void)snprintf(replica->reason, sizeof replica->reason, "%s%s%s", text,
                       part->fault[0] != '\0' ? ", after " : "", part->fault);
    }
    if (local_replica_is_gone(replica))
        replica_end(replica);
    else if (is_first && !replica->is_released)
        local_replica_signal(replica, SIGKILL); /* a gang is all or nothing */
}

/* When the next grace is over. */
static uint64_t graces_look(struct local_member *member, uint64_t now_ns)
{
    uint64_t next_ns = UINT64_MAX;

    for (uint32_t row = 0; row < member->replica_bound; row++) {
        struct local_replica *replica = member->replicas[row];

        if (replica == NULL || local_replica_is_gone(replica))
            continue;
        if (replica->kill_ns <= now_ns) {
            replica->kill_ns = UINT64_MAX;
            local_replica_signal(replica, SIGKILL);
            (void)snprintf(replica->reason, sizeof replica->reason, "took too long: it is killed");
            replica->has_news = true;
        }
        if (replica->kill_ns < next_ns)
            next_ns = replica->kill_ns;
    }
    return next_ns;
}

/* --- telling --- */

static void replica_tell(const struct turn *turn, const struct local_replica *replica,
                         struct member_replica *told)
{
    struct member_part parts[LOCAL_PARTS_MAX];

    for (uint32_t i = 0; i < replica->part_count; i++)
        parts[i] = (struct member_part){replica->parts[i].slice_id, replica->parts[i].memory_bytes,
                                        replica->parts[i].compute_milli};
    told->uid = replica->uid;
    told->node = turn->member->config.node;
    told->endpoint = "";
    told->name = replica->name;
    told->parts = parts;
    told->part_count = replica->part_count;
    turn->sink->replica(turn->sink->context, told);
}

/* A replica's news, and its end if it is that. */
static void row_tell(struct turn *turn, uint32_t row, bool is_list)
{
    struct local_member *member = turn->member;
    struct local_replica *replica;
    struct member_replica told = {0};
    char handle[32], reason[LOCAL_REASON_BYTES];
    bool is_gone = false, is_news = false;

    (void)pthread_mutex_lock(&member->lock);
    replica = member->replicas[row];
    if (replica != NULL && (is_list || replica->has_news)) {
        is_news = true;
        replica->has_news = false;
        told.phase = replica->phase;
        told.cause = replica->cause;
        (void)snprintf(handle, sizeof handle, "pid %d", replica->pid);
        (void)snprintf(reason, sizeof reason, "%s", replica->reason);
        is_gone = replica->phase == MEMBER_REPLICA_ENDED || replica->phase == MEMBER_REPLICA_FAILED;
        if (is_gone)
            member->replicas[row] = NULL;
    }
    (void)pthread_mutex_unlock(&member->lock);
    if (!is_news)
        return;
    told.handle = handle;
    told.reason = reason;
    replica_tell(turn, replica, &told);
    turn->heard_ns = clock_now_ns();
    if (is_gone)
        local_replica_free(replica);
}

static void replicas_tell(struct turn *turn, bool is_list)
{
    uint32_t bound;

    (void)pthread_mutex_lock(&turn->member->lock);
    bound = turn->member->replica_bound;
    (void)pthread_mutex_unlock(&turn->member->lock);
    for (uint32_t row = 0; row < bound; row++)
        row_tell(turn, row, is_list);
    if (is_list)
        turn->sink->replicas_listed(turn->sink->context);
}

/* --- a turn --- */

static int wait_ms(uint64_t now_ns, uint64_t until_ns)
{
    return until_ns <= now_ns ? 0 : (int)((until_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS);
}

static void events_take(struct local_member *member, const struct epoll_event *events, int count)
{
    uint64_t wakes;

    for (int i = 0; i < count; i++) {
        uint32_t row = (uint32_t)(events[i].data.u64 >> 32);

        if (events[i].data.u64 == UINT64_MAX) {
            while (read(member->wake_fd, &wakes, sizeof wakes) < 0 && errno == EINTR)
                continue;
        } else if (row < member->replica_bound && member->replicas[row] != NULL) {
            part_collect(member, row, (uint32_t)events[i].data.u64);
        }
    }
}

static void turn_make(struct turn *turn)
{
    struct local_member *member = turn->member;
    struct epoll_event events[EVENTS_MAX];
    uint64_t now_ns = clock_now_ns(), until_ns;
    int count;

    (void)pthread_mutex_lock(&member->lock);
    until_ns = graces_look(member, now_ns);
    (void)pthread_mutex_unlock(&member->lock);
    replicas_tell(turn, false);
    if (turn->heard_ns + HEARD_NS < until_ns)
        until_ns = turn->heard_ns + HEARD_NS;
    count = epoll_wait(member->epoll_fd, events, EVENTS_MAX, wait_ms(now_ns, until_ns));
    faults_take(member);
    (void)pthread_mutex_lock(&member->lock);
    events_take(member, events, count);
    (void)pthread_mutex_unlock(&member->lock);
    replicas_tell(turn, false);
    now_ns = clock_now_ns();
    /* A driver that hangs reads nothing that could be told: that it does is seen by looking. */
    if (atomic_exchange_explicit(&member->has_reading, false, memory_order_acquire) ||
        (member->config.has_devices && now_ns - turn->looked_ns >= HEARD_NS)) {
        local_slices_tell(member, turn->sink, false);
        turn->looked_ns = now_ns;
    }
    if (now_ns - turn->heard_ns >= HEARD_NS) {
        turn->sink->heard(turn->sink->context);
        turn->heard_ns = now_ns;
    }
}

status local_follow(void *driver, const struct member_sink *sink, const _Atomic bool *is_stopping,
                    struct error_note *note)
{
    struct turn turn = {driver, sink, clock_now_ns(), clock_now_ns()};

    (void)note;
    (void)atomic_exchange_explicit(&turn.member->has_reading, false, memory_order_acquire);
    local_slices_tell(turn.member, sink, true);
    replicas_tell(&turn, true);
    while (!atomic_load_explicit(is_stopping, memory_order_acquire))
        turn_make(&turn);
    return STATUS_OK;
}
