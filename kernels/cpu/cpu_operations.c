/* Operations on rows: how each is cut into pieces for the team.
 *
 * Small ones (norm and RoPE of a few rows) run on the step thread alone: waking the team costs
 * about what they do. */

#include <string.h>

#include "check.h"
#include "cpu_backend.h"
#include "repack.h"

/* Elements below which row-wise work is not handed to the team (about 2 us of it). */
#define ALONE_ELEMENTS 8192u

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
        CHECK(job->tokens[r] >= 0);
        uint32_t output = (uint32_t)job->tokens[r];
        float *x = job->x + (size_t)r * job->table->n_cols;
        const struct segment *segment = job->table->segments;
        if (output >= job->table->n_outputs) {
            memset(x, 0, job->table->n_cols * sizeof *x);
            continue;
        }
        while (output - segment->first_output >= segment->n_outputs)
            segment++;
        segment_read_row(segment, output - segment->first_output, job->scale, x);
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

/* --- norm of what a layer adds, soft cap --- */

struct add_job {
    struct cpu_backend *cpu;
    float *x, *y;
    const float *gain;
    float epsilon;
    uint32_t d;
};

static void norm_add_rows(void *context, uint32_t member, uint32_t first, uint32_t count)
{
    (void)member;
    const struct add_job *job = context;
    for (uint32_t r = first; r < first + count; r++) {
        float *y = job->y + (size_t)r * job->d;
        job->cpu->kernels->rms_norm_row(y, job->gain, job->epsilon, job->d, y);
        job->cpu->kernels->add_scaled(y, 1.0f, job->d, job->x + (size_t)r * job->d);
    }
}

void cpu_rms_norm_add(backend *b, float *y, const float *gain, float epsilon, uint32_t n_rows,
                      uint32_t d, float *x)
{
    struct add_job job = {cpu_of(b), x, y, gain, epsilon, d};
    uint32_t chunk = larger(ALONE_ELEMENTS / d, 1);
    team_run(cpu_of(b)->team, n_rows, n_rows <= 2 * chunk ? larger(n_rows, 1) : chunk,
             norm_add_rows, &job);
}

struct cap_job {
    const struct cpu_kernels *kernels;
    float *x;
    uint64_t count;
    float cap;
};

/* Units of ALONE_ELEMENTS. */
static void cap_units(void *context, uint32_t member, uint32_t first, uint32_t count)
{
    (void)member;
    const struct cap_job *job = context;
    uint64_t start = (uint64_t)first * ALONE_ELEMENTS;
    uint64_t end = start + (uint64_t)count * ALONE_ELEMENTS;
    end = end < job->count ? end : job->count;
    job->kernels->soft_cap(job->x + start, end - start, job->cap);
}

void cpu_soft_cap(backend *b, float *x, uint64_t count, float cap)
{
    struct cap_job job = {cpu_of(b)->kernels, x, count, cap};
    team_run(cpu_of(b)->team, (uint32_t)((count + ALONE_ELEMENTS - 1) / ALONE_ELEMENTS), 1,
             cap_units, &job);
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
    for (uint32_t h = 0; h < shape->n_heads; h++) {
        if (shape->query_gain != NULL)
            kernels->rms_norm_row(row + h * d, shape->query_gain, shape->gain_epsilon, d,
                                  row + h * d);
        kernels->rope_head(row + h * d, d, angles->d_rope, angles->is_interleaved, cosines, sines,
                           row + h * d);
    }
    float *keys = row + shape->n_heads * d;
    const float *values = keys + shape->n_kv_heads * d;
    uint32_t position = job->batch->row_position[r];
    uint32_t block =
        job->batch
            ->block_tables[(size_t)job->batch->row_sequence[r] * job->batch->block_table_stride +
                           position / KV_BLOCK_TOKENS];
    CHECK(block < job->kv->shape.n_blocks);
    for (uint32_t h = 0; h < shape->n_kv_heads; h++) {
        float key[HEAD_MAX];
        if (shape->key_gain != NULL)
            kernels->rms_norm_row(keys + h * d, shape->key_gain, shape->gain_epsilon, d,
                                  keys + h * d);
        kernels->rope_head(keys + h * d, d, angles->d_rope, angles->is_interleaved, cosines, sines,
                           key);
        kernels->kv[job->kv->shape.type].store_head(key, values + h * d, d,
                                                    position % KV_BLOCK_TOKENS,
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
