/* Integer products for AVX-512 with VNNI: sixteen outputs a vector, no horizontal sums.
 *
 * Per block of 32 columns the codes of 16 outputs are unpacked once into eight vectors and
 * multiplied with every row of the tile: eight vpdpbusd whose second operand is four activation
 * bytes broadcast from memory. Of the formats scaled by integers (layout.h) one vpdpwssd then
 * multiplies the block's scale and minimum and adds to the span's sum; of the others the dot product
 * becomes a float at once. Sixteen rows need 16 sums of the span, 8 codes, 4 dot products in the making and
 * a scale: the 32 registers. The rows' float sums wait in the tile until the span is done. */

#include "block_codes.h"
#include "kernel_table.h"

void gemm_codes_avx512_vnni(const struct segment *segment, uint32_t group, uint32_t n_groups,
                            const struct activation *a, uint32_t row, uint32_t n_rows, float *tile,
                            size_t tile_stride);

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

/* Rows whose chains are interleaved: a chain of eight takes 40 cycles, and the scheduler does not look
 * far enough ahead to overlap whole chains. */
#define ROWS_AT_ONCE 4u

/* dots[r] = start[r] + the sum over steps [first, end) of codes times four activation bytes. */
INLINE void dot_steps(const uint32_t n_rows, const __m512i codes[8], const struct row_tile *x,
                      const uint32_t row, const int32_t *start, const uint32_t first,
                      const uint32_t end, __m512i dots[ROWS_AT_ONCE])
{
    UNROLL for (uint32_t r = 0; r < n_rows; r++) dots[r] = _mm512_set1_epi32(start[row + r]);
    UNROLL for (uint32_t s = first; s < end; s++)
    {
        UNROLL for (uint32_t r = 0; r < n_rows; r++) dots[r] =
            dot_broadcast(dots[r], codes[s], x->codes[row + r] + 4 * s);
    }
}

/* Adds one block to the span's sums of rows [row, row + n_rows). */
INLINE void add_scaled_block(const enum weight_format format, const uint32_t n_rows,
                             const __m512i codes[8], __m512i scales, const struct row_tile *x,
                             const uint32_t row, __m512i *sums)
{
    const uint32_t parts = format == FORMAT_S5 ? 2 : 1, steps = 8 / parts;
    UNROLL for (uint32_t part = 0; part < parts; part++)
    {
        __m512i dots[ROWS_AT_ONCE];
        dot_steps(n_rows, codes, x, row, format == FORMAT_S5 ? x->start_s5[part] : x->start_s4,
                  part * steps, (part + 1) * steps, dots);
        UNROLL for (uint32_t r = 0; r < n_rows; r++) sums[row + r] =
            dot_halves(sums[row + r], dots[r], scales);
    }
}

/* tile (+)= the span's sums times the scales of the weights and of the rows. */
INLINE void finish_span(const uint32_t n_rows, const uint8_t *tail, const struct row_tile *x,
                        bool is_first, const __m512i *sums, float *tile, size_t tile_stride)
{
    __m512 scale = _mm512_loadu_ps(tail);
    UNROLL for (uint32_t r = 0; r < n_rows; r++)
    {
        float *out = tile + r * tile_stride;
        __m512 before = is_first ? _mm512_setzero_ps() : _mm512_loadu_ps(out);
        __m512 sum = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[r]), scale);
        _mm512_storeu_ps(out, _mm512_fmadd_ps(sum, _mm512_set1_ps(x->scale[r]), before));
    }
}

