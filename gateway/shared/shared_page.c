#include "shared_page.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory.h"

/* The mapping: the lock and the numbers in the first lines, then the table.
 *
 * Numbers. The writer makes `sequence` odd, writes, makes it even; a reader that sees it odd, or changed by the time it has read, reads
 * again (Boehm 2012, "Can seqlocks get along with programming language memory models?"). Each word is an atomic, read and written
 * relaxed, so there is no data race; the fences give the order.
 *
 * Table. Open addressing with linear probing over SHARED_CELLS words, 0 is empty, a removal shifts later words back
 * (Knuth, TAOCP 6.4, algorithm R). How often each name was given stands in the writer's own memory. A reader may miss a
 * name in the moment in which it is moved, which costs one request a worse choice and nothing else. */

#define SHARED_MAGIC   0x70656e7061676533ull /* "penpage3" */
#define SHARED_CELLS   32768u
#define PROBES_MAX     512u /* of a reader; the writer keeps runs far shorter at three quarters full */
#define READ_TRIES_MAX 64u
#define WORDS          ((sizeof(struct shared_page_state) + 7) / 8)
/* Weight of a prompt in the average of bytes a token. */
#define TEXT_WEIGHT 0.1f

struct mapping {
    _Atomic uint64_t magic; /* release by the writer once the rest is empty */
    _Atomic uint64_t sequence;
    _Atomic uint64_t words[WORDS];
    _Atomic float bytes_per_token;
    _Atomic uint64_t moments[START_MOMENTS];
    _Alignas(64) _Atomic uint64_t cells[SHARED_CELLS];
};

struct shared_page {
    struct mapping mapping;
};

struct shared_page_writer {
    struct mapping *mapping;
    uint32_t name_count;
    uint32_t counts[SHARED_CELLS]; /* how often the name in the cell was given */
};

/* --- mapping --- */

static status map(int fd, struct mapping **out)
{
    void *memory = mmap(NULL, sizeof(struct mapping), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_POPULATE, fd, 0);

    if (memory == MAP_FAILED)
        return errno == ENOMEM ? STATUS_NO_MEMORY : STATUS_IO;
    *out = memory;
    return STATUS_OK;
}

status shared_page_create(const char *path, shared_page **out)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct mapping *mapping = NULL;
    status result = STATUS_IO;
    int saved;

    if (fd < 0)
        return STATUS_IO;
    /* Its blocks are taken now: a full disk must not end the process by a signal later. */
    errno = posix_fallocate(fd, 0, sizeof(struct mapping));
    if (errno == 0)
        result = map(fd, &mapping);
    saved = errno;
    close(fd);
    if (result != STATUS_OK)
        (void)unlink(path);
    errno = saved;
    *out = (shared_page *)mapping;
    return result;
}

void shared_page_close(shared_page *page)
{
    if (page != NULL)
        (void)munmap(page, sizeof(struct mapping));
}

void shared_page_destroy(shared_page *page, const char *path)
{
    if (page == NULL)
        return;
    shared_page_close(page);
    (void)unlink(path);
}

static status file_map(const char *path, struct mapping **out)
{
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    struct stat info;
    status result;
    int saved;

    if (fd < 0)
        return errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO;
    if (fstat(fd, &info) != 0)
        result = STATUS_IO;
    else if (info.st_size != sizeof(struct mapping))
        result = STATUS_INVALID;
    else
        result = map(fd, out);
    saved = errno;
    close(fd);
    errno = saved;
    return result;
}

status shared_page_open(const char *path, shared_page **out)
{
    struct mapping *mapping = NULL;
    status result = file_map(path, &mapping);

    *out = (shared_page *)mapping;
    return result;
}

