/* A small server over gateway/http for tests and benches: everything the front end can do, nothing
 * behind it. /small         1 kB of JSON /echo          the body back; ?as=stream: in pieces of
 * 1000 bytes /sse?n=&ms=    n events, one every ms milliseconds (0: as fast as the client reads)
 *   /slow?ms=      an answer after ms milliseconds
 *   /hold          an event stream that never says anything
 *   /gone          how many requests were given up by their clients
 *   /metrics       the registry
 *   /headers       the request's headers as the handler sees them
 * Prints "ready PORT TLSPORT" on stdout. SIGTERM drains (up to 10 s) and exits, SIGHUP reads the
 * certificates again. */

#include <getopt.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "http_server.h"
#include "log.h"
#include "metrics.h"

struct events { /* state of one /sse, /slow or /hold */
    http_request *request;
    struct http_timer timer;
    uint64_t left, interval_ns;
    bool is_paused;
};

static char small_body[1024];
static metrics_registry *registry;
static _Atomic uint64_t gone_count;

static struct text_slice event_text(void)
{
    return text_slice_of(
        "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,"
        "\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" tok\"},"
        "\"finish_reason\":null}]}\n\n");
}

/* The number after "name=" in the query. */
static uint64_t query_number(const http_request *request, const char *name, uint64_t otherwise)
{
    char text[256];
    struct text_slice query = http_request_query(request);
    size_t bytes = query.bytes < sizeof text - 1 ? query.bytes : sizeof text - 1;
    memcpy(text, query.data, bytes);
    text[bytes] = '\0';
    const char *at = strstr(text, name);
    return at != NULL ? strtoull(at + strlen(name), NULL, 10) : otherwise;
}

static void on_gone(http_request *request, void *context)
{
    (void)request;
    struct events *events = context;
    http_timer_cancel(&events->timer);
    atomic_fetch_add(&gone_count, 1);
}

static struct events *create_events(http_request *request)
{
    struct events *events = http_request_allocate(request, sizeof *events);
    *events = (struct events){.request = request};
    http_request_on_gone(request, on_gone, events);
    return events;
}

static void send_events(struct events *events)
{
    while (events->left > 0) {
        events->left--;
        bool goes_on = http_stream_write(events->request, event_text());
        if (events->left == 0)
            break;
        if (events->interval_ns != 0 || !goes_on) {
            events->is_paused = !goes_on;
            return;
        }
    }
    http_stream_write(events->request, text_slice_of("data: [DONE]\n\n"));
    http_stream_end(events->request, false);
}

static void on_tick(struct http_timer *timer, http_loop *loop)
{
    struct events *events = CONTAINER_OF(timer, struct events, timer);
    if (events->left > 1)
        http_timer_set(loop, timer, clock_now_ns() + events->interval_ns);
    if (!events->is_paused)
        send_events(events);
}

static void on_drained(http_request *request, void *context)
{
    (void)request;
    struct events *events = context;
    events->is_paused = false;
    if (events->interval_ns == 0)
        send_events(events);
}

static void serve_events(http_request *request)
{
    struct events *events = create_events(request);
    events->left = query_number(request, "n=", 10);
    events->interval_ns = query_number(request, "ms=", 0) * NS_PER_MS;
    http_stream_on_drained(request, on_drained, events);
    http_stream_start(request, 200, NULL, 0, "text/event-stream");
    if (events->interval_ns == 0) {
        send_events(events);
    } else {
        events->timer.run = on_tick;
        http_timer_set(http_request_loop(request), &events->timer,
                       clock_now_ns() + events->interval_ns);
    }
}

static void on_slow(struct http_timer *timer, http_loop *loop)
{
    (void)loop;
    struct events *events = CONTAINER_OF(timer, struct events, timer);
    http_reply(events->request, 200, NULL, 0, "text/plain", text_slice_of("slow"));
}

static void serve_slow(http_request *request)
{
    struct events *events = create_events(request);
    events->timer.run = on_slow;
    http_timer_set(http_request_loop(request), &events->timer,
                   clock_now_ns() + query_number(request, "ms=", 100) * NS_PER_MS);
}

