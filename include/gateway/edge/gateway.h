#ifndef PENSTOCK_GATEWAY_EDGE_H
#define PENSTOCK_GATEWAY_EDGE_H

#include <sys/types.h>

#include "config.h"
#include "status.h"

/* The gateway role: listens, starts the replicas that the config names as child processes, and passes requests on to
 * them until it is told to end. */

struct gateway_options {
    const char *config_file;
    struct config_overrides overrides; /* applied again at each reload; handed on to the replicas */
    const char *version;
};

/* Runs until SIGTERM or SIGINT: the first drains (running requests get server.drain_timeout), the second ends at once.
 * SIGHUP loads the config again. SIGUSR2 starts the program anew, from the path and with the arguments that this process was started
 * with, hands sockets and replicas over to it, and then drains and ends; should the new process not become ready, nothing
 * changes. Takes over `config`, which was loaded from the options. Call once, from main, before other
 * threads than the log's exist: it blocks these signals for the process.
 * STATUS_OK after an orderly end; `successor` is then 0, or the process that has taken over, for gateway_keep; else the note says
 * what could not be done (address in use, no run folder). */
NODISCARD status gateway_run(struct config *config, const struct gateway_options *options,
                             pid_t *successor, struct error_note *note);

/* What a gateway does that has handed over, where no service manager was told that another process is the main one now: whoever
 * has started it knows only its process, so that stays, passes signals on, collects what ends, and ends as the last of its successors
 * does, with this code. Without successor 0. */
int gateway_keep(pid_t successor);

#endif
