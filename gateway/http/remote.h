#ifndef PENSTOCK_GATEWAY_HTTP_REMOTE_PRIVATE_H
#define PENSTOCK_GATEWAY_HTTP_REMOTE_PRIVATE_H

#include <openssl/ssl.h>
#include <stdatomic.h>

#include "address.h"
#include "http_remote.h"

/* What the client sees of a remote; private to gateway/http. */

struct remote_address {
    struct address address;
    struct remote_address *older; /* loops may still look at it: all live as long as the remote */
};

struct http_remote {
    struct http_url url;
    char authority[HTTP_URL_HOST_BYTES + 8]; /* for the host header */
    SSL_CTX *tls;                            /* owned; NULL: cleartext */
    const char *ca_file;                     /* "": the system's */
    /* Release by http_remote_resolve, acquire by loops; NULL: not found yet */
    _Atomic(struct remote_address *) address;
};

#endif
