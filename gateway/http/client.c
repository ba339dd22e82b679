#include "http_client.h"

#include <errno.h>
#include <h2o.h>
#include <string.h>

#include "check.h"
#include "clock.h"
#include "http1_chunked.h"
#include "http1_head.h"
#include "log.h"
#include "loop.h"
#include "memory.h"
#include "remote.h"

/* The upstream client: one exchange at a time on a connection, idle connections kept in a stack a
 * target (the warmest is used first, the coldest time out at the other side).
 *
 *   exchange: waiting for connect -> head -> body -> end
 *
 * Ownership. An exchange owns its connection while it runs; when the answer is complete and the
 * connection can go on, the connection returns to the target's stack. Idle connections are read
 * from all the time, so that one closed by the other side leaves the stack at once; what still
 * slips through (closed while our request was on its way) is retried once, on a new connection, and
 * only if no byte of an answer had come.
 *
 * Callbacks may cancel the exchange they are called for. `depth` counts the calls on the stack:
 * while it is not 0 a cancelled exchange stays allocated, and everyone who has called back looks at
 * `is_over` before touching it.
 *
 * on_end is never called from inside http_exchange_start: failures there are told by the timer, in
 * the next turn. */

#define HEAD_BYTES_MAX    65536u
#define HEAD_BYTES_FIRST  512u /* of most heads that we send */
#define HEADER_COUNT_MAX  128u
#define INTERIM_COUNT_MAX 8u /* 1xx answers before the real one */
#define CONNECT_RETRY_NS                                                                           \
    (5 * NS_PER_MS) /* a Unix socket whose backlog is full refuses at once: try again */
#define PATH_BYTES_MAX 8192u

struct upstream {                  /* a connection */
    struct upstream *next, **link; /* in the idle stack */
    http_target *target;
    h2o_socket_t *socket;
    http_exchange *exchange; /* NULL: idle */
    bool is_reused;
};

struct http_target {
    http_loop *loop;
    const http_remote *remote; /* borrowed; NULL: `address` */
    struct address address;
    char host[sizeof(((http_remote *)NULL)->authority)];
    uint32_t idle_count, idle_max;
    struct upstream *idle;
    http_exchange *exchanges;
};

enum exchange_state { EXCHANGE_CONNECTING, EXCHANGE_HEAD, EXCHANGE_BODY, EXCHANGE_FAILED };

struct http_exchange {
    http_exchange *next, **link; /* of the target */
    http_target *target;
    struct upstream *upstream; /* owned; NULL: none yet */
    enum exchange_state state;
    struct http_exchange_options options; /* headers not valid after start */
    struct buffer head;                   /* what we send before the body */
    struct http_timer timer;
    uint64_t deadline_base_ns; /* start of the present phase, or the last byte */
    status failure;            /* told by the timer */
    unsigned depth, interim_count;
    bool is_over, is_retried, any_byte, is_sent, is_paused;
    bool has_no_body, is_chunked, is_keep_alive;
    uint64_t left; /* body bytes to come; HTTP1_NO_LENGTH: until the end of the connection */
    size_t scanned;
    struct chunked chunked;
};

static void start_connection(http_exchange *exchange);
static void on_read(h2o_socket_t *socket, const char *error);

/* --- connections --- */

static void idle_remove(struct upstream *upstream)
{
    if (upstream->link == NULL)
        return;
    *upstream->link = upstream->next;
    if (upstream->next != NULL)
        upstream->next->link = upstream->link;
    upstream->link = NULL;
    upstream->target->idle_count--;
}

static void close_upstream(struct upstream *upstream)
{
    idle_remove(upstream);
    h2o_socket_close(upstream->socket);
    memory_release(upstream);
}

static void keep_upstream(struct upstream *upstream)
{
    http_target *target = upstream->target;
    upstream->exchange = NULL;
    if (target->idle_count >= target->idle_max || upstream->socket->input->size > 0 ||
        h2o_socket_is_writing(upstream->socket)) {
        close_upstream(upstream);
        return;
    }
    upstream->next = target->idle;
    upstream->link = &target->idle;
    if (upstream->next != NULL)
        upstream->next->link = &upstream->next;
    target->idle = upstream;
    target->idle_count++;
    h2o_socket_read_start(upstream->socket, on_read);
}

/* --- the end of an exchange --- */

static void free_exchange(http_exchange *exchange)
{
    buffer_deinit(&exchange->head);
    memory_release(exchange);
}

