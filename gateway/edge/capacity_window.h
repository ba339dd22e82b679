#ifndef PENSTOCK_EDGE_CAPACITY_WINDOW_H
#define PENSTOCK_EDGE_CAPACITY_WINDOW_H

#include <stdint.h>

/* What came for a model in about the last minute, and how long it took as the gateway saw it: differences of sums that only
 * rise. Pure; one owner. All zero is an empty one. */

#define CAPACITY_WINDOW_SAMPLES 31u /* of the autoscaler's ticks */

struct capacity_sums {
    uint64_t at_ns;
    double arrivals;
    double ttft_s, ttft_count; /* of streams' first tokens */
    double gap_s, gap_count;   /* of the gaps after them */
};

struct capacity_window {
    struct capacity_sums samples[CAPACITY_WINDOW_SAMPLES];
    uint64_t count; /* ever taken */
};

void capacity_window_note(struct capacity_window *window, const struct capacity_sums *sums);

/* The newest less the oldest that is kept; `at_ns` is then the time between them, 0: there are not two yet. */
struct capacity_sums capacity_window_difference(const struct capacity_window *window);

#endif
