#ifndef PENSTOCK_KERNELS_CUDA_BACKEND_CUDA_BACKEND_H
#define PENSTOCK_KERNELS_CUDA_BACKEND_CUDA_BACKEND_H

#include <stddef.h>

#include "activation_view.h"
#include "attention.h"
#include "backend.h"
#include "cache.h"
#include "cuda_graphs.h"
#include "cuda_step.h"
#include "experts.h"
#include "runtime/device_runtime.h"
#include "weight_pack.h"
#include "weights.h"

/* What the files of the device's backend share. It is plain C over device_runtime.h and the kernels' launch functions, and
 * the same for both runtimes.
 *
 * All work is queued on one stream, so that operations follow one another as the engine calls them; copies of cache blocks to
 * and from the host have a stream of their own. Nothing is waited for but where backend.h says so.
 *
 * Memory: what the engine allocates; weights; caches; and scratch that one operation needs at a time, made as large as
 * the largest use when weights, activations and caches are made, never in a step. Whatever gives memory back drops the graphs,
 * since they hold addresses.
 *
 * Thread: the step thread. */

/* Products of at most PRODUCT_FEW_ROWS rows read a weight once through the few-row kernels, products of up to this many through
 * tensor-core tiles; above, the weight is made 16 bits wide and multiplied by cuBLASLt: from some 64 rows on that costs less
 * than tiles that are not as good at it (a product of 16-bit weights is bound by memory up to about 165 rows). */
#define TILE_ROWS_MAX 64u

/* A product of many rows takes the weight's outputs in runs that fit in here, widened to 16 bits. */
#define WIDE_WEIGHT_BYTES (64u << 20)

/* Host memory through which weights go to the device, in pieces of WEIGHT_PIECE_BYTES or more. */
struct staging {
    uint8_t *memory; /* pinned; two groups of `pieces` pieces */
    uint64_t piece_bytes;
    uint32_t pieces;
    device_event *copied[2]; /* owned; one a group */
};

/* Small arrays of the host that an operation needs on the device: written one after the other into pinned memory and copied
 * to the same place of a device buffer. Segments take turns; one is written to again when its copies have run. */
#define LOOSE_SEGMENTS 4u
struct loose_ring {
    uint8_t *pinned, *device; /* owned; LOOSE_SEGMENTS * segment_bytes */
    device_event *copied[LOOSE_SEGMENTS];
    uint64_t segment_bytes;
    uint32_t segment;
    uint64_t used; /* of the segment */
};

/* Scratch of one kind of operation: device memory that only grows. */
struct scratch {
    void *memory;
    uint64_t bytes;
};

#define ROPE_TABLES_MAX 64u
struct rope_copies {
    float *device;                    /* owned; [ROPE_TABLES_MAX, ROPE_HEAD_MAX / 2] */
    float *host;                      /* owned; the same */
    uint32_t d_rope[ROPE_TABLES_MAX]; /* 0: free */
    uint32_t next;                    /* to be overwritten */
};

/* The parts of the weights of one array of experts. */
struct expert_table {
    weight *const *experts; /* whose array it is; borrowed */
    struct weight_part *parts;
    struct expert_table *next;
};

struct cuda_backend {
    struct backend base;
    struct backend_operations operations; /* with the path's name */
    device *device;
    device_stream *stream, *copy_stream;
    struct team *team;
    uint32_t multiprocessors;
    struct staging staging;
    struct loose_ring loose;
    struct rope_copies ropes;
    struct expert_table *expert_tables;
    /* rows_max and n_outputs of the largest activation and gated weight so far */
    uint64_t activation_rows_max, gated_outputs_max;
    struct scratch wide_weight, gated, tiles, partials;
    struct cuda_step step;
    struct cuda_graphs graphs;
    uint32_t trash_block;              /* of the last cache that was made */
    struct block_copies *block_copies; /* owned; NULL before the first */
    bool has_told;                     /* the log says why the device failed */
};

