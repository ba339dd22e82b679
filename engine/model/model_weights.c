#include "model_weights.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "memory.h"
#include "tensor_shelf.h"

/* Q, K and V. */
#define STACK_MAX 3u

struct loader {
    struct tensor_shelf shelf;
    const struct model_shape *shape;
    const struct weight_route *route;
    struct model_weights *out;
};

/* One row of a matrix to build: its sources' names and how many outputs each has. */
struct stack {
    const char *suffixes[STACK_MAX];
    uint32_t n_outputs[STACK_MAX];
    uint32_t count;
    uint32_t n_cols; /* unused for vectors */
};

static uint64_t mask_of(enum tensor_type type)
{
    CHECK((unsigned)type < TENSOR_TYPE_COUNT);
    return UINT64_C(1) << type;
}

static status refuse_weight(struct loader *l, status s, const char *suffix)
{
    char name[TENSOR_NAME_MAX];
    tensor_shelf_name(&l->shelf, suffix, name);
    if (s == STATUS_NO_MEMORY)
        error_note_set(l->shelf.note, "no memory for the weight of %s", name);
    else
        error_note_set(l->shelf.note, "the %s backend cannot use the tensor %s (%s)",
                       l->out->b->operations->name, name, status_name(s));
    return s;
}

static status refuse_memory(const struct loader *l)
{
    error_note_set(l->shelf.note, "no memory for the tables of the weights");
    return STATUS_NO_MEMORY;
}

/* Takes the stack's sources off the shelf. */
static status take_stack(struct loader *l, const struct stack *stack, struct tensor_source *sources,
                         struct matrix *out)
{
    out->n_cols = stack->n_cols;
    for (uint32_t i = 0; i < stack->count; i++) {
        status s = tensor_shelf_take(&l->shelf, stack->suffixes[i], true, stack->n_outputs[i],
                                     stack->n_cols, &sources[i]);
        if (s != STATUS_OK)
            return s;
        out->type_mask |= mask_of(sources[i].type);
    }
    return STATUS_OK;
}

static status take_weight(struct loader *l, struct weight_image *image, weight **out)
{
    status s = weight_cache_take(l->route->cache, l->out->b, image, l->shelf.note);
    if (s != STATUS_OK)
        return s;
    s = l->out->b->operations->weight_restore(l->out->b, image, out);
    if (s != STATUS_OK)
        error_note_set(l->shelf.note, "a weight of %" PRIu64 " bytes was refused (%s)",
                       image->bytes, status_name(s));
    return s;
}

/* By the route, from the image's sources. `suffix` is for messages. */
static status make_weight(struct loader *l, struct weight_image *image, const char *suffix,
                          weight **out)
{
    backend *b = l->out->b;
    const struct tensor_source *sources = image->sources;
    weight *w;
    if (l->route->cache != NULL) {
        status s = take_weight(l, image, &w);
        if (s != STATUS_OK)
            return s;
    } else {
        status s = image->is_gated
                       ? b->operations->weight_create_gated(b, &sources[0], &sources[1], &w)
                       : b->operations->weight_create(b, sources, image->source_count, &w);
        if (s != STATUS_OK)
            return refuse_weight(l, s, suffix);
    }
    l->out->bytes += b->operations->weight_bytes(w);
    tensor_shelf_forget(&l->shelf);
    if (l->route->writer == NULL) {
        *out = w;
        return STATUS_OK;
    }
    status s = weight_cache_writer_append(l->route->writer, b, w, image, l->shelf.note);
    b->operations->weight_destroy(b, w);
    return s;
}

static status load_matrix(struct loader *l, const struct stack *stack, struct matrix *out)
{
    struct tensor_source sources[STACK_MAX];
    struct weight_image image = {.sources = sources, .source_count = stack->count};
    status s = take_stack(l, stack, sources, out);
    return s == STATUS_OK ? make_weight(l, &image, stack->suffixes[0], &out->w) : s;
}

/* Rows [first, first + n_outputs) of a matrix. */
static status cut_source(struct loader *l, const char *suffix, const struct tensor_source *whole,
                         uint32_t first, uint32_t n_outputs, struct tensor_source *out)
{
    uint32_t elements, bytes;
    CHECK(tensor_type_block(whole->type, &elements, &bytes));
    *out = *whole;
    out->n_outputs = n_outputs;
    out->data = (const uint8_t *)whole->data + (uint64_t)whole->n_cols / elements * bytes * first;
    if (whole->scales == NULL || whole->scale_outputs >= first + n_outputs)
        return STATUS_OK;
    if (first % whole->scale_outputs != 0)
        return refuse_weight(l, STATUS_UNSUPPORTED, suffix);
    uint32_t parts = (whole->n_cols + whole->scale_cols - 1) / whole->scale_cols;
    out->scales = whole->scales + (size_t)(first / whole->scale_outputs) * parts;
    return STATUS_OK;
}

