/* Attention over one chunk of positions of an int8 cache. Included once by the file of each
 * instruction set, which defines KERNEL(name).
 *
 * Both products are of integers, a row of fours of codes times a panel [fours][16][4], so that one
 * vpdpbusd adds 16 x 4 products, and sums are the same whatever the order, the tile, or the
 * instruction set:
 *
 *   scores  rows are the queries' codes (int8, a scale each), panels the blocks' keys, both turned
 *           as enum kv_type tells. Keys are stored 128 too high, unsigned as the instruction wants
 *           one side: a sum starts from -128 * (sum of the query's codes).
 *   values  rows are the weights exp(score - maximum) times the values' scales, as whole numbers
 *           up to WEIGHT_MAX of each query's largest in the chunk; panels are the values. 15 bits,
 *           since with 8 the many small weights beside a large one (a sequence's first token
 *           usually has one) would all be 0. They are multiplied as two planes of 8 bits.
 *
 * Without such an instruction fours are split into the even and the odd ones, widened to 16 bits:
 * two vpmaddwd, and a plane of 16 bits for the weights. */

#include <immintrin.h>
#include <string.h>

#include "attention_chunk.h"
#include "quantise_head.h"

query_function KERNEL(quantise_query);
attention_function KERNEL(attention_int8);

#define FOURS(count) ((count) / 4)
#define KEY_OFFSET   128
/* WEIGHT_MAX * 127 * CHUNK_TOKENS < 2^31, and a plane of the high bits is below 128. */
#define WEIGHT_MAX 32767.0f

#if defined(__AVX512VNNI__)

#define PANELS 4u /* 6 x 4 sums, 4 panels and a broadcast: 29 of 32 registers */
typedef __m512i sums;

INLINE sums sums_set(int32_t x)
{
    return _mm512_set1_epi32(x);
}
INLINE sums sums_load(const void *p)
{
    return _mm512_loadu_si512(p);
}
/* Assembly, since gcc 12 copies a sum before and after each of the intrinsic's instructions. */
INLINE sums sums_dot(sums acc, sums codes, sums signed_codes)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(codes), "v"(signed_codes));
    return acc;
}
/* 256 * high + low. */
INLINE sums sums_join(sums high, sums low)
{
    return _mm512_add_epi32(_mm512_slli_epi32(high, 8), low);
}
INLINE lanes sums_to_lanes(sums a)
{
    return _mm512_cvtepi32_ps(a);
}

#else

#define PANELS 1u /* a panel and a sum are two of 16 registers each */
typedef struct {
    __m256i low, high;
} sums;

INLINE sums sums_set(int32_t x)
{
    return (sums){_mm256_set1_epi32(x), _mm256_set1_epi32(x)};
}
INLINE sums sums_load(const void *p)
{
    const __m256i *vectors = p;
    return (sums){_mm256_loadu_si256(vectors), _mm256_loadu_si256(vectors + 1)};
}
INLINE lanes sums_to_lanes(sums a)
{
    return (lanes){_mm256_cvtepi32_ps(a.low), _mm256_cvtepi32_ps(a.high)};
}
/* Sixteen floats, rounded, as int16. */
INLINE __m256i lanes_to_words(lanes a)
{
    __m256i words = _mm256_packs_epi32(_mm256_cvtps_epi32(a.low), _mm256_cvtps_epi32(a.high));
    return _mm256_permute4x64_epi64(words, 0xd8);
}

#endif

#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)

#define ROWS       6u
#define PLANES     2u
#define FOUR_BYTES 4u /* of four codes in a row */

typedef struct {
    sums codes;
} panel;
typedef sums four;

#ifndef __AVX512VNNI__
INLINE __m256i half_dot(__m256i acc, __m256i codes, __m256i signed_codes)
{
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(codes), "x"(signed_codes));
    return acc;
}
INLINE sums sums_dot(sums acc, sums codes, sums signed_codes)
{
    return (sums){half_dot(acc.low, codes.low, signed_codes.low),
                  half_dot(acc.high, codes.high, signed_codes.high)};
}
INLINE sums sums_join(sums high, sums low)
{
    return (sums){_mm256_add_epi32(_mm256_slli_epi32(high.low, 8), low.low),
                  _mm256_add_epi32(_mm256_slli_epi32(high.high, 8), low.high)};
}
#endif

