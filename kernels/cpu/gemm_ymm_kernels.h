/* Integer products with 256-bit vectors, on the same layout: the 16 outputs of a group are two
 * halves of eight. Included once by gemm_avx2.c and once by gemm_avx_vnni.c, which define
 * KERNEL(name).
 *
 * With AVX-VNNI a step is one vpdpbusd. Without it, vpmaddubsw adds pairs of products in 16 bits,
 * which holds eight steps of 4-bit codes (8 x 2 x 15 x 128 = 30720) and four of 5-bit ones (4 x 2 x 31
 * x 128 = 31744), all that S4 and S5 add up before a scale, and only then are they widened. 6 and
 * 8-bit codes are split into their low nibble and the rest, both at most 15.
 *
 * Sixteen registers do not hold a block's codes beside the sums, so a block is unpacked to memory
 * (in L1) and multiplied from there. */

#include "kernel_table.h"
#include "unroll.h"

#include <immintrin.h>
#include <string.h>

#define PREFETCH_BYTES 1024

void KERNEL(gemm_codes)(const struct segment *segment, uint32_t group, uint32_t n_groups,
                        const struct activation *a, uint32_t row, uint32_t n_rows, float *tile,
                        size_t tile_stride);

/* Codes of one block: plane 0 whole or low nibbles, plane 1 the bits above them. */
struct unpacked_block {
    _Alignas(64) uint8_t plane[2][8][64];
    _Alignas(64) float d[2][GROUP_OUTPUTS]; /* U6, U8: of columns 0..15 and 16..31 */
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
    return !FORMAT_IS_SCALED(format);
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
        const uint8_t *second = at + 16 * half + (format == FORMAT_U6 ? 32 : 0);
        _mm256_store_ps(out->d[0] + 8 * half,
                        _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(at + 16 * half))));
        _mm256_store_ps(out->d[1] + 8 * half,
                        _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)second)));
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
            else if (format != FORMAT_S4)
                low = _mm256_or_si256(low, _mm256_slli_epi16(high_bits(format, block, s, half), 4));
            store(out->plane[0][s] + 32 * half, low);
        }
    }
    if (!FORMAT_IS_SCALED(format))
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

/* The sum over steps [first, end), from `start` on. */
INLINE void dot_steps(const enum weight_format format, const uint32_t n_rows,
                      const struct unpacked_block *block, const struct row_tile *x, uint32_t row,
                      const int32_t *start, const uint32_t first, const uint32_t end,
                      __m256i dots[ROWS_AT_ONCE][2])
{
    __m256i above[ROWS_AT_ONCE][2];
    dot_plane(n_rows, block->plane[0], x, row, first, end, dots);
    if (has_two_planes(format))
        dot_plane(n_rows, block->plane[1], x, row, first, end, above);
    UNROLL for (uint32_t r = 0; r < n_rows; r++)
    {
        UNROLL for (uint32_t half = 0; half < 2; half++)
        {
            if (has_two_planes(format))
                dots[r][half] =
                    _mm256_add_epi32(dots[r][half], _mm256_slli_epi32(above[r][half], 4));
            dots[r][half] = _mm256_add_epi32(dots[r][half], _mm256_set1_epi32(start[row + r]));
        }
    }
}

/* Both 16-bit halves of `dots` times those of `scales`, added to `sum`. */
INLINE __m256i scale_dots(__m256i sum, __m256i dots, __m256i scales)
{
#ifdef __AVXVNNI__
    return _mm256_dpwssd_avx_epi32(sum, dots, scales);
#else
    return _mm256_add_epi32(sum, _mm256_madd_epi16(dots, scales));
#endif
}

/* Adds a block of S4 or S5 to the spans' sums of rows [row, row + n_rows). */
INLINE void add_scaled_rows(const enum weight_format format, const uint32_t n_rows,
                            const struct unpacked_block *block, const uint8_t *scales,
                            const struct row_tile *x, uint32_t row, int32_t sums[][GROUP_OUTPUTS])
{
    const uint32_t parts = format == FORMAT_S5 ? 2 : 1, steps = 8 / parts;
    UNROLL for (uint32_t part = 0; part < parts; part++)
    {
        __m256i dots[ROWS_AT_ONCE][2];
        dot_steps(format, n_rows, block, x, row,
                  format == FORMAT_S5 ? x->start_s5[part] : x->start_s4, part * steps,
                  (part + 1) * steps, dots);
        UNROLL for (uint32_t r = 0; r < n_rows; r++)
        {
            UNROLL for (uint32_t half = 0; half < 2; half++)
            {
                int32_t *sum = sums[row + r] + 8 * half;
                store(sum, scale_dots(load(sum), dots[r][half], load(scales + 32 * half)));
            }
        }
    }
}

