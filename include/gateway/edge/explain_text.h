#ifndef PENSTOCK_EDGE_EXPLAIN_TEXT_H
#define PENSTOCK_EDGE_EXPLAIN_TEXT_H

#include <jansson.h>

#include "buffer.h"

/* The admin API's answers of pool_admin.h as tables for people. What is missing in an answer, or not what it should be, is shown as "-": the
 * gateway may be of another version. Control characters of names are shown as "?". Pure; any thread. */

/* Of GET /admin/pool. */
void explain_pool_write(const json_t *pool, struct buffer *out);
/* Of GET /admin/placement/{model}. */
void explain_placement_write(const json_t *placement, struct buffer *out);

#endif
