/* Slots
 *
 * Each tick compares how many slots are wanted with how many there should be. What is short is taken from slots that are empty; what is too
 * much is let go, that with the least to do first: one that has no slice yet, then one that is not ready, then the one with the
 * fewest requests. A replica that must leave its slice is not counted: another is started in its place, and when that is
 * ready, or half of the time is over, it drains. */
#include "scaling.h"

#include <time.h>

#include "check.h"
#include "clock.h"
#include "control_internal.h"
#include "log.h"
#include "memory.h"

#define LEAVE_LOOK_NS (100 * NS_PER_MS)

/* What is believed of steps before any was measured: a model of a hundred million parameters on two cores. */
static const struct step_cost step_guess = {15e6, 4e5, 100};
static const struct load_shape shape_guess = {128, 0, 128, 0};

/* --- life --- */

static void schedules_read(const struct setting_list *list, struct autoscaler_policy *policy)
{
    const struct config_scale_schedule *rows = list->items;

    CHECK(list->count <= AUTOSCALER_SCHEDULES_MAX);
    for (uint32_t i = 0; i < list->count; i++) {
        const char *const *days = rows[i].days.items;
        struct autoscaler_schedule *schedule = &policy->schedules[policy->schedule_count++];
        uint32_t from = 0, to = 0;

        CHECK(config_minute(rows[i].from, &from) && config_minute(rows[i].to, &to));
        *schedule = (struct autoscaler_schedule){.days = rows[i].days.count == 0 ? 0x7f : 0,
                                                 .from_minute = (uint16_t)from,
                                                 .to_minute = (uint16_t)to,
                                                 .count_min = (uint32_t)rows[i].min,
                                                 .count_max = (uint32_t)rows[i].max};
        for (uint32_t day = 0; day < rows[i].days.count; day++)
            schedule->days |= (uint8_t)(1u << config_weekday(days[day]));
    }
}

static struct autoscaler_policy policy_of(const struct config_model *row)
{
    const struct config_autoscale *scale = &row->autoscale;
    struct autoscaler_policy policy = autoscaler_policy_default();

    policy.count_min = (uint32_t)scale->min;
    policy.count_max = (uint32_t)scale->max;
    policy.warm_spares = (uint32_t)scale->warm_spares;
    policy.load_max = scale->load;
    policy.idle_ns = scale->idle_ns;
    policy.down_ns = scale->down_ns;
    policy.on_demand_share = row->placement.spot ? scale->on_demand_share : 1;
    policy.spot_extra = scale->spot_extra;
    policy.spot_notice_ns = scale->spot_notice_ns;
    schedules_read(&scale->schedules, &policy);
    return policy;
}

status model_scaling_init(struct model_scaling *scaling, struct edge_model *model,
                          const struct config_model *row, uint32_t first_slot,
                          uint32_t running_count, uint64_t now_ns)
{
    struct autoscaler_policy policy;

    *scaling = (struct model_scaling){
        .model = model,
        .first_slot = first_slot,
        .is_automatic = row->autoscale.max > 0,
        .must_look = true,
        .count = (uint32_t)config_model_replicas(row),
        .sleeping_max = (uint32_t)row->autoscale.sleeping,
        .on_demand_min = (uint32_t)row->placement.on_demand_min,
        .shape = shape_guess,
        .limits = {.kv_tokens = (double)row->max_num_seqs * 1024, /* until a replica has told */
                   .sequences = (double)row->max_num_seqs,
                   .chunk_tokens = (double)row->max_num_batched_tokens},
        .level = {(double)row->autoscale.first_token_ns, (double)row->autoscale.inter_token_ns}};
    scaling->before = memory_allocate_array(model->replica_count, sizeof(scaling->before[0]));
    if (scaling->before == NULL)
        return STATUS_NO_MEMORY;
    step_model_init(&scaling->steps, &step_guess);
    if (!scaling->is_automatic)
        return STATUS_OK;
    policy = policy_of(row);
    scaling->count = running_count > policy.count_min ? running_count : policy.count_min;
    scaling->forecast = memory_allocate(sizeof(*scaling->forecast));
    if (scaling->forecast == NULL)
        return STATUS_NO_MEMORY;
    forecast_init(scaling->forecast);
    autoscaler_init(&scaling->autoscaler, &policy, scaling->forecast, now_ns);
    return STATUS_OK;
}

void model_scaling_deinit(struct model_scaling *scaling)
{
    memory_release(scaling->forecast);
    memory_release(scaling->before);
}

/* --- how many --- */

static int64_t local_seconds(void)
{
    time_t now = (time_t)(clock_wall_ms() / 1000);
    struct tm parts;

    return localtime_r(&now, &parts) != NULL ? (int64_t)now + parts.tm_gmtoff : (int64_t)now;
}

