#include "model_weights.h"

#include <inttypes.h>
#include <math.h>
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
    uint32_t n_cols;
};

static uint32_t mask_of(enum tensor_type type)
{
    CHECK((unsigned)type < 32);
    return UINT32_C(1) << type;
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

static status load_gate_up(struct loader *l, struct matrix *out)
{
    uint32_t d_ffn = l->shape->d_ffn;
    const struct stack stack = {
        {".ffn_gate.weight", ".ffn_up.weight"}, {d_ffn, d_ffn}, 2, l->shape->d};
    struct tensor_source sources[STACK_MAX];
    struct weight_image image = {.sources = sources, .source_count = 2, .is_gated = true};
    status s = take_stack(l, &stack, sources, out);
    return s == STATUS_OK ? make_weight(l, &image, ".ffn_gate.weight", &out->w) : s;
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
        struct tensor_source source;
        /* The first decides: a file with a bias for Q alone is broken. */
        status s = tensor_shelf_take(&l->shelf, stack->suffixes[i], is_required || *is_found, 1,
                                     stack->n_outputs[i], &source);
        if (s != STATUS_OK)
            return s;
        if (source.data == NULL)
            return STATUS_OK;
        tensor_dequantise(&source, 0, 0, source.n_cols, out);
        out += source.n_cols;
        *is_found = true;
    }
    return STATUS_OK;
}

/* Vectors stacked into one on the device; *out stays NULL when they are absent and not required. */
static status load_vector(struct loader *l, const struct stack *stack, bool is_required,
                          float **out)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < stack->count; i++)
        count += stack->n_outputs[i];
    float *host = memory_allocate_array(count, sizeof *host);
    if (host == NULL)
        return refuse_memory(l);
    bool is_found;
    status s = take_vectors(l, stack, is_required, host, &is_found);
    if (s == STATUS_OK && is_found)
        s = upload_floats(l, host, count, out);
    memory_release(host);
    return s;
}

static status load_bias(struct loader *l, const struct stack *stack, bool is_required,
                        struct matrix *matrix)
{
    float *bias = NULL;
    status s = load_vector(l, stack, is_required, &bias);
    matrix->bias = bias;
    return s;
}

static status load_norm(struct loader *l, const char *suffix, float **out)
{
    const struct stack stack = {{suffix}, {l->shape->d}, 1, 0};
    return load_vector(l, &stack, true, out);
}

static status load_attention(struct loader *l, struct model_layer *layer)
{
    const struct model_shape *shape = l->shape;
    uint32_t q = shape->n_heads * shape->d_head, kv = shape->n_kv_heads * shape->d_head;
    const struct stack qkv = {
        {".attn_q.weight", ".attn_k.weight", ".attn_v.weight"}, {q, kv, kv}, 3, shape->d};
    const struct stack qkv_bias = {
        {".attn_q.bias", ".attn_k.bias", ".attn_v.bias"}, {q, kv, kv}, 3, 0};
    const struct stack out = {{".attn_output.weight"}, {shape->d}, 1, q};
    const struct stack out_bias = {{".attn_output.bias"}, {shape->d}, 1, 0};
    status s = load_norm(l, ".attn_norm.weight", &layer->attention_norm);
    if (s == STATUS_OK)
        s = load_matrix(l, &qkv, &layer->qkv);
    if (s == STATUS_OK)
        s = load_bias(l, &qkv_bias, shape->family->requires_qkv_bias, &layer->qkv);
    if (s == STATUS_OK)
        s = load_matrix(l, &out, &layer->attention_out);
    if (s == STATUS_OK)
        s = load_bias(l, &out_bias, false, &layer->attention_out);
    return s;
}

static status load_ffn(struct loader *l, struct model_layer *layer)
{
    const struct model_shape *shape = l->shape;
    const struct stack down = {{".ffn_down.weight"}, {shape->d}, 1, shape->d_ffn};
    const struct stack down_bias = {{".ffn_down.bias"}, {shape->d}, 1, 0};
    status s = load_norm(l, ".ffn_norm.weight", &layer->ffn_norm);
    if (s == STATUS_OK)
        s = load_gate_up(l, &layer->gate_up);
    if (s == STATUS_OK)
        s = load_matrix(l, &down, &layer->down);
    if (s == STATUS_OK)
        s = load_bias(l, &down_bias, false, &layer->down);
    return s;
}

static status load_layers(struct loader *l)
{
    uint32_t n_layers = l->shape->n_layers;
    l->out->layers = memory_allocate_array(n_layers, sizeof *l->out->layers);
    if (l->out->layers == NULL)
        return refuse_memory(l);
    l->out->n_layers = n_layers;
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
        s = load_norm(l, "output_norm.weight", &out->output_norm);
    if (s != STATUS_OK)
        return s;
    out->is_head_tied = gguf_tensor_find(l->shelf.file, "output.weight") == NULL;
    if (!out->is_head_tied)
        return load_matrix(l, &head, &out->head);
    out->head = out->embedding;
    return STATUS_OK;
}

/* llama3 scaling, written by converters as what each pair's frequency is divided by. */
static status load_rope_divisors(struct loader *l)
{
    uint32_t count = l->shape->rope.d_rope / 2;
    const struct stack stack = {{"rope_freqs.weight"}, {count}, 1, 0};
    float *divisors = memory_allocate_array(count, sizeof *divisors);
    if (divisors == NULL)
        return refuse_memory(l);
    bool is_found;
    status s = take_vectors(l, &stack, false, divisors, &is_found);
    for (uint32_t i = 0; i < count && s == STATUS_OK && is_found; i++) {
        if (!(divisors[i] > 0) || !isfinite(divisors[i])) {
            error_note_set(l->shelf.note, "rope_freqs.weight[%" PRIu32 "] is not a positive number",
                           i);
            s = STATUS_INVALID;
        }
    }
    if (s == STATUS_OK && is_found)
        l->out->rope_divisors = divisors;
    else
        memory_release(divisors);
    return s;
}

static status check_cache_used_up(const struct loader *l)
{
    if (l->route->cache == NULL || weight_cache_is_used_up(l->route->cache))
        return STATUS_OK;
    error_note_set(l->shelf.note, "it has more weights than the model");
    return STATUS_INVALID;
}

status model_weights_load(const gguf *file, backend *b, const struct model_shape *shape,
                          const struct weight_route *route, struct model_weights *out,
                          struct error_note *note)
{
    *out = (struct model_weights){.b = b};
    struct loader l = {.shape = shape, .route = route, .out = out};
    status s = tensor_shelf_init(&l.shelf, file, note);
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

void model_weights_unload(struct model_weights *weights)
{
    backend *b = weights->b;
    for (uint32_t i = 0; i < weights->n_layers; i++) {
        struct model_layer *layer = &weights->layers[i];
        vector_unload(b, layer->attention_norm);
        vector_unload(b, layer->ffn_norm);
        matrix_unload(b, &layer->qkv);
        matrix_unload(b, &layer->attention_out);
        matrix_unload(b, &layer->gate_up);
        matrix_unload(b, &layer->down);
    }
    matrix_unload(b, &weights->embedding);
    if (!weights->is_head_tied)
        matrix_unload(b, &weights->head);
    vector_unload(b, weights->output_norm);
    memory_release(weights->rope_divisors);
    memory_release(weights->layers);
    weight_cache_close(weights->cache); /* after the weights in it */
    *weights = (struct model_weights){.b = b};
}
