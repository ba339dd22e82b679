/* Each tensor has two names: Hugging Face's, below "bert.", "roberta." or nothing, and GGUF's. Both files
 * hold matrices as rows of outputs, so a source is the same struct whichever it came from.
 *
 * Tensors of a safetensors file lie at any byte; what must be aligned is copied before use. */
#include "encoder_weights.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "memory.h"
#include "safetensors_source.h"

#define NAME_BYTES_MAX  160u
#define STACK_COUNT_MAX 3u

struct names {
    const char *hf, *gguf; /* with %u for the layer where there is one; gguf NULL: there is none */
};

struct loader {
    const safetensors *folder;
    const gguf *file;
    const struct encoder_shape *shape;
    struct encoder_weights *out;
    struct error_note *note;
    const char *prefix; /* of Hugging Face's names */
    uint32_t layer;
};

/* A tensor's data at a place where it can be read: in the mapping, or copied. */
struct placed_source {
    struct tensor_source source;
    void *copy; /* owned; NULL: in the mapping */
};

static void make_name(const struct loader *l, const char *pattern, bool has_prefix,
                      char name[NAME_BYTES_MAX])
{
    int used = snprintf(name, NAME_BYTES_MAX, "%s", has_prefix ? l->prefix : "");
    const char *mark = strchr(pattern, '%');
    CHECK(used >= 0);
    if (mark == NULL)
        snprintf(name + used, NAME_BYTES_MAX - (size_t)used, "%s", pattern);
    else
        snprintf(name + used, NAME_BYTES_MAX - (size_t)used, "%.*s%" PRIu32 "%s",
                 (int)(mark - pattern), pattern, l->layer, mark + 2);
}

/* What a vector or matrix of the file is; data NULL when there is none. */
static status find_hf(const struct loader *l, const char *name, struct tensor_source *out)
{
    const struct safetensors_tensor *t = safetensors_tensor_find(l->folder, name);
    *out = (struct tensor_source){.data = NULL};
    if (t == NULL)
        return STATUS_OK;
    if (!safetensors_source(t, out)) {
        error_note_set(l->note, "%s: a tensor of type %s and %u dimensions is not supported", name,
                       safetensors_type_name(t->type), t->dimension_count);
        return STATUS_UNSUPPORTED;
    }
    return STATUS_OK;
}

static status find_gguf(const struct loader *l, const char *name, struct tensor_source *out)
{
    const struct gguf_tensor *t = gguf_tensor_find(l->file, name);
    *out = (struct tensor_source){.data = NULL};
    if (t == NULL)
        return STATUS_OK;
    if (t->dimension_count > 2 || t->dimensions[0] > UINT32_MAX || t->dimensions[1] > UINT32_MAX) {
        error_note_set(l->note, "%s: its shape is not supported", name);
        return STATUS_UNSUPPORTED;
    }
    *out = (struct tensor_source){.type = t->type,
                                  .data = t->data,
                                  .n_outputs = (uint32_t)t->dimensions[1],
                                  .n_cols = (uint32_t)t->dimensions[0]};
    return STATUS_OK;
}

static uint64_t source_bytes(const struct tensor_source *source)
{
    uint32_t elements = 1, bytes = 0;
    CHECK(tensor_type_block(source->type, &elements, &bytes));
    return (uint64_t)source->n_outputs * (source->n_cols / elements) * bytes;
}

/* Copies what is not aligned to 8 bytes. */
static status place(struct loader *l, struct placed_source *placed)
{
    if ((uintptr_t)placed->source.data % 8 == 0)
        return STATUS_OK;
    uint64_t bytes = source_bytes(&placed->source);
    placed->copy = memory_allocate(bytes);
    if (placed->copy == NULL) {
        error_note_set(l->note, "no memory for a tensor of %" PRIu64 " bytes", bytes);
        return STATUS_NO_MEMORY;
    }
    memcpy(placed->copy, placed->source.data, bytes);
    placed->source.data = placed->copy;
    return STATUS_OK;
}

