#include "row_filter.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "row_draw.h"
#include "row_math.h"

/* Sums of doubles are kept in eight lanes, so that their additions do not wait for each other. */
#define LANES 8u

static double lanes_sum(const double lanes[LANES])
{
    double sum = 0.0;
    for (uint32_t j = 0; j < LANES; j++)
        sum += lanes[j];
    return sum;
}

static void cut_below(float *row, uint32_t count, float least)
{
    for (uint32_t i = 0; i < count; i++)
        row[i] = row[i] < least ? -INFINITY : row[i];
}

static float max_of(const float *row, uint32_t count)
{
    bool is_sound;
    return row_max(row, count, &is_sound);
}

static double mass_of(const struct row_filter *filter, const float *row, uint32_t count, float max)
{
    float sums[ROW_CHUNKS_MAX];
    return row_exp_sums(row, count, max, filter->scale, -INFINITY, sums);
}

/* --- top-n-sigma --- */

static double deviation_of(const float *row, uint32_t count)
{
    double sums[LANES] = {0.0}, squares[LANES] = {0.0}, counts[LANES] = {0.0};
    for (uint32_t i = 0; i < count; i++) {
        bool is_there = row[i] > -INFINITY;
        sums[i % LANES] += is_there ? (double)row[i] : 0.0;
        counts[i % LANES] += is_there ? 1.0 : 0.0;
    }
    double there = lanes_sum(counts);
    double mean = lanes_sum(sums) / there;
    for (uint32_t i = 0; i < count; i++) {
        double off = row[i] > -INFINITY ? (double)row[i] - mean : 0.0;
        squares[i % LANES] += off * off;
    }
    return sqrt(lanes_sum(squares) / there);
}

static void apply_top_n_sigma(const struct row_filter *filter, float *row, uint32_t count)
{
    float max = max_of(row, count);
    double least = (double)max - (double)filter->top_n_sigma * deviation_of(row, count);
    cut_below(row, count, (float)least);
}

/* --- top-k, top-p, min-p --- */

static void apply_cut(const struct row_filter *filter, float *row, uint32_t count, uint32_t top_k,
                      float top_p, float min_p)
{
    struct draw_rule rule = {.scale = filter->scale,
                             .max = max_of(row, count),
                             .top_k = top_k,
                             .top_p = top_p,
                             .min_p = min_p};
    cut_below(row, count, row_cut(row, count, &rule));
}

/* --- top-a --- */

static void apply_top_a(const struct row_filter *filter, float *row, uint32_t count)
{
    float max = max_of(row, count);
    /* In weights relative to the likeliest token's, whose probability is 1 / mass. */
    double weight = (double)filter->top_a / mass_of(filter, row, count, max);
    cut_below(row, count, max + (float)(log(weight) / (double)filter->scale));
}

/* --- typicality --- */

/* Weights are zero from 87 on, so that no surprise that counts is further than this from the entropy. A power of two as are
 * the buckets: their edges are exact, and a token is in the same bucket's range in the next pass. */
#define KEY_MAX     128.0
#define KEY_BUCKETS 1024u
/* 128 / 1024^3 is the resolution of a float near 1. */
#define KEY_PASSES 3

/* How far the surprise of a logit is from the entropy. Both are log(mass) more than what is computed here. */
static inline double atypicality(const struct row_filter *filter, float max, double entropy,
                                 float logit)
{
    return fabs((double)((max - logit) * filter->scale) - entropy);
}