static void serve_echo(http_request *request)
{
    struct text_slice body = http_request_body(request);
    if (!text_slice_is(http_request_query(request), "as=stream")) {
        http_reply(request, 200, NULL, 0, "application/octet-stream", body);
        return;
    }
    http_stream_start(request, 200, NULL, 0, "application/octet-stream");
    while (body.bytes > 0) {
        size_t piece = body.bytes < 1000 ? body.bytes : 1000;
        http_stream_write(request, (struct text_slice){body.data, piece});
        body = (struct text_slice){body.data + piece, body.bytes - piece};
    }
    http_stream_end(request, false);
}

static void serve_buffer(http_request *request, struct buffer *buffer)
{
    http_reply(request, 200, NULL, 0, "text/plain; version=0.0.4", buffer_slice(buffer));
    buffer_deinit(buffer);
}

static void serve_headers(http_request *request)
{
    static const char *const names[] = {"host", "x-test", "content-type", "user-agent"};
    struct buffer text;
    buffer_init(&text, 1 << 16);
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        struct text_slice value = http_request_header(request, names[i]);
        buffer_append_format(&text, "%s=%.*s\n", names[i], (int)value.bytes,
                             value.data != NULL ? value.data : "");
    }
    buffer_append_format(&text, "peer=%.*s http2=%d tls=%d\n",
                         (int)http_request_peer(request).bytes, http_request_peer(request).data,
                         http_request_is_http2(request), http_request_is_tls(request));
    serve_buffer(request, &text);
}

static void on_request(http_request *request, void *context)
{
    (void)context;
    struct text_slice path = http_request_path(request);
    struct buffer text;
    buffer_init(&text, 1 << 20);
    if (text_slice_is(path, "/small")) {
        http_reply(request, 200, NULL, 0, "application/json",
                   (struct text_slice){small_body, sizeof small_body});
    } else if (text_slice_is(path, "/echo")) {
        serve_echo(request);
    } else if (text_slice_is(path, "/sse")) {
        serve_events(request);
    } else if (text_slice_is(path, "/slow")) {
        serve_slow(request);
    } else if (text_slice_is(path, "/hold")) {
        (void)create_events(request);
        http_stream_start(request, 200, NULL, 0, "text/event-stream");
    } else if (text_slice_is(path, "/abort")) {
        http_stream_start(request, 200, NULL, 0, "text/plain");
        http_stream_write(request, text_slice_of("half"));
        http_stream_end(request, true);
    } else if (text_slice_is(path, "/gone")) {
        buffer_append_u64(&text, atomic_load(&gone_count));
        serve_buffer(request, &text);
    } else if (text_slice_is(path, "/metrics")) {
        metrics_write(registry, METRICS_TEXT, &text);
        serve_buffer(request, &text);
    } else if (text_slice_is(path, "/headers")) {
        serve_headers(request);
    } else {
        http_reply(request, 404, NULL, 0, "application/json", text_slice_of("{}"));
    }
}

struct arguments {
    uint64_t idle_ns;
    struct http_server_options options;
    struct http_listener_options listeners[2];
    uint32_t listener_count;
    const char *certificate, *key;
};

/* "name=value" rows of struct http_limits; times in milliseconds. */
static bool set_limit(struct http_limits *limits, const char *text)
{
    const char *equals = strchr(text, '=');
    uint64_t value = equals != NULL ? strtoull(equals + 1, NULL, 10) : 0;
    size_t bytes = equals != NULL ? (size_t)(equals - text) : 0;
#define ROW(name, field, factor)                                                                   \
    if (bytes == strlen(name) && memcmp(text, name, bytes) == 0) {                                 \
        limits->field = (__typeof__(limits->field))(value * (factor));                             \
        return true;                                                                               \
    }
    ROW("body", body_bytes_max, 1)
    ROW("buffered", buffered_bytes_max, 1)
    ROW("upload", upload_bytes_max, 1)
    ROW("header_bytes", header_bytes_max, 1)
    ROW("headers", header_count_max, 1)
    ROW("connections", connection_count_max, 1)
    ROW("per_address", connection_per_address_max, 1)
    ROW("accepts", accepts_per_second_max, 1)
    ROW("header_timeout", header_timeout_ns, NS_PER_MS)
    ROW("body_timeout", body_timeout_ns, NS_PER_MS)
    ROW("idle_timeout", idle_timeout_ns, NS_PER_MS)
    ROW("write_timeout", write_timeout_ns, NS_PER_MS)
    ROW("response_buffer", response_buffer_bytes_max, 1)
    ROW("keepalive", keepalive_comment_ns, NS_PER_MS)
#undef ROW
    return false;
}

