#include "rank_backend.h"

#include <sched.h>
#include <unistd.h>

#include "check.h"
#include "communicator.h"

/* The cores numbered [first, first + count) of `cores`. */
static cpu_set_t cut_cores(const cpu_set_t *cores, uint32_t first, uint32_t count)
{
    cpu_set_t part;
    CPU_ZERO(&part);
    uint32_t number = 0;
    for (int core = 0; core < CPU_SETSIZE; core++) {
        if (!CPU_ISSET(core, cores))
            continue;
        if (number >= first && number - first < count)
            CPU_SET(core, &part);
        number++;
    }
    return part;
}

/* What the process' first thread may use counts: threads that start others may be on a core of their own already. Only a
 * hint: without it all works too. */
static void stay_on_cores(uint32_t threads, uint32_t first, uint32_t count)
{
    cpu_set_t cores;
    if (sched_getaffinity(getpid(), sizeof cores, &cores) != 0)
        return;
    if ((uint32_t)CPU_COUNT(&cores) == threads)
        cores = cut_cores(&cores, first, count);
    (void)sched_setaffinity(0, sizeof cores, &cores);
}

status rank_backend_open(const struct backend_options *whole, uint32_t rank, uint32_t size,
                         backend **out, struct error_note *note)
{
    struct backend_options own = *whole;
    CHECK(rank < size);
    if (size > 1) {
        CHECK(whole->threads > 0);
        uint32_t first = rank_share_first(whole->threads, 1, rank, size),
                 count = rank_share_first(whole->threads, 1, rank + 1, size) - first;
        own.threads = count > 0 ? count : 1;
        own.device = whole->device + rank;
        stay_on_cores(whole->threads, first, own.threads);
    }
    return backend_open(&own, out, note);
}
