/* A decoder and its step.
 *
 *   tokens -> embed -> x [rows, d], the residual stream in float
 *   each layer:
 *     x -> rms_norm -> (a) -> qkv -> rope, cache append -> attention -> (a) -> output, added to x
 *     x -> rms_norm -> (a) -> gate, up -> gated activation (h) -> down, added to x
 *   logit rows of x -> rms_norm -> (l) -> head -> logits
 *
 * (a), (h) and (l) are activations: input rows in the form a weight reads. Layers run one after the
 * other, so all of them share one (a) and one (h) for each form that occurs: a form follows from a
 * weight's columns and tensor types, and files mix types (a Q4_K_M file has Q6_K in some layers). A
 * gated product reads (a) while it writes (h), so the two are never the same object even where
 * their forms are equal.
 *
 * Everything is allocated in model_open for the largest step; model_forward runs under the alloc
 * guard. Only the rows whose logits are asked for pass the head, which is the largest matrix of a
 * small model. */

#include "model.h"

#include <inttypes.h>
#include <math.h>

#include "check.h"
#include "memory.h"
#include "model_rope.h"
#include "model_shape.h"
#include "model_weights.h"
#include "model_weights_open.h"

/* One (a), (h) and (l) for each kind of mix: files have two or three. */
#define FORMS_MAX 32u

enum form_use { FORM_INPUT, FORM_GATED, FORM_LOGITS };

struct form {
    enum form_use use;
    uint32_t n_cols, type_mask;
    activation *rows; /* owned */
};

/* What a layer reads through, found once at open. */
struct layer_forms {
    activation *attention_in, *attention_out, *ffn_in, *ffn_gated; /* borrowed from `forms` */
};

struct model {
    backend *b; /* borrowed */
    const struct backend_operations *operations;
    struct model_shape shape;
    struct model_options options;
    struct model_info info;
    struct model_weights weights;
    struct attention_shape attention;
    struct rope_table rope;
    float *frequencies; /* owned; [d_rope / 2] */
    kv_store *kv;       /* owned */

    struct form forms[FORMS_MAX];
    uint32_t form_count;
    struct layer_forms *layers; /* owned; [n_layers] */
    activation *logits_in;      /* borrowed from `forms` */

    float *x, *qkv, *logits; /* device, owned; [batch_tokens_max, d], [.., qkv width],
                                [logit_rows_max, vocabulary] */
    float *host_logits;      /* as logits: `logits` itself where the host can read it, else owned */
};

/* --- facts about a file --- */

/* Printable ASCII, so that logs and metrics may carry it as it is. */
static void copy_name(const gguf *file, char out[MODEL_NAME_MAX])
{
    struct text_slice name = {NULL, 0};
    (void)gguf_get_text(file, "general.name", &name);
    size_t bytes = name.bytes < MODEL_NAME_MAX ? name.bytes : MODEL_NAME_MAX - 1;
    for (size_t i = 0; i < bytes; i++)
        out[i] = name.data[i] >= ' ' && name.data[i] <= '~' ? name.data[i] : '?';
    out[bytes] = '\0';
}

static struct model_info info_of(const gguf *file, const struct model_shape *shape)
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
    copy_name(file, info.name);
    for (uint64_t i = 0; i < gguf_tensor_count(file); i++) {
        const struct gguf_tensor *tensor = gguf_tensor_at(file, i);
        info.weight_bytes += tensor->bytes;
        info.parameter_count += tensor->dimensions[0] * tensor->dimensions[1] *
                                tensor->dimensions[2] * tensor->dimensions[3];
    }
    return info;
}

static struct kv_shape kv_shape_of(const struct model_shape *shape, uint32_t n_blocks,
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
    uint64_t head =
        shape->type == KV_INT8 ? shape->d_head + sizeof(float) : shape->d_head * sizeof(uint16_t);
    return 2 * head * shape->n_kv_heads * shape->n_layers * KV_BLOCK_TOKENS;
}

