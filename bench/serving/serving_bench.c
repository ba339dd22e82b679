/* Load generator for streamed chat completions: closed loop at N streams or Poisson arrivals,
 * shared prefixes, multi-turn conversations, trace replay. One thread, epoll, no JSON tree: its CPU
 * time is part of the report, since it shares the machine with the server it measures. Open-loop
 * latency counts from the moment a request was due (no coordinated omission). */
#include <arpa/inet.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "report.h"
#include "stream_client.h"
#include "workload.h"

#define STREAM_COUNT_MAX  4096u
#define HISTORY_BYTES_MAX (4u << 20)

/* A long prompt comes this much after all streams have their first token: their own prefills are
 * over then. Its answer is short, since what is looked at is the time until it begins. */
#define LONG_AFTER_NS      (500 * NS_PER_MS)
#define LONG_OUTPUT_TOKENS 8u
#define LONG_NUMBER        (UINT64_C(1) << 31) /* no other request's: its words are its own */

struct bench;

struct slot {
    struct bench *bench;
    struct stream_client client;
    struct buffer history; /* earlier turns of this conversation */
    uint32_t turn;
    uint32_t polled_count; /* the connection that epoll knows; a closed one left it by itself */
};

struct bench {
    struct workload_options load;
    const char *name, *path, *url;
    struct sockaddr_in address;
    uint32_t concurrency;
    uint64_t request_count_max;
    uint64_t print_count;    /* requests to print instead of sending any; 0: send */
    double duration_seconds; /* of sending; 0: until the requests are sent */
    uint32_t long_words;     /* of the one long prompt beside the streams; 0: none */
    uint64_t long_due_ns;    /* 0: the streams do not all decode yet */
    bool is_long_over;
    struct report report;
    workload *workload;
    struct slot *slots; /* [concurrency + 1]; the last is the long prompt's */
    int epoll_fd;
    uint64_t sent, done;
    struct workload_request next;
    bool has_next;
};

static void slot_poll(struct bench *b, struct slot *slot)
{
    if (slot->client.fd < 0)
        return;
    struct epoll_event event = {
        .events = EPOLLIN | (stream_client_wants_write(&slot->client) ? EPOLLOUT : 0u),
        .data.ptr = slot};
    int operation =
        slot->polled_count == slot->client.connection_count ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    CHECK(epoll_ctl(b->epoll_fd, operation, slot->client.fd, &event) == 0);
    slot->polled_count = slot->client.connection_count;
}

static void slot_post(struct bench *b, struct slot *slot, const struct buffer *body,
                      uint64_t due_ns)
{
    if (stream_client_start(&slot->client, b->path, body, due_ns) != STATUS_OK) {
        fprintf(stderr, "serving_bench: cannot connect: %s\n", strerror(errno));
        exit(1);
    }
    slot_poll(b, slot);
}

static void slot_send(struct bench *b, struct slot *slot, uint64_t now_ns)
{
    struct buffer body, question;
    buffer_init(&body, HISTORY_BYTES_MAX);
    buffer_init(&question, HISTORY_BYTES_MAX);
    if (slot->turn == b->load.turns) {
        slot->turn = 0;
        buffer_clear(&slot->history);
    }
    slot->turn++;
    workload_write_body(b->workload, &b->next, &slot->history, &question, &body);
    buffer_append_slice(&slot->history, buffer_slice(&question));
    uint64_t due_ns = b->next.arrival_ns > 0 ? b->report.started_ns + b->next.arrival_ns : now_ns;
    slot_post(b, slot, &body, due_ns);
    b->sent++;
    b->has_next = (b->sent < b->request_count_max || b->long_words > 0) &&
                  workload_next(b->workload, &b->next);
    buffer_deinit(&body);
    buffer_deinit(&question);
}

/* --- the long prompt beside the streams --- */

static struct slot *long_slot(struct bench *b)
{
    return &b->slots[b->concurrency];
}

static bool all_streams_decode(const struct bench *b)
{
    for (uint32_t i = 0; i < b->concurrency; i++) {
        const struct stream_client *client = &b->slots[i].client;
        if (!client->is_busy || client->result.event_count == 0)
            return false;
    }
    return true;
}

