#ifndef PENSTOCK_GATEWAY_HTTP_FETCH_H
#define PENSTOCK_GATEWAY_HTTP_FETCH_H

#include "buffer.h"
#include "http_server.h"

/* One request of our own over a connection of its own, for threads that may wait for the answer: health checks, an issuer's
 * keys, what is told to a replica. Certificates are checked; redirections are not followed. */
struct http_fetch {
    const char *url;         /* http:// or https://, with a path */
    const char *unix_socket; /* connects there instead of to the URL's host; NULL: to the host */
    const char
        *connect_to;     /* numeric address that stands for the URL's host; NULL: it is looked up */
    const char *ca_file; /* PEM file of authorities; NULL or "": the system's */
    bool uses_proxy;     /* that of the environment (https_proxy and its kin) */
    const struct http_header *headers;
    size_t header_count;
    struct text_slice body; /* data NULL: GET, else POST of this JSON */
    uint64_t timeout_ns;    /* for all of it */
    /* Asked about once a second: whether nobody waits for the answer any more; NULL: never. */
    bool (*is_over)(const void *context);
    const void *context;
};

/* `body` has been initialised by the caller; its ceiling is the longest answer that is taken. STATUS_OK with the answer's
 * status code, whatever that is; else the note says why: STATUS_CLOSED (no connection, broken answer), STATUS_TIMEOUT,
 * STATUS_TOO_LARGE, STATUS_CANCELLED (by is_over), STATUS_NO_MEMORY. Any thread but a loop. */
NODISCARD status http_fetch(const struct http_fetch *fetch, int *status_code, struct buffer *body,
                            struct error_note *note);

#endif
