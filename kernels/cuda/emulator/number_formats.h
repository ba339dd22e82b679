#ifndef PENSTOCK_KERNELS_CUDA_EMULATOR_NUMBER_FORMATS_H
#define PENSTOCK_KERNELS_CUDA_EMULATOR_NUMBER_FORMATS_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* Conversions as the device's instructions make them: to nearest even; where device.h says so, what is beyond the largest
 * finite number becomes that. Independent of kernels/half.h on purpose: the tests compare the two. */

static inline uint32_t k_float_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof(bits));
    return bits;
}

static inline float k_bits_float(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

static inline float k_bf16_to_float(uint16_t bits)
{
    return k_bits_float(static_cast<uint32_t>(bits) << 16);
}

static inline uint16_t k_float_to_bf16(float f)
{
    uint32_t bits = k_float_bits(f);
    if (f != f)
        return 0x7fff;
    return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

static inline uint32_t k_pack_bf16(float lo, float hi)
{
    return k_float_to_bf16(lo) | static_cast<uint32_t>(k_float_to_bf16(hi)) << 16;
}

/* Exponent and mantissa moved to their places count 2^112 too few; the product puts that right, subnormals too. */
static inline float k_f16_to_float(uint16_t bits)
{
    uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16, magnitude = bits & 0x7fffu;
    if (magnitude >= 0x7c00u)
        return k_bits_float(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
    return k_bits_float(sign | k_float_bits(k_bits_float(magnitude << 13) * 0x1p112f));
}

static inline uint16_t k_float_to_f16(float f)
{
    uint32_t bits = k_float_bits(f), magnitude = bits & 0x7fffffffu;
    uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
    if (magnitude > 0x7f800000u)
        return 0x7fff;
    if (magnitude >= 0x477fe000u) /* 65504 and more */
        return static_cast<uint16_t>(sign | 0x7bffu);
    if (magnitude < 0x38800000u) { /* below 2^-14: steps of 2^-24 */
        float steps = rintf(k_bits_float(magnitude) * 0x1p24f);
        return static_cast<uint16_t>(sign | static_cast<uint32_t>(steps));
    }
    uint32_t rounded = magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u);
    return static_cast<uint16_t>(sign | rounded >> 13);
}

static inline uint32_t k_pack_f16(float lo, float hi)
{
    return k_float_to_f16(lo) | static_cast<uint32_t>(k_float_to_f16(hi)) << 16;
}

/* OCP 8-bit floating point, E4M3: bias 7, no infinities, all ones is no number. */
static inline float k_e4m3_to_float(uint8_t bits)
{
    if ((bits & 0x7fu) == 0x7fu)
        return k_bits_float(0x7fffffffu);
    uint32_t sign = static_cast<uint32_t>(bits & 0x80u) << 24;
    return k_bits_float(
        sign | k_float_bits(k_bits_float(static_cast<uint32_t>(bits & 0x7fu) << 20) * 0x1p120f));
}

static inline uint32_t k_e4m3_pair_to_bf16(uint16_t pair)
{
    return k_pack_bf16(k_e4m3_to_float(static_cast<uint8_t>(pair)),
                       k_e4m3_to_float(static_cast<uint8_t>(pair >> 8)));
}

static inline uint8_t k_float_to_e4m3(float f)
{
    uint32_t bits = k_float_bits(f), magnitude = bits & 0x7fffffffu;
    uint8_t sign = static_cast<uint8_t>(bits >> 24 & 0x80u);
    if (magnitude > 0x7f800000u)
        return 0x7f;
    if (magnitude >= 0x43e00000u) /* 448 and more */
        return static_cast<uint8_t>(sign | 0x7eu);
    if (magnitude < 0x3c800000u) { /* below 2^-6: steps of 2^-9 */
        float steps = rintf(k_bits_float(magnitude) * 0x1p9f);
        return static_cast<uint8_t>(sign | static_cast<uint32_t>(steps));
    }
    uint32_t rounded = magnitude - 0x3c000000u + 0x7ffffu + (magnitude >> 20 & 1u);
    return static_cast<uint8_t>(sign | rounded >> 20);
}

#endif