/* A tensor of the given shape. */
static status take(struct loader *l, struct names names, bool has_prefix, uint32_t n_outputs,
                   uint32_t n_cols, struct placed_source *out)
{
    char name[NAME_BYTES_MAX];
    make_name(l, l->file != NULL ? names.gguf : names.hf, has_prefix && l->file == NULL, name);
    *out = (struct placed_source){.copy = NULL};
    status s = l->file != NULL ? find_gguf(l, name, &out->source) : find_hf(l, name, &out->source);
    if (s != STATUS_OK)
        return s;
    const struct tensor_source *found = &out->source;
    if (found->data == NULL) {
        error_note_set(l->note, "the tensor %s is missing", name);
        return STATUS_INVALID;
    }
    if (found->n_outputs != n_outputs || found->n_cols != n_cols) {
        error_note_set(l->note, "%s is [%" PRIu32 ", %" PRIu32 "], not [%" PRIu32 ", %" PRIu32 "]",
                       name, found->n_outputs, found->n_cols, n_outputs, n_cols);
        return STATUS_INVALID;
    }
    l->out->parameter_count += (uint64_t)n_outputs * n_cols;
    return place(l, out);
}

static status make_weight(struct loader *l, struct placed_source *sources, uint32_t count,
                          weight **out)
{
    struct tensor_source list[STACK_COUNT_MAX];
    for (uint32_t i = 0; i < count; i++)
        list[i] = sources[i].source;
    status s = l->out->b->operations->weight_create(l->out->b, list, count, out);
    if (s == STATUS_OK)
        l->out->bytes += l->out->b->operations->weight_bytes(*out);
    else
        error_note_set(l->note, "cannot lay out a matrix: %s", status_name(s));
    return s;
}

static status load_table(struct loader *l, struct names names, uint32_t rows, weight **out)
{
    struct placed_source source;
    status s = take(l, names, true, rows, l->shape->d, &source);
    if (s == STATUS_OK)
        s = make_weight(l, &source, 1, out);
    memory_release(source.copy);
    return s;
}

/* Vectors one after the other, as floats on the device. */
static status load_vectors(struct loader *l, const struct names *names, uint32_t count,
                           uint32_t width, float **out)
{
    const struct backend_operations *operations = l->out->b->operations;
    uint64_t bytes = (uint64_t)count * width * sizeof(float);
    float *host = memory_allocate(bytes);
    status s = host != NULL ? STATUS_OK : STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < count && s == STATUS_OK; i++) {
        struct placed_source source;
        s = take(l, names[i], true, 1, width, &source);
        if (s == STATUS_OK)
            tensor_dequantise(&source.source, 0, 0, width, host + (size_t)i * width);
        memory_release(source.copy);
    }
    if (s == STATUS_OK) {
        *out = operations->allocate(l->out->b, bytes);
        s = *out != NULL ? STATUS_OK : STATUS_NO_MEMORY;
    }
    if (s == STATUS_OK) {
        operations->upload(l->out->b, *out, host, bytes);
        s = operations->synchronize(l->out->b);
        l->out->bytes += bytes;
    }
    memory_release(host);
    return s;
}

static status load_norm(struct loader *l, struct names gain, struct names bias,
                        struct encoder_norm *out)
{
    status s = load_vectors(l, &gain, 1, l->shape->d, &out->gain);
    return s == STATUS_OK ? load_vectors(l, &bias, 1, l->shape->d, &out->bias) : s;
}

/* `count` matrices of equal shape stacked along their outputs, and their biases. */
static status load_matrix(struct loader *l, const struct names *weights, const struct names *biases,
                          uint32_t count, uint32_t n_outputs, uint32_t n_cols,
                          struct encoder_matrix *out)
{
    struct placed_source sources[STACK_COUNT_MAX] = {{.copy = NULL}};
    status s = STATUS_OK;
    out->n_cols = n_cols;
    for (uint32_t i = 0; i < count && s == STATUS_OK; i++) {
        s = take(l, weights[i], true, n_outputs, n_cols, &sources[i]);
        if (s == STATUS_OK)
            out->type_mask |= UINT64_C(1) << sources[i].source.type;
    }
    if (s == STATUS_OK)
        s = make_weight(l, sources, count, &out->w);
    for (uint32_t i = 0; i < count; i++)
        memory_release(sources[i].copy);
    return s == STATUS_OK ? load_vectors(l, biases, count, n_outputs, &out->bias) : s;
}

#define LAYER "encoder.layer.%u."

