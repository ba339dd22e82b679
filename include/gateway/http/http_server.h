#ifndef PENSTOCK_GATEWAY_HTTP_SERVER_H
#define PENSTOCK_GATEWAY_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http_header.h"
#include "http_self_signed.h"
#include "metrics.h"
#include "status.h"
#include "text_slice.h"

/* The narrow interface between everything we say over HTTP and the library that parses it (libh2o; no h2o type crosses this
 * header). Event loops, one a thread; HTTP/1.1 and HTTP/2 (cleartext by prior knowledge, TLS by ALPN) on the same
 * ports; the connection guard stands before the library.
 *
 * A request lives on one loop thread. Its handler runs there once the whole body is in memory, and must not block:
 * it answers at once, or keeps the `struct http_request *` and answers later from the same loop thread (other threads reach it
 * by http_loop_send). Every request gets exactly one of: http_reply; or http_stream_start + http_stream_end; or, if the
 * client goes first, on_gone. After on_gone or the end of the answer the pointer is dead.
 *
 * Threads: create, start, drain, stop: main. http_loop_send, http_server_metrics: any. All else: the request's loop. */
typedef struct http_server http_server;
typedef struct http_loop http_loop;
typedef struct http_request http_request;

typedef void http_handler_fn(http_request *request, void *context);

struct http_limits {             /* every one is a row of the settings table */
    uint64_t body_bytes_max;     /* answered 413 by us, also over HTTP/2 */
    uint64_t buffered_bytes_max; /* all request bodies in memory together */
    uint64_t upload_bytes_max;   /* of one address's bodies that are still coming */
    uint32_t header_bytes_max,
        header_count_max; /* answered 431; over HTTP/2 a head must fit one frame (16 KiB) */
    uint32_t connection_count_max, connection_per_address_max; /* refused by closing; 0: no limit */
    /* new connections of one address (IPv6: /64), burst of as many; 0: no limit */
    uint32_t accepts_per_second_max;
    uint32_t streams_per_second_max, stream_burst_max; /* unfinished requests: the guard's credit */
    uint64_t header_timeout_ns;                        /* accept or idle -> whole head */
    uint64_t body_timeout_ns;                          /* whole body */
    uint64_t upload_bytes_per_second_min;              /* average of a body, after 10 s; 0: none */
    uint64_t idle_timeout_ns;
    uint64_t write_timeout_ns; /* client reads nothing of what waits for it */
    /* unsent bytes of one stream before on_full tells the producer */
    uint64_t response_buffer_bytes_max;
    /* of the kernel, for each TCP connection that is accepted; fixed when the server is created; 0: the system's */
    uint32_t receive_buffer_bytes;
    /* event streams: ": keep-alive" when nothing was sent for so long; 0: never */
    uint64_t keepalive_comment_ns;
};

struct http_listener_options {
    const char *address; /* "127.0.0.1:8080", "[::1]:8080", "unix:/path" */
    /* Sockets that listen there already, from the process before this one; taken over, also on failure. All are accepted
     * from, since what closes one loses the connections that wait in it. NULL: they are made. */
    const int *descriptors;
    uint32_t descriptor_count; /* up to HTTP_LISTENER_SOCKETS_MAX */
    const char *certificate,
        *key; /* PEM files: TLS beside cleartext on the same port (first byte tells); NULL: none */
    const http_self_signed
        *identity; /* instead of files; borrowed for the server's life; NULL: none */
    /* PEM file with authorities: clients are asked for certificates that these have signed; NULL: they are not */
    const char *client_authorities;
    bool is_client_certificate_required; /* else a connection without one goes on */
    http_handler_fn *handler;
    void *context;
    /* Added to each answer that has none of the name: [header_count], and under `time_header` (NULL: none) the
     * milliseconds from the request's head to the answer's. Borrowed for the server's life. */
    const struct http_header *headers;
    size_t header_count;
    const char *time_header;
};

#define HTTP_LISTENER_SOCKETS_MAX 64u

/* A TCP socket that listens at the address, for `descriptors`: who must tell its port before it can make the server has it here.
 * `bound` gets the address with the port that it got. STATUS_OK; STATUS_INVALID, STATUS_IO (in use) with the note. */
