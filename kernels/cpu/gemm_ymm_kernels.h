/* Integer products with 256-bit vectors, on the same layout: the 16 outputs of a group are two
 * halves of eight. Included once by gemm_avx2.c and once by gemm_avx_vnni.c, which define
 * KERNEL(name).
 *
 * With AVX-VNNI a step is one vpdpbusd. Without it, vpmaddubsw adds pairs of products in 16 bits
 * and would saturate on 8-bit codes (2 x 255 x 127 > 32767). So 5, 6 and 8-bit codes are split into
 * their low nibble and the rest, both at most 15: a plane's eight steps add up to at most 8 x 2 x
 * 15 x 128 = 30720, which fits, and only then are widened.
 *
 * Sixteen registers do not hold a block's codes beside the sums, so a block is unpacked to memory
 * (in L1) and multiplied from there. */

#include "kernel_table.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#define PREFETCH_BYTES 1024

void KERNEL(gemm_codes)(const struct segment *segment, uint32_t group, uint32_t n_groups,
                        const struct activation *a, uint32_t row, uint32_t n_rows, float *tile,
                        size_t tile_stride);

/* Codes of one block: plane 0 whole (AVX-VNNI) or low nibbles, plane 1 the bits above them. */
struct unpacked_block {
    _Alignas(64) uint8_t plane[2][8][64];
    _Alignas(64) float d[2][GROUP_OUTPUTS]; /* of columns 0..15 and 16..31; equal except U6 */
    _Alignas(64) float m[GROUP_OUTPUTS];    /* unused by U6 */
};

INLINE __m256i load(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

INLINE void store(void *p, __m256i v)
{
    _mm256_storeu_si256((__m256i *)p, v);
}

INLINE bool has_two_planes(const enum weight_format format)
{
#ifdef __AVXVNNI__
    (void)format;
    return false;
#else
    return format != FORMAT_U4 && format != FORMAT_U4_MIN;
#endif
}

/* Bits above the low nibble of step s, at bit 0. */
INLINE __m256i high_bits(const enum weight_format format, const uint8_t *block, uint32_t s,
                         uint32_t half)
{
    if (format == FORMAT_U8)
        return _mm256_and_si256(_mm256_srli_epi16(load(block + 64 * s + 32 * half), 4),
                                _mm256_set1_epi8(15));
    if (format == FORMAT_U6) {
        __m256i bits = load(block + NIBBLE_BYTES + 64 * (s / 4) + 32 * half);
        return _mm256_and_si256(_mm256_srli_epi16(bits, (int)(2 * (s % 4))), _mm256_set1_epi8(3));
    }
    __m256i bits = load(block + NIBBLE_BYTES + 32 * half);
    return _mm256_and_si256(_mm256_srli_epi16(bits, (int)s), _mm256_set1_epi8(1));
}

INLINE __m256i low_nibbles(const enum weight_format format, const uint8_t *block, uint32_t s,
                           uint32_t half)
{
    const __m256i nibble = _mm256_set1_epi8(15);
    if (format == FORMAT_U8)
        return _mm256_and_si256(load(block + 64 * s + 32 * half), nibble);
    __m256i pair = load(block + 64 * (s % 4) + 32 * half);
    return _mm256_and_si256(s < 4 ? pair : _mm256_srli_epi16(pair, 4), nibble);
}

INLINE void unpack_scales(const enum weight_format format, const uint8_t *at,
                          struct unpacked_block *out)
{
    for (uint32_t half = 0; half < 2; half++) {
        __m256 d = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(at + 16 * half)));
        __m256 second = d;
        if (format == FORMAT_U6)
            second = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(at + 32 + 16 * half)));
        __m256 m = _mm256_mul_ps(d, _mm256_set1_ps(-FORMAT_OFFSET(format)));
        if (format == FORMAT_U4_MIN || format == FORMAT_U5_MIN)
            m = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(at + 32 + 16 * half)));
        _mm256_store_ps(out->d[0] + 8 * half, d);
        _mm256_store_ps(out->d[1] + 8 * half, second);
        _mm256_store_ps(out->m + 8 * half, m);
    }
}