/* Gate above up in one tensor. */
static status take_fused_gate_up(struct loader *l, struct tensor_source sources[2],
                                 struct matrix *out)
{
    const char *suffix = ".ffn_up.weight";
    uint32_t d_ffn = l->shape->d_ffn;
    const struct stack stack = {{suffix}, {2 * d_ffn}, 1, l->shape->d};
    struct tensor_source whole;
    status s = take_stack(l, &stack, &whole, out);
    if (s == STATUS_OK)
        s = cut_source(l, suffix, &whole, 0, d_ffn, &sources[0]);
    if (s == STATUS_OK)
        s = cut_source(l, suffix, &whole, d_ffn, d_ffn, &sources[1]);
    return s;
}

static status load_gate_up(struct loader *l, struct matrix *out)
{
    uint32_t d_ffn = l->shape->d_ffn;
    const struct stack stack = {
        {".ffn_gate.weight", ".ffn_up.weight"}, {d_ffn, d_ffn}, 2, l->shape->d};
    struct tensor_source sources[STACK_MAX];
    struct weight_image image = {.sources = sources, .source_count = 2, .is_gated = true};
    status s = family_has(l->shape->family, FAMILY_FUSED_QKV) ? take_fused_gate_up(l, sources, out)
                                                              : take_stack(l, &stack, sources, out);
    return s == STATUS_OK ? make_weight(l, &image, ".ffn_up.weight", &out->w) : s;
}

/* Puts floats on the device. */
static status upload_floats(struct loader *l, const float *values, uint32_t count, float **out)
{
    const struct backend_operations *operations = l->out->b->operations;
    uint64_t bytes = count * sizeof *values;
    float *device = operations->allocate(l->out->b, bytes);
    if (device == NULL) {
        error_note_set(l->shelf.note, "no memory for a vector of %" PRIu32 " floats", count);
        return STATUS_NO_MEMORY;
    }
    operations->upload(l->out->b, device, values, bytes);
    l->out->bytes += bytes;
    *out = device;
    return STATUS_OK;
}

/* Vectors of whatever type, one after the other, into host floats. *is_found: all are there; none:
 * STATUS_OK too. */
static status take_vectors(struct loader *l, const struct stack *stack, bool is_required,
                           float *out, bool *is_found)
{
    *is_found = false;
    for (uint32_t i = 0; i < stack->count; i++) {
        /* The first decides: a file with a bias for Q alone is broken. */
        status s = tensor_shelf_read_floats(&l->shelf, stack->suffixes[i], is_required || *is_found,
                                            1, stack->n_outputs[i], out, is_found);
        if (s != STATUS_OK || !*is_found)
            return s;
        out += stack->n_outputs[i];
    }
    return STATUS_OK;
}

/* Vectors stacked into one on the device, `offset` added; *out stays NULL when they are absent and not
 * required. */
static status load_vector(struct loader *l, const struct stack *stack, bool is_required,
                          float offset, float **out)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < stack->count; i++)
        count += stack->n_outputs[i];
    float *host = memory_allocate_array(count, sizeof *host);
    if (host == NULL)
        return refuse_memory(l);
    bool is_found;
    status s = take_vectors(l, stack, is_required, host, &is_found);
    for (uint32_t i = 0; i < count; i++)
        host[i] += offset;
    if (s == STATUS_OK && is_found)
        s = upload_floats(l, host, count, out);
    memory_release(host);
    return s;
}

static status load_bias(struct loader *l, const struct stack *stack, bool is_required,
                        struct matrix *matrix)
{
    float *bias = NULL;
    status s = load_vector(l, stack, is_required, 0, &bias);
    matrix->bias = bias;
    return s;
}

static status load_norm(struct loader *l, const char *suffix, uint32_t width, float **out)
{
    const struct stack stack = {{suffix}, {width}, 1, 0};
    return load_vector(l, &stack, true, l->shape->norm_offset, out);
}

