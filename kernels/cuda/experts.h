#ifndef PENSTOCK_KERNELS_CUDA_EXPERTS_H
#define PENSTOCK_KERNELS_CUDA_EXPERTS_H

#include <stdbool.h>
#include <stdint.h>

#include "activation_view.h"
#include "backend.h"
#include "runtime/device_runtime.h"
#include "weights.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Mixtures of experts, wholly on the device: the host knows how many rows there are and nothing of where they go, so that
 * each launch has the same grid whatever the router says, and can be kept in a graph.
 *
 * A row and an expert it goes to meet in a slot. Slots are numbered by expert, those of one expert in the order of rows, without
 * gaps: an activation of slots is the rows that the experts multiply. Experts' products are the tensor-core tiles of
 * tile_product.h at every number of rows (they read bf16, of F16 weights f16, never codes), with their order of summation:
 * what a row gives does not depend on the rows beside it.
 *
 * All pointers are device pointers; launches are queued on the stream and capturable. */

#define EXPERTS_MAX 1024u

/* A pair of row and expert that has no slot: the row is padding, or the expert is held by another rank. */
#define EXPERT_SLOT_NONE UINT32_MAX

/* Where the rows of a step go, in one run of device memory. A plain value: kernels take it as an argument. */
struct expert_routes_view {
    struct expert_shape shape;
    uint32_t rows_max;
    uint32_t *experts; /* [rows_max, n_used] best first; EXPERT_SLOT_NONE where there is no slot */
    float *shares;     /* as experts */
    uint32_t *slots;   /* as experts: where row and expert meet, or EXPERT_SLOT_NONE */
    uint32_t *starts;  /* [n_experts + 1]: expert e has slots [starts[e], starts[e + 1]) */
    float *products;   /* [slots_max, d] of experts_product_launch */
};

/* Slots that rows_max rows can have: rows that an activation of slots needs. */
uint32_t expert_slots_max(const struct expert_shape *shape, uint32_t rows_max);
/* Bytes of a view's memory, for steps of at most rows_max rows. */
uint64_t expert_routes_bytes(const struct expert_shape *shape, uint32_t rows_max);
/* The view of memory at device address `base`, 256-byte aligned. It needs no initial value. */
struct expert_routes_view expert_routes_place(const struct expert_shape *shape, uint32_t rows_max,
                                              void *base);

/* Chooses each row's experts, and gives them slots. Two kernels. */
struct expert_route_args {
    const float *logits; /* [n_rows, n_experts] */
    uint32_t n_rows;
    const uint32_t
        *row_count; /* rows from this one on are padding and get no slots; NULL: there are none */
    struct expert_routes_view routes;
};
void expert_route_launch(device_stream *stream, const struct expert_route_args *args);

/* out row slots[r, k] = rms_norm(x row r) * gain, for all k. */
struct expert_norm_args {
    const float *x, *gain; /* [n_rows, d], [d] */
    float epsilon;
    uint32_t n_rows, d; /* as routed */
    struct expert_routes_view routes;
    struct activation_view out;
};
void expert_norm_launch(device_stream *stream, const struct expert_norm_args *args);

/* The experts' weights: parts[e * part_count + i] is part i of expert e, in device memory. All have the shape and forms of `like`.
 * Those that are not held are never read. */
struct expert_weights {
    struct weight_view like; /* its parts' pointers are not read */
    const struct weight_part *parts;
};

/* out[s, o] = gate(g) u of slot s by its expert's weight, which is gated. */
struct expert_gated_args {
    struct expert_weights w;
    struct activation_view a;
    uint32_t n_rows;   /* as routed: rows, not slots */
    const float *bias; /* [n_experts, 2 * n_outputs], or NULL */
    enum gate_kind gate;
    struct expert_routes_view routes;
    struct activation_view out; /* rows of n_outputs / 2 */
};
void expert_gated_launch(device_stream *stream, const struct expert_gated_args *args);

/* y row r (+)= the sum over r's slots of share * (w a + bias), in the order of their shares. Two kernels. */
struct expert_product_args {
    struct expert_weights w;
    struct activation_view a;
    uint32_t n_rows;   /* as routed */
    const float *bias; /* [n_experts, d], or NULL */
    struct expert_routes_view routes;
    bool accumulate;
    float *y; /* [n_rows, d] */
};
void expert_product_launch(device_stream *stream, const struct expert_product_args *args);

#ifdef __cplusplus
}
#endif

#endif
