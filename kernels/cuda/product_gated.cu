/* Gate and up in one product of few rows, and the gate after any other product.
 *
 * Results that are joined are needed in groups of 32, as int8 codes have a scale for each: a block computes two bands of the
 * gate and the same two of the up projection, with two warps each, which share the columns. */

#include "products.h"

#include "activation.h"
#include "gate.h"
#include "product_block.h"

#define GATED_OUTPUTS 32u /* of a block */

/* Two parts of one form and shape differ in where they lie; chosen one by one, so that all stays in registers. */
K_DEVICE struct weight_part one_of(const struct weight_part &gate, const struct weight_part &up,
                                   bool is_up)
{
    struct weight_part part = gate;
    part.data = is_up ? up.data : gate.data;
    part.scales = is_up ? up.scales : gate.scales;
    part.scale_outputs = is_up ? up.scale_outputs : gate.scale_outputs;
    part.scale_stride = is_up ? up.scale_stride : gate.scale_stride;
    part.scale_inverse = is_up ? up.scale_inverse : gate.scale_inverse;
    return part;
}

/* grid: (groups of 32 outputs, row groups). Warp: 4 splits + (up projection ? 2 : 0) + band of the two. */
template <enum weight_form FORM, bool NARROW>
K_KERNEL_BOUNDS(32 * WARPS, FEW_BLOCKS<FORM>)
void product_gated_few(struct weight_part gate, struct weight_part up, struct activation_view a,
                       uint32_t n_rows, struct gated_terms terms, enum gate_kind kind,
                       struct activation_view out)
{
    K_SHARED(float, sums, WARPS *TILE);
    uint32_t first_row = k_block_y() * PRODUCT_FEW_ROWS, n = k_warp(), lane = k_lane();
    float c[4];
    few_task task = {2 * k_block_x() + k_warp() % 2, k_warp() / 4, WARPS / 4, first_row, n_rows};
    few_multiply<FORM, NARROW>(one_of(gate, up, k_warp() / 2 % 2 != 0), a, task, c);
    few_store<NARROW>(sums, k_warp(), lane, c);
    k_sync();
    if (first_row + n >= n_rows)
        return;
    uint32_t o = lane % WEIGHT_BAND_OUTPUTS, output = k_block_x() * GATED_OUTPUTS + lane;
    float value = 0.0f;
    if (output < gate.n_outputs) {
        uint32_t band = output / WEIGHT_BAND_OUTPUTS;
        float g = few_sum(sums, lane / WEIGHT_BAND_OUTPUTS, 4, WARPS / 4, o, n) *
                  band_unit<FORM>(part_band(gate, band), o);
        float u = few_sum(sums, 2 + lane / WEIGHT_BAND_OUTPUTS, 4, WARPS / 4, o, n) *
                  band_unit<FORM>(part_band(up, band), o);
        g += gated_term(terms, first_row + n, output, 2 * gate.n_outputs);
        u += gated_term(terms, first_row + n, gate.n_outputs + output, 2 * gate.n_outputs);
        value = gate_value(kind, g, u);
    }
    activation_store_group(out, first_row + n, k_block_x(), lane, value);
}

/* grid: (groups of 32 outputs / 8, rows): a warp a group. */
K_KERNEL void gate_join(const float *y, struct gated_terms terms, enum gate_kind kind,
                        struct activation_view out)
{
    k_release_next();
    k_wait_previous();
    uint32_t group = k_block_x() * WARPS + k_warp(), row = k_block_y(), n = out.n_cols;
    if (group * ACTIVATION_GROUP >= n)
        return;
    uint32_t output = group * ACTIVATION_GROUP + k_lane();
    float value = 0.0f;
    if (output < n) {
        const float *products = y + (uint64_t)row * 2 * n;
        value = gate_value(kind, products[output] + gated_term(terms, row, output, 2 * n),
                           products[n + output] + gated_term(terms, row, n + output, 2 * n));
    }
    activation_store_group(out, row, group, k_lane(), value);
}

void product_gated_few_launch(device_stream *stream, const struct product_gated_args *args)
{
    const struct weight_part *gate = &args->w.parts[0], *up = &args->w.parts[1];
    k_grid grid(ceiling(gate->n_outputs, GATED_OUTPUTS), ceiling(args->n_rows, PRODUCT_FEW_ROWS));
#define LAUNCH_OF(FORM, NARROW)                                                                    \
    K_LAUNCH(stream, (product_gated_few<FORM, NARROW>), grid, 32 * WARPS, 0, *gate, *up, args->a,  \
             args->n_rows, args->terms, args->gate, args->out)
#define LAUNCH(FORM)                                                                               \
    if (FORM != WEIGHT_F32 && args->n_rows <= PRODUCT_NARROW_ROWS)                                 \
        LAUNCH_OF(FORM, FORM != WEIGHT_F32);                                                       \
    else                                                                                           \
        LAUNCH_OF(FORM, false)
    WEIGHT_FORM_SWITCH(gate->form, LAUNCH)
#undef LAUNCH
#undef LAUNCH_OF
}

void gate_join_launch(device_stream *stream, const struct gate_join_args *args)
{
    uint32_t groups = ceiling(args->out.n_cols, ACTIVATION_GROUP);
    K_LAUNCH(stream, gate_join, k_grid(ceiling(groups, WARPS), args->n_rows), 32 * WARPS, 0,
             args->y, args->terms, args->gate, args->out);
}
