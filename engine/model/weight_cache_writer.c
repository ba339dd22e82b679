/* Writing a weight cache.
 *
 * Bytes go to "<path>.new", which becomes <path> by rename after everything is on the disk: nobody
 * ever sees half a file under the real name. The file itself is the lock: its writer holds an
 * exclusive flock on it, which the kernel drops when the process dies in whatever way, so that a
 * killed writer leaves nothing but a file that the next one takes over. A second process waits for
 * the lock; when it gets it on a file that is no longer "<path>.new", the first one has finished.
 *
 *   staging [pieces of 2 MiB] -> pwrite -> "<path>.new" -> fsync -> rename -> fsync of the folder
 *
 * Pieces of 2 MiB at multiples of 2 MiB, because file systems with large pages keep what is written
 * in pieces as large as the write: it can then be mapped with huge pages without being read again. */

#include "weight_cache_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "buffer.h"
#include "check.h"
#include "hash.h"
#include "memory.h"

#define PIECE_BYTES ((size_t)2 << 20)
/* The checksums of 32 TB. */
#define TABLE_BYTES_MAX ((size_t)1 << 30)
#define STAGING_BYTES   (PIECE_BYTES + WEIGHT_CACHE_CHUNK_BYTES + WEIGHT_CACHE_ALIGNMENT)

struct weight_cache_writer {
    struct weight_cache_header header;
    char path[PATH_MAX], new_path[PATH_MAX];
    int descriptor;   /* of new_path, locked */
    uint8_t *staging; /* owned; [STAGING_BYTES] */
    size_t staged;
    uint64_t written;        /* file offset of staging */
    struct buffer entries;   /* of struct weight_cache_entry */
    struct buffer checksums; /* of uint64_t */
};

static status refuse_errno(const weight_cache_writer *writer, const char *what,
                           struct error_note *note)
{
    char text[128];
    error_note_set(note, "%s: cannot %s: %s", writer->new_path, what,
                   strerror_r(errno, text, sizeof text));
    return STATUS_IO;
}

static status refuse_memory(const weight_cache_writer *writer, struct error_note *note)
{
    error_note_set(note, "%s: no memory to write it", writer->path);
    return STATUS_NO_MEMORY;
}

/* --- open --- */

/* Is the open file still the one under its name? */
static bool is_in_place(const weight_cache_writer *writer)
{
    struct stat mine, there;
    return fstat(writer->descriptor, &mine) == 0 && stat(writer->new_path, &there) == 0 &&
           mine.st_ino == there.st_ino && mine.st_dev == there.st_dev;
}

static bool lock(const weight_cache_writer *writer, bool *has_waited)
{
    if (flock(writer->descriptor, LOCK_EX | LOCK_NB) == 0)
        return true;
    if (errno != EWOULDBLOCK)
        return false;
    *has_waited = true;
    while (flock(writer->descriptor, LOCK_EX) != 0)
        if (errno != EINTR)
            return false;
    return true;
}

