#include "tensor_shelf.h"

#include <inttypes.h>
#include <stdio.h>

#include "check.h"
#include "memory.h"

status tensor_shelf_init(struct tensor_shelf *shelf, const gguf *file, struct error_note *note)
{
    bool *is_taken = memory_allocate_array(gguf_tensor_count(file), sizeof *is_taken);
    if (is_taken == NULL) {
        error_note_set(note, "no memory for the list of tensors");
        return STATUS_NO_MEMORY;
    }
    *shelf = (struct tensor_shelf){.file = file, .is_taken = is_taken, .note = note};
    return STATUS_OK;
}

void tensor_shelf_deinit(struct tensor_shelf *shelf)
{
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

static bool has_shape(const struct gguf_tensor *tensor, uint32_t n_outputs, uint32_t n_cols)
{
    return tensor->dimensions[0] == n_cols && tensor->dimensions[1] == n_outputs &&
           tensor->dimensions[2] == 1 && tensor->dimensions[3] == 1;
}

status tensor_shelf_take(struct tensor_shelf *shelf, const char *suffix, bool is_required,
                         uint32_t n_outputs, uint32_t n_cols, struct tensor_source *out)
{
    char name[TENSOR_NAME_MAX];
    const struct gguf_tensor *tensor =
        gguf_tensor_find(shelf->file, tensor_shelf_name(shelf, suffix, name));
    *out = (struct tensor_source){.data = NULL};
    if (tensor == NULL) {
        if (!is_required)
            return STATUS_OK;
        error_note_set(shelf->note, "the tensor %s is missing", name);
        return STATUS_INVALID;
    }
    if (!has_shape(tensor, n_outputs, n_cols)) {
        error_note_set(shelf->note,
                       "the tensor %s has the shape [%" PRIu64 ", %" PRIu64 ", %" PRIu64
                       ", %" PRIu64 "]; [%" PRIu32 ", %" PRIu32 "] is expected",
                       name, tensor->dimensions[0], tensor->dimensions[1], tensor->dimensions[2],
                       tensor->dimensions[3], n_cols, n_outputs);
        return STATUS_INVALID;
    }
    shelf->is_taken[tensor - gguf_tensor_at(shelf->file, 0)] = true;
    *out = (struct tensor_source){
        .type = tensor->type, .data = tensor->data, .n_outputs = n_outputs, .n_cols = n_cols};
    return STATUS_OK;
}

status tensor_shelf_check_empty(const struct tensor_shelf *shelf)
{
    for (uint64_t i = 0; i < gguf_tensor_count(shelf->file); i++) {
        if (shelf->is_taken[i])
            continue;
        struct text_slice name = gguf_tensor_at(shelf->file, i)->name;
        error_note_set(shelf->note, "the tensor %.*s belongs to a feature that is not supported",
                       (int)name.bytes, name.data);
        return STATUS_UNSUPPORTED;
    }
    return STATUS_OK;
}
