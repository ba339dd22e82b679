#ifndef PENSTOCK_CUDA_SAMPLING_SELECT_H
#define PENSTOCK_CUDA_SAMPLING_SELECT_H

#include "device.h"

/* The best k of many, by the key of each: a number that is larger for a higher logit and, among equal ones, for a lower token,
 * so that no two keys are equal. The k-th largest key is found digit by digit, from the first bit in which the keys that
 * count can differ: a histogram of eight bits tells in which of 256 groups it is, a histogram of the next eight of that
 * group's keys in which of its groups, and so on until a group is taken as a whole, mostly after two or three. */

#define SELECT_BINS 256u

/* 0: the token cannot be chosen. */
K_DEVICE uint64_t candidate_key(float logit, uint32_t token)
{
    if (!(logit > -INFINITY))
        return 0;
    uint32_t bits = k_float_bits(logit + 0.0f); /* -0 and 0 are equal */
    bits = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
    return (uint64_t)bits << 32 | (uint32_t)~token;
}

K_DEVICE uint32_t candidate_token(uint64_t key)
{
    return ~(uint32_t)key;
}

K_DEVICE float candidate_logit(uint64_t key)
{
    uint32_t bits = (uint32_t)(key >> 32);
    return k_bits_float((bits & 0x80000000u) != 0 ? bits & 0x7fffffffu : ~bits);
}

/* What one digit tells. */
struct select_digit {
    uint32_t bin;    /* SELECT_BINS: there are fewer keys than are wanted */
    uint32_t above;  /* keys in higher bins */
    uint32_t inside; /* and in it */
};

/* The bin in which the `wanted`-th largest key is. Warp 0 calls it; lane l looks at eight bins from the top. */
K_DEVICE void select_find_bin(k_sptr<uint32_t> bins, uint32_t wanted,
                              k_sptr<struct select_digit> out)
{
    uint32_t first = SELECT_BINS - 8 - 8 * k_lane();
    uint32_t own = 0;
    for (uint32_t i = 0; i < 8; i++)
        own += bins[first + i];
    uint32_t sum = own;
    for (uint32_t step = 1; step < 32; step *= 2) {
        uint32_t before = k_shfl_up(sum, step);
        sum += k_lane() >= step ? before : 0;
    }
    struct select_digit digit = {SELECT_BINS, sum - own, 0};
    if (digit.above < wanted && wanted <= sum) {
        digit.bin = first + 7;
        digit.inside = bins[digit.bin];
        while (digit.above + digit.inside < wanted) {
            digit.above += digit.inside;
            digit.inside = bins[--digit.bin];
        }
        out[0] = digit;
    } else if (k_lane() == 31 && sum < wanted) {
        out[0] = digit;
    }
}

/* The keys that count are in [low, high]; low > 0. */
struct select_range {
    uint64_t low, high;
};

/* Keys of logits from `least` to `max`. */
K_DEVICE struct select_range candidates_range(float least, float max)
{
    uint64_t low = candidate_key(least, UINT32_MAX);
    return {low > 0 ? low : 1, candidate_key(max, 0)};
}

/* How many of the last bits of a range's keys may differ, in fours. */
K_DEVICE uint32_t select_bits(struct select_range range)
{
    uint32_t bits = 64;
    while (bits > 0 && (range.low ^ range.high) >> (bits - 4) == 0)
        bits -= 4;
    return bits;
}

/* The least key of the `wanted` largest; range.low where there are fewer. each_key(visit) calls visit(key) for each of the
 * calling thread's keys, which are the same every time. All threads of a block. bins: [SELECT_BINS]; found: [1]. */
template <class key_source>
K_DEVICE uint64_t select_least(const key_source &each_key, struct select_range range,
                               uint32_t wanted, k_sptr<uint32_t> bins,
                               k_sptr<struct select_digit> found)
{
    uint32_t bits = select_bits(range);
    uint64_t prefix = bits < 64 ? range.high >> bits : 0;
    while (bits > 0) {
        uint32_t shift = bits > 8 ? bits - 8 : 0;
        for (uint32_t i = k_thread(); i < SELECT_BINS; i += k_threads())
            bins[i] = 0;
        k_sync();
        each_key([&](uint64_t key) {
            if (key >= range.low && (bits == 64 || key >> bits == prefix))
                k_atomic_add(bins + ((uint32_t)(key >> shift) & ((1u << (bits - shift)) - 1)), 1u);
        });
        k_sync();
        if (k_warp() == 0)
            select_find_bin(bins, wanted, found);
        k_sync();
        struct select_digit digit = found[0];
        if (digit.bin == SELECT_BINS)
            return range.low;
        prefix = prefix << (bits - shift) | digit.bin;
        bits = shift;
        wanted -= digit.above;
        if (digit.inside == wanted)
            break;
    }
    uint64_t least = prefix << bits;
    return least > range.low ? least : range.low;
}

/* Ranks are counted, not sorted: so few keys that comparing each with all others has no barrier and is as quick. sorted[r]
 * is the r-th largest of keys[0 .. count - 1]; all threads of a block, after a barrier; before one. */
K_DEVICE void sort_keys(k_sptr<uint64_t> keys, uint32_t count, k_sptr<uint64_t> sorted)
{
    for (uint32_t i = k_thread(); i < count; i += k_threads()) {
        uint64_t own = keys[i];
        uint32_t rank = 0;
        for (uint32_t j = 0; j < count; j++) {
            uint64_t other = keys[j];
            rank += other > own;
        }
        sorted[rank] = own;
    }
    k_sync();
}

#endif
