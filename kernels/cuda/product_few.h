#ifndef PENSTOCK_KERNELS_CUDA_PRODUCT_FEW_H
#define PENSTOCK_KERNELS_CUDA_PRODUCT_FEW_H

#include "products.h"
#include "weight_unpack.h"

/* A band of a weight times eight rows, by one warp: what all products of few rows are made of.
 *
 * Such a product is as fast as the weight comes from memory, and everything here serves that.
 *  - Tensor cores do the multiplying, with the weight as the operand of 16 rows and the activation as that of 8 columns: no
 *    lane multiplies what it can hand over, and 1 row costs what 8 do. (Per 32 weights of 4 bits and 8 rows, dot products
 *    by dp4a are 64 instructions a lane and this is 2 for the warp; an H200's multiprocessor gets 32 such weights a clock
 *    and issues 128 lanes.) Rows are columns of the operand that never meet: a row's sums do not depend on the others.
 *  - Operands come as the lanes need them (weights.h), 16 bytes a load, without shared memory and its barriers.
 *  - The next spans are always on their way while one is multiplied. By Little's law an H200 needs 4.8 TB/s * ~0.9 us = 4.3 MB on
 *    their way, 33 KB for each of 132 multiprocessors: FEW_DEPTH.
 *  - The first spans are asked for before the kernel waits for the one before it, since weights do not depend on it.
 *
 * The columns of a band are dealt to n_splits warps; the caller adds their results in order. */

/* Forms of 5 bits fit in fewer registers only with too few spans on their way: two blocks then, with more spans each. */
template <enum weight_form FORM>
inline constexpr uint32_t FEW_BLOCKS = PLANE_BYTES<FORM> == 4 ? 2 : 3;

/* Spans that are on their way, and that a warp takes in a run: 64 columns of rows take 16 registers, of bytes 10, of fewer bits
 * 6 to 10. A multiprocessor then waits for 41 KB (U4) to 96 KB (16 bits). */
template <enum weight_form FORM>
inline constexpr uint32_t FEW_DEPTH = IS_ROWS<FORM> || IS_BYTES<FORM> || FORM == WEIGHT_U6 ? 2
                                      : PLANE_BYTES<FORM> == 4                             ? 4
                                                                                           : 3;

/* Rows up to which kernels are narrow. */
#define PRODUCT_NARROW_ROWS 4u

/* One warp's task: its share of a band, for eight rows from first_row on. NARROW: at most four rows are there. They sit in the
 * even columns of the operand then, so that a lane gets one row's results and has one row's scales to multiply with, not two. */
struct few_task {
    uint32_t band, split, n_splits;
    uint32_t first_row, n_rows; /* n_rows: of the activation */
};

/* --- the activation's side --- */

/* Where the lane finds its part of the activation: the row that it gives to the operand, and the rows whose results it gets
 * (scales and sums belong to those). Columns without a row have the last row's, and nobody looks at what comes of it. */
struct few_source {
    const uint16_t
        *pairs; /* f16 or bf16; this and codes from the lane's eight columns of a group on */
    const uint8_t *codes;
    const float *scales[2], *sums[2];
};

template <enum weight_form FORM, bool NARROW>
K_DEVICE few_source few_source_of(const activation_view &a, const few_task &task, uint32_t lane)
{
    few_source x = {};
    uint32_t last = task.n_rows - 1, column = lane / 4;
    uint32_t row = task.first_row + (NARROW ? column / 2 : column);
    uint64_t at = (uint64_t)(row < last ? row : last) * a.n_cols + 8 * (lane % 4);
    if constexpr (!IS_CODED<FORM>)
        x.pairs = (FORM == WEIGHT_F16 ? a.f16 : a.bf16) + at;
    else
        x.codes = (const uint8_t *)a.codes + at;
    K_UNROLL
    for (uint32_t i = 0; IS_CODED<FORM> && i < (NARROW ? 1 : 2); i++) {
        row = task.first_row + (NARROW ? lane % 4 : 2 * (lane % 4) + i);
        at = (uint64_t)(row < last ? row : last) * (a.n_cols / WEIGHT_GROUP_COLS);
        x.scales[i] = a.scales + at;
        x.sums[i] = a.sums + at;
    }
    return x;
}

/* The lane's part of 64 columns of the activation. */
template <enum weight_form FORM> struct few_operand {
    uint32_t codes[2][2];           /* of both groups */
    float scales[2][2], sums[2][2]; /* of both rows, of both groups */
};
struct pairs_operand {
    k_u4 pairs[2];
};
template <> struct few_operand<WEIGHT_F16> : pairs_operand {
};
template <> struct few_operand<WEIGHT_BF16> : pairs_operand {
};
template <> struct few_operand<WEIGHT_F8> : pairs_operand {
};

