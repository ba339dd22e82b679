#ifndef PENSTOCK_EDGE_REPLICA_CHOICE_H
#define PENSTOCK_EDGE_REPLICA_CHOICE_H

#include "edge.h"

/* Which replica a request goes to: what is known of the request that bears on it, and the pick.
 * Loop thread; in the request's memory. */

/* A replica that has just failed is left alone for so long, unless it restarts. */
#define REPLICA_CHOICE_AVOID_NS (250 * NS_PER_MS)

struct replica_choice {
    struct edge_model *model;
    struct edge_replica *keeper; /* has the response that is asked for; NULL: any replica will do */
    bool has_group;              /* a prompt_cache_key was given */
    uint64_t group;
    /* the replica that failed last; NULL: none */
    const struct edge_replica *avoid;
    uint32_t avoid_generation;
    uint64_t avoid_until_ns;
};

/* NULL: none can take it now. A replica that has just failed counts as not ready until it has
 * restarted or the time is over: its death may not have been noticed yet. */
struct edge_replica *replica_choice_pick(const struct replica_choice *choice, uint64_t now_ns);

/* `replica` has failed in its `generation`: the next pick leaves it alone for a time. */
void replica_choice_avoid(struct replica_choice *choice, const struct edge_replica *replica,
                          uint32_t generation, uint64_t now_ns);

/* Whether a replica will be ready one day: a model whose replicas are all in a crash loop is told
 * apart, so that its clients do not wait for nothing. */
bool replica_choice_has_hope(const struct replica_choice *choice);

/* How long until a replica of the model should be ready: what a client that is refused is told to wait. */
uint64_t replica_choice_retry_ms(const struct replica_choice *choice, uint64_t now_ns);

#endif
