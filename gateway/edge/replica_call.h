#ifndef PENSTOCK_EDGE_REPLICA_CALL_H
#define PENSTOCK_EDGE_REPLICA_CALL_H

#include <stdbool.h>
#include <stdint.h>

#include "buffer.h"
#include "text_slice.h"

/* One POST of a JSON body over a replica's Unix socket, by a thread that may wait for the answer: what the gateway itself
 * has to tell a replica, which is seldom. */

/* The answer's status; its body is appended to `answer`. 0: no answer of HTTP/1 in `timeout_ns`, or before `is_over` (asked
 * several times a second) said that nobody waits any more. `address`: "unix:/path". Any thread but a loop. */
int replica_call(const char *address, const char *path, struct text_slice body, uint64_t timeout_ns,
                 bool (*is_over)(void), struct buffer *answer);

#endif
