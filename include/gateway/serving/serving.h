#ifndef PENSTOCK_GATEWAY_SERVING_H
#define PENSTOCK_GATEWAY_SERVING_H

#include "config.h"
#include "gateway_link.h"
#include "status.h"

struct serving_options {
    const char *listen; /* "127.0.0.1:8000", "[::1]:0", "unix:/path"; NULL: as `link` has bound */
    /* A gateway on another machine: it is served, over TLS, nobody else is, and it is told how the replica is. NULL: none. */
    gateway_link *link;
    const struct config_overrides
        *overrides; /* with which the config was loaded; a reload takes them again */
    /* "NAME=PATH" lines: adapters beside those of the config, which clients have loaded at the gateway */
    const char *adapters;
    uint64_t begun_ns; /* monotonic: when the process began (START_BEGUN) */
};

/* The replica role: one model on one slice behind the OpenAI API.
 *
 * serving_run binds `listen`, answers health probes from then on (/readyz says 503 "loading"), opens
 * the engine, loads the adapters, and serves until SIGTERM or SIGINT.
 * The first signal drains: /readyz turns 503, new completions are refused with 503 and Retry-After,
 * running ones go on for at most server.drain_timeout. A second signal ends at once what still
 * runs; clients get a well-formed error.
 *
 * SIGHUP reads the config again, by `overrides`, and loads and unloads the model's adapters as it
 * says; what else has changed needs a restart. A config that is not good changes nothing.
 *
 * `config`, `model` (one of config->models) and `options` are borrowed for the call. The caller has
 * started the log. SIGTERM, SIGINT and SIGHUP are blocked in the calling thread for the
 * time of the call, and SIGPIPE is ignored.
 *
 * The headers x-penstock-tenant and x-penstock-priority, by which the gateway role speaks for its
 * clients, are honoured on Unix sockets, since whoever can open the socket is the gateway, and over a link.
 *
 * Returns STATUS_OK after an end that a signal asked for; STATUS_IO (address in use),
 * STATUS_INVALID, STATUS_UNSUPPORTED (the model file), STATUS_NO_MEMORY, STATUS_INTERNAL, with the
 * note filled. Thread: main; one call at a time. */
NODISCARD status serving_run(const struct config *config, const struct config_model *model,
                             const struct serving_options *options, struct error_note *note);

#endif
