/* Operations on rows and weights: how each is cut into pieces for the team.
 *
 * Small ones (norm and RoPE of a few rows) run on the step thread alone: waking the team costs
 * about what they do. Products go by groups of 16 outputs, all rows of a block of rows at a time,
 * so that a group's weights come from memory once a block and from L1 for every further tile of
 * rows. */

#include <string.h>

#include "check.h"
#include "cpu_backend.h"
#include "repack.h"

/* Elements below which row-wise work is not handed to the team (about 2 us of it). */
#define ALONE_ELEMENTS 8192u
/* Codes of the rows that are multiplied before the next block of rows: half of a 2 MiB L2. */
#define ROW_BLOCK_BYTES (1u << 20)
/* Multiply-adds below which a product is not handed to the team. */
#define ALONE_PRODUCTS 65536u
/* Pieces a member's range is cut into: enough that the last ones even out, few enough that claiming
 * them costs nothing. */
#define PIECES_PER_MEMBER 8u

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* --- embedding --- */

struct embed_job {
    const weight *table;
    const int32_t *tokens;
    float scale;
    float *x;
};

static void embed_rows(void *context, uint32_t member, uint32_t first, uint32_t count)
{
    (void)member;
    const struct embed_job *job = context;
    for (uint32_t r = first; r < first + count; r++) {
        CHECK(job->tokens[r] >= 0 && (uint32_t)job->tokens[r] < job->table->n_outputs);
        uint32_t output = (uint32_t)job->tokens[r];
        const struct segment *segment = job->table->segments;
        while (output - segment->first_output >= segment->n_outputs)
            segment++;
        segment_read_row(segment, output - segment->first_output, job->scale,
                         job->x + (size_t)r * job->table->n_cols);
    }
}

void cpu_embed(backend *b, const weight *table, const int32_t *tokens, uint32_t n_rows, float scale,
               float *x)
{
    struct embed_job job = {table, tokens, scale, x};
    team_run(cpu_of(b)->team, n_rows, 2, embed_rows, &job);
}

/* --- norm --- */

struct norm_job {
    struct cpu_backend *cpu;
    const float *x;
    const float *gain;
    float epsilon;
    const uint32_t *rows;
    uint32_t n_rows;
    uint32_t d;
    activation *out;
};

static void quantise_rows(const struct cpu_backend *cpu, activation *a, uint32_t row,
                          uint32_t n_rows)
{
    if (a->tiles == NULL)
        return;
    for (uint32_t span = 0; span * a->span_blocks < a->n_blocks; span++)
        cpu->kernels->quantise_span(a, row, n_rows, span);
}

/* Tiles of 16 rows: the codes of one lie in the same cache lines. */
static void norm_tiles(void *context, uint32_t member, uint32_t first, uint32_t count)
{
    (void)member;
    const struct norm_job *job = context;
    uint32_t end = smaller((first + count) * TILE_ROWS, job->n_rows);
    for (uint32_t row = first * TILE_ROWS; row < end; row += TILE_ROWS) {
        uint32_t n_rows = smaller(TILE_ROWS, end - row);
        for (uint32_t r = row; r < row + n_rows; r++)
            job->cpu->kernels->rms_norm_row(
                job->x + (size_t)(job->rows != NULL ? job->rows[r] : r) * job->d, job->gain,
                job->epsilon, job->d, job->out->floats + r * job->out->float_stride);
        quantise_rows(job->cpu, job->out, row, n_rows);
    }
}

void cpu_rms_norm(backend *b, const float *x, const float *gain, float epsilon,
                  const uint32_t *rows, uint32_t n_rows, uint32_t d, activation *out)
{
    CHECK(d == out->n_cols && n_rows <= out->rows_max);
    struct norm_job job = {cpu_of(b), x, gain, epsilon, rows, n_rows, d, out};
    team_run(cpu_of(b)->team, (n_rows + TILE_ROWS - 1) / TILE_ROWS, 1, norm_tiles, &job);
}

/* --- codes --- */

