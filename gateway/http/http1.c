#include <string.h>

#include "clock.h"
#include "http1_head.h"
#include "request.h"
#include "text_out.h"

/* HTTP/1.1 of our own on the library's sockets. The library's is not used because it cannot do what
 * we promise: it answers its own errors in plain text, closes silently on time-outs, is lenient
 * where leniency smuggles, and stops reading while a request is answered, so that it does not see a
 * client leave.
 *
 * One request at a time:
 *
 *   HEAD -> BODY (-> CONTINUE ->) -> ANSWER -> HEAD ...
 *                                          `-> LINGER -> closed   (the connection cannot go on)
 *
 * Bytes gather in socket->input. When the request is complete, that whole
 * buffer becomes `held` and belongs to the request until its answer is out, so every slice of the
 * request points into it and nothing is copied; bytes of a next, pipelined request move to a fresh
 * input. We go on reading while answering: end of file means that the client is gone. A client that
 * pipelines more than PIPELINE_BYTES_MAX is no longer read, and the sweep watches for its end.
 *
 * LINGER: after an error in mid-request the answer must reach a client that is still sending.
 * Closing at once would reset the connection and destroy it. So the sending side is shut, and what
 * comes is thrown away for a while. */

#define PIPELINE_BYTES_MAX 65536u
#define LINGER_BYTES_MAX   (4u << 20)
#define LINGER_NS          (2 * NS_PER_SECOND)
#define UPLOAD_GRACE_NS    (10 * NS_PER_SECOND)
#define HEAD_TEXT_BYTES    256u /* status line and our own fields, without the handler's */

static void on_read(h2o_socket_t *socket, const char *error);
static void advance(struct connection *connection);

void http1_close(struct connection *connection)
{
    struct http1 *http1 = &connection->http1;
    if (connection->is_closing)
        return;
    connection->is_closing = true;
    if (http1->request != NULL) {
        request_destroy(http1->request);
        http1->request = NULL;
        h2o_mem_clear_pool(&http1->pool);
    }
    if (http1->held != NULL)
        h2o_buffer_dispose(&http1->held);
    h2o_socket_close(connection->socket);
}

static void enter_state(struct connection *connection, enum http1_state state)
{
    connection->http1.state = state;
    connection->since_ns = connection->loop->now_ns;
}

/* --- the answer's way out --- */

static void linger(struct connection *connection)
{
    enter_state(connection, HTTP1_LINGER);
    shutdown(h2o_socket_get_fd(connection->socket), SHUT_WR);
    h2o_socket_read_start(connection->socket, on_read);
}

static void finish_request(struct connection *connection)
{
    struct http1 *http1 = &connection->http1;
    bool must_linger = http1->request->must_close;
    bool must_reset = http1->must_reset;
    request_destroy(http1->request);
    http1->request = NULL;
    h2o_mem_clear_pool(&http1->pool);
    if (http1->held != NULL)
        h2o_buffer_dispose(&http1->held);
    (void)connection_set_buffered(connection, 0, 0);
    if (must_reset) {
        struct linger zero = {1, 0};
        setsockopt(h2o_socket_get_fd(connection->socket), SOL_SOCKET, SO_LINGER, &zero,
                   sizeof zero);
    }
    if (must_linger && !must_reset) {
        linger(connection);
    } else if (!http1->is_keep_alive) {
        http1_close(connection);
    } else {
        http1->scanned = 0;
        http1->has_begun = false;
        enter_state(connection, HTTP1_HEAD);
        h2o_socket_read_start(connection->socket, on_read);
        if (connection->socket->input->size > 0)
            advance(connection);
    }
}

static void on_written(h2o_socket_t *socket, const char *error)
{
    struct connection *connection = socket->on_close.data;
    if (error != NULL)
        http1_close(connection);
    else if (connection->http1.is_last)
        finish_request(connection);
    else
        request_sent(connection->http1.request);
}

#define TEXT_OUT(at, literal) text_out(at, literal, sizeof(literal) - 1)