static status load_attention(struct loader *l, struct encoder_layer *layer)
{
    static const struct names qkv[] = {
        {LAYER "attention.self.query.weight", "blk.%u.attn_q.weight"},
        {LAYER "attention.self.key.weight", "blk.%u.attn_k.weight"},
        {LAYER "attention.self.value.weight", "blk.%u.attn_v.weight"}};
    static const struct names qkv_bias[] = {
        {LAYER "attention.self.query.bias", "blk.%u.attn_q.bias"},
        {LAYER "attention.self.key.bias", "blk.%u.attn_k.bias"},
        {LAYER "attention.self.value.bias", "blk.%u.attn_v.bias"}};
    static const struct names out = {LAYER "attention.output.dense.weight",
                                     "blk.%u.attn_output.weight"};
    static const struct names out_bias = {LAYER "attention.output.dense.bias",
                                          "blk.%u.attn_output.bias"};
    uint32_t d = l->shape->d;
    status s = load_matrix(l, qkv, qkv_bias, 3, d, d, &layer->qkv);
    if (s == STATUS_OK)
        s = load_matrix(l, &out, &out_bias, 1, d, d, &layer->attention_out);
    if (s == STATUS_OK)
        s = load_norm(
            l,
            (struct names){LAYER "attention.output.LayerNorm.weight",
                           "blk.%u.attn_output_norm.weight"},
            (struct names){LAYER "attention.output.LayerNorm.bias", "blk.%u.attn_output_norm.bias"},
            &layer->attention_norm);
    return s;
}

static status load_ffn(struct loader *l, struct encoder_layer *layer)
{
    static const struct names up = {LAYER "intermediate.dense.weight", "blk.%u.ffn_up.weight"};
    static const struct names up_bias = {LAYER "intermediate.dense.bias", "blk.%u.ffn_up.bias"};
    static const struct names down = {LAYER "output.dense.weight", "blk.%u.ffn_down.weight"};
    static const struct names down_bias = {LAYER "output.dense.bias", "blk.%u.ffn_down.bias"};
    uint32_t d = l->shape->d, d_ffn = l->shape->d_ffn;
    status s = load_matrix(l, &up, &up_bias, 1, d_ffn, d, &layer->up);
    if (s == STATUS_OK)
        s = load_matrix(l, &down, &down_bias, 1, d, d_ffn, &layer->down);
    if (s == STATUS_OK)
        s = load_norm(
            l, (struct names){LAYER "output.LayerNorm.weight", "blk.%u.layer_output_norm.weight"},
            (struct names){LAYER "output.LayerNorm.bias", "blk.%u.layer_output_norm.bias"},
            &layer->output_norm);
    return s;
}

static status load_embeddings(struct loader *l)
{
    const struct encoder_shape *shape = l->shape;
    status s =
        load_table(l, (struct names){"embeddings.word_embeddings.weight", "token_embd.weight"},
                   shape->vocabulary, &l->out->tokens);
    if (s == STATUS_OK)
        s = load_table(
            l, (struct names){"embeddings.position_embeddings.weight", "position_embd.weight"},
            shape->n_positions, &l->out->positions);
    if (s == STATUS_OK)
        s = load_table(
            l, (struct names){"embeddings.token_type_embeddings.weight", "token_types.weight"},
            shape->n_types, &l->out->types);
    if (s == STATUS_OK)
        s = load_norm(l, (struct names){"embeddings.LayerNorm.weight", "token_embd_norm.weight"},
                      (struct names){"embeddings.LayerNorm.bias", "token_embd_norm.bias"},
                      &l->out->embedding_norm);
    return s;
}

static status load_host(struct loader *l, const char *weight_name, const char *bias_name,
                        bool has_prefix, uint32_t n_outputs, struct host_matrix *out)
{
    struct placed_source matrix = {.copy = NULL}, bias = {.copy = NULL};
    uint32_t d = l->shape->d;
    *out = (struct host_matrix){.n_outputs = n_outputs, .n_cols = d};
    out->rows = memory_allocate_array((size_t)n_outputs * d, sizeof(float));
    out->bias = memory_allocate_array(n_outputs, sizeof(float));
    if (out->rows == NULL || out->bias == NULL)
        return STATUS_NO_MEMORY;
    status s = take(l, (struct names){weight_name, NULL}, has_prefix, n_outputs, d, &matrix);
    for (uint32_t r = 0; r < n_outputs && s == STATUS_OK; r++)
        tensor_dequantise(&matrix.source, r, 0, d, out->rows + (size_t)r * d);
    memory_release(matrix.copy);
    if (s == STATUS_OK)
        s = take(l, (struct names){bias_name, NULL}, has_prefix, 1, n_outputs, &bias);
    if (s == STATUS_OK)
        tensor_dequantise(&bias.source, 0, 0, n_outputs, out->bias);
    memory_release(bias.copy);
    return s;
}

