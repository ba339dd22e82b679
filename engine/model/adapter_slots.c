#include "adapter_slots.h"

#include "check.h"
#include "memory.h"
#include "model_adapter_private.h"

/* Of an adapter of this rank that changes everything it may. */
static uint64_t slot_floats(const struct model_shape *shape, uint32_t rank)
{
    uint64_t widths = 0;
    for (int part = 0; part < ADAPTER_PART_COUNT; part++) {
        struct adapter_place place = adapter_place_of(shape, (enum adapter_part)part);
        if (adapter_may_change(shape, (enum adapter_part)part))
            widths += (uint64_t)place.n_cols + place.n_outputs;
    }
    return shape->n_layers * rank * widths;
}

status adapter_slots_open(struct adapter_slots *slots, backend *b, const struct model_shape *shape,
                          uint32_t count, uint32_t rank_max)
{
    *slots = (struct adapter_slots){.b = b, .count = count};
    if (b->operations->memory_is_host || count == 0)
        return STATUS_OK;
    slots->slot_floats = slot_floats(shape, rank_max);
    slots->taken = memory_allocate_array(count, sizeof *slots->taken);
    slots->memory =
        b->operations->allocate(b, (uint64_t)count * slots->slot_floats * sizeof(float));
    return slots->taken != NULL && slots->memory != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

void adapter_slots_close(struct adapter_slots *slots)
{
    for (uint32_t i = 0; slots->taken != NULL && i < slots->count; i++)
        CHECK(!atomic_load_explicit(&slots->taken[i], memory_order_relaxed));
    memory_release(slots->taken);
    if (slots->memory != NULL)
        slots->b->operations->release(slots->b, slots->memory);
}

status adapter_slots_acquire(struct adapter_slots *slots, uint32_t *out)
{
    for (uint32_t i = 0; slots->taken != NULL && i < slots->count; i++)
        /* Acquire pairs with the release below: whoever had it is through with it. */
        if (!atomic_exchange_explicit(&slots->taken[i], true, memory_order_acquire)) {
            *out = i;
            return STATUS_OK;
        }
    return STATUS_FULL;
}

void adapter_slots_release(struct adapter_slots *slots, uint32_t slot)
{
    CHECK(slot < slots->count);
    atomic_store_explicit(&slots->taken[slot], false, memory_order_release);
}

float *adapter_slot_memory(const struct adapter_slots *slots, uint32_t slot)
{
    CHECK(slot < slots->count);
    return slots->memory + slot * slots->slot_floats;
}
