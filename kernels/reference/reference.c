/* The oracle backend.
 *
 * Each operation is written as its formula: one row at a time, one output at a time, double sums.
 * The two roundings that belong to the stored state are kept, since a step reads them back:
 * residual rows are f32, keys and values are f16. Nothing here is shared with the fast paths except
 * the definition of the tensor formats (tensor_type.c).
 *
 * Cache picture: keys and values are two arrays [n_layers][n_blocks][n_kv_heads][16][d_head] of
 * f16. */

#include "reference.h"

#include <math.h>
#include <string.h>

#include "check.h"
#include "half.h"
#include "host_memory.h"
#include "memory.h"

#define SOURCE_COUNT_MAX 8

/* Scratch grows when weights and caches are made, so that operations allocate nothing. */
struct reference_backend {
    struct backend base;
    float *rows;    /* owned; two weight rows of `cols_max` */
    double *scores; /* owned; `positions_max` */
    uint32_t cols_max;
    uint64_t positions_max;
};

struct weight {
    struct tensor_source sources[SOURCE_COUNT_MAX]; /* data owned: copies of the file's blocks */
    uint32_t source_count;
    uint32_t n_outputs; /* of all sources; of one of the two when gated */
    uint32_t n_cols;
    uint64_t bytes;
    bool is_gated;
};

struct activation {
    uint32_t n_cols;
    uint32_t rows_max;
    float *values; /* owned; [rows_max, n_cols] */
};

struct kv_store {
    struct kv_shape shape;
    uint16_t *keys;   /* owned */
    uint16_t *values; /* owned */
};

static struct reference_backend *of_backend(backend *b)
{
    return (struct reference_backend *)b;
}

static void reference_destroy(backend *b)
{
    memory_release(of_backend(b)->rows);
    memory_release(of_backend(b)->scores);
    memory_release(b);
}

static void *reference_allocate(backend *b, uint64_t bytes)
{
    (void)b;
    size_t rounded = (size_t)(bytes + 63) / 64 * 64;
    void *memory = memory_allocate_aligned(64, rounded);
    if (memory != NULL)
        memset(memory, 0, rounded);
    return memory;
}

static void reference_weight_destroy(backend *b, weight *w)
{
    (void)b;
    if (w == NULL)
        return;
    for (uint32_t i = 0; i < w->source_count; i++)
        memory_release((void *)(uintptr_t)w->sources[i].data);
    memory_release(w);
}

static status reference_weight_create(backend *b, const struct tensor_source *sources,
                                      uint32_t source_count, weight **out)
{
    CHECK(source_count >= 1 && source_count <= SOURCE_COUNT_MAX);
    struct reference_backend *reference = of_backend(b);
    if (sources[0].n_cols > reference->cols_max) {
        float *rows = memory_allocate_array(2 * (size_t)sources[0].n_cols, sizeof(float));
        if (rows == NULL)
            return STATUS_NO_MEMORY;
        memory_release(reference->rows);
        reference->rows = rows;
        reference->cols_max = sources[0].n_cols;
    }
    weight *w = memory_allocate_array(1, sizeof(*w));
    if (w == NULL)
        return STATUS_NO_MEMORY;
    w->n_cols = sources[0].n_cols;
    for (uint32_t i = 0; i < source_count; i++) {
        uint32_t elements, block_bytes;
        if (!tensor_type_block(sources[i].type, &elements, &block_bytes) ||
            sources[i].n_cols != w->n_cols || w->n_cols % elements != 0) {
            reference_weight_destroy(b, w);
            return STATUS_INVALID;
        }
        uint64_t bytes = (uint64_t)sources[i].n_outputs * (w->n_cols / elements) * block_bytes;
        void *copy = memory_allocate(bytes > 0 ? bytes : 1);
        if (copy == NULL) {
            reference_weight_destroy(b, w);
            return STATUS_NO_MEMORY;
        }
        memcpy(copy, sources[i].data, bytes);
        w->sources[i] = sources[i];
        w->sources[i].data = copy;
        w->source_count = i + 1;
        w->n_outputs += sources[i].n_outputs;
        w->bytes += bytes;
    }
    *out = w;
    return STATUS_OK;
}

static status reference_weight_create_gated(backend *b, const struct tensor_source *gate,
                                            const struct tensor_source *up, weight **out)
{
    if (gate->n_outputs != up->n_outputs)
        return STATUS_INVALID;
    struct tensor_source sources[2] = {*gate, *up};
    status result = reference_weight_create(b, sources, 2, out);
    if (result == STATUS_OK) {
        (*out)->is_gated = true;
        (*out)->n_outputs = gate->n_outputs;
    }
    return result;
}

static uint64_t reference_weight_bytes(const weight *w)
{
    return w->bytes;
}

