#ifndef PENSTOCK_EDGE_MODEL_COST_H
#define PENSTOCK_EDGE_MODEL_COST_H

#include "metrics.h"
#include "money.h"
#include "slice_meter.h"
#include "status.h"

/* What the requests of a model cost: by its prices of tokens, or by the time of its replicas' slices, which they tell (the
 * usage report for each request, the shared page for all). One for each model, in struct edge. */

struct edge;
struct edge_model;

struct model_cost {
    struct money_price price; /* does not change: prices need a restart */
    struct slice_meter meter; /* of the replicas that are ours */
    _Atomic int64_t sum_nano; /* of all requests */
    _Atomic bool is_noting;   /* somebody reads the pages; who comes then need not */
    _Atomic bool is_paged;    /* the pages tell how busy the replicas are; else only requests do */
    struct model_cost_page {  /* [replica_count], owned; by who reads */
        uint64_t busy_ns;     /* that is noted */
        uint32_t generation;  /* of the process that has told it */
    } * pages;
    metrics_series *cost, *busy, *idle, *idle_cost;
};

/* For all models; `edge->models` and `edge->registry` are there. STATUS_OK, STATUS_NO_MEMORY. Main. */
NODISCARD status model_costs_init(struct edge *edge);
void model_costs_deinit(struct edge *edge);

/* What a request that uses so much would cost; with a price of slices as its tokens have cost lately. Loop. */
int64_t model_cost_most(const struct edge *edge, const struct edge_model *model,
                        const struct request_usage *most);
/* What a request of the model has cost. Once for each: it counts. Loop. */
int64_t model_cost_settle(struct edge *edge, const struct edge_model *model,
                          const struct request_usage *usage);
bool model_cost_is_set(const struct edge *edge, const struct edge_model *model);

/* Before a scrape. */
void model_costs_collect(struct edge *edge);

#endif
