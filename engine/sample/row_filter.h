#ifndef PENSTOCK_ENGINE_SAMPLE_ROW_FILTER_H
#define PENSTOCK_ENGINE_SAMPLE_ROW_FILTER_H

#include <stdint.h>

/* Cuts tokens off a row, by more rules than row_draw knows. Every rule here keeps the logits of an interval: most cut the
 * low ones, "exclude top choices" the high ones, typicality both. So a rule is one or two numbers found in passes over
 * the row, and tokens of equal logits stay or go together.
 *
 * Probabilities are those after temperature, of what the rules before have left. The rules come in this order, which is
 * llama.cpp's:
 *
 *  top-n-sigma  keeps logits of at least max - n * (standard deviation of the row's finite logits). Tang et al. 2024,
 *               "Top-nσ: not all logits are you need".
 *  top-k        the k likeliest.
 *  top-a        probabilities of at least a * (the highest)^2. BlinkDL 2022, in RWKV-LM.
 *  typical      the fewest tokens, closest to the entropy in surprise first, that hold typical_p. Meister et al. 2022,
 *               "Locally typical sampling", section 4.
 *  top-p        the fewest likeliest tokens that hold top_p. Holtzman et al. 2020.
 *  min-p        probabilities of at least min_p * (the highest). Nguyen et al. 2024.
 *  XTC          of two or more tokens of at least xtc_threshold, all but the least likely go. Weidmann 2024, in
 *               text-generation-webui.
 *
 * surprise_max stands for all of them in mirostat 2: tokens of at most so many bits stay, and the likeliest in any case.
 * Basu et al. 2021, "Mirostat", algorithm 2; the surprise that it learns from is, as there, that among all tokens. */
struct row_filter {
    float scale;         /* 1 / temperature; finite */
    float top_n_sigma;   /* <= 0: off */
    uint32_t top_k;      /* 0: off */
    float top_a;         /* 0: off */
    float typical_p;     /* 1: off */
    float top_p;         /* 1: off */
    float min_p;         /* 0: off */
    float xtc_threshold; /* > 0.5: off, for no two tokens are that likely */
    float surprise_max;  /* INFINITY: off */
};

/* What is cut becomes -inf; something always stays. row: [count] f32, no NaN, not all -inf; weights: [count], scratch.
 * Linear time. Thread: any, on a row of its own. */
void row_filter_apply(const struct row_filter *filter, float *row, float *weights, uint32_t count);

/* The natural log of the sum of exp(logit * scale): less a token's logit * scale, it is the token's surprise in nats. */
double row_scaled_log_sum(const float *row, uint32_t count, float scale);

#endif
