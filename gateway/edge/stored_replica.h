#ifndef PENSTOCK_EDGE_STORED_REPLICA_H
#define PENSTOCK_EDGE_STORED_REPLICA_H

#include <stdint.h>

#include "text_slice.h"

/* Stored responses live in the replica that made them, and their ids name it: "resp_", then four
 * hexadecimal digits, which the gateway tells each replica with each request, then what the replica
 * has drawn. So whoever continues, fetches or deletes one is sent to its replica, and the gateway
 * keeps nothing. A number that no replica has, or one that is not ready, means that the response is
 * gone: 404. Pure; any thread. */

#define STORED_REPLICA_HEADER "x-penstock-replica"
#define STORED_REPLICA_BYTES  5u
#define STORED_REPLICA_NONE   UINT32_MAX

/* The digits of a replica's number (edge_replica.id), with a NUL. */
void stored_replica_write(uint32_t replica, char out[STORED_REPLICA_BYTES]);

/* The number that an id names; STORED_REPLICA_NONE: it is no id of ours. */
uint32_t stored_replica_read(struct text_slice id);

#endif
