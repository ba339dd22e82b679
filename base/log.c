#include "log.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "ring.h"
#include "thread.h"
#include "utf8.h"

/* Lines live in a fixed set of cells that travel between two rings:
 *
 *      free_lines --pop--> caller formats --push--> full_lines --pop--> writer: write(2)
 *           ^                                                               |
 *           +------------------------------ push ---------------------------+
 *
 * so a log call allocates nothing and takes no lock, also on the step thread. No free cell means
 * that the disk is slower than the talk: the line is dropped and counted, and the writer says how
 * many were lost when it catches up.
 *
 * The cells are static and the rings are never freed: a thread may still log while main stops the
 * writer. After log_stop (and before log_start) lines are formatted on the stack and written at
 * once. */

#define LOG_LINE_BYTES   2048u /* longer lines are cut; ids, paths and a sentence fit */
#define LOG_LINE_COUNT   512u  /* 1 MiB in all; a burst of 200 requests with two lines each fits */
#define LOG_SLEEP_MAX_NS (5 * NS_PER_SECOND)

struct log_line {
    size_t bytes;
    char text[LOG_LINE_BYTES];
};

static struct log_line lines[LOG_LINE_COUNT];
static ring *free_lines; /* owned, for ever */
static ring *full_lines; /* owned, for ever */
static struct parking writer_parking;
static pthread_t writer;
static bool is_json;     /* written before any other thread runs */
static const char *role; /* the same; borrowed; NULL: none */
static _Atomic int level_max = LOG_INFO;
static atomic_bool is_running; /* release by log_start, acquire by callers: the rings are there */
static atomic_bool is_stopping;
static _Atomic uint64_t dropped_count;

static const char *const level_names[] = {"error", "warn", "info", "debug"};

/* Appends one character or an escape; keeps room for the end of the line. Returns false when the
 * line is full. */
static bool line_append(struct log_line *line, const char *data, size_t bytes)
{
    const size_t reserve = 4; /* `"}` and the newline */
    if (bytes > LOG_LINE_BYTES - reserve - line->bytes)
        return false;
    memcpy(line->text + line->bytes, data, bytes);
    line->bytes += bytes;
    return true;
}

/* Control characters and broken UTF-8 are escaped in both formats: a line stays one line, whatever
 * a client sent. */
static void line_append_escaped(struct log_line *line, const char *text)
{
    size_t bytes = strlen(text);
    for (size_t at = 0; at < bytes;) {
        uint32_t code_point = 0;
        char escape[8];
        size_t length = utf8_decode(text + at, bytes - at, &code_point);
        bool is_plain = length > 0 && code_point >= 0x20 && code_point != 0x7f;
        if (is_plain && is_json && (code_point == '"' || code_point == '\\')) {
            (void)snprintf(escape, sizeof escape, "\\%c", (char)code_point);
            is_plain = false;
        } else if (!is_plain) {
            (void)snprintf(escape, sizeof escape, is_json ? "\\u%04x" : "\\x%02x",
                           (unsigned char)text[at]);
        }
        if (length == 0)
            length = 1;
        if (!line_append(line, is_plain ? text + at : escape, is_plain ? length : strlen(escape)))
            return;
        at += length;
    }
}

static void line_append_time(struct log_line *line)
{
    uint64_t now_ms = clock_wall_ms();
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm utc;
    char text[64];
    if (gmtime_r(&seconds, &utc) == NULL)
        return;
    size_t bytes = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
    (void)snprintf(text + bytes, sizeof text - bytes, ".%03uZ", (unsigned)(now_ms % 1000));
    line_append(line, text, strlen(text));
}

static void line_append_text(struct log_line *line, const char *text)
{
    line_append(line, text, strlen(text));
}

static void line_format(struct log_line *line, enum log_level level, const char *area,
                        const char *message)
{
    line->bytes = 0;
    line_append_text(line, is_json ? "{\"time\":\"" : "");
    line_append_time(line);
    line_append_text(line, is_json ? "\",\"level\":\"" : " ");
    line_append_text(line, level_names[level]);
    if (role != NULL) {
        line_append_text(line, is_json ? "\",\"role\":\"" : " [");
        line_append_escaped(line, role);
        line_append_text(line, is_json ? "" : "]");
    }
    line_append_text(line, is_json ? "\",\"area\":\"" : " ");
    line_append_text(line, area);
    line_append_text(line, is_json ? "\",\"message\":\"" : " ");
    line_append_escaped(line, message);
    const char *end = is_json ? "\"}\n" : "\n";
    memcpy(line->text + line->bytes, end, strlen(end)); /* line_append kept the room */
    line->bytes += strlen(end);
}

