/* Integer products for AVX-512 with VNNI: sixteen outputs a vector, no horizontal sums.
 *
 * Per block of 32 columns the codes of 16 outputs are unpacked once into eight vectors and
 * multiplied with every row of the tile: eight vpdpbusd whose second operand is four activation
 * bytes broadcast from memory, then one conversion, one multiplication of the two scales and two
 * multiply-adds (scale and minimum). Sixteen rows need 16 sums + 8 codes + 2 scales of the 32
 * registers. */

#include "kernel_table.h"

#include <immintrin.h>

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

/* The instruction with the broadcast folded into it, which the compiler does not do for this one.
 */
INLINE __m512i dot_broadcast(__m512i sum, __m512i codes, const int8_t *four)
{
    struct four_codes {
        int8_t bytes[4];
    };
    __asm__("vpdpbusd %2%{1to16%}, %1, %0"
            : "+v"(sum)
            : "v"(codes), "m"(*(const struct four_codes *)four));
    return sum;
}

/* Per row, the sum over steps [first, end) of codes times four activation bytes. The rows' chains
 * are interleaved: a chain of eight takes 40 cycles, and the scheduler does not look far enough
 * ahead to overlap whole chains. */
INLINE void dot_steps(const uint32_t n_rows, const __m512i codes[8], const struct row_tile *x,
                      const uint32_t first, const uint32_t end, __m512 out[ROWS_PER_TILE])
{
    __m512i sums[ROWS_PER_TILE];
    UNROLL for (uint32_t r = 0; r < n_rows; r++) sums[r] = _mm512_setzero_si512();
    UNROLL for (uint32_t s = first; s < end; s++)
    {
        UNROLL for (uint32_t r = 0; r < n_rows; r++) sums[r] =
            dot_broadcast(sums[r], codes[s], x->codes[r] + 4 * s);
    }
    UNROLL for (uint32_t r = 0; r < n_rows; r++) out[r] = _mm512_cvtepi32_ps(sums[r]);
}

/* Scales of one block of 16 outputs. */
struct block_scales {
    __m512 d;
    __m512 second; /* minima; of U6 the scales of columns 16..31 */
};

INLINE void add_rows(const enum weight_format format, const uint32_t n_rows, const __m512i codes[8],
                     struct block_scales scales, const struct row_tile *x,
                     __m512 sums[ROWS_PER_TILE])
{
    __m512 dots[ROWS_PER_TILE];
    if (format == FORMAT_U6) {
        const __m512 minus_offset = _mm512_set1_ps(-FORMAT_OFFSET(FORMAT_U6));
        dot_steps(n_rows, codes, x, 0, 4, dots);
        UNROLL for (uint32_t r = 0; r < n_rows; r++)
        {
            __m512 minimum = _mm512_mul_ps(minus_offset, _mm512_set1_ps(x->sum_low[r]));
            sums[r] = _mm512_fmadd_ps(
                _mm512_fmadd_ps(dots[r], _mm512_set1_ps(x->scale[r]), minimum), scales.d, sums[r]);
        }
        dot_steps(n_rows, codes, x, 4, 8, dots);
        UNROLL for (uint32_t r = 0; r < n_rows; r++)
        {
            __m512 minimum = _mm512_mul_ps(minus_offset, _mm512_set1_ps(x->sum_high[r]));
            sums[r] =
                _mm512_fmadd_ps(_mm512_fmadd_ps(dots[r], _mm512_set1_ps(x->scale[r]), minimum),
                                scales.second, sums[r]);
        }
        return;
    }
    dot_steps(n_rows, codes, x, 0, 8, dots);
    UNROLL for (uint32_t r = 0; r < n_rows; r++)
    {
        sums[r] =
            _mm512_fmadd_ps(dots[r], _mm512_mul_ps(scales.d, _mm512_set1_ps(x->scale[r])), sums[r]);
        sums[r] = _mm512_fmadd_ps(scales.second, _mm512_set1_ps(x->sum[r]), sums[r]);
    }
}

/* `n_rows` rows times the 16 outputs of one group. */
INLINE void gemm_rows(const enum weight_format format, const uint32_t n_rows, const uint8_t *block,
                      uint32_t n_blocks, const struct row_tile *x, float *tile, size_t tile_stride)
{
    const bool has_second =
        format == FORMAT_U4_MIN || format == FORMAT_U5_MIN || format == FORMAT_U6;
    __m512 sums[TILE_ROWS];
    UNROLL for (uint32_t r = 0; r < n_rows; r++) sums[r] = _mm512_setzero_ps();
    for (uint32_t b = 0; b < n_blocks; b++, x++, block += BLOCK_BYTES(format)) {
        for (uint32_t line = 0; line < BLOCK_BYTES(format); line += 64)
            _mm_prefetch((const char *)block + PREFETCH_BYTES + line, _MM_HINT_T0);
        __m512i codes[8];
        unpack_block(format, block, codes);
        struct block_scales scales;
        scales.d = load_scales(block + SCALES_AT(format));
        scales.second = has_second
                            ? load_scales(block + SCALES_AT(format) + 32)
                            : _mm512_mul_ps(scales.d, _mm512_set1_ps(-FORMAT_OFFSET(format)));
        UNROLL for (uint32_t t = 0; t < (n_rows + ROWS_PER_TILE - 1) / ROWS_PER_TILE; t++)
        {
            uint32_t left = n_rows - t * ROWS_PER_TILE;
            add_rows(format, left < ROWS_PER_TILE ? left : ROWS_PER_TILE, codes, scales,
                     x + (size_t)t * n_blocks, sums + t * ROWS_PER_TILE);
        }
    }
    UNROLL for (uint32_t r = 0; r < n_rows; r++) _mm512_storeu_ps(tile + r * tile_stride, sums[r]);
}

/* All row counts of one format. A function each, so that the compiler allots registers to one loop
 * at a time. */
#define ROWS_CASE(format, n)                                                                       \
    case n:                                                                                        \
        gemm_rows(format, n, block, n_blocks, x, tile, tile_stride);                               \
        break;
#define DEFINE_FORMAT(name, format)                                                                \
    static void name(const uint8_t *block, uint32_t n_blocks, uint32_t n_rows,                     \
                     const struct row_tile *x, float *tile, size_t tile_stride)                    \
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
                             const struct row_tile *x, float *tile, size_t tile_stride);

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
                 n_rows, activation_tile(a, row, 0), tile + g * GROUP_OUTPUTS, tile_stride);
}
