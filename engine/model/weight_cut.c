#include "weight_cut.h"

#include <inttypes.h>
#include <string.h>

#include "check.h"

static status refuse(const struct tensor_shelf *shelf, const char *suffix, struct model_span span,
                     const char *what, uint32_t unit)
{
    char name[TENSOR_NAME_MAX];
    error_note_set(shelf->note,
                   "the tensor %s cannot be cut at %s %" PRIu32 " to %" PRIu32
                   ": its blocks are of %" PRIu32 "; another number of ranks may do",
                   tensor_shelf_name(shelf, suffix, name), what, span.first,
                   span.first + span.count, unit);
    return STATUS_UNSUPPORTED;
}

static uint32_t scale_parts(uint32_t n, uint32_t part)
{
    return n / part + (n % part != 0);
}

status weight_cut_outputs(const struct tensor_shelf *shelf, const char *suffix,
                          const struct tensor_source *whole, struct model_span span,
                          struct tensor_source *out)
{
    uint32_t elements, bytes;
    CHECK(tensor_type_block(whole->type, &elements, &bytes));
    CHECK(span.count > 0 && span.count <= whole->n_outputs &&
          span.first <= whole->n_outputs - span.count);
    *out = *whole;
    out->n_outputs = span.count;
    out->data =
        (const uint8_t *)whole->data + (uint64_t)whole->n_cols / elements * bytes * span.first;
    if (whole->scales == NULL || whole->scale_outputs >= span.first + span.count)
        return STATUS_OK;
    if (span.first % whole->scale_outputs != 0)
        return refuse(shelf, suffix, span, "outputs", whole->scale_outputs);
    out->scales = whole->scales + (size_t)(span.first / whole->scale_outputs) *
                                      scale_parts(whole->n_cols, whole->scale_cols);
    return STATUS_OK;
}

/* The factors of columns from part `first` on. */
static status cut_scales(struct tensor_shelf *shelf, struct model_span span,
                         struct tensor_source *source)
{
    uint32_t rows = scale_parts(source->n_outputs, source->scale_outputs),
             before = scale_parts(source->n_cols, source->scale_cols),
             count = scale_parts(span.count, source->scale_cols),
             first = span.first / source->scale_cols;
    float *scales = tensor_shelf_allocate(shelf, (uint64_t)rows * count * sizeof *scales);
    if (scales == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t r = 0; r < rows; r++)
        memcpy(scales + (size_t)r * count, source->scales + (size_t)r * before + first,
               count * sizeof *scales);
    source->scales = scales;
    return STATUS_OK;
}

status weight_cut_columns(struct tensor_shelf *shelf, const char *suffix, struct model_span span,
                          struct tensor_source *source)
{
    uint32_t elements, bytes;
    CHECK(tensor_type_block(source->type, &elements, &bytes));
    CHECK(span.count > 0 && span.count <= source->n_cols &&
          span.first <= source->n_cols - span.count);
    bool has_parts = source->scales != NULL && source->scale_cols < source->n_cols;
    uint32_t unit = has_parts ? source->scale_cols : elements;
    if (span.first % unit != 0 || span.count % elements != 0 ||
        (span.count % unit != 0 && span.first + span.count != source->n_cols))
        return refuse(shelf, suffix, span, "columns", unit);
    uint64_t row_bytes = (uint64_t)source->n_cols / elements * bytes,
             part_bytes = (uint64_t)span.count / elements * bytes;
    uint8_t *copy = tensor_shelf_allocate(shelf, part_bytes * source->n_outputs);
    if (copy == NULL)
        return STATUS_NO_MEMORY;
    const uint8_t *from = (const uint8_t *)source->data + (uint64_t)span.first / elements * bytes;
    for (uint32_t r = 0; r < source->n_outputs; r++)
        memcpy(copy + r * part_bytes, from + r * row_bytes, part_bytes);
    status s = has_parts ? cut_scales(shelf, span, source) : STATUS_OK;
    source->data = copy;
    source->n_cols = span.count;
    return s;
}
