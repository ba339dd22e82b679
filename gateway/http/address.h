#ifndef PENSTOCK_GATEWAY_HTTP_ADDRESS_H
#define PENSTOCK_GATEWAY_HTTP_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "status.h"

/* Socket addresses as our config writes them: "127.0.0.1:8080", "[::1]:8080", "unix:/path". Numeric
 * only: a name server is no part of accepting or routing. */

#define ADDRESS_TEXT_BYTES 128u

struct address {
    struct sockaddr_storage storage;
    socklen_t bytes;
};

/* STATUS_INVALID with the reason in the note (may be NULL). */
NODISCARD status address_parse(const char *text, struct address *out, struct error_note *note);
static inline bool address_is_unix(const struct address *address)
{
    return address->storage.ss_family == AF_UNIX;
}
/* "127.0.0.1", "::1" or "unix"; without the port. */
void address_host_text(const struct address *address, char out[ADDRESS_TEXT_BYTES]);
uint16_t address_port(const struct address *address);
void address_set_port(struct address *address, uint16_t port);

#endif