INLINE panel panel_load_keys(const uint8_t *p)
{
    return (panel){sums_load(p)};
}
INLINE panel panel_load_values(const uint8_t *p)
{
    return (panel){sums_load(p)};
}
INLINE four four_load(const uint8_t *p)
{
    int32_t codes;
    memcpy(&codes, p, sizeof(codes));
    return sums_set(codes);
}
INLINE sums dot_keys(sums acc, panel keys, four query)
{
    return sums_dot(acc, keys.codes, query);
}
INLINE sums dot_values(sums acc, panel values, four weights)
{
    return sums_dot(acc, weights, values.codes);
}
/* Sixteen floats in [-127, 127], rounded, as elements i.. of a row. */
INLINE void row_store_codes(uint8_t *row, uint32_t i, lanes codes)
{
    lanes_store_codes((int8_t *)row + i, codes);
}
/* Sixteen floats in [0, WEIGHT_MAX], rounded, as elements i.. of two rows, a plane each. */
INLINE void row_store_weights(uint8_t *row, size_t row_bytes, uint32_t i, lanes weights)
{
#ifdef __AVX512VNNI__
    __m512i whole = _mm512_cvtps_epi32(weights);
    __m128i high = _mm512_cvtepi32_epi8(_mm512_srli_epi32(whole, 8));
    __m128i low = _mm512_cvtepi32_epi8(whole);
#else
    __m256i words = lanes_to_words(weights);
    __m256i bytes = _mm256_packus_epi16(_mm256_srli_epi16(words, 8),
                                        _mm256_and_si256(words, _mm256_set1_epi16(255)));
    bytes = _mm256_permute4x64_epi64(bytes, 0xd8);
    __m128i high = _mm256_castsi256_si128(bytes), low = _mm256_extracti128_si256(bytes, 1);
#endif
    _mm_storeu_si128((__m128i *)(void *)(row + i), high);
    _mm_storeu_si128((__m128i *)(void *)(row + row_bytes + i), low);
}

#else

#define ROWS       4u
#define PLANES     1u
#define FOUR_BYTES 8u /* the two even ones, then the two odd ones, of 16 bits */

typedef struct {
    sums even, odd;
} panel;
typedef struct {
    __m256i even, odd;
} four;

INLINE panel panel_load_keys(const uint8_t *p)
{
    sums all = sums_load(p);
    __m256i even = _mm256_set1_epi16(255);
    return (panel){{_mm256_and_si256(all.low, even), _mm256_and_si256(all.high, even)},
                   {_mm256_srli_epi16(all.low, 8), _mm256_srli_epi16(all.high, 8)}};
}
INLINE panel panel_load_values(const uint8_t *p)
{
    sums all = sums_load(p);
    return (panel){{_mm256_srai_epi16(_mm256_slli_epi16(all.low, 8), 8),
                    _mm256_srai_epi16(_mm256_slli_epi16(all.high, 8), 8)},
                   {_mm256_srai_epi16(all.low, 8), _mm256_srai_epi16(all.high, 8)}};
}
INLINE four four_load(const uint8_t *p)
{
    int32_t pairs[2];
    memcpy(pairs, p, sizeof(pairs));
    return (four){_mm256_set1_epi32(pairs[0]), _mm256_set1_epi32(pairs[1])};
}
INLINE __m256i dot_half(__m256i acc, __m256i even, __m256i odd, four row)
{
    acc = _mm256_add_epi32(acc, _mm256_madd_epi16(even, row.even));
    return _mm256_add_epi32(acc, _mm256_madd_epi16(odd, row.odd));
}
INLINE sums dot_keys(sums acc, panel keys, four query)
{
    return (sums){dot_half(acc.low, keys.even.low, keys.odd.low, query),
                  dot_half(acc.high, keys.even.high, keys.odd.high, query)};
}
INLINE sums dot_values(sums acc, panel values, four weights)
{
    return dot_keys(acc, values, weights);
}
INLINE void row_store_codes(uint8_t *row, uint32_t i, lanes codes)
{
    const __m256i even_first =
        _mm256_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15, 0, 1, 4, 5, 2, 3, 6,
                         7, 8, 9, 12, 13, 10, 11, 14, 15);
    _mm256_storeu_si256((__m256i *)(void *)(row + 2 * (size_t)i),
                        _mm256_shuffle_epi8(lanes_to_words(codes), even_first));
}
INLINE void row_store_weights(uint8_t *row, size_t row_bytes, uint32_t i, lanes weights)
{
    (void)row_bytes;
    row_store_codes(row, i, weights);
}

