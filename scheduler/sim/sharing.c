/* Sharing: who gets how much when all ask for more than there is, and how long a gang waits for eight slices of one node. The book, the
 * queue with its backfilling, preemption and the quota tree are the server's; tenants and lifetimes are made up. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "clock.h"
#include "fleet.h"
#include "memory.h"
#include "simulation.h"

#define TENANTS      5u
#define GANG_TENANT  4u
#define GANG_PARTS   8u
#define SHARE        0.2 /* of the slices that each of the first four is guaranteed */
#define GANG_SHARE   0.1
#define STEP_S       10u
#define MIN_RUN_S    120u /* KAI's default for reclaim */
#define DRAIN_S      30u
#define LIFE_S       2400.0
#define GANG_LIFE_S  1800.0
#define GANG_EVERY_S 120.0 /* for each 1,000 slices */
/* What a tenant has waiting at most: 24, and a replica for each fifty slices. */
#define WAITING_LEAST      24u
#define WAITING_FOR_SLICES 50u
#define SWING_S            21600.0
#define SECOND_NS          1000000000ull
#define GANGS_MOST         65536u
#define MOVES_MOST         16u
#define MOVE_S             30u /* from a start elsewhere to the end of the old one */
#define LARGEST            4u  /* parts of what is not a gang */

struct replica {
    uint64_t uid; /* 0: free */
    uint32_t tenant, parts;
    bool is_placed;
    uint64_t asked_s, ends_s;
    double life_s;
};

struct tenant {
    uint32_t node; /* of the quota tree */
    uint32_t guaranteed, held, waiting, waiting_parts;
    uint64_t below_since_s; /* 0: it is not */
};

struct sharing {
    const struct simulation_config *config;
    struct simulation_sharing *report;
    struct fleet fleet;
    struct tenant tenants[TENANTS];
    struct replica *replicas;
    uint32_t room, free_from, held;
    double *gang_waits;
    struct chance chance;
    uint64_t now_s, generation;
    uint64_t repacked_until_s; /* what was moved then has ended */
    double next_gang_s, load_sum, round_us_sum;
};

/* --- the tenants --- */

static status tree_make(struct sharing *sharing, struct quota_tree **out)
{
    uint32_t slices = sharing->config->clusters * sharing->config->slices_per_cluster;
    status result = quota_tree_create(TENANTS + 1, out);

    for (uint32_t i = 0; i < TENANTS && result == STATUS_OK; i++) {
        struct tenant *tenant = &sharing->tenants[i];
        struct quota_config config = {.weight = 1};

        tenant->guaranteed = (uint32_t)(slices * (i == GANG_TENANT ? GANG_SHARE : SHARE));
        config.guaranteed.of[QUOTA_COMPUTE] = (uint64_t)tenant->guaranteed * 1000;
        for (int k = 0; k < QUOTA_RESOURCE_COUNT; k++)
            config.limit.of[k] = QUOTA_UNLIMITED;
        result = quota_tree_add(*out, QUOTA_ROOT, &config, &tenant->node);
    }
    return result;
}

/* What a tenant would have now: the first three times its guarantee; the others a fifth of it or, from one moment to the next and each
 * at its own hour, 1.6 of it, so that what was borrowed from them is asked back all at once. */
static double demand_of(const struct sharing *sharing, uint32_t tenant)
{
    double turn = fmod((double)sharing->now_s / SWING_S + tenant / 4.0, 1);

    return sharing->tenants[tenant].guaranteed * (tenant == 0 ? 3 : turn < 0.5 ? 1.6 : 0.2);
}

static struct replica *replica_make(struct sharing *sharing)
{
    for (uint32_t i = 0; i < sharing->room; i++) {
        uint32_t number = (sharing->free_from + i) % sharing->room;

        if (sharing->replicas[number].uid == 0) {
            sharing->free_from = number + 1;
            sharing->replicas[number].uid = ++sharing->generation << 20 | (number + 1);
            return &sharing->replicas[number];
        }
    }
    return NULL;
}

