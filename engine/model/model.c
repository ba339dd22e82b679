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
 * Of several ranks each does that with its part of the heads, of the MLP's columns or of the experts, and of the vocabulary: what
 * it adds is a part of a sum, which is then taken over all ranks. The first rank's part has the bias and, where sums go
 * to the stream itself, the stream; the others' stream is overwritten. So x is the same on all ranks, to the bit. The
 * embedding is such a sum too, of one row and zeros; logits come together at the first rank.
 *
 * (a), (h), (s), (t) and (l) are activations: input rows in the form a weight reads. Layers run one after the
 * other, so all of them share one of each for each form that occurs: a form follows from a
 * weight's columns and tensor types, and files mix types (a Q4_K_M file has Q6_K in some layers). A
 * gated product reads (a) while it writes (h), so the two are never the same object even where
 * their forms are equal.
 *
 * A device of its own is given all of that at once, and may be given the next step before it has done this one: the buffers are
 * used by one step after the other, in its queue's order. There the operations' rows are the step's `extent`, which may be
 * more than the batch has, so that steps of like size are one graph.
 *
 * Everything is allocated in model_open for the largest step; model_launch and model_collect run under the alloc
 * guard. Only the rows whose logits are asked for pass the head, which is the largest matrix of a
 * small model. */

#include "check.h"
#include "model_private.h"

/* The stream grows by what is in y, after its norm. */
static void add_normed(model *m, const float *gain, uint32_t n_rows)
{
    m->operations->rms_norm_add(m->b, m->y, gain, m->shape.rms_epsilon, n_rows, m->shape.d, m->x);
}

/* Some rank has failed: nobody is to touch what others may be reading. */
static bool has_failed(const model *m)
{
    return m->c != NULL && communicator_group_status(m->c->group) != STATUS_OK;
}

/* The whole of a sum of which each rank has a part; and then the stream's, where it is not there yet. */
static void take_sum(model *m, float *sum, const float *gain, uint32_t n_rows)
{
    if (m->c != NULL)
        communicator_all_reduce_sum(m->c, sum, (uint64_t)n_rows * m->shape.d);
    if (gain != NULL && !has_failed(m))
        add_normed(m, gain, n_rows);
}

/* Whether a part of a sum is added to what the stream is. */
static bool goes_to_stream(const model *m, const float *gain)
{
    return gain == NULL && m->part.rank == 0;
}

/* Adds w a + bias to the stream; through y where there is a gain. */
static void add_product(model *m, const struct matrix *matrix, const activation *a, uint32_t n_rows,
                        const float *gain, uint32_t layer, enum adapter_part part)
{
    float *y = gain != NULL ? m->y : m->x;
    m->operations->matmul(m->b, matrix->w, a, n_rows, matrix->bias, goes_to_stream(m, gain), y);
    adapt_product(&m->adapt, layer, part, part, a, m->shape.d, y);
    take_sum(m, y, gain, n_rows);
}

static void forward_attention(model *m, uint32_t index, const struct step_batch *batch,
                              uint32_t n_rows)
{
    const struct backend_operations *o = m->operations;
    const struct model_layer *layer = &m->weights.layers[index];
    const struct layer_plan *plan = &m->layers[index];
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
                            const struct layer_plan *plan, uint32_t n_rows)
{
    const struct backend_operations *o = m->operations;
    const struct expert_matrix *gate_up = &layer->expert_gate_up, *down = &layer->expert_down;
    const float *gain = layer->post_ffn_norm;
    float *y = gain != NULL ? m->y : m->x;
    o->rms_norm_routed(m->b, m->x, layer->ffn_norm, m->shape.rms_epsilon, m->shape.d, m->routes,
                       plan->slots_in);
    o->matmul_gated_routed(m->b, gate_up->w, plan->slots_in, m->routes, gate_up->bias,
                           m->shape.family->gate, plan->ffn_gated);
    o->matmul_routed(m->b, down->w, plan->ffn_gated, m->routes, down->bias, goes_to_stream(m, gain),
                     y);
    take_sum(m, y, gain, n_rows);
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
    forward_experts(m, layer, plan, n_rows);
}

static void forward_head(model *m, const uint32_t *logit_rows, uint32_t n_rows)
{
    const struct backend_operations *o = m->operations;
    o->rms_norm(m->b, m->x, m->weights.output_norm, m->shape.rms_epsilon, logit_rows, n_rows,
                m->shape.d, m->logits_in);
    float *logits = m->c != NULL ? m->part_logits : m->logits;
    o->matmul(m->b, m->weights.head.w, m->logits_in, n_rows, NULL, false, logits);
    if (m->shape.logit_cap > 0)
        o->soft_cap(m->b, logits, (uint64_t)n_rows * m->part.vocabulary, m->shape.logit_cap);
    const struct column_share share = {.part = logits,
                                       .whole = m->logits,
                                       .n_rows = n_rows,
                                       .n_cols = m->shape.vocabulary,
                                       .unit = m->part.vocabulary_unit};
    if (m->c != NULL)
        communicator_gather_columns(m->c, &share);
}

