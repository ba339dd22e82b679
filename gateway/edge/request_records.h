#ifndef PENSTOCK_EDGE_REQUEST_RECORDS_H
#define PENSTOCK_EDGE_REQUEST_RECORDS_H

#include "edge.h"

/* What a request leaves in the records (records.h). Loop thread. */

/* Whether the request may begin, as far as the ledger goes; false: it has been refused with 503. For requests that are passed
 * on to a model. */
bool request_records_begin(struct edge_record *record);

/* Its end: after its limits are settled, before its proxy is released. */
void request_records_end(struct edge_record *record, uint64_t now_ns);

#endif
