#include "model_parts.h"

#include "check.h"
#include "model_source_private.h"

/* By what stands behind "blk.N.", or by the whole name. The first that fits counts. */
static const struct {
    const char *beginning;
    enum model_part part;
} PARTS[] = {
    {"token_embd.", PART_EMBEDDING}, {"output.", PART_HEAD},
    {"attn_q.", PART_QUERY},         {"attn_output.", PART_QUERY},
    {"attn_k.", PART_KEY_VALUE},     {"attn_v.", PART_KEY_VALUE},
    {"ffn_gate_inp", PART_REST},     {"ffn_gate_exps.", PART_EXPERTS},
    {"ffn_up_exps.", PART_EXPERTS},  {"ffn_down_exps.", PART_EXPERTS},
    {"ffn_gate.", PART_FFN},         {"ffn_up.", PART_FFN},
    {"ffn_down.", PART_FFN},
};

static void skip_layer(struct text_slice *name)
{
    if (!text_slice_skip(name, "blk."))
        return;
    while (name->bytes > 0 && name->data[0] != '.') {
        name->data++;
        name->bytes--;
    }
    (void)text_slice_skip(name, ".");
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static enum model_part part_of(struct text_slice name)
{
    skip_layer(&name);
    for (size_t i = 0; i < ARRAY_COUNT(PARTS); i++) {
        struct text_slice rest = name;
        if (!text_slice_skip(&rest, PARTS[i].beginning))
            continue;
        /* Folders have an expert's matrices one by one: "ffn_up.17.weight". */
        bool is_expert = PARTS[i].part == PART_FFN && rest.bytes > 0 && is_digit(rest.data[0]);
        return is_expert ? PART_EXPERTS : PARTS[i].part;
    }
    return PART_REST;
}

static uint64_t elements_of(const struct source_tensor *tensor)
{
    const uint64_t *d = tensor->dimensions;
    return d[0] * d[1] * d[2] * d[3];
}

static uint64_t bytes_of(const struct source_tensor *tensor)
{
    uint32_t elements, bytes;
    if (!tensor_type_block(tensor->type, &elements, &bytes))
        return 0;
    return elements_of(tensor) / elements * bytes;
}

static void add(struct model_parts *parts, enum model_part part, uint64_t bytes, uint64_t elements)
{
    parts->bytes[part] += bytes;
    parts->elements[part] += elements;
}

void model_parts_count(const model_source *source, const struct model_info *info,
                       struct model_parts *out)
{
    *out = (struct model_parts){0};
    uint64_t heads = info->n_heads + 2ull * info->n_kv_heads;
    for (uint64_t i = 0; i < model_source_tensor_count(source); i++) {
        const struct source_tensor *tensor = model_source_tensor_at(source, i);
        uint64_t bytes = bytes_of(tensor), elements = elements_of(tensor);
        struct text_slice name = tensor->name;
        skip_layer(&name);
        if (!text_slice_skip(&name, "attn_qkv.")) {
            add(out, part_of(tensor->name), bytes, elements);
            continue;
        }
        add(out, PART_QUERY, bytes * info->n_heads / heads, elements * info->n_heads / heads);
        add(out, PART_KEY_VALUE, bytes * 2 * info->n_kv_heads / heads,
            elements * 2 * info->n_kv_heads / heads);
    }
}
