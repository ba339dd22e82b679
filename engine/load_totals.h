#ifndef PENSTOCK_ENGINE_LOAD_TOTALS_H
#define PENSTOCK_ENGINE_LOAD_TOTALS_H

#include "engine_private.h"

/* What the engine has had to do since it was opened, as sums that only grow (engine_stats.totals): whoever reads them twice has
 * the means of the time between. Thread: step. No heap, no system call. */

/* A step of this plan was computed; before any of its sequences ends. */
void load_totals_note_step(engine *e, const struct step_plan *plan);

/* The request's last sequence has left the batch. */
void load_totals_note_ended(engine *e, const struct live_request *r);

/* A token was sampled for the request at `now_ns`: the engine's first is the end of its start. */
void load_totals_note_token(engine *e, const struct live_request *r, uint64_t now_ns);

#endif
