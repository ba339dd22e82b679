#include "row_draw.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "row_math.h"

/* Three ways to one distribution, by how many tokens can be left:
 *
 *  few   A top-k of at most 256, or a nucleus (top-p) that the 256 best tokens cover: select
 *        them, sort them, cut. This is nearly every request: models are sure of themselves.
 *
 *  many  A larger top-k or a flat nucleus: nothing is sorted. A histogram over the distance to
 *        the maximum, with count and mass a bucket, tells in which bucket the cut lies; a second
 *        one splits that bucket (0.04 wide) in 1,024, so that only near ties are not told apart.
 *        The set is then "all logits >= threshold".
 *
 *  all   No cut, or min-p alone, which is a threshold from the start.
 *
 * A set given by a threshold is drawn from in two steps: the sums of exponentials of up to 1,024
 * chunks say which chunk holds the draw, and only that chunk is walked. */

/* Tokens more than this far below the maximum (in units of temperature) weigh less than 2e-14 of
 * the first together with all their like: they cannot matter to a draw of 53 bits over a sum of
 * floats. */
#define DISTANCE_MAX 44.0f
#define BUCKETS      1024u

/* Size of the first try at a nucleus. */
#define NUCLEUS_FIRST 32u

static uint32_t draw_above(const float *logits, uint32_t count, const struct draw_rule *rule,
                           float threshold)
{
    float sums[ROW_CHUNKS_MAX];
    double total = row_exp_sums(logits, count, rule->max, rule->scale, threshold, sums);
    double left = rule->uniform * total;
    uint32_t size = row_chunk_size(count);
    uint32_t chunk = 0;
    uint32_t last_filled = 0;
    for (uint32_t c = 0; c * size < count; c++) {
        if (sums[c] <= 0.0f)
            continue;
        chunk = last_filled = c;
        if (left < (double)sums[c])
            break;
        left -= (double)sums[c];
    }
    /* Rounding may leave a remainder past the end: then the last token of the set is meant. */
    uint32_t end = (chunk + 1) * size < count ? (chunk + 1) * size : count;
    uint32_t chosen = last_filled * size;
    for (uint32_t i = chunk * size; i < end; i++) {
        if (!(logits[i] >= threshold))
            continue;
        double weight = (double)row_exp((logits[i] - rule->max) * rule->scale);
        if (weight <= 0.0)
            continue;
        chosen = i;
        if (left < weight)
            break;
        left -= weight;
    }
    return chosen;
}

struct histogram {
    uint32_t counts[BUCKETS];
    double masses[BUCKETS];
};

/* Sorts the tokens whose distance from the maximum is in [low, low + width) into buckets by it. */
static void histogram_fill(struct histogram *h, const float *logits, uint32_t count,
                           const struct draw_rule *rule, float low, float width)
{
    memset(h, 0, sizeof *h);
    float buckets_a_unit = (float)BUCKETS / width;
    for (uint32_t i = 0; i < count; i++) {
        float distance = (rule->max - logits[i]) * rule->scale;
        if (!(distance >= low && distance < low + width))
            continue;
        uint32_t bucket = (uint32_t)((distance - low) * buckets_a_unit);
        bucket = bucket < BUCKETS ? bucket : BUCKETS - 1;
        h->counts[bucket]++;
        h->masses[bucket] += (double)row_exp(-distance);
    }
}

/* What may still be taken before the set is full. */
struct allowance {
    double count, mass;
};

/* First bucket in which the allowance ends; takes the buckets before it off. BUCKETS: it never
 * ends. */
static uint32_t histogram_cut(const struct histogram *h, struct allowance *left)
{
    for (uint32_t bucket = 0; bucket < BUCKETS; bucket++) {
        if (left->count <= h->counts[bucket] || left->mass <= h->masses[bucket])
            return bucket;
        left->count -= h->counts[bucket];
        left->mass -= h->masses[bucket];
    }
    return BUCKETS;
}

/* The threshold that leaves the top_k best tokens and of those the fewest that hold top_p of their
 * mass. */
static float threshold_of(const float *logits, uint32_t count, const struct draw_rule *rule)
{
    struct histogram h;
    histogram_fill(&h, logits, count, rule, 0.0f, DISTANCE_MAX);
    double top_k = rule->top_k > 0 ? (double)rule->top_k : (double)count;
    /* top-p is over the mass that top-k leaves: the k best, the last bucket in proportion. */
    double mass = 0.0;
    double tokens = 0.0;
    for (uint32_t bucket = 0; bucket < BUCKETS && tokens < top_k; bucket++) {
        double share = (top_k - tokens) / fmax((double)h.counts[bucket], 1.0);
        mass += h.masses[bucket] * fmin(share, 1.0);
        tokens += (double)h.counts[bucket];
    }
    /* Off is more than all there is, so that rounding cannot cut. */
    struct allowance left = {rule->top_k > 0 ? top_k : INFINITY,
                             rule->top_p < 1.0f ? (double)rule->top_p * mass : INFINITY};
    uint32_t bucket = histogram_cut(&h, &left);
    if (bucket == BUCKETS)
        return -INFINITY;
    const float width = DISTANCE_MAX / (float)BUCKETS;
    float low = (float)bucket * width;
    histogram_fill(&h, logits, count, rule, low, width);
    uint32_t fine = histogram_cut(&h, &left);
    float distance = low + (float)(fine + 1) * width / (float)BUCKETS;
    return rule->max - distance / rule->scale;
}

