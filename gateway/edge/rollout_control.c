/* Rollouts in the gateway: what scheduler/rollout.c decides is done here, slot by slot, and told.
 *
 *   main: wanted version, policy --> model_rollout_tick --> wishes of slots (replica manager)
 *   loops: how requests ended ----->         |          --> share of requests (loops), report (admin API, main)
 *   manager: starts, ends --------->         |          --> metrics, log
 *
 * What the requests of the old version were judged by is not only of the time of the rollout: its counts go on from before,
 * about the last thousand of each, since a model with one replica has no old version beside the new one for long. */
#include "rollout_control.h"

#include "check.h"
#include "clock.h"
#include "control_internal.h"
#include "edge_admission.h"
#include "log.h"
#include "replica_choice.h"

/* Counts of the proven version are halved here. */
#define COUNT_FADE 2000u
/* A replica that has waited so long for a slice, beside the one in whose place it comes, gets that one's. */
#define ROOM_WAIT_NS (10 * NS_PER_SECOND)
/* Requests end without the control thread hearing of each. */
#define LOOK_NS (100 * NS_PER_MS)

void model_rollout_init(struct model_rollout *rollout, struct edge *edge, struct edge_model *model,
                        uint32_t first_slot, uint64_t now_ns)
{
    *rollout =
        (struct model_rollout){.model = model, .edge = edge, .first_slot = first_slot, .heard = 1};
    rollout_init(&rollout->machine, 1, now_ns);
}

/* --- counts --- */

static struct rollout_sample sample_of(const _Atomic uint64_t *count, const _Atomic uint64_t *bad)
{
    /* Bad ones first: of those that are counted meanwhile none is bad that is not counted. */
    uint64_t bad_count = atomic_load_explicit(bad, memory_order_relaxed);

    return (struct rollout_sample){atomic_load_explicit(count, memory_order_relaxed), bad_count};
}

static struct rollout_outcomes outcomes_of(const struct version_counts *counts)
{
    struct rollout_outcomes outcomes = {.errors = sample_of(&counts->requests, &counts->failed),
                                        .slow = sample_of(&counts->streams, &counts->slow)};

    if (outcomes.errors.bad > outcomes.errors.count)
        outcomes.errors.bad = outcomes.errors.count;
    if (outcomes.slow.bad > outcomes.slow.count)
        outcomes.slow.bad = outcomes.slow.count;
    return outcomes;
}

static void counts_set(struct version_counts *counts, const struct version_counts *from,
                       uint32_t divisor)
{
    _Atomic uint64_t *to[] = {&counts->requests, &counts->failed, &counts->streams, &counts->slow};
    const _Atomic uint64_t *of[] = {&from->requests, &from->failed, &from->streams, &from->slow};

    for (size_t i = 0; i < ARRAY_COUNT(to); i++)
        atomic_store_explicit(to[i], atomic_load_explicit(of[i], memory_order_relaxed) / divisor,
                              memory_order_relaxed);
}

/* A count that a loop adds meanwhile is lost: one of a thousand. */
static void counts_fade(struct version_counts *counts)
{
    if (atomic_load_explicit(&counts->requests, memory_order_relaxed) >= COUNT_FADE)
        counts_set(counts, counts, 2);
}

/* --- the report --- */

static void rollout_log(const struct model_rollout *rollout, enum rollout_phase before)
{
    const struct rollout *machine = &rollout->machine;
    bool is_bad = machine->phase == ROLLOUT_RETURNING && before != ROLLOUT_RETURNING;
    char text[320];

    (void)rollout_explain(machine, text, sizeof(text));
    log_write(is_bad ? LOG_ERROR : LOG_INFO, "gateway/edge", "model %s: %s", rollout->model->name,
              text);
}

static void report_write(struct model_rollout *rollout, const struct rollout_decision *decision,
                         const struct rollout_outcomes *fresh, const struct rollout_outcomes *old,
                         bool has_ended)
{
    struct model_versions *versions = &rollout->model->versions;
    const struct rollout *machine = &rollout->machine;
    struct version_report *report = &versions->report;

    pthread_mutex_lock(&versions->lock);
    report->phase = machine->phase;
    report->result = machine->result;
    report->stable = machine->stable;
    report->fresh = machine->fresh;
    report->result_version = machine->result_version;
    report->heard = rollout->heard;
    report->fresh_count = decision->fresh_count;
    report->old_count = decision->old_count;
    report->fresh_share = decision->fresh_share;
    report->since_ns = machine->since_ns;
    report->outcomes = *fresh;
    report->outcomes_old = *old;
    report->ended_count += has_ended;
    (void)rollout_explain(machine, report->text, sizeof(report->text));
    pthread_mutex_unlock(&versions->lock);
}

