#include <stdlib.h>
#include <string.h>

#include <h2o.h>
#include <h2o/http2.h>

#include "acceptor.h"
#include "check.h"
#include "clock.h"
#include "connection.h"
#include "listener.h"
#include "log.h"
#include "memory.h"
#include "tls.h"

/* The server: listeners, loops, and what main does to them. Everything that changes a running loop
 * goes there as a message; main never touches a loop's state. */

/* --- certificates --- */

struct certificate_message {
    struct http_message message;
    uint32_t listener_index;
    SSL_CTX *tls; /* counted; goes over to the loop */
};

static void on_certificate(struct http_message *message, http_loop *loop)
{
    struct certificate_message *new = CONTAINER_OF(message, struct certificate_message, message);
    struct acceptor *acceptor = &loop->acceptors[new->listener_index];
    SSL_CTX_free(acceptor->tls); /* connections hold what they use */
    acceptor->tls = new->tls;
    memory_release(new);
}

static status load_certificates(http_server *server, SSL_CTX *out[LISTENER_COUNT_MAX],
                                struct error_note *note)
{
    for (uint32_t i = 0; i < server->listener_count; i++) {
        const struct listener *listener = &server->listeners[i];
        if (listener->certificate == NULL && listener->identity == NULL)
            continue;
        status s = listener->identity != NULL
                       ? tls_context_create_self_signed(listener->identity, &out[i], note)
                       : tls_context_create(listener->certificate, listener->key, &out[i], note);
        if (s == STATUS_OK && listener->client_authorities != NULL)
            s = client_certificate_ask(out[i], listener->client_authorities,
                                       listener->is_client_certificate_required, note);
        if (s != STATUS_OK)
            return s;
    }
    return STATUS_OK;
}

status http_server_reload_certificates(http_server *server, struct error_note *note)
{
    SSL_CTX *contexts[LISTENER_COUNT_MAX] = {NULL};
    status s = load_certificates(server, contexts, note);
    for (uint32_t i = 0; s == STATUS_OK && i < server->listener_count; i++) {
        for (uint32_t k = 0; contexts[i] != NULL && k < server->loop_count; k++) {
            struct certificate_message *new = memory_allocate_array(1, sizeof *new);
            if (new == NULL) {
                s = STATUS_NO_MEMORY;
                break;
            }
            SSL_CTX_up_ref(contexts[i]);
            *new = (struct certificate_message){{NULL, on_certificate}, i, contexts[i]};
            http_loop_send(server->loops[k], &new->message);
        }
    }
    for (uint32_t i = 0; i < LISTENER_COUNT_MAX; i++)
        SSL_CTX_free(contexts[i]);
    return s;
}

/* --- life --- */

