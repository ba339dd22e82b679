#include <stdlib.h>
#include <string.h>

#include <h2o.h>
#include <h2o/http2.h>

#include "acceptor.h"
#include "check.h"
#include "clock.h"
#include "http1_head.h"
#include "log.h"
#include "memory.h"
#include "request.h"

/* Glue between the library's HTTP/2 and ours, and the part of the guard that needs the socket.
 *
 * After h2o_http2_accept the socket's read callback is the library's; we put our own before it, so
 * each byte passes guard_filter first. The library puts its own back whenever a write is done and
 * nobody reads: after a pause of its own (512 kB unsent; it can begin only inside one of our calls
 * into it, see note_pause) and after ours (defer). So after each turn, before the next wait can
 * read a byte, http2_after_turn goes through all connections that had stopped reading.
 *
 * Defer: the library never parses while a write is in flight. A stream whose last DATA sits in such
 * a write is on a list; a WINDOW_UPDATE or SETTINGS for it trips
 * assert(!h2o_linklist_is_linked(...)) in update_stream_output_window, that is, any client could
 * abort the process (upstream #1951, in no released 2.2). The only other way onto that list is a
 * head sent without body bytes, until it is written in the same turn: head_only_turn. Deferring
 * also gives floods TCP's own back-pressure.
 *
 * Ending a connection politely: its input is replaced by a PRIORITY frame for an idle stream. With
 * max_streams_for_priority = 0 the library answers that with GOAWAY(ENHANCE_YOUR_CALM) and closes.
 * (The guard removes every PRIORITY of the client, so nobody else gets there.) Ending one stream: a
 * WINDOW_UPDATE of zero, which the library answers with RST_STREAM. */

static const char KILL_FRAMES[] =
    "\0\0\5\2\0\x7f\xff\xff\xff"
    "\0\0\0\0\0"
    "\0\0\0\5\0\0\0\0\0"; /* and a PUSH_PROMISE, should that stream not be idle */
#define KILL_BYTES  (sizeof KILL_FRAMES - 1)
#define RESET_BYTES 13u

static void on_read(h2o_socket_t *socket, const char *error);

void http2_free(struct connection *connection)
{
    if (connection->http2 != NULL)
        guard_deinit(&connection->http2->guard);
    memory_release(connection->http2);
    connection->http2 = NULL;
}

bool http2_has_uploads(const struct connection *connection)
{
    return connection->http2->guard.upload_count > 0;
}

/* --- queues of connections that do not read --- */

static void queue_push(struct connection **head, struct connection *connection)
{
    connection_queue_remove(connection);
    connection->queue_next = *head;
    connection->queue_link = head;
    if (connection->queue_next != NULL)
        connection->queue_next->queue_link = &connection->queue_next;
    *head = connection;
}

static void defer(struct connection *connection)
{
    connection->http2->is_deferred = true;
    connection->http2->is_paused = false;
    h2o_socket_read_stop(connection->socket);
    queue_push(&connection->loop->deferred, connection);
}

/* After any call into the library that may have made it stop reading. */
static void note_pause(struct connection *connection)
{
    struct http2 *http2 = connection->http2;
    if (h2o_socket_is_reading(connection->socket) || http2->is_deferred || http2->is_paused)
        return;
    http2->is_paused = true;
    queue_push(&connection->loop->paused, connection);
}

void http2_after_turn(http_loop *loop)
{
    struct connection *next;
    for (struct connection *connection = loop->paused; connection != NULL; connection = next) {
        next = connection->queue_next;
        if (!h2o_socket_is_reading(connection->socket))
            continue;
        connection->http2->is_paused = false;
        connection_queue_remove(connection);
        /* A socket that is closing reads with a callback that is neither's: leave it. */
        if (connection->socket->_cb.read == connection->http2->library_read)
            h2o_socket_read_start(connection->socket, on_read);
    }
    for (struct connection *connection = loop->deferred; connection != NULL;
         connection = connection->queue_next) {
        if (connection->socket->_cb.read == connection->http2->library_read)
            h2o_socket_read_stop(connection->socket);
        if (!h2o_socket_is_writing(connection->socket))
            loop_schedule_resume(loop);
    }
}

/* --- feeding the library --- */

