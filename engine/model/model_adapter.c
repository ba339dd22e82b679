#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "json_file.h"
#include "memory.h"
#include "model_adapter_private.h"
#include "safetensors_source.h"

#define PATH_BYTES_MAX 4096u
#define SCALE_MAX      1e6

/* Of an upload between two steps: about a millisecond. */
#define UPLOAD_FLOATS (1u << 20)
/* Of the first image; it grows twofold. */
#define IMAGE_FLOATS_MIN 65536u

struct adapter_reader {
    backend *b;
    const struct model_shape *shape;
    json_t *config;       /* owned */
    safetensors *tensors; /* owned */
    double alpha;
    bool is_rank_stabilised; /* scale alpha / sqrt(rank), Kalajdzievski 2023 */
    uint32_t rank_max;
    model_adapter *out;
    struct error_note *note;
};

struct adapter_place adapter_place_of(const struct model_shape *shape, enum adapter_part part)
{
    uint32_t d = shape->d, d_ffn = shape->d_ffn;
    uint32_t q = shape->n_heads * shape->d_head, kv = shape->n_kv_heads * shape->d_head;
    switch (part) {
    case ADAPTER_Q:
        return (struct adapter_place){"self_attn.q_proj", d, q, 0};
    case ADAPTER_K:
        return (struct adapter_place){"self_attn.k_proj", d, kv, q};
    case ADAPTER_V:
        return (struct adapter_place){"self_attn.v_proj", d, kv, q + kv};
    case ADAPTER_QKV:
        return (struct adapter_place){"self_attn.qkv_proj", d, q + 2 * kv, 0};
    case ADAPTER_OUT:
        return (struct adapter_place){"self_attn.o_proj", q, d, 0};
    case ADAPTER_GATE:
        return (struct adapter_place){"mlp.gate_proj", d, d_ffn, 0};
    case ADAPTER_UP:
        return (struct adapter_place){"mlp.up_proj", d, d_ffn, d_ffn};
    case ADAPTER_GATE_UP:
        return (struct adapter_place){"mlp.gate_up_proj", d, 2 * d_ffn, 0};
    case ADAPTER_DOWN:
        return (struct adapter_place){"mlp.down_proj", d_ffn, d, 0};
    case ADAPTER_PART_COUNT:
        break;
    }
    check_failed("a part of a layer", __FILE__, __LINE__);
}

bool adapter_may_change(const struct model_shape *shape, enum adapter_part part)
{
    bool is_fused = family_has(shape->family, FAMILY_FUSED_QKV);
    bool is_mixture = shape->experts.n_experts > 0;
    bool wants_fused = part == ADAPTER_QKV || part == ADAPTER_GATE_UP;
    bool may_be_either = part == ADAPTER_OUT || part == ADAPTER_DOWN;
    return (may_be_either || wants_fused == is_fused) && !(is_mixture && part >= ADAPTER_GATE);
}

/* --- adapter_config.json --- */

