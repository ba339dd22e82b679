/* Sleep and wake of a model: what its memory is good for while no step runs. */

#include "model_private.h"

/* Nothing in these is read before it is written again: a step begins with its tokens, and a cache that sleeps is empty. */
static void discard_buffers(model *m)
{
    uint64_t rows = m->options.batch_tokens_max;
    const struct {
        float *data;
        uint64_t count;
    } buffers[] = {
        {m->x, rows * m->shape.d},
        {m->y, rows * m->shape.d},
        {m->qkv, rows * model_shape_qkv_width(&m->shape)},
        {m->logits, (uint64_t)m->options.logit_rows_max * m->shape.vocabulary},
        {m->part_logits, (uint64_t)m->options.logit_rows_max * m->part.vocabulary},
        {m->adapt.row_terms, rows * 2 * m->shape.d_ffn},
    };
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++)
        if (buffers[i].data != NULL)
            m->operations->discard(m->b, buffers[i].data, buffers[i].count * sizeof(float));
    for (uint32_t i = 0; i < m->form_count; i++)
        m->operations->activation_discard(m->b, m->forms[i].rows);
    m->operations->kv_discard(m->b, m->kv);
}

void model_sleep(model *m, uint32_t level)
{
    if (m->ranks != NULL)
        model_ranks_sleep(m->ranks, level);
    if (m->operations->discard != NULL)
        discard_buffers(m);
    if (level >= 2 && m->weights.cache != NULL)
        weight_cache_sleep(m->weights.cache);
}

status model_wake(model *m, struct error_note *note)
{
    status s = m->ranks != NULL ? model_ranks_wake(m->ranks, note) : STATUS_OK;
    if (s == STATUS_OK && m->weights.cache != NULL)
        s = weight_cache_wake(m->weights.cache, m->b, note);
    return s;
}
