/* Reading a weight cache.
 *
 * The file is mapped, so replicas of one model on one machine share its pages, a later start finds
 * them in memory still, and a model larger than half of the memory is never there twice.
 *
 * Small pages cost decoding of one sequence some 10 % (bench/NOTES.md), and whether a mapped file is
 * in huge ones is up to its file system (ext4 and xfs of current kernels: yes). Where it is not, a
 * model that is small beside the memory is read into huge pages of the process's own; the file's
 * pages are then a cache like any other.
 *
 * Everything is checksummed before it is used. That reads each page once, which the first step would
 * do anyway, and does it on the team: each member takes the same share of a weight as it will of
 * its products, so that on a machine of several nodes pages come to lie where they are read.
 *
 * As with model files, a file that shrinks while it is mapped ends the process; caches are only
 * ever replaced by rename. */

#include "weight_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hash.h"
#include "huge_mapping.h"
#include "memory.h"

/* A model is small up to this part of the memory. */
#define SMALL_DIVISOR 8u

struct weight_cache {
    uint8_t *data; /* owned mapping of the file */
    size_t bytes;
    int descriptor; /* of the file; -1 */
    uint8_t *copy;  /* owned; what follows WEIGHT_CACHE_DATA_OFFSET. NULL: used as mapped */
    size_t copy_bytes;
    struct weight_cache_view view;
    uint64_t next; /* weight */
    bool is_asleep;
};

static status refuse_errno(const char *path, const char *what, struct error_note *note)
{
    int error = errno;
    char text[128];
    error_note_set(note, "%s: cannot %s: %s", path, what, strerror_r(error, text, sizeof text));
    return error == ENOENT ? STATUS_NOT_FOUND : STATUS_IO;
}

static status map_file(const char *path, weight_cache *cache, struct error_note *note)
{
    cache->descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (cache->descriptor < 0)
        return refuse_errno(path, "open it", note);
    struct stat info;
    if (fstat(cache->descriptor, &info) != 0)
        return refuse_errno(path, "read its size", note);
    if (!S_ISREG(info.st_mode) || (size_t)info.st_size < sizeof(struct weight_cache_header)) {
        error_note_set(note, "%s: it is not a weight cache", path);
        return STATUS_INVALID;
    }
    cache->bytes = (size_t)info.st_size;
    cache->data = huge_mapping_create(cache->descriptor, cache->bytes);
    return cache->data != NULL ? STATUS_OK : refuse_errno(path, "map it", note);
}

static bool is_small(const weight_cache *cache)
{
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    return cache->bytes <= memory / SMALL_DIVISOR;
}

/* Without memory for a copy the mapping does. */
static void choose_pages(weight_cache *cache)
{
    if (is_small(cache) &&
        !huge_mapping_is_huge(cache->data, (size_t)(cache->view.end - WEIGHT_CACHE_DATA_OFFSET))) {
        cache->copy_bytes = (size_t)(cache->view.end - WEIGHT_CACHE_DATA_OFFSET);
        cache->copy = huge_mapping_create(-1, cache->copy_bytes);
    }
}

status weight_cache_open(const char *path, const struct weight_cache_key *key, weight_cache **out,
                         struct error_note *note)
{
    weight_cache *cache = memory_allocate_array(1, sizeof *cache);
    if (cache == NULL) {
        error_note_set(note, "%s: no memory to map it", path);
        return STATUS_NO_MEMORY;
    }
    cache->descriptor = -1;
    status s = map_file(path, cache, note);
    if (s == STATUS_OK) {
        s = weight_cache_parse(cache->data, cache->bytes, key, &cache->view, note);
        if (s != STATUS_OK)
            error_note_prefix(note, "%s", path);
    }
    if (s != STATUS_OK) {
        weight_cache_close(cache);
        return s;
    }
    choose_pages(cache);
    *out = cache;
    return STATUS_OK;
}

void weight_cache_close(weight_cache *cache)
{
    if (cache == NULL)
        return;
    if (cache->descriptor >= 0)
        close(cache->descriptor);
    if (cache->copy != NULL)
        munmap(cache->copy, cache->copy_bytes);
    if (cache->data != NULL)
        munmap(cache->data, cache->bytes);
    memory_release(cache);
}

/* One weight on its way. */
struct passage {
    const uint8_t *data;
    uint64_t bytes;
    const uint64_t *checksums;
    uint8_t *copy; /* where `data` is, to be filled; NULL: it is the mapping */
    int descriptor;
    uint64_t offset;          /* in the file */
    _Atomic uint32_t damaged; /* chunks; relaxed: parallel_for orders it */
};