/* With the replicas on spot that run in addition, in case some are taken back. */
static uint32_t count_of(const struct autoscaler_decision *decision)
{
    return decision->on_demand + decision->spot;
}

static void look(struct model_scaling *scaling, const struct control *control, uint64_t now_ns)
{
    const struct edge_model_metrics *seen = &control->edge->metrics.models[scaling->model->index];
    struct capacity_sums sums = {.at_ns = now_ns,
                                 .ttft_s = metrics_sum(seen->time_to_first_token),
                                 .ttft_count = metrics_value(seen->time_to_first_token),
                                 .gap_s = metrics_sum(seen->inter_token),
                                 .gap_count = metrics_value(seen->inter_token)};

    scaling->seen = (struct autoscaler_observation){.local_s = local_seconds()};
    model_load_take(scaling, control);
    sums.arrivals = (double)scaling->arrivals_before;
    capacity_window_note(&scaling->minute, &sums);
    scaling->decide_ns = now_ns + AUTOSCALER_TICK_NS;
}

static void decide(struct model_scaling *scaling, struct control *control, uint64_t now_ns)
{
    struct placement_request *request = &control->slices[scaling->model->index].request;
    char text[512];

    scaling->decision = autoscaler_decide(&scaling->autoscaler, &scaling->seen, now_ns);
    scaling_metrics_decided(&control->edge->scaling_metrics, scaling->model->index, &scaling->seen,
                            &scaling->decision);
    if (scaling->decision.on_demand > scaling->on_demand_min)
        request->on_demand_min = scaling->decision.on_demand;
    else
        request->on_demand_min = scaling->on_demand_min;
    if (count_of(&scaling->decision) == scaling->count)
        return;
    scaling->count = count_of(&scaling->decision);
    scaling->must_look = true;
    (void)autoscaler_explain(&scaling->decision, &scaling->seen, text, sizeof(text));
    log_info("gateway/edge", "model %s: %s", scaling->model->name, text);
}

/* --- which --- */

static const struct replica *slot_replica(const struct control *control, uint32_t slot)
{
    return replica_manager_get(control->manager, slot);
}

static bool is_leaving(const struct control *control, uint32_t slot)
{
    return control->slots[slot].leave_by_ns != UINT64_MAX;
}

static uint32_t wanted_count(const struct model_scaling *scaling, const struct control *control)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < scaling->model->replica_count; i++)
        count += slot_replica(control, scaling->first_slot + i)->is_wanted &&
                 !is_leaving(control, scaling->first_slot + i);
    return count;
}

/* An empty slot, one with a replica of the gateway before this one first; UINT32_MAX: all are taken. */
static uint32_t slot_empty(const struct model_scaling *scaling, const struct control *control)
{
    uint32_t found = UINT32_MAX;

    for (uint32_t slot = scaling->first_slot;
         slot < scaling->first_slot + scaling->model->replica_count; slot++) {
        const struct replica *replica = slot_replica(control, slot);

        if (replica->state != REPLICA_STOPPED || replica->is_wanted)
            continue;
        if (control->slots[slot].inherited.pid_fd >= 0)
            return slot;
        found = found == UINT32_MAX ? slot : found;
    }
    return found;
}

/* One that sleeps and can have its compute again; UINT32_MAX: there is none. */
static uint32_t slot_asleep(const struct model_scaling *scaling, struct control *control)
{
    for (uint32_t slot = scaling->first_slot;
         slot < scaling->first_slot + scaling->model->replica_count; slot++) {
        if (slot_replica(control, slot)->state == REPLICA_ASLEEP &&
            replica_fleet_rouse(control->fleet, control->slots[slot].uid) == STATUS_OK)
            return slot;
    }
    return UINT32_MAX;
}

static uint32_t asleep_count(const struct model_scaling *scaling, const struct control *control)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < scaling->model->replica_count; i++)
        count += slot_replica(control, scaling->first_slot + i)->state == REPLICA_ASLEEP;
    return count;
}

/* The less it would be missed, the smaller. */
static uint64_t worth(const struct control *control, uint32_t slot)
{
    uint64_t outstanding =
        atomic_load_explicit(&control->slots[slot].replica->outstanding, memory_order_relaxed);

    switch (slot_replica(control, slot)->state) {
    case REPLICA_PLACING:
        return 1;
    case REPLICA_STARTING:
        return 2;
    case REPLICA_READY:
        return 3 + outstanding;
    default:
        return 0;
    }
}