static void detach(http_exchange *exchange)
{
    exchange->is_over = true;
    http_timer_cancel(&exchange->timer);
    *exchange->link = exchange->next;
    if (exchange->next != NULL)
        exchange->next->link = exchange->link;
}

static void drop_upstream(http_exchange *exchange)
{
    if (exchange->upstream != NULL)
        close_upstream(exchange->upstream);
    exchange->upstream = NULL;
}

static void leave_callback(http_exchange *exchange)
{
    if (--exchange->depth == 0 && exchange->is_over)
        free_exchange(exchange);
}

static void end_exchange(http_exchange *exchange, status result)
{
    struct http_exchange_callbacks callbacks = exchange->options.callbacks;
    detach(exchange);
    exchange->depth++;
    callbacks.on_end(exchange, result, exchange->any_byte, exchange->options.context);
    leave_callback(exchange);
}

/* The connection failed or the other side does not speak HTTP. */
static void fail_exchange(http_exchange *exchange, status result)
{
    bool is_stale = result == STATUS_CLOSED && exchange->upstream != NULL &&
                    exchange->upstream->is_reused && !exchange->any_byte && !exchange->is_retried;
    drop_upstream(exchange);
    if (!is_stale) {
        end_exchange(exchange, result);
        return;
    }
    exchange->is_retried = true;
    start_connection(exchange);
}

static void complete_exchange(http_exchange *exchange)
{
    struct upstream *upstream = exchange->upstream;
    exchange->upstream = NULL;
    upstream->exchange = NULL;
    if (exchange->is_keep_alive && exchange->is_sent)
        keep_upstream(upstream);
    else
        close_upstream(upstream);
    end_exchange(exchange, STATUS_OK);
}

void http_exchange_cancel(http_exchange *exchange)
{
    if (exchange->is_over)
        return;
    drop_upstream(exchange);
    detach(exchange);
    if (exchange->depth == 0)
        free_exchange(exchange);
}

/* --- time --- */

/* When the present phase is over its time; UINT64_MAX: never. */
static uint64_t phase_deadline_ns(const http_exchange *exchange)
{
    const struct http_exchange_options *options = &exchange->options;
    uint64_t timeout_ns = exchange->state == EXCHANGE_CONNECTING ? options->connect_timeout_ns
                          : exchange->any_byte                   ? options->idle_timeout_ns
                                                                 : options->first_byte_timeout_ns;
    bool is_endless = timeout_ns == 0 || timeout_ns > UINT64_MAX - exchange->deadline_base_ns;
    return is_endless ? UINT64_MAX : exchange->deadline_base_ns + timeout_ns;
}

/* The timer is not moved for each byte: when it fires, it looks how long it really is, and sets
 * itself again. */
static void arm(http_exchange *exchange)
{
    http_timer_set(exchange->target->loop, &exchange->timer, phase_deadline_ns(exchange));
}

static void enter_phase(http_exchange *exchange, enum exchange_state state)
{
    exchange->state = state;
    exchange->deadline_base_ns = exchange->target->loop->now_ns;
    arm(exchange);
}

static void on_timer(struct http_timer *timer, http_loop *loop)
{
    http_exchange *exchange = CONTAINER_OF(timer, http_exchange, timer);
    if (exchange->state == EXCHANGE_FAILED) {
        end_exchange(exchange, exchange->failure);
    } else if (exchange->is_paused) {
        exchange->deadline_base_ns = loop->now_ns; /* it is we who do not read */
        arm(exchange);
    } else if (loop->now_ns >= phase_deadline_ns(exchange)) {
        drop_upstream(exchange);
        end_exchange(exchange, STATUS_TIMEOUT);
    } else if (exchange->state == EXCHANGE_CONNECTING && exchange->upstream == NULL) {
        start_connection(exchange);
    } else {
        arm(exchange);
    }
}

/* Tells it later, for callers that are inside http_exchange_start. */
static void fail_later(http_exchange *exchange, status result)
{
    exchange->state = EXCHANGE_FAILED;
    exchange->failure = result;
    http_timer_set(exchange->target->loop, &exchange->timer, 0);
}

/* --- sending --- */

static void on_sent(h2o_socket_t *socket, const char *error)
{
    struct upstream *upstream = socket->data;
    if (upstream->exchange == NULL)
        return;
    if (error == NULL)
        upstream->exchange->is_sent = true;
    else if (!h2o_socket_is_reading(
                 socket)) /* else reading tells, after what the other side may have said before */
        fail_exchange(upstream->exchange, STATUS_CLOSED);
}

