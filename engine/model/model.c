/* A decoder and its step.
 *
 *   tokens -> embed -> x [rows, d], the residual stream in float
 *   each layer:
 *     x -> rms_norm -> (a) -> qkv -> head norms, rope, cache append -> attention -> (a) -> output, added to x
 *     x -> rms_norm -> (a) -> gate, up -> gated activation (h) -> down, added to x
 *     or, in a mixture of experts:
 *     x -> rms_norm -> (a) -> router -> routes
 *     x -> rms_norm a slot -> (s) -> gate, up of its expert -> (t) -> down, shares added to x
 *   logit rows of x -> rms_norm -> (l) -> head -> logits
 * Where a family norms what is added, it goes to y first.
 *
 * (a), (h), (s), (t) and (l) are activations: input rows in the form a weight reads. Layers run one after the
 * other, so all of them share one of each for each form that occurs: a form follows from a
 * weight's columns and tensor types, and files mix types (a Q4_K_M file has Q6_K in some layers). A
 * gated product reads (a) while it writes (h), so the two are never the same object even where
 * their forms are equal.
 *
 * Everything is allocated in model_open for the largest step; model_forward runs under the alloc
 * guard. Only the rows whose logits are asked for pass the head, which is the largest matrix of a
 * small model. */

#include "model.h"

#include <inttypes.h>
#include <string.h>

#include "check.h"
#include "memory.h"
#include "model_adapt.h"
#include "model_hidden.h"
#include "model_rope.h"
#include "model_shape.h"
#include "model_source_private.h"
#include "model_weights.h"
#include "model_weights_open.h"

/* One (a), (h) and (l) for each kind of mix: files have two or three. */
#define FORMS_MAX 32u

enum form_use { FORM_INPUT, FORM_GATED, FORM_LOGITS, FORM_SLOTS, FORM_GATED_SLOTS };

struct form {
    enum form_use use;
    uint32_t n_cols;
    uint64_t type_mask;
    activation *rows; /* owned */
};

/* What a layer reads through and how it attends, found once at open. */
struct layer_plan {
    /* Borrowed from `forms`; ffn_in is the router's in a mixture, whose experts read the slots. */
    activation *attention_in, *attention_out, *ffn_in, *ffn_gated, *slots_in;
    struct attention_shape attention;
    const struct rope_table *rope; /* borrowed from the model */
};

struct model {
    backend *b; /* borrowed */
    const struct backend_operations *operations;
    struct model_shape shape;
    struct model_options options;
    struct model_info info;
    struct model_weights weights;
    struct rope_table rope, local_rope;
    float *frequencies, *local_frequencies; /* owned; [d_rope / 2] */
    kv_store *kv;                           /* owned */
    expert_routes *routes;                  /* owned; NULL: no experts */
    struct adapt adapt;
    struct model_hidden hidden;

    struct form forms[FORMS_MAX];
    uint32_t form_count;
    struct layer_plan *layers; /* owned; [n_layers] */
    activation *logits_in;     /* borrowed from `forms` */

    float *x, *qkv, *logits; /* device, owned; [batch_tokens_max, d], [.., qkv width],
                                [logit_rows_max, vocabulary] */
    float *y;                /* device, owned; as x; NULL: no layer norms what it adds */
    float *router_logits;    /* device, owned; [batch_tokens_max, n_experts]; NULL: no experts */
    float *host_logits;      /* as logits: `logits` itself where the host can read it, else owned */
};

/* --- facts about a file --- */

/* A folder's own name. */
static struct text_slice last_part_of(const char *path)
{
    size_t end = strlen(path), start;
    while (end > 1 && path[end - 1] == '/')
        end--;
    for (start = end; start > 0 && path[start - 1] != '/'; start--)
        ;
    return (struct text_slice){path + start, end - start};
}

/* Printable ASCII, so that logs and metrics may carry it as it is. */
static void copy_name(const model_source *source, char out[MODEL_NAME_MAX])
{
    struct text_slice name = {NULL, 0};
    if (source->file != NULL)
        (void)gguf_get_text(source->file, "general.name", &name);
    else
        name = last_part_of(source->folder);
    size_t bytes = name.bytes < MODEL_NAME_MAX ? name.bytes : MODEL_NAME_MAX - 1;
    for (size_t i = 0; i < bytes; i++)
        out[i] = name.data[i] >= ' ' && name.data[i] <= '~' ? name.data[i] : '?';
    out[bytes] = '\0';
}

