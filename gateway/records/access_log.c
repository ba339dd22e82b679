#include "access_log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "buffer.h"
#include "clock.h"
#include "json.h"
#include "memory.h"
#include "record_text.h"

#define BUFFER_BYTES_MAX (1u << 20) /* about 2,000 lines; then they are written */
#define LINE_BYTES_MAX   8192u      /* each text of a record escaped sixfold, and what is around */
#define PIPE_BYTES       4096u      /* what a pipe that can be written takes without blocking */
#define PIPE_WAIT_MS     100        /* for a reader that is a little slow */

struct access_log {
    const char *target; /* borrowed */
    int descriptor;     /* owned, but for standard output */
    bool is_stdout, is_file;
    struct buffer lines;
    uint64_t lost_count;
};

/* --- lines --- */

static void text_write(struct buffer *out, const char *name, const char *value)
{
    if (value[0] == '\0')
        return;
    json_write_key(out, name);
    json_write_text(out, value);
}

static void number_write(struct buffer *out, const char *name, uint64_t value)
{
    json_write_key(out, name);
    buffer_append_u64(out, value);
}

static void milliseconds_write(struct buffer *out, const char *name, uint64_t time_ns)
{
    json_write_key(out, name);
    buffer_append_format(out, "%.3f", (double)time_ns / (double)NS_PER_MS);
}

static void usage_write(struct buffer *out, const struct request_record *record)
{
    const struct request_usage *usage = &record->usage;

    if (!usage->is_known)
        return;
    number_write(out, "prompt_tokens", usage->prompt_tokens);
    number_write(out, "cached_tokens", usage->cached_tokens);
    number_write(out, "completion_tokens", usage->completion_tokens);
    number_write(out, "reasoning_tokens", usage->reasoning_tokens);
    if (usage->is_estimated) {
        json_write_key(out, "usage_estimated");
        buffer_append_text(out, "true");
    }
    if (usage->busy_ns > 0)
        milliseconds_write(out, "busy_ms", usage->busy_ns);
    if (record->cost_nano != RECORD_NO_COST) {
        json_write_key(out, "cost");
        record_nano_write(out, record->cost_nano);
    }
}

static void line_write(struct buffer *out, const struct request_record *record)
{
    buffer_append_byte(out, '{');
    json_write_key(out, "time");
    buffer_append_byte(out, '"');
    record_time_write(out, record->ended_ms);
    buffer_append_byte(out, '"');
    text_write(out, "request_id", record->request_id);
    text_write(out, "trace_id", record->trace_id);
    text_write(out, "peer", record->peer);
    text_write(out, "organisation", record->organisation);
    text_write(out, "team", record->team);
    text_write(out, "key_id", record->key_id);
    text_write(out, "key", record->key_name);
    text_write(out, "method", record->method);
    text_write(out, "route", record->route);
    text_write(out, "model", record->model);
    text_write(out, "asked_model", record->asked_model);
    if (record->replica != RECORD_NO_REPLICA)
        number_write(out, "replica", record->replica);
    number_write(out, "status", (uint64_t)record->status_code);
    text_write(out, "error_code", record->error_code);
    text_write(out, "finish_reason", record->finish);
    number_write(out, "bytes_in", record->bytes_in);
    number_write(out, "bytes_out", record->bytes_out);
    usage_write(out, record);
    if (record->first_token_ns > 0)
        milliseconds_write(out, "ttft_ms", record->first_token_ns);
    milliseconds_write(out, "wait_ms", record->wait_ns);
    milliseconds_write(out, "duration_ms", record->duration_ns);
    number_write(out, "retries", record->retries);
    buffer_append_text(out, "}\n");
}

/* --- writing --- */

static uint64_t lines_count(const char *data, size_t bytes)
{
    uint64_t count = 0;

    for (size_t i = 0; i < bytes; i++)
        count += data[i] == '\n';
    return count;
}

/* The next piece: all of it to a file; to anything else what it takes without keeping this thread. 0: nothing. */
static size_t piece_bytes(const struct access_log *log, size_t bytes)
{
    struct pollfd place = {.fd = log->descriptor, .events = POLLOUT};

    if (log->is_file)
        return bytes;
    if (poll(&place, 1, PIPE_WAIT_MS) != 1 || (place.revents & POLLOUT) == 0)
        return 0;
    return bytes < PIPE_BYTES ? bytes : PIPE_BYTES;
}