#endif

/* Queries whose scores, and whose weighted values, are summed at once. */
#define SCORE_QUERIES ROWS
#define VALUE_QUERIES (ROWS / PLANES)

#define WEIGHT_ROW_BYTES (FOURS(CHUNK_TOKENS) * FOUR_BYTES)
_Static_assert(FOURS(HEAD_MAX) * FOUR_BYTES <= sizeof(((struct query_codes *)0)->row),
               "a row of codes");

/* The weights of a query: the joined planes * step. */
struct weight_codes {
    _Alignas(64) uint8_t rows[PLANES][WEIGHT_ROW_BYTES];
    float step;
};

void KERNEL(quantise_query)(const float *query, uint32_t d_head, struct query_codes *out)
{
    float rotated[HEAD_MAX];
    head_rotate(query, d_head, rotated);
    struct head_scale scale = head_scale_find(rotated, d_head);
    lanes factor = lanes_set(scale.factor), total = lanes_zero();
    for (uint32_t i = 0; i < d_head; i += LANES) {
        lanes codes = lanes_round(lanes_mul(lanes_load(rotated + i), factor));
        total = lanes_add(total, codes); /* small whole numbers: exact */
        row_store_codes(out->row, i, codes);
    }
    out->scale = scale.scale * head_rotation_scale(d_head);
    out->start = -KEY_OFFSET * (int32_t)lanes_sum(total);
}

/* Scores of one query, over positions [first, end) of the view, into weights 2^(exponent - maximum);
 * partial[0] = maximum, partial[1] = their sum. What comes out as codes are the weights times the
 * values' scales. A query without positions keeps the lowest finite maximum and zeros. */
static void quantise_weights(const struct attention_tile *tile, const struct chunk_view *view,
                             uint32_t first, uint32_t end, float *scores, float *partial,
                             struct weight_codes *out)
{
    uint32_t count = view->n_blocks * LANES;
    partial[0] = scores_to_exponents(tile, first, end, count, scores);
    lanes maximum = lanes_set(partial[0]), total = lanes_zero(), highest_lanes = lanes_zero();
    for (uint32_t c = 0; c < count; c += LANES) {
        const void *scales = view->heads[c / LANES] + KV_INT8_VALUE_SCALES(tile->d_head);
        lanes w = lanes_exp2_of_negative(lanes_sub(lanes_load(scores + c), maximum));
        total = lanes_add(total, w);
        w = lanes_mul(w, lanes_load(scales));
        w = keep_positions(w, c, first, end, 0.0f); /* the scale of a slot not in use may be NaN */
        highest_lanes = lanes_max(highest_lanes, w);
        lanes_store(scores + c, w);
    }
    partial[1] = lanes_sum(total);
    float highest = lanes_highest(highest_lanes);
    lanes factor = lanes_set(highest > KV_INT8_LEAST ? WEIGHT_MAX / highest : 0.0f);
    for (uint32_t c = 0; c < count; c += LANES)
        row_store_weights(out->rows[0], WEIGHT_ROW_BYTES, c,
                          lanes_mul(lanes_load(scores + c), factor));
    out->step = highest / WEIGHT_MAX;
}

INLINE void prefetch_line(const uint8_t *p)
{
    _mm_prefetch((const char *)p, _MM_HINT_T0);
}

/* Raw scores of `n_queries` queries for `n_panels` blocks. What follows the blocks' keys is fetched
 * meanwhile. */
