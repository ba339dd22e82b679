#ifndef PENSTOCK_ENGINE_BATCH_COST_MODEL_H
#define PENSTOCK_ENGINE_BATCH_COST_MODEL_H

#include <stdbool.h>
#include <stdint.h>

/* Learns what a step costs, while it runs: time = base + per_row * rows + per_context * context, where context is the sum
 * over the rows of the positions that each attends to. It answers how many more rows fit into a step of a given
 * length. Pure arithmetic, no clock. Thread: step. */

#define COST_TERMS 3 /* base, rows, context */

struct cost_model {
    double moments[COST_TERMS][COST_TERMS]; /* decayed sums of x x^T */
    double products[COST_TERMS];            /* decayed sums of x y */
    double cost[COST_TERMS];                /* the fit, ms per unit of x; never negative */
    uint32_t observation_count;             /* saturates */
};

void cost_model_init(struct cost_model *model);

/* A step of `rows` rows that attended to `context` positions in all took `ns`. */
void cost_model_observe(struct cost_model *model, uint32_t rows, double context, uint64_t ns);

/* Has it seen enough to be asked? */
bool cost_model_is_ready(const struct cost_model *model);
double cost_model_predict_ns(const struct cost_model *model, uint32_t rows, double context);

/* Context of `count` rows at positions first, first + 1, ... */
double context_of_rows(uint32_t first, uint32_t count);

/* How many rows, `count_max` at most, from position `first` of a sequence may join a step that has `rows` rows and
 * `context` already, so that the whole is predicted to take no longer than `target_ns`. */
uint32_t cost_model_fit_rows(const struct cost_model *model, uint32_t rows, double context,
                             uint32_t first, uint32_t count_max, uint64_t target_ns);

#endif
