#ifndef PENSTOCK_GATEWAY_HTTP_CLIENT_CERTIFICATE_H
#define PENSTOCK_GATEWAY_HTTP_CLIENT_CERTIFICATE_H

#include <openssl/ssl.h>

#include "http_server.h"

/* Certificates of clients (mutual TLS): asked for, verified by OpenSSL during the handshake, and kept as the few names
 * that they say, with the connection. The library between hides its SSL object, so a connection and its SSL find each
 * other at birth: what this thread is about to make an SSL for is told before, and OpenSSL's own hook takes it over. */

/* Makes a context ask for certificates that `authorities` (PEM file) have signed. A connection without one goes on, unless
 * `is_required`. STATUS_OK, STATUS_INVALID with a note. */
NODISCARD status client_certificate_ask(SSL_CTX *context, const char *authorities, bool is_required,
                                        struct error_note *note);

/* The SSL object that this thread makes until the next call is for this owner, which outlives it. When its handshake has
 * ended with a certificate, `owner->certificate` is set. NULL: for nobody. */
struct client_certificate_owner {
    struct http_certificate *certificate; /* owned; NULL: none. memory_release it */
};
void client_certificate_expect(struct client_certificate_owner *owner);

#endif
