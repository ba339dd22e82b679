/* The fast server behind the gateways that bench/gateway compares: chat completions of fixed bytes, over gateway/http.
 *   gateway_upstream -l ADDRESS [-t THINK_MS] [-b EVENT_BYTES]
 * A POST is answered with 1 kB of JSON, or, when its body asks for a stream, with "max_tokens" events of EVENT_BYTES
 * each and [DONE]: as fast as they are taken, or one every N ms when its message has the word pace-N. THINK_MS go by before either.
 * A GET of /v1/models lists one model; any other GET, as health checks are, is answered with {}.
 * Prints "ready PORT" on stdout; SIGTERM ends it. */

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "clock.h"
#include "http_server.h"

#define ANSWER_BYTES    1024u
#define EVENT_BYTES_MIN 200u
#define EVENT_BYTES_MAX 4096u
#define EVENTS_DEFAULT  128u
#define CONNECTIONS_MAX 20000u

struct answer { /* state of one POST */
    http_request *request;
    struct http_timer timer;
    uint64_t left, interval_ns;
    bool is_streamed, is_started, is_full;
};

static char whole_answer[ANSWER_BYTES + 1], event[EVENT_BYTES_MAX + 1];
static uint64_t think_ns;

/* `head`, letters up to `bytes` in all, `tail`. */
static void text_fill(char *out, size_t bytes, const char *head, const char *tail)
{
    memset(out, 'a', bytes);
    memcpy(out, head, strlen(head));
    memcpy(out + bytes - strlen(tail), tail, strlen(tail));
    out[bytes] = '\0';
}

static void texts_make(size_t event_bytes)
{
    text_fill(whole_answer, ANSWER_BYTES,
              "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1700000000,"
              "\"model\":\"m\","
              "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"",
              "\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":10,"
              "\"completion_tokens\":128,\"total_tokens\":138}}");
    text_fill(
        event, event_bytes,
        "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,"
        "\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"",
        "\"},\"finish_reason\":null}]}\n\n");
}

/* The number that stands behind `name` in a JSON text; blanks between them are passed over. */
static uint64_t number_after(struct text_slice body, const char *name, uint64_t otherwise)
{
    const char *at = memmem(body.data, body.bytes, name, strlen(name));
    uint64_t number = 0;

    if (at == NULL)
        return otherwise;
    at += strlen(name);
    while (at < body.data + body.bytes && (*at == ' ' || *at == ':'))
        at++;
    for (; at < body.data + body.bytes && *at >= '0' && *at <= '9'; at++)
        number = 10 * number + (uint64_t)(*at - '0');
    return number;
}

static bool wants_stream(struct text_slice body)
{
    return memmem(body.data, body.bytes, "\"stream\":true", 13) != NULL ||
           memmem(body.data, body.bytes, "\"stream\": true", 14) != NULL;
}

static void events_send(struct answer *answer)
{
    while (answer->left > 0) {
        answer->left--;
        answer->is_full = !http_stream_write(answer->request, text_slice_of(event));
        if (answer->left > 0 && (answer->interval_ns > 0 || answer->is_full))
            return;
    }
    http_stream_write(answer->request, text_slice_of("data: [DONE]\n\n"));
    http_stream_end(answer->request, false);
}

static void on_drained(http_request *request, void *context)
{
    struct answer *answer = context;
    (void)request;
    answer->is_full = false;
    if (answer->interval_ns == 0)
        events_send(answer);
}

static void answer_start(struct answer *answer)
{
    http_request *request = answer->request;

    if (!answer->is_streamed) {
        http_reply(request, 200, NULL, 0, "application/json", text_slice_of(whole_answer));
        return;
    }
    answer->is_started = true;
    http_stream_on_drained(request, on_drained, answer);
    http_stream_start(request, 200, NULL, 0, "text/event-stream");
    if (answer->interval_ns > 0 && answer->left > 1)
        http_timer_set(http_request_loop(request), &answer->timer,
                       clock_now_ns() + answer->interval_ns);
    events_send(answer);
}

/* The end of the thinking, then one turn an event. A client that does not read is given none. */
static void on_timer(struct http_timer *timer, http_loop *loop)
{
    struct answer *answer = CONTAINER_OF(timer, struct answer, timer);

    if (!answer->is_started) {
        answer_start(answer);
        return;
    }
    if (answer->left > 1 || answer->is_full)
        http_timer_set(loop, timer, clock_now_ns() + answer->interval_ns);
    if (!answer->is_full)
        events_send(answer);
}

