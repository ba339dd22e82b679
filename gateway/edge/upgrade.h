#ifndef PENSTOCK_EDGE_UPGRADE_H
#define PENSTOCK_EDGE_UPGRADE_H

#include <signal.h>

#include "edge.h"
#include "gateway.h"

/* Handing over to a new process (handover.h): the running gateway's side. The program is started again as it was started, from
 * the same path, so a package that has been replaced there and a config that needs a restart both take effect; it is
 * offered the listening sockets and the replicas; when it is ready, it has the place. Whatever goes wrong before that leaves this
 * gateway as it is. */

#define UPGRADE_SIGNAL SIGUSR2

/* The new process's pid, when it has taken over: this one is to drain (http_server_drain with is_handed_over) and end, and
 * edge->is_handed_over is set. 0: nothing has changed; why is logged. -1: a signal has asked for the end meanwhile. Thread: main. */
pid_t upgrade_run(struct edge *edge);

#endif