static void reference_activation_destroy(backend *b, activation *a)
{
    (void)b;
    if (a == NULL)
        return;
    memory_release(a->values);
    memory_release(a);
}

static status reference_activation_create(backend *b, const weight *w, uint32_t rows_max,
                                          activation **out)
{
    activation *a = memory_allocate_array(1, sizeof(*a));
    if (a == NULL)
        return STATUS_NO_MEMORY;
    a->n_cols = w->n_cols;
    a->rows_max = rows_max;
    a->values = memory_allocate_array((size_t)rows_max * w->n_cols, sizeof(float));
    if (a->values == NULL) {
        reference_activation_destroy(b, a);
        return STATUS_NO_MEMORY;
    }
    *out = a;
    return STATUS_OK;
}

static void reference_kv_destroy(backend *b, kv_store *kv)
{
    (void)b;
    if (kv == NULL)
        return;
    memory_release(kv->keys);
    memory_release(kv->values);
    memory_release(kv);
}

/* Halves of one block of one layer, all heads. */
static size_t kv_block_halves(const struct kv_shape *shape)
{
    return (size_t)shape->n_kv_heads * KV_BLOCK_TOKENS * shape->d_head;
}

static uint64_t reference_kv_block_bytes(const struct kv_shape *shape)
{
    return (uint64_t)shape->n_layers * kv_block_halves(shape) * 2 * sizeof(uint16_t);
}

static status reference_kv_create(backend *b, const struct kv_shape *shape, kv_store **out)
{
    if (shape->type != KV_F16)
        return STATUS_UNSUPPORTED;
    struct reference_backend *reference = of_backend(b);
    uint64_t positions = (uint64_t)shape->n_blocks * KV_BLOCK_TOKENS;
    if (positions > reference->positions_max) {
        double *scores = memory_allocate_array(positions, sizeof(double));
        if (scores == NULL)
            return STATUS_NO_MEMORY;
        memory_release(reference->scores);
        reference->scores = scores;
        reference->positions_max = positions;
    }
    kv_store *kv = memory_allocate_array(1, sizeof(*kv));
    if (kv == NULL)
        return STATUS_NO_MEMORY;
    kv->shape = *shape;
    size_t halves = (size_t)shape->n_layers * shape->n_blocks * kv_block_halves(shape);
    kv->keys = memory_allocate_array(halves, sizeof(uint16_t));
    kv->values = memory_allocate_array(halves, sizeof(uint16_t));
    if (kv->keys == NULL || kv->values == NULL) {
        reference_kv_destroy(b, kv);
        return STATUS_NO_MEMORY;
    }
    *out = kv;
    return STATUS_OK;
}

static void reference_kv_copy_blocks(backend *b, kv_store *kv, const uint32_t *from,
                                     const uint32_t *to, uint32_t count)
{
    (void)b;
    size_t halves = kv_block_halves(&kv->shape);
    for (uint32_t layer = 0; layer < kv->shape.n_layers; layer++) {
        size_t base = (size_t)layer * kv->shape.n_blocks;
        for (uint32_t i = 0; i < count; i++) {
            CHECK(from[i] < kv->shape.n_blocks && to[i] < kv->shape.n_blocks);
            memcpy(kv->keys + (base + to[i]) * halves, kv->keys + (base + from[i]) * halves,
                   halves * 2);
            memcpy(kv->values + (base + to[i]) * halves, kv->values + (base + from[i]) * halves,
                   halves * 2);
        }
    }
}

/* Writes all columns of output `output` of `w` (stacked sources) as f32. */
static void weight_row(const weight *w, uint32_t output, float *out)
{
    uint32_t source = 0;
    while (output >= w->sources[source].n_outputs) {
        output -= w->sources[source].n_outputs;
        source++;
        CHECK(source < w->source_count);
    }
    tensor_dequantise(&w->sources[source], output, 0, w->n_cols, out);
}

static void reference_embed(backend *b, const weight *table, const int32_t *tokens, uint32_t n_rows,
                            float scale, float *x)
{
    (void)b;
    for (uint32_t r = 0; r < n_rows; r++) {
        CHECK(tokens[r] >= 0 && (uint32_t)tokens[r] < table->n_outputs);
        float *row = x + (size_t)r * table->n_cols;
        weight_row(table, (uint32_t)tokens[r], row);
        for (uint32_t c = 0; c < table->n_cols; c++)
            row[c] *= scale;
    }
}

static void reference_rms_norm(backend *b, const float *x, const float *gain, float epsilon,
                               const uint32_t *rows, uint32_t n_rows, uint32_t d, activation *out)
{
    (void)b;
    CHECK(d == out->n_cols && n_rows <= out->rows_max);
    for (uint32_t r = 0; r < n_rows; r++) {
        const float *in = x + (size_t)(rows != NULL ? rows[r] : r) * d;
        double squares = 0;
        for (uint32_t c = 0; c < d; c++)
            squares += (double)in[c] * in[c];
        double inverse = 1 / sqrt(squares / d + (double)epsilon);
        for (uint32_t c = 0; c < d; c++)
            out->values[(size_t)r * d + c] = (float)(in[c] * inverse * gain[c]);
    }
}