/* Of a stack of matrices, or a vector, once it is loaded. */
static uint64_t layout_bytes(const struct source_tensor *tensor)
{
    const uint64_t *d = tensor->dimensions;
    if (d[1] == 1 || d[0] > UINT32_MAX || d[1] > UINT32_MAX)
        return d[0] * sizeof(float);
    const struct tensor_source matrix = {.type = tensor->type,
                                         .n_outputs = (uint32_t)d[1],
                                         .n_cols = (uint32_t)d[0],
                                         .scale_outputs = tensor->scale_outputs,
                                         .scale_cols = tensor->scale_cols};
    uint64_t bytes = backend_layout_bytes(&matrix);
    return bytes * d[2] * d[3];
}

static struct model_info info_of(const model_source *source, const struct model_shape *shape)
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
    for (uint32_t i = 0; i < shape->n_layers; i++)
        info.windowed_layers += model_shape_has_window(shape, i);
    info.window = info.windowed_layers > 0 ? shape->window : 0;
    info.n_experts = shape->experts.n_experts;
    info.n_experts_used = shape->experts.n_used;
    copy_name(source, info.name);
    for (uint64_t i = 0; i < model_source_tensor_count(source); i++) {
        const struct source_tensor *tensor = model_source_tensor_at(source, i);
        info.weight_bytes += layout_bytes(tensor);
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

status model_file_info(const model_source *source, enum kv_type kv_type, struct model_info *out,
                       struct error_note *note)
{
    struct model_shape shape;
    status s = model_shape_read(source, &shape, note);
    if (s != STATUS_OK)
        return s;
    *out = info_of(source, &shape);
    struct kv_shape kv = kv_shape_of(&shape, 1, kv_type);
    out->kv_block_bytes = kv_block_bytes_of(&kv);
    return STATUS_OK;
}

/* --- open --- */

static uint32_t form_rows(const model *m, enum form_use use)
{
    const struct expert_facts *experts = &m->shape.experts;
    const struct expert_shape shape = {experts->n_experts, experts->n_used, m->shape.d,
                                       experts->router};
    if (use == FORM_LOGITS)
        return m->options.logit_rows_max;
    if (use == FORM_SLOTS || use == FORM_GATED_SLOTS)
        return m->operations->routes_slots_max(&shape, m->options.batch_tokens_max);
    return m->options.batch_tokens_max;
}

/* The activation for rows that `w`, of these columns and types, reads. */
static status form_get(model *m, enum form_use use, const weight *w, uint32_t n_cols,
                       uint64_t type_mask, activation **out)
{
    for (uint32_t i = 0; i < m->form_count; i++) {
        const struct form *form = &m->forms[i];
        if (form->use == use && form->n_cols == n_cols && form->type_mask == type_mask) {
            *out = form->rows;
            return STATUS_OK;
        }
    }
    if (m->form_count == FORMS_MAX)
        return STATUS_UNSUPPORTED;
    struct form *form = &m->forms[m->form_count];
    status s = m->operations->activation_create(m->b, w, form_rows(m, use), &form->rows);
    if (s != STATUS_OK)
        return s;
    form->use = use;
    form->n_cols = n_cols;
    form->type_mask = type_mask;
    m->form_count++;
    *out = form->rows;
    return STATUS_OK;
}

static status form_of(model *m, enum form_use use, const struct matrix *matrix, activation **out)
{
    return form_get(m, use, matrix->w, matrix->n_cols, matrix->type_mask, out);
}

static status form_of_experts(model *m, enum form_use use, const struct expert_matrix *matrix,
                              activation **out)
{
    return form_get(m, use, matrix->w[0], matrix->n_cols, matrix->type_mask, out);
}

static status open_layer_forms(model *m, const struct model_layer *layer, struct layer_plan *plan)
{
    status s = form_of(m, FORM_INPUT, &layer->qkv, &plan->attention_in);
    if (s == STATUS_OK)
        s = form_of(m, FORM_INPUT, &layer->attention_out, &plan->attention_out);
    if (m->weights.n_experts == 0) {
        if (s == STATUS_OK)
            s = form_of(m, FORM_INPUT, &layer->gate_up, &plan->ffn_in);
        return s == STATUS_OK ? form_of(m, FORM_GATED, &layer->down, &plan->ffn_gated) : s;
    }
    if (s == STATUS_OK)
        s = form_of(m, FORM_INPUT, &layer->router, &plan->ffn_in);
    if (s == STATUS_OK)
        s = form_of_experts(m, FORM_SLOTS, &layer->expert_gate_up, &plan->slots_in);
    if (s == STATUS_OK)
        s = form_of_experts(m, FORM_GATED_SLOTS, &layer->expert_down, &plan->ffn_gated);
    return s;
}

static struct attention_shape attention_of(const model *m, uint32_t index)
{
    const struct model_shape *shape = &m->shape;
    const struct model_layer *layer = &m->weights.layers[index];
    return (struct attention_shape){
        .n_heads = shape->n_heads,
        .n_kv_heads = shape->n_kv_heads,
        .d_head = shape->d_head,
        .scale = shape->attention_scale,
        .soft_cap = shape->attention_cap,
        .window = model_shape_has_window(shape, index) ? shape->window : 0,
        .sinks = layer->sinks,
        .query_gain = layer->query_gain,
        .key_gain = layer->key_gain,
        .gain_epsilon = shape->rms_epsilon,
    };
}

static status open_layers(model *m, struct error_note *note)
{
    status s = STATUS_OK;
    m->layers = memory_allocate_array(m->shape.n_layers, sizeof *m->layers);
    if (m->layers == NULL)
        s = STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < m->shape.n_layers && s == STATUS_OK; i++) {
        struct layer_plan *plan = &m->layers[i];
        plan->attention = attention_of(m, i);
        plan->rope = model_shape_is_local(&m->shape, i) ? &m->local_rope : &m->rope;
        s = open_layer_forms(m, &m->weights.layers[i], plan);
    }
    if (s == STATUS_OK)
        s = form_of(m, FORM_LOGITS, &m->weights.head, &m->logits_in);
    if (s != STATUS_OK)
        error_note_set(note, "no room for the input rows of a step of %" PRIu32 " tokens (%s)",
                       m->options.batch_tokens_max, status_name(s));
    return s;
}

