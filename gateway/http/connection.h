#ifndef PENSTOCK_GATEWAY_HTTP_CONNECTION_H
#define PENSTOCK_GATEWAY_HTTP_CONNECTION_H

#include "client_certificate.h"
#include "http1_chunked.h"
#include "loop.h"

/* One client connection, from accept to close. Owned by its loop; lives exactly as long as the
 * library's socket, whose on_close frees it. See connection.c. */

enum http1_state { HTTP1_HEAD, HTTP1_BODY, HTTP1_CONTINUE, HTTP1_ANSWER, HTTP1_LINGER };

struct http1 {
    enum http1_state state;
    int minor_version;
    bool has_begun; /* the first byte of a head is here */
    bool is_chunked, is_keep_alive, is_last, must_reset;
    size_t scanned, head_bytes, body_bytes;
    uint64_t content_length;
    struct chunked chunked;
    size_t linger_bytes;
    http_request *request;
    h2o_buffer_t *held;  /* owned: the bytes of the request being answered */
    h2o_mem_pool_t pool; /* of that request */
};

struct http2 {
    struct guard guard;
    h2o_socket_cb library_read; /* the library's own read callback */
    uint64_t head_only_turn; /* a head without body was sent in this turn: do not parse before it is
                                written */
    bool is_deferred, is_paused;
    bool has_asked;      /* a request has come */
    uint64_t held_bytes; /* bodies of requests being answered */
};

struct connection {
    struct connection *next, **link;
    struct connection *queue_next, **queue_link; /* deferred or paused */
    http_loop *loop;
    struct acceptor *acceptor;
    h2o_socket_t *socket;
    enum connection_phase phase;
    bool is_handshake, is_tls, is_unix;
    bool is_doomed;  /* we ended it: whatever still comes is thrown away */
    bool is_closing; /* HTTP/1.1: closed; a TLS socket may still be writing its farewell */
    struct peer_key peer;
    char peer_text[48];
    uint64_t since_ns;                   /* start of what `phase` or http1.state waits for */
    uint64_t progress_mark, progress_ns; /* how far the client has read, and since when */
    uint64_t sent_bytes_counted;
    uint64_t buffered_bytes; /* our part of the server's total */
    uint64_t coming_bytes;   /* our part of our address's */
    http_request *requests;
    struct http1 http1;
    struct http2 *http2; /* owned */
    struct client_certificate_owner client;
};

void connection_start(http_loop *loop, struct acceptor *acceptor, h2o_socket_t *socket);
/* Once every SWEEP_NS: time-outs and write stalls of all connections. */
#define SWEEP_NS (NS_PER_SECOND / 2)
void connection_sweep(http_loop *loop);
/* The loop drains, and nobody has asked for anything on it for as long as it waits for that. */
bool connection_is_left(const struct connection *connection);
void connection_set_phase(struct connection *connection, enum connection_phase phase);
/* Ends it without ceremony: the socket reports an error to whoever uses it. */
void connection_doom(struct connection *connection, enum guard_verdict verdict);
/* Body bytes held for this connection, and how many of them are of bodies that are still coming; false: too many, of all
 * together or of its address. */
bool connection_set_buffered(struct connection *connection, uint64_t bytes, uint64_t coming_bytes);
void connection_count_received(struct connection *connection);
void connection_queue_remove(struct connection *connection);

/* http1.c */
void http1_start(struct connection *connection);
void http1_check(struct connection *connection); /* time-outs; may close it */
void http1_close(struct connection *connection);

/* http2.c */
void http2_start(struct connection *connection);
void http2_check(struct connection *connection); /* may close it */
void http2_resume_deferred(http_loop *loop);
/* Puts our read callback back where the library replaced it. */
void http2_after_turn(http_loop *loop);
void http2_free(struct connection *connection);
bool http2_has_uploads(const struct connection *connection);
int http2_handle(h2o_handler_t *self, h2o_req_t *request);

#endif