/* Sends the long prompt when it is time. Returns the milliseconds until then, or -1. */
static int send_long(struct bench *b, uint64_t now_ns)
{
    struct slot *slot = long_slot(b);
    if (b->long_words == 0 || slot->client.result.start_ns > 0)
        return -1;
    if (b->long_due_ns == 0 && all_streams_decode(b))
        b->long_due_ns = now_ns + LONG_AFTER_NS;
    if (b->long_due_ns == 0)
        return -1;
    if (now_ns < b->long_due_ns)
        return (int)((b->long_due_ns - now_ns) / NS_PER_MS) + 1;
    struct workload_request request = {
        .prompt_words = b->long_words, .output_tokens = LONG_OUTPUT_TOKENS, .number = LONG_NUMBER};
    struct buffer body, question;
    buffer_init(&body, HISTORY_BYTES_MAX);
    buffer_init(&question, HISTORY_BYTES_MAX);
    workload_write_body(b->workload, &request, &slot->history, &question, &body);
    slot_post(b, slot, &body, now_ns);
    buffer_deinit(&body);
    buffer_deinit(&question);
    return -1;
}

/* A gap belongs to the long prompt when any part of it lies between that prompt's sending and its
 * first token. */
static void on_gap(void *context, uint64_t gap_ns)
{
    struct slot *slot = context;
    struct bench *b = slot->bench;
    const struct stream_client_result *other = &long_slot(b)->client.result;
    bool is_beside =
        slot != long_slot(b) && other->start_ns > 0 &&
        (other->first_token_ns == 0 || slot->client.last_token_ns < other->first_token_ns);
    if (is_beside)
        report_add_gap_beside(&b->report, gap_ns);
    else if (slot != long_slot(b))
        report_add_gap(&b->report, gap_ns);
}

/* --- the run --- */

static void slot_finished(struct bench *b, struct slot *slot)
{
    if (slot == long_slot(b)) {
        report_add_long(&b->report, &slot->client.result);
        b->is_long_over = true;
        return;
    }
    b->done++;
    report_add(&b->report, &slot->client.result);
    if (slot->client.keep_text) {
        buffer_append_text(&slot->history, "{\"role\":\"assistant\",\"content\":\"");
        buffer_append_slice(&slot->history, buffer_slice(&slot->client.text));
        buffer_append_text(&slot->history, "\"},");
    }
}

/* Sends what is due on free slots. Returns the milliseconds until the next arrival, or -1. */
static int send_due(struct bench *b)
{
    for (uint32_t i = 0; i < b->concurrency && b->has_next; i++) {
        if (b->slots[i].client.is_busy)
            continue;
        uint64_t now_ns = clock_now_ns();
        uint64_t elapsed_ns = now_ns - b->report.started_ns;
        if (b->duration_seconds > 0 && (double)elapsed_ns / 1e9 >= b->duration_seconds) {
            b->has_next = false;
            break;
        }
        if (b->next.arrival_ns > elapsed_ns)
            return (int)((b->next.arrival_ns - elapsed_ns) / NS_PER_MS) + 1;
        slot_send(b, &b->slots[i], now_ns);
    }
    return -1;
}

/* With a long prompt the run ends with it; the streams beside it are cut and only their gaps count. */
static bool is_over(const struct bench *b)
{
    return b->long_words > 0 ? b->is_long_over : !b->has_next && b->done == b->sent;
}

