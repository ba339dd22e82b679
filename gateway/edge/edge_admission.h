#ifndef PENSTOCK_EDGE_EDGE_ADMISSION_H
#define PENSTOCK_EDGE_EDGE_ADMISSION_H

#include "edge.h"

/* The waiting rooms of the models, as the config says. */

/* Makes the model's. STATUS_OK, STATUS_NO_MEMORY. */
NODISCARD status edge_admission_create(struct edge *edge, struct edge_model *model,
                                       const struct config *config, uint32_t loop_count);
/* Takes over the limits of a config that has come into force. Main. */
void edge_admission_apply(struct edge *edge, const struct config *config);

/* Counts the slots of a model's replicas anew, and gives free ones to those who wait. Any thread. */
void edge_slots_update(const struct edge *edge, struct edge_model *model);

/* Blocks of the KV caches of the model's ready replicas, as their pages say; 0: none says so. Any thread. */
uint64_t edge_kv_blocks(struct edge_model *model);

/* Has a loop look for what it was given (struct admission_options). Any thread, once the server has
 * started. */
void edge_loop_wake(void *edge, uint32_t loop);

#endif