static void result_count(const struct model_rollout *rollout)
{
    metrics_add(rollout->edge->rollout_metrics.models[rollout->model->index]
                    .results[rollout->machine.result],
                1);
}

/* --- slots --- */

static uint32_t version_of(const struct edge_replica *replica)
{
    return atomic_load_explicit(&replica->version, memory_order_relaxed);
}

static void version_set(const struct model_rollout *rollout, struct edge_replica *replica,
                        uint32_t version)
{
    const struct config *config = model_versions_config(&rollout->model->versions, version);

    atomic_store_explicit(&replica->version, version, memory_order_relaxed);
    if (config != NULL)
        atomic_store_explicit(
            &replica->sequences_max,
            (uint32_t)config_model_at(config, rollout->model->index)->max_num_seqs,
            memory_order_relaxed);
}

/* One that must leave its slice goes by itself, and one of the gateway before is no place for another: neither counts, but both are in
 * use. */
static struct rollout_slot slot_of(const struct control *control, uint32_t id)
{
    const struct control_slot *slot = &control->slots[id];
    const struct replica *replica = replica_manager_get(control->manager, id);
    bool is_free = replica->state == REPLICA_STOPPED && !replica->is_wanted;

    if (slot->leave_by_ns != UINT64_MAX || (is_free && slot->inherited.pid_fd >= 0))
        return (struct rollout_slot){version_of(slot->replica), false, REPLICA_DRAINING};
    return (struct rollout_slot){version_of(slot->replica), replica->is_wanted, replica->state};
}

static void slots_apply(const struct model_rollout *rollout, struct control *control,
                        const struct rollout_slot *before, const struct rollout_slot *slots,
                        uint64_t now_ns)
{
    for (uint32_t i = 0; i < rollout->model->replica_count; i++) {
        uint32_t id = rollout->first_slot + i;

        if (slots[i].is_wanted == before[i].is_wanted)
            continue;
        if (slots[i].is_wanted)
            version_set(rollout, control->slots[id].replica, slots[i].version);
        replica_manager_event(control->manager, id,
                              slots[i].is_wanted ? REPLICA_WANTED : REPLICA_UNWANTED, now_ns);
    }
}

/* Whether one that is to take the place of another has waited for a slice of its own for too long. */
static void room_look(struct model_rollout *rollout, const struct control *control, uint64_t now_ns)
{
    for (uint32_t i = 0; i < rollout->model->replica_count && !rollout->has_no_room; i++) {
        const struct replica *replica =
            replica_manager_get(control->manager, rollout->first_slot + i);

        rollout->has_no_room = replica->is_wanted && replica->state == REPLICA_PLACING &&
                               now_ns - replica->state_since_ns >= ROOM_WAIT_NS;
    }
    if (rollout->has_no_room)
        log_warn("gateway/edge",
                 "model %s: no slice has room for one more replica: from now on each is replaced "
                 "in place",
                 rollout->model->name);
}

/* --- the whole --- */

/* What main wants, if that is new. */
static void wish_take(struct model_rollout *rollout, struct rollout_policy *policy, uint64_t now_ns)
{
    struct model_versions *versions = &rollout->model->versions;
    enum rollout_phase before = rollout->machine.phase;
    uint32_t wanted, superseded = rollout->machine.result_version;

    pthread_mutex_lock(&versions->lock);
    wanted = versions->wanted;
    *policy = versions->policy;
    pthread_mutex_unlock(&versions->lock);
    if (wanted == rollout->heard)
        return;
    rollout->heard = wanted;
    rollout->has_no_room = false;
    rollout_change(&rollout->machine, policy, wanted, now_ns);
    if (rollout->machine.result == ROLLOUT_SUPERSEDED &&
        rollout->machine.result_version != superseded) {
        result_count(rollout);
        log_info("gateway/edge", "model %s: version %u is given up for version %u",
                 rollout->model->name, rollout->machine.result_version, wanted);
    }
    if (rollout->machine.fresh == wanted) {
        static const struct version_counts none;

        rollout->failed_starts = rollout->deaths = 0;
        counts_set(&versions->fresh_counts, &none, 1);
    }
    atomic_store_explicit(&versions->fresh, rollout->machine.fresh, memory_order_relaxed);
    if (!rollout_is_active(&rollout->machine))
        return;
    rollout_log(rollout, before);
}