/* What only some families need. */
static bool open_extra_buffers(model *m)
{
    uint64_t rows = m->options.batch_tokens_max;
    const struct expert_facts *experts = &m->shape.experts;
    if (family_has(m->shape.family, FAMILY_POST_NORMS)) {
        m->y = m->operations->allocate(m->b, rows * m->shape.d * sizeof(float));
        if (m->y == NULL)
            return false;
    }
    if (experts->n_experts == 0)
        return true;
    const struct expert_shape shape = {experts->n_experts, experts->n_used, m->shape.d,
                                       experts->router};
    m->router_logits = m->operations->allocate(m->b, rows * experts->n_experts * sizeof(float));
    return m->router_logits != NULL &&
           m->operations->routes_create(m->b, &shape, (uint32_t)rows, &m->routes) == STATUS_OK;
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
    if (m->x != NULL && m->qkv != NULL && m->logits != NULL && m->host_logits != NULL &&
        open_extra_buffers(m))
        return STATUS_OK;
    error_note_set(note, "no memory for the buffers of a step of %" PRIu64 " tokens", rows);
    return STATUS_NO_MEMORY;
}

static status open_rope_table(model *m, const struct rope_shape *rope, const float *divisors,
                              float **frequencies, struct rope_table *out)
{
    *frequencies = memory_allocate_array(rope->d_rope / 2, sizeof **frequencies);
    if (*frequencies == NULL)
        return STATUS_NO_MEMORY;
    model_rope_frequencies(rope, divisors, *frequencies);
    *out = (struct rope_table){.frequencies = *frequencies,
                               .d_rope = rope->d_rope,
                               .magnitude = model_rope_magnitude(rope),
                               .is_interleaved = m->shape.rope_is_interleaved};
    return STATUS_OK;
}

/* LongRoPE's factors follow from the longest sequence there can be: keys in the cache are rotated
 * already, so that they cannot follow a growing one. */
static status open_rope(model *m, struct error_note *note)
{
    const struct rope_shape *rope = &m->shape.rope;
    const struct rope_divisors *divisors = &m->weights.rope;
    const float *chosen = divisors->always;
    if (chosen == NULL)
        chosen =
            m->options.context_max > rope->context_original ? divisors->long_ : divisors->short_;
    status s = open_rope_table(m, rope, chosen, &m->frequencies, &m->rope);
    if (s == STATUS_OK && family_has(m->shape.family, FAMILY_LOCAL_ROPE))
        s = open_rope_table(m, &m->shape.local_rope, NULL, &m->local_frequencies, &m->local_rope);
    if (s != STATUS_OK)
        error_note_set(note, "no memory for the rope table");
    return s;
}

