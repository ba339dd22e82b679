#ifndef PENSTOCK_EDGE_SCALING_ADMIN_H
#define PENSTOCK_EDGE_SCALING_ADMIN_H

#include "edge.h"

/* GET /admin/scaling: how many replicas each model has and should have, and every term of the last decision.
 *   {"models": [{"model", "automatic", "desired", "ready", "starting", "asleep", "leaving",
 *                "decision": null where it is not automatic, or
 *                  {"reason", "panicking", "bounds": {"min", "max"}, "arrivals_per_second": {"stable", "panic"}, "concurrency", "held",
 *                   "running", "load", "backlog", "forecast_per_second" (null: not known),
 *                   "needs": {"stable", "panic", "forecast"}, "stabilised", "cold_start_seconds",
 *                   "replica": {"requests_per_second", "concurrency", "bound", "step_ns": {"fixed", "prefill_token", "kv_token"}},
 *                   "request": {"prompt_tokens", "cached_tokens", "output_tokens"}, "explanation"}}]} */
void admin_scaling(struct edge_record *record, struct text_slice rest);

#endif
