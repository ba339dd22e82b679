#ifndef PENSTOCK_GATEWAY_GATEWAY_LINK_H
#define PENSTOCK_GATEWAY_GATEWAY_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "status.h"

/* The way of a replica to the gateway that has started it on another machine. The member of the pool that runs the replica gives
 * it, in its environment, where the gateway is, by which key it is known, and a token that is good once (heartbeat.h); with these
 * it registers, and from then on it serves that gateway alone and reports to it. gateway/edge/join.c has the whole story. */
typedef struct gateway_link gateway_link;

/* What it has been told to serve; as long as the link. */
struct gateway_grant {
    const char *model;
    int32_t index;
    const char *file;       /* the config's, as it is called on the gateway's machine */
    const char *text_file;  /* where its text is here; changes with the gateway's */
    const char *model_path; /* from the gateway's command line; NULL: as in the config */
    const char *adapters;   /* serving_options.adapters */
};

/* Binds `listen` (NULL: a free port on the address by which the gateway is reached, or where the environment says which address is this
 * machine's, on all of them), then registers; tries again while the gateway is not there, for as long as the token is good.
 * STATUS_OK; STATUS_INVALID: the environment or `listen` is not what it should be; STATUS_IO: the address is in use; STATUS_DENIED:
 * the gateway refuses it, now and ever; STATUS_TIMEOUT: the gateway was not reached; STATUS_NO_MEMORY, STATUS_INTERNAL. With the
 * note. Thread: main; waits. */
NODISCARD status gateway_link_open(const char *listen, gateway_link **out, struct error_note *note);
const struct gateway_grant *gateway_link_grant(const gateway_link *link);

/* Tells the gateway that the replica cannot serve, and why. Not while serving_run runs. */
void gateway_link_fail(gateway_link *link, const char *reason);

void gateway_link_close(gateway_link *link); /* accepts NULL */

#endif
