/* The CPU backend: life cycle, memory, and the objects that operations work on. All memory is taken
 * when a weight, an activation or a cache is made; operations take none. Device memory is plain
 * memory. */

#include "cpu_backend.h"

#include <string.h>

#include "check.h"
#include "cpu_tiles.h"
#include "host_memory.h"
#include "memory.h"
#include "repack.h"
#include "thread.h"

/* A team larger than any machine we know of. */
#define PAGE_BYTES  4096u /* the smallest there is on x86 */
#define THREADS_MAX 1024u

static uint32_t round_up(uint32_t count, uint32_t unit)
{
    return (count + unit - 1) / unit * unit;
}

static void cpu_destroy(backend *b)
{
    struct cpu_backend *cpu = cpu_of(b);
    memory_release(cpu->scratch);
    team_destroy(cpu->team);
    rope_cache_deinit(&cpu->rope);
    huge_arena_deinit(&cpu->arena);
    memory_release(cpu->tile_start);
    memory_release(cpu->split_partials);
    memory_release(cpu);
}

status cpu_reserve(struct cpu_backend *cpu, uint32_t rows_max, uint32_t d_head)
{
    if (rows_max > cpu->rows_max) {
        uint32_t *tile_start = memory_allocate_array((size_t)rows_max + 1, sizeof(uint32_t));
        if (tile_start == NULL)
            return STATUS_NO_MEMORY;
        memory_release(cpu->tile_start);
        cpu->tile_start = tile_start;
        cpu->rows_max = rows_max;
    }
    return rope_cache_reserve(&cpu->rope, cpu->rows_max, d_head);
}

static void *cpu_allocate(backend *b, uint64_t bytes)
{
    (void)b;
    void *memory = huge_allocate(bytes);
    if (memory != NULL)
        memset(memory, 0, bytes);
    return memory;
}

static void cpu_discard(backend *b, void *memory, uint64_t bytes)
{
    (void)b;
    huge_discard(memory, bytes);
}

static void cpu_weight_destroy(backend *b, weight *w)
{
    if (w == NULL)
        return;
    if (w->slab != NULL)
        huge_arena_release(&cpu_of(b)->arena, w->slab);
    memory_release(w);
}

status cpu_weight_plan(weight *w, const struct tensor_source *sources, uint32_t source_count)
{
    w->n_cols = sources[0].n_cols;
    for (uint32_t i = 0; i < source_count; i++) {
        struct segment *segment = &w->segments[i];
        uint32_t elements, bytes;
        if (!tensor_type_block(sources[i].type, &elements, &bytes) ||
            !repack_format(sources[i].type, &segment->format))
            return STATUS_UNSUPPORTED;
        if (sources[i].n_cols != w->n_cols || w->n_cols == 0 || w->n_cols % elements != 0 ||
            sources[i].n_outputs == 0 || sources[i].n_outputs > INT32_MAX - w->n_outputs)
            return STATUS_INVALID;
        segment->n_cols = w->n_cols;
        segment->first_output = w->n_outputs;
        segment->n_outputs = sources[i].n_outputs;
        segment->n_groups = round_up(sources[i].n_outputs, GROUP_OUTPUTS) / GROUP_OUTPUTS;
        if (segment->format == FORMAT_F8) {
            if (sources[i].scale_cols == 0 || sources[i].scale_outputs == 0)
                return STATUS_INVALID;
            segment->part_cols =
                sources[i].scale_cols < w->n_cols ? sources[i].scale_cols : w->n_cols;
            segment->group_bytes = f8_group_bytes(segment->part_cols, w->n_cols);
            w->needs_floats = true;
        } else if (FORMAT_IS_FLOAT(segment->format)) {
            segment->group_bytes = (size_t)w->n_cols * bytes * GROUP_OUTPUTS;
            w->needs_floats = true;
        } else {
            segment->group_bytes = segment_group_bytes(segment->format, w->n_cols);
            w->needs_codes = true;
            w->needs_spans = w->needs_spans || FORMAT_IS_SCALED(segment->format);
        }
        w->n_outputs += segment->n_outputs;
        w->n_groups += segment->n_groups;
        w->bytes += (segment->n_groups * segment->group_bytes + 63) / 64 * 64;
    }
    w->segment_count = source_count;
    return STATUS_OK;
}

void cpu_weight_place(weight *w, uint8_t *data)
{
    for (uint32_t i = 0; i < w->segment_count; i++) {
        w->segments[i].data = data;
        data += (w->segments[i].n_groups * w->segments[i].group_bytes + 63) / 64 * 64;
    }
}

