#ifndef PENSTOCK_KERNELS_BACKEND_H
#define PENSTOCK_KERNELS_BACKEND_H

#include <stdbool.h>
#include <stdint.h>

#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The one table of operations between the engine and a device. The engine never learns what a SIMD register or a
 * CUDA stream is; a backend never learns what a request is. Operations are fused and named for what they do to the
 * rows of one step's batch. `reference` (plain C, scalar float) is the oracle; `cpu` and `cuda` are compared with it.
 *
 * Thread: one step thread calls everything here. Operations are asynchronous in principle (a GPU queues them);
 * `synchronize` waits. Device pointers come from `allocate` and are only touched by operations, `upload` and `download`,
 * unless `memory_is_host`.
 *
 * Letters: n_rows = rows (tokens) of the step, d = model width, d_head, n_heads (query), n_kv_heads, n_cols = inputs of a
 * matrix, n_outputs = its output features. All float buffers are f32, row-major. */

#define KV_BLOCK_TOKENS 16u

/* The numbers of GGUF's tensor types, so that a file's number is ours (ggml's enum ggml_type). */
enum tensor_type {
    TENSOR_F32 = 0,
    TENSOR_F16 = 1,
    TENSOR_Q4_0 = 2,
    TENSOR_Q4_1 = 3,
    TENSOR_Q5_0 = 6,
    TENSOR_Q5_1 = 7,
    TENSOR_Q8_0 = 8,
    TENSOR_Q4_K = 12,
    TENSOR_Q5_K = 13,
    TENSOR_Q6_K = 14,
    TENSOR_BF16 = 30,
    TENSOR_MXFP4 = 39,
    TENSOR_F8_E4M3 = 62 /* ours: no GGUF file has it; see tensor_source */
};
#define TENSOR_TYPE_COUNT 63u

/* Elements and bytes of one block of a type; false for a type that is not one of the above. */
bool tensor_type_block(enum tensor_type type, uint32_t *elements, uint32_t *bytes);
const char *tensor_type_name(enum tensor_type type);
bool tensor_type_is_float(enum tensor_type type); /* else: codes */

/* A matrix as the file holds it: n_outputs rows of n_cols elements, row-major, in `type`'s blocks. Borrowed (mapped). */
struct tensor_source {
    enum tensor_type type;
    const void *data;
    uint32_t n_outputs;
    uint32_t n_cols; /* a multiple of the type's block */
    /* F8_E4M3 only: what the elements are multiplied with, one factor for each part of scale_outputs rows and scale_cols
     * columns (of which the last in each direction may be cut). Row-major, borrowed as the data. */
    const float *scales;
    uint32_t scale_outputs, scale_cols; /* > 0; scale_cols a multiple of 32 or at least n_cols */
};

/* Writes elements [first, first + count) of row `row` as f32; first and count multiples of the type's block. The plain C
 * definition of every format: the oracle that repacked kernels are compared with. */
void tensor_dequantise(const struct tensor_source *source, uint32_t row, uint32_t first,
                       uint32_t count, float *out);

/* Floats of `scales`. */
static inline uint64_t tensor_scale_count(const struct tensor_source *source)
{
    return (((uint64_t)source->n_outputs + source->scale_outputs - 1) / source->scale_outputs) *
           (((uint64_t)source->n_cols + source->scale_cols - 1) / source->scale_cols);
}

/* A matrix in the backend's own layout (repacked once, never blown up to floats), made from one or more sources stacked
 * along their outputs: Q, K and V are one weight, gate and up are one. Sources may differ in type. */
typedef struct weight weight;

/* Input rows of a product in the form the weight wants (int8 codes, scales and sums; or f32). Made by a norm, by
 * attention or by a gated activation; read by matmul. */
typedef struct activation activation;

/* The paged cache of all layers. */
typedef struct kv_store kv_store;

typedef struct backend backend;

struct communicator;
struct communicator_place;

