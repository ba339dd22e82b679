#ifndef PENSTOCK_EDGE_ADAPTER_CHANGES_H
#define PENSTOCK_EDGE_ADAPTER_CHANGES_H

#include "edge.h"
#include "gateway.h"

/* /v1/load_lora_adapter and /v1/unload_lora_adapter at the gateway: a change reaches every replica of the model, or none. */

/* What routes call. Loop. */
void answer_load_adapter(struct edge_record *record, struct text_slice rest);
void answer_unload_adapter(struct edge_record *record, struct text_slice rest);

/* The signal by which a loop tells main that there are changes; blocked in every thread. */
#define ADAPTER_CHANGES_SIGNAL SIGUSR1

/* Before the loops run. Thread: main, which is the one that makes the changes from then on. */
void adapter_changes_open(struct edge *edge);
/* Makes the changes that have come, one after the other, and has the loops answer. Waits for replicas, but no longer than
 * until a signal asks the gateway to end. Thread: main. */
void adapter_changes_make(struct edge *edge, const struct gateway_options *options);
/* Refuses what is left, and all that comes. Thread: main. */
void adapter_changes_close(struct edge *edge);

#endif
