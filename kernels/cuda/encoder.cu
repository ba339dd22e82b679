#include "encoder.h"

#include "activation.h"
#include "backend.h"
#include "row_block.h"

/* This thread's share of the sum of the row, or of the squares of its distances from `mean`. */
K_DEVICE float row_sum(const float *row, uint32_t d)
{
    float sum = 0.0f;
    for (uint32_t tile = 0; tile < d; tile += ROW_TILE) {
        float values[4];
        row_load(row, row_first(tile), d, values);
        for (uint32_t i = 0; i < 4; i++)
            sum += values[i];
    }
    return sum;
}

K_DEVICE float row_distances(const float *row, uint32_t d, float mean)
{
    float sum = 0.0f;
    for (uint32_t tile = 0; tile < d; tile += ROW_TILE) {
        uint32_t first = row_first(tile);
        float values[4];
        row_load(row, first, d, values);
        for (uint32_t i = 0; i < 4; i++) {
            float distance = first + i < d ? values[i] - mean : 0.0f;
            sum += distance * distance;
        }
    }
    return sum;
}

/* The variance is summed from distances, in a pass of its own: squares less the square of the mean lose it where the mean is
 * large. The second and third pass read what L1 holds. */
K_KERNEL_BOUNDS(ROW_THREADS, 4) void layer_norm_kernel(struct layer_norm_args a)
{
    K_SHARED(float, sums, ROW_WARPS);
    K_SHARED(float, squares, ROW_WARPS);
    k_release_next();
    k_wait_previous();
    float *x = a.x + (uint64_t)k_block_x() * a.d;
    float mean = row_block_sum(sums, row_sum(x, a.d)) / (float)a.d;
    float variance = row_block_sum(squares, row_distances(x, a.d, mean)) / (float)a.d;
    float inverse = 1.0f / sqrtf(variance + a.epsilon);
    for (uint32_t tile = 0; tile < a.d; tile += ROW_TILE) {
        uint32_t first = row_first(tile);
        float values[4], gain[4], bias[4];
        row_load(x, first, a.d, values);
        row_load(a.gain, first, a.d, gain);
        row_load(a.bias, first, a.d, bias);
        for (uint32_t i = 0; i < 4; i++)
            values[i] = first + i < a.d ? (values[i] - mean) * inverse * gain[i] + bias[i] : 0.0f;
        row_store(x, first, a.d, values);
        activation_store_quad(a.out, k_block_x(), first, values);
    }
}

void layer_norm_launch(device_stream *stream, const struct layer_norm_args *args)
{
    K_LAUNCH(stream, layer_norm_kernel, k_grid(args->n_rows), ROW_THREADS, 0, *args);
}

K_DEVICE float activated(uint32_t kind, float g)
{
    if (kind == GATE_SILU)
        return g / (1.0f + expf(-g));
    if (kind == GATE_GELU_TANH)
        return 0.5f * g * (1.0f + tanhf(0.7978845608f * (g + 0.044715f * g * g * g)));
    return 0.5f * g * (1.0f + erff(g * 0.7071067812f));
}

K_KERNEL_BOUNDS(ROW_THREADS, 4) void activate_kernel(struct activate_args a)
{
    k_release_next();
    k_wait_previous();
    uint32_t n_cols = a.out.n_cols;
    uint32_t first = row_first(k_block_y() * ROW_TILE);
    float values[4];
    row_load(a.y + (uint64_t)k_block_x() * n_cols, first, n_cols, values);
    for (uint32_t i = 0; i < 4; i++)
        values[i] = activated(a.kind, values[i]);
    activation_store_quad(a.out, k_block_x(), first, values);
}

void activate_launch(device_stream *stream, const struct activate_args *args)
{
    uint32_t tiles = (args->out.n_cols + ROW_TILE - 1) / ROW_TILE;
    K_LAUNCH(stream, activate_kernel, k_grid(args->n_rows, tiles), ROW_THREADS, 0, *args);
}
