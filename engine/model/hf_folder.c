/* A folder's tensors under GGUF's names: config.json decides the family, hf_names.c the names. Three passes over the
 * checkpoint's table: how much room names and numbers need; the tensors; then the factors that belong to tensors. */

#include <stdio.h>
#include <string.h>

#include "check.h"
#include "hash.h"
#include "hf_names.h"
#include "json_file.h"
#include "memory.h"
#include "model_source_private.h"
#include "safetensors_source.h"

/* The largest published has 60 KiB: lists with an entry a layer or a rotated pair. */
#define CONFIG_BYTES_MAX ((size_t)4 << 20)

static const struct json_limits CONFIG_LIMITS = {.depth_max = 32, .value_count_max = 1u << 18};

struct folder_reader {
    model_source *source;
    const struct model_family *family;
    struct error_note *note;
    size_t name_used;
    uint64_t number_used, number_max;
};

/* --- config.json --- */

static status read_config(model_source *source, struct error_note *note)
{
    struct buffer text;
    buffer_init(&text, CONFIG_BYTES_MAX);
    status s = folder_file_read(source->folder, "config.json", &text, note);
    if (s == STATUS_NOT_FOUND)
        error_note_set(note, "%s/config.json: there is no such file", source->folder);
    if (s == STATUS_OK) {
        source->config_checksum = checksum64(text.data, text.bytes);
        s = json_load_limited(buffer_slice(&text), &CONFIG_LIMITS, &source->config, note);
        if (s != STATUS_OK)
            error_note_prefix(note, "%s/config.json", source->folder);
    }
    buffer_deinit(&text);
    return s;
}

static const struct model_family *family_of(const model_source *source)
{
    const char *type = json_string_value(json_object_get(source->config, "model_type"));
    return type != NULL ? model_family_find_type(text_slice_of(type)) : NULL;
}

/* Other methods keep their numbers in tensors of their own kinds, which would be refused one by one. */
static status check_quantisation(const model_source *source, struct error_note *note)
{
    const json_t *config = json_object_get(source->config, "quantization_config");
    const char *method = json_string_value(json_object_get(config, "quant_method"));
    if (method == NULL || strcmp(method, "fp8") == 0 || strcmp(method, "mxfp4") == 0 ||
        strcmp(method, "compressed-tensors") == 0)
        return STATUS_OK;
    error_note_set(note,
                   "config.json: quantization_config.quant_method \"%.40s\" is not supported (fp8, "
                   "compressed-tensors with fp8, and mxfp4 are)",
                   method);
    return STATUS_UNSUPPORTED;
}

static bool is_head_tied(const model_source *source)
{
    const json_t *tied = json_object_get(source->config, "tie_word_embeddings");
    return json_is_boolean(tied)
               ? json_is_true(tied)
               : safetensors_tensor_find(source->weights, "lm_head.weight") == NULL;
}

/* --- tensors --- */

static bool type_of(enum safetensors_type type, enum tensor_type *out)
{
    if (type != SAFETENSORS_F8_E4M3)
        return safetensors_float_type(type, out);
    *out = TENSOR_F8_E4M3;
    return true;
}

static status refuse(struct folder_reader *r, const struct safetensors_tensor *tensor,
                     const char *what)
{
    error_note_set(r->note, "the tensor %.*s (%s) %s", name_shown(tensor->name), tensor->name.data,
                   safetensors_type_name(tensor->type), what);
    return STATUS_UNSUPPORTED;
}

/* A new tensor called `name`, whose text is copied. */
static status add(struct folder_reader *r, const char *name, const struct source_tensor *like)
{
    model_source *source = r->source;
    size_t bytes = strlen(name);
    char *copy = source->name_bytes + r->name_used;
    memcpy(copy, name, bytes);
    r->name_used += bytes;
    uint32_t index = (uint32_t)source->tensor_count++, other;
    source->tensors[index] = *like;
    source->tensors[index].name = (struct text_slice){copy, bytes};
    if (gguf_names_add(&source->names, index, &other))
        return STATUS_OK;
    error_note_set(r->note, "two tensors of the folder are %s", name);
    return STATUS_INVALID;
}

/* GGUF's order of dimensions. */
static void turn_dimensions(const struct safetensors_tensor *tensor, struct source_tensor *out)
{
    for (uint32_t i = 0; i < GGUF_DIMENSIONS_MAX; i++)
        out->dimensions[i] =
            i < tensor->dimension_count ? tensor->dimensions[tensor->dimension_count - 1 - i] : 1;
}

