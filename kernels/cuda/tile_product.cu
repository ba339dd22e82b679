/* Products on tensor cores.
 *
 * A block waits for no other: each of its stages brings 128 columns of 64 outputs, packed, and of up to 64 rows into shared
 * memory, three stages ahead, and each warp dequantises 32 outputs by 32 columns of it straight into the registers of its
 * products. So a weight is read once, as it is packed, and converted once a block.
 *
 *        stage:      32 columns  32 columns  32 columns  32 columns
 *        outputs  0..31  warp 0      warp 1      warp 2      warp 3         a warp adds up its columns over all stages,
 *        outputs 32..63  warp 4      warp 5      warp 6      warp 7         at the end the four of a half are added in order
 *
 * A weight of few outputs gives few blocks: then its columns are split over several, whose sums a second kernel adds in order.
 * How many depends on the weight's shape alone, and so does the order in which a product is summed; the rows only decide how
 * many eights of them a warp multiplies at a time. Atomics in place of the second kernel would save a launch in some products
 * and cost a zeroed array, fences, and the certainty that tests without a GPU find what is wrong.
 *
 * Weights are read before k_wait_previous: what they wait for is the memory, not the kernel before. */

#include "tile_task.h"

#include "activation.h"
#include "check.h"
#include "gate.h"
#include "tile_product.h"
#include "tile_stage.h"

/* Splits are for about two blocks a multiprocessor, of which an H200 has 132; each keeps at least this many stages, so that
 * filling the stages and adding up the splits stay small beside them. */
#define SPLIT_BLOCKS     256u
#define SPLIT_STAGES_MIN 4u
#define SPLITS_MAX       8u

/* From one row of sums to the next, in floats: a warp's lanes 4 g + t store to row 2 t, output g, which with this are all in
 * different banks. */
#define SUM_STRIDE (TILE_OUTPUTS + 4)

/* Where a block works. */
struct tile_place {
    uint32_t part, tile; /* the tile among the part's; gated: part is the gate's */
    uint32_t expert;     /* 0 without */
    uint32_t row, n_rows;
};

/* The tile among the parts. */
K_DEVICE void place_tile(const struct tile_task &task, uint32_t tile, struct tile_place *place)
{
    uint32_t part = 0;
    if (!task.is_gated)
        for (uint32_t tiles; tile >= (tiles = tile_count_of(task.parts[part].n_outputs, false));
             part++)
            tile -= tiles;
    place->part = part;
    place->tile = tile;
}

/* The rows among the experts' slots: tiles of rows are counted over the experts in their order, each having as many as its
 * slots need. False: there are not so many. Every warp finds it by itself; nobody else wrote down what experts have. */
K_DEVICE bool place_slots(const struct tile_task &task, uint32_t tile_rows, uint32_t index,
                          struct tile_place *place)
{
    uint32_t before = 0;
    for (uint32_t first = task.first_expert; first < task.last_expert; first += 32) {
        uint32_t expert = first + k_lane(), start = 0, count = 0;
        if (expert < task.last_expert) {
            start = task.starts[expert];
            count = task.starts[expert + 1] - start;
        }
        uint32_t tiles = (count + tile_rows - 1) / tile_rows, end = tiles;
        for (uint32_t step = 1; step < 32; step *= 2) {
            uint32_t other = k_shfl_up(end, step);
            end += k_lane() >= step ? other : 0;
        }
        uint32_t total = k_shfl(end, 31);
        if (index < before + total) {
            uint32_t own = index - before;
            bool is_here = own < end && own + tiles >= end;
            uint32_t owner = k_warp_max(is_here ? k_lane() : 0u);
            uint32_t done = (own - k_shfl(end - tiles, owner)) * tile_rows;
            uint32_t left = k_shfl(count, owner) - done;
            place->expert = first + owner;
            place->row = k_shfl(start, owner) + done;
            place->n_rows = left < tile_rows ? left : tile_rows;
            return true;
        }
        before += total;
    }
    return false;
}

