#ifndef PENSTOCK_BASE_HASH_H
#define PENSTOCK_BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Keyed hashing for tables that outsiders can fill (prefix cache, vocabularies, keys of JSON objects).
 * SipHash-2-4, Aumasson and Bernstein 2012, with the 128-bit output of the authors' reference code. */

struct hash_key {
    uint64_t k0, k1;
};

struct hash128 {
    uint64_t low, high;
};

uint64_t hash64(const struct hash_key *key, const void *data, size_t bytes);
struct hash128 hash128(const struct hash_key *key, const void *data, size_t bytes);

static inline bool hash128_equals(struct hash128 a, struct hash128 b)
{
    return a.low == b.low && a.high == b.high;
}

/* Eight bytes that tell damage: any change inside one aligned word changes them for certain, any other with a chance of
 * 1 - 2^-64. About as fast as one core reads memory. Not keyed: for data that nobody outside can
 * choose. The same on every machine. */
uint64_t checksum64(const void *data, size_t bytes);

/* Fills `data` from the kernel's random source; ends the process if there is none. Any thread. */
void random_bytes(void *data, size_t bytes);

#endif