K_DEVICE void load_floats(const float *from, float to[2])
{
    uint32_t words[2];
    load_words((const uint8_t *)from, words);
    to[0] = k_bits_float(words[0]);
    to[1] = k_bits_float(words[1]);
}

/* Where all spans are whole, everything is one load and nothing is asked. */
template <enum weight_form FORM, bool NARROW>
K_DEVICE few_operand<FORM> operand_load(const few_source &from, uint32_t span)
{
    few_operand<FORM> x;
    K_UNROLL
    for (uint32_t half = 0; half < 2; half++) {
        uint32_t column = WEIGHT_SPAN_COLS * span + WEIGHT_GROUP_COLS * half;
        if constexpr (!IS_CODED<FORM>)
            x.pairs[half] = k_load16(from.pairs + column);
        else
            load_words(from.codes + column, x.codes[half]);
    }
    K_UNROLL
    for (uint32_t i = 0; IS_CODED<FORM> && i < (NARROW ? 1 : 2); i++) {
        if constexpr (IS_CODED<FORM>)
            load_floats(from.scales[i] + 2 * span, x.scales[i]);
        if constexpr (HAS_MINIMUMS<FORM>)
            load_floats(from.sums[i] + 2 * span, x.sums[i]);
    }
    return x;
}

/* Eight elements, from `column` of the row on; zeros beyond its end. */
K_DEVICE k_u4 pairs_load_carefully(const uint16_t *from, uint32_t column, uint32_t n_cols)
{
    uint32_t pairs[4] = {0, 0, 0, 0};
    for (uint32_t i = 0; i < 8 && column + i < n_cols; i++)
        pairs[i / 2] |= (uint32_t)from[i] << 16 * (i % 2);
    return k_u4{pairs[0], pairs[1], pairs[2], pairs[3]};
}

/* The same for rows that end within a span, whose addresses are multiples of little. */
template <enum weight_form FORM, bool NARROW>
K_DEVICE few_operand<FORM> operand_load_carefully(const few_source &from, uint32_t span,
                                                  uint32_t n_cols, uint32_t lane)
{
    few_operand<FORM> x = {};
    for (uint32_t half = 0; half < 2; half++) {
        uint32_t group = 2 * span + half, column = WEIGHT_GROUP_COLS * group;
        if (column >= n_cols)
            continue;
        if constexpr (!IS_CODED<FORM>) {
            x.pairs[half] =
                pairs_load_carefully(from.pairs + column, column + 8 * (lane % 4), n_cols);
        } else {
            load_words(from.codes + column, x.codes[half]);
            for (uint32_t i = 0; i < (NARROW ? 1 : 2); i++) {
                x.scales[i][half] = from.scales[i][group];
                x.sums[i][half] = from.sums[i][group];
            }
        }
    }
    return x;
}

/* --- 16-bit rows --- */

/* The lane's part of 64 columns of a band: outputs g and g + 8, eight columns of two groups. */
struct row_share {
    k_u4 lower[2], upper[2];
};

/* c += the products of 16 outputs and eight rows over the eight columns of each of four lanes. */
template <bool IS_F16>
K_DEVICE void multiply_pairs(float c[4], const k_u4 &lower, const k_u4 &upper, const k_u4 &x)
{
    uint32_t first[4] = {lower.x, upper.x, lower.y, upper.y};
    uint32_t last[4] = {lower.z, upper.z, lower.w, upper.w};
    uint32_t x_first[2] = {x.x, x.y}, x_last[2] = {x.z, x.w};
    if constexpr (IS_F16) {
        k_mma_f16(c, first, x_first);
        k_mma_f16(c, last, x_last);
    } else {
        k_mma_bf16(c, first, x_first);
        k_mma_bf16(c, last, x_last);
    }
}

/* --- F8 --- */

/* The factors of the lane's two outputs: rows of part.scales. */
struct f8_factors {
    const float *lower, *upper;
    uint32_t inverse, last; /* part.scale_inverse; the last column of scales */
};

K_DEVICE f8_factors f8_factors_of(const struct weight_part &part, uint32_t band, uint32_t lane)
{
    uint32_t last = part.n_outputs - 1; /* what fills a band up has no factor of its own */
    uint32_t lower = band * WEIGHT_BAND_OUTPUTS + lane / 4, upper = lower + 8;
    lower = (lower < last ? lower : last) / part.scale_outputs;
    upper = (upper < last ? upper : last) / part.scale_outputs;
    return {part.scales + (uint64_t)lower * part.scale_stride,
            part.scales + (uint64_t)upper * part.scale_stride, part.scale_inverse,
            part.scale_stride - 1};
}

