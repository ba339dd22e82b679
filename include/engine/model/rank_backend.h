#ifndef PENSTOCK_ENGINE_RANK_BACKEND_H
#define PENSTOCK_ENGINE_RANK_BACKEND_H

#include "backend.h"

/* Opens the backend of one of `size` ranks, of what all of them may use together: its share of the threads (at least one), which
 * on a CPU stay on its share of the cores where there is a thread for each; or, on devices, the `rank`-th from
 * whole->device on. whole->threads > 0 unless size is 1. The calling thread becomes the rank's. Statuses as backend_open. */
NODISCARD status rank_backend_open(const struct backend_options *whole, uint32_t rank,
                                   uint32_t size, backend **out, struct error_note *note);

/* How often the cache of a whole model is there over its ranks: where they are more than its key heads, several hold the same. */
static inline uint32_t rank_kv_copies(uint32_t n_kv_heads, uint32_t size)
{
    return size > n_kv_heads ? size / n_kv_heads : 1;
}

#endif
