#ifndef PENSTOCK_SCHEDULER_QUOTA_TREE_H
#define PENSTOCK_SCHEDULER_QUOTA_TREE_H

#include <stdbool.h>
#include <stdint.h>

#include "status.h"

/* Who may have how much of the pool: organisations, teams and projects, each with a guaranteed share that it gets back whenever it
 * asks, a limit, and what it may borrow of what others leave unused.
 *
 * What is held is charged to a node and all above it. `guaranteed` of children never sums above their parent's. A holding
 * is *covered* at a node when it fits into what the node is guaranteed, oldest and most important first; what
 * is covered at a node is covered at all above it. Only what is not covered can be reclaimed: quota_tree_cover says
 * so for a set of holdings, quota_tree_may_reclaim whether one node may have another's.
 *
 * Fair shares after KAI (github.com/NVIDIA/KAI-Scheduler, resource_division): min(guaranteed, asked for), then
 * what remains by priority and, within one, by weight, never more than asked for or allowed; down the tree.
 *
 * Pure; thread: one owner. */
struct quota_tree;

enum quota_resource {
    QUOTA_COMPUTE, /* thousandths of a device */
    QUOTA_MEMORY,  /* bytes of device memory */
    QUOTA_MONEY,   /* thousand-millionths of the ledger's unit an hour */
    QUOTA_RESOURCE_COUNT
};

struct quota_amount {
    uint64_t of[QUOTA_RESOURCE_COUNT];
};

#define QUOTA_UNLIMITED UINT64_MAX
#define QUOTA_ROOT      0u /* the whole pool; its guarantee is the capacity (quota_tree_set_capacity) */
#define QUOTA_NODES_MAX 65536u
#define QUOTA_DEPTH_MAX 8u /* organisation, team, project and room for more */
#define QUOTA_NO_DEPTH  UINT8_MAX

struct quota_config {
    struct quota_amount
        guaranteed; /* a resource for which nobody is guaranteed anything is not looked at for covering */
    struct quota_amount limit; /* QUOTA_UNLIMITED: none */
    uint32_t weight;           /* of what remains; at least 1 */
    int32_t priority;          /* the higher ones share what remains first */
};

/* Room for `count_max` nodes with the root. STATUS_OK, STATUS_NO_MEMORY. */
NODISCARD status quota_tree_create(uint32_t count_max, struct quota_tree **out);
void quota_tree_destroy(struct quota_tree *tree); /* accepts NULL */

/* A node under `parent`; numbers are given in order. STATUS_OK; STATUS_FULL; STATUS_TOO_LARGE: deeper than QUOTA_DEPTH_MAX;
 * STATUS_INVALID: a weight of 0, or the guarantees of the parent's children would exceed its own (not looked at below the root,
 * whose capacity comes and goes: too many promises there are what quota_tree_is_overcommitted tells). */
NODISCARD status quota_tree_add(struct quota_tree *tree, uint32_t parent,
                                const struct quota_config *config, uint32_t *out);
/* Other shares for a node. STATUS_OK, STATUS_INVALID as above (both its parent's and its own children's sums). */
NODISCARD status quota_tree_change(struct quota_tree *tree, uint32_t node,
                                   const struct quota_config *config);
/* What there is in all: of slices that are healthy and not lost. */
void quota_tree_set_capacity(struct quota_tree *tree, const struct quota_amount *capacity);
bool quota_tree_is_overcommitted(const struct quota_tree *tree);

uint32_t quota_tree_count(const struct quota_tree *tree);
bool quota_tree_is_leaf(const struct quota_tree *tree, uint32_t node);
uint32_t quota_tree_parent(const struct quota_tree *tree, uint32_t node);
const struct quota_config *quota_tree_config(const struct quota_tree *tree, uint32_t node);
/* With what is held below it. */
const struct quota_amount *quota_tree_used(const struct quota_tree *tree, uint32_t node);

/* --- holding --- */

/* Whether a node and all above it stay within their limits with so much more. On false, `at` (may be NULL) is the node
 * whose limit it is. */
bool quota_tree_allows(const struct quota_tree *tree, uint32_t node,
                       const struct quota_amount *amount, uint32_t *at);
/* Adds to a node and all above it; limits are not looked at (what runs is a fact). */
void quota_tree_charge(struct quota_tree *tree, uint32_t node, const struct quota_amount *amount);
void quota_tree_credit(struct quota_tree *tree, uint32_t node, const struct quota_amount *amount);

/* --- fair shares --- */

/* What a leaf asks for beside what it holds (of requests that wait): replaces what was said before, or adds to it. */
void quota_tree_set_waiting(struct quota_tree *tree, uint32_t leaf,
                            const struct quota_amount *amount);
void quota_tree_add_waiting(struct quota_tree *tree, uint32_t leaf,
                            const struct quota_amount *amount);
/* Computes every node's fair share anew, from capacity, holdings and what waits. */
void quota_tree_divide(struct quota_tree *tree);
/* As of the last division. */
const struct quota_amount *quota_tree_fair(const struct quota_tree *tree, uint32_t node);

/* --- reclaim --- */

struct quota_holding {
    uint64_t uid; /* last tie-breaker */
    uint32_t node;
    int32_t priority;
    uint64_t started_ns;
    struct quota_amount amount;
    uint8_t
        covered_depth; /* out: of the deepest node at which it is covered (root 0); QUOTA_NO_DEPTH: nowhere */
};

/* Fills covered_depth. The holdings must be all that are charged to the tree; their order is changed: more important
 * first, then older. */
void quota_tree_cover(const struct quota_tree *tree, struct quota_holding *holdings,
                      uint32_t count);

/* Whether `claimant` may have what `holding` has (covered_depth filled), for a request of `amount`: the two paths part below some
 * node; the holding is not covered on its side; and the claimant's side would stay within its guarantee with the
 * request (then it may always), or within its fair share while the holder's side stays at or above its own, in the resources that
 * somebody is guaranteed (compute, when nobody is guaranteed anything). Somebody who has run
 * for less than min_run_ns is left alone. Nobody reclaims within one node. */
bool quota_tree_may_reclaim(const struct quota_tree *tree, uint32_t claimant,
                            const struct quota_amount *amount, const struct quota_holding *holding,
                            uint64_t min_run_ns, uint64_t now_ns);

/* Whether so much more for the node is within what it, or one above it, is guaranteed. */
bool quota_tree_is_owed(const struct quota_tree *tree, uint32_t node,
                        const struct quota_amount *amount);

/* Whether the holding is covered against the claimant: neither reclaim nor another tenant's priority may take it. */
bool quota_tree_protects(const struct quota_tree *tree, uint32_t claimant,
                         const struct quota_holding *holding);

/* How far a node is above its fair share: the largest of used / fair over the resources, in thousandths; UINT32_MAX when
 * it has no fair share and uses something. Victims are taken from the highest first. */
uint32_t quota_tree_saturation(const struct quota_tree *tree, uint32_t node);

#endif
