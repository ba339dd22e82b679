#include "acceptor.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "clock.h"
#include "connection.h"
#include "listener.h"
#include "log.h"

/* Accepting, and draining.
 *
 *   drain -+-> sockets:   first packets are dropped -> 100 ms of accepting -> closed
 *          |              (at once, where another process has them too)
 *          +-> HTTP/1.1:  the next answer of each connection says that it is the last; idle ones close after idle_ns
 *          `-> HTTP/2:    new ones have asked once -> GOAWAY(2^31 - 1) -> a second, and no upload under way -> GOAWAY(last
 *                         stream)
 *
 * Nothing that a client has reason to believe accepted is dropped: neither a connection in a queue, nor a request on a
 * connection whose end it could not know of, nor a body on its way. The library would send its second GOAWAY by its own
 * clock and then ignore DATA; so its timer is taken from it and run when nobody is uploading. */

#define ACCEPT_COUNT_PER_TURN 16u
#define ACCEPT_PAUSE_NS                                                                            \
    (NS_PER_SECOND / 10) /* out of descriptors: try again then, instead of spinning */
/* Between the first packet of a connection and its third: a round trip in the same region, twice. */
#define TURN_AWAY_NS (NS_PER_SECOND / 10)
#define GOAWAY_NS    NS_PER_SECOND /* longer than the round trip to any client (RFC 9113, 6.8) */
#define FRESH_NS_MAX (10 * NS_PER_SECOND)
#define LOOK_NS      (10 * NS_PER_MS)

/* --- accepting --- */

static void on_resume(struct http_timer *timer, http_loop *loop);

static void on_accept(h2o_socket_t *socket, const char *error)
{
    struct acceptor *acceptor = socket->data;
    http_loop *loop = http_loop_current();
    h2o_socket_t *accepted;
    (void)error;
    for (unsigned i = 0; i < ACCEPT_COUNT_PER_TURN; i++) {
        if ((accepted = h2o_evloop_socket_accept(socket)) == NULL) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                log_warn("gateway/http", "not accepting for a moment: %s", strerror(errno));
                h2o_socket_read_stop(socket);
                acceptor->resume.run = on_resume;
                http_timer_set(loop, &acceptor->resume, loop->now_ns + ACCEPT_PAUSE_NS);
            }
            return;
        }
        connection_start(loop, acceptor, accepted);
    }
}

static void on_resume(struct http_timer *timer, http_loop *loop)
{
    (void)loop;
    acceptor_start(CONTAINER_OF(timer, struct acceptor, resume));
}

void acceptor_start(struct acceptor *acceptor)
{
    for (uint32_t i = 0; i < acceptor->socket_count; i++)
        h2o_socket_read_start(acceptor->sockets[i], on_accept);
}

void acceptor_open(struct acceptor *acceptor, http_loop *loop)
{
    struct listener *listener = acceptor->listener;
    for (uint32_t i = loop->index; i < listener->descriptor_count; i += loop->server->loop_count) {
        h2o_socket_t *socket = h2o_evloop_socket_create(loop->evloop, listener->descriptors[i],
                                                        H2O_SOCKET_FLAG_DONT_READ);
        listener->descriptors[i] = -1; /* the socket owns it now */
        socket->data = acceptor;
        acceptor->sockets[acceptor->socket_count++] = socket;
        atomic_fetch_add_explicit(&loop->server->socket_count, 1, memory_order_relaxed);
    }
}

/* --- no more of it --- */

static void close_sockets(http_loop *loop)
{
    for (uint32_t i = 0; i < loop->server->listener_count; i++) {
        struct acceptor *acceptor = &loop->acceptors[i];
        http_timer_cancel(&acceptor->resume);
        while (acceptor->socket_count > 0) {
            h2o_socket_t *socket = acceptor->sockets[--acceptor->socket_count], *accepted;
            while (!loop->server->is_handed_over &&
                   (accepted = h2o_evloop_socket_accept(socket)) != NULL)
                connection_start(loop, acceptor, accepted);
            h2o_socket_close(socket);
            /* release: who sees it closed sees what was accepted from it counted */
            atomic_fetch_sub_explicit(&loop->server->socket_count, 1, memory_order_release);
        }
    }
}

static void on_close_timer(struct http_timer *timer, http_loop *loop)
{
    (void)timer;
    close_sockets(loop);
}

