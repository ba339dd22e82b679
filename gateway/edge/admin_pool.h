#ifndef PENSTOCK_EDGE_ADMIN_POOL_H
#define PENSTOCK_EDGE_ADMIN_POOL_H

#include "edge.h"

/* GET /admin/pool, /admin/pool/slices and /admin/placement/{model}, with ?from=N&limit=N; the answers are those of pool_admin.h. Loop. */
void admin_pool(struct edge_record *record, struct text_slice rest);
void admin_pool_slices(struct edge_record *record, struct text_slice rest);
void admin_placement(struct edge_record *record, struct text_slice rest);

#endif