static void configure_library(http_server *server, const struct http_server_options *options)
{
    h2o_globalconf_t *config = &server->config;
    /* Bodies above a threshold would go to files in /tmp: prompts never do. */
    h2o_socket_buffer_mmap_settings.threshold = SIZE_MAX;
    h2o_config_init(config);
    config->server_name = h2o_strdup(
        NULL, options->server_name != NULL ? options->server_name : "penstock", SIZE_MAX);
    config->max_request_entity_size = SIZE_MAX / 2; /* the guard's matter */
    config->http1.upgrade_to_http2 = 0;
    config->http2.idle_timeout = options->limits.idle_timeout_ns / NS_PER_MS;
    config->http2.max_streams_for_priority = 0; /* see http2.c */
    h2o_hostconf_t *host =
        h2o_config_register_host(config, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    host->http2.reprioritize_blocking_assets = 0;
    host->http2.push_preload = 0;
    h2o_handler_t *handler =
        h2o_create_handler(h2o_config_register_path(host, "/", 0), sizeof *handler);
    handler->on_req = http2_handle;
}

static status create_loops(http_server *server, const struct http_limits *limits)
{
    server->loops = memory_allocate_array(server->loop_count, sizeof *server->loops);
    if (server->loops == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < server->loop_count; i++) {
        status s = loop_create(server, i, limits, &server->loops[i]);
        if (s != STATUS_OK)
            return s;
        for (uint32_t k = 0; k < server->listener_count; k++)
            server->loops[i]->acceptors[k].listener = &server->listeners[k];
    }
    return STATUS_OK;
}

static status give_certificates(http_server *server, struct error_note *note)
{
    SSL_CTX *contexts[LISTENER_COUNT_MAX] = {NULL};
    status s = load_certificates(server, contexts, note);
    for (uint32_t i = 0; s == STATUS_OK && i < server->loop_count; i++)
        for (uint32_t k = 0; k < server->listener_count; k++)
            if (contexts[k] != NULL && SSL_CTX_up_ref(contexts[k]) == 1)
                server->loops[i]->acceptors[k].tls = contexts[k];
    for (uint32_t i = 0; i < LISTENER_COUNT_MAX; i++)
        SSL_CTX_free(contexts[i]);
    return s;
}

status http_server_create(const struct http_server_options *options, http_server **out,
                          struct error_note *note)
{
    CHECK(options->loop_count > 0 && options->loop_count <= HTTP_LISTENER_SOCKETS_MAX);
    if (options->listener_count > LISTENER_COUNT_MAX) {
        error_note_set(note, "more than %u listeners", LISTENER_COUNT_MAX);
        return STATUS_TOO_LARGE;
    }
    http_server *server = memory_allocate_array(1, sizeof *server);
    if (server == NULL)
        return STATUS_NO_MEMORY;
    server->loop_count = options->loop_count;
    server->is_held = server->is_handed_over = options->is_held;
    server->receive_buffer_bytes = (int)options->limits.receive_buffer_bytes;
    peer_table_init(&server->peers);
    configure_library(server, options);
    status s = http_meters_create(options->metrics, &server->meters);
    for (uint32_t i = 0; s == STATUS_OK && i < options->listener_count; i++)
        s = listener_open(server, &options->listeners[i], note);
    if (s == STATUS_OK)
        s = create_loops(server, &options->limits);
    if (s == STATUS_OK)
        s = give_certificates(server, note);
    if (s != STATUS_OK) {
        http_server_destroy(server);
        return s;
    }
    *out = server;
    return STATUS_OK;
}

status http_server_start(http_server *server, void (*on_start)(void *, http_loop *), void *context)
{
    server->on_start = on_start;
    server->on_start_context = context;
    for (uint32_t i = 0; i < server->loop_count; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "loop%u", i);
        status s = thread_start(&server->loops[i]->thread, name, loop_run, server->loops[i]);
        if (s != STATUS_OK)
            return s;
        server->started_count++;
    }
    while (atomic_load(&server->ready_count) < server->loop_count) {
        struct timespec moment = {0, (long)NS_PER_MS};
        nanosleep(&moment, NULL);
    }
    return STATUS_OK;
}

struct order { /* one message a loop, owned by itself */
    struct http_message message;
    void (*carry_out)(http_loop *loop);
    struct http_limits limits;
    bool has_limits;
};

static void on_order(struct http_message *message, http_loop *loop)
{
    struct order *order = CONTAINER_OF(message, struct order, message);
    if (order->has_limits) {
        loop->limits = order->limits;
        loop->context.http2.idle_timeout.timeout = order->limits.idle_timeout_ns / NS_PER_MS;
    } else {
        order->carry_out(loop);
    }
    memory_release(order);
}

static void order_loops(http_server *server, void (*carry_out)(http_loop *),
                        const struct http_limits *limits)
{
    uint32_t count = limits != NULL ? server->loop_count : server->started_count;
    for (uint32_t i = 0; i < count; i++) {
        struct order *order = memory_allocate_array(1, sizeof *order);
        CHECK(order != NULL);
        order->message.run = on_order;
        order->carry_out = carry_out;
        order->has_limits = limits != NULL;
        if (limits != NULL)
            order->limits = *limits;
        http_loop_send(server->loops[i], &order->message);
    }
}

void http_server_set_limits(http_server *server, const struct http_limits *limits)
{
    order_loops(server, NULL, limits);
}

