#ifndef PENSTOCK_KERNELS_CPU_LANES_H
#define PENSTOCK_KERNELS_CPU_LANES_H

#include <immintrin.h>
#include <stdint.h>

#include "unroll.h"

/* Sixteen f32 lanes: one AVX-512 register, or two AVX2 ones. The row, attention and float-product
 * kernels are written once over it and compiled once per instruction set (flags.cmake), so both
 * sets run the same algorithm in the same order. Only files that are compiled with AVX2 or more
 * include this. */

#define LANES 16

#ifdef __AVX512F__

typedef __m512 lanes;

INLINE lanes lanes_zero(void)
{
    return _mm512_setzero_ps();
}
INLINE lanes lanes_set(float x)
{
    return _mm512_set1_ps(x);
}
INLINE lanes lanes_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
INLINE void lanes_store(float *p, lanes a)
{
    _mm512_storeu_ps(p, a);
}
INLINE lanes lanes_load_first(const float *p, uint32_t count)
{
    return _mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), p);
}
INLINE void lanes_store_first(float *p, lanes a, uint32_t count)
{
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << count) - 1), a);
}
INLINE lanes lanes_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
INLINE lanes lanes_load_bf16(const uint16_t *p)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
/* Bytes b as the f16 that has their sign and, one place lower, their other bits: an E4M3 number / 2^8. */
INLINE lanes lanes_load_f8(const uint8_t *p)
{
    __m256i wide = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p));
    __m256i sign = _mm256_slli_epi16(_mm256_and_si256(wide, _mm256_set1_epi16(0x80)), 8);
    __m256i rest = _mm256_slli_epi16(_mm256_and_si256(wide, _mm256_set1_epi16(0x7f)), 7);
    return _mm512_cvtph_ps(_mm256_or_si256(sign, rest));
}
INLINE void lanes_store_f16(uint16_t *p, lanes a)
{
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}
INLINE lanes lanes_fma(lanes a, lanes b, lanes c)
{
    return _mm512_fmadd_ps(a, b, c);
}
INLINE lanes lanes_add(lanes a, lanes b)
{
    return _mm512_add_ps(a, b);
}
INLINE lanes lanes_sub(lanes a, lanes b)
{
    return _mm512_sub_ps(a, b);
}
INLINE lanes lanes_mul(lanes a, lanes b)
{
    return _mm512_mul_ps(a, b);
}
INLINE lanes lanes_div(lanes a, lanes b)
{
    return _mm512_div_ps(a, b);
}
INLINE lanes lanes_max(lanes a, lanes b)
{
    return _mm512_max_ps(a, b);
}
INLINE lanes lanes_min(lanes a, lanes b)
{
    return _mm512_min_ps(a, b);
}
INLINE lanes lanes_abs(lanes a)
{
    return _mm512_abs_ps(a);
}
INLINE lanes lanes_copy_sign(lanes magnitude, lanes sign)
{
    const __m512i mask = _mm512_set1_epi32(INT32_MIN);
    return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(mask, _mm512_castps_si512(sign),
                                                         _mm512_castps_si512(magnitude), 0xca));
}
INLINE lanes lanes_round(lanes a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/* a * 2^n, n integral. */
INLINE lanes lanes_scale(lanes a, lanes n)
{
    return _mm512_scalef_ps(a, n);
}
/* a * 2^n where x >= limit, else 0; a and the product normal, n the low nine bits of `n_bits`. */
INLINE lanes lanes_scale_above(lanes a, lanes n_bits, lanes x, float limit)
{
    __m512i shift = _mm512_slli_epi32(_mm512_castps_si512(n_bits), 23);
    __mmask16 is_kept = _mm512_cmp_ps_mask(x, _mm512_set1_ps(limit), _CMP_GE_OQ);
    return _mm512_castsi512_ps(_mm512_maskz_add_epi32(is_kept, _mm512_castps_si512(a), shift));
}
/* a where x >= limit, else 0. */
INLINE lanes lanes_keep_above(lanes a, lanes x, float limit)
{
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, _mm512_set1_ps(limit), _CMP_GE_OQ), a);
}
/* Lanes [first, end) of a; the others become `other`. */
INLINE lanes lanes_keep(lanes a, uint32_t first, uint32_t end, float other)
{
    uint32_t mask = ((1u << end) - 1) & ~((1u << first) - 1);
    return _mm512_mask_mov_ps(_mm512_set1_ps(other), (__mmask16)mask, a);
}
INLINE float lanes_sum(lanes a)
{
    return _mm512_reduce_add_ps(a);
}
INLINE float lanes_highest(lanes a)
{
    return _mm512_reduce_max_ps(a);
}
/* Rounded to whole numbers in [-128, 127], as bytes. */
INLINE void lanes_store_codes(int8_t *p, lanes a)
{
    _mm_storeu_si128((__m128i *)p, _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(a)));
}
/* Lanes 2i and 2i + 1 change places. */
INLINE lanes lanes_swap_pairs(lanes a)
{
    return _mm512_permute_ps(a, 0xb1);
}
/* other + a, and other - a in the lanes of `mask`. */
INLINE lanes lanes_butterfly(lanes a, lanes other, __mmask16 mask)
{
    return _mm512_mask_sub_ps(_mm512_add_ps(other, a), mask, other, a);
}
/* The Walsh-Hadamard transform of the sixteen, not normalised. */
INLINE lanes lanes_hadamard(lanes a)
{
    a = lanes_butterfly(a, _mm512_permute_ps(a, 0xb1), 0xaaaa);
    a = lanes_butterfly(a, _mm512_permute_ps(a, 0x4e), 0xcccc);
    a = lanes_butterfly(a, _mm512_shuffle_f32x4(a, a, 0xb1), 0xf0f0);
    return lanes_butterfly(a, _mm512_shuffle_f32x4(a, a, 0x4e), 0xff00);
}

