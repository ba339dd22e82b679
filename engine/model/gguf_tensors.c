/* The tensor table of a GGUF file. Invariant after gguf_read_tensors: each tensor's range lies
 * inside the file's data section, begins at a multiple of the file's alignment, shares no byte with
 * another tensor, and has exactly the bytes that its dimensions and type ask for. So whoever holds
 * a struct gguf_tensor may read it without further checks. */

#include <inttypes.h>
#include <stdlib.h>

#include "gguf_internal.h"
#include "memory.h"

/* The format's own limit. */
#define NAME_BYTES_MAX 64u
/* The format's default and least alignment, and one that no writer exceeds (a huge page's 2 MiB
 * would still be odd). */
#define ALIGNMENT_DEFAULT 32u
#define ALIGNMENT_MIN     8u
#define ALIGNMENT_MAX     (UINT64_C(1) << 16)
/* Length, one byte of name, dimension count, one dimension, type, offset. Bounds the table by the
 * file's size. */
#define TENSOR_BYTES_MIN 33u

struct data_section {
    uint64_t start; /* offset in the file */
    uint64_t bytes;
    uint64_t alignment;
};

static status read_alignment(const struct gguf *file, struct error_note *note, uint64_t *out)
{
    *out = ALIGNMENT_DEFAULT;
    uint32_t index;
    if (!gguf_names_find(&file->entry_names, text_slice_of("general.alignment"), &index))
        return STATUS_OK;
    if (!gguf_get_u64(file, "general.alignment", out) || *out < ALIGNMENT_MIN ||
        *out > ALIGNMENT_MAX || (*out & (*out - 1)) != 0) {
        error_note_set(note, "general.alignment must be a power of two from %u to %" PRIu64,
                       ALIGNMENT_MIN, ALIGNMENT_MAX);
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

static status take_dimensions(struct gguf_cursor *cursor, struct gguf_tensor *tensor)
{
    uint64_t start = cursor->offset;
    status s = gguf_take_u32(cursor, "dimension count", &tensor->dimension_count);
    if (s != STATUS_OK)
        return s;
    if (tensor->dimension_count == 0 || tensor->dimension_count > GGUF_DIMENSIONS_MAX) {
        error_note_set(cursor->note,
                       "byte %" PRIu64 ": %" PRIu32 " dimensions (1 to %u are possible)", start,
                       tensor->dimension_count, GGUF_DIMENSIONS_MAX);
        return STATUS_INVALID;
    }
    for (uint32_t i = 0; i < GGUF_DIMENSIONS_MAX; i++)
        tensor->dimensions[i] = 1;
    for (uint32_t i = 0; i < tensor->dimension_count; i++) {
        start = cursor->offset;
        s = gguf_take_u64(cursor, "dimension", &tensor->dimensions[i]);
        if (s != STATUS_OK)
            return s;
        if (tensor->dimensions[i] == 0) {
            error_note_set(cursor->note, "byte %" PRIu64 ": a dimension of zero", start);
            return STATUS_INVALID;
        }
    }
    return STATUS_OK;
}

/* Type, and with it the tensor's size. */
static status take_type(struct gguf_cursor *cursor, struct gguf_tensor *tensor)
{
    uint64_t start = cursor->offset;
    uint32_t number, block_elements, block_bytes;
    status s = gguf_take_u32(cursor, "tensor type", &number);
    if (s != STATUS_OK)
        return s;
    tensor->type = (enum tensor_type)number;
    if (tensor->type == TENSOR_F8_E4M3 ||
        !tensor_type_block(tensor->type, &block_elements, &block_bytes)) {
        error_note_set(cursor->note, "byte %" PRIu64 ": tensor type %" PRIu32 " is not supported",
                       start, number);
        return STATUS_UNSUPPORTED;
    }
    if (tensor->dimensions[0] % block_elements != 0) {
        error_note_set(cursor->note,
                       "byte %" PRIu64 ": rows of %" PRIu64
                       " elements are no whole number of %s blocks (%" PRIu32 ")",
                       start, tensor->dimensions[0], tensor_type_name(tensor->type),
                       block_elements);
        return STATUS_INVALID;
    }
    uint64_t bytes = block_bytes;
    bool is_over = __builtin_mul_overflow(bytes, tensor->dimensions[0] / block_elements, &bytes);
    for (uint32_t i = 1; i < GGUF_DIMENSIONS_MAX; i++)
        is_over = is_over || __builtin_mul_overflow(bytes, tensor->dimensions[i], &bytes);
    if (is_over) {
        error_note_set(cursor->note, "byte %" PRIu64 ": the product of the dimensions overflows",
                       start);
        return STATUS_INVALID;
    }
    tensor->bytes = bytes;
    return STATUS_OK;
}

static status take_tensor(struct gguf_cursor *cursor, struct gguf_tensor *tensor, uint64_t *offset)
{
    status s = gguf_take_name(cursor, "tensor name", NAME_BYTES_MAX, &tensor->name);
    if (s != STATUS_OK)
        return s;
    s = take_dimensions(cursor, tensor);
    if (s == STATUS_OK)
        s = take_type(cursor, tensor);
    if (s == STATUS_OK)
        s = gguf_take_u64(cursor, "tensor offset", offset);
    if (s != STATUS_OK)
        error_note_prefix(cursor->note, "tensor '%.*s'", gguf_shown_bytes(tensor->name),
                          tensor->name.data);
    return s;
}

/* The rows of the table. offsets[i]: inside the data section, not checked yet. */
static status take_table(struct gguf *file, struct gguf_cursor *cursor, uint64_t count,
                         uint64_t *offsets)
{
    for (uint64_t i = 0; i < count; i++) {
        uint64_t start = cursor->offset;
        uint32_t other;
        status s = take_tensor(cursor, &file->tensors[i], &offsets[i]);
        if (s != STATUS_OK)
            return s;
        file->tensor_count = i + 1;
        if (!gguf_names_add(&file->tensor_names, (uint32_t)i, &other)) {
            struct text_slice name = file->tensors[i].name;
            error_note_set(cursor->note, "byte %" PRIu64 ": the tensor '%.*s' appears twice", start,
                           gguf_shown_bytes(name), name.data);
            return STATUS_INVALID;
        }
    }
    return STATUS_OK;
}

static status place_tensor(const struct data_section *section, struct gguf_tensor *tensor,
                           const uint8_t *data, uint64_t offset, struct error_note *note)
{
    int shown = gguf_shown_bytes(tensor->name);
    if (offset % section->alignment != 0) {
        error_note_set(note,
                       "tensor '%.*s': its offset %" PRIu64
                       " is not a multiple of the alignment %" PRIu64,
                       shown, tensor->name.data, offset, section->alignment);
        return STATUS_INVALID;
    }
    if (offset > section->bytes || tensor->bytes > section->bytes - offset) {
        error_note_set(
            note,
            "tensor '%.*s': %" PRIu64 " bytes at offset %" PRIu64
            " of the data section, which begins at byte %" PRIu64 " and has %" PRIu64 " bytes",
            shown, tensor->name.data, tensor->bytes, offset, section->start, section->bytes);
        return STATUS_INVALID;
    }
    tensor->data = data + section->start + offset;
    return STATUS_OK;
}

static int compare_places(const void *left, const void *right)
{
    const struct gguf_tensor *a = *(const struct gguf_tensor *const *)left;
    const struct gguf_tensor *b = *(const struct gguf_tensor *const *)right;
    uintptr_t at_a = (uintptr_t)a->data, at_b = (uintptr_t)b->data;
    return (at_a > at_b) - (at_a < at_b);
}

/* Sorted by place, each must end before the next begins. */
static status check_overlaps(const struct gguf *file, struct error_note *note)
{
    uint64_t count = file->tensor_count;
    const struct gguf_tensor **places = memory_allocate_array(count, sizeof *places);
    if (places == NULL)
        return STATUS_NO_MEMORY;
    for (uint64_t i = 0; i < count; i++)
        places[i] = &file->tensors[i];
    qsort(places, count, sizeof *places, compare_places);
    status s = STATUS_OK;
    for (uint64_t i = 1; i < count && s == STATUS_OK; i++) {
        const struct gguf_tensor *a = places[i - 1], *b = places[i];
        if ((const uint8_t *)a->data + a->bytes > (const uint8_t *)b->data) {
            error_note_set(note, "the tensors '%.*s' and '%.*s' overlap at byte %" PRIu64,
                           gguf_shown_bytes(a->name), a->name.data, gguf_shown_bytes(b->name),
                           b->name.data, (uint64_t)((const uint8_t *)b->data - file->data));
            s = STATUS_INVALID;
        }
    }
    memory_release(places);
    return s;
}

static status place_all(struct gguf *file, const struct gguf_cursor *cursor,
                        const uint64_t *offsets)
{
    struct data_section section;
    status s = read_alignment(file, cursor->note, &section.alignment);
    if (s != STATUS_OK)
        return s;
    uint64_t padding = -cursor->offset & (section.alignment - 1);
    if (padding > gguf_cursor_left(cursor))
        padding = gguf_cursor_left(cursor); /* a vocabulary file ends with its header */
    section.start = cursor->offset + padding;
    section.bytes = file->bytes - section.start;
    for (uint64_t i = 0; i < file->tensor_count && s == STATUS_OK; i++)
        s = place_tensor(&section, &file->tensors[i], file->data, offsets[i], cursor->note);
    return s == STATUS_OK ? check_overlaps(file, cursor->note) : s;
}

status gguf_read_tensors(struct gguf *file, struct gguf_cursor *cursor, uint64_t count)
{
    if (count > gguf_cursor_left(cursor) / TENSOR_BYTES_MIN) {
        error_note_set(cursor->note,
                       "byte %" PRIu64 ": %" PRIu64 " tensors cannot fit into the file",
                       cursor->offset, count);
        return STATUS_INVALID;
    }
    uint64_t *offsets = memory_allocate_array(count, sizeof *offsets);
    file->tensors = memory_allocate_array(count, sizeof *file->tensors);
    status s = STATUS_NO_MEMORY;
    if (offsets != NULL && file->tensors != NULL)
        s = gguf_names_init(&file->tensor_names, file->tensors, sizeof *file->tensors, count);
    if (s == STATUS_OK)
        s = take_table(file, cursor, count, offsets);
    if (s == STATUS_OK)
        s = place_all(file, cursor, offsets);
    memory_release(offsets);
    return s;
}

uint64_t gguf_tensor_count(const gguf *file)
{
    return file->tensor_count;
}

const struct gguf_tensor *gguf_tensor_find(const gguf *file, const char *name)
{
    uint32_t index;
    return gguf_names_find(&file->tensor_names, text_slice_of(name), &index) ? &file->tensors[index]
                                                                             : NULL;
}

const struct gguf_tensor *gguf_tensor_at(const gguf *file, uint64_t index)
{
    return index < file->tensor_count ? &file->tensors[index] : NULL;
}
