/* Between the replica manager, which says when a slot's replica should run, and the fleet, which has it placed and follows it. The
 * manager's events are what the fleet, probes and heartbeats tell; each replica has a uid of its own, so that late news of one that is
 * gone is no news of the next. */
#include "control_internal.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "edge_admission.h"
#include "flight_files.h"
#include "hash.h"
#include "join.h"
#include "local_member.h"
#include "log.h"

/* Beyond the manager's own time, after which it has the replica ended: a member that is told to wait as long ends it in its stead
 * when this process is gone. */
#define STOP_GRACE_EXTRA_NS (10 * NS_PER_SECOND)

static struct control_slot *slot_find(struct control *control, uint64_t uid, uint32_t *id)
{
    for (*id = 0; uid != 0 && *id < control->edge->replica_count; (*id)++) {
        if (control->slots[*id].uid == uid)
            return &control->slots[*id];
    }
    return NULL;
}

/* --- what the manager wants --- */

static void slot_changed(void *context, uint32_t id, const struct replica *replica,
                         enum replica_state before)
{
    struct control *control = context;
    struct edge_replica *shared = control->slots[id].replica;
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
    control->slots[id].probe_next_ns = 0;
    control->has_changed = true;
    control->history_sample.must_look = true;
    model_rollout_note(&control->rollouts[shared->model->index], shared, replica);
    if (replica->state == REPLICA_READY)
        replica_guard_reset(&shared->guard);
    edge_slots_update(control->edge, shared->model);
    control_wake_loops(control->edge);
}

/* One that runs already, from the gateway before: its member will tell of it. */
static status slot_adopt(struct control *control, uint32_t id)
{
    struct control_slot *slot = &control->slots[id];
    struct control_process *from = &slot->inherited;
    const struct local_adopted_part part = {{from->slice, from->memory_bytes, from->compute_milli},
                                            from->pid,
                                            from->pid_fd,
                                            from->lifeline_fd};
    const struct local_adoption adoption = {from->uid, "", &part, 1};

    slot->uid = from->uid;
    slot->is_adopted = true;
    from->pid_fd = -1; /* taken over */
    return local_member_adopt(control->members.local_driver, &adoption);
}

static status slot_want(struct control *control, uint32_t id, uint64_t now_ns)
{
    struct control_slot *slot = &control->slots[id];
    struct placement_request request = control->slices[slot->replica->model->index].request;
    status result;

    request.shape.memory_bytes = model_slices_memory(
        config_model_at(edge_version_config(control->edge, slot->replica), request.model));
    random_bytes(&slot->uid, sizeof(slot->uid));
    request.uid = slot->uid;
    slot->phase = MEMBER_REPLICA_PENDING;
    result = replica_fleet_want(control->fleet, &request, now_ns);
    if (result != STATUS_OK)
        slot->uid = 0;
    atomic_store_explicit(&slot->replica->uid, slot->uid, memory_order_relaxed);
    return result;
}

static status slot_start(void *context, uint32_t id, uint32_t generation)
{
    struct control *control = context;
    struct control_slot *slot = &control->slots[id];
    const struct edge_replica *replica = slot->replica;
    status result;

    (void)generation;
    slot->leave_by_ns = UINT64_MAX;
    model_rollout_start(&control->rollouts[replica->model->index], slot->replica);
    if (slot->is_released) { /* the next gateway does it; a probe will tell */
        replica_manager_event(control->manager, id, REPLICA_PLACED, clock_now_ns());
        return STATUS_OK;
    }
    if (slot->inherited.pid_fd >= 0)
        result = slot_adopt(control, id);
    else if (!control_slot_is_ours(control, slot))
        return STATUS_AGAIN; /* the gateway before still does it */
    else
        result = slot_want(control, id, clock_now_ns());
    if (result != STATUS_OK)
        log_error("gateway/edge", "replica %s#%u cannot be started: %s", replica->model->name,
                  replica->index, status_name(result));
    return result;
}

static void slot_drain(void *context, uint32_t id)
{
    struct control *control = context;
    const struct control_slot *slot = &control->slots[id];
    uint64_t now_ns = clock_now_ns(),
             deadline_ns = replica_manager_get(control->manager, id)->deadline_ns;

    if (control_slot_is_ours(control, slot))
        replica_fleet_stop(control->fleet, slot->uid,
                           (deadline_ns > now_ns ? deadline_ns - now_ns : 0) + STOP_GRACE_EXTRA_NS,
                           now_ns);
}

static void slot_kill(void *context, uint32_t id)
{
    struct control *control = context;
    const struct control_slot *slot = &control->slots[id];

    if (!control_slot_is_ours(control, slot))
        return;
    if (slot->phase != MEMBER_REPLICA_PENDING)
        log_warn("gateway/edge", "replica %s#%u took too long: it is killed",
                 slot->replica->model->name, slot->replica->index);
    /* Whether its machine still hears anybody or not: what it had goes elsewhere now. */
    join_forget(control->edge, slot->replica, slot->uid);
    replica_fleet_stop(control->fleet, slot->uid, 0, clock_now_ns());
}

