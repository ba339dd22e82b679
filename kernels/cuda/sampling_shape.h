#ifndef PENSTOCK_CUDA_SAMPLING_SHAPE_H
#define PENSTOCK_CUDA_SAMPLING_SHAPE_H

#include "device.h"
#include "sampling.h"

/* What the kernels of the sampler know of each other: how a row is cut, and what one leaves for the next.
 *
 *   chunk  the values of one sum of exponentials. Engine/sample's chunks, so that a draw walks the same sums: 256 values, more
 *          where a row would have more than 1,024 chunks.
 *   part   SAMPLING_PART_CHUNKS chunks: what one block reads. 8,192 values or a little more, at most 32 parts a row.
 *
 *   read   (parts x samples)  each value with mask and wishes; of each part the highest, and whether it is broken
 *   part   (parts x samples)  knows the row's highest: sums of chunks, the part's best candidates
 *   draw   (samples)          joins the parts and chooses
 *
 *                row of logits            wished row (only where there are wishes)
 *   read   [part 0][part 1][part 2] ---> [part 0][part 1][part 2] + highest of each
 *   part    sums and best, as they came    sums and best, wished
 *   draw    logprobs                       token                                   */

#define SAMPLING_THREADS     256u /* of read and part: eight lanes for each chunk of a part */
#define SAMPLING_PART_CHUNKS (SAMPLING_THREADS / 8)
#define SAMPLING_CHUNKS_MAX  1024u

/* Sets of up to so many tokens are sorted and cut exactly (ROW_DRAW_EXACT of engine/sample). */
#define SAMPLING_EXACT 256u
static_assert(SAMPLING_EXACT <= SAMPLING_THREADS, "sampling_part.least is too high");

/* What a part is, for both rows: with the wishes, and as it came. */
struct sampling_part {
    float max;          /* with the wishes; -inf for none */
    uint32_t max_token; /* the lowest of those that have it */
    /* At least SAMPLING_THREADS values are not below it: the lowest of the highest of each thread. What is below it is none of the
     * best SAMPLING_EXACT, and need not be looked at to find them: five of six values of a usual row. */
    float least;
    float raw_max, raw_least;
    uint32_t has_nan, raw_has_nan;
};

struct sampling_shape {
    uint32_t vocabulary, chunk_size, chunk_count, part_count;
    /* Bytes from the beginning of a sample's scratch to what comes after the wished row; and of all of it. */
    uint64_t parts_at, sums_at, best_at, sample_bytes;
};

struct sampling_shape sampling_shape_of(uint32_t vocabulary);

/* One sample's scratch. Keys of candidates as sampling_select.h has them; 0: none. */
struct sampling_scratch {
    float *row;                  /* [vocabulary], with the wishes; only where there are any */
    struct sampling_part *parts; /* [part_count] */
    float *sums;                 /* [chunk_count] */
    float *raw_sums;             /* [chunk_count] */
    uint64_t *best;              /* [part_count, SAMPLING_EXACT] */
    uint64_t *raw_best;          /* [part_count, DEVICE_ALTERNATIVES_MAX] */
};

K_DEVICE struct sampling_scratch
sampling_scratch_of(void *scratch, const struct sampling_shape &shape, uint32_t sample)
{
    char *base = (char *)scratch + sample * shape.sample_bytes;
    struct sampling_scratch s;
    s.row = (float *)base;
    s.parts = (struct sampling_part *)(base + shape.parts_at);
    s.sums = (float *)(base + shape.sums_at);
    s.raw_sums = s.sums + shape.chunk_count;
    s.best = (uint64_t *)(base + shape.best_at);
    s.raw_best = s.best + (uint64_t)shape.part_count * SAMPLING_EXACT;
    return s;
}

/* Does the sample change its row before it chooses? Else it chooses from the row as it came. */
K_DEVICE bool sample_has_row(const struct device_sample &sample)
{
    return sample.mask != DEVICE_SAMPLE_NONE || sample.slot != DEVICE_SAMPLE_NONE;
}

/* What all parts of a row come to. */
K_DEVICE struct sampling_part parts_joined(const struct sampling_part *parts, uint32_t count)
{
    struct sampling_part joined = parts[0];
    for (uint32_t p = 1; p < count; p++) {
        struct sampling_part part = parts[p];
        if (part.max > joined.max) {
            joined.max = part.max;
            joined.max_token = part.max_token;
        }
        joined.least = fmaxf(joined.least, part.least);
        joined.raw_max = fmaxf(joined.raw_max, part.raw_max);
        joined.raw_least = fmaxf(joined.raw_least, part.raw_least);
        joined.has_nan |= part.has_nan;
        joined.raw_has_nan |= part.raw_has_nan;
    }
    return joined;
}

K_DEVICE bool is_finite(float x)
{
    return fabsf(x) < INFINITY; /* false for NaN */
}

/* How a sample is to be chosen. */
struct sampling_rule {
    bool is_greedy;
    float scale;         /* 1 / temperature */
    float max;           /* of the row */
    uint32_t top_k;      /* 0: off */
    uint32_t candidates; /* best tokens to look at: a top-k or a nucleus of so many; 0: none */
    bool has_sums; /* the sums of chunks are wanted, of all values that are not below `threshold` */
    float threshold;
};

/* The lowest logit of min_p. */
K_DEVICE float min_p_threshold(const struct device_sample &sample, float scale, float max)
{
    return sample.min_p > 0.0f ? max + (float)log((double)sample.min_p) / scale : -INFINITY;
}

K_DEVICE struct sampling_rule sampling_rule_of(const struct device_sample &sample, float max,
                                               uint32_t vocabulary)
{
    struct sampling_rule rule;
    rule.scale = 1.0f / sample.temperature;
    rule.is_greedy = !is_finite(rule.scale);
    rule.max = max;
    rule.top_k = sample.top_k < vocabulary ? sample.top_k : 0;
    bool is_nucleus = rule.top_k == 0 && sample.top_p < 1.0f;
    bool is_few = is_nucleus || (rule.top_k > 0 && rule.top_k <= SAMPLING_EXACT);
    rule.candidates = is_nucleus ? SAMPLING_EXACT : is_few ? rule.top_k : 0;
    rule.has_sums = rule.top_k == 0;
    rule.threshold = is_nucleus ? -INFINITY : min_p_threshold(sample, rule.scale, max);
    if (rule.is_greedy) {
        rule.candidates = 0;
        rule.has_sums = false;
    }
    return rule;
}

#endif
