#include "weight_loader.h"

#include <inttypes.h>
#include <string.h>

#include "check.h"
#include "memory.h"

uint64_t weight_type_mask(enum tensor_type type)
{
    CHECK((unsigned)type < TENSOR_TYPE_COUNT);
    return UINT64_C(1) << type;
}

status weight_refuse(struct weight_loader *l, status s, const char *suffix)
{
    char name[TENSOR_NAME_MAX];
    tensor_shelf_name(&l->shelf, suffix, name);
    if (s == STATUS_NO_MEMORY)
        error_note_set(l->shelf.note, "no memory for the weight of %s", name);
    else
        error_note_set(l->shelf.note, "the %s backend cannot use the tensor %s (%s)",
                       l->out->b->operations->name, name, status_name(s));
    return s;
}

status weight_refuse_memory(const struct weight_loader *l)
{
    error_note_set(l->shelf.note, "no memory for the tables of the weights");
    return STATUS_NO_MEMORY;
}

static status take_whole(struct weight_loader *l, const struct stack *stack,
                         struct tensor_source *sources)
{
    status s = STATUS_OK;
    for (uint32_t i = 0; i < stack->count && s == STATUS_OK; i++) {
        s = tensor_shelf_take(&l->shelf, stack->suffixes[i], true, stack->n_outputs[i],
                              stack->n_cols, &sources[i]);
        if (s == STATUS_OK && stack->columns.count != 0)
            s = weight_cut_columns(&l->shelf, stack->suffixes[i], stack->columns, &sources[i]);
    }
    return s;
}

/* Span `index` of the stack's outputs. */
static status take_span(struct weight_loader *l, const struct stack *stack,
                        const struct tensor_source *whole, uint32_t index,
                        struct tensor_source *out)
{
    struct model_span span = stack->outputs[index];
    uint32_t i = 0;
    for (; i + 1 < stack->count && span.first >= stack->n_outputs[i]; i++)
        span.first -= stack->n_outputs[i];
    return weight_cut_outputs(&l->shelf, stack->suffixes[i], &whole[i], span, out);
}

status weight_take_stack(struct weight_loader *l, const struct stack *stack,
                         struct tensor_source *sources, struct matrix *out)
{
    struct tensor_source whole[STACK_MAX];
    status s = take_whole(l, stack, whole);
    if (s != STATUS_OK)
        return s;
    out->n_cols = whole[0].n_cols;
    for (uint32_t i = 0; i < stack_source_count(stack); i++) {
        sources[i] = whole[i < stack->count ? i : 0];
        if (stack->span_count != 0)
            s = take_span(l, stack, whole, i, &sources[i]);
        if (s != STATUS_OK)
            return s;
        out->type_mask |= weight_type_mask(sources[i].type);
    }
    return STATUS_OK;
}

static status take_weight(struct weight_loader *l, struct weight_image *image, weight **out)
{
    status s = weight_cache_take(l->route->cache, l->out->b, image, l->shelf.note);
    if (s != STATUS_OK)
        return s;
    s = l->out->b->operations->weight_restore(l->out->b, image, out);
    if (s != STATUS_OK)
        error_note_set(l->shelf.note, "a weight of %" PRIu64 " bytes was refused (%s)",
                       image->bytes, status_name(s));
    return s;
}

status weight_make(struct weight_loader *l, struct weight_image *image, const char *suffix,
                   weight **out)
{
    backend *b = l->out->b;
    const struct tensor_source *sources = image->sources;
    weight *w;
    if (l->route->cache != NULL) {
        status s = take_weight(l, image, &w);
        if (s != STATUS_OK)
            return s;
    } else {
        status s = image->is_gated
                       ? b->operations->weight_create_gated(b, &sources[0], &sources[1], &w)
                       : b->operations->weight_create(b, sources, image->source_count, &w);
        if (s != STATUS_OK)
            return weight_refuse(l, s, suffix);
    }
    l->out->bytes += b->operations->weight_bytes(w);
    tensor_shelf_forget(&l->shelf);
    if (l->route->writer == NULL) {
        *out = w;
        return STATUS_OK;
    }
    status s = weight_cache_writer_append(l->route->writer, b, w, image, l->shelf.note);
    b->operations->weight_destroy(b, w);
    return s;
}

