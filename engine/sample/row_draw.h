#ifndef PENSTOCK_ENGINE_SAMPLE_ROW_DRAW_H
#define PENSTOCK_ENGINE_SAMPLE_ROW_DRAW_H

#include <stdint.h>

/* What to draw from a row after temperature; 1/temperature is applied inside. */
struct draw_rule {
    float scale;    /* 1 / temperature */
    float max;      /* of the row; finite */
    uint32_t top_k; /* 0: off */
    float top_p;    /* 1: off */
    float min_p;    /* 0: off */
    double uniform; /* in [0, 1): picks by inverse of the cumulative distribution */
};

/* One token id of the row ([count] f32; no NaN, the highest is rule->max). Linear time whatever the
 * row; sets of up to ROW_DRAW_EXACT tokens are cut exactly, larger ones keep all tokens that tie at
 * their edge. Pure: any thread. */
#define ROW_DRAW_EXACT 256u
uint32_t row_draw(const float *logits, uint32_t count, const struct draw_rule *rule);

/* The lowest logit that top_k, top_p and min_p leave; of what ties with it all is left. */
float row_cut(const float *logits, uint32_t count, const struct draw_rule *rule);

#endif
