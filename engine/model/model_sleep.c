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

static bool has_kept_weights(const model *m)
{
    return m->weights.cache != NULL;
}

/* A device's weights are nowhere else but in the files. */
static bool drops_weights(const model *m, uint32_t level)
{
    return level >= 2 && m->operations->sleep != NULL && !has_kept_weights(m);
}

void model_sleep(model *m, uint32_t level)
{
    if (m->ranks != NULL)
        model_ranks_sleep(m->ranks, level);
    if (m->operations->discard != NULL && !m->is_asleep)
        discard_buffers(m);
    m->is_asleep = true;
    if (drops_weights(m, level) && !m->has_dropped_weights) {
        model_weights_unload(&m->weights);
        m->has_dropped_weights = true;
    }
    if (m->operations->sleep != NULL)
        m->operations->sleep(m->b);
    if (level >= 2 && has_kept_weights(m))
        weight_cache_sleep(m->weights.cache);
}

/* Of a device: its memory, and the weights out of the files if they were dropped. */
static status wake_device(model *m, struct error_note *note)
{
    status s = m->operations->wake(m->b);
    if (s != STATUS_OK) {
        error_note_set(note, "the %s backend cannot have its memory back (%s)", m->operations->name,
                       status_name(s));
        return s;
    }
    if (!m->has_dropped_weights)
        return STATUS_OK;
    s = model_read_weights_again(m, note);
    m->has_dropped_weights = s != STATUS_OK;
    if (s != STATUS_OK) {
        discard_buffers(m);
        m->operations->sleep(m->b);
    }
    return s;
}

static status wake_alone(model *m, struct error_note *note)
{
    status s = STATUS_OK;
    if (!m->is_asleep)
        return STATUS_OK;
    if (m->operations->wake != NULL)
        s = wake_device(m, note);
    if (s == STATUS_OK && has_kept_weights(m))
        s = weight_cache_wake(m->weights.cache, m->b, note);
    m->is_asleep = s != STATUS_OK;
    return s;
}

status model_wake(model *m, struct error_note *note)
{
    status s = m->ranks != NULL ? model_ranks_wake(m->ranks, note) : STATUS_OK;
    return s == STATUS_OK ? wake_alone(m, note) : s;
}
