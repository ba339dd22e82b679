#ifndef PENSTOCK_EDGE_MODEL_SLICES_H
#define PENSTOCK_EDGE_MODEL_SLICES_H

#include "config.h"
#include "placement.h"

/* What a model's replicas ask of the pool, as its config says (models[].placement), in the pool's own numbers. Made once, when the
 * pool's members are there; lives as long as the pool. Thread: control. */
struct model_slices {
    struct placement_request request; /* but uid, and on_demand_min where the scaling says more */
    uint32_t
        core_milli; /* that a replica on a CPU slice runs on; what is booked for it leaves room for those in its place */
    struct placement_tier *tiers;        /* owned; [tier_count] */
    uint32_t *members;                   /* owned: of the tiers */
    struct placement_known *round_trips; /* owned */
};

/* `core_milli`: thousandths of a core of a replica that does not say; `booked_milli` of them are booked. STATUS_OK; STATUS_FULL (labels, names), STATUS_NO_MEMORY. */
NODISCARD status model_slices_init(struct model_slices *slices, const struct config *config,
                                   uint32_t model_index, uint32_t core_milli, uint32_t booked_milli,
                                   struct pool *pool);
/* What a replica with these settings needs of a slice's memory: as they say, or reckoned. */
uint64_t model_slices_memory(const struct config_model *row);
void model_slices_deinit(struct model_slices *slices);

/* The tree of pool.quotas; the row with index i is node i + 1. NULL in `out`: there are none. STATUS_OK; STATUS_INVALID with a note (guarantees
 * above their parent's), STATUS_NO_MEMORY. */
NODISCARD status model_slices_quotas(const struct config_pool *pool, struct quota_tree **out,
                                     struct error_note *note);

#endif
