#ifndef PENSTOCK_ENGINE_PROMPT_SCORES_H
#define PENSTOCK_ENGINE_PROMPT_SCORES_H

#include "engine_private.h"

/* The log probabilities of prompts (engine_request.prompt_scores), computed from the rows of logits that the batcher asks
 * for in each piece of such a prompt, straight into the caller's memory. Thread: step. */

/* After the forward pass. A request with a broken row is held, and ended by prompt_scores_end_broken: what the step's
 * samples say about it comes in between. */
void prompt_scores_compute(engine *e, const struct step_plan *plan, const float *logits);

/* The next broken request of the step, with the hold that the caller releases; NULL: none is left. */
struct live_request *prompt_scores_pop_broken(engine *e);

#endif
