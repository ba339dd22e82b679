#ifndef PENSTOCK_EDGE_MODEL_ACTIVITY_H
#define PENSTOCK_EDGE_MODEL_ACTIVITY_H

#include <stdatomic.h>

#include "history_row.h"

/* What loops count of a model's requests for the history: one relaxed addition each. The control thread takes it all, time and again. */
struct model_activity {
    _Atomic uint64_t requests, errors, refused, prompt_tokens, cached_tokens, output_tokens;
    _Atomic int64_t cost_nano;
    struct latency_counts first_token, inter_token;
};

struct edge_record;

/* A request that was for a model has ended. Loop. */
void model_activity_note(const struct edge_record *record);

/* A request for it was refused by a limit, before anything else. Loop. */
void model_activity_refuse(struct model_activity *activity);

/* Adds what has come since the last call to `row`. Control thread. */
void model_activity_take(struct model_activity *activity, struct history_row *row);

#endif