struct weight {
    struct weight_layout layout;
    struct weight_view view;
    void *memory;                        /* owned */
    bool takes_tiles, takes_gated_tiles; /* tile_product.h has kernels for it */
};

struct activation {
    struct activation_view view; /* all its forms; owned as one block: memory */
    void *memory;
    uint32_t rows_max;
    bool takes_tiles; /* codes are for PRODUCT_FEW_ROWS rows at most, more are multiplied as bf16 */
    bool reads_bf16;  /* few rows too: a part of the weight is BF16 or F8 */
    uint32_t n_rows;  /* of the last that were written: they decide in which forms they are */
};

struct kv_store {
    struct kv_pages pages;
    void *memory; /* owned */
};

struct expert_routes {
    struct expert_routes_view view;
    void *memory;    /* owned */
    uint32_t n_rows; /* of the last route */
};

static inline struct cuda_backend *of_cuda(backend *b)
{
    return (struct cuda_backend *)b;
}

/* The rows as they are. */
struct activation_view activation_read(const activation *a);
/* To be written: n_rows rows in the forms that products of so many rows read; of slots in those that experts read. */
struct activation_view activation_write(activation *a, uint32_t n_rows);
struct activation_view activation_write_slots(activation *a);
/* The rows are multiplied by the few-row kernels. */
bool activation_is_few(const activation *a);

/* `result`, and, when it is the device's failure, the reason in the log, once. */
status cuda_told(struct cuda_backend *b, status result);

/* cuda_memory.c */
NODISCARD status memory_open(struct cuda_backend *b);
void memory_close(struct cuda_backend *b);
/* A copy of `bytes` bytes of the host's on the device, until the operations queued now have run. `host` is free at once. */
const void *loose_copy(struct cuda_backend *b, const void *host, uint64_t bytes);
/* Room of at least `bytes`; not while a graph is captured. */
NODISCARD status scratch_reserve(struct cuda_backend *b, struct scratch *scratch, uint64_t bytes);
void *cuda_allocate(backend *b, uint64_t bytes);
void cuda_release(backend *b, void *memory);
void cuda_discard(backend *b, void *memory, uint64_t bytes);
void cuda_sleep(backend *b);
status cuda_wake(backend *b);
void cuda_upload(backend *b, void *device, const void *host, uint64_t bytes);
void cuda_download(backend *b, void *host, const void *device, uint64_t bytes);
status cuda_synchronize(backend *b);
status cuda_memory_info(backend *b, uint64_t *total, uint64_t *available);
void *cuda_host_allocate(backend *b, uint64_t bytes);
void cuda_host_release(backend *b, void *memory);

/* cuda_weights.c */
void staging_close(struct cuda_backend *b);
status cuda_weight_create(backend *b, const struct tensor_source *sources, uint32_t source_count,
                          weight **out);
status cuda_weight_create_gated(backend *b, const struct tensor_source *gate,
                                const struct tensor_source *up, weight **out);
void cuda_weight_destroy(backend *b, weight *w);
uint64_t cuda_weight_bytes(const weight *w);
status cuda_activation_create(backend *b, const weight *w, uint32_t rows_max, activation **out);
void cuda_activation_destroy(backend *b, activation *a);
void cuda_activation_discard(backend *b, activation *a);

/* cuda_products.c */
void cuda_matmul(backend *b, const weight *w, const activation *a, uint32_t n_rows,
                 const float *bias, bool accumulate, float *y);
void cuda_matmul_gated(backend *b, const weight *w, const activation *a, uint32_t n_rows,
                       const struct gated_terms *terms, enum gate_kind gate, activation *out);
void cuda_matmul_low_rank(backend *b, const struct low_rank *changes, uint32_t change_count,
                          const struct low_rank_rows *rows, const activation *a, float *scratch,
                          uint32_t first_output, uint32_t y_width, float *y);

