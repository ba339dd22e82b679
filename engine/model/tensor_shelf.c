#include "tensor_shelf.h"

#include <inttypes.h>
#include <stdio.h>

#include "check.h"
#include "memory.h"

status tensor_shelf_init(struct tensor_shelf *shelf, const model_source *source,
                         struct error_note *note)
{
    bool *is_taken = memory_allocate_array(model_source_tensor_count(source), sizeof *is_taken);
    if (is_taken == NULL) {
        error_note_set(note, "no memory for the list of tensors");
        return STATUS_NO_MEMORY;
    }
    *shelf = (struct tensor_shelf){.source = source, .is_taken = is_taken, .note = note};
    return STATUS_OK;
}

void tensor_shelf_forget(struct tensor_shelf *shelf)
{
    for (uint32_t i = 0; i < shelf->copy_count; i++)
        memory_release(shelf->copies[i]);
    shelf->copy_count = 0;
}

void tensor_shelf_deinit(struct tensor_shelf *shelf)
{
    tensor_shelf_forget(shelf);
    memory_release(shelf->is_taken);
    *shelf = (struct tensor_shelf){0};
}

const char *tensor_shelf_name(const struct tensor_shelf *shelf, const char *suffix,
                              char name[TENSOR_NAME_MAX])
{
    int bytes = suffix[0] == '.'
                    ? snprintf(name, TENSOR_NAME_MAX, "blk.%" PRIu32 "%s", shelf->layer, suffix)
                    : snprintf(name, TENSOR_NAME_MAX, "%s", suffix);
    CHECK(bytes > 0 && bytes < TENSOR_NAME_MAX);
    return name;
}

bool tensor_shelf_has(const struct tensor_shelf *shelf, const char *suffix)
{
    char name[TENSOR_NAME_MAX];
    return model_source_tensor_find(shelf->source, tensor_shelf_name(shelf, suffix, name)) != NULL;
}

/* The tensor, marked as taken; NULL in *out: absent and not required. */
static status find(struct tensor_shelf *shelf, const char *suffix, bool is_required,
                   const uint64_t dimensions[3], const struct source_tensor **out)
{
    char name[TENSOR_NAME_MAX];
    const struct source_tensor *tensor =
        model_source_tensor_find(shelf->source, tensor_shelf_name(shelf, suffix, name));
    *out = tensor;
    if (tensor == NULL) {
        if (!is_required)
            return STATUS_OK;
        error_note_set(shelf->note, "the tensor %s is missing", name);
        return STATUS_INVALID;
    }
    const uint64_t *d = tensor->dimensions;
    if (d[0] != dimensions[0] || d[1] != dimensions[1] || d[2] != dimensions[2] || d[3] != 1) {
        char stack[32] = "";
        if (dimensions[2] != 1)
            (void)snprintf(stack, sizeof stack, ", %" PRIu64, dimensions[2]);
        error_note_set(shelf->note,
                       "the tensor %s has the shape [%" PRIu64 ", %" PRIu64 ", %" PRIu64
                       ", %" PRIu64 "]; [%" PRIu64 ", %" PRIu64 "%s] is expected",
                       name, d[0], d[1], d[2], d[3], dimensions[0], dimensions[1], stack);
        return STATUS_INVALID;
    }
    shelf->is_taken[tensor - model_source_tensor_at(shelf->source, 0)] = true;
    return STATUS_OK;
}

void tensor_shelf_pass_over(struct tensor_shelf *shelf, const char *suffix)
{
    char name[TENSOR_NAME_MAX];
    const struct source_tensor *tensor =
        model_source_tensor_find(shelf->source, tensor_shelf_name(shelf, suffix, name));
    if (tensor != NULL)
        shelf->is_taken[tensor - model_source_tensor_at(shelf->source, 0)] = true;
}

/* --- other orders --- */

/* Elements of `size` bytes, columns outside of rows. */
static void turn(const struct source_tensor *tensor, uint32_t index, size_t size, uint8_t *out)
{
    uint64_t rows = tensor->dimensions[1], columns = tensor->dimensions[0];
    uint64_t stride = rows * tensor->row_step;
    const uint8_t *from = (const uint8_t *)tensor->data + index * columns * stride * size;
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t c = 0; c < columns; c++)
            memcpy(out + (r * columns + c) * size,
                   from + (c * stride + r * tensor->row_step + tensor->row_first) * size, size);
}

/* Scale and 16 bytes a block; a byte's nibbles are elements j and j + 16, not 2 j and 2 j + 1. */
static void gather_mxfp4(const struct source_tensor *tensor, uint32_t index, uint8_t *out)
{
    uint64_t rows = tensor->dimensions[1], blocks = tensor->dimensions[0] / 32;
    for (uint64_t r = 0; r < rows; r++) {
        uint64_t from_row =
            index * rows * tensor->row_step + r * tensor->row_step + tensor->row_first;
        for (uint64_t b = 0; b < blocks; b++) {
            uint64_t block = from_row * blocks + b;
            const uint8_t *pairs = (const uint8_t *)tensor->data + block * 16;
            *out++ = tensor->block_scales[block];
            for (uint32_t j = 0; j < 16; j++) {
                uint32_t low = pairs[j / 2] >> (4 * (j % 2)) & 15u,
                         high = pairs[8 + j / 2] >> (4 * (j % 2)) & 15u;
                *out++ = (uint8_t)(low | high << 4);
            }
        }
    }
}

