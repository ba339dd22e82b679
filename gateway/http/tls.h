#ifndef PENSTOCK_GATEWAY_HTTP_TLS_H
#define PENSTOCK_GATEWAY_HTTP_TLS_H

#include <openssl/ssl.h>

#include "http_self_signed.h"
#include "status.h"

/* Server side TLS: 1.2 and up, ALPN h2 and http/1.1, no renegotiation, no compression, buffers
 * released while idle (15 kB a connection instead of 50). `certificate`: PEM chain, leaf first;
 * `key`: its PEM key. Counted: SSL_CTX_free. */
NODISCARD status tls_context_create(const char *certificate, const char *key, SSL_CTX **out,
                                    struct error_note *note);
/* The same with a certificate that is in memory. */
NODISCARD status tls_context_create_self_signed(const http_self_signed *identity, SSL_CTX **out,
                                                struct error_note *note);

#endif
