#ifndef PENSTOCK_TESTS_POOL_WORLD_H
#define PENSTOCK_TESTS_POOL_WORLD_H

#include "pool.h"

/* A pool to place on: members of nodes of slices, with regions, prices and domains that follow from their numbers. Include after
 * unit_test.h. */

#define WORLD_S   1000000000ull
#define WORLD_GIB (1ull << 30)

struct world {
    uint32_t members, nodes, slices; /* nodes a member, slices a node */
    uint32_t nodes_rack;             /* 0: no racks */
    struct slice_report slice; /* what they all are; ids, nodes and domains are written over it */
    /* May change a report; NULL: nothing to change. */
    void (*edit)(struct slice_report *report, uint32_t member, uint32_t node, uint32_t slice);
};

static inline struct slice_report world_gpu(void)
{
    return (struct slice_report){.product = "H100",
                                 .kind = SLICE_GPU,
                                 .vendor = SLICE_NVIDIA,
                                 .compute_capability = 90,
                                 .numa = -1,
                                 .memory_bytes = 80 * WORLD_GIB,
                                 .compute_milli = 1000,
                                 .price_nano_hour = 3000000000};
}

static inline void world_report(struct pool *pool, const struct world *world, uint32_t member,
                                uint32_t node, uint32_t slice)
{
    char id[48], node_name[32], rack[32], nvlink[32], switch_name[32], zone[32], region[32];
    struct slice_report report = world->slice;

    (void)snprintf(id, sizeof(id), "n%u/g%u", node, slice);
    (void)snprintf(node_name, sizeof(node_name), "n%u", node);
    (void)snprintf(nvlink, sizeof(nvlink), "n%u", node);
    (void)snprintf(switch_name, sizeof(switch_name), "n%u/s%u", node, slice / 4);
    (void)snprintf(rack, sizeof(rack), "r%u", world->nodes_rack > 0 ? node / world->nodes_rack : 0);
    (void)snprintf(region, sizeof(region), "region%u", member % 4);
    (void)snprintf(zone, sizeof(zone), "zone%u-%u", member % 4, node % 3);
    report.id = id;
    report.node = node_name;
    report.nvlink_domain = nvlink;
    report.switch_name = switch_name;
    report.rack = world->nodes_rack > 0 ? rack : NULL;
    report.region = region;
    report.zone = zone;
    if (world->edit != NULL)
        world->edit(&report, member, node, slice);
    assert_int_equal(pool_slice_upsert(pool, member, &report, 0), STATUS_OK);
}

static inline struct pool *world_create(const struct world *world, struct quota_tree *quota)
{
    static const struct hash_key key = {3, 4};
    struct pool_limits limits = POOL_LIMITS_DEFAULT;
    struct pool *pool;

    assert_int_equal(pool_create(&limits, &key, quota, &pool), STATUS_OK);
    for (uint32_t m = 0; m < world->members; m++) {
        char name[16];
        struct member_config config = {
            .name = name, .interval_ns = 10 * WORLD_S, .lost_after_ns = 60 * WORLD_S};
        uint32_t member;

        (void)snprintf(name, sizeof(name), "m%u", m);
        assert_int_equal(pool_member_add(pool, &config, 0, &member), STATUS_OK);
        pool_list_begin(pool, member, 0);
        for (uint32_t i = 0; i < world->nodes * world->slices; i++)
            world_report(pool, world, member, i / world->slices, i % world->slices);
        assert_int_equal(pool_list_end(pool, member, 0), 0);
    }
    if (quota != NULL)
        (void)pool_tick(pool, 0);
    return pool;
}

static inline uint64_t world_random(uint64_t *seed) /* SplitMix64 */
{
    uint64_t value = *seed += 0x9E3779B97F4A7C15ull;

    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9ull;
    value = (value ^ value >> 27) * 0x94D049BB133111EBull;
    return value ^ value >> 31;
}

#endif
