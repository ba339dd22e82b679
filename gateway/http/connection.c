#include "connection.h"

#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>

#include "check.h"
#include "clock.h"
#include "log.h"
#include "memory.h"
#include "request.h"

/* Telling protocols apart, and watching over connections; acceptor.c has where they come from and how they end.
 *
 *   accept -> limits -> first byte 0x16? -> TLS handshake -> ALPN h2 ----> http2.c
 *                    |                                   `-> else -------> http1.c
 *                    `-> the HTTP/2 preface? -> http2.c, anything else -> http1.c
 *
 * A connection lives as long as the library's socket: socket->on_close frees it, and nothing else
 * does. Between the library's own close and that moment a TLS socket may still be writing its
 * close_notify, so what the sweep does to an HTTP/2 connection from outside is never a call into
 * the library but shutdown(2): the library then sees an error on whatever it waits for, in its own
 * time.
 *
 * Vanished clients. While we read, end of file tells at once. While reading is stopped (a deferred
 * or pipelining connection), the sweep asks poll(2) for POLLRDHUP. A client that is there but does
 * not read: the sweep compares how far its acknowledgements came. */

#define TLS_FIRST_BYTE 0x16

static void queue_first_bytes(struct connection *connection);

void connection_set_phase(struct connection *connection, enum connection_phase phase)
{
    struct http_meters *meters = &connection->loop->server->meters;
    metrics_add(meters->connections[connection->phase], -1);
    metrics_add(meters->connections[phase], 1);
    connection->phase = phase;
    connection->since_ns = connection->loop->now_ns;
}

void connection_queue_remove(struct connection *connection)
{
    if (connection->queue_link == NULL)
        return;
    *connection->queue_link = connection->queue_next;
    if (connection->queue_next != NULL)
        connection->queue_next->queue_link = connection->queue_link;
    connection->queue_link = NULL;
}

/* False: the address has more bodies on their way than it may. */
static bool set_coming(struct connection *connection, uint64_t bytes)
{
    uint64_t before = connection->coming_bytes;
    if (bytes == before || connection->is_unix)
        return true;
    connection->coming_bytes = bytes;
    uint64_t all =
        peer_table_upload(&connection->loop->server->peers, connection->peer, before, bytes);
    return bytes < before || all <= connection->loop->limits.upload_bytes_max;
}

bool connection_set_buffered(struct connection *connection, uint64_t bytes, uint64_t coming_bytes)
{
    http_server *server = connection->loop->server;
    uint64_t before = connection->buffered_bytes;
    if (!set_coming(connection, coming_bytes))
        return false;
    if (bytes == before)
        return true;
    connection->buffered_bytes = bytes;
    uint64_t total =
        atomic_fetch_add_explicit(&server->buffered_bytes, bytes - before, memory_order_relaxed);
    return bytes < before ||
           total + (bytes - before) <= connection->loop->limits.buffered_bytes_max;
}

void connection_count_received(struct connection *connection)
{
    metrics_add(connection->loop->server->meters.received_bytes,
                (double)connection->socket->bytes_read);
}

static void count_sent(struct connection *connection)
{
    uint64_t sent = connection->socket->bytes_written;
    if (sent != connection->sent_bytes_counted)
        metrics_add(connection->loop->server->meters.sent_bytes,
                    (double)(sent - connection->sent_bytes_counted));
    connection->sent_bytes_counted = sent;
}

/* socket->on_close */
static void on_closed(void *context)
{
    struct connection *connection = context;
    http_loop *loop = connection->loop;
    if (loop->fed == connection)
        loop->fed = NULL;
    connection_queue_remove(connection);
    (void)connection_set_buffered(connection, 0, 0);
    if (!connection->is_unix)
        peer_table_release(&loop->server->peers, connection->peer);
    metrics_add(loop->server->meters.connections[connection->phase], -1);
    atomic_fetch_sub_explicit(&loop->connection_count, 1, memory_order_relaxed);
    *connection->link = connection->next;
    if (connection->next != NULL)
        connection->next->link = connection->link;
    http2_free(connection);
    memory_release(connection->client.certificate);
    memory_release(connection);
}