static void run(struct bench *b)
{
    b->report.started_ns = clock_now_ns();
    b->has_next = workload_next(b->workload, &b->next);
    while (!is_over(b)) {
        int wait_ms = send_due(b), long_wait_ms = send_long(b, clock_now_ns());
        if (is_over(b)) /* the time to send has just passed, and nothing is under way */
            break;
        if (long_wait_ms >= 0 && (wait_ms < 0 || long_wait_ms < wait_ms))
            wait_ms = long_wait_ms;
        struct epoll_event events[256];
        int count = epoll_wait(b->epoll_fd, events, (int)ARRAY_COUNT(events), wait_ms);
        uint64_t now_ns = clock_now_ns();
        for (int i = 0; i < count; i++) {
            struct slot *slot = events[i].data.ptr;
            bool can_read = (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0;
            if (stream_client_ready(&slot->client, can_read, (events[i].events & EPOLLOUT) != 0,
                                    now_ns))
                slot_finished(b, slot);
            else
                slot_poll(b, slot);
        }
    }
    b->report.ended_ns = clock_now_ns();
}

/* The bodies that would be sent, one a line, for a program that is measured without HTTP. */
static void print_requests(struct bench *b)
{
    struct buffer body, question, history;
    buffer_init(&body, HISTORY_BYTES_MAX);
    buffer_init(&question, HISTORY_BYTES_MAX);
    buffer_init(&history, HISTORY_BYTES_MAX);
    for (uint64_t i = 0; i < b->print_count && workload_next(b->workload, &b->next); i++) {
        buffer_clear(&body);
        buffer_clear(&question);
        workload_write_body(b->workload, &b->next, &history, &question, &body);
        printf("%.*s\n", (int)body.bytes, body.data);
    }
    buffer_deinit(&body);
    buffer_deinit(&question);
    buffer_deinit(&history);
}

static const char usage[] =
    "usage: serving_bench --url HOST:PORT [options]\n"
    "  --model NAME            model field of the requests (default: smollm2-135m-instruct)\n"
    "  --name TEXT             name in the report\n"
    "  --concurrency N         streams at once; with --rate the most at once (default 16)\n"
    "  --rate R                Poisson arrivals, requests a second (default: closed loop)\n"
    "  --requests N            stop after N requests (default 64)\n"
    "  --duration S            stop sending after S seconds\n"
    "  --prompt-words N        unique words a request, about one token each (default 100)\n"
    "  --output-tokens N       max_tokens, with ignore_eos (default 128)\n"
    "  --shared-words N        words of a system prompt shared by a group of requests (default 0)\n"
    "  --groups N              number of such system prompts (default 1)\n"
    "  --turns N               requests of a conversation, each carrying the answers so far "
    "(default 1)\n"
    "  --trace FILE            lines of: arrival_seconds prompt_words output_tokens group\n"
    "  --long-words N          when all streams decode, one prompt of N words beside them; the "
    "gaps "
    "that it\n"
    "                          causes are reported apart, and the run ends with its answer\n"
    "  --slo-ttft-ms X --slo-gap-ms X   limits for goodput\n"
    "  --print N               send nothing: print the bodies of the first N requests, one a line\n"
    "  --seed N                (default 1)\n";

static void parse_address(struct bench *b, const char *text)
{
    char host[64];
    const char *colon = strrchr(text, ':');
    size_t bytes = colon != NULL ? (size_t)(colon - text) : sizeof(host);
    if (bytes >= sizeof(host)) {
        fprintf(stderr, "serving_bench: --url wants HOST:PORT with a numeric host, got %s\n", text);
        exit(2);
    }
    memcpy(host, text, bytes);
    host[bytes] = '\0';
    b->address.sin_family = AF_INET;
    b->address.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    if (inet_pton(AF_INET, host, &b->address.sin_addr) != 1) {
        fprintf(stderr, "serving_bench: %s is no IPv4 address\n", host);
        exit(2);
    }
}

enum flag_kind { FLAG_TEXT, FLAG_COUNT, FLAG_COUNT64, FLAG_NUMBER };

/* One row an option: where its value goes in struct bench. */
struct flag {
    const char *name;
    enum flag_kind kind;
    size_t offset;
};

static const struct flag flags[] = {
    {"--url", FLAG_TEXT, offsetof(struct bench, url)},
    {"--model", FLAG_TEXT, offsetof(struct bench, load.model)},
    {"--name", FLAG_TEXT, offsetof(struct bench, name)},
    {"--concurrency", FLAG_COUNT, offsetof(struct bench, concurrency)},
    {"--rate", FLAG_NUMBER, offsetof(struct bench, load.rate)},
    {"--requests", FLAG_COUNT64, offsetof(struct bench, request_count_max)},
    {"--duration", FLAG_NUMBER, offsetof(struct bench, duration_seconds)},
    {"--prompt-words", FLAG_COUNT, offsetof(struct bench, load.prompt_words)},
    {"--output-tokens", FLAG_COUNT, offsetof(struct bench, load.output_tokens)},
    {"--shared-words", FLAG_COUNT, offsetof(struct bench, load.shared_words)},
    {"--groups", FLAG_COUNT, offsetof(struct bench, load.group_count)},
    {"--turns", FLAG_COUNT, offsetof(struct bench, load.turns)},
    {"--trace", FLAG_TEXT, offsetof(struct bench, load.trace)},
    {"--long-words", FLAG_COUNT, offsetof(struct bench, long_words)},
    {"--print", FLAG_COUNT64, offsetof(struct bench, print_count)},
    {"--slo-ttft-ms", FLAG_NUMBER, offsetof(struct bench, report.ttft_slo_ms)},
    {"--slo-gap-ms", FLAG_NUMBER, offsetof(struct bench, report.gap_slo_ms)},
    {"--seed", FLAG_COUNT64, offsetof(struct bench, load.seed)},
};

static bool flag_set(struct bench *b, const char *name, const char *value)
{
    for (size_t i = 0; i < ARRAY_COUNT(flags); i++) {
        if (strcmp(name, flags[i].name) != 0)
            continue;
        char *target = (char *)b + flags[i].offset;
        char *end = NULL;
        switch (flags[i].kind) {
        case FLAG_TEXT:
            *(const char **)(void *)target = value;
            return true;
        case FLAG_COUNT:
            *(uint32_t *)(void *)target = (uint32_t)strtoul(value, &end, 10);
            return *end == '\0';
        case FLAG_COUNT64:
            *(uint64_t *)(void *)target = strtoull(value, &end, 10);
            return *end == '\0';
        case FLAG_NUMBER:
            *(double *)(void *)target = strtod(value, &end);
            return *end == '\0';
        }
    }
    return false;
}

static void parse_options(struct bench *b, int argc, char **argv)
{
    bool is_help = argc == 2 && strcmp(argv[1], "--help") == 0;
    bool is_valid = !is_help && argc % 2 == 1;
    for (int i = 1; is_valid && i + 1 < argc; i += 2)
        is_valid = flag_set(b, argv[i], argv[i + 1]);
    is_valid = is_valid && (b->url != NULL || b->print_count > 0) && b->concurrency >= 1 &&
               b->concurrency <= STREAM_COUNT_MAX && b->load.group_count >= 1 && b->load.turns >= 1;
    if (!is_valid) {
        fputs(usage, is_help ? stdout : stderr);
        exit(is_help ? 0 : 2);
    }
    if (b->print_count == 0)
        parse_address(b, b->url);
}

static void slots_create(struct bench *b)
{
    b->slots = calloc(b->concurrency + 1, sizeof(*b->slots));
    CHECK(b->slots != NULL);
    for (uint32_t i = 0; i <= b->concurrency; i++) {
        struct slot *slot = &b->slots[i];
        slot->bench = b;
        stream_client_init(&slot->client, &b->address);
        slot->client.keep_text = b->load.turns > 1 && i < b->concurrency;
        slot->client.on_gap = on_gap;
        slot->client.context = slot;
        buffer_init(&slot->history, HISTORY_BYTES_MAX);
    }
}

static void slots_destroy(struct bench *b)
{
    for (uint32_t i = 0; i <= b->concurrency; i++) {
        stream_client_deinit(&b->slots[i].client);
        buffer_deinit(&b->slots[i].history);
    }
    free(b->slots);
}

int main(int argc, char **argv)
{
    struct bench b = {.load = {.model = "smollm2-135m-instruct",
                               .seed = 1,
                               .prompt_words = 100,
                               .group_count = 1,
                               .output_tokens = 128,
                               .turns = 1},
                      .name = "serving",
                      .path = "/v1/chat/completions",
                      .concurrency = 16,
                      .request_count_max = 64};
    parse_options(&b, argc, argv);
    struct error_note note = {""};
    if (workload_create(&b.load, &b.workload, &note) != STATUS_OK) {
        fprintf(stderr, "serving_bench: %s\n", note.text);
        return 1;
    }
    if (b.print_count > 0) {
        print_requests(&b);
        workload_destroy(b.workload);
        return 0;
    }
    b.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    CHECK(b.epoll_fd >= 0);
    slots_create(&b);
    run(&b);
    report_write(&b.report, stdout, b.name, b.concurrency, b.load.rate);
    slots_destroy(&b);
    workload_destroy(b.workload);
    int result = b.report.error_count == 0 ? 0 : 1;
    report_deinit(&b.report);
    (void)close(b.epoll_fd);
    return result;
}