status model_file_info(const gguf *file, enum kv_type kv_type, struct model_info *out,
                       struct error_note *note)
{
    struct model_shape shape;
    status s = model_shape_read(file, &shape, note);
    if (s != STATUS_OK)
        return s;
    *out = info_of(file, &shape);
    struct kv_shape kv = kv_shape_of(&shape, 1, kv_type);
    out->kv_block_bytes = kv_block_bytes_of(&kv);
    return STATUS_OK;
}

/* --- open --- */

/* The activation for rows that `matrix` reads. */
static status form_get(model *m, enum form_use use, const struct matrix *matrix, activation **out)
{
    for (uint32_t i = 0; i < m->form_count; i++) {
        const struct form *form = &m->forms[i];
        if (form->use == use && form->n_cols == matrix->n_cols &&
            form->type_mask == matrix->type_mask) {
            *out = form->rows;
            return STATUS_OK;
        }
    }
    if (m->form_count == FORMS_MAX)
        return STATUS_UNSUPPORTED;
    uint32_t rows_max =
        use == FORM_LOGITS ? m->options.logit_rows_max : m->options.batch_tokens_max;
    struct form *form = &m->forms[m->form_count];
    status s = m->operations->activation_create(m->b, matrix->w, rows_max, &form->rows);
    if (s != STATUS_OK)
        return s;
    form->use = use;
    form->n_cols = matrix->n_cols;
    form->type_mask = matrix->type_mask;
    m->form_count++;
    *out = form->rows;
    return STATUS_OK;
}

static status open_forms(model *m, struct error_note *note)
{
    status s = STATUS_OK;
    m->layers = memory_allocate_array(m->shape.n_layers, sizeof *m->layers);
    if (m->layers == NULL)
        s = STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < m->shape.n_layers && s == STATUS_OK; i++) {
        const struct model_layer *layer = &m->weights.layers[i];
        struct layer_forms *forms = &m->layers[i];
        s = form_get(m, FORM_INPUT, &layer->qkv, &forms->attention_in);
        if (s == STATUS_OK)
            s = form_get(m, FORM_INPUT, &layer->attention_out, &forms->attention_out);
        if (s == STATUS_OK)
            s = form_get(m, FORM_INPUT, &layer->gate_up, &forms->ffn_in);
        if (s == STATUS_OK)
            s = form_get(m, FORM_GATED, &layer->down, &forms->ffn_gated);
    }
    if (s == STATUS_OK)
        s = form_get(m, FORM_LOGITS, &m->weights.head, &m->logits_in);
    if (s != STATUS_OK)
        error_note_set(note, "no room for the input rows of a step of %" PRIu32 " tokens (%s)",
                       m->options.batch_tokens_max, status_name(s));
    return s;
}

static status open_buffers(model *m, struct error_note *note)
{
    uint64_t rows = m->options.batch_tokens_max, vocabulary = m->shape.vocabulary;
    m->x = m->operations->allocate(m->b, rows * m->shape.d * sizeof(float));
    m->qkv = m->operations->allocate(m->b, rows * model_shape_qkv_width(&m->shape) * sizeof(float));
    m->logits =
        m->operations->allocate(m->b, m->options.logit_rows_max * vocabulary * sizeof(float));
    m->host_logits =
        m->operations->memory_is_host
            ? m->logits
            : memory_allocate_array(m->options.logit_rows_max * vocabulary, sizeof(float));
    if (m->x != NULL && m->qkv != NULL && m->logits != NULL && m->host_logits != NULL)
        return STATUS_OK;
    error_note_set(note, "no memory for the buffers of a step of %" PRIu64 " tokens", rows);
    return STATUS_NO_MEMORY;
}

