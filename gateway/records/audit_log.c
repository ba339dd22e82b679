/* Appending to the chain
 *
 *   lock the file -> where does it end? -> as the database says? -> write the line -> fsync -> the database's head -> unlock
 *
 * A line counts only when both are on the disk: when anything fails, the file is cut back to where it ended before. Only a
 * crash between the two leaves the file a line ahead of the head, which is no damage: the line is whole and in the chain. A
 * line that a crash has cut in two was never told to anybody as written; it is removed before the next. */
#include "audit_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit_head.h"
#include "audit_line.h"
#include "memory.h"

struct audit_log {
    char *path;               /* owned */
    state_database *database; /* borrowed; NULL: none */
    int descriptor;
    off_t size;             /* up to which `last` is known; -1: not at all */
    struct audit_link last; /* of the file */
    struct buffer line;
};

/* --- where the file ends --- */

/* The whole lines at the end of the file; what stands behind them is cut off. */
static status tail_read(struct audit_log *log, off_t size, struct error_note *note)
{
    char tail[2 * AUDIT_LINE_BYTES_MAX], previous[AUDIT_HASH_DIGITS + 1];
    size_t bytes = size < (off_t)sizeof(tail) ? (size_t)size : sizeof(tail), end, begin;

    if (pread(log->descriptor, tail, bytes, size - (off_t)bytes) != (ssize_t)bytes) {
        error_note_set(note, "%s cannot be read: %s", log->path, strerror(errno));
        return STATUS_IO;
    }
    for (end = bytes; end > 0 && tail[end - 1] != '\n'; end--)
        ;
    for (begin = end > 0 ? end - 1 : 0; begin > 0 && tail[begin - 1] != '\n'; begin--)
        ;
    if (end < bytes && ftruncate(log->descriptor, size - (off_t)(bytes - end)) != 0) {
        error_note_set(note, "%s ends in a part of a line that cannot be removed: %s", log->path,
                       strerror(errno));
        return STATUS_IO;
    }
    audit_link_first(&log->last);
    if (end > 0 && !audit_line_read((struct text_slice){tail + begin, end - 1 - begin}, &log->last,
                                    previous)) {
        error_note_set(note,
                       "the last line of %s is not as it was written; see penstock audit verify",
                       log->path);
        return STATUS_INVALID;
    }
    log->size = size - (off_t)(bytes - end);
    return STATUS_OK;
}

/* Whoever moves the file away gets a new one, which the head then refuses. */
static status file_open(struct audit_log *log, struct error_note *note)
{
    struct stat there, here;

    if (log->descriptor >= 0 && stat(log->path, &there) == 0 &&
        fstat(log->descriptor, &here) == 0 && there.st_ino == here.st_ino &&
        there.st_dev == here.st_dev)
        return STATUS_OK;
    if (log->descriptor >= 0)
        (void)close(log->descriptor);
    log->size = -1;
    log->descriptor = open(log->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600);
    if (log->descriptor >= 0)
        return STATUS_OK;
    error_note_set(note, "records.audit_log %s cannot be opened: %s", log->path, strerror(errno));
    return STATUS_IO;
}

static status end_find(struct audit_log *log, struct error_note *note)
{
    struct audit_link head;
    struct stat info;
    status result = STATUS_OK;

    if (fstat(log->descriptor, &info) != 0) {
        error_note_set(note, "%s: %s", log->path, strerror(errno));
        return STATUS_IO;
    }
    if (info.st_size != log->size)
        result = tail_read(log, info.st_size, note);
    if (result != STATUS_OK || log->database == NULL)
        return result;
    result = audit_head_read(log->database, log->path, &head, note);
    if (result != STATUS_OK)
        return result;
    if (head.seq < log->last.seq ||
        (head.seq == log->last.seq && strcmp(head.hash, log->last.hash) == 0))
        return STATUS_OK;
    error_note_set(note,
                   "%s ends at line %llu, but line %llu has been written: it has been cut or "
                   "replaced; keep it for whoever looks into that, and give records.audit_log a "
                   "new path",
                   log->path, (unsigned long long)log->last.seq, (unsigned long long)head.seq);
    return STATUS_INVALID;
}

/* --- one line --- */

static status line_append(struct audit_log *log, struct error_note *note)
{
    const struct buffer *line = &log->line;
    ssize_t written = write(log->descriptor, line->data, line->bytes);

    if (written == (ssize_t)line->bytes && fsync(log->descriptor) == 0)
        return STATUS_OK;
    error_note_set(note, "%s cannot be written: %s", log->path,
                   written >= 0 && written < (ssize_t)line->bytes ? "no room" : strerror(errno));
    return STATUS_IO;
}

static status event_append(struct audit_log *log, const struct audit_event *event, uint64_t wall_ms,
                           struct error_note *note)
{
    struct audit_link link;
    status result = end_find(log, note);

    if (result != STATUS_OK)
        return result;
    link = log->last;
    buffer_clear(&log->line);
    audit_line_write(&log->line, event, wall_ms, &link);
    if (log->line.failed != STATUS_OK)
        return log->line.failed;
    result = line_append(log, note);
    if (result == STATUS_OK && log->database != NULL)
        result = audit_head_write(log->database, log->path, &link, note);
    if (result == STATUS_OK) {
        log->last = link;
        log->size += (off_t)log->line.bytes;
    } else if (ftruncate(log->descriptor, log->size) != 0) {
        log->size = -1; /* it is read again before the next */
    }
    return result;
}

status audit_log_append(audit_log *log, const struct audit_event *event, uint64_t wall_ms,
                        struct error_note *note)
{
    status result = file_open(log, note);

    if (result != STATUS_OK)
        return result;
    if (flock(log->descriptor, LOCK_EX) != 0) {
        error_note_set(note, "%s cannot be locked: %s", log->path, strerror(errno));
        return STATUS_IO;
    }
    result = event_append(log, event, wall_ms, note);
    (void)flock(log->descriptor, LOCK_UN);
    return result;
}

/* --- life --- */

status audit_log_open(const char *path, state_database *database, audit_log **out,
                      struct error_note *note)
{
    audit_log *log = memory_allocate_array(1, sizeof(*log));
    size_t bytes = strlen(path) + 1;
    status result;

    if (log == NULL)
        return STATUS_NO_MEMORY;
    log->database = database;
    log->descriptor = -1;
    buffer_init(&log->line, AUDIT_WRITE_BYTES_MAX);
    log->path = memory_allocate(bytes);
    if (log->path == NULL) {
        audit_log_close(log);
        return STATUS_NO_MEMORY;
    }
    memcpy(log->path, path, bytes);
    result = file_open(log, note);
    if (result != STATUS_OK) {
        audit_log_close(log);
        return result;
    }
    *out = log;
    return STATUS_OK;
}

void audit_log_close(audit_log *log)
{
    if (log == NULL)
        return;
    if (log->descriptor >= 0)
        (void)close(log->descriptor);
    buffer_deinit(&log->line);
    memory_release(log->path);
    memory_release(log);
}
