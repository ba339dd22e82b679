#ifndef PENSTOCK_CUDA_SAMPLING_HISTOGRAM_H
#define PENSTOCK_CUDA_SAMPLING_HISTOGRAM_H

#include "sampling_math.h"
#include "sampling_shape.h"

/* The threshold of a set that is too large to be sorted: a top-k of more than SAMPLING_EXACT, or a flat nucleus. As row_draw:
 * a histogram over the distance to the highest logit, with count and mass a bucket, tells in which bucket the cut lies; a
 * second one splits that bucket, so that only near ties are not told apart. Masses are added as whole numbers, whose sum
 * does not depend on the order: 44 bits behind the point, for at most 2^20 tokens of at most 1. */

#define HISTOGRAM_BUCKETS 1024u
#define DISTANCE_MAX      44.0f
#define MASS_ONE          17592186044416.0 /* 2^44 */

/* A block's shared memory for it. */
struct histogram {
    k_sptr<uint32_t> counts;              /* [HISTOGRAM_BUCKETS] */
    k_sptr<uint64_t> masses;              /* [HISTOGRAM_BUCKETS] */
    k_sptr<double> weights;               /* [HISTOGRAM_BUCKETS] scratch */
    k_sptr<double> count_sums, mass_sums; /* [HISTOGRAM_BUCKETS] of this bucket and those before */
    k_sptr<double> tiles;                 /* [32] scratch */
};

/* Sorts the tokens whose distance is in [low, low + width). All threads of the block. */
K_DEVICE void histogram_fill(const struct histogram &h, const float *row, uint32_t count,
                             const struct sampling_rule &rule, float low, float width)
{
    for (uint32_t b = k_thread(); b < HISTOGRAM_BUCKETS; b += k_threads()) {
        h.counts[b] = 0;
        h.masses[b] = 0;
    }
    k_sync();
    float buckets_a_unit = (float)HISTOGRAM_BUCKETS / width;
    row_visit(row, k_thread(), count, k_threads(), [&](uint32_t, float x) {
        float distance = (rule.max - x) * rule.scale;
        if (!(distance >= low && distance < low + width))
            return;
        uint32_t bucket = (uint32_t)((distance - low) * buckets_a_unit);
        bucket = bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
        k_atomic_add(h.counts + bucket, 1u);
        k_atomic_add(h.masses + bucket, (uint64_t)((double)sampling_exp(-distance) * MASS_ONE));
    });
    k_sync();
    for (uint32_t b = k_thread(); b < HISTOGRAM_BUCKETS; b += k_threads()) {
        uint32_t bucket_count = h.counts[b];
        h.weights[b] = (double)bucket_count;
    }
    running_sums(h.weights, h.count_sums, h.tiles, HISTOGRAM_BUCKETS);
    for (uint32_t b = k_thread(); b < HISTOGRAM_BUCKETS; b += k_threads()) {
        uint64_t mass = h.masses[b];
        h.weights[b] = (double)mass / MASS_ONE;
    }
    running_sums(h.weights, h.mass_sums, h.tiles, HISTOGRAM_BUCKETS);
}

/* The first bucket with which so many tokens or so much mass is reached; HISTOGRAM_BUCKETS: none. Each warp finds it for
 * itself. */
K_DEVICE uint32_t histogram_reach(const struct histogram &h, double count, double mass)
{
    uint32_t first = HISTOGRAM_BUCKETS;
    for (uint32_t b = k_lane(); b < HISTOGRAM_BUCKETS && first == HISTOGRAM_BUCKETS; b += 32) {
        double counted = h.count_sums[b], massed = h.mass_sums[b];
        if (counted >= count || massed >= mass)
            first = b;
    }
    return warp_least(first);
}

K_DEVICE double histogram_before(k_sptr<double> sums, uint32_t bucket)
{
    double sum = 0.0;
    if (bucket > 0)
        sum = sums[bucket - 1];
    return sum;
}

/* The mass of the top_k best, the last bucket in proportion. */
K_DEVICE double histogram_mass_of(const struct histogram &h, double top_k)
{
    uint32_t bucket = histogram_reach(h, top_k, INFINITY);
    double mass = histogram_before(h.mass_sums, bucket);
    if (bucket == HISTOGRAM_BUCKETS)
        return mass;
    double with = h.mass_sums[bucket], counted = h.count_sums[bucket];
    double before = histogram_before(h.count_sums, bucket);
    return mass + (with - mass) * fmin((top_k - before) / (counted - before), 1.0);
}

/* The threshold that leaves the top_k best tokens and of those the fewest that hold top_p of their mass. All threads of the
 * block get it. */
K_DEVICE float threshold_of_many(const struct histogram &h, const float *row, uint32_t count,
                                 const struct sampling_rule &rule, float top_p)
{
    histogram_fill(h, row, count, rule, 0.0f, DISTANCE_MAX);
    double tokens = rule.top_k > 0 ? (double)rule.top_k : INFINITY;
    double mass = INFINITY;
    if (top_p < 1.0f)
        mass = (double)top_p * histogram_mass_of(h, tokens);
    uint32_t bucket = histogram_reach(h, tokens, mass);
    if (bucket == HISTOGRAM_BUCKETS)
        return -INFINITY;
    tokens -= histogram_before(h.count_sums, bucket);
    mass -= histogram_before(h.mass_sums, bucket);
    const float width = DISTANCE_MAX / (float)HISTOGRAM_BUCKETS;
    float low = (float)bucket * width;
    histogram_fill(h, row, count, rule, low, width);
    uint32_t fine = histogram_reach(h, tokens, mass);
    float distance = low + (float)(fine + 1) * width / (float)HISTOGRAM_BUCKETS;
    return rule.max - distance / rule.scale;
}

#endif