static char *status_line_out(char *at, int status_code)
{
    const char *reason = request_reason(status_code);
    if (status_code == 200)
        return TEXT_OUT(at, "HTTP/1.1 200 OK\r\ndate: ");
    at = text_out_decimal(TEXT_OUT(at, "HTTP/1.1 "), (uint64_t)status_code);
    *at++ = ' ';
    return TEXT_OUT(text_out(at, reason, strlen(reason)), "\r\ndate: ");
}

static char *framing_out(char *at, const http_request *request)
{
    const struct http1 *http1 = &request->connection->http1;
    if (!http1->is_keep_alive)
        at = TEXT_OUT(at, "connection: close\r\n");
    else if (http1->minor_version == 0)
        at = TEXT_OUT(at, "connection: keep-alive\r\n");
    if (request->answer_length != HTTP1_NO_LENGTH)
        at = TEXT_OUT(text_out_decimal(TEXT_OUT(at, "content-length: "), request->answer_length),
                      "\r\n");
    else if (http1->is_chunked)
        at = TEXT_OUT(at, "transfer-encoding: chunked\r\n");
    return at;
}

static h2o_iovec_t build_head(http_request *request)
{
    struct connection *connection = request->connection;
    h2o_iovec_t server = connection->loop->server->config.server_name;
    size_t capacity = HEAD_TEXT_BYTES + server.len;
    for (size_t i = 0; i < request->answer_header_count; i++)
        capacity +=
            request->answer_headers[i].name.bytes + request->answer_headers[i].value.bytes + 4;
    char *text = h2o_mem_alloc_pool(request->pool, capacity), *at = text;
    h2o_timestamp_t timestamp;
    h2o_get_timestamp(&connection->loop->context, request->pool, &timestamp);
    at = status_line_out(at, request->status_code);
    at = text_out(at, timestamp.str->rfc1123, H2O_TIMESTR_RFC1123_LEN);
    at = framing_out(TEXT_OUT(at, "\r\n"), request);
    at = text_out(TEXT_OUT(at, "server: "), server.base, server.len);
    for (size_t i = 0; i < request->answer_header_count; i++) {
        const struct http_header *header = &request->answer_headers[i];
        at = text_out(TEXT_OUT(at, "\r\n"), header->name.data, header->name.bytes);
        at = text_out(TEXT_OUT(at, ": "), header->value.data, header->value.bytes);
    }
    at = TEXT_OUT(at, "\r\n\r\n");
    return h2o_iovec_init(text, (size_t)(at - text));
}

/* How this answer's end will be told: by length, by chunks, or (HTTP/1.0) by closing. */
static void decide_framing(http_request *request)
{
    struct http1 *http1 = &request->connection->http1;
    bool has_no_body = request->status_code == 204 || request->status_code == 304;
    bool is_streamed = request->answer_length == HTTP1_NO_LENGTH && !has_no_body;
    http1->is_chunked = is_streamed && http1->minor_version >= 1;
    /* Of requests that were sent one behind the other only the last is told that it is the last. */
    if ((is_streamed && http1->minor_version == 0) || request->must_close ||
        (request->connection->loop->is_draining && request->connection->socket->input->size == 0))
        http1->is_keep_alive = false;
}

void http1_send(http_request *request, struct text_slice bytes, enum send_kind kind)
{
    struct http1 *http1 = &request->connection->http1;
    h2o_iovec_t vectors[5];
    size_t count = 0;
    if (!request->is_head_sent) {
        decide_framing(request);
        vectors[count++] = build_head(request);
        request->is_head_sent = true;
    }
    bool is_chunked = http1->is_chunked && !request->is_head_method;
    if (is_chunked && bytes.bytes > 0) {
        char *size = h2o_mem_alloc_pool(request->pool, HEX_BYTES_MAX + 2);
        char *end = TEXT_OUT(text_out_hex(size, bytes.bytes), "\r\n");
        vectors[count++] = h2o_iovec_init(size, (size_t)(end - size));
    }
    if (bytes.bytes > 0)
        vectors[count++] = h2o_iovec_init(bytes.data, bytes.bytes);
    if (is_chunked && bytes.bytes > 0)
        vectors[count++] = h2o_iovec_init("\r\n", 2);
    if (is_chunked && kind == SEND_LAST)
        vectors[count++] = h2o_iovec_init("0\r\n\r\n", 5);
    http1->is_last = kind != SEND_MORE;
    http1->must_reset = kind == SEND_ABORT;
    if (kind == SEND_ABORT)
        http1->is_keep_alive = false;
    h2o_socket_write(request->connection->socket, vectors, count, on_written);
}

