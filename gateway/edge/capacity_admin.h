#ifndef PENSTOCK_EDGE_CAPACITY_ADMIN_H
#define PENSTOCK_EDGE_CAPACITY_ADMIN_H

#include "edge.h"

/* GET /admin/capacity: what each model with replicas here should do at the load of the last minute, by what its steps were measured to
 * cost, beside what it did.
 *   {"models": [{"name", "replicas_ready", "kv_tokens", "sequences_max" (of one replica),
 *                "load": {"requests_per_second", "prompt_tokens", "output_tokens"}, or null without requests,
 *                "predicted": {"ttft_seconds", "inter_token_seconds", "requests_per_second_max", "utilisation"}, or null without load or calibration;
 *                  the times are null where the load is more than the replicas carry,
 *                "measured": {"ttft_seconds", "inter_token_seconds"} of streams, each null without any,
 *                "calibration": {"fixed_ns", "prefill_token_ns", "kv_token_ns"}, or null: too few steps so far,
 *                "overcommitted": [{"scope", "name" (null: all of them together), "limit", "asked", "capacity"}]}]}
 * The first token is predicted without the gateway's waiting room: a model whose requests wait there is beyond what is predicted. */
void admin_capacity(struct edge_record *record, struct text_slice rest);

#endif
