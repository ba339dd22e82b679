#ifndef PENSTOCK_SCHEDULER_LOAD_WINDOW_H
#define PENSTOCK_SCHEDULER_LOAD_WINDOW_H

#include <stdint.h>

/* The last minute of a measured quantity in buckets of a second: averages over any of its last seconds. As Knative's TimedFloat64Buckets
 * (serving, pkg/autoscaler/aggregation): a bucket holds the mean of its samples; seconds without one do not count.
 *
 * Pure; one owner at a time. All zero is an empty one. */

#define LOAD_WINDOW_SECONDS 64u

struct load_window {
    double sum[LOAD_WINDOW_SECONDS];
    uint32_t samples[LOAD_WINDOW_SECONDS];
    uint64_t last_s;  /* the newest bucket's second */
    uint64_t first_s; /* of the first sample ever, plus 1; 0: none */
};

/* Time never goes backwards. */
void load_window_note(struct load_window *window, uint64_t now_ns, double value);

/* Mean of the last `seconds` (1..LOAD_WINDOW_SECONDS) of which there are samples; 0 without any. */
double load_window_mean(const struct load_window *window, uint64_t now_ns, uint32_t seconds);

/* Variance of the seconds' values about their mean; 0 with fewer than two. */
double load_window_variance(const struct load_window *window, uint64_t now_ns, uint32_t seconds);

#endif