static void ask(struct sharing *sharing, uint32_t number, uint32_t parts, double life_s)
{
    struct tenant *tenant = &sharing->tenants[number];
    struct replica *replica = replica_make(sharing);
    struct placement_request request = {.model = number,
                                        .tenant = tenant->node,
                                        .priority = number == GANG_TENANT ? 1 : 0,
                                        .is_preemptible = true,
                                        .is_movable = parts == 1,
                                        .shape = {.compute_milli = 1000, .takes_preemptible = true},
                                        .part_count = parts,
                                        .domain_max = PLACEMENT_NODE,
                                        .reserve_ns = 3600 * SECOND_NS};

    if (replica == NULL)
        return;
    request.uid = replica->uid;
    request.run_ns = (uint64_t)(life_s * (double)SECOND_NS);
    replica->tenant = number;
    replica->parts = parts;
    replica->is_placed = false;
    replica->asked_s = sharing->now_s;
    replica->life_s = life_s;
    if (placement_queue_add(sharing->fleet.queue, &request, sharing->now_s * SECOND_NS) !=
        STATUS_OK) {
        replica->uid = 0;
        return;
    }
    tenant->waiting++;
    tenant->waiting_parts += parts;
}

static uint32_t waiting_most_of(const struct sharing *sharing)
{
    return WAITING_LEAST + sharing->fleet.slice_count / WAITING_FOR_SLICES;
}

static void ask_all(struct sharing *sharing)
{
    static const uint32_t sizes[] = {1, 1, 1, 1, 1, 1, 2, 2, LARGEST, LARGEST};
    double slices = sharing->fleet.slice_count;
    uint32_t waiting_most = waiting_most_of(sharing);

    for (uint32_t i = 0; i < GANG_TENANT; i++) {
        struct tenant *tenant = &sharing->tenants[i];

        while (tenant->waiting < waiting_most &&
               tenant->held + tenant->waiting_parts < demand_of(sharing, i)) {
            uint32_t taken = sharing->held;

            for (uint32_t k = 0; k < TENANTS; k++)
                taken += sharing->tenants[k].waiting_parts;
            /* Who asks for what it is guaranteed may; the rest of the load is filled up to what was asked for. */
            if (tenant->held + tenant->waiting_parts >= tenant->guaranteed &&
                taken >= sharing->config->load * slices)
                break;
            ask(sharing, i, sizes[chance_below(&sharing->chance, ARRAY_COUNT(sizes))],
                LIFE_S * chance_exponential(&sharing->chance));
        }
    }
    while (sharing->next_gang_s <= (double)sharing->now_s) {
        struct tenant *tenant = &sharing->tenants[GANG_TENANT];

        sharing->next_gang_s += chance_exponential(&sharing->chance) * GANG_EVERY_S * 1000 / slices;
        if (tenant->held + tenant->waiting_parts + GANG_PARTS > tenant->guaranteed)
            continue;
        sharing->report->gangs++;
        ask(sharing, GANG_TENANT, GANG_PARTS, GANG_LIFE_S * chance_exponential(&sharing->chance));
    }
}

/* --- what becomes of them --- */

static struct replica *replica_of(struct sharing *sharing, uint64_t uid)
{
    return &sharing->replicas[(uid & 0xFFFFF) - 1];
}

static void placed(void *context, const struct placement_request *request,
                   const struct placement_decision *decision)
{
    struct sharing *sharing = context;
    struct replica *replica = replica_of(sharing, request->uid);
    struct tenant *tenant = &sharing->tenants[replica->tenant];

    CHECK(decision->part_count == replica->parts);
    CHECK(pool_commit(sharing->fleet.pool, replica->uid, sharing->now_s * SECOND_NS) == STATUS_OK);
    replica->is_placed = true;
    replica->ends_s = sharing->now_s + (uint64_t)replica->life_s + 1;
    tenant->waiting--;
    tenant->waiting_parts -= replica->parts;
    tenant->held += replica->parts;
    sharing->held += replica->parts;
    sharing->report->placements++;
    if (replica->tenant == GANG_TENANT && sharing->report->gangs_placed < GANGS_MOST)
        sharing->gang_waits[sharing->report->gangs_placed++] =
            (double)(sharing->now_s - replica->asked_s);
}

static void preempt(void *context, const struct placement_request *request,
                    const struct placement_preemption *preemption)
{
    struct sharing *sharing = context;
    (void)request;

    for (uint32_t i = 0; i < preemption->victim_count; i++) {
        struct replica *victim = replica_of(sharing, preemption->victims[i]);
        uint64_t ends_s = sharing->now_s + DRAIN_S;

        victim->ends_s = ends_s < victim->ends_s ? ends_s : victim->ends_s;
        sharing->report->preemptions++;
    }
}