/* --- the request's way in --- */

static http_request *create_request(struct connection *connection)
{
    struct http1 *http1 = &connection->http1;
    h2o_mem_init_pool(&http1->pool);
    http_request *request = h2o_mem_alloc_pool(&http1->pool, sizeof *request);
    memset(request, 0, sizeof *request);
    request->connection = connection;
    request->pool = &http1->pool;
    http1->request = request;
    http1->is_last = http1->must_reset = false;
    enter_state(connection, HTTP1_ANSWER);
    return request;
}

/* Answers what never became a request, and ends the connection. */
static void fail(struct connection *connection, int status_code, const char *code,
                 const char *message)
{
    http_request *request = create_request(connection);
    h2o_buffer_consume(&connection->socket->input, connection->socket->input->size);
    connection->http1.is_keep_alive = false;
    if (connection->http1.minor_version == 0)
        connection->http1.minor_version = 1;
    request->must_close = true;
    request->has_no_handler = true;
    request_begin(request);
    request_reply_error(request, status_code, code, message);
}

static void fail_head(struct connection *connection, status s, const char *why)
{
    if (s == STATUS_TOO_LARGE)
        fail(connection, 431, "headers_too_large", "The request's header fields are too large.");
    else if (s == STATUS_UNSUPPORTED)
        fail(connection, 501, "not_implemented", why);
    else
        fail(connection, 400, "bad_request", why);
}

static status parse_head(struct connection *connection, char *bytes, struct http1_head *head,
                         const char **why)
{
    http_loop *loop = connection->loop;
    /* One more than the limit is let through, so that the handler's side answers 431 with the
     * client's request id. */
    size_t count_max = (size_t)loop->limits.header_count_max + 1;
    return http1_request_parse(bytes, connection->http1.head_bytes, loop->header_scratch,
                               count_max < HEADER_SCRATCH_COUNT ? count_max : HEADER_SCRATCH_COUNT,
                               head, why);
}

/* The head of a request whose body came later is parsed again: its fields lay in the loop's scratch. It cannot fail. */
static void parse_head_again(struct connection *connection, char *bytes, struct http1_head *head)
{
    const char *why;
    if (parse_head(connection, bytes, head, &why) != STATUS_OK)
        *head = (struct http1_head){.header_count = 0};
}

/* The request is complete in socket->input: hands it to its handler. `parsed`: its head; NULL: not
 * parsed in this turn. Its slices stay good, as the buffer's bytes do not move. */
static void dispatch(struct connection *connection, const struct http1_head *parsed)
{
    struct http1 *http1 = &connection->http1;
    h2o_socket_t *socket = connection->socket;
    size_t request_bytes = http1->head_bytes + http1->body_bytes;
    size_t surplus = socket->input->size - request_bytes;
    struct http1_head head;
    http1->held = socket->input;
    h2o_buffer_init(&socket->input, &connection->loop->input);
    if (surplus > 0) {
        memcpy(h2o_buffer_reserve(&socket->input, surplus).base, http1->held->bytes + request_bytes,
               surplus);
        socket->input->size = surplus;
        http1->held->size = request_bytes;
    }
    http_request *request = create_request(connection);
    if (parsed != NULL)
        head = *parsed;
    else
        parse_head_again(connection, http1->held->bytes, &head);
    request->method = head.method;
    request->path = head.path;
    request->query = head.query;
    request->body = (struct text_slice){http1->held->bytes + http1->head_bytes, http1->body_bytes};
    request->header_count = head.header_count;
    request->headers =
        h2o_mem_alloc_pool(request->pool, head.header_count * sizeof *request->headers);
    if (head.header_count > 0)
        memcpy(request->headers, head.headers, head.header_count * sizeof *request->headers);
    request_begin(request);
}

