#ifndef PENSTOCK_EDGE_SCALING_H
#define PENSTOCK_EDGE_SCALING_H

#include "autoscaler.h"
#include "capacity_window.h"
#include "edge.h"

/* How many replicas a model should have, and which of its slots they are: a fixed number, or what the autoscaler says of the
 * load as loops, waiting room and replicas tell of it. Thread: control. */

struct control;

/* What a slot's page said last; differences are what was done since. */
struct load_before {
    uint32_t generation;
    uint64_t steps, busy_ns, prefill_tokens, kv_tokens;
    uint64_t requests, prompt_tokens, cached_tokens, output_tokens, output_squares;
};

struct model_scaling {
    struct edge_model *model;
    uint32_t first_slot; /* the number of its first slot; the others follow */
    bool is_automatic;
    bool must_look;         /* something has happened */
    uint32_t count;         /* there should be so many */
    uint32_t sleeping_max;  /* replicas that may sleep instead of ending */
    uint32_t on_demand_min; /* by the config; the autoscaler may want more on what is not spot */
    uint64_t
        decide_ns; /* or, where nothing is decided, look at the load for what is learned of it */
    struct autoscaler autoscaler;
    struct forecast *forecast; /* owned */
    struct autoscaler_decision decision;
    struct autoscaler_observation seen;
    uint64_t arrivals_before;
    struct step_model steps;
    struct load_shape shape;
    double shape_weight; /* requests that it was learned from, fading */
    struct replica_limits limits;
    struct service_level level;
    struct load_before *before;    /* owned; [slots] */
    struct capacity_window minute; /* what came, and how long it took */
};

/* `running_count` replicas are there already, of the gateway before. STATUS_OK, STATUS_NO_MEMORY. */
NODISCARD status model_scaling_init(struct model_scaling *scaling, struct edge_model *model,
                                    const struct config_model *row, uint32_t first_slot,
                                    uint32_t running_count, uint64_t now_ns);
void model_scaling_deinit(struct model_scaling *scaling);

/* Something has changed that may need another slot. */
static inline void model_scaling_look(struct model_scaling *scaling)
{
    scaling->must_look = true;
}

/* Decides where that is due, and has slots filled and emptied; returns when to call again at the latest. */
uint64_t model_scaling_tick(struct model_scaling *scaling, struct control *control,
                            uint64_t now_ns);

/* What the replicas' pages say of the load: into `seen`, and into what is learned of steps and requests. */
void model_load_take(struct model_scaling *scaling, const struct control *control);

#endif
