#include "rows.h"

#include "activation.h"
#include "row_block.h"

/* Norms: one block a row, and all that follows a norm in the same pass: the residual is read once and each form that a product
 * wants is written at once. */

/* Tiles of a row that a norm keeps in registers, with their gains, which are weights: they come while the kernel before still
 * runs. Rows of up to 4,096 columns are read once; what is beyond is read again, from L1. */
#define TILES_HELD 4u
#define COLS_HELD  (TILES_HELD * ROW_TILE)

K_DEVICE void norm_store(const struct activation_view &out, uint32_t row, uint32_t first,
                         const float x[4], float inverse, const float gain[4])
{
    float values[4];
    for (uint32_t i = 0; i < 4; i++)
        values[i] = x[i] * inverse * gain[i];
    activation_store_quad(out, row, first, values);
}

K_KERNEL_BOUNDS(ROW_THREADS, 3) void rms_norm_kernel(struct rms_norm_args a)
{
    K_SHARED(float, warps, ROW_WARPS);
    float held[TILES_HELD][4], gains[TILES_HELD][4];
    k_release_next();
    K_UNROLL
    for (uint32_t t = 0; t < TILES_HELD; t++)
        row_load(a.gain, row_first(t * ROW_TILE), a.d, gains[t]);
    k_wait_previous();
    uint32_t r = k_block_x();
    const float *x = a.x + (uint64_t)(a.rows != nullptr ? a.rows[r] : r) * a.d;
    K_UNROLL
    for (uint32_t t = 0; t < TILES_HELD; t++)
        row_load(x, row_first(t * ROW_TILE), a.d, held[t]);
    float squares = a.d > COLS_HELD ? row_squares(x + COLS_HELD, a.d - COLS_HELD) : 0.0f;
    K_UNROLL
    for (uint32_t t = 0; t < TILES_HELD; t++)
        for (uint32_t i = 0; i < 4; i++)
            squares += held[t][i] * held[t][i];
    squares = row_block_sum(warps, squares);
    float inverse = 1.0f / sqrtf(squares / (float)a.d + a.epsilon);
    K_UNROLL
    for (uint32_t t = 0; t < TILES_HELD; t++)
        if (t * ROW_TILE < a.d)
            norm_store(a.out, r, row_first(t * ROW_TILE), held[t], inverse, gains[t]);
    for (uint32_t tile = COLS_HELD; tile < a.d; tile += ROW_TILE) {
        uint32_t first = row_first(tile);
        row_load(x, first, a.d, held[0]);
        row_load(a.gain, first, a.d, gains[0]);
        norm_store(a.out, r, first, held[0], inverse, gains[0]);
    }
}

void rms_norm_launch(device_stream *stream, const struct rms_norm_args *args)
{
    K_LAUNCH(stream, rms_norm_kernel, k_grid(args->n_rows), ROW_THREADS, 0, *args);
}

K_KERNEL_BOUNDS(ROW_THREADS, 4) void rms_norm_add_kernel(struct rms_norm_add_args a)
{
    K_SHARED(float, warps, ROW_WARPS);
    k_release_next();
    k_wait_previous();
    const float *y = a.y + (uint64_t)k_block_x() * a.d;
    float *x = a.x + (uint64_t)k_block_x() * a.d;
    float squares = row_block_sum(warps, row_squares(y, a.d));
    float inverse = 1.0f / sqrtf(squares / (float)a.d + a.epsilon);
    for (uint32_t tile = 0; tile < a.d; tile += ROW_TILE) {
        uint32_t first = row_first(tile);
        float values[4], normed[4], gain[4];
        row_load(x, first, a.d, values);
        row_load(y, first, a.d, normed);
        row_load(a.gain, first, a.d, gain);
        for (uint32_t i = 0; i < 4; i++)
            values[i] += normed[i] * inverse * gain[i];
        row_store(x, first, a.d, values);
    }
}

void rms_norm_add_launch(device_stream *stream, const struct rms_norm_add_args *args)
{
    K_LAUNCH(stream, rms_norm_add_kernel, k_grid(args->n_rows), ROW_THREADS, 0, *args);
}

/* Each thread has four of the elements, of which the last one may have fewer. */
K_KERNEL_BOUNDS(ROW_THREADS, 4) void soft_cap_kernel(float *x, uint64_t count, float cap)
{
    k_release_next();
    k_wait_previous();
    uint64_t first = ((uint64_t)k_block_x() * ROW_THREADS + k_thread()) * 4;
    if (first + 4 > count) {
        for (uint64_t i = first; i < count; i++)
            x[i] = cap * tanhf(x[i] / cap);
        return;
    }
    float values[4];
    row_load(x + first, 0, 4, values);
    for (uint32_t i = 0; i < 4; i++)
        values[i] = cap * tanhf(values[i] / cap);
    row_store(x + first, 0, 4, values);
}

void soft_cap_launch(device_stream *stream, float *x, uint64_t count, float cap)
{
    uint32_t tiles = (uint32_t)((count + ROW_TILE - 1) / ROW_TILE);
    K_LAUNCH(stream, soft_cap_kernel, k_grid(tiles), ROW_THREADS, 0, x, count, cap);
}