static void on_continue_written(h2o_socket_t *socket, const char *error)
{
    struct connection *connection = socket->on_close.data;
    if (error != NULL) {
        http1_close(connection);
        return;
    }
    enter_state(connection, HTTP1_BODY);
    h2o_socket_read_start(socket, on_read);
}

static void send_continue(struct connection *connection)
{
    h2o_iovec_t text = h2o_iovec_init(H2O_STRLIT("HTTP/1.1 100 Continue\r\n\r\n"));
    enter_state(connection, HTTP1_CONTINUE);
    h2o_socket_read_stop(
        connection->socket); /* one write at a time: the answer must not overtake this */
    h2o_socket_write(connection->socket, &text, 1, on_continue_written);
}

/* More body bytes may be in the input. True: the body is complete. */
static bool advance_body(struct connection *connection)
{
    struct http1 *http1 = &connection->http1;
    h2o_buffer_t *input = connection->socket->input;
    status s = STATUS_AGAIN;
    if (http1->is_chunked) {
        size_t start = http1->head_bytes + http1->body_bytes;
        size_t given = input->size - start, count = given, taken = 0;
        s = chunked_decode(&http1->chunked, input->bytes + start, &count, NULL, &taken);
        if (taken != count)
            memmove(input->bytes + start + count, input->bytes + start + taken, given - taken);
        input->size = start + count + (given - taken);
        http1->body_bytes += count;
    } else if (input->size - http1->head_bytes >= http1->content_length) {
        http1->body_bytes = (size_t)http1->content_length;
        s = STATUS_OK;
    }
    if (s == STATUS_INVALID)
        fail(connection, 400, "bad_request", "The body's chunked coding is broken.");
    else if (http1->is_chunked && http1->body_bytes > connection->loop->limits.body_bytes_max)
        fail(connection, 413, "request_too_large",
             "The request's body is larger than this server accepts.");
    else if (!connection_set_buffered(connection, input->size, s == STATUS_AGAIN ? input->size : 0))
        fail(connection, 503, "server_overloaded",
             "The server holds too many request bodies; try again later.");
    else
        return s == STATUS_OK;
    return false;
}

/* A head is complete: what follows it? True: nothing, or all of it is here. */
static bool begin_body(struct connection *connection, const struct http1_head *head)
{
    struct http1 *http1 = &connection->http1;
    http1->minor_version = head->minor_version;
    http1->is_keep_alive = head->is_keep_alive;
    http1->is_chunked = head->is_chunked;
    http1->content_length = head->content_length == HTTP1_NO_LENGTH ? 0 : head->content_length;
    http1->body_bytes = 0;
    chunked_init(&http1->chunked);
    if (http1->content_length > connection->loop->limits.body_bytes_max) {
        fail(connection, 413, "request_too_large",
             "The request's body is larger than this server accepts.");
        return false;
    }
    if (!head->is_chunked && http1->content_length == 0)
        return true;
    if (head->expects_continue && connection->socket->input->size == http1->head_bytes) {
        send_continue(connection);
        return false;
    }
    enter_state(connection, HTTP1_BODY);
    return advance_body(connection);
}