static void send_request(http_exchange *exchange)
{
    struct text_slice body = exchange->options.body;
    h2o_iovec_t vectors[2] = {h2o_iovec_init(exchange->head.data, exchange->head.bytes),
                              h2o_iovec_init(body.data, body.bytes)};
    exchange->scanned = 0;
    exchange->is_sent = false;
    enter_phase(exchange, EXCHANGE_HEAD);
    h2o_socket_write(exchange->upstream->socket, vectors, body.bytes > 0 ? 2 : 1, on_sent);
    h2o_socket_read_start(exchange->upstream->socket, on_read);
}

/* Of TLS, what is wrong with the other side is told: an operator must see that a certificate has expired. */
static void on_handshake(h2o_socket_t *socket, const char *error)
{
    struct upstream *upstream = socket->data;
    if (error != NULL)
        log_warn("gateway/http", "TLS to %s: %s", upstream->target->host, error);
    if (error != NULL)
        fail_exchange(upstream->exchange, STATUS_CLOSED);
    else
        send_request(upstream->exchange);
}

static void on_connected(h2o_socket_t *socket, const char *error)
{
    struct upstream *upstream = socket->data;
    const http_remote *remote = upstream->target->remote;
    if (error != NULL)
        fail_exchange(upstream->exchange, STATUS_CLOSED);
    else if (remote != NULL && remote->tls != NULL)
        h2o_socket_ssl_handshake(socket, remote->tls, remote->url.host, on_handshake);
    else
        send_request(upstream->exchange);
}

/* NULL: the remote's name has not been found yet. */
static const struct address *target_address(const http_target *target)
{
    const struct remote_address *found;
    if (target->remote == NULL)
        return &target->address;
    found = atomic_load_explicit(&target->remote->address, memory_order_acquire);
    return found != NULL ? &found->address : NULL;
}

static void start_connection(http_exchange *exchange)
{
    http_target *target = exchange->target;
    const struct address *address = target_address(target);
    struct upstream *upstream = memory_allocate_array(1, sizeof *upstream);
    if (upstream == NULL || address == NULL) {
        memory_release(upstream);
        fail_later(exchange, address == NULL ? STATUS_CLOSED : STATUS_NO_MEMORY);
        return;
    }
    if (exchange->state != EXCHANGE_CONNECTING)
        enter_phase(exchange, EXCHANGE_CONNECTING);
    upstream->target = target;
    upstream->exchange = exchange;
    upstream->socket =
        h2o_socket_connect(target->loop->evloop, (struct sockaddr *)(uintptr_t)&address->storage,
                           address->bytes, on_connected);
    if (upstream->socket != NULL) {
        upstream->socket->data = upstream;
        h2o_buffer_set_prototype(&upstream->socket->input, &target->loop->answer_input);
        exchange->upstream = upstream;
        arm(exchange);
        return;
    }
    memory_release(upstream);
    if (errno == EAGAIN)
        http_timer_set(target->loop, &exchange->timer, target->loop->now_ns + CONNECT_RETRY_NS);
    else
        fail_later(exchange, STATUS_CLOSED);
}

/* --- receiving --- */

/* Hands body bytes on. False: the exchange is over. */
static bool give_body(http_exchange *exchange, const char *bytes, size_t count)
{
    if (count == 0)
        return true;
    exchange->depth++;
    exchange->options.callbacks.on_body(exchange, (struct text_slice){bytes, count},
                                        exchange->options.context);
    bool goes_on = !exchange->is_over;
    leave_callback(exchange);
    return goes_on;
}

/* True: the body is complete; false: more to come, or the exchange is over. */
static bool read_body(http_exchange *exchange)
{
    h2o_buffer_t **input = &exchange->upstream->socket->input;
    size_t count = (*input)->size, taken = count, start = 0;
    status s = STATUS_AGAIN;
    if (exchange->is_chunked) {
        s = chunked_decode(&exchange->chunked, (*input)->bytes, &count, &start, &taken);
    } else if (exchange->left != HTTP1_NO_LENGTH) {
        count = taken = count < exchange->left ? count : (size_t)exchange->left;
        exchange->left -= count;
        s = exchange->left == 0 ? STATUS_OK : STATUS_AGAIN;
    }
    if (!give_body(exchange, (*input)->bytes + start, count))
        return false;
    h2o_buffer_consume(&exchange->upstream->socket->input, taken);
    if (s == STATUS_INVALID)
        fail_exchange(exchange, STATUS_INVALID);
    return s == STATUS_OK;
}