struct quantise_job {
    const struct cpu_backend *cpu;
    activation *a;
    uint32_t n_rows;
    uint32_t n_spans;
};

/* Units are spans of tiles. */
static void quantise_units(void *context, uint32_t member, uint32_t first, uint32_t count)
{
    (void)member;
    const struct quantise_job *job = context;
    for (uint32_t unit = first; unit < first + count; unit++) {
        uint32_t row = unit / job->n_spans * TILE_ROWS;
        job->cpu->kernels->quantise_span(job->a, row, smaller(TILE_ROWS, job->n_rows - row),
                                         unit % job->n_spans);
    }
}

void cpu_quantise(struct cpu_backend *cpu, activation *a, uint32_t n_rows)
{
    if (a->tiles == NULL)
        return;
    uint32_t n_spans = (a->n_blocks + a->span_blocks - 1) / a->span_blocks;
    struct quantise_job job = {cpu, a, n_rows, n_spans};
    uint32_t units = (n_rows + TILE_ROWS - 1) / TILE_ROWS * n_spans;
    uint32_t unit_elements = smaller(n_rows, TILE_ROWS) * a->span_blocks * BLOCK_COLS;
    uint32_t chunk = larger(ALONE_ELEMENTS / 2 / unit_elements, 1);
    team_run(cpu->team, units, units <= 2 * chunk ? units : chunk, quantise_units, &job);
}

/* --- products --- */

struct product_job {
    struct cpu_backend *cpu;
    const weight *w;
    const activation *a;
    uint32_t row; /* of the block of rows */
    uint32_t n_rows;
    const float *bias;
    bool accumulate;
    float *y;
    enum gate_kind gate;
    activation *out;
};

static gemm_function *gemm_of(const struct cpu_backend *cpu, const struct segment *segment)
{
    return FORMAT_IS_FLOAT(segment->format) ? cpu->kernels->gemm_floats : cpu->kernels->gemm_codes;
}

/* Groups [group, group + n_groups) of one segment, at most what a tile holds, for all rows of the
 * block. */
static void multiply_groups(const struct product_job *job, const struct segment *segment,
                            uint32_t group, uint32_t n_groups, float *tile)
{
    const struct cpu_kernels *kernels = job->cpu->kernels;
    gemm_function *gemm = gemm_of(job->cpu, segment);
    uint32_t output = group * GROUP_OUTPUTS;
    uint32_t n_outputs = smaller(n_groups * GROUP_OUTPUTS, segment->n_outputs - output);
    output += segment->first_output;
    size_t stride = (size_t)n_groups * GROUP_OUTPUTS;
    for (uint32_t done = 0; done < job->n_rows; done += TILE_ROWS) {
        uint32_t row = job->row + done;
        uint32_t n_rows = smaller(TILE_ROWS, job->n_rows - done);
        gemm(segment, group, n_groups, job->a, row, n_rows, tile, stride);
        kernels->tile_store(tile, stride, n_rows, n_outputs,
                            job->bias != NULL ? job->bias + output : NULL, job->accumulate,
                            job->y + (size_t)row * job->w->n_outputs + output, job->w->n_outputs);
    }
}

static void product_groups(void *context, uint32_t member, uint32_t first, uint32_t count)
{
    const struct product_job *job = context;
    float *tile = job->cpu->scratch[member].gate;
    uint32_t per_call = job->n_rows <= 4 ? TILE_GROUPS : 1;
    const struct segment *segment = job->w->segments;
    while (count > 0) {
        while (first >= segment->n_groups) {
            first -= segment->n_groups;
            segment++;
        }
        uint32_t n_groups = smaller(smaller(count, per_call), segment->n_groups - first);
        multiply_groups(job, segment, first, n_groups, tile);
        first += n_groups;
        count -= n_groups;
    }
}

