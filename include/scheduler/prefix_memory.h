#ifndef PENSTOCK_SCHEDULER_PREFIX_MEMORY_H
#define PENSTOCK_SCHEDULER_PREFIX_MEMORY_H

#include <stdint.h>

/* Which beginnings of prompts a server has been sent lately: what stands in for its cache where the server does not tell what
 * that holds. Bounded: like a processor's cache, a name may lie in PREFIX_MEMORY_WAYS places, and the one that was sent longest
 * ago makes room. Any threads at once, without a lock; two that note at the same moment may lose a name, which costs a
 * request a worse choice and nothing else. */
typedef struct prefix_memory prefix_memory;

#define PREFIX_MEMORY_NAMES 32768u
#define PREFIX_MEMORY_WAYS  8u

prefix_memory *prefix_memory_create(void);         /* NULL: no memory */
void prefix_memory_destroy(prefix_memory *memory); /* accepts NULL */

/* These were sent now; no name is 0. Neither allocates nor blocks. */
void prefix_memory_note(prefix_memory *memory, const uint64_t *names, uint32_t count);
/* How many of the beginnings, each longer than the one before, were sent: the first `n` of `count`. */
uint32_t prefix_memory_match(const prefix_memory *memory, const uint64_t *names, uint32_t count);
/* The server has begun anew. */
void prefix_memory_clear(prefix_memory *memory);

#endif
