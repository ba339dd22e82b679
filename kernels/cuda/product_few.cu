/* Products of few rows: y = w a for any form of weight.
 *
 * A block is eight warps. A weight of many columns gives all eight to one band of 16 outputs, each an eighth of the columns; of
 * few columns, they take two, four or eight bands, so that a warp still has some spans to stream. That choice depends on
 * the weight's shape alone, and with it the order of every sum. */

#include "products.h"

#include "product_block.h"

/* Bands below which a weight is narrow: it needs all the warps it can get. 1,024 bands are two of today's large devices
 * full of blocks. */
#define BANDS_MANY 1024u
/* A warp's spans below which splitting the columns further only costs. */
#define SPANS_FEW 4u

static uint32_t splits_of(const struct weight_part *part)
{
    uint32_t splits = WARPS;
    while (splits > 1 && part->n_spans / splits < SPANS_FEW &&
           (uint64_t)part->n_bands * (splits / 2) >= BANDS_MANY)
        splits /= 2;
    return splits;
}

/* grid: (bands / (8 / n_splits), row groups). */
template <enum weight_form FORM, bool NARROW>
K_KERNEL_BOUNDS(32 * WARPS, FEW_BLOCKS<FORM>)
void product_few(struct weight_part part, struct activation_view a, uint32_t n_splits,
                 uint32_t n_rows, const float *bias, bool accumulate, float *y, uint32_t y_width)
{
    K_SHARED(float, sums, WARPS *TILE);
    uint32_t block_bands = WARPS / n_splits, first_band = k_block_x() * block_bands;
    uint32_t first_row = k_block_y() * PRODUCT_FEW_ROWS;
    float c[4];
    few_task task = {first_band + k_warp() / n_splits, k_warp() % n_splits, n_splits, first_row,
                     n_rows};
    few_multiply<FORM, NARROW>(part, a, task, c);
    few_store<NARROW>(sums, k_warp(), k_lane(), c);
    k_sync();
    constexpr uint32_t results = WEIGHT_BAND_OUTPUTS * PRODUCT_FEW_ROWS; /* of a band */
    for (uint32_t i = k_thread(); i < block_bands * results; i += k_threads()) {
        uint32_t band = i / results, n = i % results / WEIGHT_BAND_OUTPUTS,
                 o = i % WEIGHT_BAND_OUTPUTS;
        uint32_t output = (first_band + band) * WEIGHT_BAND_OUTPUTS + o;
        if (output >= part.n_outputs || first_row + n >= n_rows)
            continue;
        float sum = few_sum(sums, band * n_splits, 1, n_splits, o, n) *
                    band_unit<FORM>(part_band(part, first_band + band), o);
        if (bias != nullptr)
            sum += bias[part.first_output + output];
        float *to = y + (uint64_t)(first_row + n) * y_width + part.first_output + output;
        *to = accumulate ? *to + sum : sum;
    }
}

K_KERNEL void bias_add(struct bias_add_args args)
{
    k_release_next();
    k_wait_previous();
    uint32_t o = k_block_x() * k_threads() + k_thread() + args.first_output;
    if (o < args.first_output + args.n_outputs)
        args.y[(uint64_t)k_block_y() * args.y_width + o] += args.bias[o];
}

void product_few_launch(device_stream *stream, const struct product_args *args)
{
    for (uint32_t i = 0; i < args->w.part_count; i++) {
        const struct weight_part *part = &args->w.parts[i];
        uint32_t splits = splits_of(part);
        k_grid grid(ceiling(part->n_bands, WARPS / splits),
                    ceiling(args->n_rows, PRODUCT_FEW_ROWS));
#define LAUNCH_OF(FORM, NARROW)                                                                    \
    K_LAUNCH(stream, (product_few<FORM, NARROW>), grid, 32 * WARPS, 0, *part, args->a, splits,     \
             args->n_rows, args->bias, args->accumulate, args->y, args->w.n_outputs)
#define LAUNCH(FORM)                                                                               \
    if (FORM != WEIGHT_F32 && args->n_rows <= PRODUCT_NARROW_ROWS)                                 \
        LAUNCH_OF(FORM, FORM != WEIGHT_F32);                                                       \
    else                                                                                           \
        LAUNCH_OF(FORM, false)
        WEIGHT_FORM_SWITCH(part->form, LAUNCH)
#undef LAUNCH
#undef LAUNCH_OF
    }
}

void bias_add_launch(device_stream *stream, const struct bias_add_args *args)
{
    K_LAUNCH(stream, bias_add, k_grid(ceiling(args->n_outputs, 256), args->n_rows), 256, 0, *args);
}