void shared_page_writer_clear(shared_page_writer *writer)
{
    struct mapping *mapping = writer->mapping;

    atomic_store_explicit(&mapping->magic, 0, memory_order_relaxed);
    for (uint32_t i = 0; i < SHARED_CELLS; i++)
        atomic_store_explicit(&mapping->cells[i], 0, memory_order_relaxed);
    for (uint32_t i = 0; i < WORDS; i++)
        atomic_store_explicit(&mapping->words[i], 0, memory_order_relaxed);
    atomic_store_explicit(&mapping->sequence, 0, memory_order_relaxed);
    atomic_store_explicit(&mapping->bytes_per_token, 0, memory_order_relaxed);
    for (uint32_t i = 0; i < START_MOMENTS; i++)
        atomic_store_explicit(&mapping->moments[i], 0, memory_order_relaxed);
    memset(writer->counts, 0, sizeof(writer->counts));
    writer->name_count = 0;
    atomic_store_explicit(&mapping->magic, SHARED_MAGIC, memory_order_release);
}

status shared_page_writer_create(shared_page_writer **out)
{
    shared_page_writer *writer = memory_allocate_array(1, sizeof(*writer));
    void *memory;

    if (writer == NULL)
        return STATUS_NO_MEMORY;
    memory = mmap(NULL, sizeof(struct mapping), PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) {
        memory_release(writer);
        return STATUS_NO_MEMORY;
    }
    writer->mapping = memory;
    shared_page_writer_clear(writer);
    *out = writer;
    return STATUS_OK;
}

const shared_page *shared_page_of(const shared_page_writer *writer)
{
    return (const shared_page *)writer->mapping;
}

status shared_page_writer_open(const char *path, shared_page_writer **out)
{
    shared_page_writer *writer = memory_allocate_array(1, sizeof(*writer));
    status result;

    if (writer == NULL)
        return STATUS_NO_MEMORY;
    result = file_map(path, &writer->mapping);
    if (result != STATUS_OK) {
        memory_release(writer);
        return result;
    }
    shared_page_writer_clear(writer); /* whoever wrote it before is gone */
    *out = writer;
    return STATUS_OK;
}

void shared_page_writer_close(shared_page_writer *writer)
{
    if (writer == NULL)
        return;
    (void)munmap(writer->mapping, sizeof(struct mapping));
    memory_release(writer);
}

/* --- the numbers --- */