static status load_qkv(struct loader *l, struct matrix *out)
{
    const struct model_shape *shape = l->shape;
    uint32_t q = shape->n_heads * shape->d_head, kv = shape->n_kv_heads * shape->d_head;
    const struct stack split = {
        {".attn_q.weight", ".attn_k.weight", ".attn_v.weight"}, {q, kv, kv}, 3, shape->d};
    const struct stack bias = {{".attn_q.bias", ".attn_k.bias", ".attn_v.bias"}, {q, kv, kv}, 3, 0};
    const struct stack fused = {{".attn_qkv.weight"}, {q + 2 * kv}, 1, shape->d};
    const struct stack fused_bias = {{".attn_qkv.bias"}, {q + 2 * kv}, 1, 0};
    bool is_fused = family_has(shape->family, FAMILY_FUSED_QKV);
    status s = load_matrix(l, is_fused ? &fused : &split, out);
    if (s == STATUS_OK)
        s = load_bias(l, is_fused ? &fused_bias : &bias, family_has(shape->family, FAMILY_QKV_BIAS),
                      out);
    return s;
}

/* What some families have beside the matrices. */
static status load_attention_vectors(struct loader *l, struct model_layer *layer)
{
    const struct model_shape *shape = l->shape;
    const struct stack sinks = {{".attn_sinks.weight"}, {shape->n_heads}, 1, 0};
    status s = load_norm(l, ".attn_norm.weight", shape->d, &layer->attention_norm);
    if (s == STATUS_OK && family_has(shape->family, FAMILY_HEAD_NORMS))
        s = load_norm(l, ".attn_q_norm.weight", shape->d_head, &layer->query_gain);
    if (s == STATUS_OK && family_has(shape->family, FAMILY_HEAD_NORMS))
        s = load_norm(l, ".attn_k_norm.weight", shape->d_head, &layer->key_gain);
    if (s == STATUS_OK && family_has(shape->family, FAMILY_SINKS))
        s = load_vector(l, &sinks, true, 0, &layer->sinks);
    if (s == STATUS_OK && family_has(shape->family, FAMILY_POST_NORMS))
        s = load_norm(l, ".post_attention_norm.weight", shape->d, &layer->post_attention_norm);
    return s;
}

/* --- experts --- */

/* One matrix of expert `index`: out of a stack of all, or a tensor of its own. */
static status take_expert(struct loader *l, const char *part, uint32_t index, uint32_t n_outputs,
                          uint32_t n_cols, struct tensor_source *out)
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
static status load_expert(struct loader *l, const char *const *parts, uint32_t index,
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
        mask |= s == STATUS_OK ? mask_of(sources[i].type) : 0;
    }
    if (s != STATUS_OK)
        return s;
    if (index > 0 && mask != out->type_mask) {
        error_note_set(l->shelf.note, "layer %u: the experts are not all of the same tensor types",
                       l->shelf.layer);
        return STATUS_UNSUPPORTED;
    }
    out->type_mask = mask;
    return make_weight(l, &image, ".ffn_down_exps.weight", &out->w[index]);
}

/* parts[1] NULL: a plain matrix; else gate and up. */
static status load_expert_matrix(struct loader *l, const char *const *parts, uint32_t n_outputs,
                                 uint32_t n_cols, struct expert_matrix *out)
{
    uint32_t n_experts = l->shape->experts.n_experts;
    out->n_cols = n_cols;
    out->w = memory_allocate_array(n_experts, sizeof(weight *));
    if (out->w == NULL)
        return refuse_memory(l);
    status s = STATUS_OK;
    for (uint32_t e = 0; e < n_experts && s == STATUS_OK; e++)
        s = load_expert(l, parts, e, n_outputs, n_cols, out);
    return s;
}

/* Biases of all experts, the parts' side by side: [n_experts, count * n]. */
static status load_expert_bias(struct loader *l, const char *const *suffixes, uint32_t count,
                               uint32_t n, float **out)
{
    uint32_t n_experts = l->shape->experts.n_experts;
    float *part = memory_allocate_array((size_t)n_experts * n, sizeof *part);
    float *all = memory_allocate_array((size_t)n_experts * n * count, sizeof *all);
    status s = part != NULL && all != NULL ? STATUS_OK : refuse_memory(l);
    for (uint32_t i = 0; i < count && s == STATUS_OK; i++) {
        bool is_found;
        s = tensor_shelf_read_floats(&l->shelf, suffixes[i], true, n_experts, n, part, &is_found);
        for (uint32_t e = 0; e < n_experts && s == STATUS_OK; e++)
            memcpy(all + ((size_t)e * count + i) * n, part + (size_t)e * n, n * sizeof *all);
    }
    if (s == STATUS_OK)
        s = upload_floats(l, all, n_experts * n * count, out);
    memory_release(part);
    memory_release(all);
    return s;
}

