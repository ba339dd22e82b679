/* Opening a GGUF file.
 *
 *   byte 0   "GGUF", version (u32), tensor count (u64), key count (u64)
 *   byte 24  keys and values, one after the other, no padding      gguf_metadata.c
 *            tensor descriptions, one after the other              gguf_tensors.c
 *            padding to general.alignment, then the tensors' data
 *
 * The file is mapped, never read: the metadata answers out of the mapping, weights are repacked
 * straight from it (once: weight_file.c), and several replicas on one machine share its pages. The price is that a file
 * which shrinks while it is open ends the process with SIGBUS; a replica is a child process that
 * its manager starts again, so that is bearable, and replacing a model file by rename (as every
 * download tool does) keeps the old mapping whole.
 *
 * Checks come before uses: counts against the bytes that are left, so that a hostile count costs
 * nothing; lengths against named limits; then offsets, alignment and overlaps of the tensors
 * against the data section. */

#include "gguf.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "gguf_internal.h"
#include "memory.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "GGUF v3 is read in place, which needs a little-endian machine"
#endif

#define VERSION         3u
#define VERSION_SWAPPED 0x03000000u
/* The largest models published have about 1,200 tensors (merged experts) or 94,000 (one tensor an
 * expert), and some dozens of keys. */
#define TENSOR_COUNT_MAX (UINT64_C(1) << 18)
#define KEY_COUNT_MAX    (UINT64_C(1) << 16)
/* Tensors are read in place as floats and as 64-bit words. */
#define MEMORY_ALIGNMENT 8u

static status check_version(uint32_t version, struct error_note *note)
{
    if (version == VERSION)
        return STATUS_OK;
    if (version == VERSION_SWAPPED) {
        error_note_set(note, "byte 4: a big-endian GGUF file; convert it to little-endian");
        return STATUS_UNSUPPORTED;
    }
    error_note_set(note, "byte 4: GGUF version %" PRIu32 "; only version %u is supported", version,
                   VERSION);
    return STATUS_UNSUPPORTED;
}

static status take_count(struct gguf_cursor *cursor, const char *what, uint64_t count_max,
                         uint64_t *out)
{
    uint64_t start = cursor->offset;
    status s = gguf_take_u64(cursor, what, out);
    if (s == STATUS_OK && *out > count_max) {
        error_note_set(cursor->note, "byte %" PRIu64 ": a %s of %" PRIu64 "; the limit is %" PRIu64,
                       start, what, *out, count_max);
        s = STATUS_TOO_LARGE;
    }
    return s;
}

static status read_file(struct gguf *file, struct error_note *note)
{
    struct gguf_cursor cursor = {.data = file->data, .bytes = file->bytes, .note = note};
    if (file->bytes < 4 || memcmp(file->data, "GGUF", 4) != 0) {
        error_note_set(note, "byte 0: not a GGUF file (it does not begin with \"GGUF\")");
        return STATUS_INVALID;
    }
    cursor.offset = 4;
    uint32_t version;
    uint64_t tensor_count, key_count;
    status s = gguf_take_u32(&cursor, "version", &version);
    if (s == STATUS_OK)
        s = check_version(version, note);
    if (s == STATUS_OK)
        s = take_count(&cursor, "tensor count", TENSOR_COUNT_MAX, &tensor_count);
    if (s == STATUS_OK)
        s = take_count(&cursor, "key count", KEY_COUNT_MAX, &key_count);
    if (s == STATUS_OK)
        s = gguf_read_metadata(file, &cursor, key_count);
    if (s == STATUS_OK)
        s = gguf_read_tensors(file, &cursor, tensor_count);
    if (s == STATUS_NO_MEMORY)
        error_note_set(note, "no memory for the tables of a GGUF file");
    return s;
}

/* Reads the file that `data` is. */
static status open_bytes(const void *data, uint64_t bytes, gguf **out, struct error_note *note)
{
    struct gguf *file = memory_allocate_array(1, sizeof *file);
    if (file == NULL) {
        error_note_set(note, "no memory for the tables of a GGUF file");
        return STATUS_NO_MEMORY;
    }
    file->data = data;
    file->bytes = bytes;
    status s = read_file(file, note);
    if (s != STATUS_OK) {
        gguf_close(file);
        return s;
    }
    *out = file;
    return STATUS_OK;
}

status gguf_open_memory(const void *data, uint64_t bytes, gguf **out, struct error_note *note)
{
    CHECK((uintptr_t)data % MEMORY_ALIGNMENT == 0);
    return open_bytes(data, bytes, out, note);
}

static status note_errno(const char *path, const char *what, struct error_note *note)
{
    int error = errno;
    char text[128];
    error_note_set(note, "%s: cannot %s: %s", path, what, strerror_r(error, text, sizeof text));
    errno = error;
    return error == ENOENT ? STATUS_NOT_FOUND : STATUS_IO;
}

/* Maps the file open at `descriptor`. */
static status map_descriptor(int descriptor, const char *path, void **data, struct stat *out,
                             struct error_note *note)
{
    struct stat info;
    if (fstat(descriptor, &info) != 0)
        return note_errno(path, "read its size", note);
    if (!S_ISREG(info.st_mode) || info.st_size == 0) {
        error_note_set(note, "%s: %s", path,
                       S_ISREG(info.st_mode) ? "the file is empty" : "not a regular file");
        return STATUS_INVALID;
    }
    void *mapping = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, descriptor, 0);
    if (mapping == MAP_FAILED)
        return note_errno(path, "map it", note);
    *data = mapping;
    *out = info;
    return STATUS_OK;
}

status gguf_open(const char *path, gguf **out, struct error_note *note)
{
    int descriptor =
        open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a named pipe must not hang us */
    if (descriptor < 0)
        return note_errno(path, "open it", note);
    void *data;
    struct stat info;
    status s = map_descriptor(descriptor, path, &data, &info, note);
    close(descriptor); /* the mapping keeps the file */
    if (s != STATUS_OK)
        return s;
    s = open_bytes(data, (uint64_t)info.st_size, out, note);
    if (s != STATUS_OK) {
        error_note_prefix(note, "%s", path);
        munmap(data, (size_t)info.st_size);
        return s;
    }
    (*out)->is_mapped = true;
    (*out)->modified_ns =
        (uint64_t)info.st_mtim.tv_sec * NS_PER_SECOND + (uint64_t)info.st_mtim.tv_nsec;
    return STATUS_OK;
}

void gguf_prefetch(const gguf *file)
{
    if (file->is_mapped) /* a refusal costs only time */
        (void)madvise((void *)(uintptr_t)file->data, file->bytes, MADV_WILLNEED);
}

void gguf_close(gguf *file)
{
    if (file == NULL)
        return;
    gguf_names_deinit(&file->entry_names);
    gguf_names_deinit(&file->tensor_names);
    memory_release(file->entries);
    memory_release(file->tensors);
    if (file->is_mapped)
        munmap((void *)(uintptr_t)file->data, file->bytes);
    memory_release(file);
}