static void slot_sleep(void *context, uint32_t id)
{
    struct control *control = context;

    control->slots[id].order = PROBE_SLEEP;
}

static void slot_wake(void *context, uint32_t id)
{
    struct control *control = context;

    control->slots[id].order = PROBE_WAKE;
}

const struct replica_driver control_slot_driver = {.start = slot_start,
                                                   .drain = slot_drain,
                                                   .sleep = slot_sleep,
                                                   .wake = slot_wake,
                                                   .kill = slot_kill,
                                                   .changed = slot_changed};

/* --- what the fleet tells --- */

static enum slice_vendor slice_vendor_at(const struct control *control, uint32_t slice)
{
    return (enum slice_vendor)pool_columns(replica_fleet_pool(control->fleet))->vendor[slice];
}

static status fleet_compose(void *context, const struct placement_request *request, uint32_t member,
                            const struct placement_decision *decision, struct member_order *order)
{
    struct control *control = context;
    uint32_t id;
    struct control_slot *slot = slot_find(control, request->uid, &id);
    char place[SLICE_NAME_BYTES_MAX + 1];

    if (slot == NULL)
        return STATUS_CANCELLED;
    pool_slice_write(replica_fleet_pool(control->fleet), decision->parts[0].booking.slice, place,
                     sizeof(place));
    log_info("gateway/edge", "replica %s#%u: placed on %s%s", slot->replica->model->name,
             slot->replica->index, place, decision->part_count > 1 ? " and others" : "");
    slot->is_here = member == control->members.local;
    atomic_store_explicit(&slot->replica->member, member, memory_order_relaxed);
    order->core_milli = slot->is_here ? control->slices[slot->replica->model->index].core_milli : 0;
    if (slot->is_here)
        (void)unlink(slot->replica->address + strlen("unix:"));
    return replica_order_write(control->edge, slot->replica, request->uid,
                               &control->members.rows[member],
                               slice_vendor_at(control, decision->parts[0].booking.slice),
                               &control->texts, &control->order_memory, order);
}

static void pid_note(struct control *control, struct control_slot *slot)
{
    pid_t pid = 0;

    if (!slot->is_here || local_member_process(control->members.local_driver, slot->uid, 0, &pid,
                                               NULL, NULL) != STATUS_OK)
        return;
    if (atomic_exchange_explicit(&slot->replica->pid, pid, memory_order_relaxed) != pid)
        log_info("gateway/edge", "replica %s#%u: pid %d%s", slot->replica->model->name,
                 slot->replica->index, pid, slot->is_adopted ? ", taken over" : "");
}

static void fleet_started(void *context, uint64_t uid, uint32_t member)
{
    struct control *control = context;
    uint32_t id;
    struct control_slot *slot = slot_find(control, uid, &id);

    (void)member;
    if (slot != NULL)
        pid_note(control, slot);
}

static void fleet_told(void *context, const struct member_replica *told)
{
    struct control *control = context;
    uint32_t id;
    struct control_slot *slot = slot_find(control, told->uid, &id);
    bool is_new;

    if (slot == NULL)
        return;
    is_new = told->phase != slot->phase;
    slot->phase = told->phase;
    if (is_new && !slot->is_here)
        log_info("gateway/edge", "replica %s#%u: %s on %s %s%s%s", slot->replica->model->name,
                 slot->replica->index, told->handle, told->node, member_phase_name(told->phase),
                 told->reason[0] != '\0' ? ": " : "", told->reason);
    if (told->phase != MEMBER_REPLICA_STARTING && told->phase != MEMBER_REPLICA_RUNNING)
        return;
    pid_note(control, slot);
    replica_manager_event(control->manager, id, REPLICA_PLACED, clock_now_ns());
}

static void fleet_leave(void *context, uint64_t uid, uint64_t by_ns, const char *why)
{
    struct control *control = context;
    uint32_t id;
    struct control_slot *slot = slot_find(control, uid, &id);
    uint64_t now_ns = clock_now_ns();

    if (slot == NULL)
        return;
    if (slot->leave_by_ns == UINT64_MAX)
        slot->leave_since_ns = now_ns;
    slot->leave_by_ns = by_ns;
    log_info("gateway/edge", "replica %s#%u leaves within %.1f s: %s", slot->replica->model->name,
             slot->replica->index, by_ns > now_ns ? (double)(by_ns - now_ns) / 1e9 : 0.0, why);
    model_scaling_look(&control->scalings[slot->replica->model->index]);
}

/* Who has not ended well has left its last steps. */
static void flight_note(const struct control *control, const struct edge_replica *replica)
{
    const struct config *config = control->edge->configs.first->config;
    int32_t pid = atomic_load_explicit(&replica->pid, memory_order_relaxed);
    char path[FLIGHT_PATH_BYTES];

    if (flight_keep(replica->address, pid, (uint32_t)config->observability.requests.flights_kept,
                    clock_wall_ms() / 1000, path))
        log_warn("gateway/edge", "replica %s#%u has left its last steps: `penstock flight %s`",
                 replica->model->name, replica->index, path);
}