#define KEPT_ROWS 4

/* A place in shared memory, where it waits for the products: registers are for their sums. By one thread. */
K_DEVICE void keep_place(const struct tile_place &place, k_sptr<uint32_t> to)
{
    to[0] = place.part;
    to[1] = place.tile;
    to[2] = place.expert;
    to[3] = place.row;
    to[KEPT_ROWS] = place.n_rows;
}

K_DEVICE struct tile_place kept_place(k_sptr<const uint32_t> from)
{
    struct tile_place place;
    place.part = from[0];
    place.tile = from[1];
    place.expert = from[2];
    place.row = from[3];
    place.n_rows = from[KEPT_ROWS];
    return place;
}

K_DEVICE bool place_rows(const struct tile_task &task, uint32_t tile_rows, uint32_t index,
                         struct tile_place *place)
{
    place->expert = 0;
    if (task.expert_parts != nullptr)
        return place_slots(task, tile_rows, index, place);
    place->row = index * tile_rows;
    place->n_rows = task.n_rows - place->row < tile_rows ? task.n_rows - place->row : tile_rows;
    return true;
}

/* The first of the two bands that half 0 or 1 of a tile multiplies, of half_part. */
K_DEVICE uint32_t half_band(const struct tile_task &task, const struct tile_place &place,
                            uint32_t half)
{
    constexpr uint32_t bands = TILE_HALF / WEIGHT_BAND_OUTPUTS;
    return bands * (task.is_gated ? place.tile : 2 * place.tile + half);
}

K_DEVICE struct weight_part half_part(const struct tile_task &task, const struct tile_place &place,
                                      uint32_t half)
{
    uint32_t part = task.is_gated ? half : place.part;
    if (task.expert_parts != nullptr)
        return task.expert_parts[place.expert * task.part_count + part];
    return task.parts[part];
}

/* --- what becomes of a row's products of a tile: lane's are outputs `lane` of its two halves --- */

K_DEVICE void store_output(const struct tile_task &task, const struct tile_place &place,
                           uint32_t row, uint32_t output, float value)
{
    const struct weight_part &part = task.parts[place.part];
    if (output >= part.n_outputs)
        return;
    output += part.first_output;
    if (task.bias != nullptr)
        value += task.bias[(uint64_t)place.expert * task.bias_stride + output];
    float *y = task.y + (uint64_t)row * task.y_width + output;
    *y = task.accumulate ? *y + value : value;
}

K_DEVICE float gated_value(const struct tile_task &task, const struct tile_place &place,
                           uint32_t row, uint32_t column, float g, float u)
{
    uint32_t n_outputs = task.out.n_cols;
    if (task.bias != nullptr) {
        const float *bias = task.bias + (uint64_t)place.expert * task.bias_stride + column;
        g += bias[0];
        u += bias[n_outputs];
    }
    if (task.gate_rows != nullptr) {
        const float *terms = task.gate_rows + (uint64_t)row * 2 * n_outputs + column;
        g += terms[0];
        u += terms[n_outputs];
    }
    return gate_value(task.gate, g, u);
}

K_DEVICE void store_products(const struct tile_task &task, const struct tile_place &place,
                             uint32_t row, float first, float second)
{
    uint32_t lane = k_lane();
    if (task.is_gated) {
        uint32_t column = place.tile * TILE_HALF + lane;
        float value = 0.0f;
        if (column < task.out.n_cols)
            value = gated_value(task, place, row, column, first, second);
        activation_store_group(task.out, row, place.tile, lane, value);
        return;
    }
    uint32_t output = place.tile * TILE_OUTPUTS + lane;
    store_output(task, place, row, output, first);
    store_output(task, place, row, output + TILE_HALF, second);
}

/* --- products --- */

/* A warp's two bands in a stage, as operands. F8's factors are its part's, which is looked up again then: other weights' threads
 * have no registers for it. */
