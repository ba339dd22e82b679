/* One file: from what an earlier attempt has left to a whole one under its name.
 *
 *   name.part      what has come so far, always a prefix of the file; locked while a process writes it
 *   name.part.tag  the ETag that it came with, so that the rest is asked for only of the same file (If-Range)
 *
 * The hash goes along with the bytes, so a file is read again only when an earlier attempt's part is gone on with. A part without a tag is gone
 * on with only where a hash is known: that tells in the end whether both halves belong together. */
#include "pull_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "file_digest.h"
#include "http_download.h"
#include "pull_place.h"
#include "pull_progress.h"

#define ATTEMPTS_MAX 6u                /* in a row that brought nothing */
#define PAUSE_NS     (200 * NS_PER_MS) /* before the second; each one after waits twice as long */
#define IDLE_NS      (60 * NS_PER_SECOND)
#define FILE_MODE    0644

struct fetch {
    const struct pull_file *file;
    struct pull_place place;
    int part; /* descriptor; owned */
    file_digest *digest;
    uint64_t done;                     /* bytes in the part, and in the digest */
    char tag[HTTP_DOWNLOAD_TAG_BYTES]; /* "": none */
    uint64_t total;                    /* as the server or the order says; UINT64_MAX: not known */
    struct pull_progress progress;
    status failed; /* of a callback */
    struct error_note *note;
};

static bool fail(struct fetch *fetch, status why)
{
    fetch->failed = why;
    return false;
}

static bool has_hash(const struct pull_file *file)
{
    return file->sha256[0] != '\0' || file->git_oid[0] != '\0';
}

static bool forget_part(struct fetch *fetch)
{
    fetch->done = 0;
    fetch->tag[0] = '\0';
    pull_place_tag_write(&fetch->place, "");
    if (ftruncate(fetch->part, 0) == 0 && file_digest_restart(fetch->digest))
        return true;
    error_note_set(fetch->note, "its part cannot be emptied: %s", strerrordesc_np(errno));
    return fail(fetch, STATUS_IO);
}

static bool has_room(struct fetch *fetch)
{
    struct statvfs disk;
    uint64_t wanted = fetch->total - fetch->done;

    if (fetch->total == UINT64_MAX || fstatvfs(fetch->part, &disk) != 0 ||
        (uint64_t)disk.f_bavail * disk.f_frsize >= wanted)
        return true;
    error_note_set(fetch->note, "needs %llu bytes more, and the disk has %llu",
                   (unsigned long long)wanted, (unsigned long long)disk.f_bavail * disk.f_frsize);
    return fail(fetch, STATUS_FULL);
}

static bool on_head(void *context, const struct http_download_head *head)
{
    struct fetch *fetch = context;

    if (head->code == 200 && fetch->done > 0 && !forget_part(fetch))
        return false;
    if (head->code == 206 && head->begin != fetch->done) {
        error_note_set(fetch->note,
                       "the server sends another part of the file than it was asked for");
        return fail(fetch, STATUS_INVALID);
    }
    if (head->total_bytes != UINT64_MAX && fetch->file->bytes != UINT64_MAX &&
        head->total_bytes != fetch->file->bytes) {
        error_note_set(fetch->note, "has %llu bytes, and should have %llu",
                       (unsigned long long)head->total_bytes,
                       (unsigned long long)fetch->file->bytes);
        return fail(fetch, STATUS_INVALID);
    }
    if (head->total_bytes != UINT64_MAX)
        fetch->total = head->total_bytes;
    if (strcmp(fetch->tag, head->tag) != 0) {
        memcpy(fetch->tag, head->tag, sizeof(fetch->tag));
        pull_place_tag_write(&fetch->place, fetch->tag);
    }
    return has_room(fetch);
}

static bool on_bytes(void *context, const void *data, size_t bytes)
{
    struct fetch *fetch = context;
    const char *at = data;
    uint64_t bytes_max = fetch->file->bytes != UINT64_MAX ? fetch->file->bytes : FILE_BYTES_MAX;

    if (bytes > bytes_max - fetch->done) {
        error_note_set(fetch->note, "is longer than %llu bytes", (unsigned long long)bytes_max);
        return fail(fetch, STATUS_TOO_LARGE);
    }
    while (bytes > 0) {
        ssize_t written = pwrite(fetch->part, at, bytes, (off_t)fetch->done);

        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0 || !file_digest_add(fetch->digest, at, (size_t)written)) {
            error_note_set(fetch->note, "cannot be written: %s", strerrordesc_np(errno));
            return fail(fetch, errno == ENOSPC ? STATUS_FULL : STATUS_IO);
        }
        at += written;
        bytes -= (size_t)written;
        fetch->done += (uint64_t)written;
    }
    pull_progress_show(&fetch->progress, fetch->done, fetch->total);
    return true;
}

