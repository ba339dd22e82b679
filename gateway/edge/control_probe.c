/* Replicas of this machine are asked how they are, over their sockets; and looked at whether their steps end. */
#include "control_internal.h"

#include <unistd.h>

#include "clock.h"
#include "edge_admission.h"
#include "flight_files.h"
#include "log.h"

#define PROBE_STARTING_NS (20 * NS_PER_MS) /* readiness is noticed within one of these */
#define PROBE_READY_NS                                                                             \
    (500 * NS_PER_MS) /* two probes in the shortest sensible heartbeat_timeout of a second */

/* Replicas of one model say the same but for the memory that they got: the last word counts. */
static void note_model(struct control_slot *slot)
{
    struct edge_model *model = slot->replica->model;
    uint32_t context_max, capabilities;

    if (!replica_probe_model(&slot->probe, &context_max, &capabilities))
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
    char path[FLIGHT_PATH_BYTES];

    if (is == atomic_exchange_explicit(&replica->guard.is_stalled, is, memory_order_relaxed))
        return;
    if (is)
        metrics_add(
            control->edge->flow_metrics.models[replica->model->index].ejections[EJECTION_STALLED],
            1);
    log_write(is ? LOG_WARN : LOG_INFO, "gateway/edge", "replica %s#%u %s", replica->model->name,
              replica->index,
              is ? "ends no steps: it gets no requests" : "ends steps again, or is gone");
    if (is && flight_path(replica->address, path) && access(path, F_OK) == 0)
        log_warn("gateway/edge", "replica %s#%u: its last steps are in %s (`penstock flight`)",
                 replica->model->name, replica->index, path);
    edge_slots_update(control->edge, replica->model);
    control_wake_loops(control->edge);
}

/* An order that was not taken (it was busy still) is given again. */
static void order_take(struct control *control, struct control_slot *slot, enum probe_result result)
{
    const struct edge_replica *replica = slot->replica;

    if (result != PROBE_READY || slot->order != slot->asked)
        return;
    slot->order = PROBE_READINESS;
    log_info("gateway/edge", "replica %s#%u %s", replica->model->name, replica->index,
             slot->asked == PROBE_SLEEP ? "sleeps" : "is awake");
    if (slot->asked == PROBE_SLEEP && replica_fleet_rest(control->fleet, slot->uid) != STATUS_OK)
        log_info("gateway/edge", "replica %s#%u keeps its slice to itself", replica->model->name,
                 replica->index);
}

static void probe_take(struct control *control, uint32_t id, enum probe_result result,
                       uint64_t now_ns)
{
    struct control_slot *slot = &control->slots[id];

    if (slot->asked != PROBE_READINESS) {
        order_take(control, slot, result);
        return;
    }
    if (result == PROBE_READY &&
        atomic_load_explicit(&slot->replica->guard.is_stalled, memory_order_relaxed)) {
        replica_manager_event(control->manager, id, REPLICA_NOT_READY, now_ns);
    } else if (result == PROBE_READY) {
        note_model(slot);
        replica_manager_event(control->manager, id, REPLICA_ANSWERED, now_ns);
    } else if (result == PROBE_NOT_READY) {
        replica_manager_event(control->manager, id, REPLICA_NOT_READY, now_ns);
    }
}

void control_probe_end(struct control *control, uint32_t id, uint64_t now_ns)
{
    struct replica_probe *probe = &control->slots[id].probe;

    if (probe->fd >= 0)
        probe_take(control, id, replica_probe_read(probe, now_ns), now_ns);
}

/* One that is elsewhere tells by itself; it is silent where its steps stand still. */
static void answer_take(struct control *control, uint32_t id, uint64_t now_ns)
{
    struct control_slot *slot = &control->slots[id];
    uint64_t uid = atomic_exchange_explicit(&slot->answered_uid, 0, memory_order_acquire);

    if (uid != 0 && uid == slot->uid &&
        !atomic_load_explicit(&slot->replica->guard.is_stalled, memory_order_relaxed))
        replica_manager_event(control->manager, id, REPLICA_ANSWERED, now_ns);
}

/* Nobody is put to sleep while requests are on their way to it. */
static enum probe_request order_due(const struct control_slot *slot)
{
    if (slot->order == PROBE_SLEEP &&
        atomic_load_explicit(&slot->replica->outstanding, memory_order_relaxed) > 0)
        return PROBE_READINESS;
    return slot->order;
}

uint64_t control_probe_tick(struct control *control, uint32_t id, uint64_t now_ns)
{
    struct control_slot *slot = &control->slots[id];
    enum replica_state state = replica_manager_get(control->manager, id)->state;
    bool is_fresh = state == REPLICA_STARTING;
    enum probe_result result;

    stall_look(control, slot->replica, now_ns);
    answer_take(control, id, now_ns);
    if (slot->probe.fd >= 0) {
        if (now_ns >= slot->probe.deadline_ns)
            probe_take(control, id, replica_probe_read(&slot->probe, now_ns), now_ns);
        return slot->probe.fd >= 0 ? slot->probe.deadline_ns : now_ns + PROBE_STARTING_NS;
    }
    if ((!is_fresh && state != REPLICA_READY && state != REPLICA_ASLEEP) || !slot->is_here)
        return UINT64_MAX;
    if (now_ns < slot->probe_next_ns)
        return slot->probe_next_ns;
    slot->asked = order_due(slot);
    slot->probe_next_ns =
        now_ns + (is_fresh || slot->order != PROBE_READINESS ? PROBE_STARTING_NS : PROBE_READY_NS);
    result = replica_probe_start(&slot->probe, slot->replica->address, slot->asked, now_ns);
    if (result == PROBE_PENDING && !control_watch_add(control, slot->probe.fd, id))
        replica_probe_stop(&slot->probe);
    return slot->probe_next_ns;
}
