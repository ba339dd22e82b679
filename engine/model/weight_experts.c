/* The weights of a mixture of experts. */
#include "weight_loader.h"

#include <stdio.h>
#include <string.h>

#include "memory.h"

/* One matrix of expert `index`: out of a stack of all, or a tensor of its own. */
static status take_expert(struct weight_loader *l, const char *part, uint32_t index,
                          uint32_t n_outputs, uint32_t n_cols, struct tensor_source *out)
{
    char stacked[TENSOR_NAME_MAX], own[TENSOR_NAME_MAX];
    (void)snprintf(stacked, sizeof stacked, ".%s_exps.weight", part);
    (void)snprintf(own, sizeof own, ".%s.%u.weight", part, index);
    const struct stack_place place = {index, l->shape->experts.n_experts};
    if (tensor_shelf_has(&l->shelf, stacked))
        return tensor_shelf_take_stacked(&l->shelf, stacked, place, n_outputs, n_cols, out);
    return tensor_shelf_take(&l->shelf, own, true, n_outputs, n_cols, out);
}

/* One weight of one or two parts, which must be of the types of expert 0's. */
static status load_expert(struct weight_loader *l, const char *const *parts, uint32_t index,
                          uint32_t n_outputs, uint32_t n_cols, struct expert_matrix *out)
{
    struct tensor_source sources[2];
    bool is_gated = parts[1] != NULL;
    struct weight_image image = {
        .sources = sources, .source_count = is_gated ? 2 : 1, .is_gated = is_gated};
    uint64_t mask = 0;
    status s = STATUS_OK;
    for (uint32_t i = 0; i < image.source_count && s == STATUS_OK; i++) {
        s = take_expert(l, parts[i], index, n_outputs, n_cols, &sources[i]);
        mask |= s == STATUS_OK ? weight_type_mask(sources[i].type) : 0;
    }
    if (s != STATUS_OK)
        return s;
    if (index > l->part->first_expert && mask != out->type_mask) {
        error_note_set(l->shelf.note, "layer %u: the experts are not all of the same tensor types",
                       l->shelf.layer);
        return STATUS_UNSUPPORTED;
    }
    out->type_mask = mask;
    return weight_make(l, &image, ".ffn_down_exps.weight", &out->w[index]);
}

/* Another rank has it. */
static void pass_over_expert(struct weight_loader *l, const char *const *parts, uint32_t index)
{
    for (uint32_t i = 0; i < 2 && parts[i] != NULL; i++) {
        char own[TENSOR_NAME_MAX];
        (void)snprintf(own, sizeof own, ".%s.%u.weight", parts[i], index);
        tensor_shelf_pass_over(&l->shelf, own);
    }
}

/* parts[1] NULL: a plain matrix; else gate and up. */
static status load_expert_matrix(struct weight_loader *l, const char *const *parts,
                                 uint32_t n_outputs, uint32_t n_cols, struct expert_matrix *out)
{
    uint32_t n_experts = l->shape->experts.n_experts;
    out->n_cols = n_cols;
    out->w = memory_allocate_array(n_experts, sizeof(weight *));
    if (out->w == NULL)
        return weight_refuse_memory(l);
    uint32_t first = l->part->first_expert, end = first + l->part->n_experts;
    status s = STATUS_OK;
    for (uint32_t e = 0; e < n_experts && s == STATUS_OK; e++) {
        if (e >= first && e < end)
            s = load_expert(l, parts, e, n_outputs, n_cols, out);
        else
            pass_over_expert(l, parts, e);
    }
    return s;
}

/* Biases of all experts, the parts' side by side: [n_experts, count * n]. */
static status load_expert_bias(struct weight_loader *l, const char *const *suffixes, uint32_t count,
                               uint32_t n, float **out)
{
    uint32_t n_experts = l->shape->experts.n_experts;
    float *part = memory_allocate_array((size_t)n_experts * n, sizeof *part);
    float *all = memory_allocate_array((size_t)n_experts * n * count, sizeof *all);
    status s = part != NULL && all != NULL ? STATUS_OK : weight_refuse_memory(l);
    for (uint32_t i = 0; i < count && s == STATUS_OK; i++) {
        bool is_found;
        s = tensor_shelf_read_floats(&l->shelf, suffixes[i], true, n_experts, n, part, &is_found);
        for (uint32_t e = 0; e < n_experts && s == STATUS_OK; e++)
            memcpy(all + ((size_t)e * count + i) * n, part + (size_t)e * n, n * sizeof *all);
    }
    if (s == STATUS_OK)
        s = weight_upload_floats(l, all, n_experts * n * count, out);
    memory_release(part);
    memory_release(all);
    return s;
}

status weight_load_experts(struct weight_loader *l, struct model_layer *layer)
{
    static const char *const gate_up[] = {"ffn_gate", "ffn_up"}, *const down[] = {"ffn_down", NULL};
    static const char *const gate_up_bias[] = {".ffn_gate_exps.bias", ".ffn_up_exps.bias"},
                             *const down_bias[] = {".ffn_down_exps.bias"};
    const struct model_shape *shape = l->shape;
    uint32_t n_experts = shape->experts.n_experts, d_hidden = shape->experts.d_hidden;
    bool has_bias = family_has(shape->family, FAMILY_BIASED_MOE);
    const struct stack router = {.suffixes = {".ffn_gate_inp.weight"},
                                 .n_outputs = {n_experts},
                                 .count = 1,
                                 .n_cols = shape->d};
    const struct stack router_bias = {
        .suffixes = {".ffn_gate_inp.bias"}, .n_outputs = {n_experts}, .count = 1};
    status s = weight_load_matrix(l, &router, &layer->router);
    if (s == STATUS_OK && has_bias)
        s = weight_load_bias(l, &router_bias, true, &layer->router);
    if (s == STATUS_OK)
        s = load_expert_matrix(l, gate_up, d_hidden, shape->d, &layer->expert_gate_up);
    if (s == STATUS_OK)
        s = load_expert_matrix(l, down, shape->d, d_hidden, &layer->expert_down);
    if (s == STATUS_OK && has_bias)
        s = load_expert_bias(l, gate_up_bias, 2, d_hidden, &layer->expert_gate_up.bias);
    if (s == STATUS_OK && has_bias)
        s = load_expert_bias(l, down_bias, 1, shape->d, &layer->expert_down.bias);
    return s;
}