static double dot(const float *a, const float *b, uint32_t count)
{
    double sum = 0;
    for (uint32_t c = 0; c < count; c++)
        sum += (double)a[c] * b[c];
    return sum;
}

static void reference_matmul(backend *b, const weight *w, const activation *a, uint32_t n_rows,
                             const float *bias, bool accumulate, float *y)
{
    CHECK(!w->is_gated && a->n_cols == w->n_cols && n_rows <= a->rows_max);
    float *row = of_backend(b)->rows;
    for (uint32_t o = 0; o < w->n_outputs; o++) {
        weight_row(w, o, row);
        for (uint32_t r = 0; r < n_rows; r++) {
            double sum = dot(row, a->values + (size_t)r * a->n_cols, w->n_cols);
            if (bias != NULL)
                sum += bias[o];
            float *target = y + (size_t)r * w->n_outputs + o;
            *target = (float)(accumulate ? *target + sum : sum);
        }
    }
}

static double gate_value(enum gate_kind kind, double g)
{
    switch (kind) {
    case GATE_SILU:
        return g / (1 + exp(-g));
    case GATE_GELU_TANH:
        return 0.5 * g * (1 + tanh(0.7978845608028654 * (g + 0.044715 * g * g * g)));
    case GATE_GELU_ERF:
        return 0.5 * g * (1 + erf(g * 0.7071067811865476));
    }
    check_failed("a gate kind", __FILE__, __LINE__);
}

static void reference_matmul_gated(backend *b, const weight *w, const activation *a,
                                   uint32_t n_rows, enum gate_kind gate, activation *out)
{
    CHECK(w->is_gated && a->n_cols == w->n_cols && n_rows <= a->rows_max);
    CHECK(out->n_cols == w->n_outputs && n_rows <= out->rows_max);
    float *gate_row = of_backend(b)->rows;
    float *up_row = gate_row + w->n_cols;
    for (uint32_t o = 0; o < w->n_outputs; o++) {
        weight_row(w, o, gate_row);
        weight_row(w, w->n_outputs + o, up_row);
        for (uint32_t r = 0; r < n_rows; r++) {
            const float *in = a->values + (size_t)r * a->n_cols;
            double g = dot(gate_row, in, w->n_cols);
            double u = dot(up_row, in, w->n_cols);
            out->values[(size_t)r * out->n_cols + o] = (float)(gate_value(gate, g) * u);
        }
    }
}

static void rotate_head(float *head, const struct rope_table *rope, uint32_t position)
{
    uint32_t pairs = rope->d_rope / 2;
    for (uint32_t i = 0; i < pairs; i++) {
        double angle = (double)position * (double)rope->frequencies[i];
        double c = cos(angle) * (double)rope->magnitude;
        double s = sin(angle) * (double)rope->magnitude;
        float *first = head + (rope->is_interleaved ? 2 * i : i);
        float *second = head + (rope->is_interleaved ? 2 * i + 1 : i + pairs);
        double x = *first, y = *second;
        *first = (float)(x * c - y * s);
        *second = (float)(x * s + y * c);
    }
}

/* Offset, in halves, of one token's vector of one head. */
static size_t kv_offset(const kv_store *kv, const struct step_batch *batch, uint32_t sequence,
                        uint32_t position, uint32_t layer, uint32_t head)
{
    const struct kv_shape *shape = &kv->shape;
    uint32_t block = batch->block_tables[(size_t)sequence * batch->block_table_stride +
                                         position / KV_BLOCK_TOKENS];
    CHECK(block < shape->n_blocks && layer < shape->n_layers);
    size_t index = ((size_t)layer * shape->n_blocks + block) * shape->n_kv_heads + head;
    return (index * KV_BLOCK_TOKENS + position % KV_BLOCK_TOKENS) * shape->d_head;
}

static void reference_rope_kv_append(backend *b, float *qkv, const struct rope_table *rope,
                                     const struct attention_shape *shape,
                                     const struct step_batch *batch, kv_store *kv, uint32_t layer)
{
    (void)b;
    uint32_t d = shape->d_head;
    uint32_t stride = (shape->n_heads + 2 * shape->n_kv_heads) * d;
    for (uint32_t r = 0; r < batch->n_rows; r++) {
        float *row = qkv + (size_t)r * stride;
        uint32_t position = batch->row_position[r];
        for (uint32_t h = 0; h < shape->n_heads; h++)
            rotate_head(row + h * d, rope, position);
        for (uint32_t h = 0; h < shape->n_kv_heads; h++) {
            float key[1024];
            CHECK(d <= ARRAY_COUNT(key));
            memcpy(key, row + (shape->n_heads + h) * d, d * sizeof(float));
            rotate_head(key, rope, position);
            const float *value = row + (shape->n_heads + shape->n_kv_heads + h) * d;
            size_t at = kv_offset(kv, batch, batch->row_sequence[r], position, layer, h);
            for (uint32_t i = 0; i < d; i++) {
                kv->keys[at + i] = f32_to_f16(key[i]);
                kv->values[at + i] = f32_to_f16(value[i]);
            }
        }
    }
}

