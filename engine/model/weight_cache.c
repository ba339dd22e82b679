/* Reading a weight cache.
 *
 * The file is mapped, so replicas of one model on one machine share its pages, a later start finds
 * them in memory still, and a model larger than half of the memory is never there twice. Mapped at
 * a multiple of 2 MiB and advised so, it is in huge pages where the file system keeps its cache in
 * large pieces (ext4 and xfs of current kernels); bench/NOTES.md has what that and its absence cost.
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

#include "check.h"
#include "hash.h"
#include "memory.h"

#define HUGE_PAGE_BYTES ((size_t)2 << 20)

struct weight_cache {
    uint8_t *data; /* owned mapping */
    size_t bytes;
    struct weight_cache_view view;
    uint64_t next; /* weight */
};

static status refuse_errno(const char *path, const char *what, struct error_note *note)
{
    int error = errno;
    char text[128];
    error_note_set(note, "%s: cannot %s: %s", path, what, strerror_r(error, text, sizeof text));
    return error == ENOENT ? STATUS_NOT_FOUND : STATUS_IO;
}

/* Maps the whole file at a multiple of a huge page: a reservation with room to shift, whose ends go
 * back. */
static void *map_aligned(int descriptor, size_t bytes)
{
    size_t reserved = bytes + HUGE_PAGE_BYTES;
    uint8_t *base =
        mmap(NULL, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return NULL;
    size_t before = (HUGE_PAGE_BYTES - (uintptr_t)base % HUGE_PAGE_BYTES) % HUGE_PAGE_BYTES;
    uint8_t *data = mmap(base + before, bytes, PROT_READ, MAP_SHARED | MAP_FIXED, descriptor, 0);
    if (data == MAP_FAILED) {
        int error = errno;
        munmap(base, reserved);
        errno = error;
        return NULL;
    }
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t used = (before + bytes + page - 1) / page * page;
    if (before > 0)
        munmap(base, before);
    munmap(base + used, (reserved + page - 1) / page * page - used);
    (void)madvise(data, bytes, MADV_HUGEPAGE); /* only speed depends on it */
    return data;
}

static status map_file(const char *path, weight_cache *cache, struct error_note *note)
{
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0)
        return refuse_errno(path, "open it", note);
    struct stat info;
    status s = STATUS_OK;
    if (fstat(descriptor, &info) != 0) {
        s = refuse_errno(path, "read its size", note);
    } else if (!S_ISREG(info.st_mode) ||
               (size_t)info.st_size < sizeof(struct weight_cache_header)) {
        error_note_set(note, "%s: it is not a weight cache", path);
        s = STATUS_INVALID;
    } else {
        cache->bytes = (size_t)info.st_size;
        cache->data = map_aligned(descriptor, cache->bytes);
        if (cache->data == NULL)
            s = refuse_errno(path, "map it", note);
    }
    close(descriptor); /* the mapping keeps the file */
    return s;
}

status weight_cache_open(const char *path, const struct weight_cache_key *key, weight_cache **out,
                         struct error_note *note)
{
    weight_cache *cache = memory_allocate_array(1, sizeof *cache);
    if (cache == NULL) {
        error_note_set(note, "%s: no memory to map it", path);
        return STATUS_NO_MEMORY;
    }
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
    *out = cache;
    return STATUS_OK;
}

void weight_cache_close(weight_cache *cache)
{
    if (cache == NULL)
        return;
    if (cache->data != NULL)
        munmap(cache->data, cache->bytes);
    memory_release(cache);
}

struct comparison {
    const uint8_t *data;
    uint64_t bytes;
    const uint64_t *checksums;
    _Atomic uint32_t damaged; /* chunks; relaxed: parallel_for orders it */
};

static void compare_chunk(void *context, uint32_t index)
{
    struct comparison *c = context;
    uint64_t first = index * WEIGHT_CACHE_CHUNK_BYTES, left = c->bytes - first;
    uint64_t bytes = left < WEIGHT_CACHE_CHUNK_BYTES ? left : WEIGHT_CACHE_CHUNK_BYTES;
    if (checksum64(c->data + first, bytes) != c->checksums[index])
        atomic_fetch_add_explicit(&c->damaged, 1, memory_order_relaxed);
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
    uint64_t chunk_count = weight_cache_chunk_count(entry->bytes);
    if (entry->sources_checksum != weight_cache_sources_checksum(image) ||
        chunk_count > INT32_MAX) {
        error_note_set(note, "weight %" PRIu64 " is another one than the model's", cache->next);
        return STATUS_INVALID;
    }
    struct comparison c = {.data = view->data + entry->offset,
                           .bytes = entry->bytes,
                           .checksums = view->checksums + entry->first_chunk};
    b->operations->parallel_for(b, (uint32_t)chunk_count, compare_chunk, &c);
    if (c.damaged > 0) {
        error_note_set(note, "%" PRIu32 " pieces of weight %" PRIu64 " are damaged", c.damaged,
                       cache->next);
        return STATUS_INVALID;
    }
    cache->next++;
    image->data = c.data;
    image->bytes = c.bytes;
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