status weight_load_matrix(struct weight_loader *l, const struct stack *stack, struct matrix *out)
{
    struct tensor_source sources[STACK_MAX];
    struct weight_image image = {.sources = sources, .source_count = stack_source_count(stack)};
    status s = weight_take_stack(l, stack, sources, out);
    return s == STATUS_OK ? weight_make(l, &image, stack->suffixes[0], &out->w) : s;
}

status weight_upload_floats(struct weight_loader *l, const float *values, uint32_t count,
                            float **out)
{
    const struct backend_operations *operations = l->out->b->operations;
    uint64_t bytes = count * sizeof *values;
    float *device = operations->allocate(l->out->b, bytes);
    if (device == NULL) {
        error_note_set(l->shelf.note, "no memory for a vector of %" PRIu32 " floats", count);
        return STATUS_NO_MEMORY;
    }
    operations->upload(l->out->b, device, values, bytes);
    l->out->bytes += bytes;
    *out = device;
    return STATUS_OK;
}

status weight_take_vectors(struct weight_loader *l, const struct stack *stack, bool is_required,
                           float *out, bool *is_found)
{
    *is_found = false;
    for (uint32_t i = 0; i < stack->count; i++) {
        /* The first decides: a file with a bias for Q alone is broken. */
        status s = tensor_shelf_read_floats(&l->shelf, stack->suffixes[i], is_required || *is_found,
                                            1, stack->n_outputs[i], out, is_found);
        if (s != STATUS_OK || !*is_found)
            return s;
        out += stack->n_outputs[i];
    }
    return STATUS_OK;
}

/* Moves the spans to the front; how many numbers they have. */
static uint32_t keep_spans(const struct stack *stack, float *values)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < stack->span_count; i++) {
        memmove(values + count, values + stack->outputs[i].first,
                stack->outputs[i].count * sizeof *values);
        count += stack->outputs[i].count;
    }
    return count;
}

status weight_load_vector(struct weight_loader *l, const struct stack *stack, bool is_required,
                          float offset, float **out)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < stack->count; i++)
        count += stack->n_outputs[i];
    float *host = memory_allocate_array(count, sizeof *host);
    if (host == NULL)
        return weight_refuse_memory(l);
    bool is_found;
    status s = weight_take_vectors(l, stack, is_required, host, &is_found);
    if (stack->span_count != 0)
        count = keep_spans(stack, host);
    for (uint32_t i = 0; i < count; i++)
        host[i] += offset;
    if (s == STATUS_OK && is_found)
        s = weight_upload_floats(l, host, count, out);
    memory_release(host);
    return s;
}

status weight_load_bias(struct weight_loader *l, const struct stack *stack, bool is_required,
                        struct matrix *matrix)
{
    float *bias = NULL;
    status s = weight_load_vector(l, stack, is_required, 0, &bias);
    matrix->bias = bias;
    return s;
}

status weight_load_sum_bias(struct weight_loader *l, const char *suffix, uint32_t width,
                            struct matrix *matrix)
{
    const struct stack stack = {.suffixes = {suffix}, .n_outputs = {width}, .count = 1};
    if (l->part->rank == 0)
        return weight_load_bias(l, &stack, false, matrix);
    tensor_shelf_pass_over(&l->shelf, suffix);
    return STATUS_OK;
}

status weight_load_norm(struct weight_loader *l, const char *suffix, uint32_t width, float **out)
{
    const struct stack stack = {.suffixes = {suffix}, .n_outputs = {width}, .count = 1};
    return weight_load_vector(l, &stack, true, l->shape->norm_offset, out);
}
