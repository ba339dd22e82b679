#ifndef PENSTOCK_GATEWAY_ADMIN_GET_H
#define PENSTOCK_GATEWAY_ADMIN_GET_H

#include <stdbool.h>

#include "buffer.h"

/* GET of an admin listener's URL, with the key of the environment's PENSTOCK_ADMIN_KEY, for verbs. False: what is wrong has been printed, in
 * the name of `verb`. */
bool admin_get(const char *verb, const char *url, struct buffer *out);

#endif
