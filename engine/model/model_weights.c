/* Which tensors a decoder is made of, part by part. */
#include "model_weights.h"

#include <inttypes.h>
#include <math.h>

#include "check.h"
#include "memory.h"
#include "weight_loader.h"

/* The rank's columns of the MLP in a stack of gate above up; all of it, as it lies, where there is one rank. */
static void take_ffn_part(const struct weight_loader *l, struct stack *stack)
{
    const struct model_part *part = l->part;
    stack->outputs[0] = (struct model_span){part->first_ffn, part->d_ffn};
    stack->outputs[1] = (struct model_span){l->shape->d_ffn + part->first_ffn, part->d_ffn};
    stack->span_count = 2;
}

static status load_gate_up(struct weight_loader *l, struct matrix *out)
{
    uint32_t d_ffn = l->shape->d_ffn;
    struct stack stack = {.suffixes = {".ffn_gate.weight", ".ffn_up.weight"},
                          .n_outputs = {d_ffn, d_ffn},
                          .count = 2,
                          .n_cols = l->shape->d};
    struct tensor_source sources[STACK_MAX];
    struct weight_image image = {.sources = sources, .source_count = 2, .is_gated = true};
    if (family_has(l->shape->family, FAMILY_FUSED_QKV)) {
        stack.suffixes[0] = ".ffn_up.weight"; /* gate above up in one tensor */
        stack.n_outputs[0] = 2 * d_ffn;
        stack.count = 1;
    }
    take_ffn_part(l, &stack);
    status s = weight_take_stack(l, &stack, sources, out);
    return s == STATUS_OK ? weight_make(l, &image, ".ffn_up.weight", &out->w) : s;
}

static status load_qkv(struct weight_loader *l, struct matrix *out)
{
    const struct model_shape *shape = l->shape;
    uint32_t q = shape->n_heads * shape->d_head, kv = shape->n_kv_heads * shape->d_head;
    bool is_fused = family_has(shape->family, FAMILY_FUSED_QKV);
    struct stack matrix = {.suffixes = {".attn_q.weight", ".attn_k.weight", ".attn_v.weight"},
                           .n_outputs = {q, kv, kv},
                           .count = 3,
                           .n_cols = shape->d};
    if (is_fused) {
        matrix.suffixes[0] = ".attn_qkv.weight";
        matrix.n_outputs[0] = q + 2 * kv;
        matrix.count = 1;
    }
    if (l->part->size > 1) {
        model_part_qkv(l->part, shape, matrix.outputs);
        matrix.span_count = 3;
    }
    struct stack bias = matrix;
    static const char *const split_names[] = {".attn_q.bias", ".attn_k.bias", ".attn_v.bias"};
    for (uint32_t i = 0; i < bias.count; i++)
        bias.suffixes[i] = is_fused ? ".attn_qkv.bias" : split_names[i];
    status s = weight_load_matrix(l, &matrix, out);
    if (s == STATUS_OK)
        s = weight_load_bias(l, &bias, family_has(shape->family, FAMILY_QKV_BIAS), out);
    return s;
}

/* What some families have beside the matrices. */
static status load_attention_vectors(struct weight_loader *l, struct model_layer *layer)
{
    const struct model_shape *shape = l->shape;
    const struct stack sinks = {.suffixes = {".attn_sinks.weight"},
                                .n_outputs = {shape->n_heads},
                                .count = 1,
                                .outputs = {{l->part->first_head, l->part->n_heads}},
                                .span_count = 1};
    status s = weight_load_norm(l, ".attn_norm.weight", shape->d, &layer->attention_norm);
    if (s == STATUS_OK && family_has(shape->family, FAMILY_HEAD_NORMS))
        s = weight_load_norm(l, ".attn_q_norm.weight", shape->d_head, &layer->query_gain);
    if (s == STATUS_OK && family_has(shape->family, FAMILY_HEAD_NORMS))
        s = weight_load_norm(l, ".attn_k_norm.weight", shape->d_head, &layer->key_gain);
    if (s == STATUS_OK && family_has(shape->family, FAMILY_SINKS))
        s = weight_load_vector(l, &sinks, true, 0, &layer->sinks);
    if (s == STATUS_OK && family_has(shape->family, FAMILY_POST_NORMS))
        s = weight_load_norm(l, ".post_attention_norm.weight", shape->d,
                             &layer->post_attention_norm);
    return s;
}

/* --- layers --- */

