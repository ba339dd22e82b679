/* What a model's files say about it, without a backend. */

#include <string.h>

#include "model_private.h"
#include "model_source_private.h"

/* A folder's own name. */
static struct text_slice last_part_of(const char *path)
{
    size_t end = strlen(path), start;
    while (end > 1 && path[end - 1] == '/')
        end--;
    for (start = end; start > 0 && path[start - 1] != '/'; start--)
        ;
    return (struct text_slice){path + start, end - start};
}

/* Printable ASCII, so that logs and metrics may carry it as it is. */
static void copy_name(const model_source *source, char out[MODEL_NAME_MAX])
{
    struct text_slice name = {NULL, 0};
    if (source->file != NULL)
        (void)gguf_get_text(source->file, "general.name", &name);
    else
        name = last_part_of(source->folder);
    size_t bytes = name.bytes < MODEL_NAME_MAX ? name.bytes : MODEL_NAME_MAX - 1;
    for (size_t i = 0; i < bytes; i++)
        out[i] = name.data[i] >= ' ' && name.data[i] <= '~' ? name.data[i] : '?';
    out[bytes] = '\0';
}

/* Of a stack of matrices, or a vector, once it is loaded. */
static uint64_t layout_bytes(const struct source_tensor *tensor)
{
    const uint64_t *d = tensor->dimensions;
    if (d[1] == 1 || d[0] > UINT32_MAX || d[1] > UINT32_MAX)
        return d[0] * sizeof(float);
    const struct tensor_source matrix = {.type = tensor->type,
                                         .n_outputs = (uint32_t)d[1],
                                         .n_cols = (uint32_t)d[0],
                                         .scale_outputs = tensor->scale_outputs,
                                         .scale_cols = tensor->scale_cols};
    uint64_t bytes = backend_layout_bytes(&matrix);
    return bytes * d[2] * d[3];
}

struct model_info model_info_of(const model_source *source, const struct model_shape *shape)
{
    struct model_info info = {
        .architecture = shape->family->architecture,
        .n_layers = shape->n_layers,
        .d = shape->d,
        .n_heads = shape->n_heads,
        .n_kv_heads = shape->n_kv_heads,
        .d_head = shape->d_head,
        .d_ffn = shape->d_ffn,
        .vocabulary = shape->vocabulary,
        .context_trained = shape->context_trained,
    };
    for (uint32_t i = 0; i < shape->n_layers; i++)
        info.windowed_layers += model_shape_has_window(shape, i);
    info.window = info.windowed_layers > 0 ? shape->window : 0;
    info.n_experts = shape->experts.n_experts;
    info.n_experts_used = shape->experts.n_used;
    copy_name(source, info.name);
    for (uint64_t i = 0; i < model_source_tensor_count(source); i++) {
        const struct source_tensor *tensor = model_source_tensor_at(source, i);
        info.weight_bytes += layout_bytes(tensor);
        info.parameter_count += tensor->dimensions[0] * tensor->dimensions[1] *
                                tensor->dimensions[2] * tensor->dimensions[3];
    }
    return info;
}

struct kv_shape model_kv_shape(const struct model_shape *shape, uint32_t n_blocks,
                               enum kv_type type)
{
    return (struct kv_shape){.n_layers = shape->n_layers,
                             .n_kv_heads = shape->n_kv_heads,
                             .d_head = shape->d_head,
                             .n_blocks = n_blocks,
                             .type = type};
}

/* Without a backend to ask. 8-bit caches are counted with one float scale a head and position, the
 * finest in use. */
static uint64_t kv_block_bytes_of(const struct kv_shape *shape)
{
    uint64_t head = shape->type == KV_F16 ? shape->d_head * sizeof(uint16_t) : shape->d_head;
    if (shape->type == KV_INT8)
        head += sizeof(float);
    return 2 * head * shape->n_kv_heads * shape->n_layers * KV_BLOCK_TOKENS;
}

status model_file_info(const model_source *source, enum kv_type kv_type, struct model_info *out,
                       struct error_note *note)
{
    struct model_shape shape;
    status s = model_shape_read(source, &shape, note);
    if (s != STATUS_OK)
        return s;
    *out = model_info_of(source, &shape);
    struct kv_shape kv = model_kv_shape(&shape, 1, kv_type);
    out->kv_block_bytes = kv_block_bytes_of(&kv);
    struct error_note unread = {""};
    s = source->file != NULL
            ? pooling_facts_read_gguf(source->file, out->architecture, &out->pooling, &unread)
            : pooling_facts_read_folder(source->folder, &out->pooling, &unread);
    out->has_unknown_pooling = s != STATUS_OK; /* it may generate all the same */
    return STATUS_OK;
}
