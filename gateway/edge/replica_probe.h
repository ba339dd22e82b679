#ifndef PENSTOCK_EDGE_REPLICA_PROBE_H
#define PENSTOCK_EDGE_REPLICA_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "status.h"

/* One GET /readyz, or one order without a body, over a replica's Unix socket, without blocking, and what the answer's head says of the
 * model (x-penstock-model). The control thread has a client
 * of its own, a few lines long, so that a loop that is busy or stuck is never taken for a replica
 * that is. */
struct replica_probe {
    int fd; /* -1: none under way */
    uint64_t deadline_ns;
    uint32_t bytes;    /* of the answer so far */
    char answer[2048]; /* its head; what is longer is cut */
};

#define REPLICA_PROBE_TIMEOUT_NS (2u * 1000000000ull)

enum probe_result {
    PROBE_PENDING,   /* wait until the descriptor is readable */
    PROBE_READY,     /* 200 */
    PROBE_NOT_READY, /* another answer */
    PROBE_SILENT     /* no connection, no HTTP, or no answer in time */
};

void replica_probe_init(struct replica_probe *probe);
/* What is asked: GET /readyz, or POST /sleep?level=1, POST /wake_up. */
enum probe_request { PROBE_READINESS, PROBE_SLEEP, PROBE_WAKE };

/* Connects to `address` ("unix:/path") and sends the request. A connection to a Unix socket is made
 * at once or not at all. On anything but PROBE_PENDING the probe is over. */
enum probe_result replica_probe_start(struct replica_probe *probe, const char *address,
                                      enum probe_request request, uint64_t now_ns);
/* Reads what has come. */
enum probe_result replica_probe_read(struct replica_probe *probe, uint64_t now_ns);
void replica_probe_stop(struct replica_probe *probe);
/* After PROBE_READY: what the replica serves. False: it did not say. */
bool replica_probe_model(const struct replica_probe *probe, uint32_t *context_max,
                         uint32_t *capabilities);

#endif
