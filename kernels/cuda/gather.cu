/* Rows of a weight: embedding, and whole bands as 16-bit elements for a library's product. */

#include "products.h"

#include "weight_unpack.h"

#define GATHER_THREADS 128u
#define CELL_WARPS     8u

/* The row of the table that a row of the step asks for; n_outputs or more: none. */
K_DEVICE uint32_t embed_row(const int32_t *tokens, const int32_t *sampled, uint32_t r)
{
    int32_t token = tokens[r];
    if (token < 0)
        token = sampled != nullptr ? sampled[-1 - token] : -1;
    return token < 0 ? UINT32_MAX : (uint32_t)token;
}

/* grid: (eights of columns / threads, rows). Writes nothing of rows that are of another part of the table; its last part writes
 * the zeros of rows that are of none. */
template <enum weight_form FORM>
K_KERNEL void embed(struct weight_part part, bool is_last, const int32_t *tokens,
                    const int32_t *sampled, float scale, bool accumulate, float *x)
{
    k_release_next();
    k_wait_previous();
    uint32_t column = 8 * (k_block_x() * k_threads() + k_thread());
    uint32_t row = embed_row(tokens, sampled, k_block_y());
    bool is_there = row >= part.first_output && row - part.first_output < part.n_outputs;
    bool is_nowhere = is_last && row >= part.first_output + part.n_outputs;
    if (column >= part.n_cols || !(is_there || is_nowhere))
        return;
    float values[8] = {};
    if (is_there)
        part_read<FORM>(part, row - part.first_output, column, values);
    float *to = x + (uint64_t)k_block_y() * part.n_cols + column;
    for (uint32_t i = 0; i < 8 && column + i < part.n_cols; i++)
        to[i] = accumulate ? fmaf(scale, values[i], to[i]) : scale * values[i];
}

K_DEVICE k_u4 packed(const float values[8], bool is_f16)
{
    uint32_t pairs[4];
    K_UNROLL
    for (uint32_t i = 0; i < 4; i++)
        pairs[i] = is_f16 ? k_pack_f16(values[2 * i], values[2 * i + 1])
                          : k_pack_bf16(values[2 * i], values[2 * i + 1]);
    return k_u4{pairs[0], pairs[1], pairs[2], pairs[3]};
}

/* grid: (spans / 8, bands): a warp a cell; each of a lane's four eights is one store. */
template <enum weight_form FORM> K_KERNEL void dequantise(struct dequantise_args args)
{
    k_release_next();
    const struct weight_part &part = args.part;
    uint32_t span = k_block_x() * CELL_WARPS + k_warp(), lane = k_lane();
    uint32_t band_index = args.first_output / WEIGHT_BAND_OUTPUTS + k_block_y();
    k_wait_previous(); /* the product before may still be reading the matrix */
    if (span >= part.n_spans)
        return;
    const uint8_t *band = part_band(part, band_index);
    cell_share<FORM> cell =
        cell_load<FORM>(band + UNITS_BYTES<FORM> + (uint64_t)span * CELL_BYTES<FORM>, lane);
    for (uint32_t half = 0; half < 2; half++) {
        uint32_t group = 2 * span + half, column = WEIGHT_GROUP_COLS * group + 8 * (lane % 4);
        float values[2][8];
        cell_values<FORM>(cell, half, lane, values[0], values[1]);
        for (uint32_t i = 0; i < 2; i++) {
            uint32_t o = lane / 4 + 8 * i, row = k_block_y() * WEIGHT_BAND_OUTPUTS + o;
            if (row >= args.n_outputs || column >= args.out_stride)
                continue;
            float factor = band_unit<FORM>(band, o);
            if constexpr (FORM == WEIGHT_F8)
                factor = column < part.n_cols ? part_f8_scale(part, args.first_output + row, group)
                                              : 0.0f;
            for (uint32_t j = 0; j < 8; j++)
                values[i][j] *= factor;
            k_store16(args.out + (uint64_t)row * args.out_stride + column,
                      packed(values[i], args.is_f16));
        }
    }
}

void embed_launch(device_stream *stream, const struct embed_args *args)
{
    uint32_t eights = (args->table.n_cols + 7) / 8;
    k_grid grid((eights + GATHER_THREADS - 1) / GATHER_THREADS, args->n_rows);
    for (uint32_t i = 0; i < args->table.part_count; i++) {
        const struct weight_part *part = &args->table.parts[i];
        bool is_last = i + 1 == args->table.part_count;
#define LAUNCH(FORM)                                                                               \
    K_LAUNCH(stream, (embed<FORM>), grid, GATHER_THREADS, 0, *part, is_last, args->tokens,         \
             args->sampled, args->scale, args->accumulate, args->x)
        WEIGHT_FORM_SWITCH(part->form, LAUNCH)
#undef LAUNCH
    }
}

void dequantise_launch(device_stream *stream, const struct dequantise_args *args)
{
    k_grid grid((args->part.n_spans + CELL_WARPS - 1) / CELL_WARPS,
                (args->n_outputs + WEIGHT_BAND_OUTPUTS - 1) / WEIGHT_BAND_OUTPUTS);
#define LAUNCH(FORM) K_LAUNCH(stream, (dequantise<FORM>), grid, 32 * CELL_WARPS, 0, *args)
    switch (args->part.form) {
        WEIGHT_CELL_CASES(LAUNCH)
    default: /* rows are what they are */
        break;
    }
#undef LAUNCH
}
