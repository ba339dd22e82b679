#include "hash.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "check.h"

/* SipHash-2-4: Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012. The 128-bit output
 * is not in the paper but in the authors' reference code (github.com/veorq/SipHash): v1 is
 * perturbed at the start, and a second finalisation gives the high half. */

struct sip_state {
    uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotate_left(uint64_t x, unsigned bits)
{
    return (x << bits) | (x >> (64 - bits));
}

static inline void sip_round(struct sip_state *s)
{
    s->v0 += s->v1;
    s->v1 = rotate_left(s->v1, 13) ^ s->v0;
    s->v0 = rotate_left(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = rotate_left(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotate_left(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotate_left(s->v1, 17) ^ s->v2;
    s->v2 = rotate_left(s->v2, 32);
}

static inline void sip_compress(struct sip_state *s, uint64_t word)
{
    s->v3 ^= word;
    sip_round(s);
    sip_round(s);
    s->v0 ^= word;
}

static inline uint64_t sip_finish(struct sip_state *s)
{
    for (int round = 0; round < 4; round++)
        sip_round(s);
    return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

/* `bytes` (0..8) little-endian bytes; whole words compile to one load. */
static inline uint64_t load_little_endian(const unsigned char *data, size_t bytes)
{
    uint64_t word = 0;
    memcpy(&word, data, bytes);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

static struct sip_state sip_absorb(const struct hash_key *key, uint64_t v1_tweak, const void *data,
                                   size_t bytes)
{
    struct sip_state s = {
        .v0 = key->k0 ^ 0x736f6d6570736575ull,
        .v1 = key->k1 ^ 0x646f72616e646f6dull ^ v1_tweak,
        .v2 = key->k0 ^ 0x6c7967656e657261ull,
        .v3 = key->k1 ^ 0x7465646279746573ull,
    };
    const unsigned char *at = data;
    for (size_t left = bytes; left >= 8; left -= 8, at += 8)
        sip_compress(&s, load_little_endian(at, 8));
    uint64_t last = (uint64_t)bytes << 56;
    if (bytes % 8 != 0)
        last |= load_little_endian(at, bytes % 8);
    sip_compress(&s, last);
    return s;
}

uint64_t hash64(const struct hash_key *key, const void *data, size_t bytes)
{
    struct sip_state s = sip_absorb(key, 0, data, bytes);
    s.v2 ^= 0xff;
    return sip_finish(&s);
}

struct hash128 hash128(const struct hash_key *key, const void *data, size_t bytes)
{
    struct sip_state s = sip_absorb(key, 0xee, data, bytes);
    struct hash128 hash;
    s.v2 ^= 0xee;
    hash.low = sip_finish(&s);
    s.v1 ^= 0xdd;
    hash.high = sip_finish(&s);
    return hash;
}

/* Eight sums side by side hide the multiplication's latency. Each step is a bijection of the sum and of the word, so that a
 * difference in one word stays a difference; the rotation carries high bits down, where the next product spreads them. */
#define CHECKSUM_LANES    8u
#define CHECKSUM_MULTIPLY UINT64_C(0x9E3779B97F4A7C15) /* 2^64 over the golden ratio, odd */

static inline uint64_t checksum_step(uint64_t sum, uint64_t word)
{
    return rotate_left((sum ^ word) * CHECKSUM_MULTIPLY, 31);
}

uint64_t checksum64(const void *data, size_t bytes)
{
    const unsigned char *at = data;
    size_t left = bytes;
    uint64_t lanes[CHECKSUM_LANES];
    for (uint64_t i = 0; i < CHECKSUM_LANES; i++)
        lanes[i] = i;
    for (; left >= sizeof lanes; left -= sizeof lanes, at += sizeof lanes)
        for (size_t i = 0; i < CHECKSUM_LANES; i++)
            lanes[i] = checksum_step(lanes[i], load_little_endian(at + 8 * i, 8));
    for (size_t i = 0; left > 0; i++) {
        size_t taken = left < 8 ? left : 8;
        lanes[i] = checksum_step(lanes[i], load_little_endian(at, taken));
        at += taken;
        left -= taken;
    }
    uint64_t sum = checksum_step(CHECKSUM_LANES, bytes);
    for (size_t i = 0; i < CHECKSUM_LANES; i++)
        sum = checksum_step(sum, lanes[i]);
    return checksum_step(sum ^ sum >> 32, 0);
}

void random_bytes(void *data, size_t bytes)
{
    unsigned char *at = data;
    while (bytes > 0) {
        ssize_t got = getrandom(at, bytes, 0);
        if (got < 0) {
            CHECK(errno == EINTR);
            continue;
        }
        at += got;
        bytes -= (size_t)got;
    }
}
