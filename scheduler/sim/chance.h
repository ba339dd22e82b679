#ifndef PENSTOCK_SIM_CHANCE_H
#define PENSTOCK_SIM_CHANCE_H

#include <stdint.h>

/* Random numbers that are the same everywhere: xoshiro256** (Blackman and Vigna 2018), seeded by SplitMix64. Streams of
 * different names are independent, so that what one part draws never shifts what another sees. */
struct chance {
    uint64_t state[4];
};

void chance_init(struct chance *chance, uint64_t seed, uint64_t name, uint64_t number);
uint64_t chance_next(struct chance *chance);
double chance_unit(struct chance *chance); /* 0 <= x < 1 */
uint32_t chance_below(struct chance *chance, uint32_t bound);
double chance_exponential(struct chance *chance); /* mean 1 */
double chance_normal(struct chance *chance);      /* mean 0, deviation 1 */
/* With this mean, and the deviation of its logarithm. */
double chance_lognormal(struct chance *chance, double mean, double deviation);

#endif
