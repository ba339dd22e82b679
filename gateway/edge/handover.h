#ifndef PENSTOCK_EDGE_HANDOVER_H
#define PENSTOCK_EDGE_HANDOVER_H

#include <stdbool.h>
#include <stdint.h>

#include "status.h"

/* What a gateway and the one that takes its place say to each other, over a pair of connected sockets that the new one inherits.
 * Upgrade.c is the old one's side, takeover.c the new one's.
 *
 *   old                                      new
 *   HELLO, LISTENER..., REPLICA...,     ->   reads its config, takes the sockets (accepts nothing yet), looks which replicas
 *   ADAPTER..., END                          it can take over, starts those that it cannot, waits until they are ready
 *                                       <-   ADOPTED..., READY
 *   GO                                  ->   owns the replicas, accepts
 *                                       <-   TAKEN
 *   accepts no more, drains, ends
 *
 * Before TAKEN the old one can always go on as though nothing had been: it has given away copies only. An end of file
 * means that the other side is gone. */

/* Rises with every change of these messages, of what is said between gateway and replica, or of the shared page. */
#define HANDOVER_PROTOCOL 2u

/* The new process finds the number of its socket here. */
#define HANDOVER_VARIABLE "PENSTOCK_HANDOVER"

enum handover_kind {
    HANDOVER_HELLO, /* numbers: protocol, epoch of the new one, is the run directory private, pid of the keeper; texts: run
                          directory, version */
    HANDOVER_LISTENER, /* texts: address; descriptors: its sockets */
    HANDOVER_REPLICA, /* numbers: id of its model, index, pid, thousandths of its slice; sizes: uid, memory of its slice; texts: model, address, slice;
                         descriptors: pidfd, lifeline */
    HANDOVER_ADAPTER, /* texts: model, name, path */
    HANDOVER_END,
    HANDOVER_ADOPTED, /* numbers: as in REPLICA */
    HANDOVER_READY,
    HANDOVER_GO,
    HANDOVER_TAKEN,
};

#define HANDOVER_TEXT_BYTES      4096u
#define HANDOVER_DESCRIPTORS_MAX 64u

struct handover_message {
    uint32_t kind; /* enum handover_kind */
    uint32_t numbers[4];
    uint64_t sizes[2];
    char texts[3][HANDOVER_TEXT_BYTES]; /* NUL-terminated */
};

/* Waits until the other side has room. Descriptors stay the caller's. STATUS_OK, STATUS_IO (also when the other side is gone, or
 * takes nothing for as long as the socket's time-out). */
NODISCARD status handover_send(int socket, const struct handover_message *message,
                               const int *descriptors, uint32_t count);

/* Waits for at most `wait_ms`. Descriptors, at most `count_max`, are the caller's from then on, closed on exec; `count` (NULL: none are
 * expected, and those that come are closed) tells how many. STATUS_OK; STATUS_AGAIN: nothing has come; STATUS_IO: the other side is
 * gone, or what came is no message. */
NODISCARD status handover_receive(int socket, int wait_ms, struct handover_message *out,
                                  int descriptors[HANDOVER_DESCRIPTORS_MAX], uint32_t *count);

#endif