INLINE void score_panels(const uint32_t n_queries, const uint32_t n_panels,
                         const struct query_codes *queries, const uint8_t *const *heads,
                         uint32_t d_head, float *scores)
{
    sums acc[ROWS][PANELS];
    UNROLL for (uint32_t q = 0; q < n_queries; q++)
    {
        UNROLL for (uint32_t p = 0; p < n_panels; p++) acc[q][p] = sums_set(queries[q].start);
    }
    for (uint32_t k = 0; k < FOURS(d_head); k++) {
        panel keys[PANELS];
        UNROLL for (uint32_t p = 0; p < n_panels; p++)
        {
            prefetch_line(heads[p] + KV_INT8_VALUES(d_head) + (size_t)k * 4 * LANES);
            keys[p] = panel_load_keys(heads[p] + (size_t)k * 4 * LANES);
        }
        UNROLL for (uint32_t q = 0; q < n_queries; q++)
        {
            four query = four_load(queries[q].row + (size_t)k * FOUR_BYTES);
            UNROLL for (uint32_t p = 0; p < n_panels; p++) acc[q][p] =
                dot_keys(acc[q][p], keys[p], query);
        }
    }
    UNROLL for (uint32_t p = 0; p < n_panels; p++)
    {
        prefetch_line(heads[p] + KV_INT8_VALUE_SCALES(d_head));
        const void *scales = heads[p] + KV_INT8_KEY_SCALES(d_head);
        lanes key_scales = lanes_load(scales);
        UNROLL for (uint32_t q = 0; q < n_queries; q++)
            lanes_store(scores + (size_t)q * CHUNK_TOKENS + p * LANES,
                        lanes_mul(sums_to_lanes(acc[q][p]),
                                  lanes_mul(key_scales, lanes_set(queries[q].scale))));
    }
}

/* The keys, and their scales, of a head that is wanted next: its lines one by one while columns
 * [column, column + 16 n_panels) of four tokens are multiplied. */
INLINE void prefetch_next(const uint8_t *next, uint32_t d_head, uint32_t t, uint32_t column,
                          const uint32_t n_panels)
{
    if (next == NULL)
        return;
    UNROLL for (uint32_t p = 0; p < n_panels; p++)
        prefetch_line(next + ((size_t)t * d_head + column + p * LANES) * 4);
    if (t == 0 && column == 0)
        prefetch_line(next + KV_INT8_KEY_SCALES(d_head));
}

INLINE void store_values(const uint32_t n_queries, const uint32_t n_panels,
                         const struct weight_codes *weights, sums acc[ROWS][PANELS], float *out,
                         size_t out_stride)
{
    UNROLL for (uint32_t q = 0; q < n_queries; q++)
    {
        UNROLL for (uint32_t p = 0; p < n_panels; p++)
        {
#if PLANES == 2
            sums total = sums_join(acc[2 * q][p], acc[2 * q + 1][p]);
#else
            sums total = acc[q][p];
#endif
            lanes_store(out + q * out_stride + p * LANES,
                        lanes_mul(sums_to_lanes(total), lanes_set(weights[q].step)));
        }
    }
}

/* Weighted values, columns [column, column + 16 * n_panels), over all blocks of the view. */
INLINE void value_panels(const uint32_t n_queries, const uint32_t n_panels,
                         const struct weight_codes *weights, const struct chunk_view *view,
                         uint32_t column, uint32_t d_head, float *out, size_t out_stride)
{
    sums acc[ROWS][PANELS];
    UNROLL for (uint32_t r = 0; r < n_queries * PLANES; r++)
    {
        UNROLL for (uint32_t p = 0; p < n_panels; p++) acc[r][p] = sums_set(0);
    }
    for (uint32_t b = 0; b < view->n_blocks; b++) {
        const uint8_t *block = view->heads[b] + KV_INT8_VALUES(d_head) + (size_t)column * 4;
        for (uint32_t t = 0; t < FOURS(KV_BLOCK_TOKENS); t++) {
            size_t at = ((size_t)b * FOURS(KV_BLOCK_TOKENS) + t) * FOUR_BYTES;
            panel values[PANELS];
            prefetch_next(view->next[b], d_head, t, column, n_panels);
            UNROLL for (uint32_t p = 0; p < n_panels; p++) values[p] =
                panel_load_values(block + ((size_t)t * d_head + p * LANES) * 4);
            UNROLL for (uint32_t r = 0; r < n_queries * PLANES; r++)
            {
                four row = four_load(weights[r / PLANES].rows[r % PLANES] + at);
                UNROLL for (uint32_t p = 0; p < n_panels; p++) acc[r][p] =
                    dot_values(acc[r][p], values[p], row);
            }
        }
    }
    store_values(n_queries, n_panels, weights, acc, out + column, out_stride);
}

