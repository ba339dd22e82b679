#include "request.h"

#include <string.h>

#include "check.h"
#include "clock.h"
#include "http1_head.h"
#include "log.h"
#include "memory.h"
#include "text_out.h"

/* The life of a request, whatever the protocol:
 *
 *   request_begin -> handler -> http_reply ----------------------> send LAST
 *                            `> http_stream_start, write..., end -> flush
 *                                     `> send MORE ... send LAST or ABORT
 *
 * Bytes of a stream gather in `pending`. At the end of the loop's turn (or when the last send is
 * out) they become `in_flight` and go to the protocol in one send, so all events of a turn share
 * one write, and at most one send is ever under way. Back-pressure follows: while the client does
 * not read, `pending` grows; past response_buffer_bytes_max the producer is told (http_stream_write
 * returns false), and again when it has drained (on_drained).
 *
 * The end: request_destroy is called exactly once, by the library's pool (HTTP/2) or by http1.c. If
 * the answer had not been ended by then, the client went first: on_gone. */

/* A producer that does not listen to back-pressure is cut at so many times the limit. */
#define PENDING_FACTOR_MAX 8u
#define BUFFER_KEPT_BYTES  16384u
/* Room for those about two limits, as most requests have. */
#define ADDED_HEADERS_FIRST 6u
#define MADE_ID_BYTES       33u /* 128 bits in hex, and NUL */
#define CHARS_SAFE_IN_ID    "-_.:+/=@~"

/* --- what the handler may ask --- */

http_loop *http_request_loop(const http_request *request)
{
    return request->connection->loop;
}

struct text_slice http_request_method(const http_request *request)
{
    return request->method;
}

struct text_slice http_request_path(const http_request *request)
{
    return request->path;
}

struct text_slice http_request_query(const http_request *request)
{
    return request->query;
}

struct text_slice http_request_header(const http_request *request, const char *lower_case_name)
{
    struct text_slice name = text_slice_of(lower_case_name);
    for (size_t i = 0; i < request->header_count; i++)
        if (text_slice_equals(request->headers[i].name, name))
            return request->headers[i].value;
    return (struct text_slice){NULL, 0};
}

struct text_slice http_request_body(const http_request *request)
{
    return request->body;
}

struct text_slice http_request_peer(const http_request *request)
{
    return text_slice_of(request->connection->peer_text);
}

const char *http_request_id(const http_request *request)
{
    return request->id;
}

bool http_request_is_http2(const http_request *request)
{
    return request->h2o != NULL;
}

const struct http_certificate *http_request_certificate(const http_request *request)
{
    return request->connection->client.certificate;
}

bool http_request_is_tls(const http_request *request)
{
    return request->connection->is_tls;
}

uint64_t http_request_sent_bytes(const http_request *request)
{
    return request->handed_bytes;
}

uint64_t http_request_start_ns(const http_request *request)
{
    return request->start_ns;
}

void *http_request_allocate(http_request *request, size_t bytes)
{
    return h2o_mem_alloc_pool(request->pool, bytes);
}

void http_request_on_gone(http_request *request, void (*on_gone)(http_request *, void *),
                          void *context)
{
    request->on_gone = on_gone;
    request->on_gone_context = context;
}

void http_request_on_end(http_request *request, void (*on_end)(void *), void *context)
{
    request->on_end = on_end;
    request->on_end_context = context;
}

void http_stream_on_drained(http_request *request, void (*on_drained)(http_request *, void *),
                            void *context)
{
    request->on_drained = on_drained;
    request->on_drained_context = context;
}