/* A token of the vocabulary, or one that the step before samples. */
static bool is_token(const model *m, int32_t token)
{
    if (token >= 0)
        return (uint32_t)token < m->shape.vocabulary;
    return model_runs_ahead(m) && (uint32_t)(-1 - token) < m->step.sample_count;
}

static void check_step(const model *m, const struct model_step *step)
{
    const struct step_batch *batch = &step->batch;
    CHECK(batch->n_rows > 0 && batch->n_rows <= m->options.batch_tokens_max);
    CHECK(batch->n_sequences > 0 && batch->n_sequences <= m->options.sequence_count_max);
    CHECK(step->logit_row_count <= m->options.logit_rows_max);
    CHECK(batch->row_start[0] == 0 && batch->row_start[batch->n_sequences] == batch->n_rows);
    for (uint32_t i = 0; i < batch->n_rows; i++) {
        CHECK(is_token(m, step->tokens[i]));
        CHECK(batch->row_position[i] < m->options.context_max);
        CHECK(batch->row_sequence[i] < batch->n_sequences);
        CHECK(batch->row_position[i] / KV_BLOCK_TOKENS < batch->block_table_stride);
    }
    for (uint32_t i = 0; i < step->logit_row_count; i++)
        CHECK(step->logit_rows[i] < batch->n_rows);
    for (uint32_t i = 0; i < step->hidden_row_count; i++)
        CHECK(step->hidden_rows[i] < batch->n_rows);
    for (uint32_t i = 0; i < step->sample_count; i++)
        CHECK(step->samples[i].logit_row < step->logit_row_count);
    for (uint32_t i = 0; i < step->host_row_count; i++)
        CHECK(step->host_rows[i] < step->logit_row_count);
    CHECK(step->adapters == NULL || m->options.adapter_rank_max > 0);
    CHECK(step->sample_count == 0 || model_is_queued(m));
}

/* The layers and the logits of a step whose rows are `extent` many. */
static void forward_rows(model *m, const struct model_step *step, const struct step_extent *extent)
{
    m->operations->embed(m->b, m->weights.embedding.w, step->tokens, extent->n_rows,
                         m->shape.embedding_scale, m->x);
    take_sum(m, m->x, NULL, extent->n_rows);
    for (uint32_t i = 0; i < m->shape.n_layers && !has_failed(m); i++) {
        forward_attention(m, i, &step->batch, extent->n_rows);
        if (!has_failed(m))
            forward_ffn(m, i, extent->n_rows);
    }
    if (extent->n_logit_rows > 0 && !has_failed(m))
        forward_head(m, step->logit_rows, extent->n_logit_rows);
}

/* Tokens as rows of the part's embedding; another rank's have none. */
static const int32_t *part_tokens(model *m, const struct model_step *step)
{
    if (m->c == NULL)
        return step->tokens;
    for (uint32_t i = 0; i < step->batch.n_rows; i++) {
        uint32_t row = (uint32_t)step->tokens[i] - m->part.first_token;
        m->part_tokens[i] = row < m->part.vocabulary ? (int32_t)row : INT32_MAX;
    }
    return m->part_tokens;
}

/* What a step computes follows from its shape alone: rows of their own, each of another sequence, through the model's weights; and ranks
 * that do not stop on the host within it. The same on all ranks. */
static bool is_usual(const model *m, const struct model_step *step)
{
    return step->adapters == NULL && step->hidden_row_count == 0 &&
           step->batch.n_rows == step->batch.n_sequences &&
           (m->c == NULL || m->c->operations->is_queued);
}

static status queue_step(model *m, const struct model_step *step, uint64_t *ticket)
{
    const struct backend_operations *o = m->operations;
    struct step_extent extent;
    status s = o->step_begin(m->b, &step->batch, step->tokens, step->logit_rows,
                             step->logit_row_count, is_usual(m, step), &extent);
    if (s != STATUS_OK)
        return s;
    CHECK(extent.n_rows <= m->options.batch_tokens_max &&
          extent.n_logit_rows <= m->options.logit_rows_max);
    if (!extent.is_replayed)
        forward_rows(m, step, &extent);
    if (step->sample_count > 0)
        o->step_sample(m->b, m->logits, step->samples, step->sample_count, step->masks,
                       step->mask_count);
    return o->step_end(m->b, ticket);
}

/* A rank that fails tells the others, who might wait for it; one that does not is told. */
static status share_failure(model *m, status s)
{
    if (m->c == NULL)
        return s;
    if (s != STATUS_OK)
        communicator_group_fail(m->c->group, s);
    return communicator_check(m->c);
}

