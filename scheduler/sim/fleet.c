#include "fleet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "memory.h"

#define SECOND_NS        1000000000ull
#define HOLDS_FOREVER_NS (365ull * 86400 * SECOND_NS)
#define PRICE_UNIT       1000000000ll

static const struct product {
    const char *name;
    uint16_t compute_capability;
    uint64_t memory_bytes;
    int64_t price_nano_hour;
} products[FLEET_PRODUCTS] = {
    {"H100-80GB-HBM3", 90, 80ull << 30, 3 * PRICE_UNIT},
    {"A100-80GB", 80, 80ull << 30, 2 * PRICE_UNIT},
    {"L40S-48GB", 89, 48ull << 30, PRICE_UNIT},
};
#define SPOT_PRICE_SHARE      0.4
#define SPOT_PREEMPTIONS_HOUR 0.1f

/* Of twenty clusters twelve, five and three have the three products; every fourth is on spot. */
uint32_t fleet_cluster_product(uint32_t cluster)
{
    uint32_t place = cluster * 7 % 20;

    return place < 12 ? 0 : place < 17 ? 1 : 2;
}

bool fleet_cluster_is_spot(uint32_t cluster)
{
    return cluster / 20 % 4 == 3 || (cluster < 20 && cluster % 4 == 3);
}

int64_t fleet_spot_price(uint32_t product)
{
    return (int64_t)(SPOT_PRICE_SHARE * (double)products[product].price_nano_hour);
}

uint32_t fleet_cluster_zone(uint32_t cluster)
{
    return cluster % (FLEET_REGIONS * FLEET_ZONES);
}

/* --- building --- */

void fleet_node_report(struct fleet *fleet, uint32_t node, uint64_t now_ns)
{
    const struct fleet_node *of = &fleet->nodes[node];
    const struct product *product = &products[fleet_cluster_product(of->cluster)];
    uint32_t zone = fleet_cluster_zone(of->cluster);
    bool is_spot = fleet_cluster_is_spot(of->cluster);
    char name[32], id[64], region_name[32], zone_name[32];
    struct slice_report report = {.node = name,
                                  .nvlink_domain = name,
                                  .region = region_name,
                                  .zone = zone_name,
                                  .id = id,
                                  .product = product->name,
                                  .kind = SLICE_GPU,
                                  .vendor = SLICE_NVIDIA,
                                  .numa = -1,
                                  .compute_capability = product->compute_capability,
                                  .memory_bytes = product->memory_bytes,
                                  .compute_milli = 1000,
                                  .tenants_max = 1,
                                  .is_preemptible = is_spot,
                                  .preemptions_hour = is_spot ? SPOT_PREEMPTIONS_HOUR : 0};

    report.health = of->is_down ? SLICE_BAD : of->is_leaving ? SLICE_DRAINING : SLICE_OK;
    report.price_nano_hour =
        is_spot ? fleet_spot_price(fleet_cluster_product(of->cluster)) : product->price_nano_hour;
    (void)snprintf(name, sizeof(name), "node%u", node - fleet->cluster_first_node[of->cluster]);
    (void)snprintf(region_name, sizeof(region_name), "region%u", zone / FLEET_ZONES);
    (void)snprintf(zone_name, sizeof(zone_name), "zone%u", zone);
    for (uint32_t i = 0; i < of->slice_count; i++) {
        (void)snprintf(id, sizeof(id), "%s/%u", name, i);
        CHECK(pool_slice_upsert(fleet->pool, of->cluster, &report, now_ns) == STATUS_OK);
        if (fleet->nodes[node].first_slice == POOL_SLICE_NONE)
            fleet->nodes[node].first_slice = pool_slice_find(fleet->pool, of->cluster, id);
    }
}

static status nodes_make(struct fleet *fleet, uint32_t slices_per_cluster)
{
    uint32_t a_cluster = (slices_per_cluster + FLEET_NODE_SLICES - 1) / FLEET_NODE_SLICES;

    fleet->nodes =
        memory_allocate_array((size_t)fleet->cluster_count * a_cluster, sizeof(*fleet->nodes));
    fleet->cluster_first_node =
        memory_allocate_array(fleet->cluster_count + 1, sizeof(*fleet->cluster_first_node));
    if (fleet->nodes == NULL || fleet->cluster_first_node == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t cluster = 0; cluster < fleet->cluster_count; cluster++) {
        fleet->cluster_first_node[cluster] = fleet->node_count;
        for (uint32_t left = slices_per_cluster; left > 0;) {
            uint32_t count = left < FLEET_NODE_SLICES ? left : FLEET_NODE_SLICES;

            fleet->nodes[fleet->node_count++] = (struct fleet_node){
                .cluster = cluster, .slice_count = count, .first_slice = POOL_SLICE_NONE};
            left -= count;
        }
        fleet->slices_of[fleet_cluster_product(cluster)] += slices_per_cluster;
    }
    fleet->cluster_first_node[fleet->cluster_count] = fleet->node_count;
    fleet->slice_count = fleet->cluster_count * slices_per_cluster;
    return STATUS_OK;
}