/* The atypicality up to which tokens hold `wanted` of the weights. */
static double typical_edge(const struct row_filter *filter, const float *row, const float *weights,
                           uint32_t count, float max, double entropy, double wanted)
{
    double low = 0.0, width = KEY_MAX;
    double masses[KEY_BUCKETS], last[KEY_BUCKETS];
    for (int pass = 0; pass < KEY_PASSES; pass++) {
        memset(masses, 0, sizeof masses);
        memset(last, 0, sizeof last);
        double step = width / KEY_BUCKETS;
        for (uint32_t i = 0; i < count; i++) {
            double key = atypicality(filter, max, entropy, row[i]) - low;
            if (!(weights[i] > 0.0f && key >= 0.0 && key < width))
                continue;
            uint32_t bucket = (uint32_t)(key / step);
            masses[bucket] += (double)weights[i];
            last[bucket] = fmax(last[bucket], key);
        }
        uint32_t bucket = 0;
        while (bucket < KEY_BUCKETS && wanted > masses[bucket])
            wanted -= masses[bucket++];
        if (bucket == KEY_BUCKETS) /* rounding: all of them */
            return low + width;
        if (pass + 1 == KEY_PASSES)
            return low + last[bucket];
        low += (double)bucket * step;
        width = step;
    }
    return low;
}

static void apply_typical(const struct row_filter *filter, float *row, float *weights,
                          uint32_t count)
{
    float max = max_of(row, count);
    double masses[LANES] = {0.0}, surprises[LANES] = {0.0};
    row_exps(row, count, max, filter->scale, weights);
    for (uint32_t i = 0; i < count; i++) {
        double weight = (double)weights[i];
        double surprise = weights[i] > 0.0f ? (double)((max - row[i]) * filter->scale) : 0.0;
        masses[i % LANES] += weight;
        surprises[i % LANES] += weight * surprise;
    }
    double mass = lanes_sum(masses);
    double entropy = lanes_sum(surprises) / mass;
    double edge =
        typical_edge(filter, row, weights, count, max, entropy, (double)filter->typical_p * mass);
    for (uint32_t i = 0; i < count; i++)
        if (atypicality(filter, max, entropy, row[i]) > edge)
            row[i] = -INFINITY;
}

/* --- exclude top choices --- */

static void apply_xtc(const struct row_filter *filter, float *row, uint32_t count)
{
    float max = max_of(row, count);
    double weight = (double)filter->xtc_threshold * mass_of(filter, row, count, max);
    float least = max + (float)(log(weight) / (double)filter->scale);
    float kept = INFINITY; /* the lowest of the top choices */
    for (uint32_t i = 0; i < count; i++)
        if (row[i] >= least && row[i] < kept && row[i] > -INFINITY)
            kept = row[i];
    for (uint32_t i = 0; i < count; i++)
        row[i] = row[i] > kept ? -INFINITY : row[i];
}

/* --- mirostat --- */

double row_scaled_log_sum(const float *row, uint32_t count, float scale)
{
    float sums[ROW_CHUNKS_MAX];
    float max = max_of(row, count);
    return (double)(max * scale) + log(row_exp_sums(row, count, max, scale, -INFINITY, sums));
}

static void apply_surprise(const struct row_filter *filter, float *row, uint32_t count)
{
    double nats = (double)filter->surprise_max * M_LN2;
    double least = row_scaled_log_sum(row, count, filter->scale) - nats;
    cut_below(row, count, fminf((float)(least / (double)filter->scale), max_of(row, count)));
}

void row_filter_apply(const struct row_filter *filter, float *row, float *weights, uint32_t count)
{
    if (filter->top_n_sigma > 0.0f)
        apply_top_n_sigma(filter, row, count);
    if (filter->top_k > 0)
        apply_cut(filter, row, count, filter->top_k, 1.0f, 0.0f);
    if (filter->top_a > 0.0f)
        apply_top_a(filter, row, count);
    if (filter->typical_p < 1.0f)
        apply_typical(filter, row, weights, count);
    if (filter->top_p < 1.0f || filter->min_p > 0.0f)
        apply_cut(filter, row, count, 0, filter->top_p, filter->min_p);
    if (filter->xtc_threshold <= 0.5f)
        apply_xtc(filter, row, count);
    if (filter->surprise_max < INFINITY)
        apply_surprise(filter, row, count);
}
