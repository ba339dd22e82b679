#ifndef PENSTOCK_SCHEDULER_CAPACITY_H
#define PENSTOCK_SCHEDULER_CAPACITY_H

#include <stdbool.h>
#include <stdint.h>

/* What one replica can carry under its service level, as measured: the time of its steps is regressed on what is in them, and
 * from that follows how many requests it can run before tokens come too late. One step_model for each kind of device that runs
 * the model. scheduler/capacity.c has the arithmetic.
 *
 * Pure; one owner at a time. */

/* step time = fixed + prefill_token * prompt tokens in the step + kv_token * tokens that its sequences hold in the cache. */
struct step_cost {
    double fixed_ns, prefill_token_ns, kv_token_ns;
};

struct step_model {
    struct step_cost profile; /* what is believed before anything is measured */
    double moments[3][3];     /* of what was in the steps, older ones fading */
    double products[3];       /* of that with their times */
};

void step_model_init(struct step_model *model, const struct step_cost *profile);

/* A step, or the mean of many: prompt tokens read, tokens in the cache, time. */
void step_model_note(struct step_model *model, double prefill_tokens, double kv_tokens,
                     double step_ns);

/* What steps cost: the profile at first, more and more what was measured. None is negative. Online form of the regression in
 * NVIDIA Dynamo's planner (load mode: iteration time on prefill tokens and KV tokens over the last 64 samples). */
struct step_cost step_model_fit(const struct step_model *model);
/* Has enough been noted for that to be measured rather than believed? */
bool step_model_is_measured(const struct step_model *model);

/* --- capacity --- */

enum replica_role { ROLE_MIXED, ROLE_PREFILL, ROLE_DECODE };

/* The mean request. */
struct load_shape {
    double prompt_tokens; /* to be read: without what the cache has */
    double cached_tokens;
    double output_tokens; /* >= 1 */
    /* Variance of output_tokens over their mean's square: long answers are in the batch for longer, so they are most of it. */
    double output_variation;
};

struct replica_limits {
    double kv_tokens;    /* that its cache holds */
    double sequences;    /* slots of its batch */
    double chunk_tokens; /* prompt tokens in a step */
};

/* What must hold for 99 of 100 requests. 0: does not matter. */
struct service_level {
    double ttft_ns, inter_token_ns;
};

enum capacity_bound { BOUND_INTER_TOKEN, BOUND_TTFT, BOUND_KV, BOUND_SEQUENCES, BOUND_PREFILL };
const char *capacity_bound_name(enum capacity_bound bound);

/* What replicas carry; sums over replicas are sums of the fields. */
struct capacity {
    double requests_per_s;
    double concurrency; /* requests at once: waiting for their first token or generating */
};

/* `bound` (may be NULL) tells what ends it. Never less than a millionth, so that it can be divided by: a service level that no
 * request can meet is not mended by infinitely many replicas. */
struct capacity capacity_under(const struct step_cost *cost, const struct load_shape *shape,
                               const struct replica_limits *limits,
                               const struct service_level *level, enum replica_role role,
                               enum capacity_bound *bound);

/* What requests see of one replica at a load, on average. */
struct load_times {
    double ttft_ns, inter_token_ns; /* INFINITY: the replica cannot carry it, and waits only grow */
    double sequences;               /* generating at once */
};

/* At `requests_per_s` that come by a Poisson process. scheduler/capacity.c has the arithmetic. */
struct load_times load_times_at(const struct step_cost *cost, const struct load_shape *shape,
                                const struct replica_limits *limits, double requests_per_s);

#endif