enum gate_kind {
    GATE_SILU,
    GATE_GELU_TANH,
    GATE_GELU_ERF,
    /* gpt-oss: g and u cut to at most 7 (u to at least -7), then g * sigmoid(1.702 g) * (u + 1) */
    GATE_SILU_CLAMPED
};
#define GATE_CLAMP 7.0f
#define GATE_ALPHA 1.702f

/* RoPE as one table: the engine precomputes per pair index i of d_rope/2 the angular frequency with all scaling (linear,
 * NTK, YaRN, llama3) already in it, and the YaRN attention factor as `magnitude`. */
struct rope_table {
    const float *frequencies; /* [d_rope / 2], host memory, borrowed for the backend's life */
    uint32_t d_rope;          /* <= d_head; the rest of the head passes through */
    float magnitude;          /* 1 without YaRN */
    /* pairs (2i, 2i+1) as llama GGUF files permute; else (i, i + d_rope/2), NeoX */
    bool is_interleaved;
};

/* What is added to the gate's and the up projection's products before they are joined. Device, the gate's first; each
 * may be NULL. */
struct gated_terms {
    const float *bias; /* [2 * n_outputs] */
    const float *rows; /* [n_rows, 2 * n_outputs] */
};

/* Where the rows of a step stand. Sequences are contiguous row ranges in the order of the batch: sequence s owns rows
 * [row_start[s], row_start[s+1]). A row at position p attends to positions 0..p of its own sequence, all of which
 * are in the cache when attention runs (kv_append of the same step included). Host arrays, valid until synchronize. */
struct step_batch {
    uint32_t n_rows;
    uint32_t n_sequences;
    const uint32_t *row_start;    /* [n_sequences + 1] */
    const uint32_t *row_position; /* [n_rows] */
    const uint32_t *row_sequence; /* [n_rows] */
    const uint32_t *block_tables; /* [n_sequences, block_table_stride] physical block ids */
    uint32_t block_table_stride;
};

struct attention_shape {
    uint32_t n_heads, n_kv_heads, d_head;
    float scale;     /* usually 1 / sqrt(d_head) */
    float soft_cap;  /* 0: none; else scores = cap * tanh(scores / cap) */
    uint32_t window; /* 0: all; else only the last `window` positions */
    /* What a layer adds; device vectors, NULL: it does not. */
    const float
        *sinks; /* [n_heads]: a score that takes its share of the softmax and has no value */
    const float *query_gain, *key_gain; /* [d_head]: RMS norm of each head before it is rotated */
    float gain_epsilon;
};

/* A mixture of experts: each row goes to the n_used experts whose logits are highest (the lower number among equals). */
enum router_kind {
    ROUTER_SHARES,        /* shares are the softmax over all experts */
    ROUTER_SHARES_NORMED, /* and then made to sum to 1: the softmax over the chosen ones */
};

struct expert_shape {
    uint32_t n_experts, n_used; /* n_used <= EXPERTS_USED_MAX */
    uint32_t d;                 /* outputs of an expert */
    enum router_kind router;
    /* The experts that are here, where ranks share them out: those outside of [first_held, first_held + held_count) get no
     * slots, their weights are NULL, and what they would add is left out. held_count 0: all of them are here. */
    uint32_t first_held, held_count;
};
#define EXPERTS_USED_MAX 32u

static inline bool expert_is_held(const struct expert_shape *shape, uint32_t expert)
{
    return shape->held_count == 0 ||
           (expert >= shape->first_held && expert - shape->first_held < shape->held_count);
}

/* Which experts the rows of a step go to, with which share. A row has a slot in the expert's order for each of them. */
typedef struct expert_routes expert_routes;

#define ATTENTION_FULL_ROWS_MAX 16384u

/* A low-rank change of a product's weight (LoRA, Hu et al. 2021): w + up^T down, its scale already in `up`. */
struct low_rank {
    const float *down; /* device, [rank, n_cols] */
    const float *up;   /* device, [rank, n_outputs] */
    uint32_t rank, n_cols, n_outputs;
};

