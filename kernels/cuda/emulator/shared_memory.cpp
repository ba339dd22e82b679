/* What is known of each byte of a block's shared memory: who wrote and who read it last, and when. Time is counted in barriers:
 * two accesses by different threads are ordered when a barrier of the block lies between them, or, within a warp, a barrier
 * of the warp; otherwise, when one of them writes, they are a race, in whatever order they happened here. */

#include "shared_memory.h"

#include <stdlib.h>
#include <string.h>

static const unsigned char poison = 0xA5;
/* Where accesses go that were out of bounds and must not be made, once reports are kept. */
alignas(16) static char nowhere[4096];

void shared_memory_init(struct emulated_block *block)
{
    block->shared = static_cast<char *>(aligned_alloc(256, EMULATED_SHARED_MAX + 1024));
    block->shadow = static_cast<byte_shadow *>(calloc(EMULATED_SHARED_MAX, sizeof(byte_shadow)));
    if (block->shared == nullptr || block->shadow == nullptr)
        abort();
}

void shared_memory_forget(struct emulated_block *block)
{
    memset(block->shadow, 0, EMULATED_SHARED_MAX * sizeof(byte_shadow));
}

void shared_memory_begin(struct emulated_block *block, uint32_t dynamic_bytes)
{
    block->arrays.clear();
    block->shared_bytes = dynamic_bytes;
    memset(block->shared, poison, dynamic_bytes);
}

struct shared_array emulated_shared_array(const void *key, uint64_t bytes)
{
    struct emulated_block *block = emulated_current->block;
    for (const shared_array &array : block->arrays)
        if (array.key == key)
            return array;
    uint64_t statics = bytes;
    for (const shared_array &array : block->arrays)
        statics += array.end - array.begin;
    /* A multiple of 16 and not of 32: no more is promised. */
    uint64_t begin = (static_cast<uint64_t>(block->shared_bytes) + 31) / 32 * 32 + 16;
    if (statics > EMULATED_SHARED_UNASKED || begin + bytes > EMULATED_SHARED_MAX) {
        emulated_report(EMULATOR_LAUNCH, UINT32_MAX, statics,
                        "%llu bytes of static shared memory and %u of dynamic are too many",
                        static_cast<unsigned long long>(statics),
                        emulated_current_launch.shared_bytes);
        begin = 0;
        bytes = 0;
    }
    struct shared_array array = {key, static_cast<uint32_t>(begin),
                                 static_cast<uint32_t>(begin + bytes)};
    memset(block->shared + begin, poison, bytes);
    if (bytes > 0)
        block->shared_bytes = array.end;
    block->arrays.push_back(array);
    return array;
}

/* Whether what `mark` records of this epoch is ordered before an access by `thread` now. */
static bool mark_is_before(const struct access_mark *mark, const struct emulated_thread *thread)
{
    if (mark->epoch != thread->block->epoch)
        return true;
    if (mark->flags & MARK_WARPS)
        return false;
    bool is_same_warp = mark->thread / EMULATED_WARP == thread->index / EMULATED_WARP;
    if (is_same_warp && mark->warp_epoch != thread->warp->epoch)
        return true;
    return mark->thread == thread->index && !(mark->flags & MARK_LANES);
}

static void mark_set(struct access_mark *mark, const struct emulated_thread *thread, uint8_t flags)
{
    mark->epoch = thread->block->epoch;
    mark->thread = static_cast<uint16_t>(thread->index);
    mark->warp_epoch = thread->warp->epoch;
    mark->flags = flags;
}

/* Adds a reader, or one more atomic operation, to a mark that may stand for others of this epoch. */
static void mark_add(struct access_mark *mark, const struct emulated_thread *thread, uint8_t flags)
{
    if (mark->epoch == thread->block->epoch) {
        if (mark->thread / EMULATED_WARP != thread->index / EMULATED_WARP)
            flags |= MARK_WARPS;
        else if (mark->warp_epoch == thread->warp->epoch && mark->thread != thread->index)
            flags |= MARK_LANES;
        flags |=
            mark->flags & (MARK_WARPS | (mark->warp_epoch == thread->warp->epoch ? MARK_LANES : 0));
    }
    mark_set(mark, thread, flags);
}

