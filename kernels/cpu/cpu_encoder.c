/* Operations of encoders: how each is cut into pieces for the team.
 *
 * Attention without a cache has two passes. The first turns the keys of each sequence and head into
 * columns (in `scratch`), so that the scores of sixteen keys are multiply-adds without horizontal
 * sums; the second takes tiles of rows of one head. The scores of a row lie on the member's stack, which
 * bounds the rows of a sequence. */

#include <string.h>

#include "check.h"
#include "cpu_backend.h"
#include "repack.h"

/* Elements of row-wise work that a member takes at a time (about 2 us of it). */
#define PIECE_ELEMENTS 8192u
/* Rows of an attention tile: enough to pay for taking it, few enough to share out a short text. */
#define ATTEND_ROWS 32u
/* Rows of a sequence up to which one member does all of it, so that a batch of short texts costs one
 * meeting of the team. */
#define SHORT_KEYS 128u

static uint32_t rows_at_a_time(uint32_t d)
{
    return d < PIECE_ELEMENTS ? PIECE_ELEMENTS / d : 1;
}

/* --- rows --- */

struct row_job {
    const struct cpu_backend *cpu;
    const weight *table;
    const int32_t *ids;
    const float *y, *gain, *bias;
    float *x;
    float epsilon;
    uint32_t d, n_rows;
    enum gate_kind kind;
    activation *out;
};

static void add_rows(void *context, uint32_t member, uint32_t first, uint32_t count)
{
    (void)member;
    const struct row_job *job = context;
    float row[PIECE_ELEMENTS];
    for (uint32_t r = first; r < first + count; r++) {
        CHECK(job->ids[r] >= 0 && (uint32_t)job->ids[r] < job->table->n_outputs);
        uint32_t output = (uint32_t)job->ids[r];
        const struct segment *segment = job->table->segments;
        while (output - segment->first_output >= segment->n_outputs)
            segment++;
        segment_read_row(segment, output - segment->first_output, 1.0f, row);
        job->cpu->kernels->add_row(row, job->d, job->x + (size_t)r * job->d);
    }
}

void cpu_embed_add(backend *b, const weight *table, const int32_t *ids, uint32_t n_rows, float *x)
{
    struct row_job job = {.cpu = cpu_of(b), .table = table, .ids = ids, .x = x, .d = table->n_cols};
    CHECK(table->n_cols <= PIECE_ELEMENTS);
    team_run(cpu_of(b)->team, n_rows, rows_at_a_time(job.d), add_rows, &job);
}

static void norm_rows(void *context, uint32_t member, uint32_t first, uint32_t count)
{
    (void)member;
    const struct row_job *job = context;
    for (uint32_t r = first; r < first + count; r++)
        job->cpu->kernels->layer_norm_row(job->x + (size_t)r * job->d, job->gain, job->bias,
                                          job->epsilon, job->d,
                                          job->out->floats + r * job->out->float_stride);
}

void cpu_layer_norm(backend *b, float *x, const float *gain, const float *bias, float epsilon,
                    uint32_t n_rows, uint32_t d, activation *out)
{
    CHECK(d == out->n_cols && n_rows <= out->rows_max);
    struct row_job job = {.cpu = cpu_of(b),
                          .gain = gain,
                          .bias = bias,
                          .epsilon = epsilon,
                          .x = x,
                          .d = d,
                          .out = out};
    team_run(cpu_of(b)->team, n_rows, rows_at_a_time(d), norm_rows, &job);
    cpu_quantise(cpu_of(b), out, n_rows);
}

/* gate_apply multiplies with a second input: here with ones, a piece at a time. */
#define ONES 256u

static void activate_rows(void *context, uint32_t member, uint32_t first, uint32_t count)
{
    (void)member;
    const struct row_job *job = context;
    float ones[ONES], values[ONES];
    for (uint32_t i = 0; i < ONES; i++)
        ones[i] = 1.0f;
    for (uint32_t r = first; r < first + count; r++) {
        const float *y = job->y + (size_t)r * job->d;
        float *out = job->out->floats + r * job->out->float_stride;
        for (uint32_t c = 0; c < job->d; c += ONES) {
            uint32_t width = smaller(ONES, job->d - c), rounded = (width + 15) / 16 * 16;
            memset(values + width, 0, (rounded - width) * sizeof values[0]);
            memcpy(values, y + c, width * sizeof values[0]);
            job->cpu->kernels->gate_apply(job->kind, values, ones, rounded, values);
            memcpy(out + c, values, width * sizeof values[0]);
        }
    }
}

void cpu_activate(backend *b, const float *y, uint32_t n_rows, enum gate_kind kind, activation *out)
{
    CHECK(n_rows <= out->rows_max && kind != GATE_SILU_CLAMPED);
    struct row_job job = {.cpu = cpu_of(b), .y = y, .d = out->n_cols, .kind = kind, .out = out};
    team_run(cpu_of(b)->team, n_rows, rows_at_a_time(job.d), activate_rows, &job);
    cpu_quantise(cpu_of(b), out, n_rows);
}

/* --- attention --- */

struct full_job {
    const struct cpu_backend *cpu;
    const float *qkv;
    const struct attention_shape *shape;
    const uint32_t *row_start;
    float *keys;                                    /* the columns of all sequences */
    uint32_t sequence, n_keys, key_stride, n_tiles; /* the sequence in hand */
    activation *out;
};

