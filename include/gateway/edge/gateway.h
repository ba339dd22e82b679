#ifndef PENSTOCK_GATEWAY_EDGE_H
#define PENSTOCK_GATEWAY_EDGE_H

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
 * SIGHUP loads the config again. Takes over `config`, which was loaded from the options. Call once, from main, before other
 * threads than the log's exist: it blocks these signals for the process.
 * STATUS_OK after an orderly end; else the note says what could not be done (address in use, no run folder). */
NODISCARD status gateway_run(struct config *config, const struct gateway_options *options,
                             struct error_note *note);

#endif
