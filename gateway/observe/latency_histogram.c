#include "latency_histogram.h"

#include <math.h>

#define FIRST_S    1e-4 /* where the first bucket ends: no answer is faster */
#define PER_OCTAVE 4.0

static uint32_t bucket_of(double seconds)
{
    double place = ceil(log2(seconds / FIRST_S) * PER_OCTAVE);

    if (!(place > 0)) /* not a number, too */
        return 0;
    return place < LATENCY_BUCKET_COUNT - 1 ? (uint32_t)place : LATENCY_BUCKET_COUNT - 1;
}

void latency_counts_note(struct latency_counts *counts, double seconds)
{
    atomic_fetch_add_explicit(&counts->counts[bucket_of(seconds)], 1, memory_order_relaxed);
}

void latency_counts_take(struct latency_counts *counts, struct latency_histogram *out)
{
    for (uint32_t i = 0; i < LATENCY_BUCKET_COUNT; i++)
        out->counts[i] += atomic_exchange_explicit(&counts->counts[i], 0, memory_order_relaxed);
}

void latency_histogram_note(struct latency_histogram *histogram, double seconds)
{
    histogram->counts[bucket_of(seconds)]++;
}

void latency_histogram_add(struct latency_histogram *histogram,
                           const struct latency_histogram *other)
{
    for (uint32_t i = 0; i < LATENCY_BUCKET_COUNT; i++)
        histogram->counts[i] += other->counts[i];
}

uint64_t latency_histogram_count(const struct latency_histogram *histogram)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < LATENCY_BUCKET_COUNT; i++)
        sum += histogram->counts[i];
    return sum;
}

double latency_histogram_quantile(const struct latency_histogram *histogram, double quantile)
{
    double wanted = quantile * (double)latency_histogram_count(histogram), before = 0;

    for (uint32_t i = 0; i < LATENCY_BUCKET_COUNT; i++) {
        double here = (double)histogram->counts[i];

        /* Within a bucket as though its logarithms lay evenly. */
        if (here > 0 && before + here >= wanted)
            return FIRST_S * exp2(((double)i - 1 + (wanted - before) / here) / PER_OCTAVE);
        before += here;
    }
    return -1;
}