/* True: a head was there, and its request is complete. */
static bool advance_head(struct connection *connection, struct http1_head *head)
{
    struct http1 *http1 = &connection->http1;
    h2o_buffer_t **input = &connection->socket->input;
    if (!http1->has_begun && (*input)->size >= 2 && memcmp((*input)->bytes, "\r\n", 2) == 0)
        h2o_buffer_consume(input,
                           2); /* RFC 9112, 2.2: an empty line before a request is forgiven */
    if ((*input)->size == 0)
        return false;
    if (!http1->has_begun) {
        http1->has_begun = true;
        connection->since_ns =
            connection->loop->now_ns; /* the head's time starts with its first byte */
    }
    const char *why = "A line ends without carriage return.";
    status s =
        http1_head_find((*input)->bytes, (*input)->size, &http1->scanned, &http1->head_bytes);
    if (s == STATUS_AGAIN) {
        if ((*input)->size > connection->loop->limits.header_bytes_max)
            fail_head(connection, STATUS_TOO_LARGE, why);
        return false;
    }
    if (s == STATUS_OK && http1->head_bytes > (size_t)connection->loop->limits.header_bytes_max)
        s = STATUS_TOO_LARGE;
    if (s == STATUS_OK)
        s = parse_head(connection, (*input)->bytes, head, &why);
    if (s != STATUS_OK) {
        fail_head(connection, s, why);
        return false;
    }
    return begin_body(connection, head);
}

static void advance(struct connection *connection)
{
    struct http1_head head;
    bool is_head = connection->http1.state == HTTP1_HEAD;
    if (is_head ? advance_head(connection, &head) : advance_body(connection))
        dispatch(connection, is_head ? &head : NULL);
}

static void on_read(h2o_socket_t *socket, const char *error)
{
    struct connection *connection = socket->on_close.data;
    struct http1 *http1 = &connection->http1;
    if (error != NULL) {
        http1_close(connection);
        return;
    }
    connection_count_received(connection);
    switch (http1->state) {
    case HTTP1_HEAD:
    case HTTP1_BODY:
        advance(connection);
        break;
    case HTTP1_LINGER:
        http1->linger_bytes += socket->input->size;
        h2o_buffer_consume(&socket->input, socket->input->size);
        if (http1->linger_bytes > LINGER_BYTES_MAX)
            http1_close(connection);
        break;
    case HTTP1_ANSWER:
        if (http1->request->must_close)
            h2o_buffer_consume(&socket->input, socket->input->size);
        else if (socket->input->size > PIPELINE_BYTES_MAX)
            h2o_socket_read_stop(socket);
        break;
    case HTTP1_CONTINUE:
        break;
    }
}

void http1_start(struct connection *connection)
{
    connection_set_phase(connection, PHASE_HTTP1);
    connection->http1.state = HTTP1_HEAD;
    connection->http1.minor_version = 1;
    h2o_socket_read_start(connection->socket, on_read);
    if (connection->socket->input->size > 0)
        advance(connection);
}

/* --- time --- */

static void check_body(struct connection *connection, uint64_t age_ns)
{
    const struct http_limits *limits = &connection->loop->limits;
    uint64_t rate_min = limits->upload_bytes_per_second_min;
    bool is_slow = rate_min != 0 && age_ns > UPLOAD_GRACE_NS &&
                   connection->socket->input->size / (age_ns / NS_PER_SECOND) < rate_min;
    if (age_ns > limits->body_timeout_ns || is_slow)
        fail(connection, 408, "request_timeout", "The request's body did not arrive in time.");
}

void http1_check(struct connection *connection)
{
    const struct http_limits *limits = &connection->loop->limits;
    uint64_t age_ns = connection->loop->now_ns - connection->since_ns;
    bool has_begun = connection->http1.has_begun;
    switch (connection->http1.state) {
    case HTTP1_HEAD:
        if (has_begun && age_ns > limits->header_timeout_ns)
            fail(connection, 408, "request_timeout", "The request's head did not arrive in time.");
        else if (!has_begun && (age_ns > limits->idle_timeout_ns || connection_is_left(connection)))
            http1_close(connection);
        break;
    case HTTP1_BODY:
        check_body(connection, age_ns);
        break;
    case HTTP1_LINGER:
        if (age_ns > LINGER_NS)
            http1_close(connection);
        break;
    case HTTP1_CONTINUE: /* a write that stalls is everybody's matter: connection.c */
    case HTTP1_ANSWER:
        break;
    }
}
