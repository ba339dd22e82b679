#include "pool_metrics.h"

#include <string.h>

#include "check.h"
#include "clock.h"

status pool_metrics_init(struct pool_metrics *metrics, metrics_registry *registry)
{
    static const char *const states[] = {"member", "state", NULL};
    static const char *const member[] = {"member", NULL};
    static const char *const reason[] = {"reason", NULL};
    static const char *const outcome[] = {"outcome", NULL};
    static const char *const quota[] = {"quota", "amount", NULL};
    metrics_family *devices, *devices_booked, *memory, *memory_booked, *stranded;
    const struct {
        metrics_family **out;
        struct metrics_family_options options;
    } rows[] = {
        {&metrics->slices,
         {METRICS_GAUGE, "penstock_pool_slices", "Slices by member and state.", states, NULL, 0,
          0}},
        {&metrics->member_states,
         {METRICS_GAUGE, "penstock_pool_member_state",
          "1 for the state that a member is in (connecting, synced, stale, lost), else 0.", states,
          NULL, 0, 0}},
        {&metrics->member_silence,
         {METRICS_GAUGE, "penstock_pool_member_silence_seconds",
          "Time since a member was heard last.", member, NULL, 0, 0}},
        {&metrics->member_backlog,
         {METRICS_GAUGE, "penstock_pool_member_backlog", "Orders that a member has not heard yet.",
          member, NULL, 0, 0}},
        {&devices,
         {METRICS_GAUGE, "penstock_pool_devices",
          "Capacity of sound slices of members that are not lost, in devices.", NULL, NULL, 0, 0}},
        {&devices_booked,
         {METRICS_GAUGE, "penstock_pool_devices_booked", "Devices that replicas have been given.",
          NULL, NULL, 0, 0}},
        {&memory,
         {METRICS_GAUGE, "penstock_pool_memory_bytes",
          "Memory of sound slices of members that are not lost.", NULL, NULL, 0, 0}},
        {&memory_booked,
         {METRICS_GAUGE, "penstock_pool_memory_booked_bytes",
          "Memory of slices that replicas have been given.", NULL, NULL, 0, 0}},
        {&stranded,
         {METRICS_GAUGE, "penstock_pool_stranded_share",
          "Share of all compute that is free, but in pieces that what is asked for cannot use.",
          NULL, NULL, 0, 0}},
        {&metrics->waiting,
         {METRICS_GAUGE, "penstock_placement_waiting",
          "Replicas that wait for a slice, by why the slices that came nearest will not do.",
          reason, NULL, 0, 0}},
        {&metrics->decisions,
         {METRICS_COUNTER, "penstock_placement_decisions_total",
          "Replicas that were placed; of them those that their member refused, and those that were "
          "preempted.",
          outcome, NULL, 0, 0}},
        {&metrics->quota_devices,
         {METRICS_GAUGE, "penstock_pool_quota_devices",
          "Devices by quota: guaranteed, used, fair share, and borrowed beyond the guarantee.",
          quota, NULL, 0, 0}},
    };

    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        status result = metrics_family_create(registry, &rows[i].options, rows[i].out);

        if (result != STATUS_OK)
            return result;
    }
    metrics->devices = metrics_series_get(devices, NULL);
    metrics->devices_booked = metrics_series_get(devices_booked, NULL);
    metrics->memory = metrics_series_get(memory, NULL);
    metrics->memory_booked = metrics_series_get(memory_booked, NULL);
    metrics->stranded = metrics_series_get(stranded, NULL);
    return STATUS_OK;
}

static void set2(metrics_family *family, const char *first, const char *second, double value)
{
    const char *const labels[] = {first, second};

    metrics_set(metrics_series_get(family, labels), value);
}

static void member_collect(struct pool_metrics *metrics, const struct pool_admin *admin,
                           uint32_t member, uint64_t now_ns)
{
    struct member_info info;

    if (!pool_member_get(replica_fleet_pool(admin->fleet), member, &info))
        return;
    for (uint32_t state = 0; state < POOL_STATE_COUNT; state++)
        set2(metrics->slices, info.name, pool_slice_state_name(state),
             metrics->slice_counts[member][state]);
    for (int state = 0; state < MEMBER_STATE_COUNT; state++)
        set2(metrics->member_states, info.name, member_state_name((enum member_state)state),
             state == (int)info.state);
    metrics_set(metrics_series_get(metrics->member_silence, &info.name),
                now_ns > info.heard_ns ? (double)(now_ns - info.heard_ns) / NS_PER_SECOND : 0);
    metrics_set(metrics_series_get(metrics->member_backlog, &info.name),
                replica_fleet_member_backlog(admin->fleet, member));
}