static status open_rope(model *m, struct error_note *note)
{
    const struct rope_shape *rope = &m->shape.rope;
    m->frequencies = memory_allocate_array(rope->d_rope / 2, sizeof *m->frequencies);
    if (m->frequencies == NULL) {
        error_note_set(note, "no memory for the rope table");
        return STATUS_NO_MEMORY;
    }
    model_rope_frequencies(rope, m->weights.rope_divisors, m->frequencies);
    m->rope = (struct rope_table){.frequencies = m->frequencies,
                                  .d_rope = rope->d_rope,
                                  .magnitude = model_rope_magnitude(rope),
                                  .is_interleaved = m->shape.family->rope_is_interleaved};
    m->attention = (struct attention_shape){.n_heads = m->shape.n_heads,
                                            .n_kv_heads = m->shape.n_kv_heads,
                                            .d_head = m->shape.d_head,
                                            .scale = 1.0f / sqrtf((float)m->shape.d_head),
                                            .window = m->shape.window};
    return STATUS_OK;
}

static status open_cache(model *m, struct error_note *note)
{
    struct kv_shape shape = kv_shape_of(&m->shape, m->options.kv_blocks, m->options.kv_type);
    m->info.kv_block_bytes = m->operations->kv_block_bytes(&shape);
    status s = m->operations->kv_create(m->b, &shape, &m->kv);
    if (s != STATUS_OK)
        error_note_set(note,
                       "the %s backend cannot make a cache of %" PRIu32 " blocks of %" PRIu64
                       " bytes (%s)",
                       m->operations->name, shape.n_blocks, m->info.kv_block_bytes, status_name(s));
    return s;
}

static status open_parts(model *m, const gguf *file, struct error_note *note)
{
    status s = model_shape_read(file, &m->shape, note);
    if (s != STATUS_OK)
        return s;
    m->info = info_of(file, &m->shape);
    const struct weight_keeping keeping = {m->options.weight_cache, m->options.model_path};
    s = model_weights_open(file, m->b, &m->shape, &keeping, &m->weights, note);
    if (s != STATUS_OK)
        return s;
    m->info.weight_bytes = m->weights.bytes;
    s = open_rope(m, note);
    if (s == STATUS_OK)
        s = open_cache(m, note);
    if (s == STATUS_OK)
        s = open_buffers(m, note);
    if (s == STATUS_OK)
        s = open_forms(m, note);
    return s;
}

status model_open(const gguf *file, backend *b, const struct model_options *options, model **out,
                  struct error_note *note)
{
    CHECK(options->batch_tokens_max > 0 && options->logit_rows_max > 0 &&
          options->sequence_count_max > 0);
    CHECK(options->context_max > 0 && options->kv_blocks > 0);
    model *m = memory_allocate_array(1, sizeof *m);
    if (m == NULL) {
        error_note_set(note, "no memory for a model");
        return STATUS_NO_MEMORY;
    }
    m->b = b;
    m->operations = b->operations;
    m->weights.b = b;
    m->options = *options;
    status s = open_parts(m, file, note);
    m->options.model_path = m->options.weight_cache = NULL; /* borrowed for the call only */
    if (s != STATUS_OK) {
        model_close(m);
        return s;
    }
    *out = m;
    return STATUS_OK;
}

static void release_device(model *m, float *device)
{
    if (device != NULL)
        m->operations->release(m->b, device);
}

void model_close(model *m)
{
    if (m == NULL)
        return;
    for (uint32_t i = 0; i < m->form_count; i++)
        m->operations->activation_destroy(m->b, m->forms[i].rows);
    if (m->kv != NULL)
        m->operations->kv_destroy(m->b, m->kv);
    release_device(m, m->x);
    release_device(m, m->qkv);
    if (m->host_logits != m->logits)
        memory_release(m->host_logits);
    release_device(m, m->logits);
    model_weights_unload(&m->weights);
    memory_release(m->layers);
    memory_release(m->frequencies);
    memory_release(m);
}

const struct model_info *model_get_info(const model *m)
{
    return &m->info;
}

/* --- the step --- */