/* Lets the library read its input. False: the connection is gone. */
static bool run_library(struct connection *connection, const char *error)
{
    http_loop *loop = connection->loop;
    struct connection *outer = loop->fed;
    loop->fed = connection;
    connection->http2->library_read(connection->socket, error);
    bool is_alive = loop->fed == connection;
    loop->fed = outer;
    return is_alive;
}

/* Puts bytes before the input, which begins at a frame. */
static void inject(struct connection *connection, const void *frames, size_t bytes)
{
    h2o_buffer_t **input = &connection->socket->input;
    h2o_buffer_reserve(input, bytes);
    memmove((*input)->bytes + bytes, (*input)->bytes, (*input)->size);
    memcpy((*input)->bytes, frames, bytes);
    (*input)->size += bytes;
}

static void kill(struct connection *connection, enum guard_verdict verdict)
{
    h2o_buffer_t **input = &connection->socket->input;
    bool can_speak =
        connection->http2->guard.has_preface && !h2o_socket_is_writing(connection->socket);
    h2o_buffer_consume(input, (*input)->size);
    if (can_speak) {
        metrics_add(connection->loop->server->meters.guard_kills[verdict], 1);
        log_debug("gateway/http", "connection of %s ended: %s", connection->peer_text,
                  guard_verdict_name(verdict));
        inject(connection, KILL_FRAMES, KILL_BYTES);
        if (!run_library(connection, NULL))
            return;
        connection->is_doomed = true; /* what it still had to write must not keep it */
        shutdown(h2o_socket_get_fd(connection->socket), SHUT_RDWR);
    } else {
        connection_doom(connection, verdict);
    }
}

static void feed(struct connection *connection)
{
    struct http2 *http2 = connection->http2;
    http_loop *loop = connection->loop;
    h2o_buffer_t **input = &connection->socket->input;
    if (h2o_socket_is_writing(connection->socket) || http2->head_only_turn == loop->turn) {
        defer(connection);
        return;
    }
    if ((*input)->size == 0)
        return;
    size_t count = (*input)->size;
    enum guard_verdict verdict =
        guard_filter(&http2->guard, &loop->limits, (uint8_t *)(*input)->bytes, &count,
                     connection->socket->bytes_written, loop->now_ns);
    uint64_t coming_bytes = guard_buffered_bytes(&http2->guard);
    if (verdict == GUARD_PASS &&
        !connection_set_buffered(connection, coming_bytes + http2->held_bytes, coming_bytes))
        verdict = GUARD_MEMORY;
    if (verdict != GUARD_PASS) {
        kill(connection, verdict);
        return;
    }
    if (count == 0)
        h2o_buffer_consume(input, (*input)->size);
    else
        (*input)->size = count;
    if (count > 0 && run_library(connection, NULL))
        note_pause(connection);
}

static void on_read(h2o_socket_t *socket, const char *error)
{
    struct connection *connection = socket->on_close.data;
    if (error == NULL)
        connection_count_received(connection);
    if (error != NULL) {
        if (run_library(connection,
                        error)) /* waits for its last write: the client is gone, so will that be */
            shutdown(h2o_socket_get_fd(socket), SHUT_RDWR);
    } else if (connection->is_doomed) {
        h2o_buffer_consume(&socket->input, socket->input->size);
    } else {
        feed(connection);
    }
}

/* Connections whose write is done read on. Runs inside the turn, after the socket callbacks. */
void http2_resume_deferred(http_loop *loop)
{
    struct connection *waiting = loop->deferred;
    loop->deferred = NULL; /* who is still writing comes back onto the list */
    if (waiting != NULL)
        waiting->queue_link = &waiting;
    while (waiting != NULL) {
        struct connection *connection = waiting;
        connection_queue_remove(connection);
        if (h2o_socket_is_writing(connection->socket) ||
            connection->http2->head_only_turn == loop->turn) {
            queue_push(&loop->deferred, connection);
            continue;
        }
        connection->http2->is_deferred = false;
        h2o_socket_read_start(connection->socket, on_read);
        if (connection->is_doomed)
            h2o_buffer_consume(&connection->socket->input, connection->socket->input->size);
        else
            feed(connection);
    }
}

