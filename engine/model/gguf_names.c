#include "gguf_names.h"

#include "check.h"
#include "memory.h"

status gguf_names_init(struct gguf_names *names, const void *items, size_t item_bytes,
                       uint64_t count_max)
{
    CHECK(count_max < UINT64_C(1) << 31);
    uint64_t slot_count = 2;
    while (slot_count < 2 * count_max)
        slot_count *= 2;
    uint32_t *slots = memory_allocate_array(slot_count, sizeof *slots);
    if (slots == NULL)
        return STATUS_NO_MEMORY;
    *names = (struct gguf_names){
        .slots = slots, .mask = slot_count - 1, .items = items, .item_bytes = item_bytes};
    random_bytes(&names->key, sizeof names->key);
    return STATUS_OK;
}

void gguf_names_deinit(struct gguf_names *names)
{
    memory_release(names->slots);
    *names = (struct gguf_names){0};
}

static struct text_slice name_at(const struct gguf_names *names, uint32_t index)
{
    return *(const struct text_slice *)((const char *)names->items + index * names->item_bytes);
}

/* The slot that holds `name`, or the empty one where it belongs. */
static uint32_t *slot_of(const struct gguf_names *names, struct text_slice name)
{
    uint64_t at = hash64(&names->key, name.data, name.bytes);
    for (;; at++) {
        uint32_t *slot = &names->slots[at & names->mask];
        if (*slot == 0 || text_slice_equals(name_at(names, *slot - 1), name))
            return slot;
    }
}

bool gguf_names_add(struct gguf_names *names, uint32_t index, uint32_t *other)
{
    uint32_t *slot = slot_of(names, name_at(names, index));
    if (*slot != 0) {
        *other = *slot - 1;
        return false;
    }
    *slot = index + 1;
    return true;
}

bool gguf_names_find(const struct gguf_names *names, struct text_slice name, uint32_t *index)
{
    if (names->slots == NULL)
        return false;
    uint32_t slot = *slot_of(names, name);
    if (slot == 0)
        return false;
    *index = slot - 1;
    return true;
}
