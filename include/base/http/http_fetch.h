#ifndef PENSTOCK_BASE_HTTP_FETCH_H
#define PENSTOCK_BASE_HTTP_FETCH_H

#include <stdbool.h>
#include <stdint.h>

#include "buffer.h"
#include "http_header.h"

/* One request of our own, for threads that may wait for the answer: health checks, an issuer's keys, what is told to a
 * replica, a cluster's API. Certificates are checked; redirections are not followed. */

/* Connections that are kept open from one request to the next. One thread at a time. */
struct http_fetch_session;
struct http_fetch_session *http_fetch_session_create(void);          /* NULL: no memory */
void http_fetch_session_destroy(struct http_fetch_session *session); /* accepts NULL */

struct http_fetch {
    const char *url;         /* http:// or https://, with a path */
    const char *unix_socket; /* connects there instead of to the URL's host; NULL: to the host */
    const char
        *connect_to;     /* address or name that stands for the URL's host; NULL: the host itself */
    const char *ca_file; /* PEM file of authorities; NULL or "": the system's */
    const char *ca_pem;  /* the same as text; NULL or "": none */
    const char *certificate_pem, *key_pem; /* who we are; NULL or "": nobody */
    bool is_unchecked;                     /* the server's certificate is not looked at */
    /* "sha256//BASE64", as libcurl writes it: the server must have the public key with this hash, and neither its name nor who
     * has signed it matters; NULL: the usual checks */
    const char *public_key_pin;
    bool uses_proxy;   /* that of the environment (https_proxy and its kin) */
    const char *proxy; /* a proxy's URL, before the environment's; NULL or "" */
    const struct http_header *headers;
    size_t header_count;
    struct text_slice body;             /* data NULL: GET, else POST of this */
    const char *content_type;           /* of the body; NULL: JSON */
    const char *method;                 /* another one than these; NULL: GET or POST */
    bool accepts_gzip;                  /* the ceiling is that of the unpacked answer */
    struct http_fetch_session *session; /* NULL: a connection of its own */
    uint64_t timeout_ns;                /* for all of it */
    /* Asked about once a second: whether nobody waits for the answer any more; NULL: never. */
    bool (*is_over)(const void *context);
    const void *context;
    uint64_t *retry_after_s; /* gets what the answer asks to wait, 0: nothing; NULL: not wanted */
};

/* `body` has been initialised by the caller; its ceiling is the longest answer that is taken. STATUS_OK with the answer's
 * status code, whatever that is; else the note says why: STATUS_CLOSED (no connection, broken answer), STATUS_TIMEOUT,
 * STATUS_DENIED (certificates, the server's or ours), STATUS_TOO_LARGE, STATUS_CANCELLED (by is_over), STATUS_NO_MEMORY. Any
 * thread but a loop. */
NODISCARD status http_fetch(const struct http_fetch *fetch, int *status_code, struct buffer *body,
                            struct error_note *note);

#endif