void shared_page_write(shared_page_writer *writer, const struct shared_page_state *state)
{
    struct mapping *mapping = writer->mapping;
    uint64_t words[WORDS] = {0};
    uint64_t sequence = atomic_load_explicit(&mapping->sequence, memory_order_relaxed);

    memcpy(words, state, sizeof(*state));
    atomic_store_explicit(&mapping->sequence, sequence + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    for (uint32_t i = 0; i < WORDS; i++)
        atomic_store_explicit(&mapping->words[i], words[i], memory_order_relaxed);
    atomic_store_explicit(&mapping->sequence, sequence + 2, memory_order_release);
}

bool shared_page_read(const shared_page *page, struct shared_page_state *out)
{
    const struct mapping *mapping = &page->mapping;
    uint64_t words[WORDS];

    if (atomic_load_explicit(&mapping->magic, memory_order_acquire) != SHARED_MAGIC)
        return false;
    for (uint32_t i = 0; i < READ_TRIES_MAX; i++) {
        uint64_t before = atomic_load_explicit(&mapping->sequence, memory_order_acquire), after;

        for (uint32_t j = 0; j < WORDS; j++)
            words[j] = atomic_load_explicit(&mapping->words[j], memory_order_relaxed);
        atomic_thread_fence(memory_order_acquire);
        after = atomic_load_explicit(&mapping->sequence, memory_order_relaxed);
        if (before == 0 || before != after || before % 2 != 0)
            continue;
        memcpy(out, words, sizeof(*out));
        return true;
    }
    return false;
}

void shared_page_note_text(shared_page_writer *writer, uint64_t bytes, uint32_t tokens)
{
    _Atomic float *average = &writer->mapping->bytes_per_token;
    float before = atomic_load_explicit(average, memory_order_relaxed);
    float now = tokens > 0 ? (float)bytes / (float)tokens : 0;

    if (now > 0) /* two at once: one of them is lost, which does not matter */
        atomic_store_explicit(average, before > 0 ? before + TEXT_WEIGHT * (now - before) : now,
                              memory_order_relaxed);
}

void shared_page_set_text(shared_page_writer *writer, float bytes_per_token)
{
    atomic_store_explicit(&writer->mapping->bytes_per_token, bytes_per_token, memory_order_relaxed);
}

float shared_page_bytes_per_token(const shared_page *page)
{
    float value = atomic_load_explicit(&page->mapping.bytes_per_token, memory_order_relaxed);

    return value > 0.01f && value < 1e6f ? value : 0;
}

void shared_page_note_moment(shared_page_writer *writer, enum start_moment moment, uint64_t now_ns)
{
    atomic_store_explicit(&writer->mapping->moments[moment], now_ns, memory_order_relaxed);
}

uint64_t shared_page_moment(const shared_page *page, enum start_moment moment)
{
    if (atomic_load_explicit(&page->mapping.magic, memory_order_acquire) != SHARED_MAGIC)
        return 0;
    return atomic_load_explicit(&page->mapping.moments[moment], memory_order_relaxed);
}

/* --- the names --- */

static uint64_t cell_get(const struct mapping *mapping, uint32_t cell)
{
    return atomic_load_explicit(&mapping->cells[cell % SHARED_CELLS], memory_order_relaxed);
}

static void cell_set(struct mapping *mapping, uint32_t cell, uint64_t hash)
{
    atomic_store_explicit(&mapping->cells[cell % SHARED_CELLS], hash, memory_order_relaxed);
}

/* The writer's: the cell with the name, or the empty one where it would go. */
static uint32_t cell_find(const struct mapping *mapping, uint64_t hash)
{
    uint32_t cell = (uint32_t)hash % SHARED_CELLS;
    uint64_t found;

    while ((found = cell_get(mapping, cell)) != 0 && found != hash)
        cell = (cell + 1) % SHARED_CELLS;
    return cell;
}

/* Empties `hole` and closes the gap behind it. A name is written to its new place before it leaves the old one. */
static void cell_remove(shared_page_writer *writer, uint32_t hole)
{
    struct mapping *mapping = writer->mapping;
    uint32_t cell = hole;
    uint64_t hash;

    while ((hash = cell_get(mapping, cell = (cell + 1) % SHARED_CELLS)) != 0) {
        uint32_t from_home = (cell - (uint32_t)hash) % SHARED_CELLS;
        uint32_t from_hole = (cell - hole) % SHARED_CELLS;

        if (from_home < from_hole)
            continue;
        cell_set(mapping, hole, hash);
        writer->counts[hole] = writer->counts[cell];
        hole = cell;
    }
    cell_set(mapping, hole, 0);
    writer->counts[hole] = 0;
    writer->name_count--;
}

void shared_page_note(shared_page_writer *writer, uint64_t hash, bool is_resident)
{
    uint32_t cell = cell_find(writer->mapping, hash);
    bool is_there = cell_get(writer->mapping, cell) != 0;

    if (hash == 0)
        return;
    if (is_resident && is_there) {
        writer->counts[cell]++;
    } else if (is_resident && writer->name_count < SHARED_PAGE_NAMES_MAX) {
        writer->counts[cell] = 1;
        writer->name_count++;
        cell_set(writer->mapping, cell, hash);
    } else if (!is_resident && is_there && --writer->counts[cell] == 0) {
        cell_remove(writer, cell);
    }
}

bool shared_page_has(const shared_page *page, uint64_t hash)
{
    for (uint32_t i = 0; i < PROBES_MAX; i++) {
        uint64_t found = cell_get(&page->mapping, (uint32_t)hash + i);

        if (found == hash || found == 0)
            return found != 0;
    }
    return false;
}

uint32_t shared_page_match(const shared_page *page, const uint64_t *hashes, uint32_t count)
{
    uint32_t low = 0, high = count; /* low are there, high + 1 are not */

    while (low < high) {
        uint32_t middle = low + (high - low + 1) / 2;

        if (shared_page_has(page, hashes[middle - 1]))
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

uint32_t shared_page_names(const shared_page *page, uint64_t *out, uint32_t count_max)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < SHARED_CELLS && count < count_max; i++) {
        uint64_t hash = cell_get(&page->mapping, i);

        if (hash != 0)
            out[count++] = hash;
    }
    return count;
}