/* How many of the best tokens, sorted, top-p and min-p leave; `total` is the mass that top_p is a share of. */
static uint32_t keep_among(const struct row_candidate *best, uint32_t count,
                           const struct draw_rule *rule, double total,
                           double weights[ROW_DRAW_EXACT], double *mass)
{
    double nucleus = rule->top_p < 1.0f ? (double)rule->top_p * total : INFINITY;
    uint32_t kept = 0;
    *mass = 0.0;
    while (kept < count && *mass < nucleus) {
        double weight = exp((double)((best[kept].logit - rule->max) * rule->scale));
        if (weight < (double)rule->min_p)
            break;
        weights[kept++] = weight;
        *mass += weight;
    }
    return kept;
}

static uint32_t draw_among(const struct row_candidate *best, uint32_t count,
                           const struct draw_rule *rule, double total)
{
    double weights[ROW_DRAW_EXACT];
    double mass;
    uint32_t kept = keep_among(best, count, rule, total, weights, &mass);
    double left = rule->uniform * mass;
    uint32_t chosen = 0;
    while (chosen + 1 < kept && left >= weights[chosen])
        left -= weights[chosen++];
    return best[chosen].token;
}

static double mass_of(const struct row_candidate *best, uint32_t count,
                      const struct draw_rule *rule)
{
    double mass = 0.0;
    for (uint32_t i = 0; i < count; i++)
        mass += exp((double)((best[i].logit - rule->max) * rule->scale));
    return mass;
}

/* The few best tokens, sorted, that a top-k or a nucleus leaves no others than; 0: it takes more than ROW_DRAW_EXACT. */
static uint32_t select_few(const float *logits, uint32_t count, const struct draw_rule *rule,
                           struct row_candidate best[ROW_DRAW_EXACT], double *total)
{
    if (rule->top_k > 0 && rule->top_k <= ROW_DRAW_EXACT) {
        uint32_t found = row_select_top(logits, count, rule->top_k, best);
        *total = mass_of(best, found, rule);
        return found;
    }
    if (rule->top_k > 0 || rule->top_p >= 1.0f)
        return 0;
    float sums[ROW_CHUNKS_MAX];
    *total = row_exp_sums(logits, count, rule->max, rule->scale, -INFINITY, sums);
    /* Mostly the first is enough, and a short list is much quicker to keep than a long one. */
    static const uint32_t sizes[] = {NUCLEUS_FIRST, ROW_DRAW_EXACT};
    for (int i = 0; i < 2; i++) {
        uint32_t found = row_select_top(logits, count, sizes[i], best);
        if (mass_of(best, found, rule) >= (double)rule->top_p * *total || found == count)
            return found;
    }
    return 0;
}

/* The threshold of a set of many. */
static float cut_many(const float *logits, uint32_t count, const struct draw_rule *rule)
{
    float threshold = -INFINITY;
    if (rule->top_k > 0 || rule->top_p < 1.0f)
        threshold = threshold_of(logits, count, rule);
    if (rule->min_p > 0.0f)
        threshold = fmaxf(threshold, rule->max + logf(rule->min_p) / rule->scale);
    return threshold;
}

uint32_t row_draw(const float *logits, uint32_t count, const struct draw_rule *rule)
{
    struct draw_rule whole = *rule;
    struct row_candidate best[ROW_DRAW_EXACT];
    double total;
    if (whole.top_k >= count)
        whole.top_k = 0;
    uint32_t found = select_few(logits, count, &whole, best, &total);
    if (found > 0)
        return draw_among(best, found, &whole, total);
    return draw_above(logits, count, &whole, cut_many(logits, count, &whole));
}

float row_cut(const float *logits, uint32_t count, const struct draw_rule *rule)
{
    struct draw_rule whole = *rule;
    struct row_candidate best[ROW_DRAW_EXACT];
    double total;
    if (whole.top_k >= count)
        whole.top_k = 0;
    uint32_t found = select_few(logits, count, &whole, best, &total);
    if (found == 0)
        return cut_many(logits, count, &whole);
    double weights[ROW_DRAW_EXACT];
    double mass;
    return best[keep_among(best, found, &whole, total, weights, &mass) - 1].logit;
}