static size_t row_width(const struct attention_shape *shape)
{
    return (size_t)(shape->n_heads + 2 * shape->n_kv_heads) * shape->d_head;
}

/* Columns of one head of the sequence in hand. */
static float *head_keys(const struct full_job *job, uint32_t kv_head)
{
    size_t before = (size_t)job->row_start[job->sequence] + 15u * job->sequence;
    return job->keys + before * job->shape->n_kv_heads * job->shape->d_head +
           (size_t)kv_head * job->shape->d_head * job->key_stride;
}

static void turn_keys(const struct full_job *job, uint32_t kv_head)
{
    const struct attention_shape *shape = job->shape;
    size_t width = row_width(shape);
    const float *from = job->qkv + job->row_start[job->sequence] * width +
                        (size_t)(shape->n_heads + kv_head) * shape->d_head;
    float *to = head_keys(job, kv_head);
    for (uint32_t k = 0; k < shape->d_head; k++) {
        for (uint32_t j = 0; j < job->n_keys; j++)
            to[k * job->key_stride + j] = from[j * width + k];
        for (uint32_t j = job->n_keys; j < job->key_stride; j++)
            to[k * job->key_stride + j] = 0;
    }
}

static void attend_tile(const struct full_job *job, uint32_t head, uint32_t row, uint32_t n_rows,
                        float *scores)
{
    const struct attention_shape *shape = job->shape;
    uint32_t d = shape->d_head, kv_head = head / (shape->n_heads / shape->n_kv_heads);
    size_t width = row_width(shape);
    uint32_t start = job->row_start[job->sequence];
    const float *first = job->qkv + start * width;
    struct full_tile tile = {
        .queries = first + row * width + (size_t)head * d,
        .keys = head_keys(job, kv_head),
        .values = first + (size_t)(shape->n_heads + shape->n_kv_heads + kv_head) * d,
        .out = job->out->floats + (start + row) * job->out->float_stride + (size_t)head * d,
        .stride = width,
        .key_stride = job->key_stride,
        .out_stride = job->out->float_stride,
        .n_rows = n_rows,
        .n_keys = job->n_keys,
        .d_head = d,
        .scale = shape->scale,
    };
    job->cpu->kernels->attend_rows(&tile, scores);
}

static void begin_sequence(struct full_job *job, uint32_t sequence)
{
    job->sequence = sequence;
    job->n_keys = job->row_start[sequence + 1] - job->row_start[sequence];
    job->key_stride = (job->n_keys + 15) / 16 * 16;
    job->n_tiles = (job->n_keys + ATTEND_ROWS - 1) / ATTEND_ROWS;
}

/* Short texts: a member takes whole sequences, both passes. */
static void attend_sequences(void *context, uint32_t member, uint32_t first, uint32_t count)
{
    (void)member;
    struct full_job job = *(const struct full_job *)context;
    float scores[SHORT_KEYS];
    for (uint32_t s = first; s < first + count; s++) {
        begin_sequence(&job, s);
        if (job.n_keys > SHORT_KEYS)
            continue;
        for (uint32_t h = 0; h < job.shape->n_kv_heads; h++)
            turn_keys(&job, h);
        for (uint32_t h = 0; h < job.shape->n_heads; h++)
            attend_tile(&job, h, 0, job.n_keys, scores);
    }
}

static void turn_heads(void *context, uint32_t member, uint32_t first, uint32_t count)
{
    (void)member;
    for (uint32_t h = first; h < first + count; h++)
        turn_keys(context, h);
}

/* Long ones: members share a sequence's tiles of rows and heads. */
static void attend_tiles(void *context, uint32_t member, uint32_t first, uint32_t count)
{
    (void)member;
    const struct full_job *job = context;
    float scores[ATTENTION_FULL_ROWS_MAX];
    for (uint32_t i = first; i < first + count; i++) {
        uint32_t row = i % job->n_tiles * ATTEND_ROWS;
        attend_tile(job, i / job->n_tiles, row, smaller(ATTEND_ROWS, job->n_keys - row), scores);
    }
}

void cpu_attention_full(backend *b, const float *qkv, const struct attention_shape *shape,
                        const uint32_t *row_start, uint32_t n_sequences, float *scratch,
                        activation *out)
{
    struct cpu_backend *cpu = cpu_of(b);
    struct full_job job = {.cpu = cpu,
                           .qkv = qkv,
                           .shape = shape,
                           .row_start = row_start,
                           .keys = scratch,
                           .out = out};
    CHECK(row_start[n_sequences] <= out->rows_max);
    CHECK(out->n_cols == shape->n_heads * shape->d_head);
    team_run(cpu->team, n_sequences, 1, attend_sequences, &job);
    for (uint32_t s = 0; s < n_sequences; s++) {
        begin_sequence(&job, s);
        CHECK(job.n_keys <= ATTENTION_FULL_ROWS_MAX);
        if (job.n_keys <= SHORT_KEYS)
            continue;
        team_run(cpu->team, shape->n_kv_heads, 1, turn_heads, &job);
        team_run(cpu->team, shape->n_heads * job.n_tiles, 1, attend_tiles, &job);
    }
    cpu_quantise(cpu, out, row_start[n_sequences]);
}
