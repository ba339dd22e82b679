/* Making a decoder: weights, cache, and everything that a step needs, for the largest step. */

#include <inttypes.h>

#include "check.h"
#include "clock.h"
#include "memory.h"
#include "model_private.h"
#include "model_rope.h"
#include "model_weights_open.h"

static struct expert_shape experts_of(const model *m)
{
    const struct expert_facts *experts = &m->shape.experts;
    return (struct expert_shape){.n_experts = experts->n_experts,
                                 .n_used = experts->n_used,
                                 .d = m->shape.d,
                                 .router = experts->router,
                                 .first_held = m->part.first_expert,
                                 .held_count = m->part.n_experts};
}

static uint32_t form_rows(const model *m, enum form_use use)
{
    const struct expert_shape shape = experts_of(m);
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
    return form_get(m, use, matrix->w[m->part.first_expert], matrix->n_cols, matrix->type_mask,
                    out);
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
    const struct expert_shape experts = experts_of(m);
    if (family_has(m->shape.family, FAMILY_POST_NORMS)) {
        m->y = m->operations->allocate(m->b, rows * m->shape.d * sizeof(float));
        if (m->y == NULL)
            return false;
    }
    if (experts.n_experts == 0)
        return true;
    m->router_logits = m->operations->allocate(m->b, rows * experts.n_experts * sizeof(float));
    return m->router_logits != NULL &&
           m->operations->routes_create(m->b, &experts, (uint32_t)rows, &m->routes) == STATUS_OK;
}

/* For model_forward: all rows of logits, where the host does not see them anyway. */
static bool list_all_rows(model *m)
{
    if (m->operations->memory_is_host)
        return true;
    m->all_rows = memory_allocate_array(m->options.logit_rows_max, sizeof *m->all_rows);
    for (uint32_t i = 0; m->all_rows != NULL && i < m->options.logit_rows_max; i++)
        m->all_rows[i] = i;
    return m->all_rows != NULL;
}

/* Logits come together at the first rank. */
static bool open_logits(model *m)
{
    const struct backend_operations *o = m->operations;
    uint64_t count = (uint64_t)m->options.logit_rows_max * m->shape.vocabulary,
             part = (uint64_t)m->options.logit_rows_max * m->part.vocabulary;
    if (m->part.size > 1) {
        m->part_tokens = memory_allocate_array(m->options.batch_tokens_max, sizeof *m->part_tokens);
        m->part_logits = o->allocate(m->b, part * sizeof(float));
        if (m->part_tokens == NULL || m->part_logits == NULL)
            return false;
    }
    if (m->part.rank > 0)
        return true;
    m->logits = o->allocate(m->b, count * sizeof(float));
    m->host_logits = o->memory_is_host ? m->logits : memory_allocate_array(count, sizeof(float));
    return m->logits != NULL && m->host_logits != NULL && list_all_rows(m);
}

static status open_buffers(model *m, struct error_note *note)
{
    uint64_t rows = m->options.batch_tokens_max;
    m->x = m->operations->allocate(m->b, rows * m->shape.d * sizeof(float));
    m->qkv = m->operations->allocate(m->b, rows * model_shape_qkv_width(&m->shape) * sizeof(float));
    if (m->x != NULL && m->qkv != NULL && open_logits(m) && open_extra_buffers(m))
        return STATUS_OK;
    error_note_set(note, "no memory for the buffers of a step of %" PRIu64 " tokens", rows);
    return STATUS_NO_MEMORY;
}

/* Where a device runs the steps: what it needs for them. */
static status open_queue(model *m, struct error_note *note)
{
    if (!model_is_queued(m))
        return STATUS_OK;
    const struct model_options *options = &m->options;
    const struct step_limits limits = {
        .rows_max = options->batch_tokens_max,
        .sequences_max = options->sequence_count_max,
        .logit_rows_max = options->logit_rows_max,
        .block_table_stride = (options->context_max - 1) / KV_BLOCK_TOKENS + 1,
        .vocabulary = m->shape.vocabulary,
        .slots_max = options->sequence_count_max,
        .n_heads = m->shape.n_heads,
        .d_head = m->shape.d_head,
        .steps_max = MODEL_STEPS_MAX,
    };
    status s = m->operations->step_prepare(m->b, &limits);
    if (s != STATUS_OK)
        error_note_set(note, "the %s backend has no room for steps of %" PRIu32 " tokens (%s)",
                       m->operations->name, options->batch_tokens_max, status_name(s));
    return s;
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
    struct kv_shape shape = model_kv_shape(&m->shape, m->options.kv_blocks, m->options.kv_type);
    m->info.kv_block_bytes = m->operations->kv_block_bytes(&shape);
    status s = m->operations->kv_create(m->b, &shape, &m->kv);
    if (s == STATUS_UNSUPPORTED)
        error_note_set(note, "the %s backend has no %s cache for heads of %" PRIu32 " features%s",
                       m->operations->name, kv_type_name(shape.type), shape.d_head,
                       shape.type == KV_FP8 ? "; int8 takes nearly as little memory" : "");
    else if (s != STATUS_OK)
        error_note_set(note,
                       "the %s backend cannot make a cache of %" PRIu32 " blocks of %" PRIu64
                       " bytes (%s)",
                       m->operations->name, shape.n_blocks, m->info.kv_block_bytes, status_name(s));
    return s;
}

