/* Low-rank changes of a product (LoRA): two thin products for each row of an adapter. Ranks are some tens, so that each is a
 * few microseconds; rows of other adapters are left alone. */

#include "products.h"

#include "device.h"

#define RANK_WARPS     4u
#define OUTPUT_THREADS 128u

/* An element of the activation, from the best of the forms it has. */
K_DEVICE float activation_element(const struct activation_view &a, uint32_t row, uint32_t column)
{
    uint64_t at = (uint64_t)row * a.n_cols + column;
    if (a.f32 != nullptr)
        return a.f32[at];
    if (a.f16 != nullptr)
        return k_f16_to_float(a.f16[at]);
    if (a.bf16 != nullptr)
        return k_bf16_to_float(a.bf16[at]);
    return a.scales[at / ACTIVATION_GROUP] * (float)a.codes[at];
}

/* grid: (rank / 4, rows): a warp for each scratch[i, k] = down[k] . a row rows[i]. */
K_KERNEL void low_rank_down(struct low_rank change, struct activation_view a, const uint32_t *rows,
                            float *scratch)
{
    k_release_next();
    k_wait_previous();
    uint32_t k = k_block_x() * RANK_WARPS + k_warp(), i = k_block_y();
    if (k >= change.rank)
        return;
    const float *down = change.down + (uint64_t)k * change.n_cols;
    uint32_t row = rows[i];
    float sum = 0.0f;
    for (uint32_t c = k_lane(); c < change.n_cols; c += 32)
        sum = fmaf(down[c], activation_element(a, row, c), sum);
    sum = k_warp_sum(sum);
    if (k_lane() == 0)
        scratch[(uint64_t)i * change.rank + k] = sum;
}

/* grid: (outputs / 128, rows): a thread an output. */
K_KERNEL void low_rank_up(struct low_rank change, const uint32_t *rows, const float *scratch,
                          uint32_t first_output, uint32_t y_width, float *y)
{
    k_release_next();
    k_wait_previous();
    uint32_t o = k_block_x() * OUTPUT_THREADS + k_thread(), i = k_block_y();
    if (o >= change.n_outputs)
        return;
    float sum = 0.0f;
    for (uint32_t k = 0; k < change.rank; k++)
        sum = fmaf(scratch[(uint64_t)i * change.rank + k],
                   change.up[(uint64_t)k * change.n_outputs + o], sum);
    y[(uint64_t)rows[i] * y_width + first_output + o] += sum;
}

void low_rank_launch(device_stream *stream, const struct low_rank_args *args)
{
    const struct low_rank *change = &args->change;
    K_LAUNCH(stream, low_rank_down,
             k_grid((change->rank + RANK_WARPS - 1) / RANK_WARPS, args->n_rows), 32 * RANK_WARPS, 0,
             *change, args->a, args->rows, args->scratch);
    K_LAUNCH(stream, low_rank_up,
             k_grid((change->n_outputs + OUTPUT_THREADS - 1) / OUTPUT_THREADS, args->n_rows),
             OUTPUT_THREADS, 0, *change, args->rows, args->scratch, args->first_output,
             args->y_width, args->y);
}
