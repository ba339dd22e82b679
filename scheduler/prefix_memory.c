#include "prefix_memory.h"

#include <stdatomic.h>
#include <stdbool.h>

#include "memory.h"

#define SETS (PREFIX_MEMORY_NAMES / PREFIX_MEMORY_WAYS)

struct place {
    _Atomic uint64_t name; /* 0: empty */
    _Atomic uint64_t turn; /* of the note that named it last */
};

struct prefix_memory {
    _Atomic uint64_t turn; /* rises with each note */
    struct place sets[SETS][PREFIX_MEMORY_WAYS];
};

prefix_memory *prefix_memory_create(void)
{
    return memory_allocate_array(1, sizeof(prefix_memory));
}

void prefix_memory_destroy(prefix_memory *memory)
{
    memory_release(memory);
}

static uint64_t get(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static void set(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed);
}

/* The place that has the name, else the one that is to have it: an empty one, or the oldest. */
static struct place *place_for(prefix_memory *memory, uint64_t name)
{
    struct place *places = memory->sets[name % SETS], *oldest = places;

    for (uint32_t i = 0; i < PREFIX_MEMORY_WAYS; i++) {
        if (get(&places[i].name) == name)
            return &places[i];
        if (get(&places[i].turn) < get(&oldest->turn))
            oldest = &places[i];
    }
    return oldest;
}

void prefix_memory_note(prefix_memory *memory, const uint64_t *names, uint32_t count)
{
    uint64_t turn = atomic_fetch_add_explicit(&memory->turn, 1, memory_order_relaxed) + 1;

    for (uint32_t i = 0; i < count; i++) {
        struct place *place = place_for(memory, names[i]);

        set(&place->name, names[i]);
        set(&place->turn, turn);
    }
}

static bool has(const prefix_memory *memory, uint64_t name)
{
    const struct place *places = memory->sets[name % SETS];

    for (uint32_t i = 0; i < PREFIX_MEMORY_WAYS; i++) {
        if (get(&places[i].name) == name)
            return true;
    }
    return false;
}

/* From the front: a beginning whose middle has been pushed out is not there. */
uint32_t prefix_memory_match(const prefix_memory *memory, const uint64_t *names, uint32_t count)
{
    uint32_t matched = 0;

    while (matched < count && has(memory, names[matched]))
        matched++;
    return matched;
}

void prefix_memory_clear(prefix_memory *memory)
{
    for (uint32_t i = 0; i < SETS; i++) {
        for (uint32_t j = 0; j < PREFIX_MEMORY_WAYS; j++) {
            set(&memory->sets[i][j].name, 0);
            set(&memory->sets[i][j].turn, 0);
        }
    }
}