static status load_head(struct loader *l)
{
    const struct encoder_shape *shape = l->shape;
    struct encoder_weights *out = l->out;
    bool is_bert = shape->head == CLASS_HEAD_POOLER;
    if (shape->head == CLASS_HEAD_NONE)
        return STATUS_OK;
    status s = is_bert ? load_host(l, "pooler.dense.weight", "pooler.dense.bias", true, shape->d,
                                   &out->head_dense)
                       : load_host(l, "classifier.dense.weight", "classifier.dense.bias", false,
                                   shape->d, &out->head_dense);
    if (s != STATUS_OK)
        return s;
    return load_host(l, is_bert ? "classifier.weight" : "classifier.out_proj.weight",
                     is_bert ? "classifier.bias" : "classifier.out_proj.bias", false,
                     shape->class_count, &out->head_out);
}

/* Models saved with a head have their body below a name of its own. */
static const char *find_prefix(const safetensors *folder)
{
    static const char *const prefixes[] = {"", "bert.", "roberta."};
    for (size_t i = 0; i < ARRAY_COUNT(prefixes); i++) {
        char name[NAME_BYTES_MAX];
        snprintf(name, sizeof name, "%sembeddings.word_embeddings.weight", prefixes[i]);
        if (safetensors_tensor_find(folder, name) != NULL)
            return prefixes[i];
    }
    return "";
}

status encoder_weights_load(const safetensors *folder, const gguf *file, backend *b,
                            const struct encoder_shape *shape, struct encoder_weights *out,
                            struct error_note *note)
{
    *out = (struct encoder_weights){.b = b};
    struct loader l = {.folder = folder, .file = file, .shape = shape, .out = out, .note = note};
    CHECK((folder == NULL) != (file == NULL));
    l.prefix = folder != NULL ? find_prefix(folder) : "";
    out->layers = memory_allocate_array(shape->n_layers, sizeof *out->layers);
    if (out->layers == NULL)
        return STATUS_NO_MEMORY;
    out->n_layers = shape->n_layers;
    status s = load_embeddings(&l);
    for (uint32_t i = 0; i < shape->n_layers && s == STATUS_OK; i++) {
        l.layer = i;
        s = load_attention(&l, &out->layers[i]);
        if (s == STATUS_OK)
            s = load_ffn(&l, &out->layers[i]);
    }
    if (s == STATUS_OK)
        s = load_head(&l);
    if (s == STATUS_NO_MEMORY)
        error_note_set(note, "no memory for the model's weights");
    return s;
}

static void unload_norm(backend *b, struct encoder_norm *norm)
{
    b->operations->release(b, norm->gain);
    b->operations->release(b, norm->bias);
}

static void unload_matrix(backend *b, struct encoder_matrix *matrix)
{
    b->operations->weight_destroy(b, matrix->w);
    b->operations->release(b, matrix->bias);
}

static void unload_host(struct host_matrix *matrix)
{
    memory_release(matrix->rows);
    memory_release(matrix->bias);
}

void encoder_weights_unload(struct encoder_weights *weights)
{
    backend *b = weights->b;
    if (b == NULL)
        return;
    for (uint32_t i = 0; i < weights->n_layers; i++) {
        struct encoder_layer *layer = &weights->layers[i];
        unload_matrix(b, &layer->qkv);
        unload_matrix(b, &layer->attention_out);
        unload_matrix(b, &layer->up);
        unload_matrix(b, &layer->down);
        unload_norm(b, &layer->attention_norm);
        unload_norm(b, &layer->output_norm);
    }
    memory_release(weights->layers);
    unload_norm(b, &weights->embedding_norm);
    b->operations->weight_destroy(b, weights->tokens);
    b->operations->weight_destroy(b, weights->positions);
    b->operations->weight_destroy(b, weights->types);
    unload_host(&weights->head_dense);
    unload_host(&weights->head_out);
    *weights = (struct encoder_weights){.b = NULL};
}