static void line_write(const struct log_line *line)
{
    size_t at = 0;
    while (at < line->bytes) {
        ssize_t written = write(STDERR_FILENO, line->text + at, line->bytes - at);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return; /* stderr is gone: there is nowhere to say so */
        at += (size_t)written;
    }
}

static void write_dropped(uint64_t *reported)
{
    uint64_t dropped = atomic_load_explicit(&dropped_count, memory_order_relaxed);
    if (dropped == *reported)
        return;
    char message[64];
    struct log_line line;
    (void)snprintf(message, sizeof message, "dropped %llu lines: stderr is too slow",
                   (unsigned long long)(dropped - *reported));
    *reported = dropped;
    line_format(&line, LOG_WARN, "base/log", message);
    line_write(&line);
}

static void *writer_run(void *context)
{
    (void)context;
    uint64_t reported = atomic_load_explicit(&dropped_count, memory_order_relaxed);
    for (;;) {
        /* Read before the ring is found empty, so that what was queued before log_stop is written.
         */
        uint32_t ticket = parking_prepare(&writer_parking);
        bool is_last_round = atomic_load_explicit(&is_stopping, memory_order_acquire);
        struct log_line *line = ring_pop(full_lines);
        if (line == NULL && !is_last_round) {
            parking_wait(&writer_parking, ticket, LOG_SLEEP_MAX_NS);
            continue;
        }
        parking_cancel(&writer_parking);
        for (; line != NULL; line = ring_pop(full_lines)) {
            line_write(line);
            while (ring_push(free_lines, line) == STATUS_FULL)
                sched_yield(); /* there is room: a caller was interrupted while it took a line */
        }
        write_dropped(&reported);
        if (is_last_round)
            return NULL;
    }
}

static status rings_create(void)
{
    if (free_lines != NULL)
        return STATUS_OK;
    ring *fresh_free;
    ring *fresh_full;
    status s = ring_create(LOG_LINE_COUNT, &fresh_free);
    if (s != STATUS_OK)
        return s;
    s = ring_create(LOG_LINE_COUNT, &fresh_full);
    if (s != STATUS_OK) {
        ring_destroy(fresh_free);
        return s;
    }
    for (size_t i = 0; i < LOG_LINE_COUNT; i++) {
        status pushed = ring_push(fresh_free, &lines[i]);
        CHECK(pushed == STATUS_OK);
    }
    free_lines = fresh_free;
    full_lines = fresh_full;
    return STATUS_OK;
}

status log_start(const struct log_options *options)
{
    CHECK(!atomic_load(&is_running));
    status s = rings_create();
    if (s != STATUS_OK)
        return s;
    log_set_level(options->level);
    is_json = options->is_json;
    role = options->role;
    atomic_store(&is_stopping, false);
    s = thread_start(&writer, "log writer", writer_run, NULL);
    if (s == STATUS_OK)
        atomic_store_explicit(&is_running, true, memory_order_release);
    return s;
}

void log_stop(void)
{
    if (!atomic_exchange(&is_running, false))
        return;
    atomic_store_explicit(&is_stopping, true, memory_order_release);
    parking_signal(&writer_parking);
    int rc = pthread_join(writer, NULL);
    CHECK(rc == 0);
}

void log_set_level(enum log_level level)
{
    CHECK((unsigned)level < ARRAY_COUNT(level_names));
    atomic_store_explicit(&level_max, (int)level, memory_order_relaxed);
}

bool log_is_on(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&level_max, memory_order_relaxed);
}

uint64_t log_dropped_count(void)
{
    return atomic_load_explicit(&dropped_count, memory_order_relaxed);
}

void log_write(enum log_level level, const char *area, const char *format, ...)
{
    if (!log_is_on(level))
        return;
    struct log_line direct;
    struct log_line *line = &direct;
    bool is_queued = atomic_load_explicit(&is_running, memory_order_acquire);
    if (is_queued)
        line = ring_pop_shared(free_lines);
    if (line == NULL) {
        atomic_fetch_add_explicit(&dropped_count, 1, memory_order_relaxed);
        return;
    }
    char message[LOG_LINE_BYTES];
    va_list args;
    va_start(args, format);
    int bytes = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    CHECK(bytes >= 0);
    line_format(line, level, area, message);
    if (!is_queued) {
        line_write(line);
        return;
    }
    status pushed = ring_push(full_lines, line);
    CHECK(pushed == STATUS_OK); /* as many places as lines, and a single reader */
    parking_signal(&writer_parking);
}
