/* The oracle backend.
 *
 * Each operation is written as its formula: one row at a time, one output at a time, double sums.
 * The two roundings that belong to the stored state are kept, since a step reads them back:
 * residual rows are f32, keys and values are what the cache's type holds. Nothing here is shared with the fast paths except
 * the definition of the tensor formats (tensor_type.c).
 *
 * Cache picture: keys and values are two arrays [n_layers][n_blocks][n_kv_heads][16] of vectors;
 * a vector is d_head halves, or d_head codes and their scale. */

#include "reference.h"

#include <math.h>
#include <string.h>

#include "check.h"
#include "half.h"
#include "host_memory.h"
#include "memory.h"

#define SOURCE_COUNT_MAX 8
#define HEAD_WIDTH_MAX   1024u
#define HEAD_MAX         1024u

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
    uint8_t *keys;   /* owned */
    uint8_t *values; /* owned */
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
    for (uint32_t i = 0; i < w->source_count; i++) {
        memory_release((void *)(uintptr_t)w->sources[i].data);
        memory_release((void *)(uintptr_t)w->sources[i].scales);
    }
    memory_release(w);
}

static void *copy_of(const void *data, uint64_t bytes)
{
    void *copy = memory_allocate(bytes > 0 ? bytes : 1);
    if (copy != NULL)
        memcpy(copy, data, bytes);
    return copy;
}