/* True: an answer's head was read and its body follows; false: not yet, or the exchange is over. */
static bool read_head(http_exchange *exchange)
{
    static _Thread_local struct http_header headers[HEADER_COUNT_MAX];
    h2o_buffer_t **input = &exchange->upstream->socket->input;
    struct http1_head head;
    size_t head_bytes = 0;
    const char *why;
    status s = http1_head_find((*input)->bytes, (*input)->size, &exchange->scanned, &head_bytes);
    if (s == STATUS_AGAIN && (*input)->size <= HEAD_BYTES_MAX)
        return false;
    if (s == STATUS_OK)
        s = http1_response_parse((*input)->bytes, head_bytes, headers, HEADER_COUNT_MAX, &head,
                                 &why);
    if (s != STATUS_OK || head_bytes > HEAD_BYTES_MAX) {
        fail_exchange(exchange, STATUS_INVALID);
        return false;
    }
    exchange->scanned = 0;
    if (head.status_code < 200) {
        h2o_buffer_consume(input, head_bytes);
        if (head.status_code == 101 || ++exchange->interim_count > INTERIM_COUNT_MAX) {
            fail_exchange(exchange, STATUS_INVALID);
            return false;
        }
        return (*input)->size > 0 ? read_head(exchange) : false;
    }
    bool has_no_body = exchange->has_no_body || head.status_code == 204 || head.status_code == 304;
    exchange->is_keep_alive = head.is_keep_alive;
    exchange->is_chunked = head.is_chunked && !has_no_body;
    exchange->left = has_no_body ? 0 : head.content_length;
    chunked_init(&exchange->chunked);
    exchange->state = EXCHANGE_BODY;
    exchange->depth++;
    exchange->options.callbacks.on_head(exchange, head.status_code, head.headers, head.header_count,
                                        exchange->options.context);
    bool goes_on = !exchange->is_over;
    leave_callback(exchange);
    if (goes_on)
        h2o_buffer_consume(&exchange->upstream->socket->input, head_bytes);
    return goes_on;
}

static void on_end_of_file(http_exchange *exchange)
{
    bool is_whole = exchange->state == EXCHANGE_BODY && !exchange->is_chunked &&
                    exchange->left == HTTP1_NO_LENGTH;
    if (!is_whole) {
        fail_exchange(exchange, STATUS_CLOSED);
        return;
    }
    drop_upstream(exchange);
    end_exchange(exchange, STATUS_OK);
}

static void on_read(h2o_socket_t *socket, const char *error)
{
    struct upstream *upstream = socket->data;
    http_exchange *exchange = upstream->exchange;
    if (exchange == NULL) { /* idle: closed by the other side, or it speaks unasked */
        close_upstream(upstream);
        return;
    }
    if (error != NULL) {
        on_end_of_file(exchange);
        return;
    }
    if (socket->input->size == 0)
        return;
    exchange->deadline_base_ns = exchange->target->loop->now_ns;
    if (!exchange->any_byte && exchange->is_sent)
        buffer_deinit(&exchange->head); /* it is not sent a second time */
    if (!exchange->any_byte) { /* the time between bytes is another one, and mostly shorter */
        exchange->any_byte = true;
        arm(exchange);
    }
    if (exchange->state == EXCHANGE_HEAD && !read_head(exchange))
        return;
    if (read_body(exchange))
        complete_exchange(exchange);
}

void http_exchange_pause(http_exchange *exchange)
{
    exchange->is_paused = true;
    if (!exchange->is_over && exchange->state == EXCHANGE_BODY && exchange->upstream != NULL)
        h2o_socket_read_stop(exchange->upstream->socket);
}

void http_exchange_resume(http_exchange *exchange)
{
    if (!exchange->is_paused)
        return;
    exchange->is_paused = false;
    exchange->deadline_base_ns = exchange->target->loop->now_ns;
    if (!exchange->is_over && exchange->state == EXCHANGE_BODY && exchange->upstream != NULL)
        h2o_socket_read_start(exchange->upstream->socket, on_read);
}

/* --- starting --- */

static bool is_path(struct text_slice path)
{
    for (size_t i = 0; i < path.bytes; i++)
        if ((unsigned char)path.data[i] <= ' ' || (unsigned char)path.data[i] >= 0x7f)
            return false;
    return path.bytes > 0 && path.bytes <= PATH_BYTES_MAX && path.data[0] == '/';
}

static bool is_own_header(struct text_slice name)
{
    return text_slice_is(name, "host") || text_slice_is(name, "content-length") ||
           text_slice_is(name, "connection") || text_slice_is(name, "transfer-encoding") ||
           text_slice_is(name, "upgrade") || text_slice_is(name, "expect");
}