static bool report_race(const struct access_mark *mark, uint64_t byte, const char *what)
{
    emulated_report(EMULATOR_RACE, mark->thread, byte,
                    "%s in shared byte %llu, with no barrier between", what,
                    static_cast<unsigned long long>(byte));
    return false;
}

/* False: it was reported. */
static bool byte_touch(struct byte_shadow *shadow, uint64_t byte, enum shared_access access)
{
    const struct emulated_thread *thread = emulated_current;
    bool is_written = shadow->write.epoch >= thread->block->first_epoch;
    if (shadow->write.flags & MARK_PENDING && is_written) {
        emulated_report(EMULATOR_COPY_PENDING, shadow->write.thread, byte,
                        "shared byte %llu is touched while a copy to it is under way",
                        static_cast<unsigned long long>(byte));
        return false;
    }
    bool are_both_atomic = access == SHARED_ATOMIC && shadow->write.flags & MARK_ATOMIC;
    if (is_written && !are_both_atomic && !mark_is_before(&shadow->write, thread))
        return report_race(&shadow->write, byte,
                           access == SHARED_READ ? "read of what another wrote" : "two writes");
    if (access != SHARED_WRITE && !is_written) {
        emulated_report(EMULATOR_UNWRITTEN, UINT32_MAX, byte,
                        "shared byte %llu is read and nobody wrote it",
                        static_cast<unsigned long long>(byte));
        return false;
    }
    if (access != SHARED_READ && !mark_is_before(&shadow->read, thread))
        return report_race(&shadow->read, byte, "write of what another read");
    if (access == SHARED_READ)
        mark_add(&shadow->read, thread, 0);
    else if (access == SHARED_WRITE)
        mark_set(&shadow->write, thread, 0);
    else
        mark_add(&shadow->write, thread, MARK_ATOMIC | MARK_LANES);
    return true;
}

/* Most bytes of an access have a common past: what the first one's record becomes, theirs become too. */
static void bytes_touch(struct byte_shadow *shadow, uint64_t byte, uint32_t count,
                        enum shared_access access)
{
    struct byte_shadow before = shadow[0];
    if (!byte_touch(&shadow[0], byte, access))
        return;
    struct byte_shadow after = shadow[0];
    for (uint32_t i = 1; i < count; i++) {
        if (memcmp(&shadow[i], &before, sizeof(before)) == 0) {
            shadow[i] = after;
            continue;
        }
        before = shadow[i];
        if (!byte_touch(&shadow[i], byte + i, access))
            return;
        after = shadow[i];
    }
}

void *emulated_shared_touch(void *p, uint32_t begin, uint32_t end, uint32_t bytes,
                            uint32_t alignment, enum shared_access access)
{
    struct emulated_block *block = emulated_current->block;
    uintptr_t offset = reinterpret_cast<uintptr_t>(p) - reinterpret_cast<uintptr_t>(block->shared);
    if (offset < begin || offset > end || end - offset < bytes) {
        emulated_report(EMULATOR_BOUNDS, UINT32_MAX, offset,
                        "access to %u bytes %lld bytes from the start of a shared array of %u",
                        bytes, static_cast<long long>(offset - begin), end - begin);
        return nowhere;
    }
    if (offset % alignment != 0) {
        emulated_report(EMULATOR_ALIGNMENT, UINT32_MAX, offset,
                        "access to %u bytes at shared byte %llu, no multiple of %u", bytes,
                        static_cast<unsigned long long>(offset), alignment);
        return nowhere;
    }
    if (emulated_is_checking)
        bytes_touch(&block->shadow[offset], offset, bytes, access);
    return p;
}

void shared_memory_set_pending(const struct emulated_thread *thread, uint32_t offset,
                               uint32_t bytes, bool is_pending)
{
    for (uint32_t i = 0; i < bytes; i++)
        mark_set(&thread->block->shadow[offset + i].write, thread, is_pending ? MARK_PENDING : 0);
}
