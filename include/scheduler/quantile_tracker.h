#ifndef PENSTOCK_SCHEDULER_QUANTILE_TRACKER_H
#define PENSTOCK_SCHEDULER_QUANTILE_TRACKER_H

#include <stdatomic.h>
#include <stdint.h>

/* A quantile of a stream of values in one word, no lock: each value above the estimate moves it up a little, each below it
 * down, in such a proportion that it rests where the wanted share lies below. After Ma, Muthukrishnan and Sandler, Frugal
 * streaming for estimating quantiles, 2013, with steps that are shares of the estimate, as times differ by orders of
 * magnitude. It follows what changes within some hundred values. Any thread; of two notes at once one may be lost. */
struct quantile_tracker {
    _Atomic uint64_t value; /* 0: nothing is known yet */
};

/* `quantile`: 0 .. 1. */
void quantile_tracker_note(struct quantile_tracker *tracker, double quantile, uint64_t value);

static inline uint64_t quantile_tracker_get(const struct quantile_tracker *tracker)
{
    return atomic_load_explicit(&tracker->value, memory_order_relaxed);
}

#endif