void http2_start(struct connection *connection)
{
    http_loop *loop = connection->loop;
    h2o_socket_t *socket = connection->socket;
    struct timeval now;
    connection->http2 = memory_allocate_array(1, sizeof *connection->http2);
    if (connection->http2 == NULL) {
        h2o_socket_close(socket);
        return;
    }
    if (loop->is_draining)
        acceptor_tell_late(loop);
    connection_set_phase(connection, PHASE_HTTP2);
    guard_init(&connection->http2->guard, &loop->limits, loop->now_ns);
    gettimeofday(&now, NULL);
    h2o_buffer_t *first_bytes =
        socket->input; /* kept aside: nothing may be parsed before we are in place */
    h2o_buffer_init(&socket->input, &loop->input);
    h2o_http2_accept(&loop->accept, socket, now);
    socket->input = first_bytes;
    connection->http2->library_read = socket->_cb.read;
    h2o_socket_read_start(socket, on_read);
    feed(connection);
}

/* --- requests --- */

static uint32_t stream_id_of(h2o_req_t *request)
{
    h2o_iovec_t text = request->conn->callbacks->log_.http2.stream_id(request);
    return (uint32_t)strtoul(text.base, NULL, 10);
}

static void on_proceed(h2o_generator_t *generator, h2o_req_t *h2o)
{
    (void)h2o;
    request_sent((http_request *)generator);
}

static void on_stop(h2o_generator_t *generator, h2o_req_t *h2o)
{
    (void)generator;
    (void)h2o; /* the pool's end follows at once: on_disposed */
}

/* The library clears the stream's pool: the request is over, however it ended. */
static void on_disposed(void *memory)
{
    http_request *request = memory;
    struct connection *connection = request->connection;
    connection->http2->held_bytes -= request->body.bytes;
    bool is_answered = request->is_ended && !request->is_aborted &&
                       request->h2o->bytes_sent >= request->handed_bytes;
    request_destroy(request);
    if (is_answered)
        guard_request_finished(&connection->http2->guard, &connection->loop->limits);
}

static void copy_headers(http_request *request, const h2o_req_t *h2o)
{
    request->headers =
        h2o_mem_alloc_pool(request->pool, (h2o->headers.size + 1) * sizeof *request->headers);
    for (size_t i = 0; i < h2o->headers.size; i++) {
        const h2o_header_t *header = &h2o->headers.entries[i];
        request->headers[i] = (struct http_header){{header->name->base, header->name->len},
                                                   {header->value.base, header->value.len}};
    }
    request->headers[h2o->headers.size] = (struct http_header){
        text_slice_of("host"), {h2o->input.authority.base, h2o->input.authority.len}};
    request->header_count = h2o->headers.size + 1;
}

/* The library lets any byte into :path; ours goes into request lines and logs. */
static bool is_target(h2o_iovec_t path)
{
    for (size_t i = 0; i < path.len; i++)
        if ((unsigned char)path.base[i] <= ' ' || (unsigned char)path.base[i] >= 0x7f ||
            path.base[i] == '#')
            return false;
    return path.len > 0 && (path.base[0] == '/' || (path.len == 1 && path.base[0] == '*'));
}

int http2_handle(h2o_handler_t *self, h2o_req_t *h2o)
{
    (void)self;
    struct connection *connection = h2o->conn->callbacks->get_socket(h2o->conn)->on_close.data;
    http_request *request = h2o_mem_alloc_shared(&h2o->pool, sizeof *request, on_disposed);
    memset(request, 0, sizeof *request);
    request->h2o = h2o;
    request->connection = connection;
    request->pool = &h2o->pool;
    request->method = (struct text_slice){h2o->input.method.base, h2o->input.method.len};
    request->path = (struct text_slice){h2o->input.path.base, h2o->input.path.len};
    request->query = (struct text_slice){h2o->input.path.base + h2o->input.path.len, 0};
    const char *mark = memchr(request->path.data, '?', request->path.bytes);
    if (mark != NULL) {
        request->path.bytes = (size_t)(mark - request->path.data);
        request->query =
            (struct text_slice){mark + 1, h2o->input.path.len - request->path.bytes - 1};
    }
    request->body = (struct text_slice){h2o->entity.base, h2o->entity.len};
    request->is_refused = connection->http2->guard.refused_count > 0 &&
                          guard_is_refused(&connection->http2->guard, stream_id_of(h2o));
    copy_headers(request, h2o);
    connection->http2->held_bytes += request->body.bytes;
    request->is_malformed = !http1_is_token(request->method) || !is_target(h2o->input.path);
    connection->http2->has_asked = true;
    request_begin(request);
    return 0;
}