/* Two of a group's four quarters as the operand of one multiplication: outputs g and g + 8, four columns of each. */
K_DEVICE void f8_multiply(float c[4], uint32_t lower, uint32_t upper, uint32_t x0, uint32_t x1)
{
    uint32_t x[2] = {x0, x1};
    uint32_t a[4] = {k_e4m3_pair_to_bf16((uint16_t)lower), k_e4m3_pair_to_bf16((uint16_t)upper),
                     k_e4m3_pair_to_bf16((uint16_t)(lower >> 16)),
                     k_e4m3_pair_to_bf16((uint16_t)(upper >> 16))};
    k_mma_bf16(c, a, x);
}

template <bool NARROW>
K_DEVICE void f8_use(const f8_factors &factors, const k_u4 &codes, const k_u4 &x, uint32_t group,
                     float c[4])
{
    float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    f8_multiply(sums, codes.x, codes.y, x.x, x.y);
    f8_multiply(sums, codes.z, codes.w, x.z, x.w);
    uint32_t column = (uint32_t)((uint64_t)group * factors.inverse >> 31);
    column = column < factors.last ? column : factors.last; /* of a group that fills a span up */
    float lower = factors.lower[column], upper = factors.upper[column];
    K_UNROLL
    for (uint32_t i = 0; i < 4; i += NARROW ? 2 : 1)
        c[i] = fmaf(i < 2 ? lower : upper, sums[i], c[i]);
}

/* --- codes --- */

/* What codes with an offset are multiplied with, so that they fill their bytes: q - 8 of four bits becomes 16 q - 128, which is q in
 * the high bits with the highest turned over. The sums are divided by it at the end, exactly. */
template <enum weight_form FORM>
inline constexpr int FEW_STEP = CODE_OFFSET<FORM> != 0 ? 128 / -CODE_OFFSET<FORM> : 1;

/* A group's codes as signed bytes, FEW_STEP times what they stand for. */
template <enum weight_form FORM>
K_DEVICE void signed_codes(const cell_share<FORM> &w, uint32_t half, uint32_t codes[4])
{
    if constexpr (FORM == WEIGHT_U4) {
        uint32_t lower = half == 0 ? w.codes[0].x : w.codes[0].z;
        uint32_t upper = half == 0 ? w.codes[0].y : w.codes[0].w;
        codes[0] = (lower << 4 & 0xf0f0f0f0u) ^ 0x80808080u;
        codes[1] = (upper << 4 & 0xf0f0f0f0u) ^ 0x80808080u;
        codes[2] = (lower & 0xf0f0f0f0u) ^ 0x80808080u;
        codes[3] = (upper & 0xf0f0f0f0u) ^ 0x80808080u;
        return;
    }
    cell_codes<FORM>(w, half, codes);
    K_UNROLL
    for (uint32_t i = 0; CODE_OFFSET<FORM> != 0 && i < 4; i++)
        codes[i] = (codes[i] * (uint32_t)FEW_STEP<FORM>)^0x80808080u;
}

/* sums = codes times the activation's codes. */
K_DEVICE void multiply_codes(int32_t sums[4], const uint32_t codes[4], const uint32_t x[2])
{
    K_UNROLL
    for (uint32_t i = 0; i < 4; i++)
        sums[i] = 0;
    k_mma_s8(sums, codes, x);
}

/* One group of one cell. */
template <enum weight_form FORM, bool NARROW>
K_DEVICE void codes_use(const cell_share<FORM> &w, const few_operand<FORM> &x, uint32_t half,
                        uint32_t lane, float c[4])
{
    constexpr uint32_t step = NARROW ? 2 : 1;
    uint32_t codes[4];
    int32_t sums[4];
    group_scales scales = cell_scales<FORM>(w, half);
    signed_codes<FORM>(w, half, codes);
    bool is_second = FORM == WEIGHT_U6 && (lane & 2) != 0; /* lanes t = 2, 3: columns 16 .. 31 */
    uint32_t first[2] = {is_second ? 0 : x.codes[half][0], is_second ? 0 : x.codes[half][1]};
    multiply_codes(sums, codes, first);
    K_UNROLL
    for (uint32_t i = 0; i < 4; i += step)
        c[i] = fmaf(scales.scale[i / 2], x.scales[i % 2][half] * (float)sums[i], c[i]);
    if constexpr (FORM == WEIGHT_U6) {
        uint32_t second[2] = {is_second ? x.codes[half][0] : 0, is_second ? x.codes[half][1] : 0};
        multiply_codes(sums, codes, second);
        K_UNROLL
        for (uint32_t i = 0; i < 4; i += step)
            c[i] = fmaf(scales.second[i / 2], x.scales[i % 2][half] * (float)sums[i], c[i]);
    }
    if constexpr (HAS_MINIMUMS<FORM>) {
        K_UNROLL
        for (uint32_t i = 0; i < 4; i += step)
            c[i] = fmaf(scales.second[i / 2], x.sums[i % 2][half], c[i]);
    }
}

