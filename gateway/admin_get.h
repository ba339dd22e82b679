#ifndef PENSTOCK_GATEWAY_ADMIN_GET_H
#define PENSTOCK_GATEWAY_ADMIN_GET_H

#include <stdbool.h>

#include "buffer.h"
#include "http_fetch.h"

/* GET of an admin listener's URL, with the key of the environment's PENSTOCK_ADMIN_KEY, for verbs. False: what is wrong has been printed, in
 * the name of `verb`. */
bool admin_get(const char *verb, const char *url, struct buffer *out);

/* The same, and what is wrong goes into the note: STATUS_NOT_FOUND where it answers 404. Connections are kept in `session`, which may be
 * NULL. `is_over` is asked about once a second whether nobody waits for the answer any more; NULL: never. */
NODISCARD status admin_ask(const char *url, struct http_fetch_session *session,
                           bool (*is_over)(const void *context), const void *context,
                           struct buffer *out, struct error_note *note);

#endif