#else

typedef struct {
    __m256 low, high;
} lanes;

#define LANES_BOTH(expression_low, expression_high) ((lanes){(expression_low), (expression_high)})

INLINE lanes lanes_zero(void)
{
    return LANES_BOTH(_mm256_setzero_ps(), _mm256_setzero_ps());
}
INLINE lanes lanes_set(float x)
{
    return LANES_BOTH(_mm256_set1_ps(x), _mm256_set1_ps(x));
}
INLINE lanes lanes_load(const float *p)
{
    return LANES_BOTH(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8));
}
INLINE void lanes_store(float *p, lanes a)
{
    _mm256_storeu_ps(p, a.low);
    _mm256_storeu_ps(p + 8, a.high);
}
INLINE __m256i lanes_mask_half(uint32_t count, int32_t base)
{
    __m256i index =
        _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(base));
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int32_t)count), index);
}
INLINE lanes lanes_load_first(const float *p, uint32_t count)
{
    return LANES_BOTH(_mm256_maskload_ps(p, lanes_mask_half(count, 0)),
                      _mm256_maskload_ps(p + 8, lanes_mask_half(count, 8)));
}
INLINE void lanes_store_first(float *p, lanes a, uint32_t count)
{
    _mm256_maskstore_ps(p, lanes_mask_half(count, 0), a.low);
    _mm256_maskstore_ps(p + 8, lanes_mask_half(count, 8), a.high);
}
INLINE lanes lanes_load_f16(const uint16_t *p)
{
    return LANES_BOTH(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)),
                      _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 8))));
}
INLINE __m256 lanes_widen_bf16(const uint16_t *p)
{
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
INLINE lanes lanes_load_bf16(const uint16_t *p)
{
    return LANES_BOTH(lanes_widen_bf16(p), lanes_widen_bf16(p + 8));
}
INLINE lanes lanes_load_f8(const uint8_t *p)
{
    __m256i wide = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p));
    __m256i sign = _mm256_slli_epi16(_mm256_and_si256(wide, _mm256_set1_epi16(0x80)), 8);
    __m256i rest = _mm256_slli_epi16(_mm256_and_si256(wide, _mm256_set1_epi16(0x7f)), 7);
    __m256i half = _mm256_or_si256(sign, rest);
    return LANES_BOTH(_mm256_cvtph_ps(_mm256_castsi256_si128(half)),
                      _mm256_cvtph_ps(_mm256_extracti128_si256(half, 1)));
}
INLINE void lanes_store_f16(uint16_t *p, lanes a)
{
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(a.low, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128((__m128i *)(p + 8), _mm256_cvtps_ph(a.high, _MM_FROUND_TO_NEAREST_INT));
}
INLINE lanes lanes_fma(lanes a, lanes b, lanes c)
{
    return LANES_BOTH(_mm256_fmadd_ps(a.low, b.low, c.low),
                      _mm256_fmadd_ps(a.high, b.high, c.high));
}
INLINE lanes lanes_add(lanes a, lanes b)
{
    return LANES_BOTH(_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high));
}
INLINE lanes lanes_sub(lanes a, lanes b)
{
    return LANES_BOTH(_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high));
}
INLINE lanes lanes_mul(lanes a, lanes b)
{
    return LANES_BOTH(_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high));
}
INLINE lanes lanes_div(lanes a, lanes b)
{
    return LANES_BOTH(_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high));
}
INLINE lanes lanes_max(lanes a, lanes b)
{
    return LANES_BOTH(_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high));
}
INLINE lanes lanes_min(lanes a, lanes b)
{
    return LANES_BOTH(_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high));
}
INLINE lanes lanes_abs(lanes a)
{
    __m256 sign = _mm256_set1_ps(-0.0f);
    return LANES_BOTH(_mm256_andnot_ps(sign, a.low), _mm256_andnot_ps(sign, a.high));
}
INLINE __m256 lanes_copy_sign_half(__m256 magnitude, __m256 sign)
{
    __m256 mask = _mm256_set1_ps(-0.0f);
    return _mm256_or_ps(_mm256_andnot_ps(mask, magnitude), _mm256_and_ps(mask, sign));
}
INLINE lanes lanes_copy_sign(lanes magnitude, lanes sign)
{
    return LANES_BOTH(lanes_copy_sign_half(magnitude.low, sign.low),
                      lanes_copy_sign_half(magnitude.high, sign.high));
}
INLINE lanes lanes_round(lanes a)
{
    return LANES_BOTH(_mm256_round_ps(a.low, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                      _mm256_round_ps(a.high, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
INLINE __m256 lanes_scale_half(__m256 a, __m256 n)
{
    /* In two steps: 2^128 times a factor below 1 is finite, 2^128 itself is not. */
    __m256i whole = _mm256_cvtps_epi32(n);
    __m256i half = _mm256_srai_epi32(whole, 1);
    __m256i rest = _mm256_sub_epi32(whole, half);
    __m256i bias = _mm256_set1_epi32(127);
    __m256 first = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
    __m256 second = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23));
    return _mm256_mul_ps(_mm256_mul_ps(a, first), second);
}
INLINE lanes lanes_scale(lanes a, lanes n)
{
    return LANES_BOTH(lanes_scale_half(a.low, n.low), lanes_scale_half(a.high, n.high));
}
INLINE __m256 lanes_scale_half_above(__m256 a, __m256 n_bits, __m256 x, __m256 limit)
{
    __m256i shift = _mm256_slli_epi32(_mm256_castps_si256(n_bits), 23);
    __m256 scaled = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), shift));
    return _mm256_and_ps(scaled, _mm256_cmp_ps(x, limit, _CMP_GE_OQ));
}
INLINE lanes lanes_scale_above(lanes a, lanes n_bits, lanes x, float limit)
{
    __m256 l = _mm256_set1_ps(limit);
    return LANES_BOTH(lanes_scale_half_above(a.low, n_bits.low, x.low, l),
                      lanes_scale_half_above(a.high, n_bits.high, x.high, l));
}
INLINE lanes lanes_keep_above(lanes a, lanes x, float limit)
{
    __m256 l = _mm256_set1_ps(limit);
    return LANES_BOTH(_mm256_and_ps(a.low, _mm256_cmp_ps(x.low, l, _CMP_GE_OQ)),
                      _mm256_and_ps(a.high, _mm256_cmp_ps(x.high, l, _CMP_GE_OQ)));
}
INLINE __m256 lanes_keep_half(__m256 a, uint32_t first, uint32_t end, __m256 other, int32_t base)
{
    __m256i keep = _mm256_andnot_si256(lanes_mask_half(first, base), lanes_mask_half(end, base));
    return _mm256_blendv_ps(other, a, _mm256_castsi256_ps(keep));
}
INLINE lanes lanes_keep(lanes a, uint32_t first, uint32_t end, float other)
{
    __m256 o = _mm256_set1_ps(other);
    return LANES_BOTH(lanes_keep_half(a.low, first, end, o, 0),
                      lanes_keep_half(a.high, first, end, o, 8));
}
INLINE float lanes_sum(lanes a)
{
    __m256 eight = _mm256_add_ps(a.low, a.high);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
INLINE float lanes_highest(lanes a)
{
    __m256 eight = _mm256_max_ps(a.low, a.high);
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
INLINE void lanes_store_codes(int8_t *p, lanes a)
{
    __m256i words = _mm256_packs_epi32(_mm256_cvtps_epi32(a.low), _mm256_cvtps_epi32(a.high));
    words = _mm256_permute4x64_epi64(words, 0xd8);
    __m128i bytes =
        _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128((__m128i *)p, bytes);
}
INLINE lanes lanes_swap_pairs(lanes a)
{
    return LANES_BOTH(_mm256_permute_ps(a.low, 0xb1), _mm256_permute_ps(a.high, 0xb1));
}
#define LANES_BUTTERFLY_HALF(a, other, mask)                                                       \
    _mm256_blend_ps(_mm256_add_ps(other, a), _mm256_sub_ps(other, a), mask)
INLINE __m256 lanes_hadamard_half(__m256 a)
{
    a = LANES_BUTTERFLY_HALF(a, _mm256_permute_ps(a, 0xb1), 0xaa);
    a = LANES_BUTTERFLY_HALF(a, _mm256_permute_ps(a, 0x4e), 0xcc);
    return LANES_BUTTERFLY_HALF(a, _mm256_permute2f128_ps(a, a, 1), 0xf0);
}
INLINE lanes lanes_hadamard(lanes a)
{
    __m256 low = lanes_hadamard_half(a.low), high = lanes_hadamard_half(a.high);
    return LANES_BOTH(_mm256_add_ps(low, high), _mm256_sub_ps(low, high));
}

#endif

/* Sums of codes 0..15 and 16..31. */
INLINE void lanes_sum_codes(const int8_t *codes, int32_t *low, int32_t *high)
{
    __m256i pairs =
        _mm256_maddubs_epi16(_mm256_set1_epi8(1), _mm256_loadu_si256((const __m256i *)codes));
    __m256i fours = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    fours = _mm256_add_epi32(fours, _mm256_shuffle_epi32(fours, 0x4e));
    fours = _mm256_add_epi32(fours, _mm256_shuffle_epi32(fours, 0xb1));
    *low = _mm_cvtsi128_si32(_mm256_castsi256_si128(fours));
    *high = _mm_cvtsi128_si32(_mm256_extracti128_si256(fours, 1));
}

/* e^x to about 2 ulp for x in [-87.3, 88.7]; 0 below (a subnormal would cost an assist in every
 * later product), and finite (e^88.7) above. Cephes expf's range reduction and polynomial
 * (Moshier). */
INLINE lanes lanes_exp(lanes exponent)
{
    lanes x = lanes_max(lanes_min(exponent, lanes_set(88.7f)), lanes_set(-87.3f));
    lanes n = lanes_round(lanes_mul(x, lanes_set(1.44269504088896341f)));
    lanes r = lanes_fma(n, lanes_set(-0.693359375f), x);
    r = lanes_fma(n, lanes_set(2.12194440e-4f), r);
    lanes p = lanes_set(1.9875691500e-4f);
    p = lanes_fma(p, r, lanes_set(1.3981999507e-3f));
    p = lanes_fma(p, r, lanes_set(8.3334519073e-3f));
    p = lanes_fma(p, r, lanes_set(4.1665795894e-2f));
    p = lanes_fma(p, r, lanes_set(1.6666665459e-1f));
    p = lanes_fma(p, r, lanes_set(5.0000001201e-1f));
    p = lanes_fma(p, lanes_mul(r, r), lanes_add(r, lanes_set(1.0f)));
    return lanes_keep_above(lanes_scale(p, n), exponent, -87.3f);
}

/* 2^x for x <= 0, to 3e-7; 0 below -126. The least operations that a softmax can do with: adding 1.5 x
 * 2^23 rounds to a whole number and leaves it in the low bits; the polynomial is the minimax one on
 * [-0.5, 0.5]. */
INLINE lanes lanes_exp2_of_negative(lanes x)
{
    const lanes rounder = lanes_set(12582912.0f);
    lanes n_bits = lanes_add(x, rounder);
    lanes r = lanes_sub(x, lanes_sub(n_bits, rounder));
    lanes p = lanes_fma(lanes_set(1.3276461e-3f), r, lanes_set(9.6755419e-3f));
    p = lanes_fma(p, r, lanes_set(5.5507135e-2f));
    p = lanes_fma(p, r, lanes_set(2.4022120e-1f));
    p = lanes_fma(p, r, lanes_set(6.9314694e-1f));
    p = lanes_fma(p, r, lanes_set(1.0f));
    return lanes_scale_above(p, n_bits, x, -126.0f);
}

/* tanh to about 1e-6: through e^(-2|x|), which neither overflows nor cancels where it matters. */
INLINE lanes lanes_tanh(lanes x)
{
    lanes t = lanes_exp(lanes_mul(lanes_abs(x), lanes_set(-2.0f)));
    lanes y = lanes_div(lanes_sub(lanes_set(1.0f), t), lanes_add(lanes_set(1.0f), t));
    return lanes_copy_sign(y, x);
}

/* erf to 1.5e-7: Abramowitz and Stegun 7.1.26. */
INLINE lanes lanes_erf(lanes x)
{
    lanes a = lanes_abs(x);
    lanes t = lanes_div(lanes_set(1.0f), lanes_fma(a, lanes_set(0.3275911f), lanes_set(1.0f)));
    lanes p = lanes_set(1.061405429f);
    p = lanes_fma(p, t, lanes_set(-1.453152027f));
    p = lanes_fma(p, t, lanes_set(1.421413741f));
    p = lanes_fma(p, t, lanes_set(-0.284496736f));
    p = lanes_fma(p, t, lanes_set(0.254829592f));
    p = lanes_mul(p, t);
    lanes e = lanes_exp(lanes_sub(lanes_zero(), lanes_mul(a, a)));
    return lanes_copy_sign(lanes_sub(lanes_set(1.0f), lanes_mul(p, e)), x);
}

#endif
