/* What is done to the slots of experts: the rows' norm, the experts' products, and their sum for each row. */

#include "activation.h"
#include "check.h"
#include "experts.h"
#include "row_block.h"
#include "tile_task.h"

/* --- the norm --- */

/* A block a row, which is stored once for each of its slots. */
K_KERNEL_BOUNDS(ROW_THREADS, 4) void norm_kernel(struct expert_norm_args args)
{
    k_release_next();
    k_wait_previous();
    K_SHARED(float, warps, ROW_WARPS);
    uint32_t n_used = args.routes.shape.n_used;
    const uint32_t *slots = args.routes.slots + (uint64_t)k_block_x() * n_used;
    const float *x = args.x + (uint64_t)k_block_x() * args.d;
    float squares = row_block_sum(warps, row_squares(x, args.d));
    float factor = 1.0f / sqrtf(squares / (float)args.d + args.epsilon);
    for (uint32_t tile = 0; tile < args.d; tile += ROW_TILE) {
        uint32_t first = row_first(tile);
        float values[4], gain[4];
        row_load(x, first, args.d, values);
        row_load(args.gain, first, args.d, gain);
        for (uint32_t i = 0; i < 4; i++)
            values[i] *= factor * gain[i];
        for (uint32_t k = 0; k < n_used; k++)
            if (slots[k] != EXPERT_SLOT_NONE)
                activation_store_quad(args.out, slots[k], first, values);
    }
}

void expert_norm_launch(device_stream *stream, const struct expert_norm_args *args)
{
    CHECK(args->d == args->out.n_cols && args->n_rows <= args->routes.rows_max);
    K_LAUNCH(stream, norm_kernel, k_grid(args->n_rows), ROW_THREADS, 0, *args);
}

/* --- products --- */

/* The tiles of `n_rows` rows over the experts. Those that an expert leaves partly empty are as many as there are experts with
 * slots, the others are full. The rows of a tile are twice what an expert has on the average, so that most experts, whose share
 * is uneven, read their weights once. */
static void launch_tiles(device_stream *stream, struct tile_task *task,
                         const struct expert_routes_view *routes, const struct expert_weights *w,
                         const struct activation_view *a, uint32_t n_rows)
{
    const struct expert_shape *shape = &routes->shape;
    CHECK(a->n_cols == task->n_cols && n_rows <= routes->rows_max);
    bool is_split = shape->held_count != 0; /* over ranks */
    uint32_t held = is_split ? shape->held_count : shape->n_experts;
    task->first_expert = is_split ? shape->first_held : 0;
    task->last_expert = task->first_expert + held;
    task->expert_parts = w->parts;
    task->starts = routes->starts;
    task->bf16 = a->bf16;
    task->f16 = a->f16;
    uint64_t slots = (uint64_t)n_rows * shape->n_used;
    uint32_t average = (uint32_t)((slots + shape->n_experts - 1) / shape->n_experts);
    uint32_t tile_rows = tile_rows_of(task, 2 * average);
    uint32_t partly = slots < held ? (uint32_t)slots : held;
    tile_task_launch(stream, task, tile_rows, (uint32_t)(slots / tile_rows) + partly);
}

void expert_gated_launch(device_stream *stream, const struct expert_gated_args *args)
{
    struct tile_task task;
    tile_task_of(&args->w.like, true, false, &task);
    CHECK(2 * args->out.n_cols == args->w.like.n_outputs);
    task.bias = args->bias;
    task.bias_stride = args->w.like.n_outputs;
    task.gate = args->gate;
    task.out = args->out;
    launch_tiles(stream, &task, &args->routes, &args->w, &args->a, args->n_rows);
}

/* --- the sum --- */

#define SUM_THREADS 256u

/* A thread a column of a row. */
K_KERNEL_BOUNDS(SUM_THREADS, 4)
void sum_kernel(struct expert_routes_view routes, bool accumulate, float *y)
{
    k_release_next();
    k_wait_previous();
    uint32_t d = routes.shape.d, n_used = routes.shape.n_used;
    uint32_t column = k_block_x() * SUM_THREADS + k_thread(), row = k_block_y();
    if (column >= d)
        return;
    float *to = y + (uint64_t)row * d + column;
    float sum = accumulate ? *to : 0.0f;
    for (uint32_t i = row * n_used; i < (row + 1) * n_used; i++)
        if (routes.slots[i] != EXPERT_SLOT_NONE)
            sum = fmaf(routes.shares[i], routes.products[(uint64_t)routes.slots[i] * d + column],
                       sum);
    *to = sum;
}

void expert_product_launch(device_stream *stream, const struct expert_product_args *args)
{
    struct tile_task task;
    tile_task_of(&args->w.like, false, false, &task);
    uint32_t d = args->routes.shape.d;
    CHECK(args->w.like.n_outputs == d);
    task.bias = args->bias;
    task.bias_stride = d;
    task.y = args->routes.products;
    task.y_width = d;
    launch_tiles(stream, &task, &args->routes, &args->w, &args->a, args->n_rows);
    K_LAUNCH(stream, sum_kernel, k_grid((d + SUM_THREADS - 1) / SUM_THREADS, args->n_rows),
             SUM_THREADS, 0, args->routes, args->accumulate, args->y);
}