static bool read_whole(int descriptor, uint8_t *to, uint64_t bytes, uint64_t offset)
{
    while (bytes > 0) {
        ssize_t done = pread(descriptor, to, bytes, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        to += done;
        offset += (uint64_t)done;
        bytes -= (uint64_t)done;
    }
    return true;
}

static void pass_chunk(void *context, uint32_t index)
{
    struct passage *p = context;
    uint64_t first = index * WEIGHT_CACHE_CHUNK_BYTES, left = p->bytes - first;
    uint64_t bytes = left < WEIGHT_CACHE_CHUNK_BYTES ? left : WEIGHT_CACHE_CHUNK_BYTES;
    bool is_good =
        p->copy == NULL || read_whole(p->descriptor, p->copy + first, bytes, p->offset + first);
    if (!is_good || checksum64(p->data + first, bytes) != p->checksums[index])
        atomic_fetch_add_explicit(&p->damaged, 1, memory_order_relaxed);
}

/* A weight's pieces, read where they are not mapped, and compared with their checksums; how many are damaged. */
static uint32_t pass(weight_cache *cache, backend *b, const struct weight_cache_entry *entry,
                     const uint8_t **data)
{
    struct passage p = {.data = cache->view.data + entry->offset,
                        .bytes = entry->bytes,
                        .checksums = cache->view.checksums + entry->first_chunk,
                        .descriptor = cache->descriptor,
                        .offset = entry->offset};
    if (cache->copy != NULL)
        p.data = p.copy = cache->copy + (entry->offset - WEIGHT_CACHE_DATA_OFFSET);
    b->operations->parallel_for(b, (uint32_t)weight_cache_chunk_count(entry->bytes), pass_chunk,
                                &p);
    *data = p.data;
    return p.damaged;
}

status weight_cache_take(weight_cache *cache, backend *b, struct weight_image *image,
                         struct error_note *note)
{
    const struct weight_cache_view *view = &cache->view;
    if (cache->next == view->weight_count) {
        error_note_set(note, "it has %" PRIu64 " weights, and the model more", view->weight_count);
        return STATUS_INVALID;
    }
    const struct weight_cache_entry *entry = &view->entries[cache->next];
    if (entry->sources_checksum != weight_cache_sources_checksum(image) ||
        weight_cache_chunk_count(entry->bytes) > INT32_MAX) {
        error_note_set(note, "weight %" PRIu64 " is another one than the model's", cache->next);
        return STATUS_INVALID;
    }
    const uint8_t *data;
    uint32_t damaged = pass(cache, b, entry, &data);
    if (damaged > 0) {
        error_note_set(note, "%" PRIu32 " pieces of weight %" PRIu64 " are damaged", damaged,
                       cache->next);
        return STATUS_INVALID;
    }
    cache->next++;
    image->data = data;
    image->bytes = entry->bytes;
    return STATUS_OK;
}

/* A copy of our own is gone at once; pages of the file leave this process, and are the first that the system takes when it needs
 * memory: until then waking finds them. */
void weight_cache_sleep(weight_cache *cache)
{
    if (cache->copy != NULL)
        (void)madvise(cache->copy, cache->copy_bytes, MADV_DONTNEED);
    (void)madvise(cache->data, cache->bytes, MADV_COLD);
    (void)madvise(cache->data, cache->bytes, MADV_DONTNEED);
    cache->is_asleep = true;
}

status weight_cache_wake(weight_cache *cache, backend *b, struct error_note *note)
{
    for (uint64_t i = 0; cache->is_asleep && i < cache->view.weight_count; i++) {
        const uint8_t *data;
        uint32_t damaged = pass(cache, b, &cache->view.entries[i], &data);
        if (damaged > 0) {
            error_note_set(note,
                           "%" PRIu32 " pieces of weight %" PRIu64 " are no longer what they were",
                           damaged, i);
            return STATUS_INVALID;
        }
    }
    cache->is_asleep = false;
    return STATUS_OK;
}

bool weight_cache_is_used_up(const weight_cache *cache)
{
    return cache->next == cache->view.weight_count;
}

uint64_t weight_cache_bytes(const weight_cache *cache)
{
    return cache->view.bytes;
}

bool weight_cache_is_mapped(const weight_cache *cache)
{
    return cache->copy == NULL;
}