/* --- a warp's share of a band, for any form that has operands --- */

template <enum weight_form FORM> struct few_band {
    const uint8_t *cells;
    f8_factors factors; /* F8 only */
    cell_share<FORM> ring[FEW_DEPTH<FORM>];
};
struct rows_band {
    const uint8_t *cells; /* the lane's first eight columns of output g */
    uint64_t row_bytes;   /* from output g to g + 8 */
    row_share ring[FEW_DEPTH<WEIGHT_BF16>];
};
template <> struct few_band<WEIGHT_F16> : rows_band {
};
template <> struct few_band<WEIGHT_BF16> : rows_band {
};

template <enum weight_form FORM>
K_DEVICE few_band<FORM> few_band_of(const struct weight_part &part, uint32_t band, uint32_t lane)
{
    few_band<FORM> w = {};
    w.cells = part_band(part, band) + UNITS_BYTES<FORM>;
    if constexpr (IS_ROWS<FORM>) {
        w.cells += 2 * ((uint64_t)(lane / 4) * part.stride + 8 * (lane % 4));
        w.row_bytes = (uint64_t)16 * part.stride;
    }
    if constexpr (FORM == WEIGHT_F8)
        w.factors = f8_factors_of(part, band, lane);
    return w;
}

/* Asks for a span, to be in place i of the ring. */
template <enum weight_form FORM>
K_DEVICE void few_load(few_band<FORM> *w, uint32_t i, uint32_t span, uint32_t lane)
{
    if constexpr (IS_ROWS<FORM>) {
        const uint8_t *at = w->cells + (uint64_t)span * 2 * WEIGHT_SPAN_COLS;
        K_UNROLL
        for (uint32_t half = 0; half < 2; half++) {
            w->ring[i].lower[half] = k_load16_stream(at + 2 * WEIGHT_GROUP_COLS * half);
            w->ring[i].upper[half] =
                k_load16_stream(at + w->row_bytes + 2 * WEIGHT_GROUP_COLS * half);
        }
    } else {
        w->ring[i] = cell_load<FORM>(w->cells + (uint64_t)span * CELL_BYTES<FORM>, lane);
    }
}

template <enum weight_form FORM, bool NARROW>
K_DEVICE void few_use(const few_band<FORM> &w, uint32_t i, const few_operand<FORM> &x,
                      uint32_t span, uint32_t lane, float c[4])
{
    K_UNROLL
    for (uint32_t half = 0; half < 2; half++) {
        if constexpr (IS_ROWS<FORM>)
            multiply_pairs<FORM == WEIGHT_F16>(c, w.ring[i].lower[half], w.ring[i].upper[half],
                                               x.pairs[half]);
        else if constexpr (FORM == WEIGHT_F8)
            f8_use<NARROW>(w.factors, w.ring[i].codes[half], x.pairs[half], 2 * span + half, c);
        else
            codes_use<FORM, NARROW>(w.ring[i], x, half, lane, c);
    }
}

/* Runs of FEW_DEPTH spans go to the warps in turn; then the spans that make no run, one by one. Rows that do not end with a span
 * have no runs at all: they are of no model that is in use. */