/* What an answer's code means; STATUS_AGAIN: worth another attempt. */
static status code_read(struct fetch *fetch, int code, const struct buffer *refusal)
{
    if (code == 200 || code == 206)
        return STATUS_OK;
    if (code == 416) /* the part is longer than the file, or as long */
        return forget_part(fetch) ? STATUS_AGAIN : fetch->failed;
    error_note_set(
        fetch->note, "the server answers %d%s%.*s", code,
        code == 401 || code == 403
            ? " (it wants a token that may read this: --token-file or HF_TOKEN)"
            : "",
        refusal->bytes > 0 && code >= 500 ? (int)(refusal->bytes < 200 ? refusal->bytes : 200) : 0,
        refusal->data != NULL ? refusal->data : "");
    if (code == 401 || code == 403)
        return STATUS_DENIED;
    if (code == 404 || code == 410)
        return STATUS_NOT_FOUND;
    return code == 408 || code == 429 || code >= 500 ? STATUS_AGAIN : STATUS_INVALID;
}

static status attempt(struct fetch *fetch)
{
    struct http_download download = {.url = fetch->file->url,
                                     .bearer = fetch->file->token,
                                     .offset = fetch->done,
                                     .if_range = fetch->tag,
                                     .idle_ns = IDLE_NS,
                                     .on_head = on_head,
                                     .on_bytes = on_bytes,
                                     .context = fetch};
    struct http_download_head head;
    struct buffer refusal;
    status result;

    buffer_init(&refusal, 4096);
    fetch->failed = STATUS_OK;
    result = http_download(&download, &head, &refusal, fetch->note);
    if (fetch->failed != STATUS_OK)
        result = fetch->failed;
    else if (result == STATUS_OK)
        result = code_read(fetch, head.code, &refusal);
    else if (result == STATUS_CLOSED || result == STATUS_TIMEOUT)
        result = STATUS_AGAIN;
    buffer_deinit(&refusal);
    return result;
}

static void pause_before(unsigned attempts)
{
    uint64_t ns = PAUSE_NS << attempts;
    struct timespec time = {.tv_sec = (time_t)(ns / NS_PER_SECOND),
                            .tv_nsec = (long)(ns % NS_PER_SECOND)};

    (void)nanosleep(&time, NULL);
}

/* Attempts until the file is whole, or several in a row have brought nothing. */
static status fetch_all(struct fetch *fetch)
{
    status result = STATUS_AGAIN;

    if (fetch->file->bytes != UINT64_MAX && fetch->done == fetch->file->bytes && fetch->done > 0)
        return STATUS_OK;
    for (unsigned attempts = 0; attempts < ATTEMPTS_MAX; attempts++) {
        uint64_t before = fetch->done;

        result = attempt(fetch);
        if (result != STATUS_AGAIN)
            return result;
        if (fetch->done > before)
            attempts = 0;
        if (fetch->tag[0] == '\0' && !has_hash(fetch->file) && fetch->done > 0 &&
            !forget_part(fetch))
            return fetch->failed;
        if (attempts + 1 < ATTEMPTS_MAX)
            pause_before(attempts);
    }
    error_note_prefix(fetch->note, "gave up after %u attempts, what has come is kept",
                      ATTEMPTS_MAX);
    return STATUS_CLOSED;
}

