#ifndef PENSTOCK_ENGINE_STEP_SAMPLING_H
#define PENSTOCK_ENGINE_STEP_SAMPLING_H

#include "engine_private.h"

/* The tokens of a step that has been computed: fills step.results and step.sample_results for each of the flight's samples.
 * Samplers, grammars and budgets have taken them; the batcher has not. Thread: step. */
void sample_rows(engine *e, const struct step_flight *flight, const struct model_result *result);

#endif