/* Appends a copy of `source` to the weight. */
static status add_source(weight *w, const struct tensor_source *source)
{
    uint32_t elements, block_bytes;
    if (!tensor_type_block(source->type, &elements, &block_bytes) || source->n_cols != w->n_cols ||
        w->n_cols % elements != 0)
        return STATUS_INVALID;
    uint64_t bytes = (uint64_t)source->n_outputs * (w->n_cols / elements) * block_bytes;
    struct tensor_source *copy = &w->sources[w->source_count++];
    *copy = *source;
    copy->data = copy_of(source->data, bytes);
    if (source->scales != NULL)
        copy->scales = copy_of(source->scales, tensor_scale_count(source) * sizeof(float));
    w->n_outputs += source->n_outputs;
    w->bytes += bytes;
    return copy->data != NULL && (source->scales == NULL || copy->scales != NULL)
               ? STATUS_OK
               : STATUS_NO_MEMORY;
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
        status result = add_source(w, &sources[i]);
        if (result != STATUS_OK) {
            reference_weight_destroy(b, w);
            return result;
        }
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

/* A key or value of one head: its elements, or its codes and their scale. */
static size_t kv_vector_bytes(const struct kv_shape *shape)
{
    return shape->type == KV_INT8 ? shape->d_head + sizeof(float)
                                  : shape->d_head * sizeof(uint16_t);
}

/* Keys, or values, of one block of one layer, all heads. */
static size_t kv_layer_bytes(const struct kv_shape *shape)
{
    return (size_t)shape->n_kv_heads * KV_BLOCK_TOKENS * kv_vector_bytes(shape);
}

static uint64_t reference_kv_block_bytes(const struct kv_shape *shape)
{
    return (uint64_t)shape->n_layers * kv_layer_bytes(shape) * 2;
}

static status reference_kv_create(backend *b, const struct kv_shape *shape, kv_store **out)
{
    CHECK(shape->type < KV_TYPE_COUNT);
    if (shape->d_head > HEAD_MAX)
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
    size_t bytes = (size_t)shape->n_layers * shape->n_blocks * kv_layer_bytes(shape);
    kv->keys = memory_allocate_array(bytes, 1);
    kv->values = memory_allocate_array(bytes, 1);
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
    size_t bytes = kv_layer_bytes(&kv->shape);
    for (uint32_t layer = 0; layer < kv->shape.n_layers; layer++) {
        size_t base = (size_t)layer * kv->shape.n_blocks;
        for (uint32_t i = 0; i < count; i++) {
            CHECK(from[i] < kv->shape.n_blocks && to[i] < kv->shape.n_blocks);
            memcpy(kv->keys + (base + to[i]) * bytes, kv->keys + (base + from[i]) * bytes, bytes);
            memcpy(kv->values + (base + to[i]) * bytes, kv->values + (base + from[i]) * bytes,
                   bytes);
        }
    }
}

static void write_codes(const float *vector, uint32_t d, uint8_t *out)
{
    float highest = 0;
    for (uint32_t i = 0; i < d; i++)
        highest = fmaxf(highest, fabsf(vector[i]));
    float factor = highest > KV_INT8_LEAST ? 127.0f / highest : 0.0f;
    for (uint32_t i = 0; i < d; i++)
        out[i] = (uint8_t)(int8_t)rintf(vector[i] * factor);
    float scale = highest / 127.0f;
    memcpy(out + d, &scale, sizeof(scale));
}

static void kv_write(const struct kv_shape *shape, const float *vector, uint8_t *out)
{
    if (shape->type == KV_INT8) {
        write_codes(vector, shape->d_head, out);
        return;
    }
    for (uint32_t i = 0; i < shape->d_head; i++) {
        uint16_t half = f32_to_f16(vector[i]);
        memcpy(out + i * sizeof(half), &half, sizeof(half));
    }
}

/* A key or query as an int8 cache has it (enum kv_type). */
static void kv_rotate(const struct kv_shape *shape, float *head)
{
    uint32_t size = kv_rotation_size(shape->d_head);
    double turned[HEAD_MAX];
    for (uint32_t i = 0; i < shape->d_head; i++) {
        turned[i] = 0;
        for (uint32_t k = 0; k < size; k++) {
            double element = head[i - i % size + k];
            turned[i] += __builtin_parity(i % size & k) ? -element : element;
        }
    }
    for (uint32_t i = 0; i < shape->d_head; i++)
        head[i] = (float)(turned[i] / sqrt((double)size));
}

static void kv_read(const struct kv_shape *shape, const uint8_t *in, float *vector)
{
    float scale = 0;
    if (shape->type == KV_INT8)
        memcpy(&scale, in + shape->d_head, sizeof(scale));
    for (uint32_t i = 0; i < shape->d_head; i++)
        vector[i] = shape->type == KV_INT8 ? scale * (float)(int8_t)in[i]
                                           : load_f16(in + i * sizeof(uint16_t));
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

static void norm_row(const float *in, const float *gain, float epsilon, uint32_t d, float *out)
{
    double squares = 0;
    for (uint32_t c = 0; c < d; c++)
        squares += (double)in[c] * in[c];
    double inverse = 1 / sqrt(squares / d + (double)epsilon);
    for (uint32_t c = 0; c < d; c++)
        out[c] = (float)(in[c] * inverse * gain[c]);
}

static void reference_rms_norm(backend *b, const float *x, const float *gain, float epsilon,
                               const uint32_t *rows, uint32_t n_rows, uint32_t d, activation *out)
{
    (void)b;
    CHECK(d == out->n_cols && n_rows <= out->rows_max);
    for (uint32_t r = 0; r < n_rows; r++)
        norm_row(x + (size_t)(rows != NULL ? rows[r] : r) * d, gain, epsilon, d,
                 out->values + (size_t)r * d);
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

static double gate_value(enum gate_kind kind, double g, double u)
{
    const double clamp = (double)GATE_CLAMP;
    switch (kind) {
    case GATE_SILU:
        return g / (1 + exp(-g)) * u;
    case GATE_GELU_TANH:
        return 0.5 * g * (1 + tanh(0.7978845608028654 * (g + 0.044715 * g * g * g))) * u;
    case GATE_GELU_ERF:
        return 0.5 * g * (1 + erf(g * 0.7071067811865476)) * u;
    case GATE_SILU_CLAMPED:
        g = fmin(g, clamp);
        return g / (1 + exp(-(double)GATE_ALPHA * g)) * (fmin(fmax(u, -clamp), clamp) + 1);
    }
    check_failed("a gate kind", __FILE__, __LINE__);
}

/* Row `in` through a gated weight. */
static void gated_row(const struct reference_backend *b, const weight *w, const float *in,
                      const struct gated_terms *terms, enum gate_kind gate, float *out)
{
    float *gate_row = b->rows, *up_row = b->rows + w->n_cols;
    for (uint32_t o = 0; o < w->n_outputs; o++) {
        weight_row(w, o, gate_row);
        weight_row(w, w->n_outputs + o, up_row);
        double g = dot(gate_row, in, w->n_cols), u = dot(up_row, in, w->n_cols);
        if (terms->bias != NULL) {
            g += (double)terms->bias[o];
            u += (double)terms->bias[w->n_outputs + o];
        }
        if (terms->rows != NULL) {
            g += (double)terms->rows[o];
            u += (double)terms->rows[w->n_outputs + o];
        }
        out[o] = (float)gate_value(gate, g, u);
    }
}

static void reference_matmul_gated(backend *b, const weight *w, const activation *a,
                                   uint32_t n_rows, const struct gated_terms *terms,
                                   enum gate_kind gate, activation *out)
{
    CHECK(w->is_gated && a->n_cols == w->n_cols && n_rows <= a->rows_max);
    CHECK(out->n_cols == w->n_outputs && n_rows <= out->rows_max);
    for (uint32_t r = 0; r < n_rows; r++) {
        struct gated_terms own = terms != NULL ? *terms : (struct gated_terms){NULL, NULL};
        if (own.rows != NULL)
            own.rows += (size_t)r * 2 * w->n_outputs;
        gated_row(of_backend(b), w, a->values + (size_t)r * a->n_cols, &own, gate,
                  out->values + (size_t)r * out->n_cols);
    }
}

static void reference_matmul_low_rank(backend *b, const struct low_rank *change,
                                      const activation *a, const uint32_t *rows, uint32_t n_rows,
                                      float *scratch, uint32_t first_output, uint32_t y_width,
                                      float *y)
{
    (void)b;
    CHECK(a->n_cols == change->n_cols && first_output + change->n_outputs <= y_width);
    for (uint32_t i = 0; i < n_rows; i++) {
        const float *x = a->values + (size_t)rows[i] * a->n_cols;
        float *inner = scratch + (size_t)i * change->rank;
        for (uint32_t k = 0; k < change->rank; k++)
            inner[k] = (float)dot(change->down + (size_t)k * change->n_cols, x, change->n_cols);
        for (uint32_t o = 0; o < change->n_outputs; o++) {
            double sum = 0;
            for (uint32_t k = 0; k < change->rank; k++)
                sum += (double)inner[k] * (double)change->up[(size_t)k * change->n_outputs + o];
            y[(size_t)rows[i] * y_width + first_output + o] += (float)sum;
        }
    }
}

static void reference_rms_norm_add(backend *b, float *y, const float *gain, float epsilon,
                                   uint32_t n_rows, uint32_t d, float *x)
{
    (void)b;
    for (uint32_t r = 0; r < n_rows; r++) {
        norm_row(y + (size_t)r * d, gain, epsilon, d, y + (size_t)r * d);
        for (uint32_t c = 0; c < d; c++)
            x[(size_t)r * d + c] += y[(size_t)r * d + c];
    }
}

static void reference_soft_cap(backend *b, float *x, uint64_t count, float cap)
{
    (void)b;
    for (uint64_t i = 0; i < count; i++)
        x[i] = (float)((double)cap * tanh((double)x[i] / (double)cap));
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

/* Norm, where the head has one, and rotation. */
static void turn_head(float *head, const float *gain, const struct attention_shape *shape,
                      const struct rope_table *rope, uint32_t position)
{
    if (gain != NULL)
        norm_row(head, gain, shape->gain_epsilon, shape->d_head, head);
    rotate_head(head, rope, position);
}

/* Offset, in bytes, of one token's vector of one head. */
static size_t kv_offset(const kv_store *kv, const struct step_batch *batch, uint32_t sequence,
                        uint32_t position, uint32_t layer, uint32_t head)
{
    const struct kv_shape *shape = &kv->shape;
    uint32_t block = batch->block_tables[(size_t)sequence * batch->block_table_stride +
                                         position / KV_BLOCK_TOKENS];
    CHECK(block < shape->n_blocks && layer < shape->n_layers);
    size_t index = ((size_t)layer * shape->n_blocks + block) * shape->n_kv_heads + head;
    return (index * KV_BLOCK_TOKENS + position % KV_BLOCK_TOKENS) * kv_vector_bytes(shape);
}

static void reference_rope_kv_append(backend *b, float *qkv, const struct rope_table *rope,
                                     const struct attention_shape *shape,
                                     const struct step_batch *batch, kv_store *kv, uint32_t layer)
{
    (void)b;
    uint32_t d = shape->d_head;
    CHECK(d == kv->shape.d_head);
    uint32_t stride = (shape->n_heads + 2 * shape->n_kv_heads) * d;
    for (uint32_t r = 0; r < batch->n_rows; r++) {
        float *row = qkv + (size_t)r * stride;
        uint32_t position = batch->row_position[r];
        for (uint32_t h = 0; h < shape->n_heads; h++)
            turn_head(row + h * d, shape->query_gain, shape, rope, position);
        for (uint32_t h = 0; h < shape->n_kv_heads; h++) {
            float key[HEAD_MAX];
            memcpy(key, row + (shape->n_heads + h) * d, d * sizeof(float));
            turn_head(key, shape->key_gain, shape, rope, position);
            const float *value = row + (shape->n_heads + shape->n_kv_heads + h) * d;
            if (kv->shape.type == KV_INT8)
                kv_rotate(&kv->shape, key);
            size_t at = kv_offset(kv, batch, batch->row_sequence[r], position, layer, h);
            kv_write(&kv->shape, key, kv->keys + at);
            kv_write(&kv->shape, value, kv->values + at);
        }
    }
}

/* One query head of one row. `scores` has room for position + 1 doubles, `out` for d_head floats.
 */
static void attend(const float *query, const struct attention_shape *shape,
                   const struct step_batch *batch, const kv_store *kv, uint32_t layer, uint32_t row,
                   uint32_t head, double *scores, float *out)
{
    uint32_t kv_head = head / (shape->n_heads / shape->n_kv_heads);
    uint32_t position = batch->row_position[row];
    uint32_t sequence = batch->row_sequence[row];
    uint32_t first =
        shape->window != 0 && position >= shape->window ? position - shape->window + 1 : 0;
    double maximum = -INFINITY;
    float vector[HEAD_MAX], turned[HEAD_MAX];
    memcpy(turned, query, shape->d_head * sizeof(float));
    if (kv->shape.type == KV_INT8)
        kv_rotate(&kv->shape, turned);
    for (uint32_t p = first; p <= position; p++) {
        kv_read(&kv->shape, kv->keys + kv_offset(kv, batch, sequence, p, layer, kv_head), vector);
        double sum = dot(turned, vector, shape->d_head) * (double)shape->scale;
        if (shape->soft_cap > 0)
            sum = (double)shape->soft_cap * tanh(sum / (double)shape->soft_cap);
        scores[p] = sum;
        maximum = fmax(maximum, sum);
    }
    double total = 0;
    if (shape->sinks != NULL) {
        maximum = fmax(maximum, (double)shape->sinks[head]);
        total = exp((double)shape->sinks[head] - maximum);
    }
    double sums[HEAD_MAX] = {0};
    for (uint32_t p = first; p <= position; p++) {
        double share = exp(scores[p] - maximum);
        total += share;
        kv_read(&kv->shape, kv->values + kv_offset(kv, batch, sequence, p, layer, kv_head), vector);
        for (uint32_t i = 0; i < shape->d_head; i++)
            sums[i] += share * (double)vector[i];
    }
    for (uint32_t i = 0; i < shape->d_head; i++)
        out[i] = (float)(sums[i] / total);
}

static void reference_attention(backend *b, const float *qkv, const struct attention_shape *shape,
                                const struct step_batch *batch, const kv_store *kv, uint32_t layer,
                                activation *out)
{
    CHECK(out->n_cols == shape->n_heads * shape->d_head && batch->n_rows <= out->rows_max);
    uint32_t stride = (shape->n_heads + 2 * shape->n_kv_heads) * shape->d_head;
    for (uint32_t r = 0; r < batch->n_rows; r++) {
        CHECK(batch->row_position[r] < of_backend(b)->positions_max);
        for (uint32_t h = 0; h < shape->n_heads; h++)
            attend(qkv + (size_t)r * stride + h * shape->d_head, shape, batch, kv, layer, r, h,
                   of_backend(b)->scores,
                   out->values + (size_t)r * out->n_cols + h * shape->d_head);
    }
}

/* --- experts: slot r * n_used + k is row r's k-th best --- */

struct expert_routes {
    struct expert_shape shape;
    uint32_t rows_max, n_rows;
    uint32_t *experts; /* owned; [rows_max * n_used] */
    float *shares;     /* owned; as experts */
};

static void reference_routes_destroy(backend *b, expert_routes *routes)
{
    (void)b;
    if (routes == NULL)
        return;
    memory_release(routes->experts);
    memory_release(routes->shares);
    memory_release(routes);
}

static status reference_routes_create(backend *b, const struct expert_shape *shape,
                                      uint32_t rows_max, expert_routes **out)
{
    CHECK(shape->n_used >= 1 && shape->n_used <= EXPERTS_USED_MAX &&
          shape->n_used <= shape->n_experts);
    expert_routes *routes = memory_allocate_array(1, sizeof(*routes));
    if (routes == NULL)
        return STATUS_NO_MEMORY;
    routes->shape = *shape;
    routes->rows_max = rows_max;
    routes->experts = memory_allocate_array((size_t)rows_max * shape->n_used, sizeof(uint32_t));
    routes->shares = memory_allocate_array((size_t)rows_max * shape->n_used, sizeof(float));
    if (routes->experts == NULL || routes->shares == NULL) {
        reference_routes_destroy(b, routes);
        return STATUS_NO_MEMORY;
    }
    *out = routes;
    return STATUS_OK;
}

static uint32_t reference_routes_slots_max(const struct expert_shape *shape, uint32_t rows_max)
{
    return rows_max * shape->n_used;
}

static bool is_chosen(const uint32_t *experts, uint32_t count, uint32_t expert)
{
    for (uint32_t k = 0; k < count; k++)
        if (experts[k] == expert)
            return true;
    return false;
}

static void route_row(const struct expert_shape *shape, const float *logits, uint32_t *experts,
                      float *shares)
{
    double total = 0, chosen = 0;
    for (uint32_t k = 0; k < shape->n_used; k++) {
        uint32_t best = shape->n_experts;
        for (uint32_t e = 0; e < shape->n_experts; e++)
            if (!is_chosen(experts, k, e) && (best == shape->n_experts || logits[e] > logits[best]))
                best = e;
        experts[k] = best;
        chosen += exp((double)logits[best] - (double)logits[experts[0]]);
    }
    for (uint32_t e = 0; e < shape->n_experts; e++)
        total += exp((double)logits[e] - (double)logits[experts[0]]);
    for (uint32_t k = 0; k < shape->n_used; k++)
        shares[k] = (float)(exp((double)logits[experts[k]] - (double)logits[experts[0]]) /
                            (shape->router == ROUTER_SHARES ? total : chosen));
}

static void reference_route(backend *b, const float *logits, uint32_t n_rows, expert_routes *routes)
{
    (void)b;
    CHECK(n_rows <= routes->rows_max);
    const struct expert_shape *shape = &routes->shape;
    routes->n_rows = n_rows;
    for (uint32_t r = 0; r < n_rows; r++)
        route_row(shape, logits + (size_t)r * shape->n_experts,
                  routes->experts + (size_t)r * shape->n_used,
                  routes->shares + (size_t)r * shape->n_used);
}

static void reference_rms_norm_routed(backend *b, const float *x, const float *gain, float epsilon,
                                      uint32_t d, const expert_routes *routes, activation *out)
{
    (void)b;
    uint32_t n_used = routes->shape.n_used;
    CHECK(d == out->n_cols && routes->n_rows * n_used <= out->rows_max);
    for (uint32_t slot = 0; slot < routes->n_rows * n_used; slot++)
        norm_row(x + (size_t)(slot / n_used) * d, gain, epsilon, d, out->values + (size_t)slot * d);
}

static void reference_matmul_gated_routed(backend *b, weight *const *experts, const activation *a,
                                          const expert_routes *routes, const float *bias,
                                          enum gate_kind gate, activation *out)
{
    for (uint32_t slot = 0; slot < routes->n_rows * routes->shape.n_used; slot++) {
        const weight *w = experts[routes->experts[slot]];
        CHECK(w->is_gated && a->n_cols == w->n_cols && out->n_cols == w->n_outputs);
        const struct gated_terms own = {
            bias != NULL ? bias + (size_t)routes->experts[slot] * 2 * w->n_outputs : NULL, NULL};
        gated_row(of_backend(b), w, a->values + (size_t)slot * a->n_cols, &own, gate,
                  out->values + (size_t)slot * out->n_cols);
    }
}

static void reference_matmul_routed(backend *b, weight *const *experts, const activation *a,
                                    expert_routes *routes, const float *bias, bool accumulate,
                                    float *y)
{
    uint32_t d = routes->shape.d, n_used = routes->shape.n_used;
    float *row = of_backend(b)->rows;
    for (uint32_t r = 0; r < routes->n_rows; r++) {
        for (uint32_t o = 0; o < d; o++) {
            double sum = accumulate ? (double)y[(size_t)r * d + o] : 0;
            for (uint32_t slot = r * n_used; slot < (r + 1) * n_used; slot++) {
                const weight *w = experts[routes->experts[slot]];
                CHECK(!w->is_gated && w->n_outputs == d && a->n_cols == w->n_cols);
                weight_row(w, o, row);
                double value = dot(row, a->values + (size_t)slot * a->n_cols, w->n_cols);
                if (bias != NULL)
                    value += (double)bias[(size_t)routes->experts[slot] * d + o];
                sum += (double)routes->shares[slot] * value;
            }
            y[(size_t)r * d + o] = (float)sum;
        }
    }
}

/* --- encoders --- */

static void reference_embed_add(backend *b, const weight *table, const int32_t *ids,
                                uint32_t n_rows, float *x)
{
    float *row = of_backend(b)->rows;
    for (uint32_t r = 0; r < n_rows; r++) {
        CHECK(ids[r] >= 0 && (uint32_t)ids[r] < table->n_outputs);
        weight_row(table, (uint32_t)ids[r], row);
        for (uint32_t c = 0; c < table->n_cols; c++)
            x[(size_t)r * table->n_cols + c] += row[c];
    }
}

static void reference_layer_norm(backend *b, float *x, const float *gain, const float *bias,
                                 float epsilon, uint32_t n_rows, uint32_t d, activation *out)
{
    (void)b;
    CHECK(d == out->n_cols && n_rows <= out->rows_max);
    for (uint32_t r = 0; r < n_rows; r++) {
        float *row = x + (size_t)r * d;
        double mean = 0, variance = 0;
        for (uint32_t c = 0; c < d; c++)
            mean += (double)row[c] / d;
        for (uint32_t c = 0; c < d; c++)
            variance += ((double)row[c] - mean) * ((double)row[c] - mean) / d;
        for (uint32_t c = 0; c < d; c++) {
            double normed = ((double)row[c] - mean) / sqrt(variance + (double)epsilon);
            row[c] = (float)(normed * (double)gain[c] + (double)bias[c]);
            out->values[(size_t)r * d + c] = row[c];
        }
    }
}

static void reference_activate(backend *b, const float *y, uint32_t n_rows, enum gate_kind kind,
                               activation *out)
{
    (void)b;
    CHECK(n_rows <= out->rows_max && kind != GATE_SILU_CLAMPED);
    for (size_t i = 0; i < (size_t)n_rows * out->n_cols; i++)
        out->values[i] = (float)gate_value(kind, (double)y[i], 1.0);
}

static double score_full(const float *query, const float *key, const struct attention_shape *shape)
{
    return dot(query, key, shape->d_head) * (double)shape->scale;
}

/* One query against the keys and values of rows [first, end). */
static void attend_full(const float *qkv, const struct attention_shape *shape, uint32_t row,
                        uint32_t head, uint32_t first, uint32_t end, float *out)
{
    uint32_t d = shape->d_head, kv_head = head / (shape->n_heads / shape->n_kv_heads);
    size_t width = (size_t)(shape->n_heads + 2 * shape->n_kv_heads) * d;
    size_t key = (size_t)(shape->n_heads + kv_head) * d;
    size_t value = key + (size_t)shape->n_kv_heads * d;
    const float *query = qkv + row * width + (size_t)head * d;
    double highest = -INFINITY, total = 0;
    for (uint32_t i = first; i < end; i++)
        highest = fmax(highest, score_full(query, qkv + i * width + key, shape));
    double sums[HEAD_WIDTH_MAX] = {0};
    for (uint32_t i = first; i < end; i++) {
        double share = exp(score_full(query, qkv + i * width + key, shape) - highest);
        total += share;
        for (uint32_t c = 0; c < d; c++)
            sums[c] += share * (double)qkv[i * width + value + c];
    }
    for (uint32_t c = 0; c < d; c++)
        out[c] = (float)(sums[c] / total);
}

static void reference_attention_full(backend *b, const float *qkv,
                                     const struct attention_shape *shape, const uint32_t *row_start,
                                     uint32_t n_sequences, float *scratch, activation *out)
{
    (void)b, (void)scratch;
    for (uint32_t s = 0; s < n_sequences; s++) {
        uint32_t first = row_start[s], end = row_start[s + 1];
        CHECK(end <= out->rows_max && shape->d_head <= HEAD_WIDTH_MAX);
        for (uint32_t r = first; r < end; r++)
            for (uint32_t h = 0; h < shape->n_heads; h++)
                attend_full(qkv, shape, r, h, first, end,
                            out->values + (size_t)r * out->n_cols + (size_t)h * shape->d_head);
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
    .matmul_low_rank = reference_matmul_low_rank,
    .rms_norm_add = reference_rms_norm_add,
    .soft_cap = reference_soft_cap,
    .routes_create = reference_routes_create,
    .routes_destroy = reference_routes_destroy,
    .routes_slots_max = reference_routes_slots_max,
    .route = reference_route,
    .rms_norm_routed = reference_rms_norm_routed,
    .matmul_gated_routed = reference_matmul_gated_routed,
    .matmul_routed = reference_matmul_routed,
    .rope_kv_append = reference_rope_kv_append,
    .attention = reference_attention,
    .embed_add = reference_embed_add,
    .layer_norm = reference_layer_norm,
    .activate = reference_activate,
    .attention_full = reference_attention_full,
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