/* cuda_rows.c */
void cuda_embed(backend *b, const weight *table, const int32_t *tokens, uint32_t n_rows,
                float scale, float *x);
void cuda_embed_add(backend *b, const weight *table, const int32_t *ids, uint32_t n_rows, float *x);
void cuda_rms_norm(backend *b, const float *x, const float *gain, float epsilon,
                   const uint32_t *rows, uint32_t n_rows, uint32_t d, activation *out);
void cuda_rms_norm_add(backend *b, float *y, const float *gain, float epsilon, uint32_t n_rows,
                       uint32_t d, float *x);
void cuda_soft_cap(backend *b, float *x, uint64_t count, float cap);
void cuda_layer_norm(backend *b, float *x, const float *gain, const float *bias, float epsilon,
                     uint32_t n_rows, uint32_t d, activation *out);
void cuda_activate(backend *b, const float *y, uint32_t n_rows, enum gate_kind kind,
                   activation *out);

/* cuda_cache.c */
uint64_t cuda_kv_block_bytes(const struct kv_shape *shape);
status cuda_kv_create(backend *b, const struct kv_shape *shape, kv_store **out);
void cuda_kv_destroy(backend *b, kv_store *kv);
void cuda_kv_discard(backend *b, kv_store *kv);
void cuda_kv_copy_blocks(backend *b, kv_store *kv, const uint32_t *from, const uint32_t *to,
                         uint32_t count);
struct kv_layer cuda_kv_layer(const kv_store *kv, uint32_t layer);

/* cuda_blocks.c */
void block_copies_close(struct cuda_backend *b);
void block_copies_forget(struct cuda_backend *b);
void cuda_kv_save_blocks(backend *b, const kv_store *kv, const uint32_t *blocks, uint32_t count,
                         void *host);
void cuda_kv_load_blocks(backend *b, kv_store *kv, const uint32_t *blocks, uint32_t count,
                         const void *host);
status cuda_kv_settle(backend *b);

/* cuda_ranks.c */
status cuda_communicator_id(uint8_t *id, struct error_note *note);
status cuda_communicator_open(backend *b, const struct communicator_place *place,
                              struct communicator **out, struct error_note *note);

/* cuda_attention.c */
/* Room for the partial results of all steps within the limits. */
NODISCARD status attention_reserve(struct cuda_backend *b, const struct step_limits *limits);
void cuda_rope_kv_append(backend *b, float *qkv, const struct rope_table *rope,
                         const struct attention_shape *shape, const struct step_batch *batch,
                         kv_store *kv, uint32_t layer);
void cuda_attention(backend *b, const float *qkv, const struct attention_shape *shape,
                    const struct step_batch *batch, const kv_store *kv, uint32_t layer,
                    activation *out);
void cuda_attention_full(backend *b, const float *qkv, const struct attention_shape *shape,
                         const uint32_t *row_start, uint32_t n_sequences, float *scratch,
                         activation *out);

/* cuda_experts.c */
void expert_tables_clear(struct cuda_backend *b);
status cuda_routes_create(backend *b, const struct expert_shape *shape, uint32_t rows_max,
                          expert_routes **out);
void cuda_routes_destroy(backend *b, expert_routes *routes);
uint32_t cuda_routes_slots_max(const struct expert_shape *shape, uint32_t rows_max);
void cuda_route(backend *b, const float *logits, uint32_t n_rows, expert_routes *routes);
void cuda_rms_norm_routed(backend *b, const float *x, const float *gain, float epsilon, uint32_t d,
                          const expert_routes *routes, activation *out);
void cuda_matmul_gated_routed(backend *b, weight *const *experts, const activation *a,
                              const expert_routes *routes, const float *bias, enum gate_kind gate,
                              activation *out);
void cuda_matmul_routed(backend *b, weight *const *experts, const activation *a,
                        expert_routes *routes, const float *bias, bool accumulate, float *y);

#endif