static status open_cache(model *m, struct error_note *note)
{
    struct kv_shape shape = kv_shape_of(&m->shape, m->options.kv_blocks, m->options.kv_type);
    m->info.kv_block_bytes = m->operations->kv_block_bytes(&shape);
    status s = m->operations->kv_create(m->b, &shape, &m->kv);
    if (s == STATUS_UNSUPPORTED)
        error_note_set(note, "the %s backend has no %s cache for heads of %" PRIu32 " features",
                       m->operations->name, kv_type_name(shape.type), shape.d_head);
    else if (s != STATUS_OK)
        error_note_set(note,
                       "the %s backend cannot make a cache of %" PRIu32 " blocks of %" PRIu64
                       " bytes (%s)",
                       m->operations->name, shape.n_blocks, m->info.kv_block_bytes, status_name(s));
    return s;
}

static status open_parts(model *m, const model_source *source, struct error_note *note)
{
    status s = model_shape_read(source, &m->shape, note);
    if (s != STATUS_OK)
        return s;
    m->info = info_of(source, &m->shape);
    const struct weight_keeping keeping = {m->options.weight_cache, m->options.model_path};
    s = model_weights_open(source, m->b, &m->shape, &keeping, &m->weights, note);
    if (s != STATUS_OK)
        return s;
    m->info.weight_bytes = m->weights.bytes;
    s = open_rope(m, note);
    if (s == STATUS_OK)
        s = open_cache(m, note);
    if (s == STATUS_OK)
        s = open_buffers(m, note);
    if (s == STATUS_OK)
        s = open_layers(m, note);
    if (s == STATUS_OK) {
        s = adapt_open(&m->adapt, m->b, &m->shape, &m->options);
        if (s != STATUS_OK)
            error_note_set(note, "no memory for the products of adapters");
    }
    if (s == STATUS_OK) {
        s = hidden_open(&m->hidden, m->b, m->x, m->options.batch_tokens_max, m->shape.d,
                        m->weights.output_norm, m->shape.rms_epsilon);
        if (s != STATUS_OK)
            error_note_set(note, "no memory for hidden states");
    }
    return s;
}

status model_open(const model_source *source, backend *b, const struct model_options *options,
                  model **out, struct error_note *note)
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
    status s = open_parts(m, source, note);
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
    hidden_close(&m->hidden);
    release_device(m, m->x);
    adapt_close(&m->adapt);
    release_device(m, m->y);
    release_device(m, m->router_logits);
    if (m->routes != NULL)
        m->operations->routes_destroy(m->b, m->routes);
    release_device(m, m->qkv);
    if (m->host_logits != m->logits)
        memory_release(m->host_logits);
    release_device(m, m->logits);
    model_weights_unload(&m->weights);
    memory_release(m->layers);
    memory_release(m->frequencies);
    memory_release(m->local_frequencies);
    memory_release(m);
}

const struct model_shape *model_get_shape(const model *m)
{
    return &m->shape;
}

backend *model_get_backend(const model *m)
{
    return m->b;
}

uint32_t model_get_adapter_rank_max(const model *m)
{
    return m->options.adapter_rank_max;
}

const struct model_info *model_get_info(const model *m)
{
    return &m->info;
}

/* --- the step --- */

/* The stream grows by what is in y, after its norm. */
static void add_normed(model *m, const float *gain, uint32_t n_rows)
{
    m->operations->rms_norm_add(m->b, m->y, gain, m->shape.rms_epsilon, n_rows, m->shape.d, m->x);
}

/* Adds w a + bias to the stream; through y where there is a gain. */
static void add_product(model *m, const struct matrix *matrix, const activation *a, uint32_t n_rows,
                        const float *gain, uint32_t layer, enum adapter_part part)
{
    float *y = gain != NULL ? m->y : m->x;
    m->operations->matmul(m->b, matrix->w, a, n_rows, matrix->bias, gain == NULL, y);
    adapt_product(&m->adapt, layer, part, part, a, m->shape.d, y);
    if (gain != NULL)
        add_normed(m, gain, n_rows);
}