/* Starts `old` elsewhere; where it was it ends when that runs. */
static void move(struct sharing *sharing, const struct placement_move *moved)
{
    struct replica *old = replica_of(sharing, moved->uid), *new = replica_make(sharing);
    const struct booking *booking = pool_booking_find(sharing->fleet.pool, moved->uid);
    struct booking_request request;

    if (new == NULL || booking == NULL || booking->phase != BOOKING_COMMITTED)
        return;
    request = (struct booking_request){.uid = new->uid,
                                       .model = booking->model,
                                       .tenant = booking->tenant,
                                       .priority = booking->priority,
                                       .is_preemptible = booking->is_preemptible,
                                       .is_movable = true,
                                       .shape = booking->shape,
                                       .run_ns = booking->run_ns,
                                       .expires_ns = (sharing->now_s + 60) * SECOND_NS,
                                       .part_count = 1,
                                       .parts = &moved->to};
    if (pool_reserve(sharing->fleet.pool, &request, sharing->now_s * SECOND_NS) != STATUS_OK) {
        new->uid = 0;
        return;
    }
    CHECK(pool_commit(sharing->fleet.pool, new->uid, sharing->now_s * SECOND_NS) == STATUS_OK);
    new->tenant = old->tenant;
    new->parts = 1;
    new->is_placed = true;
    new->ends_s = old->ends_s;
    sharing->tenants[new->tenant].held++;
    sharing->held++;
    if (old->ends_s > sharing->now_s + MOVE_S)
        old->ends_s = sharing->now_s + MOVE_S;
    CHECK(pool_drain(sharing->fleet.pool, old->uid, old->ends_s * SECOND_NS) == STATUS_OK);
    sharing->report->moves++;
}

/* Makes room for the first gang that waits and for which no end in sight does, by moving others. */
static void repack(struct sharing *sharing)
{
    static struct placement_repacking repacking;
    uint64_t now_ns = sharing->now_s * SECOND_NS;
    struct placement_waiting waiting;

    if (sharing->now_s < sharing->repacked_until_s)
        return;
    for (uint32_t i = 0; placement_queue_get(sharing->fleet.queue, i, &waiting); i++) {
        if (waiting.request->part_count < GANG_PARTS ||
            (waiting.has_hold && waiting.start_ns <= now_ns + MOVE_S * SECOND_NS))
            continue;
        if (placement_repack(sharing->fleet.placement, waiting.request, MOVES_MOST, now_ns,
                             &repacking) != STATUS_OK)
            continue;
        for (uint32_t k = 0; k < repacking.move_count; k++)
            move(sharing, &repacking.moves[k]);
        sharing->repacked_until_s = sharing->now_s + MOVE_S;
        return;
    }
}

static void end_all(struct sharing *sharing)
{
    for (uint32_t i = 0; i < sharing->room; i++) {
        struct replica *replica = &sharing->replicas[i];

        if (replica->uid == 0 || !replica->is_placed || replica->ends_s > sharing->now_s)
            continue;
        CHECK(pool_release(sharing->fleet.pool, replica->uid));
        sharing->tenants[replica->tenant].held -= replica->parts;
        sharing->held -= replica->parts;
        replica->uid = 0;
    }
}

static void round_once(struct sharing *sharing)
{
    struct placement_queue_driver driver = {.placed = placed,
                                            .preempt = preempt,
                                            .context = sharing,
                                            .drain_ns = DRAIN_S * SECOND_NS,
                                            .min_run_ns = MIN_RUN_S * SECOND_NS};
    struct simulation_sharing *report = sharing->report;
    uint64_t begin_ns;
    double took_us;

    for (uint32_t i = 0; i < TENANTS; i++) {
        struct quota_amount waiting = {0};

        waiting.of[QUOTA_COMPUTE] = (uint64_t)sharing->tenants[i].waiting_parts * 1000;
        quota_tree_set_waiting(sharing->fleet.quota, sharing->tenants[i].node, &waiting);
    }
    begin_ns = clock_now_ns();
    quota_tree_divide(sharing->fleet.quota);
    (void)placement_queue_round(sharing->fleet.queue, &driver, sharing->now_s * SECOND_NS);
    took_us = (double)(clock_now_ns() - begin_ns) / 1e3;
    report->rounds++;
    sharing->round_us_sum += took_us;
    report->round_us_most = fmax(report->round_us_most, took_us);
}