/* Rows that have changes: of the batch, and each one's number among the changes. Device, [n_rows]. */
struct low_rank_rows {
    const uint32_t *rows, *changes;
    uint32_t n_rows;
};

/* What an element of a key or value is. INT8: code * scale; each head's key and value of each token has its own scale,
 * f32, its largest magnitude / 127, and code = round(element * 127 / that magnitude). Keys (after RoPE) are first turned
 * by a Walsh-Hadamard transform, normalised so that it is orthogonal, of each group of kv_rotation_size elements, and
 * queries with them: their products stay, but a magnitude that few elements of every key have, and that would take
 * the others' precision, is spread over all (Ashkboos et al. 2024, QuaRot). It halves the noise of keys; values have no
 * such elements, and turning them gains nothing (bench/NOTES.md). */
enum kv_type {
    KV_F16,
    KV_INT8,
    /* OCP E4M3 as it is (no scale), beyond its range the largest there is. Not on the CPU paths: 8 bits that are not
     * integers have no instructions there, and int8 with scales is the more exact. */
    KV_FP8,
    KV_TYPE_COUNT
};

const char *kv_type_name(enum kv_type type); /* "f16", "int8", "fp8" */
/* The type called `name`; the default for "auto" and NULL. False: there is none. */
bool kv_type_find(const char *name, enum kv_type *out);

/* A vector with no magnitude above this has codes of zero: the inverse of its scale might not be a finite float. */
#define KV_INT8_LEAST 1e-30f

/* The largest power of two that divides d_head. */
static inline uint32_t kv_rotation_size(uint32_t d_head)
{
    return d_head & (~d_head + 1);
}

struct kv_shape {
    uint32_t n_layers, n_kv_heads, d_head, n_blocks;
    enum kv_type type;
};

/* --- devices that run a step by themselves (memory_is_host false) --- */

/* How many rows the operations of a step are called with. */
struct step_extent {
    uint32_t n_rows, n_logit_rows; /* padded: at least those of the batch */
    /* The operations of the step up to its samples are queued already (a graph of an earlier step of this extent): the
     * caller leaves them out. */
    bool is_replayed;
};

/* A token that the device samples, what comes of it, and what a sequence's samples have in common: device_sampling.h. */
struct device_sample;
struct device_sample_result;
struct device_sampling_state;

/* Room that a device makes once, before its first step. */
struct step_limits {
    uint32_t rows_max, sequences_max, logit_rows_max;
    uint32_t block_table_stride; /* of every step's block tables */
    uint32_t vocabulary;
    uint32_t slots_max; /* sampling slots */
    uint32_t n_heads, d_head;
    uint32_t steps_max; /* that are queued and not waited for, >= 1 */
};

/* A weight's bytes as weight_save gave them. */
struct weight_image {
    const struct tensor_source *sources; /* as at weight_create; their data is not read */
    uint32_t source_count;
    bool is_gated;    /* made by weight_create_gated from sources[0] and sources[1] */
    const void *data; /* 64-byte aligned; outlives the weight where memory_is_host */
    uint64_t bytes;
};

/* The device of a backend that has one. */
struct backend_device {
    const char *name;       /* the product's; the backend's */
    uint32_t visible_count; /* devices that this process sees */
};

struct backend_operations {
    const char *name; /* "reference", "cpu-avx2", "cpu-avx512-vnni", "cuda" */

    void (*destroy)(backend *b);