void connection_doom(struct connection *connection, enum guard_verdict verdict)
{
    if (connection->is_doomed)
        return;
    connection->is_doomed = true;
    metrics_add(connection->loop->server->meters.guard_kills[verdict], 1);
    log_debug("gateway/http", "connection of %s ended: %s", connection->peer_text,
              guard_verdict_name(verdict));
    shutdown(h2o_socket_get_fd(connection->socket), SHUT_RDWR);
}

/* --- telling protocols apart --- */

static void on_handshake(h2o_socket_t *socket, const char *error)
{
    struct connection *connection = socket->on_close.data;
    connection->is_handshake = false;
    if (error != NULL) {
        h2o_socket_close(socket);
        return;
    }
    h2o_iovec_t protocol = h2o_socket_ssl_get_selected_protocol(socket);
    if (h2o_memis(protocol.base, protocol.len, H2O_STRLIT("h2")))
        http2_start(connection);
    else if (protocol.len != 0)
        http1_start(connection);
    else
        queue_first_bytes(connection); /* no ALPN: HTTP/1.1, or HTTP/2 by prior knowledge */
}

/* Decides as soon as the first bytes allow it. */
static void on_first_bytes(h2o_socket_t *socket, const char *error)
{
    struct connection *connection = socket->on_close.data;
    if (error != NULL) {
        h2o_socket_close(socket);
        return;
    }
    const h2o_buffer_t *input = socket->input;
    size_t count = input->size < GUARD_PREFACE_BYTES ? input->size : GUARD_PREFACE_BYTES;
    if (count == 0)
        return;
    if (!connection->is_tls && input->bytes[0] == TLS_FIRST_BYTE &&
        connection->acceptor->tls != NULL) {
        h2o_socket_read_stop(socket);
        connection->is_tls = connection->is_handshake = true;
        client_certificate_expect(&connection->client);
        h2o_socket_ssl_handshake(socket, connection->acceptor->tls, NULL, on_handshake);
        client_certificate_expect(NULL);
    } else if (memcmp(input->bytes, GUARD_PREFACE, count) != 0) {
        http1_start(connection);
    } else if (count == GUARD_PREFACE_BYTES) {
        http2_start(connection);
    }
}

static void queue_first_bytes(struct connection *connection)
{
    h2o_socket_read_start(connection->socket, on_first_bytes);
    if (connection->socket->input->size > 0)
        on_first_bytes(connection->socket, NULL);
}

/* --- accept --- */

static bool admit(http_loop *loop, struct connection *connection)
{
    http_server *server = loop->server;
    const struct http_limits *limits = &loop->limits;
    struct address address = {.bytes = 0};
    address.bytes = h2o_socket_getpeername(connection->socket, (struct sockaddr *)&address.storage);
    connection->is_unix =
        address.storage.ss_family != AF_INET && address.storage.ss_family != AF_INET6;
    char text[ADDRESS_TEXT_BYTES];
    address_host_text(&address, text);
    (void)snprintf(connection->peer_text, sizeof connection->peer_text, "%.47s", text);
    if (limits->connection_count_max != 0 &&
        http_server_connection_count(server) >= limits->connection_count_max)
        return false;
    if (connection->is_unix) /* whoever may open the socket file is trusted that far */
        return true;
    connection->peer = peer_table_key(&server->peers, &address);
    return peer_table_admit(&server->peers, connection->peer, limits->connection_per_address_max,
                            limits->accepts_per_second_max, loop->now_ns);
}