static void slices_collect(struct pool_metrics *metrics, const struct pool_admin *admin,
                           uint64_t now_ns)
{
    const struct pool *pool = replica_fleet_pool(admin->fleet);
    const struct pool_columns *columns = pool_columns(pool);
    uint64_t milli_booked = 0, memory_booked = 0;

    memset(metrics->slice_counts, 0, sizeof(metrics->slice_counts));
    for (uint32_t i = 0; i < columns->count; i++) {
        if (columns->presence[i] == SLICE_ABSENT)
            continue;
        metrics->slice_counts[columns->member[i]][pool_slice_state(columns, i)]++;
        milli_booked += columns->compute_booked[i];
        memory_booked += columns->memory_booked[i];
    }
    for (uint32_t member = 0; member < pool_member_bound(pool); member++)
        member_collect(metrics, admin, member, now_ns);
    metrics_set(metrics->devices_booked, (double)milli_booked / 1000);
    metrics_set(metrics->memory_booked, (double)memory_booked);
}

static void waiting_collect(struct pool_metrics *metrics, const struct replica_fleet *fleet)
{
    const struct placement_queue *queue = replica_fleet_queue(fleet);
    uint32_t counts[PLACEMENT_REASON_COUNT] = {0};
    struct placement_waiting waiting;

    for (uint32_t i = 0; placement_queue_get(queue, i, &waiting); i++)
        counts[waiting.reason]++;
    for (int i = 0; i < PLACEMENT_REASON_COUNT; i++) {
        /* Not tried yet. */
        const char *name =
            i == PLACEMENT_FITS ? "new" : placement_reason_name((enum placement_reason)i);

        metrics_set(metrics_series_get(metrics->waiting, &name), counts[i]);
    }
}

static void quotas_collect(struct pool_metrics *metrics, const struct pool_admin *admin)
{
    for (uint32_t i = 0; admin->quota != NULL && i < quota_tree_count(admin->quota); i++) {
        const char *name = admin->quota_names[i];
        uint64_t guaranteed = quota_tree_config(admin->quota, i)->guaranteed.of[QUOTA_COMPUTE],
                 used = quota_tree_used(admin->quota, i)->of[QUOTA_COMPUTE],
                 fair = quota_tree_fair(admin->quota, i)->of[QUOTA_COMPUTE];

        set2(metrics->quota_devices, name, "guaranteed", (double)guaranteed / 1000);
        set2(metrics->quota_devices, name, "used", (double)used / 1000);
        set2(metrics->quota_devices, name, "fair", (double)fair / 1000);
        set2(metrics->quota_devices, name, "borrowed",
             used > guaranteed ? (double)(used - guaranteed) / 1000 : 0);
    }
}

void pool_metrics_collect(struct pool_metrics *metrics, const struct pool_admin *admin,
                          uint64_t now_ns)
{
    const struct placement_log *log = replica_fleet_log(admin->fleet);
    struct quota_amount capacity = pool_capacity(replica_fleet_pool(admin->fleet));

    slices_collect(metrics, admin, now_ns);
    metrics_set(metrics->devices, (double)capacity.of[QUOTA_COMPUTE] / 1000);
    metrics_set(metrics->memory, (double)capacity.of[QUOTA_MEMORY]);
    if (admin->mix_count > 0)
        metrics_set(metrics->stranded, placement_stranded(replica_fleet_placement(admin->fleet),
                                                          admin->mix, admin->mix_count)
                                           .stranded_share);
    waiting_collect(metrics, admin->fleet);
    for (int i = 0; i < PLACEMENT_OUTCOME_COUNT; i++) {
        const char *name = placement_outcome_name((enum placement_outcome)i);

        metrics_set(metrics_series_get(metrics->decisions, &name),
                    (double)placement_log_total(log, (enum placement_outcome)i));
    }
    quotas_collect(metrics, admin);
}