static const struct http_limits default_limits = {.body_bytes_max = 8 << 20,
                                                  .buffered_bytes_max = 256 << 20,
                                                  .upload_bytes_max = 256 << 20,
                                                  .header_bytes_max = 16384,
                                                  .header_count_max = 100,
                                                  .connection_count_max = 20000,
                                                  .streams_per_second_max = 20,
                                                  .stream_burst_max = 250,
                                                  .header_timeout_ns = 10 * NS_PER_SECOND,
                                                  .body_timeout_ns = 60 * NS_PER_SECOND,
                                                  .idle_timeout_ns = 75 * NS_PER_SECOND,
                                                  .write_timeout_ns = 30 * NS_PER_SECOND,
                                                  .response_buffer_bytes_max = 256 << 10,
                                                  .receive_buffer_bytes = 256 << 10,
                                                  .keepalive_comment_ns = 15 * NS_PER_SECOND};

/* -t loops, -l address (twice at most), -c certificate -k key, -L limit=value, -i milliseconds that idle connections stay
 * while it drains */
static bool parse_arguments(int count, char **texts, struct arguments *out)
{
    int option;
    *out = (struct arguments){
        .options = {.loop_count = 1, .limits = default_limits, .server_name = "http_echo"}};
    while ((option = getopt(count, texts, "t:l:c:k:L:i:")) != -1) {
        switch (option) {
        case 't':
            out->options.loop_count = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'l':
            if (out->listener_count == ARRAY_COUNT(out->listeners))
                return false;
            out->listeners[out->listener_count++] =
                (struct http_listener_options){.address = optarg, .handler = on_request};
            break;
        case 'c':
            out->certificate = optarg;
            break;
        case 'k':
            out->key = optarg;
            break;
        case 'i':
            out->idle_ns = strtoull(optarg, NULL, 10) * NS_PER_MS;
            break;
        case 'L':
            if (!set_limit(&out->options.limits, optarg))
                return false;
            break;
        default:
            return false;
        }
    }
    for (uint32_t i = 0; i < out->listener_count; i++) {
        out->listeners[i].certificate = out->certificate;
        out->listeners[i].key = out->key;
    }
    out->options.listeners = out->listeners;
    out->options.listener_count = out->listener_count;
    return out->listener_count > 0 && out->options.loop_count > 0;
}

static void serve_until_told(http_server *server, uint64_t idle_ns)
{
    struct error_note note;
    sigset_t signals;
    int received;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    while (sigwait(&signals, &received) == 0 && received == SIGHUP)
        if (http_server_reload_certificates(server, &note) != STATUS_OK)
            log_error("http_echo", "%s", note.text);
    http_server_drain(server, false, idle_ns);
    for (unsigned i = 0;
         i < 1000 && (http_server_is_listening(server) || http_server_connection_count(server) > 0);
         i++) {
        struct timespec moment = {0, 10 * (long)NS_PER_MS};
        nanosleep(&moment, NULL);
    }
}

int main(int count, char **texts)
{
    struct arguments arguments;
    struct error_note note = {""};
    http_server *server;
    sigset_t signals;
    sigfillset(&signals);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    memset(small_body, 'x', sizeof small_body);
    memcpy(small_body, "{\"id\":\"", 7);
    memcpy(small_body + sizeof small_body - 2, "\"}", 2);
    if (!parse_arguments(count, texts, &arguments)) {
        fprintf(stderr, "usage: http_echo [-t loops] -l address [-c certificate -k key] [-L "
                        "limit=value]... [-i ms]\n");
        return 2;
    }
    CHECK(metrics_registry_create(&registry) == STATUS_OK);
    arguments.options.metrics = registry;
    if (http_server_create(&arguments.options, &server, &note) != STATUS_OK) {
        fprintf(stderr, "http_echo: %s\n", note.text);
        return 1;
    }
    if (http_server_start(server, NULL, NULL) != STATUS_OK)
        return 1;
    printf("ready %u\n", http_server_port(server, 0));
    fflush(stdout);
    serve_until_told(server, arguments.idle_ns);
    http_server_stop(server);
    http_server_destroy(server);
    metrics_registry_destroy(registry);
    return 0;
}
