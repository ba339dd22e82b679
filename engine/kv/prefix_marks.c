#include "prefix_marks.h"

#include "check.h"
#include "memory.h"

/* A small array by block id, newest name first; 0 is no name. */
struct prefix_marks {
    prefix_mark_fn *changed;
    void *context;
    uint32_t block_count;
    uint64_t hashes[]; /* [block_count, PREFIX_MARKS_PER_BLOCK] */
};

status prefix_marks_create(uint32_t block_count, prefix_mark_fn *changed, void *context,
                           prefix_marks **out)
{
    size_t count = (size_t)block_count * PREFIX_MARKS_PER_BLOCK;
    prefix_marks *marks = memory_allocate_array(1, sizeof *marks + count * sizeof marks->hashes[0]);
    if (marks == NULL)
        return STATUS_NO_MEMORY;
    marks->changed = changed;
    marks->context = context;
    marks->block_count = block_count;
    *out = marks;
    return STATUS_OK;
}

void prefix_marks_destroy(prefix_marks *marks)
{
    memory_release(marks);
}

void prefix_marks_put(prefix_marks *marks, uint32_t block, uint64_t hash)
{
    uint64_t *own = marks->hashes + (size_t)block * PREFIX_MARKS_PER_BLOCK;
    DCHECK(block < marks->block_count && hash != 0);
    for (uint32_t i = 0; i < PREFIX_MARKS_PER_BLOCK; i++) {
        if (own[i] == hash)
            return;
    }
    uint64_t oldest = own[PREFIX_MARKS_PER_BLOCK - 1];
    for (uint32_t i = PREFIX_MARKS_PER_BLOCK - 1; i > 0; i--)
        own[i] = own[i - 1];
    own[0] = hash;
    if (oldest != 0)
        marks->changed(marks->context, oldest, false);
    marks->changed(marks->context, hash, true);
}

void prefix_marks_forget(prefix_marks *marks, uint32_t block)
{
    uint64_t *own = marks->hashes + (size_t)block * PREFIX_MARKS_PER_BLOCK;
    DCHECK(block < marks->block_count);
    for (uint32_t i = 0; i < PREFIX_MARKS_PER_BLOCK && own[i] != 0; i++) {
        marks->changed(marks->context, own[i], false);
        own[i] = 0;
    }
}
