#ifndef PENSTOCK_BENCH_SAMPLES_H
#define PENSTOCK_BENCH_SAMPLES_H

#include <stddef.h>

#include "status.h"

/* Measured values, all kept, so that percentiles are exact. All zero is an empty one. */

struct bench_samples {
    double *values; /* owned */
    size_t count, capacity;
    double sum;
};

NODISCARD status bench_samples_add(struct bench_samples *samples,
                                   double value);               /* STATUS_NO_MEMORY */
double bench_samples_mean(const struct bench_samples *samples); /* 0: none */
/* The nearest rank: the smallest value that a share `p` (0..1) of all does not exceed; 0: none. Sorts them. */
double bench_samples_percentile(struct bench_samples *samples, double p);
void bench_samples_deinit(struct bench_samples *samples);

#endif
