/* Weights: copies of the file's own blocks, stacked; and the rows that go into products. */
#include "reference_private.h"

#include <string.h>

#include "check.h"
#include "memory.h"

void reference_weight_destroy(backend *b, weight *w)
{
    (void)b;
    if (w == NULL)
        return;
    for (uint32_t i = 0; i < w->source_count; i++) {
        memory_release((void *)(uintptr_t)w->sources[i].data);
        memory_release((void *)(uintptr_t)w->sources[i].scales);
    }
    memory_release(w);
}

static void *copy_of(const void *data, uint64_t bytes)
{
    void *copy = memory_allocate(bytes > 0 ? bytes : 1);
    if (copy != NULL)
        memcpy(copy, data, bytes);
    return copy;
}

/* Appends a copy of `source` to the weight. */
static status add_source(weight *w, const struct tensor_source *source)
{
    uint32_t elements, block_bytes;
    if (!tensor_type_block(source->type, &elements, &block_bytes) || source->n_cols != w->n_cols ||
        w->n_cols % elements != 0)
        return STATUS_INVALID;
    uint64_t bytes = (uint64_t)source->n_outputs * (w->n_cols / elements) * block_bytes;
    struct tensor_source *copy = &w->sources[w->source_count++];
    *copy = *source;
    copy->data = copy_of(source->data, bytes);
    if (source->scales != NULL)
        copy->scales = copy_of(source->scales, tensor_scale_count(source) * sizeof(float));
    w->n_outputs += source->n_outputs;
    w->bytes += bytes;
    return copy->data != NULL && (source->scales == NULL || copy->scales != NULL)
               ? STATUS_OK
               : STATUS_NO_MEMORY;
}

status reference_weight_create(backend *b, const struct tensor_source *sources,
                               uint32_t source_count, weight **out)
{
    CHECK(source_count >= 1 && source_count <= SOURCE_COUNT_MAX);
    struct reference_backend *reference = of_backend(b);
    if (sources[0].n_cols > reference->cols_max) {
        float *rows = memory_allocate_array(2 * (size_t)sources[0].n_cols, sizeof(float));
        if (rows == NULL)
            return STATUS_NO_MEMORY;
        memory_release(reference->rows);
        reference->rows = rows;
        reference->cols_max = sources[0].n_cols;
    }
    weight *w = memory_allocate_array(1, sizeof(*w));
    if (w == NULL)
        return STATUS_NO_MEMORY;
    w->n_cols = sources[0].n_cols;
    for (uint32_t i = 0; i < source_count; i++) {
        status result = add_source(w, &sources[i]);
        if (result != STATUS_OK) {
            reference_weight_destroy(b, w);
            return result;
        }
    }
    *out = w;
    return STATUS_OK;
}

status reference_weight_create_gated(backend *b, const struct tensor_source *gate,
                                     const struct tensor_source *up, weight **out)
{
    if (gate->n_outputs != up->n_outputs)
        return STATUS_INVALID;
    struct tensor_source sources[2] = {*gate, *up};
    status result = reference_weight_create(b, sources, 2, out);
    if (result == STATUS_OK) {
        (*out)->is_gated = true;
        (*out)->n_outputs = gate->n_outputs;
    }
    return result;
}

uint64_t reference_weight_bytes(const weight *w)
{
    return w->bytes;
}

void reference_activation_destroy(backend *b, activation *a)
{
    (void)b;
    if (a == NULL)
        return;
    memory_release(a->values);
    memory_release(a);
}

status reference_activation_create(backend *b, const weight *w, uint32_t rows_max, activation **out)
{
    activation *a = memory_allocate_array(1, sizeof(*a));
    if (a == NULL)
        return STATUS_NO_MEMORY;
    a->n_cols = w->n_cols;
    a->rows_max = rows_max;
    a->values = memory_allocate_array((size_t)rows_max * w->n_cols, sizeof(float));
    if (a->values == NULL) {
        reference_activation_destroy(b, a);
        return STATUS_NO_MEMORY;
    }
    *out = a;
    return STATUS_OK;
}

void reference_weight_row(const weight *w, uint32_t output, float *out)
{
    uint32_t source = 0;
    while (output >= w->sources[source].n_outputs) {
        output -= w->sources[source].n_outputs;
        source++;
        CHECK(source < w->source_count);
    }
    tensor_dequantise(&w->sources[source], output, 0, w->n_cols, out);
}
