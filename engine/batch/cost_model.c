#include "cost_model.h"

#include <string.h>

/* Weighted least squares over the recent past. Each observation first fades the sums by KEEP, so
 * that the fit follows a machine that gets busy or warm; about 1 / (1 - KEEP) = 50 steps are
 * remembered.
 *
 * A decode-only phase repeats nearly the same x for minutes, and its fading sums would forget what
 * rows and context cost apart. So the fit is anchored to the previous one: it minimises sum of
 * weighted (y - x.cost)^2  +  ANCHOR * |cost - previous cost|^2 where x says little, the previous
 * answer stands.
 *
 * A negative term means nothing physical (it appears when rows and context grew together) and would
 * let a step grow without bound: such a term is set to zero and the others are fitted again. */

#define KEEP             0.98
#define ANCHOR           0.02
#define ROWS_UNIT        16.0 /* x is scaled so that its terms are of the same size */
#define CONTEXT_UNIT     4096.0
#define NS_PER_MS_DOUBLE 1e6
#define OBSERVATIONS_MIN 4u
#define OUTLIER_FACTOR                                                                             \
    4.0 /* one stalled step (page faults, a stopped process) says little about the next */
#define OUTLIER_SLACK_MS 1.0

static void features_of(const struct step_shape *shape, double x[COST_TERMS])
{
    x[0] = 1.0;
    x[1] = shape->rows / ROWS_UNIT;
    x[2] = shape->logit_rows / ROWS_UNIT;
    x[3] = shape->context / CONTEXT_UNIT;
}

void cost_model_init(struct cost_model *model)
{
    memset(model, 0, sizeof *model);
}

/* Solves (moments + ANCHOR) cost = products + ANCHOR * previous over the terms that are not held at
 * zero. Elimination without pivoting is safe because the matrix is positive definite. */
static void solve(const struct cost_model *model, const bool held[COST_TERMS],
                  double out[COST_TERMS])
{
    double a[COST_TERMS][COST_TERMS + 1];
    for (int i = 0; i < COST_TERMS; i++) {
        for (int j = 0; j < COST_TERMS; j++)
            a[i][j] = held[i] || held[j] ? 0.0 : model->moments[i][j];
        a[i][COST_TERMS] = held[i] ? 0.0 : model->products[i] + ANCHOR * model->cost[i];
        a[i][i] += held[i] ? 1.0 : ANCHOR;
    }
    for (int pivot = 0; pivot < COST_TERMS; pivot++) {
        for (int row = pivot + 1; row < COST_TERMS; row++) {
            double factor = a[row][pivot] / a[pivot][pivot];
            for (int column = pivot; column <= COST_TERMS; column++)
                a[row][column] -= factor * a[pivot][column];
        }
    }
    for (int row = COST_TERMS - 1; row >= 0; row--) {
        double value = a[row][COST_TERMS];
        for (int column = row + 1; column < COST_TERMS; column++)
            value -= a[row][column] * out[column];
        out[row] = value / a[row][row];
    }
}

static void fit(struct cost_model *model)
{
    bool held[COST_TERMS] = {false};
    double cost[COST_TERMS];
    for (int round = 0; round < COST_TERMS; round++) {
        solve(model, held, cost);
        int worst = -1;
        for (int i = 0; i < COST_TERMS; i++) {
            if (cost[i] < 0.0 && (worst < 0 || cost[i] < cost[worst]))
                worst = i;
        }
        if (worst < 0)
            break;
        held[worst] = true;
        cost[worst] = 0.0;
    }
    for (int i = 0; i < COST_TERMS; i++)
        model->cost[i] = cost[i] > 0.0 ? cost[i] : 0.0;
}

static double predict_ms(const struct cost_model *model, const struct step_shape *shape)
{
    double x[COST_TERMS];
    double ms = 0.0;
    features_of(shape, x);
    for (int i = 0; i < COST_TERMS; i++)
        ms += x[i] * model->cost[i];
    return ms;
}

void cost_model_observe(struct cost_model *model, const struct step_shape *shape, uint64_t ns)
{
    double y = (double)ns / NS_PER_MS_DOUBLE;
    if (cost_model_is_ready(model)) {
        double most = OUTLIER_FACTOR * predict_ms(model, shape) + OUTLIER_SLACK_MS;
        y = y < most ? y : most;
    }
    double x[COST_TERMS];
    features_of(shape, x);
    for (int i = 0; i < COST_TERMS; i++) {
        for (int j = 0; j < COST_TERMS; j++)
            model->moments[i][j] = KEEP * model->moments[i][j] + x[i] * x[j];
        model->products[i] = KEEP * model->products[i] + x[i] * y;
    }
    if (model->observation_count < UINT32_MAX)
        model->observation_count++;
    fit(model);
}

bool cost_model_is_ready(const struct cost_model *model)
{
    return model->observation_count >= OBSERVATIONS_MIN;
}

double cost_model_predict_ns(const struct cost_model *model, const struct step_shape *shape)
{
    return predict_ms(model, shape) * NS_PER_MS_DOUBLE;
}

double context_of_rows(uint32_t first, uint32_t count)
{
    /* A row at position p attends to p + 1 positions. */
    return (double)count * ((double)first + 1.0) + 0.5 * (double)count * ((double)count - 1.0);
}

uint32_t cost_model_fit_rows(const struct cost_model *model, const struct step_shape *shape,
                             uint32_t first, uint32_t count_max, double limit_ns)
{
    /* The prediction grows with the count, so the largest that fits is found by halving. */
    uint32_t low = 0;
    uint32_t high = count_max;
    while (low < high) {
        uint32_t middle = low + (high - low + 1) / 2;
        struct step_shape with = *shape;
        with.rows += middle;
        with.context += context_of_rows(first, middle);
        if (cost_model_predict_ns(model, &with) <= limit_ns)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}