static void turn_away(http_loop *loop)
{
    for (uint32_t i = 0; i < loop->server->listener_count; i++) {
        const struct acceptor *acceptor = &loop->acceptors[i];
        for (uint32_t k = 0; k < acceptor->socket_count; k++)
            listener_turn_away(acceptor->listener, h2o_socket_get_fd(acceptor->sockets[k]));
    }
    loop->close_timer.run = on_close_timer;
    http_timer_set(loop, &loop->close_timer, loop->now_ns + TURN_AWAY_NS);
}

/* --- the two notices of HTTP/2 --- */

/* A client that hears of the end before its first request takes the connection for broken, and does not try another: so
 * whoever has just come is waited for. */
static bool is_fresh(const struct connection *connection)
{
    const http_loop *loop = connection->loop;
    uint64_t wait_ns = loop->drain_idle_ns < FRESH_NS_MAX ? loop->drain_idle_ns : FRESH_NS_MAX;
    bool may_ask = connection->phase == PHASE_HTTP2
                       ? !connection->http2->has_asked && !http2_has_uploads(connection)
                       : connection->phase == PHASE_NEW;
    return may_ask && loop->now_ns - connection->since_ns < wait_ns;
}

static bool has_fresh(const http_loop *loop)
{
    for (const struct connection *connection = loop->connections; connection != NULL;
         connection = connection->next)
        if (is_fresh(connection))
            return true;
    return false;
}

static bool has_uploads(const http_loop *loop)
{
    for (const struct connection *connection = loop->connections; connection != NULL;
         connection = connection->next)
        if (connection->phase == PHASE_HTTP2 && http2_has_uploads(connection))
            return true;
    return false;
}

/* The library does this once only, and remembers by the call-back of its timer. */
static void first_notice(http_loop *loop)
{
    h2o_timeout_entry_t *entry = &loop->context.http2._graceful_shutdown_timeout;
    h2o_timeout_unlink(entry);
    entry->cb = NULL;
    h2o_context_request_shutdown(&loop->context);
    h2o_timeout_unlink(entry);
    loop->has_said_goaway = true;
}

static void on_drain_timer(struct http_timer *timer, http_loop *loop)
{
    h2o_timeout_entry_t *entry = &loop->context.http2._graceful_shutdown_timeout;
    if (!loop->has_said_goaway && has_fresh(loop)) {
        http_timer_set(loop, timer, loop->now_ns + LOOK_NS);
    } else if (!loop->has_said_goaway) {
        first_notice(loop);
        http_timer_set(loop, timer, loop->now_ns + GOAWAY_NS);
    } else if (has_uploads(loop)) {
        http_timer_set(loop, timer, loop->now_ns + LOOK_NS);
    } else if (entry->cb != NULL) {
        entry->cb(entry);
    }
}

void acceptor_tell_late(http_loop *loop)
{
    loop->has_said_goaway = false;
    http_timer_set(loop, &loop->drain_timer, loop->now_ns);
}

/* --- the end --- */

bool connection_is_left(const struct connection *connection)
{
    const http_loop *loop = connection->loop;
    uint64_t since_ns =
        connection->since_ns > loop->drain_since_ns ? connection->since_ns : loop->drain_since_ns;
    return loop->is_draining && loop->now_ns - since_ns >= loop->drain_idle_ns;
}

void acceptor_drain(http_loop *loop, uint64_t idle_ns)
{
    if (loop->is_draining)
        return;
    loop->is_draining = true;
    loop->drain_since_ns = loop->now_ns;
    loop->drain_idle_ns = idle_ns;
    if (loop->server->is_handed_over)
        close_sockets(loop);
    else
        turn_away(loop);
    loop->drain_timer.run = on_drain_timer;
    http_timer_set(loop, &loop->drain_timer, loop->now_ns);
}

void acceptor_close_all(http_loop *loop)
{
    struct connection *next;
    loop->is_draining = true;
    close_sockets(loop);
    http_timer_cancel(&loop->close_timer);
    http_timer_cancel(&loop->drain_timer);
    for (struct connection *connection = loop->connections; connection != NULL; connection = next) {
        next = connection->next;
        connection->is_doomed = true;
        if (connection->phase == PHASE_HTTP1 && !connection->is_closing)
            http1_close(connection);
        else
            shutdown(h2o_socket_get_fd(connection->socket), SHUT_RDWR);
    }
}