static void start_accepting(http_loop *loop)
{
    for (uint32_t i = 0; i < loop->server->listener_count; i++)
        acceptor_start(&loop->acceptors[i]);
}

void http_server_accept(http_server *server)
{
    server->is_handed_over = false;
    order_loops(server, start_accepting, NULL);
}

uint32_t http_server_sockets(const http_server *server, uint32_t index,
                             int out[HTTP_LISTENER_SOCKETS_MAX])
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < server->loop_count; i++) {
        const struct acceptor *acceptor = &server->loops[i]->acceptors[index];
        for (uint32_t k = 0; k < acceptor->socket_count; k++)
            out[count++] = h2o_socket_get_fd(acceptor->sockets[k]);
    }
    return count;
}

static void unlink_listeners(http_server *server)
{
    for (uint32_t i = 0;
         !server->has_unlinked && !server->is_handed_over && i < server->listener_count; i++)
        listener_unlink(&server->listeners[i]);
    server->has_unlinked = true;
}

static void drain_loop(http_loop *loop)
{
    acceptor_drain(loop, loop->server->drain_idle_ns);
}

void http_server_drain(http_server *server, bool is_handed_over, uint64_t idle_ns)
{
    server->is_handed_over = is_handed_over;
    server->drain_idle_ns = idle_ns;
    unlink_listeners(server);
    order_loops(server, drain_loop, NULL);
}

static void stop_loop(http_loop *loop)
{
    acceptor_close_all(loop);
    loop->is_stopping = true;
}

void http_server_stop(http_server *server)
{
    if (server->is_stopped)
        return;
    server->is_stopped = true;
    order_loops(server, stop_loop, NULL);
    for (uint32_t i = 0; i < server->started_count; i++)
        (void)pthread_join(server->loops[i]->thread, NULL);
    unlink_listeners(server);
}

void http_server_destroy(http_server *server)
{
    if (server == NULL)
        return;
    http_server_stop(server);
    for (uint32_t i = 0; i < server->listener_count; i++)
        listener_close(&server->listeners[i]);
    for (uint32_t i = 0; server->loops != NULL && i < server->loop_count; i++)
        loop_destroy(server->loops[i]);
    memory_release(server->loops);
    http_meters_destroy(&server->meters);
    free(server->config.server_name.base);
    h2o_config_dispose(&server->config);
    memory_release(server);
}

/* --- questions --- */

bool http_server_is_listening(const http_server *server)
{
    return atomic_load_explicit(&server->socket_count, memory_order_acquire) > 0;
}

uint32_t http_server_request_count(const http_server *server)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < server->loop_count; i++)
        count += atomic_load_explicit(&server->loops[i]->request_count, memory_order_relaxed);
    return count;
}

uint32_t http_server_connection_count(const http_server *server)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < server->loop_count; i++)
        count += atomic_load_explicit(&server->loops[i]->connection_count, memory_order_relaxed);
    return count;
}

uint16_t http_server_port(const http_server *server, uint32_t index)
{
    CHECK(index < server->listener_count);
    return address_port(&server->listeners[index].address);
}

uint64_t http_server_loop_silence_ns(const http_server *server, uint32_t index, uint64_t now_ns)
{
    uint64_t last_ns;

    CHECK(index < server->loop_count);
    last_ns = atomic_load_explicit(&server->loops[index]->last_turn_ns, memory_order_relaxed);
    return now_ns > last_ns ? now_ns - last_ns : 0;
}

bool http_server_is_alive(const http_server *server, uint64_t now_ns, uint64_t limit_ns)
{
    for (uint32_t i = 0; i < server->loop_count; i++) {
        if (http_server_loop_silence_ns(server, i, now_ns) > limit_ns)
            return false;
    }
    return true;
}

uint32_t http_server_loop_count(const http_server *server)
{
    return server->loop_count;
}

http_loop *http_server_loop(http_server *server, uint32_t index)
{
    CHECK(index < server->loop_count);
    return server->loops[index];
}