const char *request_reason(int status_code)
{
    static const struct {
        int code;
        const char *reason;
    } reasons[] = {{200, "OK"},
                   {201, "Created"},
                   {202, "Accepted"},
                   {204, "No Content"},
                   {304, "Not Modified"},
                   {400, "Bad Request"},
                   {401, "Unauthorized"},
                   {402, "Payment Required"},
                   {403, "Forbidden"},
                   {404, "Not Found"},
                   {405, "Method Not Allowed"},
                   {408, "Request Timeout"},
                   {409, "Conflict"},
                   {413, "Content Too Large"},
                   {415, "Unsupported Media Type"},
                   {422, "Unprocessable Content"},
                   {429, "Too Many Requests"},
                   {431, "Request Header Fields Too Large"},
                   {500, "Internal Server Error"},
                   {501, "Not Implemented"},
                   {502, "Bad Gateway"},
                   {503, "Service Unavailable"},
                   {504, "Gateway Timeout"}};
    for (size_t i = 0; i < ARRAY_COUNT(reasons); i++)
        if (reasons[i].code == status_code)
            return reasons[i].reason;
    return "Unknown";
}

/* --- begin --- */

static bool is_safe_id(struct text_slice id)
{
    if (id.bytes == 0 || id.bytes > REQUEST_ID_BYTES_MAX)
        return false;
    for (size_t i = 0; i < id.bytes; i++) {
        char c = id.data[i];
        bool is_alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!is_alnum && (c == '\0' || strchr(CHARS_SAFE_IN_ID, c) == NULL))
            return false;
    }
    return true;
}

/* The client's id, or 32 hex digits that nobody can guess from another id. */
static void set_id(http_request *request)
{
    static const char hex[] = "0123456789abcdef";
    http_loop *loop = request->connection->loop;
    struct text_slice given = http_request_header(request, "x-request-id");
    bool is_given = is_safe_id(given);
    char *id = h2o_mem_alloc_pool(request->pool, is_given ? given.bytes + 1 : MADE_ID_BYTES);
    request->id = id;
    if (is_given) {
        memcpy(id, given.data, given.bytes);
        id[given.bytes] = '\0';
        return;
    }
    loop->id_counter++;
    struct hash128 hash = hash128(&loop->id_key, &loop->id_counter, sizeof loop->id_counter);
    for (unsigned i = 0; i < 16; i++) {
        id[i] = hex[hash.high >> (60 - 4 * i) & 15];
        id[16 + i] = hex[hash.low >> (60 - 4 * i) & 15];
    }
    id[MADE_ID_BYTES - 1] = '\0';
}

static bool head_is_too_large(const http_request *request)
{
    const struct http_limits *limits = &request->connection->loop->limits;
    size_t bytes = request->method.bytes + request->path.bytes + request->query.bytes;
    for (size_t i = 0; i < request->header_count; i++)
        bytes += request->headers[i].name.bytes + request->headers[i].value.bytes;
    return bytes > limits->header_bytes_max || request->header_count > limits->header_count_max;
}

static void link_request(http_request *request)
{
    struct connection *connection = request->connection;
    request->next = connection->requests;
    request->link = &connection->requests;
    if (request->next != NULL)
        request->next->link = &request->next;
    connection->requests = request;
    atomic_fetch_add_explicit(&connection->loop->request_count, 1, memory_order_relaxed);
    metrics_add(connection->loop->server->meters.requests_in_flight, 1);
    request->is_counted = true;
}

void request_begin(http_request *request)
{
    struct connection *connection = request->connection;
    const struct http_limits *limits = &connection->loop->limits;
    const struct listener *listener = connection->acceptor->listener;
    request->start_ns = clock_now_ns();
    request->answer_length = HTTP1_NO_LENGTH;
    request->is_head_method = text_slice_is(request->method, "HEAD");
    buffer_init(&request->pending, limits->response_buffer_bytes_max * PENDING_FACTOR_MAX);
    buffer_init(&request->in_flight, limits->response_buffer_bytes_max * PENDING_FACTOR_MAX);
    set_id(request);
    link_request(request);
    if (request->has_no_handler)
        return;
    if (request->is_malformed)
        request_reply_error(request, 400, "bad_request",
                            "The request's method or path is malformed.");
    else if (head_is_too_large(request))
        request_reply_error(request, 431, "headers_too_large",
                            "The request's header fields are too large.");
    else if (request->is_refused || request->body.bytes > limits->body_bytes_max)
        request_reply_error(request, 413, "request_too_large",
                            "The request's body is larger than this server accepts.");
    else
        listener->handler(request, listener->context);
}