void connection_start(http_loop *loop, struct acceptor *acceptor, h2o_socket_t *socket)
{
    struct connection *connection = memory_allocate_array(1, sizeof *connection);
    if (connection == NULL) {
        h2o_socket_close(socket);
        return;
    }
    connection->loop = loop;
    connection->acceptor = acceptor;
    connection->socket = socket;
    connection->phase = PHASE_NEW;
    connection->since_ns = connection->progress_ns = loop->now_ns;
    if (!admit(loop, connection)) {
        metrics_add(loop->server->meters.connections_refused, 1);
        memory_release(connection);
        h2o_socket_close(socket);
        return;
    }
    connection->next = loop->connections;
    connection->link = &loop->connections;
    if (connection->next != NULL)
        connection->next->link = &connection->next;
    loop->connections = connection;
    metrics_add(loop->server->meters.connections[PHASE_NEW], 1);
    atomic_fetch_add_explicit(&loop->connection_count, 1, memory_order_relaxed);
    socket->on_close.cb = on_closed;
    socket->on_close.data = connection;
    h2o_buffer_set_prototype(&socket->input, &loop->input);
    h2o_socket_read_start(socket, on_first_bytes);
}

/* --- watching --- */

/* A number that changes when the client has taken more of what we sent. */
static uint64_t client_progress(const struct connection *connection)
{
    int descriptor = h2o_socket_get_fd(connection->socket), unsent = 0;
    struct tcp_info info;
    socklen_t bytes = sizeof info;
    memset(&info, 0, sizeof info);
    if (!connection->is_unix && getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &bytes) == 0)
        return info.tcpi_bytes_acked;
    if (ioctl(descriptor, SIOCOUTQ, &unsent) != 0)
        return 0;
    return connection->socket->bytes_written - (uint64_t)unsent;
}

static bool is_gone_unseen(const struct connection *connection)
{
    if (h2o_socket_is_reading(connection->socket))
        return false; /* end of file will tell */
    struct pollfd poll_one = {.fd = h2o_socket_get_fd(connection->socket), .events = POLLRDHUP};
    return poll(&poll_one, 1, 0) == 1 && (poll_one.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

static bool is_write_stalled(struct connection *connection)
{
    uint64_t now_ns = connection->loop->now_ns;
    if (!h2o_socket_is_writing(connection->socket)) {
        connection->progress_ns = now_ns;
        return false;
    }
    uint64_t mark = client_progress(connection);
    if (mark != connection->progress_mark) {
        connection->progress_mark = mark;
        connection->progress_ns = now_ns;
    }
    return now_ns - connection->progress_ns > connection->loop->limits.write_timeout_ns;
}

static void check_connection(struct connection *connection)
{
    http_loop *loop = connection->loop;
    count_sent(connection);
    if (connection->is_closing) {
        if (is_write_stalled(connection))
            shutdown(h2o_socket_get_fd(connection->socket), SHUT_RDWR);
        return;
    }
    if (connection->is_doomed) {
        /* Not closed since: nobody was waiting for anything. HTTP/1.1 sockets are ours to close. */
        if (connection->phase == PHASE_HTTP1)
            http1_close(connection);
        return;
    }
    if (is_write_stalled(connection)) {
        connection_doom(connection, GUARD_WRITE);
    } else if (connection->phase != PHASE_NEW && is_gone_unseen(connection)) {
        if (connection->phase == PHASE_HTTP1)
            http1_close(connection);
        else
            shutdown(h2o_socket_get_fd(connection->socket), SHUT_RDWR);
    } else if (connection->phase == PHASE_NEW) {
        bool is_silent = !connection->is_handshake && connection->socket->input->size == 0;
        if (loop->now_ns - connection->since_ns > loop->limits.header_timeout_ns ||
            (is_silent && connection_is_left(connection)))
            connection_doom(connection, GUARD_STALLED);
    } else if (connection->phase == PHASE_HTTP1) {
        http1_check(connection);
    } else {
        http2_check(connection);
    }
}

void connection_sweep(http_loop *loop)
{
    struct connection *next;
    for (struct connection *connection = loop->connections; connection != NULL; connection = next) {
        next = connection->next;
        check_connection(connection);
    }
}