static void forward_attention(model *m, uint32_t index, const struct step_batch *batch)
{
    const struct backend_operations *o = m->operations;
    const struct model_layer *layer = &m->weights.layers[index];
    const struct layer_plan *plan = &m->layers[index];
    uint32_t n_rows = batch->n_rows;
    o->rms_norm(m->b, m->x, layer->attention_norm, m->shape.rms_epsilon, NULL, n_rows, m->shape.d,
                plan->attention_in);
    o->matmul(m->b, layer->qkv.w, plan->attention_in, n_rows, layer->qkv.bias, false, m->qkv);
    adapt_product(&m->adapt, index, ADAPTER_Q, ADAPTER_QKV, plan->attention_in,
                  model_shape_qkv_width(&m->shape), m->qkv);
    o->rope_kv_append(m->b, m->qkv, plan->rope, &plan->attention, batch, m->kv, index);
    o->attention(m->b, m->qkv, &plan->attention, batch, m->kv, index, plan->attention_out);
    add_product(m, &layer->attention_out, plan->attention_out, n_rows, layer->post_attention_norm,
                index, ADAPTER_OUT);
}

static void forward_experts(model *m, const struct model_layer *layer,
                            const struct layer_plan *plan)
{
    const struct backend_operations *o = m->operations;
    const struct expert_matrix *gate_up = &layer->expert_gate_up, *down = &layer->expert_down;
    const float *gain = layer->post_ffn_norm;
    o->rms_norm_routed(m->b, m->x, layer->ffn_norm, m->shape.rms_epsilon, m->shape.d, m->routes,
                       plan->slots_in);
    o->matmul_gated_routed(m->b, gate_up->w, plan->slots_in, m->routes, gate_up->bias,
                           m->shape.family->gate, plan->ffn_gated);
    o->matmul_routed(m->b, down->w, plan->ffn_gated, m->routes, down->bias, gain == NULL,
                     gain != NULL ? m->y : m->x);
}

static void forward_ffn(model *m, uint32_t index, uint32_t n_rows)
{
    const struct backend_operations *o = m->operations;
    const struct model_layer *layer = &m->weights.layers[index];
    const struct layer_plan *plan = &m->layers[index];
    o->rms_norm(m->b, m->x, layer->ffn_norm, m->shape.rms_epsilon, NULL, n_rows, m->shape.d,
                plan->ffn_in);
    if (m->routes == NULL) {
        const struct gated_terms terms = {layer->gate_up.bias,
                                          adapt_gated(&m->adapt, index, plan->ffn_in, n_rows)};
        o->matmul_gated(m->b, layer->gate_up.w, plan->ffn_in, n_rows, &terms, m->shape.family->gate,
                        plan->ffn_gated);
        add_product(m, &layer->down, plan->ffn_gated, n_rows, layer->post_ffn_norm, index,
                    ADAPTER_DOWN);
        return;
    }
    o->matmul(m->b, layer->router.w, plan->ffn_in, n_rows, layer->router.bias, false,
              m->router_logits);
    o->route(m->b, m->router_logits, n_rows, m->routes);
    forward_experts(m, layer, plan);
    if (layer->post_ffn_norm != NULL)
        add_normed(m, layer->post_ffn_norm, n_rows);
}

static void forward_head(model *m, const struct model_step *step)
{
    const struct backend_operations *o = m->operations;
    uint32_t n_rows = step->logit_row_count;
    o->rms_norm(m->b, m->x, m->weights.output_norm, m->shape.rms_epsilon, step->logit_rows, n_rows,
                m->shape.d, m->logits_in);
    o->matmul(m->b, m->weights.head.w, m->logits_in, n_rows, NULL, false, m->logits);
    if (m->shape.logit_cap > 0)
        o->soft_cap(m->b, m->logits, (uint64_t)n_rows * m->shape.vocabulary, m->shape.logit_cap);
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
    for (uint32_t i = 0; i < step->hidden_row_count; i++)
        CHECK(step->hidden_rows[i] < batch->n_rows);
    CHECK(step->adapters == NULL || m->options.adapter_rank_max > 0);
}

status model_forward(model *m, const struct model_step *step, const float **logits)
{
    check_step(m, step);
    alloc_guard_begin();
    adapt_begin(&m->adapt, &step->batch, step->adapters);
    m->operations->embed(m->b, m->weights.embedding.w, step->tokens, step->batch.n_rows,
                         m->shape.embedding_scale, m->x);
    for (uint32_t i = 0; i < m->shape.n_layers; i++) {
        forward_attention(m, i, &step->batch);
        forward_ffn(m, i, step->batch.n_rows);
    }
    if (step->logit_row_count > 0)
        forward_head(m, step);
    status s = m->operations->synchronize(m->b);
    if (s == STATUS_OK && step->hidden_row_count > 0)
        s = hidden_add(&m->hidden, step);
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
