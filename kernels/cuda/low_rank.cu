/* Low-rank changes of a product (LoRA): two thin products for each row that has one, whichever of many it is. Ranks are
 * some tens, so that each is a few microseconds, and launches are as many however many adapters a batch has. */

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

/* The change of row i of those that have one; rank 0: none of this launch's. */
K_DEVICE struct low_rank change_of(const struct low_rank_changes &changes, uint32_t first_change,
                                   const struct low_rank_rows &rows, uint32_t i)
{
    uint32_t number = rows.changes[i] - first_change;
    return number < changes.count ? changes.items[number] : low_rank{};
}

/* grid: (rank_max / 4, rows): a warp for each scratch[i, k] = down[k] . a row rows[i]. */
K_KERNEL void low_rank_down(K_ARGUMENT low_rank_changes changes, uint32_t first_change,
                            struct low_rank_rows rows, struct activation_view a, uint32_t rank_max,
                            float *scratch)
{
    k_release_next();
    k_wait_previous();
    uint32_t k = k_block_x() * RANK_WARPS + k_warp(), i = k_block_y();
    const struct low_rank change = change_of(changes, first_change, rows, i);
    if (k >= change.rank)
        return;
    const float *down = change.down + (uint64_t)k * change.n_cols;
    uint32_t row = rows.rows[i];
    float sum = 0.0f;
    for (uint32_t c = k_lane(); c < change.n_cols; c += 32)
        sum = fmaf(down[c], activation_element(a, row, c), sum);
    sum = k_warp_sum(sum);
    if (k_lane() == 0)
        scratch[(uint64_t)i * rank_max + k] = sum;
}

/* grid: (outputs / 128, rows): a thread an output. */
K_KERNEL void low_rank_up(K_ARGUMENT low_rank_changes changes, uint32_t first_change,
                          struct low_rank_rows rows, const float *scratch, uint32_t rank_max,
                          uint32_t first_output, uint32_t y_width, float *y)
{
    k_release_next();
    k_wait_previous();
    uint32_t o = k_block_x() * OUTPUT_THREADS + k_thread(), i = k_block_y();
    const struct low_rank change = change_of(changes, first_change, rows, i);
    if (change.rank == 0 || o >= change.n_outputs)
        return;
    float sum = 0.0f;
    for (uint32_t k = 0; k < change.rank; k++)
        sum = fmaf(scratch[(uint64_t)i * rank_max + k],
                   change.up[(uint64_t)k * change.n_outputs + o], sum);
    y[(uint64_t)rows.rows[i] * y_width + first_output + o] += sum;
}

void low_rank_launch(device_stream *stream, const struct low_rank_args *args)
{
    uint32_t n_rows = args->rows.n_rows, outputs = 0;
    for (uint32_t i = 0; i < args->changes.count; i++)
        if (args->changes.items[i].rank > 0)
            outputs = args->changes.items[i].n_outputs;
    if (n_rows == 0 || outputs == 0)
        return;
    K_LAUNCH(stream, low_rank_down, k_grid((args->rank_max + RANK_WARPS - 1) / RANK_WARPS, n_rows),
             32 * RANK_WARPS, 0, args->changes, args->first_change, args->rows, args->a,
             args->rank_max, args->scratch);
    K_LAUNCH(stream, low_rank_up, k_grid((outputs + OUTPUT_THREADS - 1) / OUTPUT_THREADS, n_rows),
             OUTPUT_THREADS, 0, args->changes, args->first_change, args->rows, args->scratch,
             args->rank_max, args->first_output, args->y_width, args->y);
}