/* Below its guarantee: it has less by more than the largest of its replicas, and asks. */
static void look(struct sharing *sharing)
{
    for (uint32_t i = 0; i < TENANTS; i++) {
        struct tenant *tenant = &sharing->tenants[i];
        uint32_t piece = i == GANG_TENANT ? GANG_PARTS : LARGEST;

        if (tenant->waiting == 0 || tenant->held + piece > tenant->guaranteed) {
            tenant->below_since_s = 0;
            continue;
        }
        if (tenant->below_since_s == 0)
            tenant->below_since_s = sharing->now_s;
        sharing->report->below_s_most =
            fmax(sharing->report->below_s_most, (double)(sharing->now_s - tenant->below_since_s));
    }
    sharing->load_sum += (double)sharing->held / sharing->fleet.slice_count;
}

static int compare_waits(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;

    return (a > b) - (a < b);
}

static void summarise(struct sharing *sharing)
{
    struct simulation_sharing *report = sharing->report;
    uint32_t count = report->gangs_placed;

    qsort(sharing->gang_waits, count, sizeof(*sharing->gang_waits), compare_waits);
    for (uint32_t i = 0; i < count; i++)
        report->gang_wait_s_mean += sharing->gang_waits[i] / count;
    if (count > 0) {
        report->gang_wait_s_p99 = sharing->gang_waits[(uint32_t)(0.99 * (count - 1))];
        report->gang_wait_s_most = sharing->gang_waits[count - 1];
    }
    for (uint32_t i = 0; i < sharing->room; i++) {
        const struct replica *replica = &sharing->replicas[i];

        if (replica->uid != 0 && !replica->is_placed && replica->tenant == GANG_TENANT)
            report->gang_oldest_s =
                fmax(report->gang_oldest_s, (double)(sharing->now_s - replica->asked_s));
    }
    report->load_mean = sharing->load_sum / report->rounds;
    report->round_us_mean = sharing->round_us_sum / report->rounds;
    report->reclaim_s = MIN_RUN_S + DRAIN_S + 2 * STEP_S;
    report->is_consistent = pool_is_consistent(sharing->fleet.pool);
}

static status sharing_init(struct sharing *sharing)
{
    const struct simulation_config *config = sharing->config;
    struct quota_tree *quota = NULL;
    struct quota_amount capacity;
    status result = tree_make(sharing, &quota);

    if (result != STATUS_OK) {
        quota_tree_destroy(quota);
        return result;
    }
    result = fleet_init(&sharing->fleet, config->clusters, config->slices_per_cluster, config->seed,
                        quota);
    if (result != STATUS_OK)
        return result;
    capacity = pool_capacity(sharing->fleet.pool);
    quota_tree_set_capacity(quota, &capacity);
    chance_init(&sharing->chance, config->seed, 0x73686172696e67, 0);
    sharing->room = sharing->fleet.slice_count + TENANTS * waiting_most_of(sharing);
    sharing->replicas = memory_allocate_array(sharing->room, sizeof(*sharing->replicas));
    sharing->gang_waits = memory_allocate_array(GANGS_MOST, sizeof(*sharing->gang_waits));
    return sharing->replicas == NULL || sharing->gang_waits == NULL ? STATUS_NO_MEMORY : STATUS_OK;
}

status simulation_share(const struct simulation_config *config, struct simulation_sharing *report,
                        struct error_note *note)
{
    struct sharing sharing = {.config = config, .report = report};
    uint64_t begin_ns = clock_now_ns();
    status result = simulation_check(config, note);

    if (result != STATUS_OK)
        return result;
    memset(report, 0, sizeof(*report));
    result = sharing_init(&sharing);
    if (result == STATUS_OK) {
        while (sharing.now_s < (uint64_t)config->hours * 3600) {
            sharing.now_s += STEP_S;
            end_all(&sharing);
            ask_all(&sharing);
            round_once(&sharing);
            repack(&sharing);
            look(&sharing);
        }
        summarise(&sharing);
    } else {
        error_note_set(note, "clusters of this size: %s", status_name(result));
    }
    memory_release(sharing.replicas);
    memory_release(sharing.gang_waits);
    fleet_deinit(&sharing.fleet);
    report->wall_s = (double)(clock_now_ns() - begin_ns) / 1e9;
    return result;
}