/* A line of which only a part found room is taken back where that can be done, and ended where not. */
static void part_take_back(const struct access_log *log, size_t part)
{
    struct stat info;

    if (part == 0)
        return;
    if (log->is_file && fstat(log->descriptor, &info) == 0 && info.st_size >= (off_t)part &&
        ftruncate(log->descriptor, info.st_size - (off_t)part) == 0)
        return;
    if (write(log->descriptor, "\n", 1) != 1)
        return; /* no room for that either: the next line stands behind the part */
}

static size_t bytes_write(const struct access_log *log, const char *data, size_t bytes)
{
    size_t done = 0;

    while (done < bytes) {
        size_t piece = piece_bytes(log, bytes - done);
        ssize_t written = piece > 0 ? write(log->descriptor, data + done, piece) : 0;

        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            break;
        done += (size_t)written;
    }
    return done;
}

static void lines_flush(struct access_log *log)
{
    struct buffer *lines = &log->lines;
    size_t done = bytes_write(log, lines->data, lines->bytes), part = 0;

    if (done < lines->bytes) {
        while (part < done && lines->data[done - part - 1] != '\n')
            part++;
        part_take_back(log, part);
        log->lost_count += lines_count(lines->data + done, lines->bytes - done);
    }
    buffer_clear(lines);
}

void access_log_add(access_log *log, const struct request_record *record)
{
    if (log->lines.bytes + LINE_BYTES_MAX > BUFFER_BYTES_MAX)
        lines_flush(log);
    line_write(&log->lines, record);
    if (log->lines.failed == STATUS_OK)
        return;
    log->lost_count += lines_count(log->lines.data, log->lines.bytes) + 1; /* no memory */
    buffer_clear(&log->lines);
}

bool access_log_flush(access_log *log, uint64_t *lost)
{
    bool has_lines = log->lines.bytes > 0;

    if (has_lines)
        lines_flush(log);
    *lost = log->lost_count;
    log->lost_count = 0;
    return has_lines;
}

/* --- life --- */

/* A machine that went down may have left a part of a line: it is ended, so that the next one is whole. */
static void part_end(const char *target, int descriptor, off_t bytes)
{
    int reader = open(target, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    char last = '\n';

    if (reader < 0)
        return; /* it may be written and not read */
    if (pread(reader, &last, 1, bytes - 1) != 1)
        last = '\n';
    (void)close(reader);
    if (last != '\n' && write(descriptor, "\n", 1) != 1)
        return; /* no room: the next line stands behind the part */
}

static int target_open(const char *target, bool *is_file, struct error_note *note)
{
    /* O_NONBLOCK: a FIFO without a reader, and one whose reader sleeps, must not hold up the writer thread. */
    int descriptor =
        open(target, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
    struct stat info;

    if (descriptor < 0 || fstat(descriptor, &info) != 0) {
        error_note_set(note, "records.access_log %s cannot be opened: %s", target, strerror(errno));
        if (descriptor >= 0)
            (void)close(descriptor);
        return -1;
    }
    *is_file = S_ISREG(info.st_mode);
    if (*is_file && info.st_size > 0)
        part_end(target, descriptor, info.st_size);
    return descriptor;
}

status access_log_open(const char *target, access_log **out, struct error_note *note)
{
    access_log *log = memory_allocate_array(1, sizeof(*log));

    if (log == NULL)
        return STATUS_NO_MEMORY;
    log->target = target;
    log->is_stdout = strcmp(target, "stdout") == 0;
    buffer_init(&log->lines, BUFFER_BYTES_MAX);
    if (log->is_stdout) {
        log->descriptor = STDOUT_FILENO; /* never taken for a file: others may write to it too */
    } else {
        log->descriptor = target_open(target, &log->is_file, note);
    }
    if (log->descriptor < 0) {
        memory_release(log);
        return STATUS_IO;
    }
    *out = log;
    return STATUS_OK;
}

status access_log_reopen(access_log *log, struct error_note *note)
{
    int descriptor;
    bool is_file;

    if (log->is_stdout)
        return STATUS_OK;
    descriptor = target_open(log->target, &is_file, note);
    if (descriptor < 0)
        return STATUS_IO;
    (void)close(log->descriptor);
    log->descriptor = descriptor;
    log->is_file = is_file;
    return STATUS_OK;
}

void access_log_close(access_log *log)
{
    if (log == NULL)
        return;
    if (!log->is_stdout)
        (void)close(log->descriptor);
    buffer_deinit(&log->lines);
    memory_release(log);
}