/* --- answer --- */

/* Names that the protocol writes itself. */
static bool is_framing_header(struct text_slice name)
{
    switch (name.bytes) {
    case 2:
        return text_slice_is(name, "te");
    case 4:
        return text_slice_is(name, "date");
    case 6:
        return text_slice_is(name, "server");
    case 7:
        return text_slice_is(name, "trailer") || text_slice_is(name, "upgrade");
    case 10:
        return text_slice_is(name, "connection") || text_slice_is(name, "keep-alive");
    case 14:
        return text_slice_is(name, "content-length");
    case 17:
        return text_slice_is(name, "transfer-encoding");
    default:
        return false;
    }
}

static bool is_sendable(struct http_header header)
{
    return http1_is_lower_case_token(header.name) && http1_is_field_value(header.value) &&
           !is_framing_header(header.name);
}

/* Name and value in one piece of the request's memory. */
static struct http_header copy_header(http_request *request, struct http_header header)
{
    char *name = h2o_mem_alloc_pool(request->pool, header.name.bytes + header.value.bytes + 2);
    char *value = name + header.name.bytes + 1;
    memcpy(name, header.name.data, header.name.bytes);
    name[header.name.bytes] = '\0';
    if (header.value.bytes > 0)
        memcpy(value, header.value.data, header.value.bytes);
    value[header.value.bytes] = '\0';
    return (struct http_header){{name, header.name.bytes}, {value, header.value.bytes}};
}

/* `header` lies in the request's memory, or lasts as long. */
static void add_lasting_header(http_request *request, struct http_header header)
{
    if (!is_sendable(header)) {
        log_error("gateway/http",
                  "request_id=%s answer header dropped: not a lower-case name and a clean value",
                  request->id);
        return;
    }
    request->answer_headers[request->answer_header_count++] = header;
}

static void add_answer_header(http_request *request, struct http_header header)
{
    size_t count = request->answer_header_count;
    add_lasting_header(request, header);
    if (request->answer_header_count > count)
        request->answer_headers[count] = copy_header(request, header);
}

static bool has_answer_header(const http_request *request, struct text_slice name)
{
    for (size_t i = 0; i < request->answer_header_count; i++)
        if (text_slice_equals(request->answer_headers[i].name, name))
            return true;
    return false;
}

void http_request_add_header(http_request *request, const char *lower_case_name, const char *value)
{
    ASSERT_ON_THREAD(&request->connection->loop->owner);
    size_t count = request->added_header_count;
    CHECK(!request->is_started && count < HTTP_ADDED_HEADERS_MAX);
    if (count == 0 || count == ADDED_HEADERS_FIRST) {
        struct http_header *longer = h2o_mem_alloc_pool(
            request->pool, (count == 0 ? ADDED_HEADERS_FIRST : HTTP_ADDED_HEADERS_MAX) *
                               sizeof *request->added_headers);
        if (count > 0)
            memcpy(longer, request->added_headers, count * sizeof *longer);
        request->added_headers = longer;
    }
    request->added_headers[request->added_header_count++] = copy_header(
        request, (struct http_header){text_slice_of(lower_case_name), text_slice_of(value)});
}

/* The listener's own headers, where the answer has none of the name. */
static void add_listener_headers(http_request *request)
{
    const struct listener *listener = request->connection->acceptor->listener;
    char milliseconds[DECIMAL_BYTES_MAX];
    for (size_t i = 0; i < listener->header_count; i++)
        if (!has_answer_header(request, listener->headers[i].name))
            add_lasting_header(request, listener->headers[i]);
    if (listener->time_header == NULL ||
        has_answer_header(request, text_slice_of(listener->time_header)))
        return;
    const char *end =
        text_out_decimal(milliseconds, (clock_now_ns() - request->start_ns) / NS_PER_MS);
    add_answer_header(request, (struct http_header){text_slice_of(listener->time_header),
                                                    {milliseconds, (size_t)(end - milliseconds)}});
}