static status add_plain(struct folder_reader *r, const char *name,
                        const struct safetensors_tensor *tensor)
{
    struct source_tensor out = {.data = tensor->data};
    if (!type_of(tensor->type, &out.type) || tensor->dimension_count > GGUF_DIMENSIONS_MAX)
        return refuse(r, tensor,
                      "is of a type that is not supported (F32, F16, BF16, F8_E4M3 are)");
    turn_dimensions(tensor, &out);
    return add(r, name, &out);
}

/* Two stacks of experts out of one whose rows alternate. */
static status add_gate_and_up(struct folder_reader *r, const char *layer, const char *ending,
                              struct source_tensor *like)
{
    static const char *const names[] = {"ffn_gate_exps", "ffn_up_exps"};
    like->row_step = 2;
    for (uint32_t i = 0; i < 2; i++) {
        char name[HF_NAME_MAX + 32];
        (void)snprintf(name, sizeof name, "%s%s%s", layer, names[i], ending);
        like->row_first = i;
        status s = add(r, name, like);
        if (s != STATUS_OK)
            return s;
    }
    return STATUS_OK;
}

/* gpt-oss' stacks: [experts, columns, rows], or [experts, rows, blocks, 16] and scales beside them. */
static status add_stack(struct folder_reader *r, enum hf_use use, const char *layer,
                        const struct safetensors_tensor *tensor)
{
    bool is_blocks = use == HF_GATE_UP_BLOCKS || use == HF_DOWN_BLOCKS;
    bool is_down = use == HF_DOWN || use == HF_DOWN_BLOCKS, is_bias = use == HF_GATE_UP_BIAS;
    struct source_tensor out = {.data = tensor->data, .row_step = 1};
    const uint64_t *d = tensor->dimensions;
    uint32_t count = is_blocks ? 4 : is_bias ? 2 : 3, half = is_down ? 1 : 2;
    if (tensor->dimension_count != count ||
        (is_blocks ? tensor->type != SAFETENSORS_U8 || d[3] != 16 || d[2] > UINT32_MAX
                   : !type_of(tensor->type, &out.type) || out.type == TENSOR_F8_E4M3))
        return refuse(r, tensor, "is not of the type and shape of gpt-oss");
    if (is_blocks)
        out.type = TENSOR_MXFP4;
    out.order = is_blocks ? ORDER_MXFP4 : is_bias ? ORDER_STRIDED : ORDER_TRANSPOSED;
    uint64_t columns = is_blocks ? d[2] * 32 : d[1], rows = is_blocks ? d[1] : d[2];
    out.dimensions[0] = is_bias ? d[1] / half : columns;
    out.dimensions[1] = is_bias ? d[0] : rows / half;
    out.dimensions[2] = is_bias ? 1 : d[0];
    out.dimensions[3] = 1;
    if ((is_bias ? d[1] : rows) % half != 0)
        return refuse(r, tensor, "has an odd number of rows");
    if (!is_down)
        return add_gate_and_up(r, layer, is_bias ? ".bias" : ".weight", &out);
    char name[HF_NAME_MAX + 32];
    (void)snprintf(name, sizeof name, "%sffn_down_exps.weight", layer);
    return add(r, name, &out);
}

static status add_tensor(struct folder_reader *r, const struct safetensors_tensor *tensor,
                         bool has_tied_head)
{
    char name[HF_NAME_MAX];
    enum hf_use use = hf_name_of(r->family, tensor->name, name);
    switch (use) {
    case HF_TENSOR:
        if (has_tied_head && strcmp(name, "output.weight") == 0)
            return STATUS_OK;
        return add_plain(r, name, tensor);
    case HF_GATE_UP:
    case HF_GATE_UP_BIAS:
    case HF_GATE_UP_BLOCKS:
    case HF_DOWN:
    case HF_DOWN_BLOCKS:
        return add_stack(r, use, name, tensor);
    case HF_SCALE:
    case HF_GATE_UP_SCALES:
    case HF_DOWN_SCALES:
    case HF_IGNORED:
        break;
    }
    return STATUS_OK;
}

/* --- factors --- */

static struct source_tensor *find(model_source *source, const char *name)
{
    return (struct source_tensor *)(uintptr_t)model_source_tensor_find(source, name);
}

