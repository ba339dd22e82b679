/* Which tensors a decoder is made of, part by part. */
#include "model_weights.h"

#include <inttypes.h>
#include <math.h>

#include "check.h"
#include "memory.h"
#include "weight_loader.h"

/* Rows [first, first + n_outputs) of a matrix. */
static status cut_source(struct weight_loader *l, const char *suffix,
                         const struct tensor_source *whole, uint32_t first, uint32_t n_outputs,
                         struct tensor_source *out)
{
    uint32_t elements, bytes;
    CHECK(tensor_type_block(whole->type, &elements, &bytes));
    *out = *whole;
    out->n_outputs = n_outputs;
    out->data = (const uint8_t *)whole->data + (uint64_t)whole->n_cols / elements * bytes * first;
    if (whole->scales == NULL || whole->scale_outputs >= first + n_outputs)
        return STATUS_OK;
    if (first % whole->scale_outputs != 0)
        return weight_refuse(l, STATUS_UNSUPPORTED, suffix);
    uint32_t parts = (whole->n_cols + whole->scale_cols - 1) / whole->scale_cols;
    out->scales = whole->scales + (size_t)(first / whole->scale_outputs) * parts;
    return STATUS_OK;
}

/* Gate above up in one tensor. */
static status take_fused_gate_up(struct weight_loader *l, struct tensor_source sources[2],
                                 struct matrix *out)
{
    const char *suffix = ".ffn_up.weight";
    uint32_t d_ffn = l->shape->d_ffn;
    const struct stack stack = {{suffix}, {2 * d_ffn}, 1, l->shape->d};
    struct tensor_source whole;
    status s = weight_take_stack(l, &stack, &whole, out);
    if (s == STATUS_OK)
        s = cut_source(l, suffix, &whole, 0, d_ffn, &sources[0]);
    if (s == STATUS_OK)
        s = cut_source(l, suffix, &whole, d_ffn, d_ffn, &sources[1]);
    return s;
}

static status load_gate_up(struct weight_loader *l, struct matrix *out)
{
    uint32_t d_ffn = l->shape->d_ffn;
    const struct stack stack = {
        {".ffn_gate.weight", ".ffn_up.weight"}, {d_ffn, d_ffn}, 2, l->shape->d};
    struct tensor_source sources[STACK_MAX];
    struct weight_image image = {.sources = sources, .source_count = 2, .is_gated = true};
    status s = family_has(l->shape->family, FAMILY_FUSED_QKV)
                   ? take_fused_gate_up(l, sources, out)
                   : weight_take_stack(l, &stack, sources, out);
    return s == STATUS_OK ? weight_make(l, &image, ".ffn_up.weight", &out->w) : s;
}

static status load_qkv(struct weight_loader *l, struct matrix *out)
{
    const struct model_shape *shape = l->shape;
    uint32_t q = shape->n_heads * shape->d_head, kv = shape->n_kv_heads * shape->d_head;
    const struct stack split = {
        {".attn_q.weight", ".attn_k.weight", ".attn_v.weight"}, {q, kv, kv}, 3, shape->d};
    const struct stack bias = {{".attn_q.bias", ".attn_k.bias", ".attn_v.bias"}, {q, kv, kv}, 3, 0};
    const struct stack fused = {{".attn_qkv.weight"}, {q + 2 * kv}, 1, shape->d};
    const struct stack fused_bias = {{".attn_qkv.bias"}, {q + 2 * kv}, 1, 0};
    bool is_fused = family_has(shape->family, FAMILY_FUSED_QKV);
    status s = weight_load_matrix(l, is_fused ? &fused : &split, out);
    if (s == STATUS_OK)
        s = weight_load_bias(l, is_fused ? &fused_bias : &bias,
                             family_has(shape->family, FAMILY_QKV_BIAS), out);
    return s;
}

/* What some families have beside the matrices. */
static status load_attention_vectors(struct weight_loader *l, struct model_layer *layer)
{
    const struct model_shape *shape = l->shape;
    const struct stack sinks = {{".attn_sinks.weight"}, {shape->n_heads}, 1, 0};
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
    const struct stack out = {
        {".attn_output.weight"}, {shape->d}, 1, shape->n_heads * shape->d_head};
    const struct stack out_bias = {{".attn_output.bias"}, {shape->d}, 1, 0};
    status s = load_attention_vectors(l, layer);
    if (s == STATUS_OK)
        s = load_qkv(l, &layer->qkv);
    if (s == STATUS_OK)
        s = weight_load_matrix(l, &out, &layer->attention_out);
    if (s == STATUS_OK)
        s = weight_load_bias(l, &out_bias, false, &layer->attention_out);
    return s;
}

static status load_dense(struct weight_loader *l, struct model_layer *layer)
{
    const struct model_shape *shape = l->shape;
    const struct stack gate_bias = {
        {".ffn_gate.bias", ".ffn_up.bias"}, {shape->d_ffn, shape->d_ffn}, 2, 0};
    const struct stack down = {{".ffn_down.weight"}, {shape->d}, 1, shape->d_ffn};
    const struct stack down_bias = {{".ffn_down.bias"}, {shape->d}, 1, 0};
    status s = load_gate_up(l, &layer->gate_up);
    if (s == STATUS_OK)
        s = weight_load_bias(l, &gate_bias, false, &layer->gate_up);
    if (s == STATUS_OK)
        s = weight_load_matrix(l, &down, &layer->down);
    if (s == STATUS_OK)
        s = weight_load_bias(l, &down_bias, false, &layer->down);
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
    const struct stack embedding = {{"token_embd.weight"}, {shape->vocabulary}, 1, shape->d};
    const struct stack head = {{"output.weight"}, {shape->vocabulary}, 1, shape->d};
    status s = weight_load_matrix(l, &embedding, &out->embedding);
    if (s == STATUS_OK)
        s = weight_load_norm(l, "output_norm.weight", shape->d, &out->output_norm);
    if (s != STATUS_OK)
        return s;
    out->is_head_tied = shape->is_head_tied;
    if (!out->is_head_tied)
        return weight_load_matrix(l, &head, &out->head);
    out->head = out->embedding;
    return STATUS_OK;
}

/* What each pair's frequency is divided by: llama3 scaling and LongRoPE, as converters write them. */
static status load_divisors(struct weight_loader *l, const char *name, float **out)
{
    uint32_t count = l->shape->rope.d_rope / 2;
    const struct stack stack = {{name}, {count}, 1, 0};
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
                          const struct weight_route *route, struct model_weights *out,
                          struct error_note *note)
{
    *out = (struct model_weights){.b = b};
    struct weight_loader l = {.shape = shape, .route = route, .out = out};
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