/* Where nothing follows from it. */
static void heard_note(struct model_rollout *rollout)
{
    struct model_versions *versions = &rollout->model->versions;

    pthread_mutex_lock(&versions->lock);
    versions->report.heard = rollout->heard;
    pthread_mutex_unlock(&versions->lock);
}

/* It has come to its end. */
static void finish(struct model_rollout *rollout)
{
    struct model_versions *versions = &rollout->model->versions;

    result_count(rollout);
    if (rollout->machine.result == ROLLOUT_DONE) {
        counts_set(&versions->stable_counts, &versions->fresh_counts, 1);
        atomic_store_explicit(&versions->stable, rollout->machine.stable, memory_order_relaxed);
    }
    atomic_store_explicit(&versions->fresh, rollout->machine.stable, memory_order_relaxed);
}

static uint64_t step(struct model_rollout *rollout, struct control *control, uint32_t target,
                     struct rollout_policy *policy, uint64_t now_ns)
{
    struct model_versions *versions = &rollout->model->versions;
    struct rollout_slot before[REPLICA_CHOICE_MAX], slots[REPLICA_CHOICE_MAX];
    struct rollout_outcomes fresh = outcomes_of(&versions->fresh_counts),
                            old = outcomes_of(&versions->stable_counts);
    enum rollout_phase phase = rollout->machine.phase;
    struct rollout_decision decision;
    bool has_ended;

    if (!rollout->has_no_room)
        room_look(rollout, control, now_ns);
    if (rollout->has_no_room)
        policy->surge = 0;
    fresh.failed_starts = rollout->failed_starts;
    fresh.deaths = rollout->deaths;
    CHECK(rollout->model->replica_count <= ARRAY_COUNT(slots));
    for (uint32_t i = 0; i < rollout->model->replica_count; i++)
        before[i] = slots[i] = slot_of(control, rollout->first_slot + i);
    decision = rollout_step(&rollout->machine, policy, slots, rollout->model->replica_count, target,
                            &fresh, &old, now_ns);
    has_ended = !rollout_is_active(&rollout->machine);
    atomic_store_explicit(&versions->fresh_share, decision.fresh_share, memory_order_relaxed);
    atomic_store_explicit(&rollout->model->wanted, target, memory_order_relaxed);
    slots_apply(rollout, control, before, slots, now_ns);
    if (has_ended)
        finish(rollout);
    report_write(rollout, &decision, &fresh, &old, has_ended);
    if (decision.has_changed && rollout->machine.phase != phase)
        rollout_log(rollout, phase);
    return decision.next_ns < now_ns + LOOK_NS ? decision.next_ns : now_ns + LOOK_NS;
}

uint64_t model_rollout_tick(struct model_rollout *rollout, struct control *control, uint32_t target,
                            uint64_t now_ns)
{
    struct rollout_policy policy;

    if (atomic_load_explicit(&rollout->edge->is_draining, memory_order_relaxed))
        return UINT64_MAX; /* nothing new is begun by who ends, or has handed over */
    wish_take(rollout, &policy, now_ns);
    if (rollout_is_active(&rollout->machine))
        return step(rollout, control, target, &policy, now_ns);
    heard_note(rollout);
    counts_fade(&rollout->model->versions.stable_counts);
    return UINT64_MAX;
}

void model_rollout_start(const struct model_rollout *rollout, struct edge_replica *replica)
{
    if (!rollout_is_active(&rollout->machine))
        version_set(rollout, replica, rollout->machine.stable);
}

void model_rollout_note(struct model_rollout *rollout, const struct edge_replica *shared,
                        const struct replica *replica)
{
    bool has_failed = replica->state == REPLICA_BACKING_OFF || replica->state == REPLICA_FAILED;

    if (!has_failed || !rollout_is_active(&rollout->machine) ||
        version_of(shared) != rollout->machine.fresh)
        return;
    if (replica->ready_since_ns == 0)
        rollout->failed_starts++;
    else
        rollout->deaths++;
}