/* What part of the weight a factor is for, from the shapes; a block's from the configuration. */
static bool fit_scales(const model_source *source, const struct safetensors_tensor *scales,
                       struct source_tensor *out)
{
    uint64_t rows = out->dimensions[1], columns = out->dimensions[0], count = 1;
    for (uint32_t i = 0; i < scales->dimension_count; i++)
        count *= scales->dimensions[i];
    if (rows == 0 || columns == 0 || rows > UINT32_MAX || columns > UINT32_MAX ||
        out->dimensions[2] != 1)
        return false;
    out->scale_cols = (uint32_t)columns;
    if (count == 1 || count == rows) {
        out->scale_outputs = count == 1 ? (uint32_t)rows : 1;
        return scales->dimension_count <= 2 && scales->dimensions[1] == 1;
    }
    const json_t *size = json_object_get(json_object_get(source->config, "quantization_config"),
                                         "weight_block_size");
    json_int_t height = json_integer_value(json_array_get(size, 0)),
               width = json_integer_value(json_array_get(size, 1));
    if (height <= 0 || width <= 0 || height > UINT32_MAX || width > UINT32_MAX ||
        (width % 32 != 0 && (uint64_t)width < columns) || scales->dimension_count != 2)
        return false;
    out->scale_outputs = (uint32_t)height;
    out->scale_cols = (uint32_t)width;
    return scales->dimensions[0] == (rows + (uint64_t)height - 1) / (uint64_t)height &&
           scales->dimensions[1] == (columns + (uint64_t)width - 1) / (uint64_t)width;
}

/* Appends the numbers of a tensor of floats as f32. */
static const float *take_numbers(struct folder_reader *r, const struct safetensors_tensor *tensor)
{
    enum tensor_type type;
    uint64_t count = tensor->bytes / safetensors_type_bytes(tensor->type);
    if (!type_of(tensor->type, &type) || type == TENSOR_F8_E4M3 || count > UINT32_MAX)
        return NULL;
    CHECK(count <= r->number_max - r->number_used);
    float *out = r->source->numbers + r->number_used;
    struct tensor_source numbers = {
        .type = type, .data = tensor->data, .n_outputs = 1, .n_cols = (uint32_t)count};
    tensor_dequantise(&numbers, 0, 0, (uint32_t)count, out);
    r->number_used += count;
    return out;
}

static status add_scales(struct folder_reader *r, const char *name,
                         const struct safetensors_tensor *scales)
{
    struct source_tensor *tensor = find(r->source, name);
    if (tensor == NULL || tensor->type != TENSOR_F8_E4M3)
        return refuse(r, scales, "scales a tensor that is not of 8-bit floats");
    if (!fit_scales(r->source, scales, tensor))
        return refuse(r, scales, "has a shape that does not fit the tensor that it scales");
    tensor->scales = take_numbers(r, scales);
    return tensor->scales != NULL ? STATUS_OK
                                  : refuse(r, scales, "is of a type that is not supported");
}

static status add_block_scales(struct folder_reader *r, const char *layer, bool is_down,
                               const struct safetensors_tensor *scales)
{
    static const char *const names[] = {"ffn_down_exps.weight", "ffn_gate_exps.weight",
                                        "ffn_up_exps.weight"};
    for (uint32_t i = is_down ? 0 : 1; i < (is_down ? 1u : 3u); i++) {
        char name[HF_NAME_MAX + 32];
        (void)snprintf(name, sizeof name, "%s%s", layer, names[i]);
        struct source_tensor *tensor = find(r->source, name);
        const uint64_t *d = scales->dimensions;
        if (tensor == NULL || tensor->order != ORDER_MXFP4 || scales->dimension_count != 3 ||
            scales->type != SAFETENSORS_U8 || d[0] != tensor->dimensions[2] ||
            d[1] != tensor->dimensions[1] * tensor->row_step || d[2] * 32 != tensor->dimensions[0])
            return refuse(r, scales, "does not fit the blocks that it scales");
        tensor->block_scales = scales->data;
    }
    return STATUS_OK;
}

static status add_factors(struct folder_reader *r, const struct safetensors_tensor *tensor)
{
    char name[HF_NAME_MAX];
    enum hf_use use = hf_name_of(r->family, tensor->name, name);
    if (use == HF_SCALE)
        return add_scales(r, name, tensor);
    if (use == HF_GATE_UP_SCALES || use == HF_DOWN_SCALES)
        return add_block_scales(r, name, use == HF_DOWN_SCALES, tensor);
    return STATUS_OK;
}

/* LongRoPE's two lists, as GGUF's converter writes them. */
static const struct {
    const char *key, *name;
} ROPE_LISTS[] = {{"short_factor", "rope_factors_short.weight"},
                  {"long_factor", "rope_factors_long.weight"}};

