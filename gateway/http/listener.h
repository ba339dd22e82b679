#ifndef PENSTOCK_GATEWAY_HTTP_LISTENER_H
#define PENSTOCK_GATEWAY_HTTP_LISTENER_H

#include "loop.h"

/* Sockets that listen. See listener.c. */

/* Adds a listener to the server, which closes it whatever this returns. STATUS_OK; STATUS_IO, STATUS_INVALID with a note;
 * STATUS_NO_MEMORY. */
NODISCARD status listener_open(http_server *server, const struct http_listener_options *options,
                               struct error_note *note);
void listener_close(struct listener *listener);

/* The file of a Unix socket goes: nobody finds the way any more. */
void listener_unlink(const struct listener *listener);

/* From now on the kernel drops what would begin a new connection, and lets those that have begun come in. */
void listener_turn_away(const struct listener *listener, int descriptor);

#endif