/* The source's shape, before it was narrowed to the part, is what files are compared with. */
status model_read_weights_again(model *m, struct error_note *note)
{
    const struct weight_keeping keeping = {NULL, NULL};
    struct model_shape whole;
    status s = model_shape_read(m->source, &whole, note);
    if (s == STATUS_OK)
        s = model_weights_open(m->source, m->b, &whole, &m->part, &keeping, &m->weights, note);
    if (s == STATUS_OK)
        s = m->operations->synchronize(m->b);
    if (s != STATUS_OK) {
        model_weights_unload(&m->weights);
        return s;
    }
    for (uint32_t i = 0; i < m->shape.n_layers; i++)
        m->layers[i].attention = attention_of(m, i);
    return STATUS_OK;
}

/* The rank's part, and its weights. */
static status open_weights(model *m, const model_source *source, uint32_t rank,
                           struct error_note *note)
{
    const struct weight_keeping keeping = {m->options.weight_cache, m->options.model_path};
    uint32_t size = m->options.rank_count > 1 ? m->options.rank_count : 1;
    status s = model_shape_read(source, &m->shape, note);
    if (s == STATUS_OK)
        s = model_part_of(&m->shape, rank, size, &m->part, note);
    if (s != STATUS_OK)
        return s;
    m->info = model_info_of(source, &m->shape);
    s = model_weights_open(source, m->b, &m->shape, &m->part, &keeping, &m->weights, note);
    model_part_narrow(&m->part, &m->shape);
    m->info.weight_bytes = m->weights.bytes;
    m->info.mapped_ns = clock_now_ns();
    return s;
}

/* After all that the device's memory is needed for. */
static status open_host(model *m, struct error_note *note)
{
    status s = host_open(&m->host, m->b, m->kv, m->info.kv_block_bytes, m->options.kv_blocks,
                         m->options.host_slots);
    if (s != STATUS_OK)
        error_note_set(note, "the %s backend cannot copy blocks of the cache to the host (%s)",
                       m->operations->name, status_name(s));
    return s;
}

/* Last, when all that a rank needs is there: who cannot come any more tells the others by failing the group. */
static status join(model *m, communicator_group *group, uint32_t rank, struct error_note *note)
{
    uint64_t sums = (uint64_t)m->options.batch_tokens_max * m->shape.d,
             logits = (uint64_t)m->options.logit_rows_max * m->shape.vocabulary;
    if (group == NULL)
        return STATUS_OK;
    return communicator_open(group, m->b, rank, sums > logits ? sums : logits, &m->c, note);
}

static status open_parts(model *m, const model_source *source, communicator_group *group,
                         uint32_t rank, struct error_note *note)
{
    status s = open_weights(m, source, rank, note);
    if (s != STATUS_OK)
        return s;
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
    if (s == STATUS_OK)
        s = open_queue(m, note);
    if (s == STATUS_OK)
        s = open_host(m, note);
    return s == STATUS_OK ? join(m, group, rank, note) : s;
}

status model_open_rank(const model_source *source, backend *b, const struct model_options *options,
                       communicator_group *group, uint32_t rank, model **out,
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
    m->source = source;
    m->options = *options;
    status s = open_parts(m, source, group, rank, note);
    m->options.model_path = m->options.weight_cache = NULL; /* borrowed for the call only */
    if (s != STATUS_OK) {
        model_close(m);
        return s;
    }
    *out = m;
    return STATUS_OK;
}

/* The first rank opens its part here while the others open theirs. */
static status open_ranks(const model_source *source, backend *b,
                         const struct model_options *options, model **out, struct error_note *note)
{
    struct model_ranks *ranks;
    model *m = NULL;
    struct error_note own;
    if (options->adapter_rank_max > 0) {
        error_note_set(note, "a model of %" PRIu32 " ranks takes no adapters", options->rank_count);
        return STATUS_UNSUPPORTED;
    }
    status s = model_ranks_start(source, options, &ranks, note);
    if (s != STATUS_OK)
        return s;
    s = model_open_rank(source, b, options, model_ranks_group(ranks), 0, &m, &own);
    if (s != STATUS_OK)
        communicator_group_fail(model_ranks_group(ranks), s);
    status others = model_ranks_wait_open(ranks, note);
    if (s != STATUS_OK && s != STATUS_CLOSED)
        error_note_set(note, "%s", own.text);
    else
        s = others; /* the first rank opens only when all do */
    if (s != STATUS_OK) {
        model_close(m);
        model_ranks_close(ranks);
        return s;
    }
    m->ranks = ranks;
    m->info.weight_bytes += model_ranks_weight_bytes(ranks);
    m->info.kv_block_bytes += model_ranks_kv_block_bytes(ranks);
    *out = m;
    return STATUS_OK;
}

status model_open(const model_source *source, backend *b, const struct model_options *options,
                  model **out, struct error_note *note)
{
    return options->rank_count > 1 ? open_ranks(source, b, options, out, note)
                                   : model_open_rank(source, b, options, NULL, 0, out, note);
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
    if (m->ranks != NULL)
        model_ranks_end(m->ranks); /* none is in a step any more, and all close what they have */
    communicator_close(m->c);
    for (uint32_t i = 0; i < m->form_count; i++)
        m->operations->activation_destroy(m->b, m->forms[i].rows);
    host_close(&m->host, m->b);
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
    release_device(m, m->part_logits);
    memory_release(m->part_tokens);
    model_weights_unload(&m->weights);
    model_ranks_close(m->ranks);
    memory_release(m->all_rows);
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

struct adapter_slots *model_get_adapter_slots(const model *m)
{
    /* A model is const to its adapters, its table of places is not: that is atomic. */
    const struct adapter_slots *slots = &m->adapt.slots;
    return m->operations->memory_is_host ? NULL : (struct adapter_slots *)(uintptr_t)slots;
}

uint32_t model_get_adapter_rank_max(const model *m)
{
    return m->options.adapter_rank_max;
}

const struct model_info *model_get_info(const model *m)
{
    return &m->info;
}