static void one_fewer(const struct model_scaling *scaling, struct control *control, uint64_t now_ns)
{
    uint64_t least = UINT64_MAX;
    uint32_t victim = UINT32_MAX;
    bool may_sleep;

    /* Of equals the last: what is there stays in front. */
    for (uint32_t slot = scaling->first_slot;
         slot < scaling->first_slot + scaling->model->replica_count; slot++) {
        if (!slot_replica(control, slot)->is_wanted || is_leaving(control, slot) ||
            worth(control, slot) > least)
            continue;
        least = worth(control, slot);
        victim = slot;
    }
    CHECK(victim != UINT32_MAX);
    may_sleep = slot_replica(control, victim)->state == REPLICA_READY &&
                control->slots[victim].is_here &&
                asleep_count(scaling, control) < scaling->sleeping_max;
    replica_manager_event(control->manager, victim, may_sleep ? REPLICA_REST : REPLICA_UNWANTED,
                          now_ns);
}

static uint32_t staying_ready_count(const struct model_scaling *scaling,
                                    const struct control *control)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < scaling->model->replica_count; i++)
        count += slot_replica(control, scaling->first_slot + i)->state == REPLICA_READY &&
                 !is_leaving(control, scaling->first_slot + i);
    return count;
}

/* Those that must leave drain when they are replaced, or have no more time to wait for that. */
static uint64_t leave(const struct model_scaling *scaling, struct control *control, uint64_t now_ns)
{
    bool is_replaced = staying_ready_count(scaling, control) >= scaling->count;
    uint64_t next_ns = UINT64_MAX;

    for (uint32_t i = 0; i < scaling->model->replica_count; i++) {
        uint32_t slot = scaling->first_slot + i;
        const struct control_slot *state = &control->slots[slot];
        uint64_t half_ns = state->leave_since_ns + (state->leave_by_ns - state->leave_since_ns) / 2;

        if (!is_leaving(control, slot) || !slot_replica(control, slot)->is_wanted)
            continue;
        if (is_replaced || now_ns >= half_ns || state->leave_by_ns <= state->leave_since_ns)
            replica_manager_leave(control->manager, slot, state->leave_by_ns, now_ns);
        else
            next_ns = now_ns + LEAVE_LOOK_NS;
    }
    return next_ns;
}

static void fill(struct model_scaling *scaling, struct control *control, uint64_t now_ns)
{
    uint32_t wanted = wanted_count(scaling, control);

    scaling->must_look = false;
    for (; wanted < scaling->count; wanted++) {
        uint32_t slot = slot_asleep(scaling, control);

        if (slot == UINT32_MAX)
            slot = slot_empty(scaling, control);
        if (slot == UINT32_MAX)
            break;
        replica_manager_event(control->manager, slot, REPLICA_WANTED, now_ns);
    }
    for (; wanted > scaling->count; wanted--)
        one_fewer(scaling, control, now_ns);
    /* Slots that are still emptying will do a moment later: their end has it looked at again. */
    atomic_store_explicit(&scaling->model->wanted, scaling->count, memory_order_relaxed);
    scaling_metrics_desired(&control->edge->scaling_metrics, scaling->model->index, scaling->count);
}

/* They have the version that is on its way out. */
static void sleepers_end(const struct model_scaling *scaling, struct control *control,
                         uint64_t now_ns)
{
    for (uint32_t slot = scaling->first_slot;
         slot < scaling->first_slot + scaling->model->replica_count; slot++) {
        if (slot_replica(control, slot)->state == REPLICA_ASLEEP)
            replica_manager_event(control->manager, slot, REPLICA_UNWANTED, now_ns);
    }
}

uint64_t model_scaling_tick(struct model_scaling *scaling, struct control *control, uint64_t now_ns)
{
    bool is_asked =
        atomic_exchange_explicit(&scaling->model->is_asked_for, false, memory_order_acquire);
    struct model_rollout *rollout = &control->rollouts[scaling->model->index];
    uint64_t next_ns, rollout_ns;

    if (atomic_load_explicit(&control->is_stopping, memory_order_relaxed))
        return UINT64_MAX;
    if ((is_asked && scaling->is_automatic) || now_ns >= scaling->decide_ns) {
        look(scaling, control, now_ns);
        if (scaling->is_automatic)
            decide(scaling, control, now_ns);
    }
    next_ns = scaling->decide_ns;
    rollout_ns = model_rollout_tick(rollout, control, scaling->count, now_ns);
    next_ns = rollout_ns < next_ns ? rollout_ns : next_ns;
    if (model_rollout_is_active(rollout)) {
        sleepers_end(scaling, control, now_ns);
        scaling->must_look = true; /* when it is over */
    } else if (scaling->must_look)
        fill(scaling, control, now_ns);
    if (leave(scaling, control, now_ns) < next_ns)
        next_ns = now_ns + LEAVE_LOOK_NS;
    return next_ns;
}