status model_rank_launch(model *m, const struct model_step *given, uint64_t *ticket)
{
    CHECK(m->open_count < (model_runs_ahead(m) ? MODEL_STEPS_MAX : 1u));
    CHECK(m->open_count == 0 || m->step.hidden_row_count + m->step.host_row_count == 0);
    check_step(m, given);
    alloc_guard_begin();
    struct model_step step = *given;
    step.tokens = part_tokens(m, given);
    adapt_begin(&m->adapt, &step.batch, step.adapters);
    status s = STATUS_OK;
    *ticket = 0;
    if (model_is_queued(m)) {
        s = queue_step(m, &step, ticket);
    } else {
        const struct step_extent extent = {step.batch.n_rows, step.logit_row_count, false};
        forward_rows(m, &step, &extent);
    }
    s = share_failure(m, s);
    m->step = step;
    m->open_count += s == STATUS_OK;
    alloc_guard_end();
    return s;
}

/* Rows of logits that the host is to see. */
static status fetch_rows(model *m)
{
    const struct model_step *step = &m->step;
    uint64_t width = m->shape.vocabulary;
    uint32_t end;
    for (uint32_t i = 0; i < step->host_row_count; i = end) {
        uint64_t first = step->host_rows[i] * width;
        for (end = i + 1; end < step->host_row_count; end++)
            if (step->host_rows[end] != step->host_rows[end - 1] + 1)
                break;
        m->operations->download(m->b, m->host_logits + first, m->logits + first,
                                (end - i) * width * sizeof(float));
    }
    return step->host_row_count > 0 ? m->operations->synchronize(m->b) : STATUS_OK;
}

status model_rank_collect(model *m, uint64_t ticket, struct model_result *out)
{
    CHECK(m->open_count > 0);
    alloc_guard_begin();
    *out = (struct model_result){.logits = m->host_logits};
    status s = model_is_queued(m) ? m->operations->step_wait(m->b, ticket, &out->samples)
                                  : m->operations->synchronize(m->b);
    s = share_failure(m, s);
    if (s == STATUS_OK && m->open_count == 1 && m->host_logits != m->logits)
        s = fetch_rows(m);
    if (s == STATUS_OK && m->open_count == 1 && m->step.hidden_row_count > 0 && m->part.rank == 0)
        s = hidden_add(&m->hidden, &m->step);
    m->open_count--;
    alloc_guard_end();
    return s;
}

/* --- all ranks together --- */

status model_launch(model *m, const struct model_step *step, uint64_t *ticket)
{
    if (m->ranks == NULL)
        return model_rank_launch(m, step, ticket);
    model_ranks_launch(m->ranks, step);
    status s = model_rank_launch(m, step, ticket);
    model_ranks_wait_launched(m->ranks);
    return s;
}

status model_collect(model *m, uint64_t ticket, struct model_result *out)
{
    status s = model_rank_collect(m, ticket, out);
    if (m->ranks == NULL)
        return s;
    status others = model_ranks_wait(m->ranks);
    return s != STATUS_OK ? s : others;
}

status model_forward(model *m, const struct model_step *step, const float **logits)
{
    struct model_step whole = *step;
    whole.host_rows = m->all_rows;
    whole.host_row_count = m->all_rows != NULL ? step->logit_row_count : 0;
    uint64_t ticket;
    struct model_result result;
    status s = model_launch(m, &whole, &ticket);
    if (s == STATUS_OK)
        s = model_collect(m, ticket, &result);
    if (s == STATUS_OK)
        *logits = result.logits;
    return s;
}

bool model_is_queued(const model *m)
{
    return m->operations->step_begin != NULL;
}

/* Ranks look up tokens on the host, each its own. */
bool model_runs_ahead(const model *m)
{
    return model_is_queued(m) && m->c == NULL;
}

status model_set_sampling(model *m, uint32_t slot, const struct device_sampling_state *state)
{
    return m->operations->sampling_state_set(m->b, slot, state);
}

void model_kv_touch_block(model *m, uint32_t block)
{
    if (m->ranks != NULL)
        model_ranks_kv_touch_block(m->ranks, block);
    if (m->operations->kv_touch_block != NULL)
        m->operations->kv_touch_block(m->b, m->kv, block);
}

void model_kv_copy_blocks(model *m, const uint32_t *from, const uint32_t *to, uint32_t count)
{
    if (m->ranks != NULL)
        model_ranks_kv_copy_blocks(m->ranks, from, to, count);
    m->operations->kv_copy_blocks(m->b, m->kv, from, to, count);
}

uint32_t model_host_slots(const model *m, uint64_t *block_ns)
{
    uint32_t slots = m->host.slots;
    *block_ns = m->host.block_ns;
    if (m->ranks != NULL)
        model_ranks_host_slots(m->ranks, &slots, block_ns);
    return slots;
}

void model_kv_save_blocks(model *m, const uint32_t *blocks, const uint32_t *slots, uint32_t count)
{
    if (m->ranks != NULL)
        model_ranks_kv_save_blocks(m->ranks, blocks, slots, count);
    host_save(&m->host, m->b, m->kv, blocks, slots, count);
}

void model_kv_load_blocks(model *m, const uint32_t *slots, const uint32_t *blocks, uint32_t count)
{
    if (m->ranks != NULL)
        model_ranks_kv_load_blocks(m->ranks, slots, blocks, count);
    host_load(&m->host, m->b, m->kv, slots, blocks, count);
}