static status cpu_weight_create(backend *b, const struct tensor_source *sources,
                                uint32_t source_count, weight **out)
{
    CHECK(source_count >= 1 && source_count <= SOURCE_COUNT_MAX);
    struct cpu_backend *cpu = cpu_of(b);
    weight *w = memory_allocate_array(1, sizeof(*w));
    if (w == NULL)
        return STATUS_NO_MEMORY;
    status result = cpu_weight_plan(w, sources, source_count);
    uint8_t *data = NULL;
    if (result == STATUS_OK) {
        data = huge_arena_allocate(&cpu->arena, w->bytes, &w->slab);
        result = data != NULL ? STATUS_OK : STATUS_NO_MEMORY;
    }
    if (result != STATUS_OK) {
        memory_release(w);
        return result;
    }
    cpu_weight_place(w, data);
    for (uint32_t i = 0; i < source_count; i++) {
        repack_segment(cpu->team, &sources[i], &w->segments[i]);
        size_t bytes = w->segments[i].n_groups * w->segments[i].group_bytes;
        memset(w->segments[i].data + bytes, 0, (64 - bytes % 64) % 64); /* it may go into a file */
    }
    *out = w;
    return STATUS_OK;
}

void cpu_weight_set_gated(weight *w)
{
    CHECK(w->segment_count == 2);
    w->is_gated = true;
    w->n_outputs = w->segments[0].n_outputs;
    w->n_groups = w->segments[0].n_groups;
}

static status cpu_weight_create_gated(backend *b, const struct tensor_source *gate,
                                      const struct tensor_source *up, weight **out)
{
    if (gate->n_outputs != up->n_outputs)
        return STATUS_INVALID;
    struct tensor_source sources[2] = {*gate, *up};
    status result = cpu_weight_create(b, sources, 2, out);
    if (result == STATUS_OK)
        cpu_weight_set_gated(*out);
    return result;
}

static uint64_t cpu_weight_bytes(const weight *w)
{
    return w->bytes;
}

static void cpu_activation_destroy(backend *b, activation *a)
{
    (void)b;
    if (a == NULL)
        return;
    memory_release(a->tiles);
    memory_release(a->floats);
    memory_release(a);
}

static size_t activation_tile_bytes(const activation *a)
{
    size_t tiles = (size_t)(round_up(a->rows_max, TILE_ROWS) / TILE_ROWS) * a->n_blocks;
    return tiles * sizeof(struct row_tile);
}

static void cpu_activation_discard(backend *b, activation *a)
{
    (void)b;
    if (a->tiles != NULL)
        huge_discard(a->tiles, activation_tile_bytes(a));
    huge_discard(a->floats, (size_t)a->rows_max * a->float_stride * sizeof(float));
}

/* A row stride that is an odd number of cache lines: with a power of two, the rows of a tile would
 * fall into the same few sets of L1. */
static size_t odd_lines(size_t bytes)
{
    size_t lines = (bytes + 63) / 64;
    return (lines | 1) * 64;
}

static status cpu_activation_create(backend *b, const weight *w, uint32_t rows_max,
                                    activation **out)
{
    activation *a = memory_allocate_array(1, sizeof(*a));
    if (a == NULL)
        return STATUS_NO_MEMORY;
    a->n_cols = w->n_cols;
    a->rows_max = rows_max;
    if (w->needs_codes) {
        a->n_blocks = w->n_cols / BLOCK_COLS;
        a->span_blocks = w->needs_spans ? SPAN_BLOCKS : 1;
        a->tiles = huge_allocate(activation_tile_bytes(a));
    }
    size_t row_bytes = odd_lines(w->n_cols * sizeof(float));
    a->float_stride = row_bytes / sizeof(float);
    a->floats = huge_allocate(rows_max * row_bytes);
    if (a->floats == NULL || (w->needs_codes && a->tiles == NULL) ||
        cpu_reserve(cpu_of(b), rows_max, 0) != STATUS_OK) {
        cpu_activation_destroy(b, a);
        return STATUS_NO_MEMORY;
    }
    *out = a;
    return STATUS_OK;
}

static void cpu_kv_destroy(backend *b, kv_store *kv)
{
    (void)b;
    if (kv == NULL)
        return;
    memory_release(kv->data);
    memory_release(kv);
}

static size_t kv_head_bytes(const struct kv_shape *shape)
{
    return shape->type == KV_INT8 ? KV_INT8_HEAD_BYTES(shape->d_head)
                                  : 2 * sizeof(uint16_t) * KV_BLOCK_TOKENS * shape->d_head;
}

static uint64_t cpu_kv_block_bytes(const struct kv_shape *shape)
{
    return (uint64_t)shape->n_layers * shape->n_kv_heads * kv_head_bytes(shape);
}

static status cpu_kv_create(backend *b, const struct kv_shape *shape, kv_store **out)
{
    CHECK(shape->type < KV_TYPE_COUNT);
    if (shape->type == KV_FP8 || shape->d_head % BLOCK_COLS != 0 || shape->d_head > HEAD_MAX)
        return STATUS_UNSUPPORTED;
    kv_store *kv = memory_allocate_array(1, sizeof(*kv));
    if (kv == NULL)
        return STATUS_NO_MEMORY;
    kv->shape = *shape;
    kv->head_bytes = kv_head_bytes(shape);
    kv->layer_bytes = shape->n_kv_heads * kv->head_bytes;
    kv->data = huge_allocate(cpu_kv_block_bytes(shape) * shape->n_blocks);
    if (kv->data == NULL || cpu_reserve(cpu_of(b), 1, shape->d_head) != STATUS_OK) {
        cpu_kv_destroy(b, kv);
        return STATUS_NO_MEMORY;
    }
    *out = kv;
    return STATUS_OK;
}