    /* --- memory --- */
    /* What `allocate` gives is the host's memory too: after `synchronize` the caller may read and write it in place,
     * and needs neither `upload` and `download` nor a copy of its own. So on the CPU; not on a GPU. */
    bool memory_is_host;
    /* Zeroed device memory, 64-byte aligned at least. NULL when there is none. */
    void *(*allocate)(backend *b, uint64_t bytes);
    void (*release)(backend *b, void *memory);
    /* For a time without steps: what the first `bytes` of such memory hold is of no use any more, and their pages go back to
     * the system until they are written to. So with activation_discard and kv_discard. A device's go back with `sleep`. All NULL:
     * nothing can go back. */
    void (*discard)(backend *b, void *memory, uint64_t bytes);
    void (*upload)(backend *b, void *device, const void *host, uint64_t bytes);
    void (*download)(backend *b, void *host, const void *device, uint64_t bytes);
    void (*clear)(backend *b, void *device, uint64_t bytes); /* zeroes */
    /* The device's memory goes to others and what it holds, where it was not discarded, to the host's; until wake nothing of the backend
     * may be used, but things may be destroyed. As much as can go, goes. NULL where memory_is_host: discard does it. */
    void (*sleep)(backend *b);
    /* STATUS_OK, also where it did not sleep; STATUS_NO_MEMORY: the device has none left, and it sleeps on; STATUS_INTERNAL. */
    status (*wake)(backend *b);
    status (*synchronize)(
        backend *b); /* STATUS_INTERNAL: the device has failed, the replica must end */

    /* --- weights --- */
    status (*weight_create)(backend *b, const struct tensor_source *sources, uint32_t source_count,
                            weight **out);
    /* Gate and up (same shape) interleaved so that matmul_gated can fuse the gate into the product. */
    status (*weight_create_gated)(backend *b, const struct tensor_source *gate,
                                  const struct tensor_source *up, weight **out);
    void (*weight_destroy)(backend *b, weight *w);
    uint64_t (*weight_bytes)(const weight *w);

    /* --- weights that outlive the process ---
     * What weight_create lays out depends on nothing but its sources, so that a file can keep it. All four are NULL in a
     * backend whose weights are not worth keeping. */
    const char *layout_name; /* short, for file names: "cpu" */
    /* A checksum of what weight_create makes of fixed sources of every type. Another one: bytes that were kept are of no
     * use. STATUS_NO_MEMORY. */
    status (*layout_checksum)(backend *b, uint64_t *out);
    /* Copies bytes [first, first + bytes) of weight_bytes. */
    void (*weight_save)(backend *b, const weight *w, uint64_t first, uint64_t bytes, void *out);
    /* The weight that the image was saved from: read in place where memory_is_host, else copied. Bad bytes give a weight
     * that computes nonsense, no worse. STATUS_INVALID: the length is not that of a weight of these sources; else as
     * weight_create. */
    status (*weight_restore)(backend *b, const struct weight_image *image, weight **out);

    /* Room for `rows_max` input rows of `weight`'s n_cols, in the form `weight` reads. */
    status (*activation_create)(backend *b, const weight *w, uint32_t rows_max, activation **out);
    void (*activation_destroy)(backend *b, activation *a);
    void (*activation_discard)(backend *b, activation *a);

    /* --- cache --- */
    status (*kv_create)(backend *b, const struct kv_shape *shape, kv_store **out);
    void (*kv_destroy)(backend *b, kv_store *kv);
    void (*kv_discard)(backend *b, kv_store *kv);
    uint64_t (*kv_block_bytes)(
        const struct kv_shape *shape); /* one block over all layers, keys and values */
    /* Has the operating system find the memory of a block before a step writes to it; what it holds stays. Not during a
     * step. NULL: nothing to gain. */
    void (*kv_touch_block)(backend *b, kv_store *kv, uint32_t block);
    /* Copies whole blocks (all layers), for copy on write. Pairs do not overlap. */
    void (*kv_copy_blocks)(backend *b, kv_store *kv, const uint32_t *from, const uint32_t *to,
                           uint32_t count);

    /* --- the step --- */
    /* x[r, :] = scale * row tokens[r] of `table`; zeros for a token that the table has no row for, as where another rank
     * has it. x: [n_rows, d]. */
    void (*embed)(backend *b, const weight *table, const int32_t *tokens, uint32_t n_rows,
                  float scale, float *x);

