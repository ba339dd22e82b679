#include "model_adapt.h"

#include "check.h"
#include "memory.h"

status adapt_open(struct adapt *adapt, backend *b, const struct model_shape *shape,
                  const struct model_options *options)
{
    uint64_t rows = options->batch_tokens_max;
    *adapt = (struct adapt){.b = b, .shape = shape, .rows_max = options->batch_tokens_max};
    if (options->adapter_rank_max == 0)
        return STATUS_OK;
    status s = adapter_slots_open(&adapt->slots, b, shape, options->adapters_max,
                                  options->adapter_rank_max);
    if (s != STATUS_OK)
        return s;
    uint32_t adapters = options->sequence_count_max;
    adapt->adapters = memory_allocate_array(adapters, sizeof *adapt->adapters);
    adapt->changes = memory_allocate_array(adapters, sizeof *adapt->changes);
    adapt->rows = memory_allocate_array(2 * rows, sizeof *adapt->rows);
    adapt->device_rows = b->operations->allocate(b, 2 * rows * sizeof *adapt->rows);
    adapt->scratch = b->operations->allocate(b, rows * options->adapter_rank_max * sizeof(float));
    bool is_dense = shape->experts.n_experts == 0;
    if (is_dense)
        adapt->row_terms = b->operations->allocate(b, rows * 2 * shape->d_ffn * sizeof(float));
    return adapt->adapters != NULL && adapt->changes != NULL && adapt->rows != NULL &&
                   adapt->device_rows != NULL && adapt->scratch != NULL &&
                   (!is_dense || adapt->row_terms != NULL)
               ? STATUS_OK
               : STATUS_NO_MEMORY;
}

void adapt_close(struct adapt *adapt)
{
    void *device[] = {adapt->device_rows, adapt->scratch, adapt->row_terms};
    memory_release(adapt->adapters);
    memory_release(adapt->changes);
    memory_release(adapt->rows);
    for (size_t i = 0; i < ARRAY_COUNT(device); i++)
        if (device[i] != NULL)
            adapt->b->operations->release(adapt->b, device[i]);
    adapter_slots_close(&adapt->slots);
}

/* The number of an adapter among those of the step, where it is put if it is new. */
static uint32_t number_of(struct adapt *adapt, const model_adapter *adapter)
{
    uint32_t i = 0;
    while (i < adapt->adapter_count && adapt->adapters[i] != adapter)
        i++;
    if (i == adapt->adapter_count)
        adapt->adapters[adapt->adapter_count++] = adapter;
    return i;
}

void adapt_begin(struct adapt *adapt, const struct step_batch *batch,
                 const model_adapter *const *adapters)
{
    uint32_t used = 0, *numbers = adapt->rows + adapt->rows_max;
    adapt->adapter_count = 0;
    for (uint32_t s = 0; adapters != NULL && s < batch->n_sequences; s++) {
        if (adapters[s] == NULL)
            continue;
        uint32_t number = number_of(adapt, adapters[s]);
        for (uint32_t r = batch->row_start[s]; r < batch->row_start[s + 1]; r++) {
            adapt->rows[used] = r;
            numbers[used++] = number;
        }
    }
    if (used == 0)
        return;
    uint32_t *device_numbers = adapt->device_rows + adapt->rows_max;
    adapt->b->operations->upload(adapt->b, adapt->device_rows, adapt->rows,
                                 used * sizeof *adapt->rows);
    adapt->b->operations->upload(adapt->b, device_numbers, numbers, used * sizeof *numbers);
    adapt->which = (struct low_rank_rows){adapt->device_rows, device_numbers, used};
}

/* Whether some adapter of the step changes this part; adapt->changes has what each does. */
static bool find_changes(struct adapt *adapt, uint32_t layer, uint32_t part)
{
    bool is_any = false;
    for (uint32_t i = 0; i < adapt->adapter_count; i++) {
        adapt->changes[i] = adapt->adapters[i]->layers[layer].changes[part];
        is_any |= adapt->changes[i].rank != 0;
    }
    return is_any;
}

void adapt_product(struct adapt *adapt, uint32_t layer, enum adapter_part first,
                   enum adapter_part last, const activation *in, uint32_t width, float *y)
{
    for (uint32_t part = first; part <= last; part++) {
        struct adapter_place place = adapter_place_of(adapt->shape, (enum adapter_part)part);
        if (find_changes(adapt, layer, part))
            adapt->b->operations->matmul_low_rank(adapt->b, adapt->changes, adapt->adapter_count,
                                                  &adapt->which, in, adapt->scratch,
                                                  place.first_output, width, y);
    }
}

static bool changes_gated(struct adapt *adapt, uint32_t layer)
{
    for (uint32_t part = ADAPTER_GATE; part <= ADAPTER_GATE_UP; part++)
        if (find_changes(adapt, layer, part))
            return true;
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
