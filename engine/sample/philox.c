#include "philox.h"

#define ROUNDS 10

/* The paper's multipliers and Weyl increments. */
#define MULTIPLIER_0 0xD2511F53u
#define MULTIPLIER_1 0xCD9E8D57u
#define WEYL_0       0x9E3779B9u
#define WEYL_1       0xBB67AE85u

struct philox_counter philox4x32(struct philox_counter counter, uint32_t key0, uint32_t key1)
{
    uint32_t *c = counter.word;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t product0 = (uint64_t)MULTIPLIER_0 * c[0];
        uint64_t product1 = (uint64_t)MULTIPLIER_1 * c[2];
        uint32_t c0 = (uint32_t)(product1 >> 32) ^ c[1] ^ key0;
        uint32_t c2 = (uint32_t)(product0 >> 32) ^ c[3] ^ key1;
        c[0] = c0;
        c[1] = (uint32_t)product1;
        c[2] = c2;
        c[3] = (uint32_t)product0;
        key0 += WEYL_0;
        key1 += WEYL_1;
    }
    return counter;
}

double philox_uniform(uint64_t seed, uint32_t index, uint32_t position, enum philox_purpose purpose)
{
    struct philox_counter counter = {{position, index, purpose, 0}};
    struct philox_counter bits = philox4x32(counter, (uint32_t)seed, (uint32_t)(seed >> 32));
    uint64_t word = (uint64_t)bits.word[1] << 32 | bits.word[0];
    return (double)(word >> 11) * 0x1p-53;
}
