#ifndef PENSTOCK_EDGE_TARGETS_H
#define PENSTOCK_EDGE_TARGETS_H

#include "edge.h"

/* Where a loop sends requests to: a target for each slot's socket on this machine, or server elsewhere, made at the start; and one for
 * the link of a replica on another machine, made when it is first sent to, and let go when the slot has another link or none.
 * All on the loop, which owns them. */

/* Thread: the loop's, as it starts. Memory that runs out ends the process. */
void targets_create(struct edge_loop *loop);

/* The slot's, as it is now. Where its replica has just gone, or memory has, it is the slot's socket: nobody answers there. */
http_target *targets_get(struct edge_loop *loop, const struct edge_replica *replica);

/* Lets go of those whose replica has gone: what is on its way there fails with STATUS_CLOSED. Not from a callback of an exchange. */
void targets_prune(struct edge_loop *loop);

/* Of all: the loop sends nothing any more. Not from a callback of an exchange. */
void targets_close(struct edge_loop *loop);
/* When the loop has ended. */
void targets_free(struct edge_loop *loop);

#endif