static const json_t *rope_list(const model_source *source, const char *key)
{
    const json_t *rope = json_object_get(source->config, "rope_parameters");
    if (!json_is_object(rope))
        rope = json_object_get(source->config, "rope_scaling");
    const json_t *list = json_object_get(rope, key);
    return json_is_array(list) ? list : NULL;
}

static status add_rope_list(struct folder_reader *r, const char *key, const char *name)
{
    const json_t *list = rope_list(r->source, key);
    if (list == NULL)
        return STATUS_OK;
    float *out = r->source->numbers + r->number_used;
    size_t count = json_array_size(list);
    for (size_t i = 0; i < count; i++)
        out[i] = (float)json_number_value(json_array_get(list, i)); /* 0, which is refused later */
    r->number_used += count;
    const struct source_tensor tensor = {
        .type = TENSOR_F32, .dimensions = {count, 1, 1, 1}, .data = out};
    return add(r, name, &tensor);
}

/* Every 8-bit tensor must have its factors, every stack of blocks its scales. */
static status check_factors(const struct folder_reader *r)
{
    for (uint64_t i = 0; i < r->source->tensor_count; i++) {
        const struct source_tensor *tensor = &r->source->tensors[i];
        if ((tensor->type == TENSOR_F8_E4M3 && tensor->scales == NULL) ||
            (tensor->order == ORDER_MXFP4 && tensor->block_scales == NULL)) {
            error_note_set(r->note, "the tensor %.*s has no scales", name_shown(tensor->name),
                           tensor->name.data);
            return STATUS_INVALID;
        }
    }
    return STATUS_OK;
}

/* --- all --- */

/* Room for everything, from upper bounds: a tensor becomes two at most. */
static status make_room(struct folder_reader *r)
{
    model_source *source = r->source;
    uint64_t count = safetensors_tensor_count(source->weights), tensors = ARRAY_COUNT(ROPE_LISTS);
    size_t name_bytes = 64;
    for (size_t i = 0; i < ARRAY_COUNT(ROPE_LISTS); i++)
        r->number_max += json_array_size(rope_list(source, ROPE_LISTS[i].key));
    for (uint64_t i = 0; i < count; i++) {
        const struct safetensors_tensor *tensor = safetensors_tensor_at(source->weights, i);
        char name[HF_NAME_MAX];
        enum hf_use use = hf_name_of(r->family, tensor->name, name);
        tensors += 2;
        name_bytes += 2 * (strlen(name) + sizeof "ffn_gate_exps.weight");
        if (use == HF_SCALE)
            r->number_max += tensor->bytes / safetensors_type_bytes(tensor->type);
    }
    source->tensors = memory_allocate_array(tensors, sizeof *source->tensors);
    source->name_bytes = memory_allocate(name_bytes);
    source->numbers = memory_allocate_array(r->number_max, sizeof *source->numbers);
    if (source->tensors == NULL || source->name_bytes == NULL || source->numbers == NULL ||
        gguf_names_init(&source->names, source->tensors, sizeof *source->tensors, tensors) !=
            STATUS_OK) {
        error_note_set(r->note, "no memory for the list of tensors");
        return STATUS_NO_MEMORY;
    }
    return STATUS_OK;
}

static status name_tensors(struct folder_reader *r)
{
    const model_source *source = r->source;
    uint64_t count = safetensors_tensor_count(source->weights);
    bool has_tied_head = is_head_tied(source);
    status s = make_room(r);
    for (uint64_t i = 0; i < count && s == STATUS_OK; i++)
        s = add_tensor(r, safetensors_tensor_at(source->weights, i), has_tied_head);
    for (uint64_t i = 0; i < count && s == STATUS_OK; i++)
        s = add_factors(r, safetensors_tensor_at(source->weights, i));
    for (size_t i = 0; i < ARRAY_COUNT(ROPE_LISTS) && s == STATUS_OK; i++)
        s = add_rope_list(r, ROPE_LISTS[i].key, ROPE_LISTS[i].name);
    return s == STATUS_OK ? check_factors(r) : s;
}

status hf_folder_read(model_source *source, struct error_note *note)
{
    status s = read_config(source, note);
    if (s == STATUS_OK)
        s = check_quantisation(source, note);
    if (s == STATUS_OK)
        s = safetensors_open(source->folder, &source->weights, note);
    if (s != STATUS_OK)
        return s;
    struct folder_reader reader = {.source = source, .family = family_of(source), .note = note};
    return reader.family != NULL ? name_tensors(&reader) : STATUS_OK; /* model_shape.c refuses it */
}
