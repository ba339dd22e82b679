#ifndef PENSTOCK_KERNELS_CPU_BACKEND_H
#define PENSTOCK_KERNELS_CPU_BACKEND_H

#include <stdatomic.h>

#include "huge_arena.h"
#include "kernel_table.h"
#include "rope.h"
#include "team.h"

/* The kernels of `path` when this CPU (and the system: saved vector state) can run them, else NULL.
 */
const struct cpu_kernels *cpu_kernels_find(enum backend_path path);

/* `threads` 0: the cores this process may run on. */
NODISCARD status cpu_backend_open(enum backend_path path, uint32_t threads, backend **out);

/* --- private to cpu_*.c --- */

/* Rows of one gated or attention piece, on the stack's behalf: one a member. */
struct member_scratch {
    _Alignas(64) float gate[TILE_FLOATS];
    _Alignas(64) float up[TILE_FLOATS];
    _Alignas(64) float scores[TILE_QUERIES * CHUNK_TOKENS];
    struct query_codes queries[TILE_QUERIES];
    float partials[TILE_QUERIES * PARTIAL_FLOATS(HEAD_MAX)];
    float totals[TILE_QUERIES * PARTIAL_FLOATS(HEAD_MAX)];
};

/* A tile count below which attention is also split along the positions. */
#define SPLIT_TILES_MAX 256u

struct cpu_backend {
    struct backend base;
    struct backend_operations operations; /* base points to it; the name differs by path */
    const struct cpu_kernels *kernels;
    struct team *team;
    struct member_scratch *scratch; /* owned; one a member */
    struct huge_arena arena;
    struct rope_cache rope;
    uint32_t tile_rows_min; /* rows from which gemm_tiles is used; UINT32_MAX: never */

    /* Attention of one step; see cpu_attention.c. */
    uint32_t *tile_start; /* owned; first tile of each sequence, then their count */
    uint32_t rows_max;
    float *split_partials; /* owned; SPLIT_FLOATS */
    uint32_t split_start[SPLIT_TILES_MAX + 1];
    _Atomic uint32_t split_left[SPLIT_TILES_MAX];
};

#define SPLIT_FLOATS ((size_t)2 << 20)

static inline struct cpu_backend *cpu_of(backend *b)
{
    return (struct cpu_backend *)b;
}

static inline uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static inline uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* Grows what depends on the size of a step. */
NODISCARD status cpu_reserve(struct cpu_backend *cpu, uint32_t rows_max, uint32_t d_head);

/* Makes the codes of rows [0, n_rows) from their floats, when somebody reads codes. */
void cpu_quantise(struct cpu_backend *cpu, activation *a, uint32_t n_rows);

/* Shapes and formats of the segments of a zeroed weight, and its bytes; no data yet. STATUS_UNSUPPORTED, STATUS_INVALID. */
NODISCARD status cpu_weight_plan(weight *w, const struct tensor_source *sources,
                                 uint32_t source_count);
/* Points the segments of a planned weight to their parts of `data`. */
void cpu_weight_place(weight *w, uint8_t *data);
/* Makes one weight of two segments a gated one. */
void cpu_weight_set_gated(weight *w);

status cpu_layout_checksum(backend *b, uint64_t *out);
void cpu_weight_save(backend *b, const weight *w, uint64_t first, uint64_t bytes, void *out);
status cpu_weight_restore(backend *b, const struct weight_image *image, weight **out);

void cpu_embed(backend *b, const weight *table, const int32_t *tokens, uint32_t n_rows, float scale,
               float *x);
void cpu_rms_norm(backend *b, const float *x, const float *gain, float epsilon,
                  const uint32_t *rows, uint32_t n_rows, uint32_t d, activation *out);
void cpu_matmul(backend *b, const weight *w, const activation *a, uint32_t n_rows,
                const float *bias, bool accumulate, float *y);
void cpu_matmul_gated(backend *b, const weight *w, const activation *a, uint32_t n_rows,
                      const struct gated_terms *terms, enum gate_kind gate, activation *out);
void cpu_matmul_low_rank(backend *b, const struct low_rank *changes, uint32_t change_count,
                         const struct low_rank_rows *rows, const activation *a, float *scratch,
                         uint32_t first_output, uint32_t y_width, float *y);
void cpu_rms_norm_add(backend *b, float *y, const float *gain, float epsilon, uint32_t n_rows,
                      uint32_t d, float *x);
void cpu_soft_cap(backend *b, float *x, uint64_t count, float cap);
void cpu_rope_kv_append(backend *b, float *qkv, const struct rope_table *rope,
                        const struct attention_shape *shape, const struct step_batch *batch,
                        kv_store *kv, uint32_t layer);
status cpu_routes_create(backend *b, const struct expert_shape *shape, uint32_t rows_max,
                         expert_routes **out);
void cpu_routes_destroy(backend *b, expert_routes *routes);
uint32_t cpu_routes_slots_max(const struct expert_shape *shape, uint32_t rows_max);
void cpu_route(backend *b, const float *logits, uint32_t n_rows, expert_routes *routes);
void cpu_rms_norm_routed(backend *b, const float *x, const float *gain, float epsilon, uint32_t d,
                         const expert_routes *routes, activation *out);
void cpu_matmul_gated_routed(backend *b, weight *const *experts, const activation *a,
                             const expert_routes *routes, const float *bias, enum gate_kind gate,
                             activation *out);
void cpu_matmul_routed(backend *b, weight *const *experts, const activation *a,
                       expert_routes *routes, const float *bias, bool accumulate, float *y);
void cpu_attention(backend *b, const float *qkv, const struct attention_shape *shape,
                   const struct step_batch *batch, const kv_store *kv, uint32_t layer,
                   activation *out);
void cpu_embed_add(backend *b, const weight *table, const int32_t *ids, uint32_t n_rows, float *x);
void cpu_layer_norm(backend *b, float *x, const float *gain, const float *bias, float epsilon,
                    uint32_t n_rows, uint32_t d, activation *out);
void cpu_activate(backend *b, const float *y, uint32_t n_rows, enum gate_kind kind,
                  activation *out);
void cpu_attention_full(backend *b, const float *qkv, const struct attention_shape *shape,
                        const uint32_t *row_start, uint32_t n_sequences, float *scratch,
                        activation *out);
void cpu_parallel_for(backend *b, uint32_t count, void (*body)(void *context, uint32_t index),
                      void *context);

#endif