static void set_answer_head(http_request *request, int status_code,
                            const struct http_header *headers, size_t header_count,
                            const char *content_type)
{
    CHECK(!request->is_started && status_code >= 200 && status_code <= 599);
    request->is_started = true;
    request->status_code = status_code;
    size_t own_count =
        3 + request->connection->acceptor->listener->header_count + request->added_header_count;
    request->answer_headers =
        h2o_mem_alloc_pool(request->pool, (header_count + own_count) * sizeof *headers);
    if (content_type != NULL)
        add_answer_header(request, (struct http_header){text_slice_of("content-type"),
                                                        text_slice_of(content_type)});
    add_lasting_header(
        request, (struct http_header){text_slice_of("x-request-id"), text_slice_of(request->id)});
    for (size_t i = 0; i < header_count; i++)
        add_answer_header(request, headers[i]);
    for (size_t i = 0; i < request->added_header_count; i++)
        if (!has_answer_header(request, request->added_headers[i].name))
            add_lasting_header(request, request->added_headers[i]);
    add_listener_headers(request);
}

static void hand_over(http_request *request, struct text_slice bytes, enum send_kind kind)
{
    if (request->is_head_method)
        bytes.bytes = 0;
    request->is_sending = true;
    request->handed_bytes += bytes.bytes;
    request->last_send_ns = request->progress_ns = request->connection->loop->now_ns;
    if (request->h2o != NULL)
        http2_send(request, bytes, kind);
    else
        http1_send(request, bytes, kind);
}

void http_reply_kept(http_request *request, int status_code, const struct http_header *headers,
                     size_t header_count, const char *content_type, struct text_slice body)
{
    ASSERT_ON_THREAD(&request->connection->loop->owner);
    set_answer_head(request, status_code, headers, header_count, content_type);
    request->is_ended = true;
    if (status_code != 204 && status_code != 304)
        request->answer_length = body.bytes;
    else
        body.bytes = 0;
    hand_over(request, body, SEND_LAST);
}

void http_reply(http_request *request, int status_code, const struct http_header *headers,
                size_t header_count, const char *content_type, struct text_slice body)
{
    char *copy = h2o_mem_alloc_pool(request->pool, body.bytes + 1);
    if (body.bytes > 0)
        memcpy(copy, body.data, body.bytes);
    http_reply_kept(request, status_code, headers, header_count, content_type,
                    (struct text_slice){copy, body.bytes});
}

void request_reply_error(http_request *request, int status_code, const char *code,
                         const char *message)
{
    char *body = h2o_mem_alloc_pool(request->pool, 512);
    int bytes =
        snprintf(body, 512,
                 "{\"error\":{\"message\":\"%s\",\"type\":\"%s\",\"param\":null,\"code\":\"%s\"}}",
                 message, status_code < 500 ? "invalid_request_error" : "server_error", code);
    CHECK(bytes > 0 && bytes < 512);
    http_reply_kept(request, status_code, NULL, 0, "application/json",
                    (struct text_slice){body, (size_t)bytes});
}

static void on_keepalive(struct http_timer *timer, http_loop *loop)
{
    http_request *request = CONTAINER_OF(timer, http_request, keepalive);
    uint64_t interval_ns = loop->limits.keepalive_comment_ns;
    if (request->is_ended || interval_ns == 0)
        return;
    if (loop->now_ns - request->last_send_ns >= interval_ns && !request->is_sending)
        (void)http_stream_write(request, text_slice_of(": keep-alive\n\n"));
    uint64_t deadline_ns = request->last_send_ns + interval_ns;
    http_timer_set(loop, timer,
                   deadline_ns > loop->now_ns ? deadline_ns : loop->now_ns + interval_ns);
}

