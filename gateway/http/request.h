#ifndef PENSTOCK_GATEWAY_HTTP_REQUEST_H
#define PENSTOCK_GATEWAY_HTTP_REQUEST_H

#include "buffer.h"
#include "connection.h"

/* The request object and its answer, the same for both protocols. See request.c. */

#define REQUEST_ID_BYTES_MAX 128u

enum send_kind { SEND_MORE, SEND_LAST, SEND_ABORT };

struct http_request {
    h2o_generator_t generator; /* first: the library gives it back to us */
    h2o_req_t *h2o;            /* HTTP/2; NULL: HTTP/1.1 */
    struct connection *connection;
    h2o_mem_pool_t *pool;
    http_request *next, **link;             /* of the connection */
    http_request *flush_next, **flush_link; /* of the loop */
    struct text_slice method, path, query, body;
    struct http_header *headers;
    size_t header_count;
    const char *id; /* in the pool */
    uint64_t start_ns;
    void (*on_gone)(http_request *request, void *context);
    void *on_gone_context;
    void (*on_end)(void *context);
    void *on_end_context;
    void (*on_drained)(http_request *request, void *context);
    void *on_drained_context;

    /* the answer */
    int status_code;
    struct http_header *answer_headers; /* checked; in the pool */
    size_t answer_header_count;
    struct http_header *added_headers; /* in the pool; NULL: none */
    size_t added_header_count;
    uint64_t answer_length; /* or HTTP1_NO_LENGTH */
    bool is_head_method, must_close, is_refused;
    bool has_no_handler; /* made only to carry an error */
    bool is_malformed;   /* HTTP/2: method or path */
    bool is_started, is_head_sent, is_ended, is_aborted;
    bool is_sending, is_full, is_event_stream, is_counted;
    struct buffer pending, in_flight; /* in_flight belongs to the library while is_sending */
    uint64_t handed_bytes;            /* body bytes given to the library */
    uint64_t progress_mark, progress_ns;
    uint64_t last_send_ns;
    struct http_timer keepalive;
};

/* Fills in what follows from the connection, after method, path, headers and body; then calls the
 * handler, or answers itself what no handler shall see (431, 413). */
void request_begin(http_request *request);
/* An error made here, in OpenAI's envelope; `code` and `message` are static texts. */
void request_reply_error(http_request *request, int status_code, const char *code,
                         const char *message);
/* End of a turn, or what was in flight is out: sends what waits. */
void request_flush(http_request *request);
void request_sent(http_request *request);
/* Takes it out of all lists, tells the handler's side; the memory is the protocol's. */
void request_destroy(http_request *request);
const char *request_reason(int status_code);

/* http1.c, http2.c */
void http1_send(http_request *request, struct text_slice bytes, enum send_kind kind);
void http2_send(http_request *request, struct text_slice bytes, enum send_kind kind);

#endif