INLINE void unpack_block(const enum weight_format format, const uint8_t *block,
                         struct unpacked_block *out)
{
    UNROLL for (uint32_t s = 0; s < 8; s++)
    {
        UNROLL for (uint32_t half = 0; half < 2; half++)
        {
            __m256i low = low_nibbles(format, block, s, half);
            if (has_two_planes(format))
                store(out->plane[1][s] + 32 * half, high_bits(format, block, s, half));
            else if (format == FORMAT_U8)
                low = load(block + 64 * s + 32 * half);
            else if (format != FORMAT_U4 && format != FORMAT_U4_MIN)
                low = _mm256_or_si256(low, _mm256_slli_epi16(high_bits(format, block, s, half), 4));
            store(out->plane[0][s] + 32 * half, low);
        }
    }
    unpack_scales(format, block + SCALES_AT(format), out);
}

/* Rows and halves whose chains are interleaved: four sums, and each broadcast serves both halves. */
#define ROWS_AT_ONCE 2u

INLINE __m256i dot_step(__m256i sum, __m256i codes, __m256i four)
{
#ifdef __AVXVNNI__
    return _mm256_dpbusd_avx_epi32(sum, codes, four);
#else
    return _mm256_add_epi16(sum, _mm256_maddubs_epi16(codes, four));
#endif
}

/* Per row and half, the sum over steps [first, end) of one plane. */
INLINE void dot_plane(const uint32_t n_rows, const uint8_t plane[8][64], const struct row_tile *x,
                      uint32_t row, const uint32_t first, const uint32_t end,
                      __m256i sums[ROWS_AT_ONCE][2])
{
    UNROLL for (uint32_t r = 0; r < n_rows; r++) sums[r][0] = sums[r][1] = _mm256_setzero_si256();
    UNROLL for (uint32_t s = first; s < end; s++)
    {
        __m256i low = load(plane[s]), high = load(plane[s] + 32);
        UNROLL for (uint32_t r = 0; r < n_rows; r++)
        {
            int32_t bytes;
            memcpy(&bytes, x->codes[row + r] + 4 * s, sizeof(bytes));
            __m256i four = _mm256_set1_epi32(bytes);
            sums[r][0] = dot_step(sums[r][0], low, four);
            sums[r][1] = dot_step(sums[r][1], high, four);
        }
    }
#ifndef __AVXVNNI__
    UNROLL for (uint32_t r = 0; r < n_rows; r++)
    {
        sums[r][0] = _mm256_madd_epi16(sums[r][0], _mm256_set1_epi16(1));
        sums[r][1] = _mm256_madd_epi16(sums[r][1], _mm256_set1_epi16(1));
    }
#endif
}

INLINE void dot_steps(const enum weight_format format, const uint32_t n_rows,
                      const struct unpacked_block *block, const struct row_tile *x, uint32_t row,
                      const uint32_t first, const uint32_t end, __m256 dots[ROWS_AT_ONCE][2])
{
    __m256i sums[ROWS_AT_ONCE][2], above[ROWS_AT_ONCE][2];
    dot_plane(n_rows, block->plane[0], x, row, first, end, sums);
    if (has_two_planes(format))
        dot_plane(n_rows, block->plane[1], x, row, first, end, above);
    UNROLL for (uint32_t r = 0; r < n_rows; r++)
    {
        UNROLL for (uint32_t half = 0; half < 2; half++)
        {
            __m256i sum = sums[r][half];
            if (has_two_planes(format))
                sum = _mm256_add_epi32(sum, _mm256_slli_epi32(above[r][half], 4));
            dots[r][half] = _mm256_cvtepi32_ps(sum);
        }
    }
}

/* One half of a block of columns 16 * part .. of U6, which has a scale for each. */
INLINE __m256 add_part(__m256 dot, const struct unpacked_block *block, uint32_t half, uint32_t part,
                       float scale, float sum_of_part, __m256 sum)
{
    __m256 minimum = _mm256_set1_ps(-FORMAT_OFFSET(FORMAT_U6) * sum_of_part);
    return _mm256_fmadd_ps(_mm256_fmadd_ps(dot, _mm256_set1_ps(scale), minimum),
                           _mm256_load_ps(block->d[part] + 8 * half), sum);
}