static bool is_empty(const json_t *value)
{
    return value == NULL || json_is_null(value) || json_is_false(value) ||
           (json_is_object(value) && json_object_size(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0) ||
           (json_is_string(value) && strcmp(json_string_value(value), "none") == 0);
}

static status read_config(struct adapter_reader *r, const char *folder)
{
    static const char *const unknown[] = {
        "use_dora", "fan_in_fan_out", "modules_to_save",        "alpha_pattern",
        "bias",     "lora_bias",      "trainable_token_indices"};
    status s = folder_json_read(folder, "adapter_config.json", &r->config, r->note);
    if (s == STATUS_NOT_FOUND)
        error_note_set(r->note, "%s/adapter_config.json: there is no such file", folder);
    if (s != STATUS_OK)
        return s;
    const char *kind = json_string_value(json_object_get(r->config, "peft_type"));
    if (kind == NULL || strcmp(kind, "LORA") != 0) {
        error_note_set(r->note, "peft_type '%.32s' is not supported (LORA is)",
                       kind != NULL ? kind : "");
        return STATUS_UNSUPPORTED;
    }
    for (size_t i = 0; i < ARRAY_COUNT(unknown); i++)
        if (!is_empty(json_object_get(r->config, unknown[i]))) {
            error_note_set(r->note, "adapter_config.json: %s is not supported", unknown[i]);
            return STATUS_UNSUPPORTED;
        }
    const json_t *alpha = json_object_get(r->config, "lora_alpha");
    r->alpha = json_number_value(alpha);
    r->is_rank_stabilised = json_is_true(json_object_get(r->config, "use_rslora"));
    if (json_is_number(alpha) && r->alpha > 0 && r->alpha <= SCALE_MAX)
        return STATUS_OK;
    error_note_set(r->note, "adapter_config.json: lora_alpha must be a number above 0");
    return STATUS_INVALID;
}

/* --- matrices --- */

static int shown(struct text_slice name)
{
    return name.bytes < 120 ? (int)name.bytes : 120;
}

static status refuse(const struct adapter_reader *r, status s,
                     const struct safetensors_tensor *tensor, const char *what)
{
    error_note_set(r->note, "the tensor %.*s %s", shown(tensor->name), tensor->name.data, what);
    return s;
}

/* The tensor as [rows, columns] of floats. */
static bool as_matrix(const struct safetensors_tensor *tensor, struct tensor_source *out)
{
    return tensor->dimension_count == 2 && safetensors_source(tensor, out);
}

/* Floats at this place of the image that a slot is filled from; NULL: no memory. */
static float *image_at(model_adapter *adapter, uint64_t first, uint64_t count)
{
    CHECK(first + count <= adapter->slots->slot_floats);
    uint64_t room = adapter->image_room;
    while (room < first + count)
        room = room > 0 ? 2 * room : IMAGE_FLOATS_MIN;
    if (room > adapter->image_room) {
        float *image = memory_resize(adapter->image, room * sizeof *image);
        if (image == NULL)
            return NULL;
        adapter->image = image;
        adapter->image_room = room;
    }
    return adapter->image + first;
}

/* Room for a change: where it is written, and where steps find it. */
struct change_room {
    float *down, *up;
};

static bool room_take(const struct adapter_reader *r, const struct low_rank *shape,
                      struct low_rank *change, struct change_room *out)
{
    model_adapter *adapter = r->out;
    uint64_t down = (uint64_t)shape->rank * shape->n_cols;
    uint64_t up = (uint64_t)shape->rank * shape->n_outputs;
    adapter->bytes += (down + up) * sizeof(float);
    if (adapter->slots == NULL) {
        out->down = r->b->operations->allocate(r->b, down * sizeof(float));
        out->up = r->b->operations->allocate(r->b, up * sizeof(float));
        change->down = out->down; /* freed with the adapter, also when only one is there */
        change->up = out->up;
        return out->down != NULL && out->up != NULL;
    }
    uint64_t first = adapter->image_floats;
    out->down = image_at(adapter, first, down + up);
    out->up = out->down + down;
    change->down = adapter_slot_memory(adapter->slots, adapter->slot) + first;
    change->up = change->down + down;
    adapter->image_floats += down + up;
    return out->down != NULL;
}

/* The row of a checkpoint that becomes output `o`: GGUF's converter interleaves the halves of rotated pairs. */
static uint32_t source_row(const struct model_shape *shape, enum adapter_part part, uint32_t o)
{
    if (!shape->rope_is_interleaved || (part != ADAPTER_Q && part != ADAPTER_K))
        return o;
    uint32_t in_head = o % shape->d_head;
    return o - in_head + in_head % 2 * (shape->d_head / 2) + in_head / 2;
}

static void fill(const struct adapter_reader *r, enum adapter_part part,
                 const struct tensor_source *down, const struct tensor_source *up, float *down_out,
                 float *up_out)
{
    uint32_t rank = down->n_outputs;
    double scale = r->alpha / (r->is_rank_stabilised ? sqrt(rank) : rank);
    for (uint32_t k = 0; k < rank; k++)
        tensor_dequantise(down, k, 0, down->n_cols, down_out + (size_t)k * down->n_cols);
    for (uint32_t o = 0; o < up->n_outputs; o++) {
        uint32_t row = source_row(r->shape, part, o);
        for (uint32_t k = 0; k < rank; k++) {
            float value;
            tensor_dequantise(up, row, k, 1, &value);
            up_out[(size_t)k * up->n_outputs + o] = (float)((double)value * scale);
        }
    }
}

static status load_change(struct adapter_reader *r, const struct safetensors_tensor *down,
                          const struct safetensors_tensor *up, uint32_t layer,
                          enum adapter_part part)
{
    struct adapter_place place = adapter_place_of(r->shape, part);
    struct low_rank *change = &r->out->layers[layer].changes[part];
    struct tensor_source a, b;
    if (!as_matrix(down, &a) || a.n_cols != place.n_cols || a.n_outputs == 0)
        return refuse(r, STATUS_INVALID, down, "has a type or shape that does not fit the model");
    if (!as_matrix(up, &b) || b.n_outputs != place.n_outputs || b.n_cols != a.n_outputs)
        return refuse(r, STATUS_INVALID, up, "has a type or shape that does not fit the model");
    if (a.n_outputs > r->rank_max) {
        error_note_set(r->note, "the tensor %.*s has rank %" PRIu32 "; %" PRIu32 " is possible",
                       shown(down->name), down->name.data, a.n_outputs, r->rank_max);
        return STATUS_TOO_LARGE;
    }
    const struct low_rank wanted = {
        .rank = a.n_outputs, .n_cols = a.n_cols, .n_outputs = b.n_outputs};
    struct change_room room;
    if (!room_take(r, &wanted, change, &room)) {
        error_note_set(r->note, "no memory for an adapter");
        return STATUS_NO_MEMORY;
    }
    fill(r, part, &a, &b, room.down, room.up);
    change->rank = wanted.rank;
    change->n_cols = wanted.n_cols;
    change->n_outputs = wanted.n_outputs;
    return STATUS_OK;
}

/* --- names --- */

/* Layer, part, and whether it is the first of the two matrices. False: no name of a change that we can make. */
static bool read_name(const struct adapter_reader *r, struct text_slice name, uint32_t *layer,
                      enum adapter_part *part, bool *is_down)
{
    (void)text_slice_skip(&name, "base_model.model.");
    if (!text_slice_skip(&name, "model.layers."))
        return false;
    *layer = 0;
    while (name.bytes > 0 && name.data[0] >= '0' && name.data[0] <= '9' && *layer < LAYERS_MAX) {
        *layer = *layer * 10 + (uint32_t)(name.data[0] - '0');
        name.data++;
        name.bytes--;
    }
    if (!text_slice_skip(&name, ".") || *layer >= r->shape->n_layers)
        return false;
    for (int i = 0; i < ADAPTER_PART_COUNT; i++) {
        struct text_slice rest = name;
        *part = (enum adapter_part)i;
        if (!text_slice_skip(&rest, adapter_place_of(r->shape, *part).module))
            continue;
        if (!adapter_may_change(r->shape, *part))
            continue;
        *is_down = text_slice_is(rest, ".lora_A.weight");
        if (*is_down || text_slice_is(rest, ".lora_B.weight"))
            return true;
    }
    return false;
}

/* The other matrix of the pair. */
static const struct safetensors_tensor *partner_of(const struct adapter_reader *r,
                                                   const struct safetensors_tensor *tensor)
{
    char name[256];
    size_t bytes = tensor->name.bytes;
    if (bytes >= sizeof name)
        return NULL;
    memcpy(name, tensor->name.data, bytes);
    name[bytes] = '\0';
    char *letter = name + bytes - strlen("A.weight");
    *letter = *letter == 'A' ? 'B' : 'A';
    return safetensors_tensor_find(r->tensors, name);
}

static status read_tensors(struct adapter_reader *r)
{
    for (uint64_t i = 0; i < safetensors_tensor_count(r->tensors); i++) {
        const struct safetensors_tensor *tensor = safetensors_tensor_at(r->tensors, i), *partner;
        uint32_t layer;
        enum adapter_part part;
        bool is_down;
        if (!read_name(r, tensor->name, &layer, &part, &is_down))
            return refuse(r, STATUS_UNSUPPORTED, tensor,
                          "changes nothing that an adapter can change in this model");
        partner = partner_of(r, tensor);
        if (partner == NULL)
            return refuse(r, STATUS_INVALID, tensor, "has no partner");
        if (!is_down)
            continue;
        if (r->out->layers[layer].changes[part].rank != 0)
            return refuse(r, STATUS_INVALID, tensor, "changes what another tensor changes");
        status s = load_change(r, tensor, partner, layer, part);
        if (s != STATUS_OK)
            return s;
        uint32_t rank = r->out->layers[layer].changes[part].rank;
        r->out->rank = rank > r->out->rank ? rank : r->out->rank;
    }
    return STATUS_OK;
}

static status read_folder(struct adapter_reader *r, const char *folder)
{
    char path[PATH_BYTES_MAX];
    status s = read_config(r, folder);
    if (s != STATUS_OK)
        return s;
    if (snprintf(path, sizeof path, "%s/adapter_model.safetensors", folder) >= (int)sizeof path) {
        error_note_set(r->note, "the path of the adapter is too long");
        return STATUS_INVALID;
    }
    s = safetensors_open(path, &r->tensors, r->note);
    return s == STATUS_OK ? read_tensors(r) : s;
}

/* Nothing where the backend's memory is the host's. */
static status slot_take(const model *m, model_adapter *adapter, struct error_note *note)
{
    struct adapter_slots *slots = model_get_adapter_slots(m);
    if (slots == NULL)
        return STATUS_OK;
    status s = adapter_slots_acquire(slots, &adapter->slot);
    if (s == STATUS_OK)
        adapter->slots = slots;
    else
        error_note_set(note, "all %" PRIu32 " places of adapters are taken", slots->count);
    return s;
}

status model_adapter_open(const model *m, const char *folder, model_adapter **out,
                          struct error_note *note)
{
    struct adapter_reader reader = {.b = model_get_backend(m),
                                    .shape = model_get_shape(m),
                                    .rank_max = model_get_adapter_rank_max(m),
                                    .note = note};
    if (reader.rank_max == 0) {
        error_note_set(note, "the model takes no adapters");
        return STATUS_UNSUPPORTED;
    }
    model_adapter *adapter = memory_allocate_array(1, sizeof *adapter);
    if (adapter != NULL)
        adapter->layers = memory_allocate_array(reader.shape->n_layers, sizeof *adapter->layers);
    if (adapter == NULL || adapter->layers == NULL) {
        memory_release(adapter);
        error_note_set(note, "no memory for an adapter");
        return STATUS_NO_MEMORY;
    }
    adapter->n_layers = reader.shape->n_layers;
    reader.out = adapter;
    status s = slot_take(m, adapter, note);
    if (s == STATUS_OK)
        s = read_folder(&reader, folder);
    json_decref(reader.config);
    safetensors_close(reader.tensors);
    if (s == STATUS_OK)
        *out = adapter;
    else
        model_adapter_close(m, adapter);
    return s;
}

bool model_adapter_upload(const model *m, model_adapter *adapter)
{
    uint64_t left = adapter->image_floats - adapter->uploaded;
    if (left == 0)
        return true;
    backend *b = model_get_backend(m);
    uint64_t count = left < UPLOAD_FLOATS ? left : UPLOAD_FLOATS;
    b->operations->upload(b, adapter_slot_memory(adapter->slots, adapter->slot) + adapter->uploaded,
                          adapter->image + adapter->uploaded, count * sizeof(float));
    adapter->uploaded += count;
    return adapter->uploaded == adapter->image_floats;
}

void model_adapter_trim(model_adapter *adapter)
{
    if (adapter->uploaded < adapter->image_floats)
        return;
    memory_release(adapter->image);
    adapter->image = NULL;
}

static void release(backend *b, const float *memory)
{
    if (memory != NULL)
        b->operations->release(b, (void *)(uintptr_t)memory);
}

void model_adapter_close(const model *m, model_adapter *adapter)
{
    if (adapter == NULL)
        return;
    backend *b = model_get_backend(m);
    if (adapter->slots != NULL)
        adapter_slots_release(adapter->slots, adapter->slot);
    memory_release(adapter->image);
    for (uint32_t i = 0; adapter->slots == NULL && i < adapter->n_layers; i++)
        for (int part = 0; part < ADAPTER_PART_COUNT; part++) {
            release(b, adapter->layers[i].changes[part].down);
            release(b, adapter->layers[i].changes[part].up);
        }
    memory_release(adapter->layers);
    memory_release(adapter);
}

uint64_t model_adapter_bytes(const model_adapter *adapter)
{
    return adapter->bytes;
}