static status members_make(struct fleet *fleet)
{
    for (uint32_t cluster = 0; cluster < fleet->cluster_count; cluster++) {
        char name[32];
        struct member_config config = {
            .name = name, .interval_ns = HOLDS_FOREVER_NS / 8, .lost_after_ns = HOLDS_FOREVER_NS};
        uint32_t member;
        status result;

        (void)snprintf(name, sizeof(name), "cluster%u", cluster);
        result = pool_member_add(fleet->pool, &config, 0, &member);
        if (result != STATUS_OK)
            return result;
        CHECK(member == cluster);
        pool_list_begin(fleet->pool, member, 0);
        for (uint32_t node = fleet->cluster_first_node[cluster];
             node < fleet->cluster_first_node[cluster + 1]; node++)
            fleet_node_report(fleet, node, 0);
        (void)pool_list_end(fleet->pool, member, 0);
    }
    for (uint32_t i = 0; i < FLEET_PRODUCTS; i++) {
        status result = pool_name_acquire(fleet->pool, products[i].name, &fleet->products[i]);

        if (result != STATUS_OK)
            return result;
    }
    return STATUS_OK;
}

status fleet_init(struct fleet *fleet, uint32_t clusters, uint32_t slices_per_cluster,
                  uint64_t seed, struct quota_tree *quota)
{
    uint32_t slices = clusters * slices_per_cluster;
    struct pool_limits limits = {.members_max = clusters,
                                 .slices_max = slices,
                                 .bookings_max = slices,
                                 .parts_max = slices,
                                 .names_max = 4 * slices + 1024};
    struct hash_key key = {seed, ~seed};
    status result;

    memset(fleet, 0, sizeof(*fleet));
    fleet->cluster_count = clusters;
    fleet->quota = quota;
    result = nodes_make(fleet, slices_per_cluster);
    if (result == STATUS_OK)
        result = pool_create(&limits, &key, quota, &fleet->pool);
    if (result == STATUS_OK)
        result = members_make(fleet);
    if (result == STATUS_OK)
        result = placement_create(fleet->pool, quota, &fleet->placement);
    if (result == STATUS_OK)
        result = placement_queue_create(fleet->placement, slices, &fleet->queue);
    if (result != STATUS_OK)
        fleet_deinit(fleet);
    return result;
}

void fleet_deinit(struct fleet *fleet)
{
    placement_queue_destroy(fleet->queue);
    placement_destroy(fleet->placement);
    pool_destroy(fleet->pool);
    quota_tree_destroy(fleet->quota);
    memory_release(fleet->nodes);
    memory_release(fleet->cluster_first_node);
    memset(fleet, 0, sizeof(*fleet));
}

void fleet_node_replicas(struct fleet *fleet, uint32_t node,
                         void (*visit)(void *context, uint64_t uid), void *context)
{
    uint64_t uids[FLEET_NODE_SLICES];
    uint32_t count = 0;

    /* Slices hold one replica each here, and a node's slices follow each other in the pool. */
    for (uint32_t i = 0; i < fleet->nodes[node].slice_count; i++) {
        uint32_t part = pool_slice_part_first(fleet->pool, fleet->nodes[node].first_slice + i),
                 k = 0;
        uint64_t uid;

        if (part == POOL_SLICE_NONE)
            continue;
        uid = pool_booking_at(fleet->pool, pool_part_row(fleet->pool, part))->uid;
        while (k < count && uids[k] != uid)
            k++;
        if (k == count)
            uids[count++] = uid;
    }
    for (uint32_t i = 0; i < count; i++)
        visit(context, uids[i]);
}

/* --- what happens --- */

/* Rates of a large fleet: a node is lost every 30 days (Meta's Llama 3 report: 419 interruptions of 16,384 GPUs in 54 days is one a
 * node every 264 days for whole jobs; hosts of mixed age are worse), back in 10 to 60 minutes. */
#define NODE_LOSSES_A_DAY    (1.0 / 30)
#define NODE_BACK_LEAST_S    600.0
#define NODE_BACK_MOST_S     3600.0
#define CLUSTER_LOSSES_A_DAY 0.02 /* each */
#define ZONE_LOSSES_A_DAY    0.02 /* each */
#define OUTAGE_LEAST_S       300.0
#define OUTAGE_MOST_S        1800.0
#define SPOT_WAVES_A_DAY     1.0 /* each spot cluster */
#define SPOT_WAVE_SHARE      0.6 /* of its nodes */
#define SPOT_BACK_LEAST_S    1200.0
#define SPOT_BACK_MOST_S     5400.0

struct making {
    struct fleet_future future;
    uint32_t room;
    bool is_out_of_memory;
};