/* Each turn but the last means that another process has finished or given up. */
static status take_file(weight_cache_writer *writer, bool *has_waited, struct error_note *note)
{
    for (;;) {
        /* For the owner only, as model files may be. No link: it could lead anywhere. */
        writer->descriptor =
            open(writer->new_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
        if (writer->descriptor < 0)
            return refuse_errno(writer, "make it", note);
        if (!lock(writer, has_waited))
            return refuse_errno(writer, "lock it", note);
        if (is_in_place(writer))
            break;
        *has_waited = true;
        close(writer->descriptor);
        writer->descriptor = -1;
    }
    if (ftruncate(writer->descriptor, 0) != 0)
        return refuse_errno(writer, "empty it", note);
    return STATUS_OK;
}

status weight_cache_writer_open(const char *path, const struct weight_cache_key *key,
                                weight_cache_writer **out, bool *has_waited,
                                struct error_note *note)
{
    weight_cache_writer *writer = memory_allocate_array(1, sizeof *writer);
    if (writer == NULL) {
        error_note_set(note, "%s: no memory to write it", path);
        return STATUS_NO_MEMORY;
    }
    writer->descriptor = -1;
    writer->header.key = *key;
    writer->written = WEIGHT_CACHE_DATA_OFFSET;
    buffer_init(&writer->entries, TABLE_BYTES_MAX);
    buffer_init(&writer->checksums, TABLE_BYTES_MAX);
    *has_waited = false;
    status s = STATUS_OK;
    if (snprintf(writer->path, sizeof writer->path, "%s", path) >= PATH_MAX - 8) {
        error_note_set(note, "%s: the name is too long", path);
        s = STATUS_IO;
    }
    if (s == STATUS_OK) {
        (void)snprintf(writer->new_path, sizeof writer->new_path, "%.*s.new", PATH_MAX - 8, path);
        writer->staging = memory_allocate_aligned(WEIGHT_CACHE_ALIGNMENT, STAGING_BYTES);
        s = writer->staging != NULL ? take_file(writer, has_waited, note)
                                    : refuse_memory(writer, note);
    }
    if (s != STATUS_OK) {
        /* A file that could not be locked or emptied is not ours to remove. */
        if (writer->descriptor >= 0)
            close(writer->descriptor);
        writer->descriptor = -1;
        weight_cache_writer_abandon(writer);
        return s;
    }
    *out = writer;
    return STATUS_OK;
}

static void writer_free(weight_cache_writer *writer)
{
    if (writer->descriptor >= 0)
        close(writer->descriptor);
    memory_release(writer->staging);
    buffer_deinit(&writer->entries);
    buffer_deinit(&writer->checksums);
    memory_release(writer);
}

void weight_cache_writer_abandon(weight_cache_writer *writer)
{
    if (writer == NULL)
        return;
    if (writer->descriptor >= 0)
        (void)unlink(writer->new_path); /* while it is locked, so it is ours */
    writer_free(writer);
}

/* --- append --- */

static status write_at(const weight_cache_writer *writer, const void *data, size_t bytes,
                       uint64_t offset, struct error_note *note)
{
    const uint8_t *at = data;
    while (bytes > 0) {
        ssize_t done = pwrite(writer->descriptor, at, bytes, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0) {
            errno = done < 0 ? errno : EIO;
            return refuse_errno(writer, "write to it", note);
        }
        at += done;
        offset += (uint64_t)done;
        bytes -= (size_t)done;
    }
    return STATUS_OK;
}

/* Writes the staged bytes: whole pieces, or all of them. */
static status flush(weight_cache_writer *writer, bool is_end, struct error_note *note)
{
    while (writer->staged >= PIECE_BYTES || (is_end && writer->staged > 0)) {
        size_t bytes = writer->staged < PIECE_BYTES ? writer->staged : PIECE_BYTES;
        status s = write_at(writer, writer->staging, bytes, writer->written, note);
        if (s != STATUS_OK)
            return s;
        memmove(writer->staging, writer->staging + bytes, writer->staged - bytes);
        writer->staged -= bytes;
        writer->written += bytes;
    }
    return STATUS_OK;
}

status weight_cache_writer_append(weight_cache_writer *writer, backend *b, const weight *w,
                                  const struct weight_image *image, struct error_note *note)
{
    uint64_t bytes = b->operations->weight_bytes(w);
    const struct weight_cache_entry entry = {
        .offset = writer->written + writer->staged,
        .bytes = bytes,
        .sources_checksum = weight_cache_sources_checksum(image),
        .first_chunk = writer->header.chunk_count,
    };
    buffer_append(&writer->entries, &entry, sizeof entry);
    writer->header.weight_count++;
    status s = STATUS_OK;
    for (uint64_t first = 0; first < bytes && s == STATUS_OK; first += WEIGHT_CACHE_CHUNK_BYTES) {
        uint64_t left = bytes - first;
        uint64_t count = left < WEIGHT_CACHE_CHUNK_BYTES ? left : WEIGHT_CACHE_CHUNK_BYTES;
        uint8_t *to = writer->staging + writer->staged;
        b->operations->weight_save(b, w, first, count, to);
        uint64_t checksum = checksum64(to, count);
        buffer_append(&writer->checksums, &checksum, sizeof checksum);
        writer->header.chunk_count++;
        writer->staged += count;
        s = flush(writer, false, note);
    }
    size_t padding =
        (WEIGHT_CACHE_ALIGNMENT - writer->staged % WEIGHT_CACHE_ALIGNMENT) % WEIGHT_CACHE_ALIGNMENT;
    memset(writer->staging + writer->staged, 0, padding);
    writer->staged += padding;
    return s == STATUS_OK ? flush(writer, false, note) : s;
}

/* --- finish --- */

static status write_table(weight_cache_writer *writer, struct error_note *note)
{
    struct weight_cache_header *header = &writer->header;
    buffer_append(&writer->entries, writer->checksums.data, writer->checksums.bytes);
    if (writer->checksums.failed != STATUS_OK || writer->entries.failed != STATUS_OK)
        return refuse_memory(writer, note);
    const void *table = writer->entries.data;
    size_t table_bytes = writer->entries.bytes;
    header->table_offset = writer->written;
    header->table_checksum = checksum64(table, table_bytes);
    header->file_bytes = writer->written + table_bytes;
    return write_at(writer, table, table_bytes, writer->written, note);
}

static status write_header(weight_cache_writer *writer, struct error_note *note)
{
    struct weight_cache_header *header = &writer->header;
    memcpy(header->magic, WEIGHT_CACHE_MAGIC, sizeof header->magic);
    header->format = WEIGHT_CACHE_FORMAT;
    header->header_bytes = sizeof *header;
    weight_cache_header_seal(header);
    return write_at(writer, header, sizeof *header, 0, note);
}

/* The rename itself must outlast a power cut only for speed's sake: without it the next start
 * writes the cache again. */
static void sync_folder(const weight_cache_writer *writer)
{
    char folder[PATH_MAX];
    (void)snprintf(folder, sizeof folder, "%s", writer->path);
    char *slash = strrchr(folder, '/');
    if (slash != NULL)
        slash[1] = '\0';
    int descriptor = open(slash != NULL ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0)
        return;
    (void)fsync(descriptor);
    close(descriptor);
}

status weight_cache_writer_finish(weight_cache_writer *writer, struct error_note *note)
{
    CHECK(writer->header.weight_count > 0);
    status s = flush(writer, true, note);
    if (s == STATUS_OK)
        s = write_table(writer, note);
    if (s == STATUS_OK)
        s = write_header(writer, note);
    if (s == STATUS_OK && fsync(writer->descriptor) != 0)
        s = refuse_errno(writer, "put it on the disk", note);
    if (s == STATUS_OK && rename(writer->new_path, writer->path) != 0)
        s = refuse_errno(writer, "rename it", note);
    if (s != STATUS_OK) {
        weight_cache_writer_abandon(writer);
        return s;
    }
    sync_folder(writer);
    writer_free(writer);
    return STATUS_OK;
}
