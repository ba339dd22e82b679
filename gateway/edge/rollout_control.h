#ifndef PENSTOCK_EDGE_ROLLOUT_CONTROL_H
#define PENSTOCK_EDGE_ROLLOUT_CONTROL_H

#include "edge.h"
#include "rollout.h"

/* The control thread's side of model_versions.h: while the version of a model changes, decides which of its slots run which version; the
 * scaling says only how many there should be. Thread: control. */

struct control;

struct model_rollout {
    struct rollout machine;
    struct edge_model *model;
    struct edge *edge;
    uint32_t first_slot; /* the number of the model's first; the others follow */
    uint32_t heard;      /* the wanted version that it knows of */
    uint32_t failed_starts, deaths;
    bool has_no_room; /* for the surge: replaced in place, till the end of the rollout */
};

void model_rollout_init(struct model_rollout *rollout, struct edge *edge, struct edge_model *model,
                        uint32_t first_slot, uint64_t now_ns);

/* Takes what main wants, and while versions change has slots filled and emptied, `target` of them in all; returns when to call again
 * at the latest. */
uint64_t model_rollout_tick(struct model_rollout *rollout, struct control *control, uint32_t target,
                            uint64_t now_ns);

/* While it is, slots are its matter. */
static inline bool model_rollout_is_active(const struct model_rollout *rollout)
{
    return rollout_is_active(&rollout->machine);
}

/* A replica of the slot is about to be started: with which version, where the rollout has not said. */
void model_rollout_start(const struct model_rollout *rollout, struct edge_replica *replica);

/* A slot's replica has changed its state. */
void model_rollout_note(struct model_rollout *rollout, const struct edge_replica *shared,
                        const struct replica *replica);

#endif