static status load_attention(struct weight_loader *l, struct model_layer *layer)
{
    const struct model_shape *shape = l->shape;
    struct stack out = {.suffixes = {".attn_output.weight"},
                        .n_outputs = {shape->d},
                        .count = 1,
                        .n_cols = shape->n_heads * shape->d_head};
    if (l->part->size > 1)
        out.columns = (struct model_span){l->part->first_head * shape->d_head,
                                          l->part->n_heads * shape->d_head};
    status s = load_attention_vectors(l, layer);
    if (s == STATUS_OK)
        s = load_qkv(l, &layer->qkv);
    if (s == STATUS_OK)
        s = weight_load_matrix(l, &out, &layer->attention_out);
    if (s == STATUS_OK)
        s = weight_load_sum_bias(l, ".attn_output.bias", shape->d, &layer->attention_out);
    return s;
}

static status load_dense(struct weight_loader *l, struct model_layer *layer)
{
    const struct model_shape *shape = l->shape;
    struct stack gate_bias = {.suffixes = {".ffn_gate.bias", ".ffn_up.bias"},
                              .n_outputs = {shape->d_ffn, shape->d_ffn},
                              .count = 2};
    struct stack down = {.suffixes = {".ffn_down.weight"},
                         .n_outputs = {shape->d},
                         .count = 1,
                         .n_cols = shape->d_ffn};
    take_ffn_part(l, &gate_bias);
    if (l->part->size > 1)
        down.columns = (struct model_span){l->part->first_ffn, l->part->d_ffn};
    status s = load_gate_up(l, &layer->gate_up);
    if (s == STATUS_OK)
        s = weight_load_bias(l, &gate_bias, false, &layer->gate_up);
    if (s == STATUS_OK)
        s = weight_load_matrix(l, &down, &layer->down);
    if (s == STATUS_OK)
        s = weight_load_sum_bias(l, ".ffn_down.bias", shape->d, &layer->down);
    return s;
}

static status load_ffn(struct weight_loader *l, struct model_layer *layer)
{
    const struct model_family *family = l->shape->family;
    const char *norm = family_has(family, FAMILY_LATE_FFN_NORM) ? ".post_attention_norm.weight"
                                                                : ".ffn_norm.weight";
    status s = weight_load_norm(l, norm, l->shape->d, &layer->ffn_norm);
    if (s == STATUS_OK)
        s = l->shape->experts.n_experts > 0 ? weight_load_experts(l, layer) : load_dense(l, layer);
    if (s == STATUS_OK && family_has(family, FAMILY_POST_NORMS))
        s = weight_load_norm(l, ".post_ffw_norm.weight", l->shape->d, &layer->post_ffn_norm);
    return s;
}

static status load_layers(struct weight_loader *l)
{
    uint32_t n_layers = l->shape->n_layers;
    l->out->layers = memory_allocate_array(n_layers, sizeof *l->out->layers);
    if (l->out->layers == NULL)
        return weight_refuse_memory(l);
    l->out->n_layers = n_layers;
    l->out->n_experts = l->shape->experts.n_experts;
    status s = STATUS_OK;
    for (uint32_t i = 0; i < n_layers && s == STATUS_OK; i++) {
        l->shelf.layer = i;
        s = load_attention(l, &l->out->layers[i]);
        if (s == STATUS_OK)
            s = load_ffn(l, &l->out->layers[i]);
    }
    return s;
}

static status load_head(struct weight_loader *l)
{
    const struct model_shape *shape = l->shape;
    struct model_weights *out = l->out;
    struct stack stack = {.suffixes = {"token_embd.weight"},
                          .n_outputs = {shape->vocabulary},
                          .count = 1,
                          .n_cols = shape->d,
                          .outputs = {{l->part->first_token, l->part->vocabulary}},
                          .span_count = 1};
    status s = weight_load_matrix(l, &stack, &out->embedding);
    if (s == STATUS_OK)
        s = weight_load_norm(l, "output_norm.weight", shape->d, &out->output_norm);
    if (s != STATUS_OK)
        return s;
    out->is_head_tied = shape->is_head_tied;
    stack.suffixes[0] = "output.weight";
    if (!out->is_head_tied)
        return weight_load_matrix(l, &stack, &out->head);
    out->head = out->embedding;
    return STATUS_OK;
}