/* `n_rows` rows times the 16 outputs of one group; S4 and S5. */
INLINE void gemm_scaled(const enum weight_format format, const uint32_t n_rows, const uint8_t *at,
                        uint32_t n_blocks, const struct row_tile *x, float *tile,
                        size_t tile_stride)
{
    for (uint32_t b = 0; b < n_blocks;) {
        bool is_first = b == 0;
        __m512i sums[TILE_ROWS];
        UNROLL for (uint32_t r = 0; r < n_rows; r++) sums[r] = _mm512_setzero_si512();
        for (uint32_t i = 0; i < SPAN_BLOCKS && b < n_blocks; i++, b++) {
            prefetch_block(format, at);
            __m512i codes[8];
            unpack_block(format, at, codes);
            UNROLL for (uint32_t t = 0; t < (n_rows + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE; t++)
            {
                const uint32_t row = t * ROWS_AT_ONCE, left = n_rows - row;
                add_scaled_block(format, left < ROWS_AT_ONCE ? left : ROWS_AT_ONCE, codes,
                                 load(at + SCALES_AT(format)), x + b, row, sums);
            }
            at += BLOCK_BYTES(format);
        }
        finish_span(n_rows, at, x + b - 1, is_first, sums, tile, tile_stride);
        at += SPAN_TAIL_BYTES(format);
    }
}

/* Adds one block to the sums of rows [row, row + n_rows). */
INLINE void add_block(const enum weight_format format, const uint32_t n_rows,
                      const __m512i codes[8], const uint8_t *scales, const struct row_tile *x,
                      const uint32_t row, __m512 *sums)
{
    const uint32_t parts = format == FORMAT_U6 ? 2 : 1, steps = 8 / parts;
    UNROLL for (uint32_t part = 0; part < parts; part++)
    {
        __m512i dots[ROWS_AT_ONCE];
        dot_steps(n_rows, codes, x, row, format == FORMAT_U6 ? x->start_u6[part] : x->start_u8,
                  part * steps, (part + 1) * steps, dots);
        __m512 d = load_scales(scales + 32 * part);
        UNROLL for (uint32_t r = 0; r < n_rows; r++) sums[row + r] =
            _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[r]),
                            _mm512_mul_ps(d, _mm512_set1_ps(x->scale[row + r])), sums[row + r]);
    }
}

/* The same for U6 and U8. */
INLINE void gemm_plain(const enum weight_format format, const uint32_t n_rows, const uint8_t *at,
                       uint32_t n_blocks, const struct row_tile *x, float *tile, size_t tile_stride)
{
    __m512 sums[TILE_ROWS];
    UNROLL for (uint32_t r = 0; r < n_rows; r++) sums[r] = _mm512_setzero_ps();
    for (uint32_t b = 0; b < n_blocks; b++, at += BLOCK_BYTES(format)) {
        prefetch_block(format, at);
        __m512i codes[8];
        unpack_block(format, at, codes);
        UNROLL for (uint32_t t = 0; t < (n_rows + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE; t++)
        {
            const uint32_t row = t * ROWS_AT_ONCE, left = n_rows - row;
            add_block(format, left < ROWS_AT_ONCE ? left : ROWS_AT_ONCE, codes,
                      at + SCALES_AT(format), x + b, row, sums);
        }
    }
    UNROLL for (uint32_t r = 0; r < n_rows; r++) _mm512_storeu_ps(tile + r * tile_stride, sums[r]);
}

INLINE void gemm_rows(const enum weight_format format, const uint32_t n_rows, const uint8_t *at,
                      uint32_t n_blocks, const struct row_tile *x, float *tile, size_t tile_stride)
{
    if (FORMAT_IS_SCALED(format))
        gemm_scaled(format, n_rows, at, n_blocks, x, tile, tile_stride);
    else
        gemm_plain(format, n_rows, at, n_blocks, x, tile, tile_stride);
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

DEFINE_FORMAT(gemm_s4, FORMAT_S4)
DEFINE_FORMAT(gemm_s5, FORMAT_S5)
DEFINE_FORMAT(gemm_u6, FORMAT_U6)
DEFINE_FORMAT(gemm_u8, FORMAT_U8)

typedef void format_function(const uint8_t *block, uint32_t n_blocks, uint32_t n_rows,
                             const struct row_tile *x, float *tile, size_t tile_stride);

static format_function *const format_functions[] = {
    [FORMAT_S4] = gemm_s4,
    [FORMAT_S5] = gemm_s5,
    [FORMAT_U6] = gemm_u6,
    [FORMAT_U8] = gemm_u8,
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