/* Runs `body` over `count` units of the weight for each block of rows. */
static void run_blocks(struct product_job *job, uint32_t n_rows, uint32_t count, team_body *body)
{
    struct team *team = job->cpu->team;
    uint32_t row_bytes = job->w->n_cols * (job->w->needs_floats ? (uint32_t)sizeof(float) : 1u);
    uint32_t rows_max = larger(ROW_BLOCK_BYTES / row_bytes / TILE_ROWS, 4) * TILE_ROWS;
    uint32_t chunk = larger(count / (team_size(team) * PIECES_PER_MEMBER), 1);
    for (uint32_t row = 0; row < n_rows; row += rows_max) {
        job->row = row;
        job->n_rows = smaller(rows_max, n_rows - row);
        uint64_t products = (uint64_t)job->n_rows * job->w->n_cols * count * GROUP_OUTPUTS;
        team_run(team, count, products < ALONE_PRODUCTS ? count : chunk, body, job);
    }
}

void cpu_matmul(backend *b, const weight *w, const activation *a, uint32_t n_rows,
                const float *bias, bool accumulate, float *y)
{
    CHECK(!w->is_gated && a->n_cols == w->n_cols && n_rows <= a->rows_max);
    CHECK((!w->needs_codes || a->tiles != NULL) && (!w->needs_floats || a->floats != NULL));
    struct product_job job = {
        .cpu = cpu_of(b), .w = w, .a = a, .bias = bias, .accumulate = accumulate, .y = y};
    run_blocks(&job, n_rows, w->n_groups, product_groups);
}

/* Two groups of gate and up: 32 columns of the output, which are one block of its codes. */
#define UNIT_GROUPS  2u
#define UNIT_OUTPUTS (UNIT_GROUPS * GROUP_OUTPUTS)

static void gated_unit(const struct product_job *job, uint32_t unit, struct member_scratch *scratch)
{
    const struct cpu_kernels *kernels = job->cpu->kernels;
    const struct segment *gate = &job->w->segments[0], *up = &job->w->segments[1];
    uint32_t group = unit * UNIT_GROUPS;
    uint32_t n_groups = smaller(UNIT_GROUPS, gate->n_groups - group);
    uint32_t column = unit * UNIT_OUTPUTS;
    uint32_t n_columns = smaller(UNIT_OUTPUTS, job->w->n_outputs - column);
    for (uint32_t done = 0; done < job->n_rows; done += TILE_ROWS) {
        uint32_t row = job->row + done;
        uint32_t n_rows = smaller(TILE_ROWS, job->n_rows - done);
        gemm_of(job->cpu, gate)(gate, group, n_groups, job->a, row, n_rows, scratch->gate,
                                UNIT_OUTPUTS);
        gemm_of(job->cpu, up)(up, group, n_groups, job->a, row, n_rows, scratch->up, UNIT_OUTPUTS);
        for (uint32_t r = 0; r < n_rows; r++) {
            float *values = scratch->gate + r * UNIT_OUTPUTS;
            kernels->gate_apply(job->gate, values, scratch->up + r * UNIT_OUTPUTS,
                                n_groups * GROUP_OUTPUTS, values);
            memcpy(job->out->floats + (row + r) * job->out->float_stride + column, values,
                   n_columns * sizeof(float));
        }
    }
}

static void gated_units(void *context, uint32_t member, uint32_t first, uint32_t count)
{
    const struct product_job *job = context;
    for (uint32_t unit = first; unit < first + count; unit++)
        gated_unit(job, unit, &job->cpu->scratch[member]);
}

void cpu_matmul_gated(backend *b, const weight *w, const activation *a, uint32_t n_rows,
                      enum gate_kind gate, activation *out)
{
    CHECK(w->is_gated && a->n_cols == w->n_cols && n_rows <= a->rows_max);
    CHECK(out->n_cols == w->n_outputs && n_rows <= out->rows_max);
    CHECK((!w->needs_codes || a->tiles != NULL) && (!w->needs_floats || a->floats != NULL));
    struct product_job job = {.cpu = cpu_of(b), .w = w, .a = a, .gate = gate, .out = out};
    run_blocks(&job, n_rows, (w->n_groups + UNIT_GROUPS - 1) / UNIT_GROUPS, gated_units);
    cpu_quantise(cpu_of(b), out, n_rows);
}