/* What each pair's frequency is divided by: llama3 scaling and LongRoPE, as converters write them. */
static status load_divisors(struct weight_loader *l, const char *name, float **out)
{
    uint32_t count = l->shape->rope.d_rope / 2;
    const struct stack stack = {.suffixes = {name}, .n_outputs = {count}, .count = 1};
    float *divisors = memory_allocate_array(count, sizeof *divisors);
    if (divisors == NULL)
        return weight_refuse_memory(l);
    bool is_found;
    status s = weight_take_vectors(l, &stack, false, divisors, &is_found);
    for (uint32_t i = 0; i < count && s == STATUS_OK && is_found; i++) {
        if (!(divisors[i] > 0) || !isfinite(divisors[i])) {
            error_note_set(l->shelf.note, "%s[%" PRIu32 "] is not a positive number", name, i);
            s = STATUS_INVALID;
        }
    }
    if (s == STATUS_OK && is_found)
        *out = divisors;
    else
        memory_release(divisors);
    return s;
}

static status load_rope_divisors(struct weight_loader *l)
{
    struct rope_divisors *rope = &l->out->rope;
    status s = load_divisors(l, "rope_freqs.weight", &rope->always);
    if (s == STATUS_OK)
        s = load_divisors(l, "rope_factors_short.weight", &rope->short_);
    if (s == STATUS_OK)
        s = load_divisors(l, "rope_factors_long.weight", &rope->long_);
    if (s == STATUS_OK && (rope->short_ == NULL) != (rope->long_ == NULL)) {
        error_note_set(l->shelf.note, "the tensor rope_factors_%s.weight is missing",
                       rope->short_ == NULL ? "short" : "long");
        s = STATUS_INVALID;
    }
    return s;
}

static status check_cache_used_up(const struct weight_loader *l)
{
    if (l->route->cache == NULL || weight_cache_is_used_up(l->route->cache))
        return STATUS_OK;
    error_note_set(l->shelf.note, "it has more weights than the model");
    return STATUS_INVALID;
}

status model_weights_load(const model_source *source, backend *b, const struct model_shape *shape,
                          const struct model_part *part, const struct weight_route *route,
                          struct model_weights *out, struct error_note *note)
{
    *out = (struct model_weights){.b = b};
    struct weight_loader l = {.shape = shape, .part = part, .route = route, .out = out};
    status s = tensor_shelf_init(&l.shelf, source, note);
    if (s == STATUS_OK) {
        s = load_rope_divisors(&l);
        if (s == STATUS_OK)
            s = load_layers(&l);
        if (s == STATUS_OK)
            s = load_head(&l);
        if (s == STATUS_OK)
            s = tensor_shelf_check_empty(&l.shelf);
        if (s == STATUS_OK)
            s = check_cache_used_up(&l);
        tensor_shelf_deinit(&l.shelf);
    }
    return s;
}

static void matrix_unload(backend *b, struct matrix *matrix)
{
    if (matrix->w != NULL)
        b->operations->weight_destroy(b, matrix->w);
    if (matrix->bias != NULL)
        b->operations->release(b, (void *)(uintptr_t)matrix->bias);
}

static void vector_unload(backend *b, float *device)
{
    if (device != NULL)
        b->operations->release(b, device);
}

static void experts_unload(backend *b, struct expert_matrix *matrix, uint32_t n_experts)
{
    for (uint32_t e = 0; e < n_experts && matrix->w != NULL; e++)
        if (matrix->w[e] != NULL)
            b->operations->weight_destroy(b, matrix->w[e]);
    memory_release(matrix->w);
    vector_unload(b, matrix->bias);
}

static void layer_unload(backend *b, struct model_layer *layer, uint32_t n_experts)
{
    float *const vectors[] = {layer->attention_norm, layer->post_attention_norm, layer->ffn_norm,
                              layer->post_ffn_norm,  layer->query_gain,          layer->key_gain,
                              layer->sinks};
    for (size_t i = 0; i < ARRAY_COUNT(vectors); i++)
        vector_unload(b, vectors[i]);
    matrix_unload(b, &layer->qkv);
    matrix_unload(b, &layer->attention_out);
    matrix_unload(b, &layer->gate_up);
    matrix_unload(b, &layer->down);
    matrix_unload(b, &layer->router);
    experts_unload(b, &layer->expert_gate_up, n_experts);
    experts_unload(b, &layer->expert_down, n_experts);
}

void model_weights_unload(struct model_weights *weights)
{
    backend *b = weights->b;
    for (uint32_t i = 0; i < weights->n_layers; i++)
        layer_unload(b, &weights->layers[i], weights->n_experts);
    matrix_unload(b, &weights->embedding);
    if (!weights->is_head_tied)
        matrix_unload(b, &weights->head);
    vector_unload(b, weights->output_norm);
    memory_release(weights->rope.always);
    memory_release(weights->rope.short_);
    memory_release(weights->rope.long_);
    memory_release(weights->layers);
    weight_cache_close(weights->cache); /* after the weights in it */
    *weights = (struct model_weights){.b = b};
}
