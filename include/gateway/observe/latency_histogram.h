#ifndef PENSTOCK_OBSERVE_LATENCY_HISTOGRAM_H
#define PENSTOCK_OBSERVE_LATENCY_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

/* Counts of times in buckets that each end 2^(1/4) times later than the one before, from 0.1 ms to half an hour: sums of several are as
 * good as one of all, and a quantile is less than 10 % off (half a bucket). Prometheus' histograms, with bounds for people, would be off by half. */

#define LATENCY_BUCKET_COUNT 96u

struct latency_histogram {
    uint64_t counts[LATENCY_BUCKET_COUNT];
};

/* The same, for many threads to add to. */
struct latency_counts {
    _Atomic uint64_t counts[LATENCY_BUCKET_COUNT];
};

/* Any thread; one relaxed addition. */
void latency_counts_note(struct latency_counts *counts, double seconds);
/* What has come since the last call, added to `out`. One thread. */
void latency_counts_take(struct latency_counts *counts, struct latency_histogram *out);

void latency_histogram_note(struct latency_histogram *histogram, double seconds);
void latency_histogram_add(struct latency_histogram *histogram,
                           const struct latency_histogram *other);
uint64_t latency_histogram_count(const struct latency_histogram *histogram);
/* In seconds; `quantile` within 0 and 1. Negative: nothing was noted. */
double latency_histogram_quantile(const struct latency_histogram *histogram, double quantile);

#endif