static void fleet_ended(void *context, uint64_t uid, enum member_cause cause, const char *reason)
{
    struct control *control = context;
    uint32_t id;
    struct control_slot *slot = slot_find(control, uid, &id);
    enum replica_state state;
    bool is_asked, is_fault = cause == MEMBER_CAUSE_PROGRAM || cause == MEMBER_CAUSE_REFUSED;

    if (slot == NULL)
        return;
    state = replica_manager_get(control->manager, id)->state;
    is_asked = state == REPLICA_DRAINING || state == REPLICA_STOPPING;
    replica_probe_stop(&slot->probe);
    join_forget(control->edge, slot->replica, uid);
    flight_note(control, slot->replica);
    atomic_store_explicit(&slot->replica->pid, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->replica->uid, 0, memory_order_relaxed);
    slot->uid = 0;
    slot->is_here = false;
    slot->order = PROBE_READINESS;
    slot->leave_by_ns = UINT64_MAX;
    log_write(is_asked ? LOG_INFO : LOG_WARN, "gateway/edge", "replica %s#%u %s",
              slot->replica->model->name, slot->replica->index,
              reason[0] != '\0' ? reason : "has ended");
    replica_manager_event(control->manager, id, is_fault || is_asked ? REPLICA_ENDED : REPLICA_LOST,
                          clock_now_ns());
    model_scaling_look(&control->scalings[slot->replica->model->index]);
}

static void fleet_refused(void *context, uint64_t uid, uint32_t member, status result,
                          const char *why)
{
    struct control *control = context;
    uint32_t id;
    const struct control_slot *slot = slot_find(control, uid, &id);

    if (slot == NULL)
        return;
    log_warn("gateway/edge", "replica %s#%u: member %s refuses it (%s): %s",
             slot->replica->model->name, slot->replica->index, control->members.rows[member].name,
             status_name(result), why);
}

static bool fleet_adopt(void *context, uint32_t member, const struct member_replica *told,
                        struct placement_request *request)
{
    struct control *control = context;
    uint32_t id, part_count = request->part_count;
    struct control_slot *slot = slot_find(control, told->uid, &id);

    if (slot == NULL)
        return false;
    *request = control->slices[slot->replica->model->index].request;
    request->uid = told->uid;
    request->part_count = part_count;
    slot->is_here = member == control->members.local;
    atomic_store_explicit(&slot->replica->uid, told->uid, memory_order_relaxed);
    return true;
}

const struct replica_fleet_events control_slot_events = {.compose = fleet_compose,
                                                         .started = fleet_started,
                                                         .told = fleet_told,
                                                         .leave = fleet_leave,
                                                         .ended = fleet_ended,
                                                         .refused = fleet_refused,
                                                         .adopt = fleet_adopt};

/* --- the next gateway --- */

static void slice_tell(const struct control *control, uint64_t uid, struct control_process *out)
{
    const struct pool *pool = replica_fleet_pool(control->fleet);
    const struct booking *booking = pool_booking_find(pool, uid);
    const struct booking_part *part;

    if (booking == NULL)
        return;
    part = pool_part(pool, booking->part_first);
    (void)snprintf(out->slice, sizeof(out->slice), "%s",
                   pool_name_text(pool, pool_columns(pool)->id[part->slice]));
    out->memory_bytes = part->memory_bytes;
    out->compute_milli = part->compute_milli;
}

void control_slots_tell(const struct control *control, struct control_process *out)
{
    for (uint32_t id = 0; id < control->edge->replica_count; id++) {
        const struct control_slot *slot = &control->slots[id];
        pid_t pid = 0;

        out[id] = (struct control_process){.uid = slot->uid, .pid_fd = -1, .lifeline_fd = -1};
        /* Whoever sleeps ends with this gateway: the next one could not tell it from one that is stuck. */
        if (replica_manager_get(control->manager, id)->state == REPLICA_ASLEEP)
            continue;
        if (!slot->is_here ||
            local_member_process(control->members.local_driver, slot->uid, 0, &pid, &out[id].pid_fd,
                                 &out[id].lifeline_fd) != STATUS_OK)
            continue;
        out[id].pid = pid;
        slice_tell(control, slot->uid, &out[id]);
    }
}

void control_slots_release(struct control *control)
{
    for (uint32_t id = 0; id < control->edge->replica_count; id++) {
        struct control_slot *slot = &control->slots[id];
        int32_t pid = atomic_exchange_explicit(&slot->release_pid, 0, memory_order_acquire);

        if (pid == 0 || pid != atomic_load_explicit(&slot->replica->pid, memory_order_relaxed))
            continue;
        slot->is_released = true;
        (void)local_member_release(control->members.local_driver, slot->uid);
    }
}

void control_slots_reload(struct control *control)
{
    for (uint32_t id = 0; id < control->edge->replica_count; id++) {
        if (control->slots[id].is_here)
            local_member_signal(control->members.local_driver, control->slots[id].uid, SIGHUP);
    }
}
