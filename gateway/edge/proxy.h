#ifndef PENSTOCK_EDGE_PROXY_H
#define PENSTOCK_EDGE_PROXY_H

#include "edge.h"

/* Passes a request on to a replica of its model, and the answer back. Loop thread; the record is in
 * the request's memory. */
void proxy_start(struct edge_record *record, const char *method, const char *upstream_path);

/* The same for a stored response, under the request's own path: asked of the replica that the id
 * names. `method` is static text. */
void proxy_start_stored(struct edge_record *record, const char *method, struct text_slice id);

/* When the request has ended, in any way. */
void proxy_release(struct proxy *proxy);

/* Requests of the loop that were given a slot go on; when replicas have changed, so do those that wait
 * for one. Loop thread. */
void proxy_wake(struct edge_loop *state, bool replicas_have_changed);

/* What it asks for; the caller's limit is not applied. */
int32_t proxy_priority(const struct proxy *proxy);

/* What its metrics say of a request that has ended, once its usage is known. */
void proxy_measure(const struct proxy *proxy);

#endif
