/* What encoders do beside: whole sequences at once, no cache. */
#include "reference_private.h"

#include <math.h>

#include "check.h"

void reference_embed_add(backend *b, const weight *table, const int32_t *ids, uint32_t n_rows,
                         float *x)
{
    float *row = of_backend(b)->rows;
    for (uint32_t r = 0; r < n_rows; r++) {
        CHECK(ids[r] >= 0 && (uint32_t)ids[r] < table->n_outputs);
        reference_weight_row(table, (uint32_t)ids[r], row);
        for (uint32_t c = 0; c < table->n_cols; c++)
            x[(size_t)r * table->n_cols + c] += row[c];
    }
}

void reference_layer_norm(backend *b, float *x, const float *gain, const float *bias, float epsilon,
                          uint32_t n_rows, uint32_t d, activation *out)
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

void reference_activate(backend *b, const float *y, uint32_t n_rows, enum gate_kind kind,
                        activation *out)
{
    (void)b;
    CHECK(n_rows <= out->rows_max && kind != GATE_SILU_CLAMPED);
    for (size_t i = 0; i < (size_t)n_rows * out->n_cols; i++)
        out->values[i] = (float)reference_gate_value(kind, (double)y[i], 1.0);
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
    double sums[HEAD_MAX] = {0};
    for (uint32_t i = first; i < end; i++) {
        double share = exp(score_full(query, qkv + i * width + key, shape) - highest);
        total += share;
        for (uint32_t c = 0; c < d; c++)
            sums[c] += share * (double)qkv[i * width + value + c];
    }
    for (uint32_t c = 0; c < d; c++)
        out[c] = (float)(sums[c] / total);
}

void reference_attention_full(backend *b, const float *qkv, const struct attention_shape *shape,
                              const uint32_t *row_start, uint32_t n_sequences, float *scratch,
                              activation *out)
{
    (void)b, (void)scratch;
    for (uint32_t s = 0; s < n_sequences; s++) {
        uint32_t first = row_start[s], end = row_start[s + 1];
        CHECK(end <= out->rows_max && shape->d_head <= HEAD_MAX);
        for (uint32_t r = first; r < end; r++)
            for (uint32_t h = 0; h < shape->n_heads; h++)
                attend_full(qkv, shape, r, h, first, end,
                            out->values + (size_t)r * out->n_cols + (size_t)h * shape->d_head);
    }
}
