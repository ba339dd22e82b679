#include "quantile_tracker.h"

/* Of the estimate, for the whole way between always up and always down: a p95 rises by 4.75 % and falls by 0.25 %. */
#define STEP 0.05

void quantile_tracker_note(struct quantile_tracker *tracker, double quantile, uint64_t value)
{
    uint64_t before = quantile_tracker_get(tracker);
    double factor = value > before ? 1.0 + STEP * quantile : 1.0 - STEP * (1.0 - quantile);
    uint64_t after = before == 0 ? value : (uint64_t)((double)before * factor + 0.5);

    atomic_store_explicit(&tracker->value, after > 0 ? after : 1, memory_order_relaxed);
}
