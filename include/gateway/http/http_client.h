#ifndef PENSTOCK_GATEWAY_HTTP_CLIENT_H
#define PENSTOCK_GATEWAY_HTTP_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "http_remote.h"
#include "http_server.h"

/* The upstream side: HTTP/1.1 keep-alive over Unix or TCP sockets, one pool of idle connections a loop and target, with
 * back-pressure, body streaming, per-phase time-outs and a retry only where nothing was sent twice (a kept connection that the
 * other side had closed before a byte came). All calls and callbacks on one loop thread. */
typedef struct http_target http_target;     /* an address with its idle connections, per loop */
typedef struct http_exchange http_exchange; /* one request and its answer */

/* `address`: "unix:/path" or "host:port" (numeric). */
NODISCARD status http_target_create(http_loop *loop, const char *address, uint32_t idle_max,
                                    http_target **out);
/* A server elsewhere, by name and perhaps with TLS; `remote` outlives the target. Its address is taken anew for each
 * connection. */
NODISCARD status http_target_create_remote(http_loop *loop, const http_remote *remote,
                                           uint32_t idle_max, http_target **out);
/* Ends idle connections; running exchanges fail with STATUS_CLOSED. */
void http_target_destroy(http_target *target);

struct http_exchange_callbacks {
    /* Head of the answer. `headers` valid during the call. */
    void (*on_head)(http_exchange *exchange, int status_code, const struct http_header *headers,
                    size_t header_count, void *context);
    /* Some body bytes, valid during the call. */
    void (*on_body)(http_exchange *exchange, struct text_slice bytes, void *context);
    /* The end: STATUS_OK after a complete answer; STATUS_CLOSED (connection refused or lost), STATUS_TIMEOUT,
     * STATUS_INVALID (not HTTP). `any_byte`: something of an answer had come. The exchange is dead afterwards. */
    void (*on_end)(http_exchange *exchange, status result, bool any_byte, void *context);
};

struct http_exchange_options {
    const char *method; /* "POST" */
    const char *path;
    const struct http_header *headers; /* host, content-length and connection are ours to write */
    size_t header_count;
    struct text_slice body; /* borrowed until on_end */
    uint64_t connect_timeout_ns;
    uint64_t first_byte_timeout_ns; /* prefill can take long: the caller knows */
    uint64_t idle_timeout_ns;       /* between bytes */
    struct http_exchange_callbacks callbacks;
    void *context;
};

/* on_end may be called before this returns only through a zero timer: never re-entrantly. */
NODISCARD status http_exchange_start(http_target *target,
                                     const struct http_exchange_options *options,
                                     http_exchange **out);
/* Closes the connection without calling back; the replica sees it and cancels. The exchange is dead afterwards. */
void http_exchange_cancel(http_exchange *exchange);
/* Back-pressure: stop and go on reading. */
void http_exchange_pause(http_exchange *exchange);
void http_exchange_resume(http_exchange *exchange);

#endif
