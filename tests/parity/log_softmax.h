#ifndef PENSTOCK_TESTS_LOG_SOFTMAX_H
#define PENSTOCK_TESTS_LOG_SOFTMAX_H

#include <stdint.h>

/* Natural log-probabilities of `count` logits; off by some 1e-7. `out` may be `logits`. */
void log_softmax(const float *logits, uint32_t count, float *out);

/* The index of the largest of `count` values. */
uint32_t largest_index(const float *values, uint32_t count);

#endif