template <enum weight_form FORM, bool NARROW>
K_DEVICE void operands_multiply(const struct weight_part &part, const activation_view &a,
                                const few_task &task, float c[4])
{
    constexpr uint32_t depth = FEW_DEPTH<FORM>;
    const uint32_t lane = k_lane(), n_spans = task.band < part.n_bands ? part.n_spans : 0;
    const uint32_t runs = part.n_cols % WEIGHT_SPAN_COLS == 0 ? n_spans / depth : 0;
    few_band<FORM> w = few_band_of<FORM>(part, task.band, lane);
    if (task.split < runs) {
        K_UNROLL
        for (uint32_t i = 0; i < depth; i++)
            few_load<FORM>(&w, i, task.split * depth + i, lane);
    }
    k_release_next();
    k_wait_previous();
    few_source from = few_source_of<FORM, NARROW>(a, task, lane);
    K_UNROLL
    for (uint32_t i = 0; i < 4; i++)
        c[i] = 0.0f;
    K_ROLLED
    for (uint32_t run = task.split; run < runs; run += task.n_splits) {
        const uint32_t span = run * depth, next = span + task.n_splits * depth;
        const bool goes_on = run + task.n_splits < runs;
        K_UNROLL
        for (uint32_t i = 0; i < depth; i++) {
            few_use<FORM, NARROW>(w, i, operand_load<FORM, NARROW>(from, span + i), span + i, lane,
                                  c);
            if (goes_on)
                few_load<FORM>(&w, i, next + i, lane);
            if constexpr (PLANE_BYTES < FORM >>
                          0) /* less of the next operand at a time: registers */
                k_sync_warp();
        }
    }
    K_ROLLED
    for (uint32_t span = runs * depth + task.split; span < n_spans; span += task.n_splits) {
        few_load<FORM>(&w, 0, span, lane);
        few_use<FORM, NARROW>(w, 0,
                              operand_load_carefully<FORM, NARROW>(from, span, part.n_cols, lane),
                              span, lane, c);
    }
    K_UNROLL
    for (uint32_t i = 0; i < 4; i++)
        c[i] *= 1.0f / (float)FEW_STEP<FORM>;
}

/* --- F32 --- */

/* Rows of f32 have no tensor cores' operands. A lane multiplies eight columns of outputs g and g + 8 for all eight rows, and the
 * four lanes of an output are added at the end. Such weights are small (routers) or those of small test models. */
K_DEVICE void f32_use(const float *lower, const float *upper, uint32_t column,
                      const activation_view &a, uint32_t first_row, uint32_t n_rows, float all[16])
{
    K_UNROLL
    for (uint32_t r = 0; r < PRODUCT_FEW_ROWS; r++) {
        if (first_row + r >= n_rows)
            continue;
        const float *x = a.f32 + (uint64_t)(first_row + r) * a.n_cols;
        for (uint32_t i = column; i < column + 8 && i < a.n_cols; i++) {
            all[r] = fmaf(lower[i], x[i], all[r]);
            all[8 + r] = fmaf(upper[i], x[i], all[8 + r]);
        }
    }
}

K_DEVICE void f32_multiply(const struct weight_part &part, const activation_view &a,
                           const few_task &task, float c[4])
{
    const uint32_t lane = k_lane();
    const uint32_t n_spans = task.band < part.n_bands ? part.n_spans : 0;
    const float *lower = (const float *)(const void *)part_band(part, task.band) +
                         (uint64_t)(lane / 4) * part.stride;
    const float *upper = lower + (uint64_t)8 * part.stride;
    float all[2 * PRODUCT_FEW_ROWS] = {};
    k_release_next();
    k_wait_previous();
    for (uint32_t span = task.split; span < n_spans; span += task.n_splits)
        for (uint32_t half = 0; half < 2; half++)
            f32_use(lower, upper,
                    span * WEIGHT_SPAN_COLS + half * WEIGHT_GROUP_COLS + 8 * (lane % 4), a,
                    task.first_row, task.n_rows, all);
    K_UNROLL
    for (uint32_t i = 0; i < 2 * PRODUCT_FEW_ROWS; i++) {
        all[i] += k_shfl_xor(all[i], 1);
        all[i] += k_shfl_xor(all[i], 2);
        if (i % PRODUCT_FEW_ROWS / 2 == lane % 4) /* where tensor cores would leave it */
            c[2 * (i / PRODUCT_FEW_ROWS) + i % 2] = all[i];
    }
}

/* c[i] = the sum over the warp's spans for output lane / 4 + 8 (i / 2) of the band, in units of the output, and row first_row + 2
 * (lane % 4) + i % 2; narrow, row first_row + lane % 4 and c[1], c[3] mean nothing. A band that is not there (band >=
 * part.n_bands) gives zeros. Waits for the kernel before; whole warps only. */
template <enum weight_form FORM, bool NARROW>
K_DEVICE void few_multiply(const struct weight_part &part, const activation_view &a,
                           const few_task &task, float c[4])
{
    if constexpr (FORM == WEIGHT_F32)
        f32_multiply(part, a, task, c);
    else
        operands_multiply<FORM, NARROW>(part, a, task, c);
}

#endif
