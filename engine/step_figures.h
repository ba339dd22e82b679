#ifndef PENSTOCK_ENGINE_STEP_FIGURES_H
#define PENSTOCK_ENGINE_STEP_FIGURES_H

#include "engine_private.h"

/* What the step thread counts and measures. Thread: step. */

/* Notes who starts with this plan, for times and for the counters that count once a request. */
void note_admissions(engine *e, const struct step_plan *plan, uint64_t now_ns);

/* Counts the drafts of a sample, and those that were sampled. */
void note_drafts(engine *e, const struct step_sample *sample, const struct sample_result *result);

/* The step is over: who pays for its time, and what the next ones are expected to take. Before its sequences end. */
void note_step_time(engine *e, const struct step_flight *flight, uint64_t end_ns);

/* Tells a flight recorder of the step; is_over: what it took. */
void tell_step(const engine *e, const struct step_flight *flight, bool is_over, uint64_t at_ns,
               uint64_t step_ns);

/* What engine_get_stats tells from now on. */
void publish_stats(engine *e);

#endif
