#ifndef PENSTOCK_GATEWAY_HTTP_SELF_SIGNED_PRIVATE_H
#define PENSTOCK_GATEWAY_HTTP_SELF_SIGNED_PRIVATE_H

#include <openssl/ssl.h>

#include "http_self_signed.h"

/* What TLS needs of them; private to gateway/http. */

/* The name in the certificate, which clients ask for: they know the server by its key, so all have the same. */
#define SELF_SIGNED_NAME "penstock.internal"

/* The context's certificate and key; it counts them. */
NODISCARD status self_signed_use(const http_self_signed *identity, SSL_CTX *context);

/* A client's context that takes one server only: the one whose key has the hash, which is borrowed as long as the context. TLS 1.3. */
NODISCARD status self_signed_expect(const unsigned char hash[HTTP_PIN_BYTES], SSL_CTX **out);

#endif
