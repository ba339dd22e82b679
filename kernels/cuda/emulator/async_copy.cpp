/* Asynchronous copies, made as late as they may be: when the thread waits for them. What reads before sees what was there. */

#include <string.h>

#include "shared_memory.h"

static const uint32_t copy_bytes = 16;

void emulated_misaligned(const void *p, const char *what)
{
    emulated_report(EMULATOR_ALIGNMENT, UINT32_MAX, reinterpret_cast<uintptr_t>(p),
                    "%s at %p, no multiple of 16", what, p);
}

void emulated_copy_async(void *to, uint32_t begin, uint32_t end, const void *from, bool is_wanted)
{
    struct emulated_thread *thread = emulated_current;
    emulated_check_alignment(from, "a copy from global memory");
    char *shared = static_cast<char *>(
        emulated_shared_touch(to, begin, end, copy_bytes, copy_bytes, SHARED_WRITE));
    if (shared != to)
        return;
    uint32_t offset = static_cast<uint32_t>(shared - thread->block->shared);
    if (emulated_is_checking)
        shared_memory_set_pending(thread, offset, copy_bytes, true);
    thread->copies.push_back({offset, thread->copy_group, is_wanted ? from : nullptr});
}

void emulated_copy_commit(void)
{
    emulated_current->copy_group++;
}

void emulated_copy_wait(uint32_t newest_left)
{
    struct emulated_thread *thread = emulated_current;
    size_t left = 0;
    for (const pending_copy &copy : thread->copies) {
        if (copy.group + newest_left >= thread->copy_group) {
            thread->copies[left++] = copy;
            continue;
        }
        char *to = thread->block->shared + copy.to;
        if (copy.from != nullptr)
            memcpy(to, copy.from, copy_bytes);
        else
            memset(to, 0, copy_bytes);
        if (emulated_is_checking)
            shared_memory_set_pending(thread, copy.to, copy_bytes, false);
    }
    thread->copies.resize(left);
}