/* Finds what an earlier attempt has left. */
static status part_open(struct fetch *fetch)
{
    struct stat facts;

    fetch->part = openat(fetch->place.folder, fetch->place.part,
                         O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, FILE_MODE);
    if (fetch->part < 0 || fstat(fetch->part, &facts) != 0 || !S_ISREG(facts.st_mode)) {
        error_note_set(fetch->note, "%s cannot be opened: %s", fetch->place.part,
                       strerrordesc_np(errno));
        return STATUS_IO;
    }
    if (flock(fetch->part, LOCK_EX | LOCK_NB) != 0) {
        error_note_set(fetch->note, "another process fetches it");
        return STATUS_IO;
    }
    pull_place_tag_read(&fetch->place, fetch->tag, sizeof(fetch->tag));
    fetch->done = (uint64_t)facts.st_size;
    if (fetch->done > 0 &&
        ((fetch->tag[0] == '\0' && !has_hash(fetch->file)) || fetch->done > fetch->file->bytes))
        return forget_part(fetch) ? STATUS_OK : fetch->failed;
    if (file_digest_read(fetch->digest, fetch->part, fetch->done))
        return STATUS_OK;
    error_note_set(fetch->note, "%s cannot be read", fetch->place.part);
    return STATUS_IO;
}

static status whole_check(struct fetch *fetch)
{
    char hex[SHA256_HEX_BYTES + 1];

    if (fetch->total != UINT64_MAX && fetch->done != fetch->total) {
        error_note_set(fetch->note, "has %llu bytes, and should have %llu",
                       (unsigned long long)fetch->done, (unsigned long long)fetch->total);
        return STATUS_INVALID;
    }
    if (file_digest_is_right(fetch->digest, hex))
        return STATUS_OK;
    error_note_set(fetch->note, "its hash is %s, and should be %s: what came was thrown away", hex,
                   fetch->file->sha256[0] != '\0' ? fetch->file->sha256 : fetch->file->git_oid);
    (void)unlinkat(fetch->place.folder, fetch->place.part, 0);
    pull_place_tag_write(&fetch->place, "");
    return STATUS_INVALID;
}

/* STATUS_OK: it is there, and right. STATUS_NOT_FOUND: it must be fetched. */
static status look_there(struct fetch *fetch)
{
    const struct pull_file *file = fetch->file;
    int descriptor =
        openat(fetch->place.folder, fetch->place.name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    char hex[SHA256_HEX_BYTES + 1];
    struct stat facts;
    bool is_right;

    if (descriptor < 0 && errno == ENOENT)
        return STATUS_NOT_FOUND;
    if (descriptor < 0 || fstat(descriptor, &facts) != 0 || !S_ISREG(facts.st_mode) ||
        !has_hash(file)) {
        if (descriptor >= 0)
            close(descriptor);
        error_note_set(fetch->note, "is there already; remove it to fetch it again");
        return STATUS_INVALID;
    }
    is_right = (file->bytes == UINT64_MAX || (uint64_t)facts.st_size == file->bytes) &&
               file_digest_read(fetch->digest, descriptor, (uint64_t)facts.st_size) &&
               file_digest_is_right(fetch->digest, hex);
    close(descriptor);
    fetch->progress.done_bytes = (uint64_t)facts.st_size;
    return is_right ? STATUS_OK : STATUS_NOT_FOUND;
}

static status fetch_file(struct fetch *fetch)
{
    status result = look_there(fetch);

    if (result == STATUS_OK)
        pull_progress_end(&fetch->progress, "is there already");
    if (result != STATUS_NOT_FOUND)
        return result;
    result = part_open(fetch);
    if (result == STATUS_OK)
        result = fetch_all(fetch);
    if (result == STATUS_OK)
        result = whole_check(fetch);
    if (result == STATUS_OK)
        result = pull_place_finish(&fetch->place, fetch->part, fetch->note);
    fetch->progress.done_bytes = fetch->done;
    if (result == STATUS_OK)
        pull_progress_end(&fetch->progress,
                          has_hash(fetch->file) ? "done, its hash is right" : "done");
    else
        pull_progress_break(&fetch->progress);
    if (fetch->part >= 0)
        close(fetch->part);
    return result;
}

status pull_file(const struct pull_file *file, struct error_note *note)
{
    struct fetch fetch = {.file = file, .part = -1, .total = file->bytes, .note = note};
    status result = pull_place_open(file->folder, file->path, &fetch.place, note);

    if (result == STATUS_OK) {
        fetch.digest = file_digest_create(file);
        pull_progress_begin(&fetch.progress, file->path, file->is_quiet);
        result = fetch.digest != NULL ? fetch_file(&fetch) : STATUS_NO_MEMORY;
        file_digest_destroy(fetch.digest);
        pull_place_close(&fetch.place);
    }
    if (result != STATUS_OK)
        error_note_prefix(note, "%s", file->path);
    return result;
}
