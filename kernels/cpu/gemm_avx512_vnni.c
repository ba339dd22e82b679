/* Integer products for AVX-512 with VNNI: sixteen outputs a vector, no horizontal sums.
 *
 * Per block of 32 columns the codes of 16 outputs are unpacked once into eight vectors and
 * multiplied with every row of the tile: eight vpdpbusd whose second operand is four activation
 * bytes broadcast from memory, then one conversion, one multiplication of the two scales and two
 * multiply-adds (scale and minimum). Sixteen rows need 16 sums + 8 codes + 2 scales of the 32
 * registers. */

#include "kernel_table.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* How far ahead of the block in use its stream is fetched. Hardware prefetch stops at page ends and
 * starts late; measured in bench/NOTES.md. */
#define PREFETCH_BYTES 2048

void gemm_codes_avx512_vnni(const struct segment *segment, uint32_t group, uint32_t n_groups,
                            const struct activation *a, uint32_t row, uint32_t n_rows, float *tile,
                            size_t tile_stride);

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
    if (format == FORMAT_U5 || format == FORMAT_U5_MIN) {
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

INLINE __m512 load_scales(const uint8_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

/* Sum over steps [first, end) of codes times four activation bytes. */
INLINE __m512 dot_steps(const __m512i codes[8], const int8_t *x, const int first, const int end)
{
    __m512i dot = _mm512_setzero_si512();
    UNROLL for (int s = first; s < end; s++)
    {
        int32_t four;
        memcpy(&four, x + 4 * s, sizeof(four));
        dot = _mm512_dpbusd_epi32(dot, codes[s], _mm512_set1_epi32(four));
    }
    return _mm512_cvtepi32_ps(dot);
}

/* `n_rows` rows times the 16 outputs of one group. */
INLINE void gemm_rows(const enum weight_format format, const uint32_t n_rows, const uint8_t *block,
                      uint32_t n_blocks, const int8_t *codes, size_t code_stride,
                      const struct block_scale *scales, size_t scale_stride, float *tile,
                      size_t tile_stride)
{
    const bool has_minimum = format == FORMAT_U4_MIN || format == FORMAT_U5_MIN;
    const __m512 minus_offset = _mm512_set1_ps(-FORMAT_OFFSET(format));
    __m512 sums[TILE_ROWS];
    UNROLL for (uint32_t r = 0; r < n_rows; r++) sums[r] = _mm512_setzero_ps();
    for (uint32_t b = 0; b < n_blocks; b++) {
        for (uint32_t line = 0; line < BLOCK_BYTES(format); line += 64)
            _mm_prefetch((const char *)block + PREFETCH_BYTES + line, _MM_HINT_T0);
        __m512i w[8];
        unpack_block(format, block, w);
        const uint8_t *at = block + SCALES_AT(format);
        __m512 d = load_scales(at);
        __m512 second = has_minimum || format == FORMAT_U6 ? load_scales(at + 32)
                                                           : _mm512_mul_ps(d, minus_offset);
        UNROLL for (uint32_t r = 0; r < n_rows; r++)
        {
            const int8_t *x = codes + r * code_stride + (size_t)b * BLOCK_COLS;
            const struct block_scale *s = scales + r * scale_stride + b;
            __m512 step = _mm512_set1_ps(s->scale);
            if (format == FORMAT_U6) {
                /* second is the scale of the upper half here, and both minima are implied. */
                __m512 low =
                    _mm512_fmadd_ps(dot_steps(w, x, 0, 4), step,
                                    _mm512_mul_ps(minus_offset, _mm512_set1_ps(s->sum_low)));
                __m512 high =
                    _mm512_fmadd_ps(dot_steps(w, x, 4, 8), step,
                                    _mm512_mul_ps(minus_offset, _mm512_set1_ps(s->sum_high)));
                sums[r] = _mm512_fmadd_ps(low, d, sums[r]);
                sums[r] = _mm512_fmadd_ps(high, second, sums[r]);
            } else {
                sums[r] = _mm512_fmadd_ps(dot_steps(w, x, 0, 8), _mm512_mul_ps(d, step), sums[r]);
                sums[r] = _mm512_fmadd_ps(second, _mm512_set1_ps(s->sum), sums[r]);
            }
        }
        block += BLOCK_BYTES(format);
    }
    UNROLL for (uint32_t r = 0; r < n_rows; r++) _mm512_storeu_ps(tile + r * tile_stride, sums[r]);
}

/* All row counts of one format. A function each, so that the compiler allots registers to one loop
 * at a time. */
#define ROWS_CASE(format, n)                                                                       \
    case n:                                                                                        \
        gemm_rows(format, n, block, n_blocks, codes, code_stride, scales, scale_stride, tile,      \
                  tile_stride);                                                                    \
        break;
#define DEFINE_FORMAT(name, format)                                                                \
    static void name(const uint8_t *block, uint32_t n_blocks, uint32_t n_rows,                     \
                     const int8_t *codes, size_t code_stride, const struct block_scale *scales,    \
                     size_t scale_stride, float *tile, size_t tile_stride)                         \
    {                                                                                              \
        switch (n_rows) {                                                                          \
            ROWS_CASE(format, 1)                                                                   \
            ROWS_CASE(format, 2)                                                                   \
            ROWS_CASE(format, 3)                                                                   \
            ROWS_CASE(format, 4)                                                                   \
            ROWS_CASE(format, 5)                                                                   \
            ROWS_CASE(format, 6)                                                                   \
            ROWS_CASE(format, 7)                                                                   \
            ROWS_CASE(format, 8)                                                                   \
            ROWS_CASE(format, 9)                                                                   \
            ROWS_CASE(format, 10)                                                                  \
            ROWS_CASE(format, 11)                                                                  \
            ROWS_CASE(format, 12)                                                                  \
            ROWS_CASE(format, 13)                                                                  \
            ROWS_CASE(format, 14)                                                                  \
            ROWS_CASE(format, 15)                                                                  \
            ROWS_CASE(format, 16)                                                                  \
        default:                                                                                   \
            __builtin_unreachable();                                                               \
        }                                                                                          \
    }

DEFINE_FORMAT(gemm_u4, FORMAT_U4)
DEFINE_FORMAT(gemm_u4_min, FORMAT_U4_MIN)
DEFINE_FORMAT(gemm_u5, FORMAT_U5)
DEFINE_FORMAT(gemm_u5_min, FORMAT_U5_MIN)
DEFINE_FORMAT(gemm_u6, FORMAT_U6)
DEFINE_FORMAT(gemm_u8, FORMAT_U8)

typedef void format_function(const uint8_t *block, uint32_t n_blocks, uint32_t n_rows,
                             const int8_t *codes, size_t code_stride,
                             const struct block_scale *scales, size_t scale_stride, float *tile,
                             size_t tile_stride);

static format_function *const format_functions[] = {
    [FORMAT_U4] = gemm_u4,         [FORMAT_U4_MIN] = gemm_u4_min, [FORMAT_U5] = gemm_u5,
    [FORMAT_U5_MIN] = gemm_u5_min, [FORMAT_U6] = gemm_u6,         [FORMAT_U8] = gemm_u8,
};

void gemm_codes_avx512_vnni(const struct segment *segment, uint32_t group, uint32_t n_groups,
                            const struct activation *a, uint32_t row, uint32_t n_rows, float *tile,
                            size_t tile_stride)
{
    format_function *function = format_functions[segment->format];
    for (uint32_t g = 0; g < n_groups; g++)
        function(segment->data + (group + g) * segment->group_bytes, segment->n_cols / BLOCK_COLS,
                 n_rows, a->codes + row * a->code_stride, a->code_stride,
                 a->scales + row * a->scale_stride, a->scale_stride, tile + g * GROUP_OUTPUTS,
                 tile_stride);
}
