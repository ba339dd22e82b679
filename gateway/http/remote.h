#ifndef PENSTOCK_GATEWAY_HTTP_REMOTE_PRIVATE_H
#define PENSTOCK_GATEWAY_HTTP_REMOTE_PRIVATE_H

#include <openssl/ssl.h>
#include <stdatomic.h>

#include "address.h"
#include "http_remote.h"
#include "http_self_signed.h"

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
    unsigned char pin[HTTP_PIN_BYTES];       /* of the server's key, where that is pinned */
    char pin_text[HTTP_PIN_TEXT_BYTES];      /* "": it is not */
    struct text_slice secret_name, secret;   /* owned; a header of each request; no bytes: none */
    /* Release by http_remote_resolve, acquire by loops; NULL: not found yet */
    _Atomic(struct remote_address *) address;
};

#endif
