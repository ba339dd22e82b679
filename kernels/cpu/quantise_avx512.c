/* Codes of activations for AVX-512: the reductions of a tile's sixteen rows go together, each row in a lane of its own,
 * since horizontal sums row by row cost more than the codes themselves. The results are those of quantise_rows.h. */

#include "check.h"
#include "quantise_rows.h"

/* Rows below which sixteen lanes are not worth their shuffles. */
#define ROWS_MIN 4u

void quantise_span_avx512(struct activation *a, uint32_t row, uint32_t n_rows, uint32_t span);

/* Lane r of the result: the highest lane of rows[r]. Each step halves what is left of a row and puts two vectors'
 * rows side by side. */
INLINE __m512 highest_of_rows(const __m512 rows[TILE_ROWS])
{
    __m512 halves[8], quarters[4], pairs[2];
    for (uint32_t i = 0; i < 8; i++)
        halves[i] = _mm512_max_ps(_mm512_shuffle_f32x4(rows[i], rows[i + 8], 0x44),
                                  _mm512_shuffle_f32x4(rows[i], rows[i + 8], 0xee));
    for (uint32_t i = 0; i < 4; i++)
        quarters[i] = _mm512_max_ps(_mm512_shuffle_f32x4(halves[i], halves[i + 4], 0x88),
                                    _mm512_shuffle_f32x4(halves[i], halves[i + 4], 0xdd));
    for (uint32_t i = 0; i < 2; i++)
        pairs[i] = _mm512_max_ps(_mm512_unpacklo_ps(quarters[2 * i], quarters[2 * i + 1]),
                                 _mm512_unpackhi_ps(quarters[2 * i], quarters[2 * i + 1]));
    __m512d first = _mm512_castps_pd(pairs[0]), second = _mm512_castps_pd(pairs[1]);
    __m512 all = _mm512_max_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(first, second)),
                               _mm512_castpd_ps(_mm512_unpackhi_pd(first, second)));
    return _mm512_shuffle_f32x4(all, all, 0xd8); /* rows 0-3, 8-11, 4-7, 12-15 so far */
}

/* Sums of fours within each quarter of four vectors: quarter q of the result has those of quarter q of each. */
INLINE __m512i sums_of_fours(const __m512i vectors[4])
{
    __m512i pairs[2];
    for (uint32_t i = 0; i < 2; i++)
        pairs[i] = _mm512_add_epi32(_mm512_unpacklo_epi32(vectors[2 * i], vectors[2 * i + 1]),
                                    _mm512_unpackhi_epi32(vectors[2 * i], vectors[2 * i + 1]));
    return _mm512_add_epi32(_mm512_unpacklo_epi64(pairs[0], pairs[1]),
                            _mm512_unpackhi_epi64(pairs[0], pairs[1]));
}

INLINE void store_product(int32_t *to, __m512i sums, int32_t factor)
{
    _mm512_storeu_si512(to, _mm512_mullo_epi32(sums, _mm512_set1_epi32(factor)));
}

/* The starts of all rows of a block from its codes; of rows that are not in use they mean nothing. */
INLINE void make_starts(struct row_tile *tile)
{
    __m512i fours[8]; /* vector i: columns 0-15 and 16-31 of row 2 i, then those of row 2 i + 1 */
    for (uint32_t i = 0; i < 8; i++) {
        __m512i pairs =
            _mm512_maddubs_epi16(_mm512_set1_epi8(1), _mm512_load_si512(tile->codes[2 * i]));
        fours[i] = _mm512_madd_epi16(pairs, _mm512_set1_epi16(1));
    }
    __m512i upper = sums_of_fours(fours), lower = sums_of_fours(fours + 4);
    const __m512i of_low =
        _mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 16, 24, 17, 25, 18, 26, 19, 27);
    const __m512i of_high = _mm512_add_epi32(of_low, _mm512_set1_epi32(4));
    __m512i low = _mm512_permutex2var_epi32(upper, of_low, lower);
    __m512i high = _mm512_permutex2var_epi32(upper, of_high, lower);
    __m512i sum = _mm512_add_epi32(low, high);
    store_product(tile->start_s4, sum, (8 << 16) - FORMAT_OFFSET(FORMAT_S4));
    store_product(tile->start_s5[0], low, (8 << 16) - FORMAT_OFFSET(FORMAT_S5));
    store_product(tile->start_s5[1], high, (8 << 16) - FORMAT_OFFSET(FORMAT_S5));
    store_product(tile->start_u6[0], low, -FORMAT_OFFSET(FORMAT_U6));
    store_product(tile->start_u6[1], high, -FORMAT_OFFSET(FORMAT_U6));
    store_product(tile->start_u8, sum, -FORMAT_OFFSET(FORMAT_U8));
}

/* A span of `n_blocks` blocks of the first rows of a tile; `values`: the first row's. */
INLINE void quantise_blocks(const float *values, size_t stride, uint32_t n_rows,
                            const uint32_t n_blocks, struct row_tile *tile)
{
    __m512 rows[TILE_ROWS];
    for (uint32_t r = 0; r < TILE_ROWS; r++) {
        rows[r] = _mm512_setzero_ps();
        for (uint32_t c = 0; r < n_rows && c < n_blocks * BLOCK_COLS; c += LANES)
            rows[r] =
                _mm512_max_ps(rows[r], _mm512_abs_ps(_mm512_loadu_ps(values + r * stride + c)));
    }
    const __m512 top = highest_of_rows(rows), limit = _mm512_set1_ps(127.0f);
    const __mmask16 has_any = _mm512_cmp_ps_mask(top, _mm512_setzero_ps(), _CMP_GT_OQ);
    _Alignas(64) float inverse[TILE_ROWS];
    _mm512_store_ps(inverse, _mm512_maskz_div_ps(has_any, limit, top));
    for (uint32_t b = 0; b < n_blocks; b++)
        _mm512_storeu_ps(tile[b].scale, _mm512_div_ps(top, limit));
    for (uint32_t r = 0; r < n_rows; r++) {
        for (uint32_t c = 0; c < n_blocks * BLOCK_COLS; c += LANES) {
            __m512 scaled =
                _mm512_mul_ps(_mm512_loadu_ps(values + r * stride + c), _mm512_set1_ps(inverse[r]));
            _mm_store_si128((__m128i *)(tile[c / BLOCK_COLS].codes[r] + c % BLOCK_COLS),
                            _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(scaled)));
        }
    }
    for (uint32_t b = 0; b < n_blocks; b++)
        make_starts(tile + b);
}

void quantise_span_avx512(struct activation *a, uint32_t row, uint32_t n_rows, uint32_t span)
{
    CHECK(row % TILE_ROWS == 0 && n_rows <= TILE_ROWS);
    if (n_rows < ROWS_MIN) {
        quantise_rows(a, row, n_rows, span);
        return;
    }
    uint32_t first = span * a->span_blocks, left = a->n_blocks - first;
    const float *values = a->floats + row * a->float_stride + (size_t)first * BLOCK_COLS;
    struct row_tile *tile = activation_tile(a, row, first);
    if (a->span_blocks == 1 || left == 1)
        quantise_blocks(values, a->float_stride, n_rows, 1, tile);
    else
        quantise_blocks(values, a->float_stride, n_rows, SPAN_BLOCKS, tile);
}
