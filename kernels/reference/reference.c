/* The oracle backend.
 *
 * Each operation is written as its formula: one row at a time, one output at a time, double sums.
 * The two roundings that belong to the stored state are kept, since a step reads them back:
 * residual rows are f32, keys and values are what the cache's type holds. Nothing here is shared
 * with the fast paths except the definition of the tensor formats (tensor_type.c). */

#include "reference.h"

#include <string.h>

#include "host_memory.h"
#include "memory.h"
#include "reference_private.h"

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
    .clear = host_clear,
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
