#include "model_adapt.h"

#include "memory.h"

status adapt_open(struct adapt *adapt, backend *b, const struct model_shape *shape,
                  const struct model_options *options)
{
    uint64_t rows = options->batch_tokens_max;
    *adapt = (struct adapt){.b = b, .shape = shape};
    if (options->adapter_rank_max == 0)
        return STATUS_OK;
    adapt->groups = memory_allocate_array(options->sequence_count_max, sizeof *adapt->groups);
    adapt->rows = memory_allocate_array(rows, sizeof *adapt->rows);
    adapt->scratch = b->operations->allocate(b, rows * options->adapter_rank_max * sizeof(float));
    bool is_dense = shape->experts.n_experts == 0;
    if (is_dense)
        adapt->row_terms = b->operations->allocate(b, rows * 2 * shape->d_ffn * sizeof(float));
    return adapt->groups != NULL && adapt->rows != NULL && adapt->scratch != NULL &&
                   (!is_dense || adapt->row_terms != NULL)
               ? STATUS_OK
               : STATUS_NO_MEMORY;
}

void adapt_close(struct adapt *adapt)
{
    memory_release(adapt->groups);
    memory_release(adapt->rows);
    if (adapt->scratch != NULL)
        adapt->b->operations->release(adapt->b, adapt->scratch);
    if (adapt->row_terms != NULL)
        adapt->b->operations->release(adapt->b, adapt->row_terms);
}

static bool is_grouped(const struct adapt *adapt, const model_adapter *adapter)
{
    for (uint32_t g = 0; g < adapt->group_count; g++)
        if (adapt->groups[g].adapter == adapter)
            return true;
    return false;
}

void adapt_begin(struct adapt *adapt, const struct step_batch *batch,
                 const model_adapter *const *adapters)
{
    uint32_t used = 0;
    adapt->group_count = 0;
    for (uint32_t s = 0; adapters != NULL && s < batch->n_sequences; s++) {
        if (adapters[s] == NULL || is_grouped(adapt, adapters[s]))
            continue;
        struct adapt_group *group = &adapt->groups[adapt->group_count++];
        *group = (struct adapt_group){.adapter = adapters[s], .rows = adapt->rows + used};
        for (uint32_t t = s; t < batch->n_sequences; t++)
            for (uint32_t r = batch->row_start[t];
                 adapters[t] == adapters[s] && r < batch->row_start[t + 1]; r++)
                adapt->rows[used++] = r;
        group->n_rows = (uint32_t)(adapt->rows + used - group->rows);
    }
}

void adapt_product(struct adapt *adapt, uint32_t layer, enum adapter_part first,
                   enum adapter_part last, const activation *in, uint32_t width, float *y)
{
    for (uint32_t g = 0; g < adapt->group_count; g++) {
        const struct adapt_group *group = &adapt->groups[g];
        for (uint32_t part = first; part <= last; part++) {
            const struct low_rank *change = &group->adapter->layers[layer].changes[part];
            if (change->rank != 0)
                adapt->b->operations->matmul_low_rank(
                    adapt->b, change, in, group->rows, group->n_rows, adapt->scratch,
                    adapter_place_of(adapt->shape, (enum adapter_part)part).first_output, width, y);
        }
    }
}

static bool changes_gated(const struct adapt *adapt, uint32_t layer)
{
    for (uint32_t g = 0; g < adapt->group_count; g++) {
        const struct low_rank *changes = adapt->groups[g].adapter->layers[layer].changes;
        for (int part = ADAPTER_GATE; part <= ADAPTER_GATE_UP; part++)
            if (changes[part].rank != 0)
                return true;
    }
    return false;
}

const float *adapt_gated(struct adapt *adapt, uint32_t layer, const activation *in, uint32_t n_rows)
{
    if (!changes_gated(adapt, layer))
        return NULL;
    uint32_t width = 2 * adapt->shape->d_ffn;
    adapt->b->operations->clear(adapt->b, adapt->row_terms,
                                (uint64_t)n_rows * width * sizeof(float));
    adapt_product(adapt, layer, ADAPTER_GATE, ADAPTER_GATE_UP, in, width, adapt->row_terms);
    return adapt->row_terms;
}