K_DEVICE void load_pairs(const struct tile_task &task, k_sptr<const uint32_t> kept,
                         enum weight_form form, k_sptr<const uint8_t> weights, uint32_t stage,
                         uint32_t pairs[2][8])
{
    uint32_t half = k_warp() / 4, quarter = k_warp() % 4;
    K_UNROLL
    for (uint32_t b = 0; b < 2; b++) {
        float factors[2] = {0.0f, 0.0f};
        if (form == WEIGHT_F8) {
            struct tile_place place = kept_place(kept);
            tile_f8_factors(half_part(task, place, half), half_band(task, place, half) + b,
                            stage * (TILE_COLS / WEIGHT_GROUP_COLS) + quarter, factors);
        }
        tile_pairs(form, weights + b * tile_band_bytes(form), quarter, factors, pairs[b]);
    }
}

/* Adds a stage's products. sums: of outputs g (+ 8) of the warp's two bands with rows 8 i + 2 t (+ 1). */
template <uint32_t EIGHTS>
K_DEVICE void multiply_pairs(const uint32_t pairs[2][8], bool is_f16, k_sptr<const uint8_t> rows,
                             float sums[2][EIGHTS][4])
{
    uint32_t lane = k_lane(), quarter = k_warp() % 4;
    K_UNROLL
    for (uint32_t i = 0; i < EIGHTS; i++) {
        k_u4 four = k_sload16(rows + tile_chunk_at(8 * i + lane / 4, 4 * quarter + lane % 4));
        const uint32_t columns[2][2] = {{four.x, four.y}, {four.z, four.w}};
        K_UNROLL
        for (uint32_t b = 0; b < 2; b++) {
            K_UNROLL
            for (uint32_t j = 0; j < 2; j++) {
                const uint32_t outputs[4] = {pairs[b][2 * j], pairs[b][2 * j + 4],
                                             pairs[b][2 * j + 1], pairs[b][2 * j + 5]};
                if (is_f16)
                    k_mma_f16(sums[b][i], outputs, columns[j]);
                else
                    k_mma_bf16(sums[b][i], outputs, columns[j]);
            }
        }
    }
}

/* Each warp's sums to shared memory: [4 quarters][8 * EIGHTS rows] of SUM_STRIDE. */
template <uint32_t EIGHTS> K_DEVICE void put_sums(k_sptr<float> to, const float sums[2][EIGHTS][4])
{
    uint32_t lane = k_lane(), half = k_warp() / 4, quarter = k_warp() % 4;
    K_UNROLL
    for (uint32_t b = 0; b < 2; b++) {
        K_UNROLL
        for (uint32_t i = 0; i < EIGHTS; i++) {
            K_UNROLL
            for (uint32_t r = 0; r < 4; r++) {
                uint32_t row = 8 * i + 2 * (lane % 4) + r % 2;
                uint32_t output = TILE_HALF * half + 16 * b + lane / 4 + 8 * (r / 2);
                to[(quarter * 8 * EIGHTS + row) * SUM_STRIDE + output] = sums[b][i][r];
            }
        }
    }
}

/* The four quarters' sum of an output of a row. */
K_DEVICE float take_sum(k_sptr<const float> sums, uint32_t tile_rows, uint32_t row, uint32_t output)
{
    float total = 0.0f;
    K_UNROLL
    for (uint32_t quarter = 0; quarter < 4; quarter++) {
        float sum = sums[(quarter * tile_rows + row) * SUM_STRIDE + output];
        total += sum;
    }
    return total;
}

/* What the sum of lane's output of a half is multiplied with. */
K_DEVICE float lane_unit(const struct weight_part &part, uint32_t band)
{
    band += k_lane() / WEIGHT_BAND_OUTPUTS;
    if (!weight_form_is_coded(part.form) || band >= part.n_bands)
        return 1.0f;
    const float *units = (const float *)(const void *)part_band(part, band);
    return units[k_lane() % WEIGHT_BAND_OUTPUTS];
}

