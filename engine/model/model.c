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

#include "check.h"
#include "model_private.h"

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
