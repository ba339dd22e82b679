#ifndef PENSTOCK_GATEWAY_GATEWAY_LINK_CALLS_H
#define PENSTOCK_GATEWAY_GATEWAY_LINK_CALLS_H

#include "gateway_link.h"
#include "heartbeat.h"
#include "http_server.h"

/* What serving needs of the link beyond its life. One thread at a time makes the calls. */

/* The listener's options for what the link has bound, known and secured by what it has told the gateway. The socket goes over to the
 * server that is made with them: once. */
void gateway_link_listen(gateway_link *link, struct http_listener_options *options);
/* "host:port", as the gateway has been told. */
const char *gateway_link_address(const gateway_link *link);

/* Whether the request comes from the gateway. Takes as long whatever it shows. Any thread. */
bool gateway_link_is_gateway(const gateway_link *link, const http_request *request);

/* Sends a report, and numbers it. STATUS_OK; STATUS_DENIED: the gateway knows nothing of this replica any more; STATUS_CLOSED and
 * others: it did not arrive, or the answer did not. `is_over` (NULL: never) breaks it off within a second. */
NODISCARD status gateway_link_report(gateway_link *link, struct heartbeat *beat,
                                     bool (*is_over)(const void *context), const void *context,
                                     struct error_note *note);

/* Whether the last answer spoke of another config than the one that is here. */
bool gateway_link_has_news(const gateway_link *link);
/* Puts the gateway's config into the place of the one here. STATUS_OK, or why not, with the note. */
NODISCARD status gateway_link_read_config(gateway_link *link, struct error_note *note);

#endif