/* All rows of the block, from the warps' sums on: a warp a row. */
K_DEVICE void finish_rows(const struct tile_task &task, const struct tile_place &place,
                          k_sptr<const float> sums, uint32_t tile_rows, uint32_t split)
{
    float units[2];
    for (uint32_t half = 0; half < 2; half++)
        units[half] = lane_unit(half_part(task, place, half), half_band(task, place, half));
    for (uint32_t row = k_warp(); row < place.n_rows; row += TILE_THREADS / 32) {
        float first = units[0] * take_sum(sums, tile_rows, row, k_lane());
        float second = units[1] * take_sum(sums, tile_rows, row, TILE_HALF + k_lane());
        if (task.split_count == 1) {
            store_products(task, place, place.row + row, first, second);
            continue;
        }
        float *to =
            task.partial +
            ((uint64_t)split * task.n_rows + place.row + row) * task.tile_count * TILE_OUTPUTS +
            k_block_x() % task.tile_count * TILE_OUTPUTS + k_lane();
        to[0] = first;
        to[TILE_HALF] = second;
    }
}

/* Three blocks a multiprocessor (80 registers a thread) up to 16 rows, where memory decides; two (128) for more rows, whose
 * sums alone take 64. */
template <uint32_t EIGHTS>
K_KERNEL_BOUNDS(TILE_THREADS, EIGHTS <= 2 ? 3 : 2)
void tile_kernel(struct tile_task task)
{
    constexpr uint32_t tile_rows = 8 * EIGHTS;
    k_release_next();
    if (task.expert_parts != nullptr)
        k_wait_previous();
    struct tile_place place;
    place_tile(task, k_block_x() % task.tile_count, &place);
    if (!place_rows(task, tile_rows, k_block_y(), &place))
        return;
    uint32_t split = k_block_x() / task.tile_count, half = k_warp() / 4;
    struct tile_source source =
        tile_source_of(half_part(task, place, half), half_band(task, place, half),
                       k_thread() % (TILE_THREADS / 2));
    K_SHARED(uint32_t, kept, KEPT_ROWS + 1);
    if (k_thread() == 0)
        keep_place(place, kept);
    bool is_f16 = source.form == WEIGHT_F16;
    const uint16_t *rows = (is_f16 ? task.f16 : task.bf16) +
                           (uint64_t)(place.row + k_thread() / 16) * task.n_cols +
                           8 * (k_thread() % 16);

    k_sptr<uint8_t> shared = k_dynamic_shared<uint8_t>();
    uint32_t stage_bytes = tile_rows * TILE_ROW_BYTES + 2 * task.half_bytes;
    uint32_t weights_at = tile_rows * TILE_ROW_BYTES + half * task.half_bytes;
    uint32_t stage = split * task.split_stages;
    uint32_t end = (task.n_cols + TILE_COLS - 1) / TILE_COLS;
    end = stage + task.split_stages < end ? stage + task.split_stages : end;
    K_UNROLL
    for (uint32_t i = 0; i < TILE_STAGES - 1; i++)
        if (stage + i < end)
            tile_stage_weights(source, stage + i, shared + (i * stage_bytes + weights_at));
    k_wait_previous();
    K_UNROLL
    for (uint32_t i = 0; i < TILE_STAGES - 1; i++) {
        if (stage + i < end)
            tile_stage_rows(rows, place.n_rows, tile_rows, task.n_cols, stage + i,
                            shared + i * stage_bytes);
        k_copy_commit();
    }

    float sums[2][EIGHTS][4] = {};
    for (uint32_t slot = 0; stage < end; stage++) {
        k_copy_wait<TILE_STAGES - 2>();
        k_sync();
        uint32_t next = stage + TILE_STAGES - 1;
        if (next < end) { /* into the stage that all have just left */
            k_sptr<uint8_t> to = shared + (slot + TILE_STAGES - 1) % TILE_STAGES * stage_bytes;
            tile_stage_weights(source, next, to + weights_at);
            tile_stage_rows(rows, kept[KEPT_ROWS], tile_rows, task.n_cols, next, to);
        }
        k_copy_commit();
        k_sptr<const uint8_t> from = shared + slot * stage_bytes;
        uint32_t pairs[2][8];
        load_pairs(task, kept, source.form, from + weights_at, stage, pairs);
        multiply_pairs<EIGHTS>(pairs, is_f16, from, sums);
        slot = (slot + 1) % TILE_STAGES;
    }

    k_sync();
    k_sptr<float> all = k_sptr_cast<float>(shared);
    put_sums<EIGHTS>(all, sums);
    k_sync();
    finish_rows(task, kept_place(kept), all, tile_rows, split);
}

