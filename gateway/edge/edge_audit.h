#ifndef PENSTOCK_EDGE_EDGE_AUDIT_H
#define PENSTOCK_EDGE_EDGE_AUDIT_H

#include "edge.h"

/* Writes what is about to be done to the gateway into its audit log. False: it cannot be written, which has been logged, and
 * must not be done. Thread: main. */
NODISCARD bool edge_audit(struct edge *edge, const struct audit_event *event);

#endif
