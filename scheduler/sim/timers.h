#ifndef PENSTOCK_SIM_TIMERS_H
#define PENSTOCK_SIM_TIMERS_H

#include <stdint.h>

#include "status.h"

/* The virtual clock's agenda: `count` timers, each set to one moment or to none, in a binary heap that knows where each stands.
 * Timers of the same moment go off in the order of their numbers. */
struct timers {
    uint32_t count, heap_count;
    uint64_t *at_ns; /* [count], owned as all */
    uint32_t *heap;  /* numbers of the timers that are set, by time */
    uint32_t *place; /* [count]; UINT32_MAX: not set */
};

NODISCARD status timers_init(struct timers *timers,
                             uint32_t count); /* STATUS_OK, STATUS_NO_MEMORY */
void timers_deinit(struct timers *timers);
void timers_set(struct timers *timers, uint32_t timer, uint64_t at_ns); /* UINT64_MAX: not set */
/* The next one (UINT32_MAX: none is set) stays set. */
uint32_t timers_first(const struct timers *timers, uint64_t *at_ns);

#endif
