#ifndef PENSTOCK_GATEWAY_LISTEN_ADDRESS_H
#define PENSTOCK_GATEWAY_LISTEN_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

#include "status.h"

/* Checks the text of an address to listen on: "127.0.0.1:8080", "[::1]:8080" or "unix:/path". On STATUS_INVALID the note
 * says what to write instead. Nothing is resolved or bound. Pure: any thread. */
NODISCARD status listen_address_check(const char *address, struct error_note *note);

/* Whether only this machine can reach the address: loopback or a Unix socket. The address must be valid. */
bool listen_address_is_local(const char *address);

/* Length of the part before ":port"; 0 for a Unix socket. The address must be valid. */
size_t listen_address_host_bytes(const char *address);

#endif