static status write_head(http_exchange *exchange)
{
    const struct http_exchange_options *options = &exchange->options;
    struct buffer *head = &exchange->head;
    (void)buffer_reserve(head, HEAD_BYTES_FIRST); /* `failed` tells in the end */
    if (!http1_is_token(text_slice_of(options->method)) || !is_path(text_slice_of(options->path)))
        return STATUS_INVALID;
    bool has_body = options->body.bytes > 0 || strcmp(options->method, "POST") == 0;
    buffer_append_text(head, options->method);
    buffer_append_byte(head, ' ');
    buffer_append_text(head, options->path);
    buffer_append_text(head, " HTTP/1.1\r\nhost: ");
    buffer_append_text(head, exchange->target->host);
    if (has_body) {
        buffer_append_text(head, "\r\ncontent-length: ");
        buffer_append_u64(head, options->body.bytes);
    }
    for (size_t i = 0; i < options->header_count; i++) {
        const struct http_header *header = &options->headers[i];
        if (!http1_is_token(header->name) || !http1_is_field_value(header->value) ||
            is_own_header(header->name))
            return STATUS_INVALID;
        buffer_append_text(head, "\r\n");
        buffer_append_slice(head, header->name);
        buffer_append_text(head, ": ");
        buffer_append_slice(head, header->value);
    }
    const http_remote *remote = exchange->target->remote;
    if (remote != NULL && remote->secret.bytes > 0) {
        buffer_append_text(head, "\r\n");
        buffer_append_slice(head, remote->secret_name);
        buffer_append_text(head, ": ");
        buffer_append_slice(head, remote->secret);
    }
    buffer_append_text(head, "\r\n\r\n");
    return head->failed;
}

status http_exchange_start(http_target *target, const struct http_exchange_options *options,
                           http_exchange **out)
{
    ASSERT_ON_THREAD(&target->loop->owner);
    http_exchange *exchange = memory_allocate_array(1, sizeof *exchange);
    if (exchange == NULL)
        return STATUS_NO_MEMORY;
    exchange->target = target;
    exchange->options = *options;
    exchange->timer.run = on_timer;
    exchange->has_no_body = strcmp(options->method, "HEAD") == 0;
    buffer_init(&exchange->head, HEAD_BYTES_MAX);
    status s = write_head(exchange);
    if (s != STATUS_OK) {
        free_exchange(exchange);
        return s;
    }
    exchange->next = target->exchanges;
    exchange->link = &target->exchanges;
    if (exchange->next != NULL)
        exchange->next->link = &exchange->next;
    target->exchanges = exchange;
    *out = exchange;
    struct upstream *upstream = target->idle;
    if (upstream == NULL) {
        enter_phase(exchange, EXCHANGE_CONNECTING);
        start_connection(exchange);
        return STATUS_OK;
    }
    idle_remove(upstream);
    upstream->exchange = exchange;
    upstream->is_reused = true;
    exchange->upstream = upstream;
    send_request(exchange);
    return STATUS_OK;
}

status http_target_create(http_loop *loop, const char *address, uint32_t idle_max,
                          http_target **out)
{
    struct address parsed;
    status s = address_parse(address, &parsed, NULL);
    if (s != STATUS_OK)
        return s;
    http_target *target = memory_allocate_array(1, sizeof *target);
    if (target == NULL)
        return STATUS_NO_MEMORY;
    target->loop = loop;
    target->address = parsed;
    target->idle_max = idle_max;
    (void)snprintf(target->host, sizeof target->host, "%s",
                   address_is_unix(&parsed) ? "localhost" : address);
    *out = target;
    return STATUS_OK;
}

status http_target_create_remote(http_loop *loop, const http_remote *remote, uint32_t idle_max,
                                 http_target **out)
{
    http_target *target = memory_allocate_array(1, sizeof *target);
    if (target == NULL)
        return STATUS_NO_MEMORY;
    target->loop = loop;
    target->remote = remote;
    target->idle_max = idle_max;
    (void)snprintf(target->host, sizeof target->host, "%s", remote->authority);
    *out = target;
    return STATUS_OK;
}

void http_target_destroy(http_target *target)
{
    if (target == NULL)
        return;
    ASSERT_ON_THREAD(&target->loop->owner);
    while (target->exchanges != NULL) {
        http_exchange *exchange = target->exchanges;
        drop_upstream(exchange);
        end_exchange(exchange, STATUS_CLOSED);
    }
    while (target->idle != NULL)
        close_upstream(target->idle);
    memory_release(target);
}
