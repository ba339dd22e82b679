#ifndef PENSTOCK_ENGINE_SAMPLE_ROW_MATH_H
#define PENSTOCK_ENGINE_SAMPLE_ROW_MATH_H

#include <stdbool.h>
#include <stdint.h>

/* Passes over one row of logits ([count] f32, any alignment, -inf allowed), each linear and
 * vectorised. The lanes are eight wide whatever the CPU has, so that sums are added in one order
 * and give the same bits everywhere. Pure: any thread. */

/* The highest value; -inf for none. *is_sound: no NaN in the row. */
float row_max(const float *logits, uint32_t count, bool *is_sound);

/* First index whose value equals `value`, which must be in the row. */
uint32_t row_find(const float *logits, uint32_t count, float value);

/* Chunks into which a row is cut for sums: of how many values, and the most there can be. */
#define ROW_CHUNKS_MAX 1024u
uint32_t row_chunk_size(uint32_t count);

/* exp(x) for x in [-87, 0], relative error below 2e-7 (Cephes' expf polynomial); 0 below. */
float row_exp(float x);

/* sums[c] = sum over chunk c of exp((logits[i] - max) * scale) where logits[i] >= threshold.
 * Returns the sum of all. */
double row_exp_sums(const float *logits, uint32_t count, float max, float scale, float threshold,
                    float sums[ROW_CHUNKS_MAX]);

/* exps[i] = exp((logits[i] - max) * scale), as row_exp. exps: [count]. */
void row_exps(const float *logits, uint32_t count, float max, float scale, float *exps);

struct row_candidate {
    float logit;
    uint32_t token;
};

/* The `k` best (fewer if the row is shorter or has -inf), best first, of equal ones the lowest id
 * first. Returns how many. candidates: [k]. O(count + k log k log(count / k)) for rows in random
 * order. */
uint32_t row_select_top(const float *logits, uint32_t count, uint32_t k,
                        struct row_candidate *candidates);

#endif