static void start_answer(http_request *request)
{
    h2o_req_t *h2o = request->h2o;
    h2o->res.status = request->status_code;
    h2o->res.reason = request_reason(request->status_code);
    h2o->res.content_length =
        request->answer_length == HTTP1_NO_LENGTH ? SIZE_MAX : (size_t)request->answer_length;
    h2o_vector_reserve(&h2o->pool, &h2o->res.headers,
                       h2o->res.headers.size + request->answer_header_count);
    for (size_t i = 0; i < request->answer_header_count; i++) {
        const struct http_header *header = &request->answer_headers[i];
        h2o_add_header_by_str(&h2o->pool, &h2o->res.headers, header->name.data, header->name.bytes,
                              1, NULL, header->value.data, header->value.bytes);
    }
    request->generator.proceed = on_proceed;
    request->generator.stop = on_stop;
    request->is_head_sent = true;
    h2o_start_response(h2o, &request->generator);
}

void http2_send(http_request *request, struct text_slice bytes, enum send_kind kind)
{
    static const h2o_send_state_t states[] = {[SEND_MORE] = H2O_SEND_STATE_IN_PROGRESS,
                                              [SEND_LAST] = H2O_SEND_STATE_FINAL,
                                              [SEND_ABORT] = H2O_SEND_STATE_ERROR};
    struct connection *connection = request->connection;
    h2o_iovec_t vector = h2o_iovec_init(bytes.data, bytes.bytes);
    if (!request->is_head_sent)
        start_answer(request);
    if (bytes.bytes == 0 && kind == SEND_MORE)
        connection->http2->head_only_turn = connection->loop->turn;
    request->progress_mark = request->h2o->bytes_sent;
    h2o_send(request->h2o, &vector, bytes.bytes > 0 ? 1 : 0, states[kind]);
    note_pause(connection);
}

/* --- time --- */

struct stream_search {
    h2o_socket_t *socket;
    uint32_t stream_id;
};

static int is_searched_stream(h2o_req_t *request, void *context)
{
    const struct stream_search *search = context;
    return request->conn->callbacks->get_socket(request->conn) == search->socket &&
           stream_id_of(request) == search->stream_id;
}

/* The library resets streams without telling us; asked only about an upload that seems to take too
 * long. */
static bool library_has_stream(struct connection *connection, uint32_t stream_id)
{
    struct stream_search search = {connection->socket, stream_id};
    return H2O_HTTP2_CALLBACKS.foreach_request(&connection->loop->context, is_searched_stream,
                                               &search) != 0;
}

/* A stream whose bytes the client does not let come (its window stays shut) while the connection
 * lives: reset it. False: the connection is gone. */
static bool reset_stalled_streams(struct connection *connection)
{
    http_loop *loop = connection->loop;
    for (http_request *request = connection->requests; request != NULL; request = request->next) {
        if (!request->is_sending || request->h2o->bytes_sent != request->progress_mark) {
            request->progress_mark = request->h2o->bytes_sent;
            request->progress_ns = loop->now_ns;
        } else if (loop->now_ns - request->progress_ns > loop->limits.write_timeout_ns) {
            uint32_t id = stream_id_of(request->h2o);
            const uint8_t frame[RESET_BYTES] = {0,
                                                0,
                                                4,
                                                8,
                                                0,
                                                (uint8_t)(id >> 24),
                                                (uint8_t)(id >> 16),
                                                (uint8_t)(id >> 8),
                                                (uint8_t)id};
            metrics_add(loop->server->meters.guard_kills[GUARD_WRITE], 1);
            inject(connection, frame, sizeof frame);
            return run_library(
                connection, NULL); /* the list has changed: the next sweep sees to the next one */
        }
    }
    return true;
}

void http2_check(struct connection *connection)
{
    struct http2 *http2 = connection->http2;
    uint32_t stream_id;
    enum guard_verdict verdict =
        guard_check(&http2->guard, &connection->loop->limits, connection->loop->now_ns, &stream_id);
    if (verdict == GUARD_UPLOAD && !library_has_stream(connection, stream_id)) {
        guard_forget_upload(&http2->guard, stream_id);
        verdict = GUARD_PASS;
    }
    if (verdict != GUARD_PASS)
        connection_doom(connection, verdict);
    else if (!h2o_socket_is_writing(connection->socket) &&
             http2->head_only_turn != connection->loop->turn && connection->requests != NULL &&
             reset_stalled_streams(connection))
        note_pause(connection);
}