void http_stream_start(http_request *request, int status_code, const struct http_header *headers,
                       size_t header_count, const char *content_type)
{
    http_loop *loop = request->connection->loop;
    ASSERT_ON_THREAD(&loop->owner);
    set_answer_head(request, status_code, headers, header_count, content_type);
    request->is_event_stream =
        content_type != NULL && strncmp(content_type, "text/event-stream", 17) == 0;
    request->last_send_ns = loop->now_ns;
    if (request->is_event_stream && loop->limits.keepalive_comment_ns != 0) {
        request->keepalive.run = on_keepalive;
        http_timer_set(loop, &request->keepalive, loop->now_ns + loop->limits.keepalive_comment_ns);
    }
    loop_schedule_flush(loop, request);
}

bool http_stream_write(http_request *request, struct text_slice bytes)
{
    http_loop *loop = request->connection->loop;
    ASSERT_ON_THREAD(&loop->owner);
    CHECK(request->is_started && !request->is_ended);
    if (request->is_aborted)
        return false;
    buffer_append_slice(&request->pending, bytes);
    if (request->pending.failed != STATUS_OK) {
        log_error("gateway/http",
                  "request_id=%s stream aborted: its producer ignored back-pressure", request->id);
        request->is_aborted =
            true; /* nothing more is taken; told to the client when the producer ends it */
    }
    loop_schedule_flush(loop, request);
    if (request->pending.bytes > loop->limits.response_buffer_bytes_max)
        request->is_full = true;
    return !request->is_full;
}

void http_stream_end(http_request *request, bool is_error)
{
    http_loop *loop = request->connection->loop;
    ASSERT_ON_THREAD(&loop->owner);
    CHECK(request->is_started && !request->is_ended);
    request->is_ended = true;
    request->is_aborted |= is_error;
    http_timer_cancel(&request->keepalive);
    loop_schedule_flush(loop, request);
}

void request_flush(http_request *request)
{
    bool has_news = request->pending.bytes > 0 || request->is_ended || !request->is_head_sent;
    if (request->is_sending || !request->is_started || !has_news)
        return;
    struct buffer empty = request->in_flight;
    request->in_flight = request->pending;
    request->pending = empty;
    hand_over(request, buffer_slice(&request->in_flight),
              !request->is_ended    ? SEND_MORE
              : request->is_aborted ? SEND_ABORT
                                    : SEND_LAST);
}

void request_sent(http_request *request)
{
    request->is_sending = false;
    size_t bytes_max = request->in_flight.bytes_max;
    if (request->in_flight.capacity > BUFFER_KEPT_BYTES)
        buffer_deinit(&request->in_flight);
    else
        buffer_clear(&request->in_flight);
    request->in_flight.bytes_max = bytes_max;
    if (request->pending.data == NULL) { /* a slow stream needs the memory of only one */
        struct buffer empty = request->pending;
        request->pending = request->in_flight;
        request->in_flight = empty;
    }
    request_flush(request);
    if (request->is_full && !request->is_ended &&
        request->pending.bytes <= request->connection->loop->limits.response_buffer_bytes_max / 2) {
        request->is_full = false;
        if (request->on_drained != NULL)
            request->on_drained(request, request->on_drained_context);
    }
}

/* --- end --- */

void request_destroy(http_request *request)
{
    http_loop *loop = request->connection->loop;
    http_timer_cancel(&request->keepalive);
    if (request->flush_link != NULL) {
        *request->flush_link = request->flush_next;
        if (request->flush_next != NULL)
            request->flush_next->flush_link = request->flush_link;
        request->flush_link = NULL;
    }
    if (!request->is_counted)
        return; /* never begun */
    *request->link = request->next;
    if (request->next != NULL)
        request->next->link = request->link;
    if (!request->is_ended) {
        request->is_ended = true;
        if (request->on_gone != NULL)
            request->on_gone(request, request->on_gone_context);
    }
    if (request->on_end != NULL)
        request->on_end(request->on_end_context);
    buffer_deinit(&request->pending);
    buffer_deinit(&request->in_flight);
    atomic_fetch_sub_explicit(&loop->request_count, 1, memory_order_relaxed);
    metrics_add(loop->server->meters.requests_in_flight, -1);
}
