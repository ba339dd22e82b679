#ifndef PENSTOCK_GATEWAY_HTTP_LOOP_H
#define PENSTOCK_GATEWAY_HTTP_LOOP_H

#include <h2o.h>
#include <pthread.h>
#include <stdatomic.h>

#include "address.h"
#include "hash.h"
#include "http_server.h"
#include "meters.h"
#include "peer_table.h"
#include "thread.h"
#include "timer_wheel.h"

/* The event loops and the server that owns them; private to gateway/http. See loop.c. */

#define LISTENER_COUNT_MAX   16u
#define HEADER_SCRATCH_COUNT 1024u /* ceiling of header_count_max */

struct connection;

struct listener {
    struct address address;
    char *text;                       /* owned; as configured */
    char *certificate, *key;          /* owned; NULL: no TLS, or `identity` */
    const http_self_signed *identity; /* borrowed; NULL: none */
    char *client_authorities;         /* owned; NULL: clients show no certificates */
    bool is_client_certificate_required;
    http_handler_fn *handler;
    void *context;
    const struct http_header *headers; /* borrowed; as in the options */
    size_t header_count;
    const char *time_header;
    int *
        descriptors; /* owned; [descriptor_count], dealt out to the loops in turn; -1: taken by its loop or closed */
    uint32_t descriptor_count; /* at least one a loop */
    uint32_t index;
};

/* The accepting end of a listener on one loop. */
struct acceptor {
    struct listener *listener;
    h2o_socket_t *sockets[HTTP_LISTENER_SOCKETS_MAX]; /* [socket_count] */
    uint32_t socket_count;                            /* 0: not (any more) accepting */
    SSL_CTX *tls;                                     /* counted; NULL: none */
    struct http_timer resume;                         /* after running out of descriptors */
};

struct http_loop {
    h2o_context_t context;
    h2o_evloop_t *evloop;
    h2o_accept_ctx_t accept;
    http_server *server;
    uint32_t index;
    pthread_t thread;
    struct thread_owner owner;

    h2o_buffer_prototype_t input, answer_input; /* of what clients and servers send; see loop.c */

    struct http_limits limits; /* this loop's copy */
    uint64_t now_ns;           /* at the start of the turn */
    uint64_t turn;
    uint64_t wall_ms; /* of the last turn; to see the wall clock step back */

    struct timer_wheel timers;
    h2o_timeout_entry_t timers_entry; /* runs the due timers inside a turn */
    struct http_timer sweep, probe;

    _Atomic(struct http_message *) inbox;
    int wake_descriptor;
    h2o_socket_t *wake_socket;

    h2o_timeout_entry_t flush_entry; /* runs at the end of the turn */
    http_request *flush_list;
    h2o_timeout_entry_t resume_entry;
    struct connection *deferred; /* their input waits until a write is done */
    struct connection *paused;   /* the library stopped reading */

    struct connection *connections;
    struct connection *fed; /* the one the library works on; NULL when it died in there */
    struct acceptor acceptors[LISTENER_COUNT_MAX];
    struct http_timer drain_timer, close_timer;
    bool is_draining, is_stopping;
    bool has_said_goaway;                   /* to all that speak HTTP/2 by now */
    uint64_t drain_since_ns, drain_idle_ns; /* once it drains */

    struct hash_key id_key;
    uint64_t id_counter;
    struct http_header header_scratch[HEADER_SCRATCH_COUNT];
    void *slots[HTTP_LOOP_SLOT_COUNT];

    _Alignas(64) _Atomic uint64_t last_turn_ns; /* read by other threads */
    _Atomic uint32_t request_count, connection_count;
};

struct http_server {
    h2o_globalconf_t config;
    struct http_meters meters;
    struct peer_table peers;
    _Atomic uint64_t buffered_bytes; /* request bodies of all loops */
    struct listener listeners[LISTENER_COUNT_MAX];
    uint32_t listener_count;
    struct http_loop **loops; /* owned */
    uint32_t loop_count, started_count;
    int receive_buffer_bytes; /* of sockets accepted; 0: the system's */
    uint64_t drain_idle_ns;   /* written before the loops are told to drain */
    void (*on_start)(void *context, http_loop *loop);
    void *on_start_context;
    _Atomic uint32_t ready_count;
    bool is_held;                  /* loops accept when they are told to */
    bool is_handed_over;           /* the sockets are another process's by now */
    bool has_unlinked;             /* Unix sockets' files; others may have made theirs since */
    _Atomic uint32_t socket_count; /* that listen; loops */
    bool is_stopped;
};

NODISCARD status loop_create(http_server *server, uint32_t index, const struct http_limits *limits,
                             http_loop **out);
/* The loop thread; returns after a stop message. */
void *loop_run(void *loop);
void loop_destroy(http_loop *loop);

/* Runs `request`'s flush at the end of this turn. */
void loop_schedule_flush(http_loop *loop, http_request *request);
/* Looks at the deferred connections at the end of this turn. */
void loop_schedule_resume(http_loop *loop);

#endif