    /* out row r = rms_norm(x[rows ? rows[r] : r]) * gain, in the form of `out`. x: [*, d], gain: [d] (device). */
    void (*rms_norm)(backend *b, const float *x, const float *gain, float epsilon,
                     const uint32_t *rows, uint32_t n_rows, uint32_t d, activation *out);

    /* y[r, o] = sum_c w[o, c] * a[r, c] (+ bias[o]) (+ y[r, o] when accumulate). y: [n_rows, n_outputs]; bias: device, or
     * NULL. */
    void (*matmul)(backend *b, const weight *w, const activation *a, uint32_t n_rows,
                   const float *bias, bool accumulate, float *y);

    /* out[r, o] = gate(g[r, o]) * u[r, o] for a weight made by weight_create_gated. terms: NULL for none. */
    void (*matmul_gated)(backend *b, const weight *w, const activation *a, uint32_t n_rows,
                         const struct gated_terms *terms, enum gate_kind gate, activation *out);

    /* y[r, first_output + o] += sum_k up[k, o] * (down[k] . a row r) for the rows r of `rows`, each with its own of `changes` (host,
     * [change_count]) and in one order whatever else is there. A change of rank 0 leaves its rows as they are; the others are of
     * one shape but for their ranks. y: rows of y_width; scratch: device, [n_rows, the largest rank]. */
    void (*matmul_low_rank)(backend *b, const struct low_rank *changes, uint32_t change_count,
                            const struct low_rank_rows *rows, const activation *a, float *scratch,
                            uint32_t first_output, uint32_t y_width, float *y);

    /* x row r += rms_norm(y row r) * gain. y, x: [n_rows, d]; y is overwritten. */
    void (*rms_norm_add)(backend *b, float *y, const float *gain, float epsilon, uint32_t n_rows,
                         uint32_t d, float *x);

    /* x[i] = cap * tanh(x[i] / cap). */
    void (*soft_cap)(backend *b, float *x, uint64_t count, float cap);

    /* qkv: [n_rows, (n_heads + 2 n_kv_heads) * d_head]. Norms (where the shape has gains) and rotates the queries in place and the keys on their way into the
     * cache; stores keys and values of each row at its position of layer `layer`. */
    void (*rope_kv_append)(backend *b, float *qkv, const struct rope_table *rope,
                           const struct attention_shape *shape, const struct step_batch *batch,
                           kv_store *kv, uint32_t layer);

    /* --- experts --- */
    /* For steps of at most rows_max rows. */
    status (*routes_create)(backend *b, const struct expert_shape *shape, uint32_t rows_max,
                            expert_routes **out);
    void (*routes_destroy)(backend *b, expert_routes *routes);
    /* Rows that an activation of slots needs. */
    uint32_t (*routes_slots_max)(const struct expert_shape *shape, uint32_t rows_max);
    /* Chooses each row's experts. logits: [n_rows, n_experts]. */
    void (*route)(backend *b, const float *logits, uint32_t n_rows, expert_routes *routes);
    /* As rms_norm, each row once for each of its slots: one for each of its experts that is held. */
    void (*rms_norm_routed)(backend *b, const float *x, const float *gain, float epsilon,
                            uint32_t d, const expert_routes *routes, activation *out);
    /* As matmul_gated, each slot by its expert's weight. experts: [n_experts], NULL where not held; bias: [n_experts, 2 *
     * n_outputs]. */
    void (*matmul_gated_routed)(backend *b, weight *const *experts, const activation *a,
                                const expert_routes *routes, const float *bias, enum gate_kind gate,
                                activation *out);
    /* y row r (+)= the sum over r's slots of share * (w a + bias), in the order of their shares. bias: [n_experts, d]. */
    void (*matmul_routed)(backend *b, weight *const *experts, const activation *a,
                          expert_routes *routes, const float *bias, bool accumulate, float *y);

