#include "chance.h"

#include <math.h>

static uint64_t split_mix(uint64_t *state)
{
    uint64_t value = *state += 0x9E3779B97F4A7C15ull;

    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9ull;
    value = (value ^ value >> 27) * 0x94D049BB133111EBull;
    return value ^ value >> 31;
}

void chance_init(struct chance *chance, uint64_t seed, uint64_t name, uint64_t number)
{
    uint64_t state = seed;

    state = split_mix(&state) ^ name;
    state = split_mix(&state) ^ number;
    for (int i = 0; i < 4; i++)
        chance->state[i] = split_mix(&state);
}

static uint64_t rotate(uint64_t value, int bits)
{
    return value << bits | value >> (64 - bits);
}

uint64_t chance_next(struct chance *chance)
{
    uint64_t *s = chance->state, result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

double chance_unit(struct chance *chance)
{
    return (double)(chance_next(chance) >> 11) * 0x1p-53;
}

uint32_t chance_below(struct chance *chance, uint32_t bound)
{
    return (uint32_t)((unsigned __int128)chance_next(chance) * bound >> 64);
}

double chance_exponential(struct chance *chance)
{
    return -log1p(-chance_unit(chance));
}

double chance_normal(struct chance *chance)
{
    /* Box and Muller 1958; the second value is let go, so that a draw is always two numbers. */
    double radius = sqrt(2 * chance_exponential(chance));

    return radius * cos(6.283185307179586 * chance_unit(chance));
}

double chance_lognormal(struct chance *chance, double mean, double deviation)
{
    return mean * exp(deviation * chance_normal(chance) - deviation * deviation / 2);
}
