#ifndef PENSTOCK_KERNELS_HALF_H
#define PENSTOCK_KERNELS_HALF_H

#include <stdint.h>
#include <string.h>

/* IEEE 754 binary16 and bfloat16 as plain C, for the oracle and for load-time work. Vector kernels
 * use the instructions instead; both round to nearest even, so the two agree bit for bit on finite
 * values. */

static inline float bits_to_f32(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static inline uint32_t f32_to_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static inline float f16_to_f32(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t exponent = (half >> 10) & 0x1fu;
    uint32_t mantissa = half & 0x3ffu;
    if (exponent == 0x1f)
        return bits_to_f32(sign | 0x7f800000u | (mantissa << 13));
    if (exponent != 0)
        return bits_to_f32(sign | ((exponent + 112) << 23) | (mantissa << 13));
    /* Subnormal: mantissa units of 2^-24, exact in f32. */
    float magnitude = (float)mantissa * 0x1p-24f;
    return bits_to_f32(sign | f32_to_bits(magnitude));
}

static inline uint16_t f32_to_f16(float value)
{
    uint32_t bits = f32_to_bits(value);
    uint16_t sign = (uint16_t)((bits >> 16) & 0x8000u);
    uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u);
    if (magnitude >= 0x477ff000u) /* rounds to 65536 or more */
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x38800000u) {
        /* Below 2^-14: adding 0.5 leaves the result, rounded, in the low mantissa bits (ulp of 0.5
         * is 2^-24). */
        float shifted = bits_to_f32(magnitude) + 0.5f;
        return (uint16_t)(sign | (f32_to_bits(shifted) - 0x3f000000u));
    }
    uint32_t rounded = magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u);
    return (uint16_t)(sign | (rounded >> 13));
}

static inline float bf16_to_f32(uint16_t half)
{
    return bits_to_f32((uint32_t)half << 16);
}

/* OCP 8-bit floating point, E4M3 (bias 7, no infinities; 0x7f and 0xff are not numbers): the same bits shifted are an f16
 * that is 2^8 times smaller. */
static inline float f8_e4m3_to_f32(uint8_t bits)
{
    if ((bits & 0x7fu) == 0x7fu)
        return bits_to_f32(0x7fc00000u);
    uint32_t half = (uint32_t)(bits & 0x80u) << 8 | (uint32_t)(bits & 0x7fu) << 7;
    return f16_to_f32((uint16_t)half) * 256.0f;
}

/* Rounds to the nearest, ties to even; beyond the range the largest there is (448), as CUDA's conversions do. */
static inline uint8_t f32_to_f8_e4m3(float value)
{
    uint32_t bits = f32_to_bits(value);
    uint8_t sign = (uint8_t)((bits >> 24) & 0x80u);
    uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return (uint8_t)(sign | 0x7fu);
    if (magnitude >= 0x43e00000u) /* 448 */
        return (uint8_t)(sign | 0x7eu);
    if (magnitude < 0x3c800000u) {
        /* Below 2^-6 values are units of 2^-9, which is the ulp of 2^14. */
        float shifted = bits_to_f32(magnitude) + 0x1p14f;
        return (uint8_t)(sign | (f32_to_bits(shifted) - f32_to_bits(0x1p14f)));
    }
    uint32_t rounded = magnitude - 0x3c000000u + 0x7ffffu + ((magnitude >> 20) & 1u);
    return (uint8_t)(sign | (rounded >> 20));
}

/* OCP Microscaling E8M0: 2^(bits - 127); 255 is not a number. */
static inline float e8m0_to_f32(uint8_t bits)
{
    if (bits == 0xff)
        return bits_to_f32(0x7fc00000u);
    return bits_to_f32(bits == 0 ? 0x00400000u : (uint32_t)bits << 23);
}

/* Loads of unaligned little-endian fields inside quantised blocks. */
static inline uint16_t load_u16(const uint8_t *p)
{
    uint16_t value;
    memcpy(&value, p, sizeof(value));
    return value;
}

static inline uint32_t load_u32(const uint8_t *p)
{
    uint32_t value;
    memcpy(&value, p, sizeof(value));
    return value;
}

static inline float load_f16(const uint8_t *p)
{
    return f16_to_f32(load_u16(p));
}

#endif