    /* Softmax attention of every row over its sequence's cache (causal). Reads the queries inside qkv; out: rows of
     * n_heads * d_head. */
    void (*attention)(backend *b, const float *qkv, const struct attention_shape *shape,
                      const struct step_batch *batch, const kv_store *kv, uint32_t layer,
                      activation *out);

    /* --- encoders: rows see all rows of their sequence, and no cache --- */
    /* x[r, :] += row ids[r] of `table`. x: [n_rows, n_cols]. */
    void (*embed_add)(backend *b, const weight *table, const int32_t *ids, uint32_t n_rows,
                      float *x);

    /* x row r = (x row r - its mean) / sqrt(its variance + epsilon) * gain + bias, in place, and in the form of `out`.
     * gain, bias: [d] (device). Ba et al. 2016, "Layer Normalization". */
    void (*layer_norm)(backend *b, float *x, const float *gain, const float *bias, float epsilon,
                       uint32_t n_rows, uint32_t d, activation *out);

    /* out[r, c] = the gate's function of y[r, c] (GATE_SILU, GATE_GELU_*). y: [n_rows, out's n_cols]. */
    void (*activate)(backend *b, const float *y, uint32_t n_rows, enum gate_kind kind,
                     activation *out);

    /* Softmax attention of every row over all rows of its own sequence, before and after it. qkv: [n_rows, (n_heads + 2
     * n_kv_heads) * d_head]; sequence s owns rows [row_start[s], row_start[s + 1]); out: rows of n_heads * d_head.
     * scratch: device, [n_rows + 15 * n_sequences, n_kv_heads * d_head]. Of the shape, heads and scale count. At most
     * ATTENTION_FULL_ROWS_MAX rows a sequence. */
    void (*attention_full)(backend *b, const float *qkv, const struct attention_shape *shape,
                           const uint32_t *row_start, uint32_t n_sequences, float *scratch,
                           activation *out);

    /* Runs body(context, i) for i in [0, count) on the compute team, in any order; returns when all are done. For
     * host work on rows (sampling). */
    void (*parallel_for)(backend *b, uint32_t count, void (*body)(void *context, uint32_t index),
                         void *context);

    /* --- steps that are queued, and waited for later. All NULL where memory_is_host ---
     * step_prepare once; then for each step: step_begin, its operations, step_sample, step_end; step_wait in the order of
     * step_end, some steps later. Operations between step_begin and step_end get the batch, tokens and logit rows given to
     * step_begin, and out->n_rows and out->n_logit_rows as extents; they read the copies on the device. Operations may
     * also be called outside of steps, with host arrays (`synchronize` ends their use). */
    status (*step_prepare)(backend *b, const struct step_limits *limits);
    /* Copies the step's description to the device; the arrays are free when it returns. tokens: [n_rows], -1 - k is what
     * sample k of the step before gave. logit_rows: [logit_row_count]. is_usual: the step's operations follow from its
     * extent alone (no adapters, no hidden rows, one row a sequence), and may be kept as a graph. STATUS_OK, STATUS_INTERNAL. */
    status (*step_begin)(backend *b, const struct step_batch *batch, const int32_t *tokens,
                         const uint32_t *logit_rows, uint32_t logit_row_count, bool is_usual,
                         struct step_extent *out);
    /* Samples `count` tokens (<= logit rows) of logits [*, vocabulary]; never left out. masks: host, rows of (vocabulary + 31) / 32 words,
     * bit t % 32 of word t / 32 allows token t; copied. NULL: no sample has one. mask_count: its rows. */
    void (*step_sample)(backend *b, const float *logits, const struct device_sample *samples,
                        uint32_t count, const uint32_t *masks, uint32_t mask_count);
    /* Nothing is waited for. ticket: for step_wait. */
    status (*step_end)(backend *b, uint64_t *ticket);
    /* Blocks until that step is done. results: [count] of its step_sample, valid until steps_max further steps have begun. STATUS_INTERNAL:
     * the device has failed, nothing of the step may be used. */
    status (*step_wait)(backend *b, uint64_t ticket, const struct device_sample_result **results);
    /* Time that the device was at steps which were waited for: from a step's first to its last queued work. */
    uint64_t (*device_busy_ns)(backend *b);
    /* Queued: for samples of later steps. STATUS_OK, STATUS_INTERNAL. */
    status (*sampling_state_set)(backend *b, uint32_t slot,
                                 const struct device_sampling_state *state);
    /* Bytes of the device's memory, and those nobody has taken. */
    status (*memory_info)(backend *b, uint64_t *total, uint64_t *available);
    void (*device_describe)(const backend *b, struct backend_device *out);
    /* Pinned host memory, zeroed. NULL when there is none. */
    void *(*host_allocate)(backend *b, uint64_t bytes);
    void (*host_release)(backend *b, void *memory);
    /* Queued copies of whole blocks to and from pinned memory, an image of kv_block_bytes each. A save reads what steps queued before
     * it wrote, and steps queued after it may write those blocks; a load is there for steps queued after it. kv_settle
     * waits for all saves and loads: then `host` may be read, written and given back. */
    void (*kv_save_blocks)(backend *b, const kv_store *kv, const uint32_t *blocks, uint32_t count,
                           void *host);
    void (*kv_load_blocks)(backend *b, kv_store *kv, const uint32_t *blocks, uint32_t count,
                           const void *host);
    status (*kv_settle)(backend *b);