static status load_experts(struct loader *l, struct model_layer *layer)
{
    static const char *const gate_up[] = {"ffn_gate", "ffn_up"}, *const down[] = {"ffn_down", NULL};
    static const char *const gate_up_bias[] = {".ffn_gate_exps.bias", ".ffn_up_exps.bias"},
                             *const down_bias[] = {".ffn_down_exps.bias"};
    const struct model_shape *shape = l->shape;
    uint32_t n_experts = shape->experts.n_experts, d_hidden = shape->experts.d_hidden;
    bool has_bias = family_has(shape->family, FAMILY_BIASED_MOE);
    const struct stack router = {{".ffn_gate_inp.weight"}, {n_experts}, 1, shape->d};
    const struct stack router_bias = {{".ffn_gate_inp.bias"}, {n_experts}, 1, 0};
    status s = load_matrix(l, &router, &layer->router);
    if (s == STATUS_OK && has_bias)
        s = load_bias(l, &router_bias, true, &layer->router);
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

/* --- layers --- */

static status load_attention(struct loader *l, struct model_layer *layer)
{
    const struct model_shape *shape = l->shape;
    const struct stack out = {
        {".attn_output.weight"}, {shape->d}, 1, shape->n_heads * shape->d_head};
    const struct stack out_bias = {{".attn_output.bias"}, {shape->d}, 1, 0};
    status s = load_attention_vectors(l, layer);
    if (s == STATUS_OK)
        s = load_qkv(l, &layer->qkv);
    if (s == STATUS_OK)
        s = load_matrix(l, &out, &layer->attention_out);
    if (s == STATUS_OK)
        s = load_bias(l, &out_bias, false, &layer->attention_out);
    return s;
}

static status load_dense(struct loader *l, struct model_layer *layer)
{
    const struct model_shape *shape = l->shape;
    const struct stack gate_bias = {
        {".ffn_gate.bias", ".ffn_up.bias"}, {shape->d_ffn, shape->d_ffn}, 2, 0};
    const struct stack down = {{".ffn_down.weight"}, {shape->d}, 1, shape->d_ffn};
    const struct stack down_bias = {{".ffn_down.bias"}, {shape->d}, 1, 0};
    status s = load_gate_up(l, &layer->gate_up);
    if (s == STATUS_OK)
        s = load_bias(l, &gate_bias, false, &layer->gate_up);
    if (s == STATUS_OK)
        s = load_matrix(l, &down, &layer->down);
    if (s == STATUS_OK)
        s = load_bias(l, &down_bias, false, &layer->down);
    return s;
}

static status load_ffn(struct loader *l, struct model_layer *layer)
{
    const struct model_family *family = l->shape->family;
    const char *norm = family_has(family, FAMILY_LATE_FFN_NORM) ? ".post_attention_norm.weight"
                                                                : ".ffn_norm.weight";
    status s = load_norm(l, norm, l->shape->d, &layer->ffn_norm);
    if (s == STATUS_OK)
        s = l->shape->experts.n_experts > 0 ? load_experts(l, layer) : load_dense(l, layer);
    if (s == STATUS_OK && family_has(family, FAMILY_POST_NORMS))
        s = load_norm(l, ".post_ffw_norm.weight", l->shape->d, &layer->post_ffn_norm);
    return s;
}

static status load_layers(struct loader *l)
{
    uint32_t n_layers = l->shape->n_layers;
    l->out->layers = memory_allocate_array(n_layers, sizeof *l->out->layers);
    if (l->out->layers == NULL)
        return refuse_memory(l);
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

static status load_head(struct loader *l)
{
    const struct model_shape *shape = l->shape;
    struct model_weights *out = l->out;
    const struct stack embedding = {{"token_embd.weight"}, {shape->vocabulary}, 1, shape->d};
    const struct stack head = {{"output.weight"}, {shape->vocabulary}, 1, shape->d};
    status s = load_matrix(l, &embedding, &out->embedding);
    if (s == STATUS_OK)
        s = load_norm(l, "output_norm.weight", shape->d, &out->output_norm);
    if (s != STATUS_OK)
        return s;
    out->is_head_tied = shape->is_head_tied;
    if (!out->is_head_tied)
        return load_matrix(l, &head, &out->head);
    out->head = out->embedding;
    return STATUS_OK;
}

/* What each pair's frequency is divided by: llama3 scaling and LongRoPE, as converters write them. */
static status load_divisors(struct loader *l, const char *name, float **out)
{
    uint32_t count = l->shape->rope.d_rope / 2;
    const struct stack stack = {{name}, {count}, 1, 0};
    float *divisors = memory_allocate_array(count, sizeof *divisors);
    if (divisors == NULL)
        return refuse_memory(l);
    bool is_found;
    status s = take_vectors(l, &stack, false, divisors, &is_found);
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

static status load_rope_divisors(struct loader *l)
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

static status check_cache_used_up(const struct loader *l)
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
    struct loader l = {.shape = shape, .route = route, .out = out};
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
