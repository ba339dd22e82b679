#include "timers.h"

#include <string.h>

#include "check.h"
#include "memory.h"

status timers_init(struct timers *timers, uint32_t count)
{
    memset(timers, 0, sizeof(*timers));
    timers->count = count;
    timers->at_ns = memory_allocate_array(count, sizeof(*timers->at_ns));
    timers->heap = memory_allocate_array(count, sizeof(*timers->heap));
    timers->place = memory_allocate_array(count, sizeof(*timers->place));
    if (timers->at_ns == NULL || timers->heap == NULL || timers->place == NULL) {
        timers_deinit(timers);
        return STATUS_NO_MEMORY;
    }
    memset(timers->place, 0xFF, count * sizeof(*timers->place));
    return STATUS_OK;
}

void timers_deinit(struct timers *timers)
{
    memory_release(timers->at_ns);
    memory_release(timers->heap);
    memory_release(timers->place);
    memset(timers, 0, sizeof(*timers));
}

static bool is_before(const struct timers *timers, uint32_t a, uint32_t b)
{
    return timers->at_ns[a] < timers->at_ns[b] || (timers->at_ns[a] == timers->at_ns[b] && a < b);
}

static void put(struct timers *timers, uint32_t place, uint32_t timer)
{
    timers->heap[place] = timer;
    timers->place[timer] = place;
}

static void rise(struct timers *timers, uint32_t place)
{
    uint32_t timer = timers->heap[place];

    while (place > 0 && is_before(timers, timer, timers->heap[(place - 1) / 2])) {
        put(timers, place, timers->heap[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    put(timers, place, timer);
}

static void sink(struct timers *timers, uint32_t place)
{
    uint32_t timer = timers->heap[place];

    for (;;) {
        uint32_t child = 2 * place + 1;

        if (child >= timers->heap_count)
            break;
        if (child + 1 < timers->heap_count &&
            is_before(timers, timers->heap[child + 1], timers->heap[child]))
            child++;
        if (!is_before(timers, timers->heap[child], timer))
            break;
        put(timers, place, timers->heap[child]);
        place = child;
    }
    put(timers, place, timer);
}

static void unset(struct timers *timers, uint32_t timer)
{
    uint32_t place = timers->place[timer], last;

    if (place == UINT32_MAX)
        return;
    timers->place[timer] = UINT32_MAX;
    last = timers->heap[--timers->heap_count];
    if (last == timer)
        return;
    put(timers, place, last);
    rise(timers, place);
    sink(timers, timers->place[last]);
}

void timers_set(struct timers *timers, uint32_t timer, uint64_t at_ns)
{
    CHECK(timer < timers->count);
    if (at_ns == UINT64_MAX) {
        unset(timers, timer);
        return;
    }
    timers->at_ns[timer] = at_ns;
    if (timers->place[timer] == UINT32_MAX)
        put(timers, timers->heap_count++, timer);
    rise(timers, timers->place[timer]);
    sink(timers, timers->place[timer]);
}

uint32_t timers_first(const struct timers *timers, uint64_t *at_ns)
{
    if (timers->heap_count == 0)
        return UINT32_MAX;
    *at_ns = timers->at_ns[timers->heap[0]];
    return timers->heap[0];
}
