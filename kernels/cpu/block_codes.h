#ifndef PENSTOCK_KERNELS_CPU_BLOCK_CODES_H
#define PENSTOCK_KERNELS_CPU_BLOCK_CODES_H

/* A block of packed weights as eight vectors of codes: what the products for AVX-512 VNNI and AMX share. */

#include <immintrin.h>

#include "layout.h"
#include "unroll.h"

/* How far ahead of the block in use its stream is fetched. Hardware prefetch stops at page ends and
 * starts late; measured in bench/NOTES.md. */
#define PREFETCH_BYTES 2048

INLINE __m512i load(const uint8_t *p)
{
    return _mm512_loadu_si512(p);
}

INLINE void unpack_block(const enum weight_format format, const uint8_t *block, __m512i codes[8])
{
    if (format == FORMAT_U8) {
        UNROLL for (int s = 0; s < 8; s++) codes[s] = load(block + 64 * s);
        return;
    }
    const __m512i nibble = _mm512_set1_epi8(15);
    UNROLL for (int l = 0; l < 4; l++)
    {
        __m512i pair = load(block + 64 * l);
        codes[l] = _mm512_and_si512(pair, nibble);
        codes[l + 4] = _mm512_and_si512(_mm512_srli_epi16(pair, 4), nibble);
    }
    if (format == FORMAT_S5) {
        const __m512i fifth = _mm512_set1_epi8(16);
        __m512i bits = load(block + NIBBLE_BYTES);
        UNROLL for (int s = 0; s < 8; s++)
        {
            __m512i moved = s <= 4 ? _mm512_slli_epi16(bits, (unsigned)(4 - s < 0 ? 0 : 4 - s))
                                   : _mm512_srli_epi16(bits, (unsigned)(s - 4 < 0 ? 0 : s - 4));
            codes[s] = _mm512_ternarylogic_epi32(codes[s], moved, fifth, 0xf8); /* a | (b & c) */
        }
    }
    if (format == FORMAT_U6) {
        const __m512i fifth_and_sixth = _mm512_set1_epi8(0x30);
        UNROLL for (int s = 0; s < 8; s++)
        {
            __m512i bits = load(block + NIBBLE_BYTES + 64 * (s / 4));
            int t = s % 4; /* from bits 2 t, 2 t + 1 to bits 4, 5 */
            __m512i moved = t <= 2
                                ? _mm512_slli_epi16(bits, (unsigned)(4 - 2 * t < 0 ? 0 : 4 - 2 * t))
                                : _mm512_srli_epi16(bits, 2);
            codes[s] = _mm512_ternarylogic_epi32(codes[s], moved, fifth_and_sixth, 0xf8);
        }
    }
}

/* sum += both 16-bit halves of `a` times those of `b`. Assembly, as gcc 12 copies the sum before and after its intrinsic. */
INLINE __m512i dot_halves(__m512i sum, __m512i a, __m512i b)
{
    __asm__("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
}

INLINE __m512 load_scales(const uint8_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

INLINE void prefetch_block(const enum weight_format format, const uint8_t *at)
{
    for (uint32_t line = 0; line < BLOCK_BYTES(format); line += 64)
        _mm_prefetch((const char *)at + PREFETCH_BYTES + line, _MM_HINT_T0);
}

#endif
