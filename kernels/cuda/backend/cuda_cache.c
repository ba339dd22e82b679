/* The paged cache: one block of memory, of which each layer's keys and values are runs. */

#include "check.h"
#include "cuda_backend.h"
#include "memory.h"

uint64_t cuda_kv_block_bytes(const struct kv_shape *shape)
{
    return kv_page_image_bytes(shape);
}

static bool is_possible(const struct kv_shape *shape)
{
    return attention_supports(shape->d_head) && shape->d_head % 16 == 0 &&
           shape->d_head <= ROPE_HEAD_MAX && shape->type < KV_TYPE_COUNT;
}

/* Keys of all layers, values, scales of keys, scales of values. */
static void place(kv_store *kv, const struct kv_shape *shape, uint8_t *memory)
{
    struct kv_pages *pages = &kv->pages;
    uint64_t page_count = (uint64_t)shape->n_blocks + 1;
    pages->shape = *shape;
    pages->layer_bytes = kv_page_bytes(shape) * page_count;
    pages->scale_layer_bytes = kv_page_scale_bytes(shape) * page_count;
    uint64_t all = pages->layer_bytes * shape->n_layers;
    uint64_t all_scales = pages->scale_layer_bytes * shape->n_layers;
    pages->first = (struct kv_layer){.type = shape->type,
                                     .n_kv_heads = shape->n_kv_heads,
                                     .d_head = shape->d_head,
                                     .keys = memory,
                                     .values = memory + all};
    if (all_scales > 0) {
        pages->first.key_scales = (float *)(void *)(memory + 2 * all);
        pages->first.value_scales = (float *)(void *)(memory + 2 * all + all_scales);
    }
}

status cuda_kv_create(backend *base, const struct kv_shape *shape, kv_store **out)
{
    struct cuda_backend *b = of_cuda(base);
    if (!is_possible(shape))
        return STATUS_UNSUPPORTED;
    kv_store *kv = memory_allocate_array(1, sizeof(*kv));
    if (kv == NULL)
        return STATUS_NO_MEMORY;
    kv->memory =
        device_allocate(b->device, kv_page_image_bytes(shape) * ((uint64_t)shape->n_blocks + 1));
    if (kv->memory == NULL) {
        memory_release(kv);
        return STATUS_NO_MEMORY;
    }
    place(kv, shape, kv->memory);
    b->trash_block = shape->n_blocks;
    *out = kv;
    return STATUS_OK;
}

void cuda_kv_destroy(backend *base, kv_store *kv)
{
    struct cuda_backend *b = of_cuda(base);
    if (kv == NULL)
        return;
    graphs_drop(b);
    device_release(b->device, kv->memory);
    memory_release(kv);
}

void cuda_kv_discard(backend *base, kv_store *kv)
{
    device_forget(of_cuda(base)->device, kv->memory);
}

void cuda_kv_copy_blocks(backend *base, kv_store *kv, const uint32_t *from, const uint32_t *to,
                         uint32_t count)
{
    struct cuda_backend *b = of_cuda(base);
    if (count == 0)
        return;
    const uint32_t *from_copy = loose_copy(b, from, count * sizeof(*from));
    const uint32_t *to_copy = loose_copy(b, to, count * sizeof(*to));
    kv_copy_pages_launch(b->stream, &kv->pages, from_copy, to_copy, count);
}

struct kv_layer cuda_kv_layer(const kv_store *kv, uint32_t layer)
{
    CHECK(layer < kv->pages.shape.n_layers);
    struct kv_layer at = kv->pages.first;
    at.keys = (uint8_t *)at.keys + layer * kv->pages.layer_bytes;
    at.values = (uint8_t *)at.values + layer * kv->pages.layer_bytes;
    if (at.key_scales != NULL) {
        at.key_scales += layer * kv->pages.scale_layer_bytes / sizeof(float);
        at.value_scales += layer * kv->pages.scale_layer_bytes / sizeof(float);
    }
    return at;
}