/* Adds a block of U6 or U8 to the tile. */
INLINE void add_plain_rows(const enum weight_format format, const uint32_t n_rows,
                           const struct unpacked_block *block, const struct row_tile *x,
                           uint32_t row, float *tile, size_t tile_stride)
{
    const uint32_t parts = format == FORMAT_U6 ? 2 : 1, steps = 8 / parts;
    UNROLL for (uint32_t part = 0; part < parts; part++)
    {
        __m256i dots[ROWS_AT_ONCE][2];
        dot_steps(format, n_rows, block, x, row,
                  format == FORMAT_U6 ? x->start_u6[part] : x->start_u8, part * steps,
                  (part + 1) * steps, dots);
        UNROLL for (uint32_t r = 0; r < n_rows; r++)
        {
            __m256 scale = _mm256_set1_ps(x->scale[row + r]);
            UNROLL for (uint32_t half = 0; half < 2; half++)
            {
                float *out = tile + (row + r) * tile_stride + 8 * half;
                __m256 step = _mm256_mul_ps(_mm256_load_ps(block->d[part] + 8 * half), scale);
                _mm256_storeu_ps(out, _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[r][half]), step,
                                                      _mm256_loadu_ps(out)));
            }
        }
    }
}

/* tile += the span's sums times the scales of the weights and of the rows; the sums start anew. */
INLINE void finish_span(uint32_t n_rows, const uint8_t *tail, const struct row_tile *x,
                        int32_t sums[][GROUP_OUTPUTS], float *tile, size_t tile_stride)
{
    for (uint32_t r = 0; r < n_rows; r++) {
        for (uint32_t half = 0; half < 2; half++) {
            float *out = tile + r * tile_stride + 8 * half;
            __m256 sum = _mm256_mul_ps(_mm256_cvtepi32_ps(load(sums[r] + 8 * half)),
                                       _mm256_loadu_ps((const float *)tail + 8 * half));
            _mm256_storeu_ps(
                out, _mm256_fmadd_ps(sum, _mm256_set1_ps(x->scale[r]), _mm256_loadu_ps(out)));
            store(sums[r] + 8 * half, _mm256_setzero_si256());
        }
    }
}

INLINE void add_rows(const enum weight_format format, const uint32_t n_rows,
                     const struct unpacked_block *unpacked, const uint8_t *scales,
                     const struct row_tile *x, uint32_t row, int32_t sums[][GROUP_OUTPUTS],
                     float *tile, size_t tile_stride)
{
    if (FORMAT_IS_SCALED(format))
        add_scaled_rows(format, n_rows, unpacked, scales, x, row, sums);
    else
        add_plain_rows(format, n_rows, unpacked, x, row, tile, tile_stride);
}

/* Sums of all rows live in memory between blocks: with 16 registers they would be spilled anyway. */
INLINE void gemm_group(const enum weight_format format, const uint8_t *at, uint32_t n_blocks,
                       uint32_t n_rows, const struct row_tile *x, float *tile, size_t tile_stride)
{
    _Alignas(64) int32_t sums[TILE_ROWS][GROUP_OUTPUTS];
    memset(sums, 0, n_rows * sizeof(sums[0]));
    for (uint32_t r = 0; r < n_rows; r++)
        memset(tile + r * tile_stride, 0, GROUP_OUTPUTS * sizeof(float));
    for (uint32_t b = 0; b < n_blocks; b++, x++) {
        struct unpacked_block unpacked;
        for (uint32_t line = 0; line < BLOCK_BYTES(format); line += 64)
            _mm_prefetch((const char *)at + PREFETCH_BYTES + line, _MM_HINT_T0);
        unpack_block(format, at, &unpacked);
        const uint8_t *scales = at + SCALES_AT(format);
        uint32_t r = 0;
        for (; r + ROWS_AT_ONCE <= n_rows; r += ROWS_AT_ONCE)
            add_rows(format, ROWS_AT_ONCE, &unpacked, scales, x, r, sums, tile, tile_stride);
        if (r < n_rows)
            add_rows(format, 1, &unpacked, scales, x, r, sums, tile, tile_stride);
        at += BLOCK_BYTES(format);
        if (FORMAT_IS_SCALED(format) && ((b + 1) % SPAN_BLOCKS == 0 || b + 1 == n_blocks)) {
            finish_span(n_rows, at, x, sums, tile, tile_stride);
            at += SPAN_TAIL_BYTES(format);
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
            FORMAT_CASE(FORMAT_S4)
            FORMAT_CASE(FORMAT_S5)
            FORMAT_CASE(FORMAT_U6)
            FORMAT_CASE(FORMAT_U8)
        default:
            __builtin_unreachable();
        }
    }
}