static void cpu_kv_discard(backend *b, kv_store *kv)
{
    (void)b;
    huge_discard(kv->data, cpu_kv_block_bytes(&kv->shape) * kv->shape.n_blocks);
}

static void cpu_kv_touch_block(backend *b, kv_store *kv, uint32_t block)
{
    (void)b;
    CHECK(block < kv->shape.n_blocks);
    uint64_t bytes = cpu_kv_block_bytes(&kv->shape);
    volatile char *data = (volatile char *)kv_head_data(kv, 0, block, 0);
    for (uint64_t at = 0; at < bytes; at += PAGE_BYTES)
        data[at] = data[at]; /* only a write gets a page of one's own */
}

static void cpu_kv_copy_blocks(backend *b, kv_store *kv, const uint32_t *from, const uint32_t *to,
                               uint32_t count)
{
    (void)b;
    for (uint32_t i = 0; i < count; i++) {
        CHECK(from[i] < kv->shape.n_blocks && to[i] < kv->shape.n_blocks);
        memcpy(kv_head_data(kv, 0, to[i], 0), kv_head_data(kv, 0, from[i], 0),
               kv->shape.n_layers * kv->layer_bytes);
    }
}

static const struct backend_operations cpu_operations = {
    .memory_is_host = true,
    .destroy = cpu_destroy,
    .allocate = cpu_allocate,
    .release = host_release,
    .discard = cpu_discard,
    .upload = host_upload,
    .download = host_download,
    .clear = host_clear,
    .synchronize = host_synchronize,
    .weight_create = cpu_weight_create,
    .weight_create_gated = cpu_weight_create_gated,
    .weight_destroy = cpu_weight_destroy,
    .weight_bytes = cpu_weight_bytes,
    .layout_name = "cpu",
    .layout_checksum = cpu_layout_checksum,
    .weight_save = cpu_weight_save,
    .weight_restore = cpu_weight_restore,
    .activation_create = cpu_activation_create,
    .activation_destroy = cpu_activation_destroy,
    .activation_discard = cpu_activation_discard,
    .kv_create = cpu_kv_create,
    .kv_destroy = cpu_kv_destroy,
    .kv_discard = cpu_kv_discard,
    .kv_block_bytes = cpu_kv_block_bytes,
    .kv_touch_block = cpu_kv_touch_block,
    .kv_copy_blocks = cpu_kv_copy_blocks,
    .embed = cpu_embed,
    .rms_norm = cpu_rms_norm,
    .matmul = cpu_matmul,
    .matmul_gated = cpu_matmul_gated,
    .matmul_low_rank = cpu_matmul_low_rank,
    .rms_norm_add = cpu_rms_norm_add,
    .soft_cap = cpu_soft_cap,
    .routes_create = cpu_routes_create,
    .routes_destroy = cpu_routes_destroy,
    .routes_slots_max = cpu_routes_slots_max,
    .route = cpu_route,
    .rms_norm_routed = cpu_rms_norm_routed,
    .matmul_gated_routed = cpu_matmul_gated_routed,
    .matmul_routed = cpu_matmul_routed,
    .rope_kv_append = cpu_rope_kv_append,
    .attention = cpu_attention,
    .embed_add = cpu_embed_add,
    .layer_norm = cpu_layer_norm,
    .activate = cpu_activate,
    .attention_full = cpu_attention_full,
    .parallel_for = cpu_parallel_for,
};

status cpu_backend_open(enum backend_path path, uint32_t threads, backend **out)
{
    struct cpu_backend *cpu = memory_allocate_array(1, sizeof(*cpu));
    if (cpu == NULL)
        return STATUS_NO_MEMORY;
    cpu->kernels = cpu_kernels_find(path);
    CHECK(cpu->kernels != NULL);
    cpu->operations = cpu_operations;
    cpu->operations.name = cpu->kernels->name;
    cpu->base.operations = &cpu->operations;
    cpu->tile_rows_min = cpu_tiles_rows_min(cpu->kernels);
    uint32_t size = threads != 0 ? threads : thread_core_count();
    if (size > THREADS_MAX)
        size = THREADS_MAX;
    status result = team_create(size, &cpu->team);
    if (result != STATUS_OK) {
        memory_release(cpu);
        return result;
    }
    cpu->scratch = memory_allocate_aligned(64, size * sizeof(struct member_scratch));
    if (cpu->scratch != NULL)
        memset(cpu->scratch, 0, size * sizeof(struct member_scratch));
    cpu->split_partials = huge_allocate(SPLIT_FLOATS * sizeof(float));
    if (cpu->scratch == NULL || cpu->split_partials == NULL) {
        cpu_destroy(&cpu->base);
        return STATUS_NO_MEMORY;
    }
    *out = &cpu->base;
    return STATUS_OK;
}