static void on_gone(http_request *request, void *context)
{
    struct answer *answer = context;
    (void)request;
    http_timer_cancel(&answer->timer);
}

static void serve_chat(http_request *request)
{
    struct answer *answer = http_request_allocate(request, sizeof(*answer));
    struct text_slice body = http_request_body(request);

    *answer = (struct answer){.request = request,
                              .timer = {.run = on_timer},
                              .is_streamed = wants_stream(body),
                              .left = number_after(body, "\"max_tokens\"", EVENTS_DEFAULT),
                              .interval_ns = number_after(body, "pace-", 0) * NS_PER_MS};
    http_request_on_gone(request, on_gone, answer);
    if (think_ns > 0)
        http_timer_set(http_request_loop(request), &answer->timer, clock_now_ns() + think_ns);
    else
        answer_start(answer);
}

static void on_request(http_request *request, void *context)
{
    (void)context;
    if (text_slice_is(http_request_method(request), "POST"))
        serve_chat(request);
    else if (text_slice_is(http_request_path(request), "/v1/models"))
        http_reply(
            request, 200, NULL, 0, "application/json",
            text_slice_of("{\"object\":\"list\",\"data\":[{\"id\":\"m\",\"object\":\"model\","
                          "\"created\":1700000000,\"owned_by\":\"bench\"}]}"));
    else
        http_reply(request, 200, NULL, 0, "application/json", text_slice_of("{}"));
}

/* Patient: its only clients are the gateways. */
static const struct http_limits limits = {.body_bytes_max = 8u << 20,
                                          .buffered_bytes_max = 1u << 30,
                                          .upload_bytes_max = 1u << 30,
                                          .header_bytes_max = 16384,
                                          .header_count_max = 100,
                                          .connection_count_max = CONNECTIONS_MAX,
                                          .connection_per_address_max = CONNECTIONS_MAX,
                                          .streams_per_second_max = 1000000,
                                          .stream_burst_max = 1000000,
                                          .header_timeout_ns = 600 * NS_PER_SECOND,
                                          .body_timeout_ns = 600 * NS_PER_SECOND,
                                          .idle_timeout_ns = 3600 * NS_PER_SECOND,
                                          .write_timeout_ns = 600 * NS_PER_SECOND,
                                          .response_buffer_bytes_max = 256u << 10};

static bool arguments_parse(int count, char **texts, const char **address, size_t *event_bytes)
{
    int option;

    while ((option = getopt(count, texts, "l:t:b:")) != -1) {
        if (option == 'l')
            *address = optarg;
        else if (option == 't')
            think_ns = strtoull(optarg, NULL, 10) * NS_PER_MS;
        else if (option == 'b')
            *event_bytes = strtoull(optarg, NULL, 10);
        else
            return false;
    }
    return *address != NULL && *event_bytes >= EVENT_BYTES_MIN && *event_bytes <= EVENT_BYTES_MAX;
}

int main(int count, char **texts)
{
    size_t event_bytes = EVENT_BYTES_MIN;
    struct error_note note = {""};
    struct http_listener_options listener = {.handler = on_request};
    struct http_server_options options = {.loop_count = 1,
                                          .limits = limits,
                                          .listeners = &listener,
                                          .listener_count = 1,
                                          .server_name = "upstream"};
    http_server *server;
    sigset_t signals;
    int received;

    sigfillset(&signals);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (!arguments_parse(count, texts, &listener.address, &event_bytes)) {
        fprintf(stderr,
                "usage: gateway_upstream -l address [-t think_ms] [-b event_bytes, %u to %u]\n",
                EVENT_BYTES_MIN, EVENT_BYTES_MAX);
        return 2;
    }
    texts_make(event_bytes);
    if (http_server_create(&options, &server, &note) != STATUS_OK ||
        http_server_start(server, NULL, NULL) != STATUS_OK) {
        fprintf(stderr, "gateway_upstream: %s\n", note.text);
        return 1;
    }
    printf("ready %u\n", http_server_port(server, 0));
    fflush(stdout);
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigwait(&signals, &received);
    http_server_stop(server);
    http_server_destroy(server);
    return 0;
}