#define CASES_3(call)                                                                              \
    case 1:                                                                                        \
        call(1);                                                                                   \
        break;                                                                                     \
    case 2:                                                                                        \
        call(2);                                                                                   \
        break;                                                                                     \
    case 3:                                                                                        \
        call(3);                                                                                   \
        break;
#define CASES_4(call)                                                                              \
    CASES_3(call)                                                                                  \
    case 4:                                                                                        \
        call(4);                                                                                   \
        break;
#define CASES_6(call)                                                                              \
    CASES_4(call)                                                                                  \
    case 5:                                                                                        \
        call(5);                                                                                   \
        break;                                                                                     \
    case 6:                                                                                        \
        call(6);                                                                                   \
        break;
#if PLANES == 2
#define SCORE_CASES(call) CASES_6(call)
#define VALUE_CASES(call) CASES_3(call)
#else
#define SCORE_CASES(call) CASES_4(call)
#define VALUE_CASES(call) CASES_4(call)
#endif

/* One to SCORE_QUERIES queries. */
static void score_queries(uint32_t n_queries, const struct query_codes *queries,
                          const struct chunk_view *view, uint32_t d_head, float *scores)
{
    uint32_t b = 0;
#define SCORE_ALL(n)                                                                               \
    score_panels(n, PANELS, queries, view->heads + b, d_head, scores + (size_t)b * LANES)
#define SCORE_ONE(n)                                                                               \
    score_panels(n, 1, queries, view->heads + b, d_head, scores + (size_t)b * LANES)
    for (; b + PANELS <= view->n_blocks; b += PANELS)
        switch (n_queries) {
            SCORE_CASES(SCORE_ALL)
        }
    for (; b < view->n_blocks; b++)
        switch (n_queries) {
            SCORE_CASES(SCORE_ONE)
        }
}

/* One to VALUE_QUERIES queries. */
static void value_queries(uint32_t n_queries, const struct weight_codes *weights,
                          const struct chunk_view *view, uint32_t d_head, float *out,
                          size_t out_stride)
{
    uint32_t column = 0;
#define VALUE_ALL(n) value_panels(n, PANELS, weights, view, column, d_head, out, out_stride)
#define VALUE_ONE(n) value_panels(n, 1, weights, view, column, d_head, out, out_stride)
    for (; column + PANELS * LANES <= d_head; column += PANELS * LANES)
        switch (n_queries) {
            VALUE_CASES(VALUE_ALL)
        }
    for (; column < d_head; column += LANES)
        switch (n_queries) {
            VALUE_CASES(VALUE_ONE)
        }
}

/* Queries [q, q + n) of the tile, n <= SCORE_QUERIES. */
static void attend_part(const struct attention_tile *tile, const struct chunk_view *view,
                        uint32_t q, uint32_t n, float *scores, float *partials)
{
    struct weight_codes weights[SCORE_QUERIES];
    size_t stride = PARTIAL_FLOATS(tile->d_head);
    score_queries(n, tile->codes + q, view, tile->d_head, scores);
    for (uint32_t i = 0; i < n; i++)
        quantise_weights(tile, view, view_offset(view, tile->first[q + i]),
                         view_offset(view, tile->end[q + i]), scores + (size_t)i * CHUNK_TOKENS,
                         partials + i * stride, &weights[i]);
    for (uint32_t i = 0; i < n; i += VALUE_QUERIES)
        value_queries(n - i < VALUE_QUERIES ? n - i : VALUE_QUERIES, weights + i, view,
                      tile->d_head, partials + i * stride + 2, stride);
}

void KERNEL(attention_int8)(const struct attention_tile *tile, uint32_t chunk, float *scores,
                            float *partials)
{
    struct chunk_view view;
    chunk_view_init(tile, chunk, &view);
    uint32_t parts = (tile->n_queries + SCORE_QUERIES - 1) / SCORE_QUERIES;
    for (uint32_t part = 0; part < parts; part++) {
        uint32_t q = tile->n_queries * part / parts;
        uint32_t n = tile->n_queries * (part + 1) / parts - q;
        attend_part(tile, &view, q, n, scores, partials + q * PARTIAL_FLOATS(tile->d_head));
    }
}
