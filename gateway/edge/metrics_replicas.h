#ifndef PENSTOCK_EDGE_METRICS_REPLICAS_H
#define PENSTOCK_EDGE_METRICS_REPLICAS_H

#include "text_slice.h"

struct edge_record;

/* Routes of the admin listener. Loop. */
void metrics_replicas_list(struct edge_record *record, struct text_slice rest);
/* `rest`: "{model}/{index}". */
void metrics_replicas_page(struct edge_record *record, struct text_slice rest);

#endif
