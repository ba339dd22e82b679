#ifndef PENSTOCK_ENGINE_SAMPLE_PHILOX_H
#define PENSTOCK_ENGINE_SAMPLE_PHILOX_H

#include <stdint.h>

/* Philox4x32-10, a counter-based generator: the n-th number is a function of key and counter alone,
 * there is no state to carry, save or lose. Salmon, Moraes, Dror, Shaw 2011, "Parallel random
 * numbers: as easy as 1, 2, 3". */
struct philox_counter {
    uint32_t word[4];
};

struct philox_counter philox4x32(struct philox_counter counter, uint32_t key0, uint32_t key1);

/* What one position needs a number for: each is another number. */
enum philox_purpose { PHILOX_TOKEN, PHILOX_EXCLUSION };

/* Uniform in [0, 1) with 53 bits. */
double philox_uniform(uint64_t seed, uint32_t index, uint32_t position,
                      enum philox_purpose purpose);

#endif
