#include "answer_source.h"

#include <stdio.h>

#include "clock.h"

void answer_source_init(struct answer_source *source)
{
    random_bytes(&source->key, sizeof(source->key));
}

/* A keyed hash of a count: random to everyone else, and no system call. */
void answer_source_draw(struct answer_source *source, struct answer_name *out)
{
    uint64_t number = atomic_fetch_add_explicit(&source->count, 1, memory_order_relaxed);
    const uint64_t inputs[2][2] = {{number, 0}, {number, 1}};
    struct hash128 seed = hash128(&source->key, inputs[0], sizeof(inputs[0]));
    struct hash128 unique = hash128(&source->key, inputs[1], sizeof(inputs[1]));

    out->seed = seed.low;
    out->created_s = clock_wall_ms() / 1000;
    (void)snprintf(out->unique, sizeof(out->unique), "%016llx%08x", (unsigned long long)unique.low,
                   (unsigned)(unique.high & UINT32_MAX));
}
