#ifndef PENSTOCK_GATEWAY_REPORTER_H
#define PENSTOCK_GATEWAY_REPORTER_H

#include "gateway_link.h"
#include "replica.h"

/* A thread that tells the gateway on another machine how the replica is (heartbeat.h), four times a second, from what the replica writes
 * into a page of its own. It asks the process to end (SIGTERM) when the gateway does not know it any more, or has not been reached
 * for pool.lost_timeout; and to read its config again (SIGHUP) when the gateway has another one. */
struct reporter;

/* STATUS_OK, STATUS_NO_MEMORY, STATUS_IO. `replica` and `link` outlive it. */
NODISCARD status reporter_start(struct replica *replica, gateway_link *link, struct reporter **out);
/* Before the replica is closed. Accepts NULL. */
void reporter_stop(struct reporter *reporter);

#endif
