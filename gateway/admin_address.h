#ifndef PENSTOCK_GATEWAY_ADMIN_ADDRESS_H
#define PENSTOCK_GATEWAY_ADMIN_ADDRESS_H

#include <stdbool.h>

/* Where a gateway's admin listener is, for verbs. */

#define ADMIN_ADDRESS_BYTES 1024u

/* A URL as it was given, or, of a config, where it lets the gateway listen. False: what is wrong has been printed, in the name of
 * `verb`. */
bool admin_address_find(const char *verb, const char *where, char out[ADMIN_ADDRESS_BYTES]);

/* Where it is if nobody says otherwise. */
void admin_address_usual(char out[ADMIN_ADDRESS_BYTES]);

#endif
