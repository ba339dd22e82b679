#ifndef PENSTOCK_REFERENCE_PRIVATE_H
#define PENSTOCK_REFERENCE_PRIVATE_H

#include <stddef.h>

#include "backend.h"

/* What the oracle's files share. Its operations are described in backend.h; each file has one
 * family of them. */

#define SOURCE_COUNT_MAX 8
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

static inline struct reference_backend *of_backend(backend *b)
{
    return (struct reference_backend *)b;
}

static inline double dot(const float *a, const float *b, uint32_t count)
{
    double sum = 0;
    for (uint32_t c = 0; c < count; c++)
        sum += (double)a[c] * b[c];
    return sum;
}

/* Writes all columns of output `output` of `w` (stacked sources) as f32. */
void reference_weight_row(const weight *w, uint32_t output, float *out);

/* One key or value of one head: its elements, or its codes and their scale. */
size_t reference_vector_bytes(const struct kv_shape *shape);
void reference_vector_write(const struct kv_shape *shape, const float *vector, uint8_t *out);
void reference_vector_read(const struct kv_shape *shape, const uint8_t *in, float *vector);
/* A key or query as an int8 cache has it (enum kv_type). */
void reference_vector_rotate(const struct kv_shape *shape, float *head);

void reference_norm_row(const float *in, const float *gain, float epsilon, uint32_t d, float *out);
double reference_gate_value(enum gate_kind kind, double g, double u);
/* Row `in` through a gated weight. */
void reference_gated_row(const struct reference_backend *b, const weight *w, const float *in,
                         const struct gated_terms *terms, enum gate_kind gate, float *out);

/* reference_weights.c */
void reference_weight_destroy(backend *b, weight *w);
NODISCARD status reference_weight_create(backend *b, const struct tensor_source *sources,
                                         uint32_t source_count, weight **out);
NODISCARD status reference_weight_create_gated(backend *b, const struct tensor_source *gate,
                                               const struct tensor_source *up, weight **out);
uint64_t reference_weight_bytes(const weight *w);
void reference_activation_destroy(backend *b, activation *a);
NODISCARD status reference_activation_create(backend *b, const weight *w, uint32_t rows_max,
                                             activation **out);

/* reference_cache.c */
void reference_kv_destroy(backend *b, kv_store *kv);
uint64_t reference_kv_block_bytes(const struct kv_shape *shape);
NODISCARD status reference_kv_create(backend *b, const struct kv_shape *shape, kv_store **out);
void reference_kv_copy_blocks(backend *b, kv_store *kv, const uint32_t *from, const uint32_t *to,
                              uint32_t count);

/* reference_operations.c */
void reference_embed(backend *b, const weight *table, const int32_t *tokens, uint32_t n_rows,
                     float scale, float *x);
void reference_rms_norm(backend *b, const float *x, const float *gain, float epsilon,
                        const uint32_t *rows, uint32_t n_rows, uint32_t d, activation *out);
void reference_matmul(backend *b, const weight *w, const activation *a, uint32_t n_rows,
                      const float *bias, bool accumulate, float *y);
void reference_matmul_gated(backend *b, const weight *w, const activation *a, uint32_t n_rows,
                            const struct gated_terms *terms, enum gate_kind gate, activation *out);
void reference_matmul_low_rank(backend *b, const struct low_rank *changes, uint32_t change_count,
                               const struct low_rank_rows *rows, const activation *a,
                               float *scratch, uint32_t first_output, uint32_t y_width, float *y);
void reference_rms_norm_add(backend *b, float *y, const float *gain, float epsilon, uint32_t n_rows,
                            uint32_t d, float *x);
void reference_soft_cap(backend *b, float *x, uint64_t count, float cap);

/* reference_attention.c */
void reference_rope_kv_append(backend *b, float *qkv, const struct rope_table *rope,
                              const struct attention_shape *shape, const struct step_batch *batch,
                              kv_store *kv, uint32_t layer);
void reference_attention(backend *b, const float *qkv, const struct attention_shape *shape,
                         const struct step_batch *batch, const kv_store *kv, uint32_t layer,
                         activation *out);

/* reference_experts.c */
void reference_routes_destroy(backend *b, expert_routes *routes);
NODISCARD status reference_routes_create(backend *b, const struct expert_shape *shape,
                                         uint32_t rows_max, expert_routes **out);
uint32_t reference_routes_slots_max(const struct expert_shape *shape, uint32_t rows_max);
void reference_route(backend *b, const float *logits, uint32_t n_rows, expert_routes *routes);
void reference_rms_norm_routed(backend *b, const float *x, const float *gain, float epsilon,
                               uint32_t d, const expert_routes *routes, activation *out);
void reference_matmul_gated_routed(backend *b, weight *const *experts, const activation *a,
                                   const expert_routes *routes, const float *bias,
                                   enum gate_kind gate, activation *out);
void reference_matmul_routed(backend *b, weight *const *experts, const activation *a,
                             expert_routes *routes, const float *bias, bool accumulate, float *y);

/* reference_encoder.c */
void reference_embed_add(backend *b, const weight *table, const int32_t *ids, uint32_t n_rows,
                         float *x);
void reference_layer_norm(backend *b, float *x, const float *gain, const float *bias, float epsilon,
                          uint32_t n_rows, uint32_t d, activation *out);
void reference_activate(backend *b, const float *y, uint32_t n_rows, enum gate_kind kind,
                        activation *out);
void reference_attention_full(backend *b, const float *qkv, const struct attention_shape *shape,
                              const uint32_t *row_start, uint32_t n_sequences, float *scratch,
                              activation *out);

#endif