/* The splits' sums, and what becomes of them: a warp a row, a block eight rows of a tile. */
K_KERNEL_BOUNDS(TILE_THREADS, 4) void tile_splits_kernel(struct tile_task task)
{
    k_release_next();
    k_wait_previous();
    struct tile_place place = {};
    place_tile(task, k_block_x(), &place);
    uint32_t row = k_block_y() * (TILE_THREADS / 32) + k_warp();
    if (row >= task.n_rows)
        return;
    uint64_t width = (uint64_t)task.tile_count * TILE_OUTPUTS;
    const float *from = task.partial + row * width + k_block_x() * TILE_OUTPUTS + k_lane();
    float first = 0.0f, second = 0.0f;
    for (uint32_t split = 0; split < task.split_count; split++) {
        first += from[0];
        second += from[TILE_HALF];
        from += task.n_rows * width;
    }
    store_products(task, place, row, first, second);
}

/* --- launches --- */

static uint32_t half_bytes_of(const struct weight_view *w)
{
    uint32_t bytes = 0;
    for (uint32_t i = 0; i < w->part_count; i++) {
        uint32_t own = TILE_HALF / WEIGHT_BAND_OUTPUTS * tile_band_bytes(w->parts[i].form);
        bytes = own > bytes ? own : bytes;
    }
    return bytes;
}

void tile_task_of(const struct weight_view *w, bool is_gated, bool is_split, struct tile_task *task)
{
    CHECK(is_gated ? tile_gated_takes(w) : tile_product_takes(w));
    *task = {};
    memcpy(task->parts, w->parts, sizeof task->parts);
    task->part_count = w->part_count;
    task->is_gated = is_gated;
    task->n_cols = w->n_cols;
    task->half_bytes = half_bytes_of(w);
    for (uint32_t i = 0; i < (is_gated ? 1 : w->part_count); i++)
        task->tile_count += tile_count_of(w->parts[i].n_outputs, is_gated);
    uint32_t stages = (w->n_cols + TILE_COLS - 1) / TILE_COLS;
    uint32_t splits = is_split ? SPLIT_BLOCKS / task->tile_count : 1;
    if (splits > SPLITS_MAX)
        splits = SPLITS_MAX;
    if (splits > stages / SPLIT_STAGES_MIN)
        splits = stages / SPLIT_STAGES_MIN;
    if (splits < 1)
        splits = 1;
    task->split_stages = (stages + splits - 1) / splits;
    task->split_count = (stages + task->split_stages - 1) / task->split_stages;
}

/* 16-bit weights take 16 KB a stage: 64 rows beside them would be more shared memory than a block has on compute capability
 * 8.6 and 8.9. */
uint32_t tile_rows_of(const struct tile_task *task, uint32_t n_rows)
{
    bool is_wide = weight_form_is_rows(task->parts[0].form);
    for (uint32_t i = 1; i < task->part_count; i++)
        is_wide |= weight_form_is_rows(task->parts[i].form);
    uint32_t most = is_wide ? TILE_ROWS_MAX / 2 : TILE_ROWS_MAX, rows = 8;
    while (rows < most && rows < n_rows)
        rows *= 2;
    return rows;
}