#define HTTP_ADDRESS_TEXT_BYTES 144u
NODISCARD status http_socket_open(const char *address, int *out,
                                  char bound[HTTP_ADDRESS_TEXT_BYTES], struct error_note *note);
/* The numeric address of this machine on the way to `host` ("[...]" around one with colons), as the kernel routes it now; nothing
 * is sent. Names are looked up: not on a loop. STATUS_OK, STATUS_NOT_FOUND with the note. */
NODISCARD status http_address_towards(const char *host, char out[HTTP_ADDRESS_TEXT_BYTES],
                                      struct error_note *note);

struct http_server_options {
    uint32_t loop_count; /* up to HTTP_LISTENER_SOCKETS_MAX */
    struct http_limits limits;
    const struct http_listener_options *listeners;
    uint32_t listener_count;
    metrics_registry *metrics; /* NULL: none */
    const char *server_name;   /* "server" header */
    bool is_held;              /* nothing is accepted before http_server_accept */
};

/* Binds all listeners (the note says which failed and why: address in use, file unreadable). No thread runs yet. */
NODISCARD status http_server_create(const struct http_server_options *options, http_server **out,
                                    struct error_note *note);
/* Runs `on_start(context, loop)` on each loop thread (place for per-loop state), then serves. Returns when all loops serve. */
NODISCARD status http_server_start(http_server *server,
                                   void (*on_start)(void *context, http_loop *loop), void *context);
/* Reads the certificates again; all or nothing, the old ones stay on failure. New connections use the new ones. */
NODISCARD status http_server_reload_certificates(http_server *server, struct error_note *note);
/* Replaces the limits (reload). */
void http_server_set_limits(http_server *server, const struct http_limits *limits);
/* Begins to accept, where the options said to hold. */
void http_server_accept(http_server *server);
/* The sockets of listener `index`, for the process that comes after this one: at most HTTP_LISTENER_SOCKETS_MAX into `out`;
 * returns how many. They stay the server's. Before a drain only. */
uint32_t http_server_sockets(const http_server *server, uint32_t index,
                             int out[HTTP_LISTENER_SOCKETS_MAX]);
/* Stops accepting; connections finish what they have, and hear of it with the next answer (connection: close) or at once
 * (GOAWAY, and a second later the last one). A connection without a request closes after `idle_ns`.
 *
 * `is_handed_over`: another process listens on the same sockets, so they are closed at once. Otherwise whoever is already
 * connected, or about to be, is still let in: new ones are turned away first, and the sockets close a moment later. */
void http_server_drain(http_server *server, bool is_handed_over, uint64_t idle_ns);
/* Until the last socket has closed. After a drain has begun: when nothing listens and no connection is open, it is over. */
bool http_server_is_listening(const http_server *server);
/* Requests in flight and open connections, all loops. */
uint32_t http_server_request_count(const http_server *server);
uint32_t http_server_connection_count(const http_server *server);
/* Closes what is left, joins the threads. */
void http_server_stop(http_server *server);
void http_server_destroy(http_server *server);
/* The port that listener `index` got (for ":0"). */
uint16_t http_server_port(const http_server *server, uint32_t index);
/* Since loop `index` has last turned. Any thread. */
uint64_t http_server_loop_silence_ns(const http_server *server, uint32_t index, uint64_t now_ns);
/* No loop has been silent for longer; for liveness. */
bool http_server_is_alive(const http_server *server, uint64_t now_ns, uint64_t limit_ns);

/* --- loops --- */
uint32_t http_loop_index(const http_loop *loop);
uint32_t http_server_loop_count(const http_server *server);
http_loop *http_server_loop(http_server *server, uint32_t index);
/* The loop this thread runs; NULL on other threads. */
http_loop *http_loop_current(void);
/* Slots for per-loop state of the layers above. */
#define HTTP_LOOP_SLOT_COUNT 4u
void http_loop_set(http_loop *loop, uint32_t slot, void *value);
void *http_loop_get(const http_loop *loop, uint32_t slot);

/* Message to a loop; embedded in the object it speaks of, so sending cannot fail. Do not send it again before it ran. */
struct http_message {
    struct http_message *next; /* private */
    void (*run)(struct http_message *message, http_loop *loop);
};
void http_loop_send(http_loop *loop, struct http_message *message);
/* The same in two parts, for a thread with several messages: true from the first means that the loop may sleep until the
 * second is called. */
