#ifndef PENSTOCK_ENGINE_BATCH_COST_MODEL_H
#define PENSTOCK_ENGINE_BATCH_COST_MODEL_H

#include <stdbool.h>
#include <stdint.h>

/* Learns what a step costs, while it runs, as a sum of a base and of what step_shape counts. It answers how many more
 * rows fit into a step of a given length. Pure arithmetic, no clock. Thread: step. */

#define COST_TERMS 4 /* base, rows, logit rows, context */

struct step_shape {
    uint32_t rows;
    uint32_t logit_rows; /* rows that end in logits and a draw; in a small model these cost most */
    double context;      /* positions that the rows attend to, in all */
};

struct cost_model {
    double moments[COST_TERMS][COST_TERMS]; /* decayed sums of x x^T */
    double products[COST_TERMS];            /* decayed sums of x y */
    double cost[COST_TERMS];                /* the fit, ms per unit of x; never negative */
    uint32_t observation_count;             /* saturates */
};

void cost_model_init(struct cost_model *model);

/* A step of this shape took `ns`. */
void cost_model_observe(struct cost_model *model, const struct step_shape *shape, uint64_t ns);

/* Has it seen enough to be asked? */
bool cost_model_is_ready(const struct cost_model *model);
double cost_model_predict_ns(const struct cost_model *model, const struct step_shape *shape);

/* Context of `count` rows at positions first, first + 1, ... */
double context_of_rows(uint32_t first, uint32_t count);

/* How many rows, `count_max` at most, from position `first` of a sequence may join a step of this shape, so that the whole
 * is predicted to take no longer than `limit_ns`. */
uint32_t cost_model_fit_rows(const struct cost_model *model, const struct step_shape *shape,
                             uint32_t first, uint32_t count_max, double limit_ns);

#endif