INLINE void add_rows(const enum weight_format format, const uint32_t n_rows,
                     const struct unpacked_block *block, const struct row_tile *x, uint32_t row,
                     float *tile, size_t tile_stride)
{
    __m256 dots[ROWS_AT_ONCE][2], upper[ROWS_AT_ONCE][2];
    dot_steps(format, n_rows, block, x, row, 0, format == FORMAT_U6 ? 4 : 8, dots);
    if (format == FORMAT_U6)
        dot_steps(format, n_rows, block, x, row, 4, 8, upper);
    UNROLL for (uint32_t r = 0; r < n_rows; r++)
    {
        UNROLL for (uint32_t half = 0; half < 2; half++)
        {
            float *out = tile + r * tile_stride + 8 * half;
            __m256 sum = _mm256_loadu_ps(out);
            float scale = x->scale[row + r];
            if (format == FORMAT_U6) {
                sum = add_part(dots[r][half], block, half, 0, scale, x->sum_low[row + r], sum);
                sum = add_part(upper[r][half], block, half, 1, scale, x->sum_high[row + r], sum);
            } else {
                __m256 step =
                    _mm256_mul_ps(_mm256_load_ps(block->d[0] + 8 * half), _mm256_set1_ps(scale));
                sum = _mm256_fmadd_ps(dots[r][half], step, sum);
                sum = _mm256_fmadd_ps(_mm256_load_ps(block->m + 8 * half),
                                      _mm256_set1_ps(x->sum[row + r]), sum);
            }
            _mm256_storeu_ps(out, sum);
        }
    }
}

/* Sums of all rows live in the tile between blocks: with 16 registers they would be spilled anyway.
 */
INLINE void gemm_group(const enum weight_format format, const uint8_t *block, uint32_t n_blocks,
                       uint32_t n_rows, const struct row_tile *x, float *tile, size_t tile_stride)
{
    for (uint32_t r = 0; r < n_rows; r++)
        memset(tile + r * tile_stride, 0, GROUP_OUTPUTS * sizeof(float));
    for (uint32_t b = 0; b < n_blocks; b++, x++, block += BLOCK_BYTES(format)) {
        struct unpacked_block unpacked;
        for (uint32_t line = 0; line < BLOCK_BYTES(format); line += 64)
            _mm_prefetch((const char *)block + PREFETCH_BYTES + line, _MM_HINT_T0);
        unpack_block(format, block, &unpacked);
        for (uint32_t r = 0; r < n_rows; r += ROWS_AT_ONCE) {
            const struct row_tile *rows = x + (size_t)(r / ROWS_PER_TILE) * n_blocks;
            float *out = tile + r * tile_stride;
            if (n_rows - r == 1)
                add_rows(format, 1, &unpacked, rows, r % ROWS_PER_TILE, out, tile_stride);
            else
                add_rows(format, 2, &unpacked, rows, r % ROWS_PER_TILE, out, tile_stride);
        }
    }
}

void KERNEL(gemm_codes)(const struct segment *segment, uint32_t group, uint32_t n_groups,
                        const struct activation *a, uint32_t row, uint32_t n_rows, float *tile,
                        size_t tile_stride)
{
#define FORMAT_CASE(format)                                                                        \
    case format:                                                                                   \
        gemm_group(format, block, n_blocks, n_rows, x, out, tile_stride);                          \
        break;
    uint32_t n_blocks = segment->n_cols / BLOCK_COLS;
    const struct row_tile *x = activation_tile(a, row, 0);
    for (uint32_t g = 0; g < n_groups; g++) {
        const uint8_t *block = segment->data + (group + g) * segment->group_bytes;
        float *out = tile + g * GROUP_OUTPUTS;
        switch (segment->format) {
            FORMAT_CASE(FORMAT_U4)
            FORMAT_CASE(FORMAT_U4_MIN)
            FORMAT_CASE(FORMAT_U5)
            FORMAT_CASE(FORMAT_U5_MIN)
            FORMAT_CASE(FORMAT_U6)
            FORMAT_CASE(FORMAT_U8)
        default:
            __builtin_unreachable();
        }
    }
}