bool http_loop_leave(http_loop *loop, struct http_message *message);
void http_loop_wake(http_loop *loop);

/* One-shot timer on a loop, embedded; millisecond resolution, monotonic. Zero-initialise. A deadline in the past runs on
 * the next turn. Setting a timer that is set moves it. */
struct http_timer {
    struct http_timer *next, **link; /* private */
    uint64_t deadline_ns;            /* private */
    void (*run)(struct http_timer *timer, http_loop *loop);
};
void http_timer_set(http_loop *loop, struct http_timer *timer, uint64_t deadline_ns);
void http_timer_cancel(struct http_timer *timer);

/* --- request --- */
http_loop *http_request_loop(const http_request *request);
struct text_slice http_request_method(const http_request *request);
struct text_slice http_request_path(const http_request *request);  /* without the query */
struct text_slice http_request_query(const http_request *request); /* without '?'; empty: none */
struct text_slice http_request_header(const http_request *request,
                                      const char *lower_case_name); /* data NULL: absent */
struct text_slice http_request_body(const http_request *request);
struct text_slice http_request_peer(const http_request *request); /* textual address */
/* The request's id: the client's x-request-id when it is 1..128 safe characters, else a new one. Sent back on every
 * answer. NUL-terminated. */
const char *http_request_id(const http_request *request);
/* Bytes of the answer's body that have gone to the connection. */
uint64_t http_request_sent_bytes(const http_request *request);
bool http_request_is_http2(const http_request *request);
bool http_request_is_tls(const http_request *request);
/* What a verified certificate of the client says. Texts are printable ASCII without blanks, quotes and backslashes, which
 * have become '_'; "": none, or longer. */
#define HTTP_CERTIFICATE_NAME_BYTES 129u
struct http_certificate {
    char name
        [HTTP_CERTIFICATE_NAME_BYTES]; /* the first URI, DNS name or address of the alternative names; else CN */
    char organisation[HTTP_CERTIFICATE_NAME_BYTES], unit[HTTP_CERTIFICATE_NAME_BYTES]; /* O, OU */
    uint64_t end_s; /* Unix time */
};
/* NULL: the client has shown none. As long as the request. */
const struct http_certificate *http_request_certificate(const http_request *request);
uint64_t
http_request_start_ns(const http_request *request); /* monotonic, when the head was complete */
/* Memory that lives as long as the request. Never NULL (the library ends the process when memory is out). */
void *http_request_allocate(http_request *request, size_t bytes);

/* Called once if the client goes (reset, connection lost, write time-out) before the answer is complete, on the loop. */
void http_request_on_gone(http_request *request,
                          void (*on_gone)(http_request *request, void *context), void *context);
/* Called once when the request ends in any way, after everything else: the place to free. */
void http_request_on_end(http_request *request, void (*on_end)(void *context), void *context);

/* --- answer --- */
/* Adds a header to the answer, whoever makes it and whenever, unless the answer itself has one of the name. Name and
 * value are copied. At most HTTP_ADDED_HEADERS_MAX a request. */
#define HTTP_ADDED_HEADERS_MAX 16u
void http_request_add_header(http_request *request, const char *lower_case_name, const char *value);

/* Complete answer; everything is copied. */
void http_reply(http_request *request, int status_code, const struct http_header *headers,
                size_t header_count, const char *content_type, struct text_slice body);

/* The same, but the body is not copied: it stays as it is until the request's on_end. */
void http_reply_kept(http_request *request, int status_code, const struct http_header *headers,
                     size_t header_count, const char *content_type, struct text_slice body);

/* Streamed answer. */
void http_stream_start(http_request *request, int status_code, const struct http_header *headers,
                       size_t header_count, const char *content_type);
/* Queues bytes (copied); everything queued within one loop turn leaves in one write. Returns false when more than
 * response_buffer_bytes_max wait: the producer should pause until on_drained. */
bool http_stream_write(http_request *request, struct text_slice bytes);
void http_stream_on_drained(http_request *request,
                            void (*on_drained)(http_request *request, void *context),
                            void *context);
/* Ends the stream well; is_error resets it (HTTP/2 RST_STREAM, HTTP/1.1 close without the last chunk). */
void http_stream_end(http_request *request, bool is_error);

#endif
