#ifndef PENSTOCK_SIM_FLEET_H
#define PENSTOCK_SIM_FLEET_H

#include "chance.h"
#include "placement.h"
#include "placement_queue.h"
#include "pool.h"
#include "status.h"

/* The simulated clusters in the server's own pool: members with nodes of eight slices, in zones and regions, some on spot; and what
 * happens to them. Where replicas go is the server's placement's word. */

#define FLEET_PRODUCTS    3u
#define FLEET_NODE_SLICES 8u
#define FLEET_REGIONS     5u
#define FLEET_ZONES       4u /* a region */

struct fleet_node {
    uint32_t cluster, first_slice, slice_count;
    bool is_down, is_leaving;
};

struct fleet {
    struct quota_tree *quota; /* owned, NULL without tenants */
    struct pool *pool;
    struct placement *placement;
    struct placement_queue *queue;
    uint32_t cluster_count, node_count, slice_count;
    struct fleet_node *nodes;
    uint32_t *cluster_first_node; /* [cluster_count + 1] */
    uint32_t slices_of[FLEET_PRODUCTS];
    uint32_t products[FLEET_PRODUCTS]; /* names in the pool */
};

/* Product of a cluster, whether it is on spot, and its region and zone follow from its number. */
uint32_t fleet_cluster_product(uint32_t cluster);
bool fleet_cluster_is_spot(uint32_t cluster);
int64_t fleet_spot_price(
    uint32_t product); /* in thousand-millionths an hour; nothing on demand is as cheap */
uint32_t fleet_cluster_zone(uint32_t cluster); /* 0 .. FLEET_REGIONS * FLEET_ZONES */

/* `quota` (NULL: no tenants) becomes the fleet's in any case. */
NODISCARD status fleet_init(struct fleet *fleet, uint32_t clusters, uint32_t slices_per_cluster,
                            uint64_t seed, struct quota_tree *quota);
void fleet_deinit(struct fleet *fleet);

/* The state of a node's slices is told to the pool. */
void fleet_node_report(struct fleet *fleet, uint32_t node, uint64_t now_ns);

/* Calls for every replica with a part on the node, each once; the replica may be released in the call. */
void fleet_node_replicas(struct fleet *fleet, uint32_t node,
                         void (*visit)(void *context, uint64_t uid), void *context);

/* --- what happens --- */

enum fleet_event_kind { FLEET_NODE_DOWN, FLEET_NODE_UP, FLEET_NODE_NOTICE };
struct fleet_event {
    uint64_t at_ns;
    uint32_t node;
    enum fleet_event_kind kind;
};
#define FLEET_NOTICE_NS 120000000000ull /* between a spot node's notice and its end */

/* Everything that will happen, by time. */
struct fleet_future {
    struct fleet_event *events; /* owned by the caller */
    uint32_t count;
    /* What the events are of: a node alone, all of a cluster, all of a zone, most of a spot cluster. */
    uint32_t node_losses, cluster_losses, zone_losses, spot_waves;
};
/* What happens in `seconds`. STATUS_OK, STATUS_NO_MEMORY. */
NODISCARD status fleet_foresee(const struct fleet *fleet, uint64_t seed, uint32_t seconds,
                               struct fleet_future *out);

#endif