/* --- RoPE and the cache --- */

struct rope_job {
    struct cpu_backend *cpu;
    const struct rope_angles *angles;
    const struct attention_shape *shape;
    const struct step_batch *batch;
    float *qkv;
    kv_store *kv;
    uint32_t layer;
};

static void rope_row(const struct rope_job *job, uint32_t r)
{
    const struct cpu_kernels *kernels = job->cpu->kernels;
    const struct attention_shape *shape = job->shape;
    const struct rope_angles *angles = job->angles;
    uint32_t d = shape->d_head;
    float *row = job->qkv + (size_t)r * (shape->n_heads + 2 * shape->n_kv_heads) * d;
    const float *cosines = angles->cosines + (size_t)r * job->cpu->rope.d_max;
    const float *sines = angles->sines + (size_t)r * job->cpu->rope.d_max;
    for (uint32_t h = 0; h < shape->n_heads; h++)
        kernels->rope_head(row + h * d, d, angles->d_rope, angles->is_interleaved, cosines, sines,
                           row + h * d);
    const float *keys = row + shape->n_heads * d;
    const float *values = keys + shape->n_kv_heads * d;
    uint32_t position = job->batch->row_position[r];
    uint32_t block =
        job->batch
            ->block_tables[(size_t)job->batch->row_sequence[r] * job->batch->block_table_stride +
                           position / KV_BLOCK_TOKENS];
    CHECK(block < job->kv->shape.n_blocks);
    for (uint32_t h = 0; h < shape->n_kv_heads; h++) {
        float key[HEAD_MAX];
        kernels->rope_head(keys + h * d, d, angles->d_rope, angles->is_interleaved, cosines, sines,
                           key);
        kernels->kv_store_head(key, values + h * d, d, position % KV_BLOCK_TOKENS,
                               kv_head_data(job->kv, job->layer, block, h));
    }
}

static void rope_rows(void *context, uint32_t member, uint32_t first, uint32_t count)
{
    (void)member;
    for (uint32_t r = first; r < first + count; r++)
        rope_row(context, r);
}

void cpu_rope_kv_append(backend *b, float *qkv, const struct rope_table *rope,
                        const struct attention_shape *shape, const struct step_batch *batch,
                        kv_store *kv, uint32_t layer)
{
    struct cpu_backend *cpu = cpu_of(b);
    CHECK(shape->d_head == kv->shape.d_head && shape->n_kv_heads == kv->shape.n_kv_heads);
    CHECK(rope->d_rope <= shape->d_head && layer < kv->shape.n_layers);
    struct rope_job job = {
        .cpu = cpu,
        .angles = rope_cache_get(&cpu->rope, rope, batch->row_position, batch->n_rows),
        .shape = shape,
        .batch = batch,
        .qkv = qkv,
        .kv = kv,
        .layer = layer,
    };
    uint32_t width = (shape->n_heads + 2 * shape->n_kv_heads) * shape->d_head;
    uint32_t chunk = larger(ALONE_ELEMENTS / 2 / width, 1);
    uint32_t n_rows = batch->n_rows;
    team_run(cpu->team, n_rows, n_rows <= 2 * chunk ? larger(n_rows, 1) : chunk, rope_rows, &job);
}

/* --- host work --- */

struct index_job {
    void (*body)(void *context, uint32_t index);
    void *context;
};

static void run_indexes(void *context, uint32_t member, uint32_t first, uint32_t count)
{
    (void)member;
    const struct index_job *job = context;
    for (uint32_t i = first; i < first + count; i++)
        job->body(job->context, i);
}

void cpu_parallel_for(backend *b, uint32_t count, void (*body)(void *context, uint32_t index),
                      void *context)
{
    struct index_job job = {body, context};
    team_run(cpu_of(b)->team, count, 1, run_indexes, &job);
}
