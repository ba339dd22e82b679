#ifndef PENSTOCK_ENGINE_EMBEDDINGS_H
#define PENSTOCK_ENGINE_EMBEDDINGS_H

#include "engine_private.h"

/* Embeddings of prompts: hidden states are summed over the pieces in which the batcher has a prompt computed, each position
 * once, in their order, so that neither the pieces nor a preemption can be seen in the sum. Thread: step. */

/* Asks a step for the rows that its requests want. After its rows have been laid out. */
void embeddings_ask(engine *e, const struct step_plan *plan, struct model_step *step);

/* Notes what the completed step has brought for an entry. */
void embeddings_note(const struct step_entry *entry);

/* The prompt is computed: writes the caller's embedding. STATUS_INTERNAL: it is no vector of numbers. */
NODISCARD status embeddings_finish(struct live_request *r);

#endif