static void forward_attention(model *m, uint32_t index, const struct step_batch *batch)
{
    const struct backend_operations *o = m->operations;
    const struct model_layer *layer = &m->weights.layers[index];
    const struct layer_forms *forms = &m->layers[index];
    uint32_t n_rows = batch->n_rows;
    o->rms_norm(m->b, m->x, layer->attention_norm, m->shape.rms_epsilon, NULL, n_rows, m->shape.d,
                forms->attention_in);
    o->matmul(m->b, layer->qkv.w, forms->attention_in, n_rows, layer->qkv.bias, false, m->qkv);
    o->rope_kv_append(m->b, m->qkv, &m->rope, &m->attention, batch, m->kv, index);
    o->attention(m->b, m->qkv, &m->attention, batch, m->kv, index, forms->attention_out);
    o->matmul(m->b, layer->attention_out.w, forms->attention_out, n_rows, layer->attention_out.bias,
              true, m->x);
}

static void forward_ffn(model *m, uint32_t index, uint32_t n_rows)
{
    const struct backend_operations *o = m->operations;
    const struct model_layer *layer = &m->weights.layers[index];
    const struct layer_forms *forms = &m->layers[index];
    o->rms_norm(m->b, m->x, layer->ffn_norm, m->shape.rms_epsilon, NULL, n_rows, m->shape.d,
                forms->ffn_in);
    o->matmul_gated(m->b, layer->gate_up.w, forms->ffn_in, n_rows, NULL, m->shape.family->gate,
                    forms->ffn_gated);
    o->matmul(m->b, layer->down.w, forms->ffn_gated, n_rows, layer->down.bias, true, m->x);
}

static void forward_head(model *m, const struct model_step *step)
{
    const struct backend_operations *o = m->operations;
    uint32_t n_rows = step->logit_row_count;
    o->rms_norm(m->b, m->x, m->weights.output_norm, m->shape.rms_epsilon, step->logit_rows, n_rows,
                m->shape.d, m->logits_in);
    o->matmul(m->b, m->weights.head.w, m->logits_in, n_rows, NULL, false, m->logits);
    if (m->host_logits != m->logits)
        o->download(m->b, m->host_logits, m->logits,
                    (uint64_t)n_rows * m->shape.vocabulary * sizeof(float));
}

static void check_step(const model *m, const struct model_step *step)
{
    const struct step_batch *batch = &step->batch;
    CHECK(batch->n_rows > 0 && batch->n_rows <= m->options.batch_tokens_max);
    CHECK(batch->n_sequences > 0 && batch->n_sequences <= m->options.sequence_count_max);
    CHECK(step->logit_row_count <= m->options.logit_rows_max);
    CHECK(batch->row_start[0] == 0 && batch->row_start[batch->n_sequences] == batch->n_rows);
    for (uint32_t i = 0; i < batch->n_rows; i++) {
        CHECK((uint32_t)step->tokens[i] < m->shape.vocabulary);
        CHECK(batch->row_position[i] < m->options.context_max);
        CHECK(batch->row_sequence[i] < batch->n_sequences);
        CHECK(batch->row_position[i] / KV_BLOCK_TOKENS < batch->block_table_stride);
    }
    for (uint32_t i = 0; i < step->logit_row_count; i++)
        CHECK(step->logit_rows[i] < batch->n_rows);
}

status model_forward(model *m, const struct model_step *step, const float **logits)
{
    check_step(m, step);
    alloc_guard_begin();
    float scale = m->shape.family->scales_embedding ? sqrtf((float)m->shape.d) : 1.0f;
    m->operations->embed(m->b, m->weights.embedding.w, step->tokens, step->batch.n_rows, scale,
                         m->x);
    for (uint32_t i = 0; i < m->shape.n_layers; i++) {
        forward_attention(m, i, &step->batch);
        forward_ffn(m, i, step->batch.n_rows);
    }
    if (step->logit_row_count > 0)
        forward_head(m, step);
    status s = m->operations->synchronize(m->b);
    alloc_guard_end();
    if (s == STATUS_OK)
        *logits = m->host_logits;
    return s;
}

void model_kv_touch_block(model *m, uint32_t block)
{
    if (m->operations->kv_touch_block != NULL)
        m->operations->kv_touch_block(m->b, m->kv, block);
}

void model_kv_copy_blocks(model *m, const uint32_t *from, const uint32_t *to, uint32_t count)
{
    m->operations->kv_copy_blocks(m->b, m->kv, from, to, count);
}
