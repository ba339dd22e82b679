#ifndef PENSTOCK_EDGE_REPLICA_CALL_H
#define PENSTOCK_EDGE_REPLICA_CALL_H

#include "edge.h"
#include "http_fetch.h"

/* Asks or tells a replica of ours something, wherever it is, and waits for the answer: for threads that may wait (loops have
 * replica_question.h). `fetch` has what http_fetch wants but for the address. Returns what http_fetch does. */
NODISCARD status replica_call(struct edge *edge, const struct edge_replica *replica,
                              const char *path, const struct http_fetch *fetch, int *code,
                              struct buffer *answer, struct error_note *note);

#endif