void tile_task_launch(device_stream *stream, const struct tile_task *task, uint32_t tile_rows,
                      uint32_t row_tiles)
{
    struct k_grid grid(task->tile_count * task->split_count, row_tiles);
    uint32_t bytes = TILE_STAGES * (tile_rows * TILE_ROW_BYTES + 2 * task->half_bytes);
    switch (tile_rows) {
    case 8:
        K_LAUNCH(stream, (tile_kernel<1>), grid, TILE_THREADS, bytes, *task);
        break;
    case 16:
        K_LAUNCH(stream, (tile_kernel<2>), grid, TILE_THREADS, bytes, *task);
        break;
    case 32:
        K_LAUNCH(stream, (tile_kernel<4>), grid, TILE_THREADS, bytes, *task);
        break;
    default:
        K_LAUNCH(stream, (tile_kernel<8>), grid, TILE_THREADS, bytes, *task);
    }
    if (task->split_count > 1) {
        struct k_grid rows(task->tile_count,
                           (task->n_rows + TILE_THREADS / 32 - 1) / (TILE_THREADS / 32));
        K_LAUNCH(stream, tile_splits_kernel, rows, TILE_THREADS, 0, *task);
    }
}

bool tile_product_takes(const struct weight_view *w)
{
    for (uint32_t i = 0; i < w->part_count; i++)
        if (w->parts[i].form == WEIGHT_F32)
            return false;
    return w->n_cols % 8 == 0;
}

bool tile_gated_takes(const struct weight_view *w)
{
    return w->is_gated && tile_product_takes(w) &&
           (w->parts[0].form == WEIGHT_F16) == (w->parts[1].form == WEIGHT_F16);
}

/* Of a gated weight, joined or not. */
uint64_t tile_workspace_bytes(const struct weight_view *w, uint32_t rows_max)
{
    uint64_t most = 0;
    for (int is_gated = 0; is_gated <= (int)tile_gated_takes(w); is_gated++) {
        struct tile_task task;
        tile_task_of(w, is_gated != 0, true, &task);
        uint64_t row = (uint64_t)task.split_count * task.tile_count * TILE_OUTPUTS * sizeof(float);
        if (task.split_count > 1 && row > most)
            most = row;
    }
    return rows_max * most;
}

static void launch_rows(device_stream *stream, struct tile_task *task,
                        const struct activation_view *a, uint32_t n_rows, void *workspace)
{
    CHECK(a->n_cols == task->n_cols && (task->split_count == 1 || workspace != nullptr));
    task->bf16 = a->bf16;
    task->f16 = a->f16;
    task->n_rows = n_rows;
    task->partial = static_cast<float *>(workspace);
    uint32_t tile_rows = tile_rows_of(task, n_rows);
    tile_task_launch(stream, task, tile_rows, (n_rows + tile_rows - 1) / tile_rows);
}

void tile_product_launch(device_stream *stream, const struct tile_product_args *args)
{
    struct tile_task task;
    tile_task_of(&args->w, false, true, &task);
    task.bias = args->bias;
    task.accumulate = args->accumulate;
    task.y = args->y;
    task.y_width = args->w.n_outputs;
    launch_rows(stream, &task, &args->a, args->n_rows, args->workspace);
}

void tile_gated_launch(device_stream *stream, const struct tile_gated_args *args)
{
    struct tile_task task;
    tile_task_of(&args->w, true, true, &task);
    CHECK(2 * args->out.n_cols == args->w.n_outputs);
    task.bias = args->terms.bias;
    task.gate_rows = args->terms.rows;
    task.gate = args->gate;
    task.out = args->out;
    launch_rows(stream, &task, &args->a, args->n_rows, args->workspace);
}