void *tensor_shelf_allocate(struct tensor_shelf *shelf, uint64_t bytes)
{
    CHECK(shelf->copy_count < SHELF_COPIES_MAX);
    void *copy = memory_allocate(bytes);
    if (copy == NULL)
        error_note_set(shelf->note, "no memory to copy %" PRIu64 " bytes of a tensor", bytes);
    else
        shelf->copies[shelf->copy_count++] = copy;
    return copy;
}

/* A copy of matrix `index` in GGUF's order. */
static status copy_matrix(struct tensor_shelf *shelf, const struct source_tensor *tensor,
                          uint32_t index, uint32_t block_elements, uint32_t block_bytes,
                          const void **out)
{
    uint64_t elements = tensor->dimensions[0] * tensor->dimensions[1];
    uint8_t *copy = tensor_shelf_allocate(shelf, elements / block_elements * block_bytes);
    if (copy == NULL)
        return STATUS_NO_MEMORY;
    if (tensor->order == ORDER_MXFP4)
        gather_mxfp4(tensor, index, copy);
    else
        turn(tensor, index, block_bytes, copy);
    *out = copy;
    return STATUS_OK;
}

/* --- taking --- */

static status take(struct tensor_shelf *shelf, const char *suffix, bool is_required,
                   struct stack_place place, uint32_t n_outputs, uint32_t n_cols,
                   struct tensor_source *out)
{
    const uint64_t dimensions[3] = {n_cols, n_outputs, place.count};
    const struct source_tensor *tensor;
    uint32_t elements, bytes;
    *out = (struct tensor_source){.data = NULL};
    status s = find(shelf, suffix, is_required, dimensions, &tensor);
    if (s != STATUS_OK || tensor == NULL)
        return s;
    CHECK(tensor_type_block(tensor->type, &elements, &bytes));
    *out = (struct tensor_source){.type = tensor->type,
                                  .n_outputs = n_outputs,
                                  .n_cols = n_cols,
                                  .scales = tensor->scales,
                                  .scale_outputs = tensor->scale_outputs,
                                  .scale_cols = tensor->scale_cols};
    if (tensor->order == ORDER_TRANSPOSED || tensor->order == ORDER_MXFP4)
        return copy_matrix(shelf, tensor, place.index, elements, bytes, &out->data);
    CHECK(tensor->order == ORDER_PLAIN);
    uint64_t matrix_bytes = (uint64_t)n_cols / elements * bytes * n_outputs;
    out->data = (const uint8_t *)tensor->data + place.index * matrix_bytes;
    return STATUS_OK;
}

status tensor_shelf_take(struct tensor_shelf *shelf, const char *suffix, bool is_required,
                         uint32_t n_outputs, uint32_t n_cols, struct tensor_source *out)
{
    return take(shelf, suffix, is_required, (struct stack_place){0, 1}, n_outputs, n_cols, out);
}

status tensor_shelf_take_stacked(struct tensor_shelf *shelf, const char *suffix,
                                 struct stack_place place, uint32_t n_outputs, uint32_t n_cols,
                                 struct tensor_source *out)
{
    return take(shelf, suffix, true, place, n_outputs, n_cols, out);
}

/* Rows of a stack whose numbers alternate with another's. */
static void read_strided(const struct source_tensor *tensor, uint32_t rows, uint32_t n, float *out)
{
    uint32_t step = tensor->row_step;
    struct tensor_source all = {
        .type = tensor->type, .data = tensor->data, .n_outputs = rows, .n_cols = n * step};
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t i = 0; i < n; i++)
            tensor_dequantise(&all, r, i * step + tensor->row_first, 1, out + (size_t)r * n + i);
}

status tensor_shelf_read_floats(struct tensor_shelf *shelf, const char *suffix, bool is_required,
                                uint32_t rows, uint32_t n, float *out, bool *is_found)
{
    const uint64_t dimensions[3] = {n, rows, 1};
    const struct source_tensor *tensor;
    status s = find(shelf, suffix, is_required, dimensions, &tensor);
    *is_found = s == STATUS_OK && tensor != NULL;
    if (!*is_found)
        return s;
    if (tensor->type == TENSOR_F8_E4M3) {
        error_note_set(shelf->note, "the tensor %.*s is of 8-bit floats, which a vector may not be",
                       name_shown(tensor->name), tensor->name.data);
        return STATUS_UNSUPPORTED;
    }
    if (tensor->order == ORDER_STRIDED) {
        read_strided(tensor, rows, n, out);
        return STATUS_OK;
    }
    CHECK(tensor->order == ORDER_PLAIN);
    const struct tensor_source all = {
        .type = tensor->type, .data = tensor->data, .n_outputs = rows, .n_cols = n};
    for (uint32_t r = 0; r < rows; r++)
        tensor_dequantise(&all, r, 0, n, out + (size_t)r * n);
    return STATUS_OK;
}

status tensor_shelf_check_empty(const struct tensor_shelf *shelf)
{
    for (uint64_t i = 0; i < model_source_tensor_count(shelf->source); i++) {
        if (shelf->is_taken[i])
            continue;
        struct text_slice name = model_source_tensor_at(shelf->source, i)->name;
        error_note_set(shelf->note, "the tensor %.*s belongs to a feature that is not supported",
                       (int)name.bytes, name.data);
        return STATUS_UNSUPPORTED;
    }
    return STATUS_OK;
}