static void event_add(struct making *making, double at_s, uint32_t node, enum fleet_event_kind kind)
{
    struct fleet_future *future = &making->future;

    if (future->count == making->room) {
        uint32_t room = making->room > 0 ? making->room * 2 : 256;
        struct fleet_event *events = memory_resize(future->events, room * sizeof(*events));

        if (events == NULL) {
            making->is_out_of_memory = true;
            return;
        }
        future->events = events;
        making->room = room;
    }
    future->events[future->count++] =
        (struct fleet_event){(uint64_t)(at_s * (double)SECOND_NS), node, kind};
}

/* The nodes of one cluster go and come back together. */
static void outage(const struct fleet *fleet, struct making *making, uint32_t cluster, double at_s,
                   double back_s)
{
    for (uint32_t node = fleet->cluster_first_node[cluster];
         node < fleet->cluster_first_node[cluster + 1]; node++) {
        event_add(making, at_s, node, FLEET_NODE_DOWN);
        event_add(making, back_s, node, FLEET_NODE_UP);
    }
}

static double between(struct chance *chance, double least, double most)
{
    return least + chance_unit(chance) * (most - least);
}

static void spot_waves(const struct fleet *fleet, struct making *making, struct chance *chance,
                       uint32_t cluster, double seconds)
{
    for (double at_s = 0;;) {
        at_s += chance_exponential(chance) * 86400 / SPOT_WAVES_A_DAY;
        if (at_s >= seconds)
            return;
        making->future.spot_waves++;
        for (uint32_t node = fleet->cluster_first_node[cluster];
             node < fleet->cluster_first_node[cluster + 1]; node++) {
            double back_s = between(chance, SPOT_BACK_LEAST_S, SPOT_BACK_MOST_S);

            if (chance_unit(chance) >= SPOT_WAVE_SHARE)
                continue;
            event_add(making, at_s, node, FLEET_NODE_NOTICE);
            event_add(making, at_s + (double)FLEET_NOTICE_NS / SECOND_NS, node, FLEET_NODE_DOWN);
            event_add(making, at_s + back_s, node, FLEET_NODE_UP);
        }
    }
}

static int event_compare(const void *left, const void *right)
{
    const struct fleet_event *a = left, *b = right;

    if (a->at_ns != b->at_ns)
        return a->at_ns < b->at_ns ? -1 : 1;
    if (a->node != b->node)
        return a->node < b->node ? -1 : 1;
    return (int)a->kind - (int)b->kind;
}

static void node_losses(const struct fleet *fleet, struct making *making, struct chance *chance,
                        double seconds)
{
    for (uint32_t node = 0; node < fleet->node_count; node++) {
        for (double at_s = 0;;) {
            at_s += chance_exponential(chance) * 86400 / NODE_LOSSES_A_DAY;
            if (at_s >= seconds)
                break;
            making->future.node_losses++;
            event_add(making, at_s, node, FLEET_NODE_DOWN);
            event_add(making, at_s + between(chance, NODE_BACK_LEAST_S, NODE_BACK_MOST_S), node,
                      FLEET_NODE_UP);
        }
    }
}

static void cluster_losses(const struct fleet *fleet, struct making *making, struct chance *chance,
                           double seconds)
{
    for (uint32_t cluster = 0; cluster < fleet->cluster_count; cluster++) {
        double at_s = chance_exponential(chance) * 86400 / CLUSTER_LOSSES_A_DAY;

        if (at_s < seconds) {
            making->future.cluster_losses++;
            outage(fleet, making, cluster, at_s,
                   at_s + between(chance, OUTAGE_LEAST_S, OUTAGE_MOST_S));
        }
        if (fleet_cluster_is_spot(cluster))
            spot_waves(fleet, making, chance, cluster, seconds);
    }
}

static void zone_losses(const struct fleet *fleet, struct making *making, struct chance *chance,
                        double seconds)
{
    for (uint32_t zone = 0; zone < FLEET_REGIONS * FLEET_ZONES; zone++) {
        double at_s = chance_exponential(chance) * 86400 / ZONE_LOSSES_A_DAY;
        double back_s = at_s + between(chance, OUTAGE_LEAST_S, OUTAGE_MOST_S);

        if (at_s >= seconds || zone >= fleet->cluster_count)
            continue;
        making->future.zone_losses++;
        for (uint32_t cluster = zone; cluster < fleet->cluster_count;
             cluster += FLEET_REGIONS * FLEET_ZONES)
            outage(fleet, making, cluster, at_s, back_s);
    }
}

status fleet_foresee(const struct fleet *fleet, uint64_t seed, uint32_t seconds,
                     struct fleet_future *out)
{
    struct making making = {0};
    struct chance chance;

    chance_init(&chance, seed, 0x6661756c7473, 0);
    node_losses(fleet, &making, &chance, seconds);
    cluster_losses(fleet, &making, &chance, seconds);
    zone_losses(fleet, &making, &chance, seconds);
    if (making.is_out_of_memory) {
        memory_release(making.future.events);
        return STATUS_NO_MEMORY;
    }
    if (making.future.count > 0)
        qsort(making.future.events, making.future.count, sizeof(*making.future.events),
              event_compare);
    *out = making.future;
    return STATUS_OK;
}