/* One query head of one row. `scores` has room for position + 1 doubles, `out` for d_head floats.
 */
static void attend(const float *query, const struct attention_shape *shape,
                   const struct step_batch *batch, const kv_store *kv, uint32_t layer, uint32_t row,
                   uint32_t kv_head, double *scores, float *out)
{
    uint32_t position = batch->row_position[row];
    uint32_t sequence = batch->row_sequence[row];
    uint32_t first =
        shape->window != 0 && position >= shape->window ? position - shape->window + 1 : 0;
    double maximum = -INFINITY;
    for (uint32_t p = first; p <= position; p++) {
        const uint16_t *key = kv->keys + kv_offset(kv, batch, sequence, p, layer, kv_head);
        double sum = 0;
        for (uint32_t i = 0; i < shape->d_head; i++)
            sum += (double)query[i] * (double)f16_to_f32(key[i]);
        sum *= (double)shape->scale;
        if (shape->soft_cap > 0)
            sum = (double)shape->soft_cap * tanh(sum / (double)shape->soft_cap);
        scores[p] = sum;
        maximum = fmax(maximum, sum);
    }
    double total = 0;
    for (uint32_t p = first; p <= position; p++) {
        scores[p] = exp(scores[p] - maximum);
        total += scores[p];
    }
    for (uint32_t i = 0; i < shape->d_head; i++) {
        double sum = 0;
        for (uint32_t p = first; p <= position; p++)
            sum +=
                scores[p] * (double)f16_to_f32(
                                kv->values[kv_offset(kv, batch, sequence, p, layer, kv_head) + i]);
        out[i] = (float)(sum / total);
    }
}

static void reference_attention(backend *b, const float *qkv, const struct attention_shape *shape,
                                const struct step_batch *batch, const kv_store *kv, uint32_t layer,
                                activation *out)
{
    CHECK(out->n_cols == shape->n_heads * shape->d_head && batch->n_rows <= out->rows_max);
    uint32_t stride = (shape->n_heads + 2 * shape->n_kv_heads) * shape->d_head;
    uint32_t group = shape->n_heads / shape->n_kv_heads;
    for (uint32_t r = 0; r < batch->n_rows; r++) {
        CHECK(batch->row_position[r] < of_backend(b)->positions_max);
        for (uint32_t h = 0; h < shape->n_heads; h++)
            attend(qkv + (size_t)r * stride + h * shape->d_head, shape, batch, kv, layer, r,
                   h / group, of_backend(b)->scores,
                   out->values + (size_t)r * out->n_cols + h * shape->d_head);
    }
}

static void reference_parallel_for(backend *b, uint32_t count,
                                   void (*body)(void *context, uint32_t index), void *context)
{
    (void)b;
    for (uint32_t i = 0; i < count; i++)
        body(context, i);
}

static const struct backend_operations reference_operations = {
    .name = "reference",
    .memory_is_host = true,
    .destroy = reference_destroy,
    .allocate = reference_allocate,
    .release = host_release,
    .upload = host_upload,
    .download = host_download,
    .synchronize = host_synchronize,
    .weight_create = reference_weight_create,
    .weight_create_gated = reference_weight_create_gated,
    .weight_destroy = reference_weight_destroy,
    .weight_bytes = reference_weight_bytes,
    .activation_create = reference_activation_create,
    .activation_destroy = reference_activation_destroy,
    .kv_create = reference_kv_create,
    .kv_destroy = reference_kv_destroy,
    .kv_block_bytes = reference_kv_block_bytes,
    .kv_copy_blocks = reference_kv_copy_blocks,
    .embed = reference_embed,
    .rms_norm = reference_rms_norm,
    .matmul = reference_matmul,
    .matmul_gated = reference_matmul_gated,
    .rope_kv_append = reference_rope_kv_append,
    .attention = reference_attention,
    .parallel_for = reference_parallel_for,
};

status reference_open(backend **out)
{
    struct reference_backend *b = memory_allocate_array(1, sizeof(*b));
    if (b == NULL)
        return STATUS_NO_MEMORY;
    b->base.operations = &reference_operations;
    *out = &b->base;
    return STATUS_OK;
}
