#ifndef PENSTOCK_EDGE_ANSWERS_H
#define PENSTOCK_EDGE_ANSWERS_H

#include "edge.h"

/* What the public listener answers by itself. `rest` is what a path has after its route. Loop
 * thread. */
void answer_models(struct edge_record *record, struct text_slice rest);
void answer_model(struct edge_record *record, struct text_slice rest);
void answer_livez(struct edge_record *record, struct text_slice rest);
void answer_readyz(struct edge_record *record, struct text_slice rest);
void answer_openapi(struct edge_record *record, struct text_slice rest);
void answer_version(struct edge_record *record, struct text_slice rest);

#endif