    /* --- ranks (communicator.h). NULL where the host's kind of communicator does --- */
    /* Fills id[COMMUNICATOR_ID_BYTES] for a group of ranks. STATUS_NOT_FOUND: its library is not there, with a note. */
    status (*communicator_id)(uint8_t *id, struct error_note *note);
    /* Returns when all ranks of the id have called it. STATUS_NO_MEMORY, STATUS_INTERNAL, with a note. */
    status (*communicator_open)(backend *b, const struct communicator_place *place,
                                struct communicator **out, struct error_note *note);
};

/* Every backend instance begins with its table. */
struct backend {
    const struct backend_operations *operations;
};

/* AVX_VNNI: 256-bit vectors with the int8 dot product of client CPUs. An AVX-512 CPU without VNNI takes AVX2. */
enum backend_path {
    BACKEND_AUTO,
    BACKEND_REFERENCE,
    BACKEND_AVX2,
    BACKEND_AVX_VNNI,
    BACKEND_AVX512_VNNI,
    BACKEND_AMX,
    BACKEND_CUDA,          /* libpenstock-cuda.so */
    BACKEND_CUDA_EMULATED, /* libpenstock-cuda-emulated.so: the same kernels on the host, for tests; slow */
    BACKEND_CPU            /* the best that this CPU can run */
};

struct backend_options {
    enum backend_path path; /* AUTO: as CPU; who may have a device asks for it (device_choice.h) */
    uint32_t threads; /* compute team incl. the step thread; 0: the cores this process may run on */
    uint32_t device;  /* CUDA: which of the visible devices */
};

/* STATUS_UNSUPPORTED when this CPU cannot run `path`; STATUS_NOT_FOUND when a device's library or the device is not there. The
 * calling thread becomes the step thread. */
NODISCARD status backend_open(const struct backend_options *options, backend **out,
                              struct error_note *note);
void backend_close(backend *b); /* accepts NULL */

/* Bytes of a matrix in the CPU paths' layout, for plans made before there is a backend. `source`'s data is not read. 0: they
 * do not take its type or shape. */
uint64_t backend_layout_bytes(const struct tensor_source *source);

/* "avx512-vnni" etc. */
const char *backend_path_name(enum backend_path path);
/* The path of this name; NULL is "auto". False: there is none. */
bool backend_path_find(const char *name, enum backend_path *out);
/* For tests that run every path this CPU can run. */
bool backend_path_is_supported(enum backend_path path);

#ifdef __cplusplus
}
#endif

#endif
