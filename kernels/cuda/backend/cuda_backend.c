#include "cuda_backend.h"

#include <string.h>

#include "check.h"
#include "cpu/team.h"
#include "log.h"
#include "memory.h"
#include "thread.h"

/* Host threads help with laying out weights and with rows that are sampled on the host: more than a few gain nothing. */
#define THREADS_MAX 16u

struct indices {
    void (*body)(void *context, uint32_t index);
    void *context;
};

static void run_indices(void *context, uint32_t member, uint32_t first, uint32_t count)
{
    const struct indices *indices = context;
    (void)member;
    for (uint32_t i = first; i < first + count; i++)
        indices->body(indices->context, i);
}

static void cuda_parallel_for(backend *b, uint32_t count,
                              void (*body)(void *context, uint32_t index), void *context)
{
    struct indices indices = {body, context};
    team_run(of_cuda(b)->team, count, 1, run_indices, &indices);
}

status cuda_told(struct cuda_backend *b, status result)
{
    if (result == STATUS_INTERNAL && !b->has_told) {
        b->has_told = true;
        log_error("kernels/cuda", "%s failed: %s", device_facts_of(b->device)->name,
                  device_failure(b->device));
    }
    return result;
}

static void cuda_device_describe(const backend *base, struct backend_device *out)
{
    const struct cuda_backend *b = (const struct cuda_backend *)base;
    out->name = device_facts_of(b->device)->name;
    out->visible_count = device_count();
}

static void cuda_destroy(backend *base)
{
    struct cuda_backend *b = of_cuda(base);
    if (b->device != NULL) {
        graphs_drop(b);
        expert_tables_clear(b);
        block_copies_close(b);
        (void)device_stream_synchronize(b->stream);
        step_close(b);
        staging_close(b);
        memory_close(b);
        device_release(b->device, b->ropes.device);
        device_stream_destroy(b->copy_stream);
        device_stream_destroy(b->stream);
        device_close(b->device);
    }
    memory_release(b->ropes.host);
    team_destroy(b->team);
    memory_release(b);
}

static const struct backend_operations cuda_operations = {
    .destroy = cuda_destroy,
    .allocate = cuda_allocate,
    .release = cuda_release,
    .discard = cuda_discard,
    .sleep = cuda_sleep,
    .wake = cuda_wake,
    .upload = cuda_upload,
    .download = cuda_download,
    .synchronize = cuda_synchronize,
    .weight_create = cuda_weight_create,
    .weight_create_gated = cuda_weight_create_gated,
    .weight_destroy = cuda_weight_destroy,
    .weight_bytes = cuda_weight_bytes,
    .activation_create = cuda_activation_create,
    .activation_destroy = cuda_activation_destroy,
    .activation_discard = cuda_activation_discard,
    .kv_create = cuda_kv_create,
    .kv_destroy = cuda_kv_destroy,
    .kv_discard = cuda_kv_discard,
    .kv_block_bytes = cuda_kv_block_bytes,
    .kv_copy_blocks = cuda_kv_copy_blocks,
    .embed = cuda_embed,
    .rms_norm = cuda_rms_norm,
    .matmul = cuda_matmul,
    .matmul_gated = cuda_matmul_gated,
    .matmul_low_rank = cuda_matmul_low_rank,
    .rms_norm_add = cuda_rms_norm_add,
    .soft_cap = cuda_soft_cap,
    .routes_create = cuda_routes_create,
    .routes_destroy = cuda_routes_destroy,
    .routes_slots_max = cuda_routes_slots_max,
    .route = cuda_route,
    .rms_norm_routed = cuda_rms_norm_routed,
    .matmul_gated_routed = cuda_matmul_gated_routed,
    .matmul_routed = cuda_matmul_routed,
    .rope_kv_append = cuda_rope_kv_append,
    .attention = cuda_attention,
    .embed_add = cuda_embed_add,
    .layer_norm = cuda_layer_norm,
    .activate = cuda_activate,
    .attention_full = cuda_attention_full,
    .parallel_for = cuda_parallel_for,
    .step_prepare = cuda_step_prepare,
    .step_begin = cuda_step_begin,
    .step_sample = cuda_step_sample,
    .step_end = cuda_step_end,
    .step_wait = cuda_step_wait,
    .device_busy_ns = cuda_device_busy_ns,
    .sampling_state_set = cuda_sampling_state_set,
    .memory_info = cuda_memory_info,
    .device_describe = cuda_device_describe,
    .host_allocate = cuda_host_allocate,
    .host_release = cuda_host_release,
    .kv_save_blocks = cuda_kv_save_blocks,
    .kv_load_blocks = cuda_kv_load_blocks,
    .kv_settle = cuda_kv_settle,
    .communicator_id = cuda_communicator_id,
    .communicator_open = cuda_communicator_open,
};

static status open_team(struct cuda_backend *b, uint32_t threads)
{
    uint32_t size = threads != 0 ? threads : thread_core_count();
    return team_create(size < THREADS_MAX ? size : THREADS_MAX, &b->team);
}

static status open_ropes(struct cuda_backend *b)
{
    size_t bytes = (size_t)ROPE_TABLES_MAX * ROPE_HEAD_MAX / 2 * sizeof(float);
    b->ropes.host = memory_allocate(bytes);
    b->ropes.device = device_allocate(b->device, bytes);
    return b->ropes.host != NULL && b->ropes.device != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

static status open_parts(struct cuda_backend *b, const struct backend_options *options,
                         struct error_note *note)
{
    status result = device_open(options->device, &b->device, note);
    if (result == STATUS_OK)
        result = open_team(b, options->threads);
    if (result == STATUS_OK)
        result = device_stream_create(b->device, &b->stream);
    if (result == STATUS_OK)
        result = device_stream_create(b->device, &b->copy_stream);
    if (result == STATUS_OK)
        result = memory_open(b);
    return result == STATUS_OK ? open_ropes(b) : result;
}

/* What device_library.c looks for. */
__attribute__((visibility("default"))) status
penstock_cuda_open(const struct backend_options *options, backend **out, struct error_note *note);

status penstock_cuda_open(const struct backend_options *options, backend **out,
                          struct error_note *note)
{
    struct cuda_backend *b = memory_allocate_array(1, sizeof(*b));
    if (b == NULL)
        return STATUS_NO_MEMORY;
    b->operations = cuda_operations;
    b->operations.name = backend_path_name(options->path);
    b->base.operations = &b->operations;
    status result = open_parts(b, options, note);
    if (result != STATUS_OK) {
        cuda_destroy(&b->base);
        return result;
    }
    b->multiprocessors = device_facts_of(b->device)->multiprocessors;
    device_stream_set_overlap(b->stream, true);
    *out = &b->base;
    return STATUS_OK;
}
