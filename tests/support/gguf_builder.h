#ifndef PENSTOCK_TESTS_GGUF_BUILDER_H
#define PENSTOCK_TESTS_GGUF_BUILDER_H

/* Writes small GGUF files into memory for tests: keys and tensors in the order of the calls, then
 * finish. Anything may be given, also what no honest writer would write. */

#include <stdlib.h>

#include "buffer.h"
#include "check.h"
#include "gguf.h"

#define GGUF_BUILDER_ALIGNMENT 32u

struct gguf_builder {
    struct buffer keys, tensors, data;
    uint64_t key_count, tensor_count;
};

static inline void gguf_builder_init(struct gguf_builder *b)
{
    *b = (struct gguf_builder){0};
    buffer_init(&b->keys, 1u << 24);
    buffer_init(&b->tensors, 1u << 20);
    buffer_init(&b->data, 1u << 26);
}

static inline void gguf_builder_deinit(struct gguf_builder *b)
{
    buffer_deinit(&b->keys);
    buffer_deinit(&b->tensors);
    buffer_deinit(&b->data);
}

static inline void gguf_put_u32(struct buffer *out, uint32_t value)
{
    buffer_append(out, &value, sizeof value);
}

static inline void gguf_put_u64(struct buffer *out, uint64_t value)
{
    buffer_append(out, &value, sizeof value);
}

static inline void gguf_put_text(struct buffer *out, const char *text)
{
    gguf_put_u64(out, strlen(text));
    buffer_append_text(out, text);
}

/* Key and type; the caller appends the value to b->keys. */
static inline void gguf_builder_key(struct gguf_builder *b, const char *key, enum gguf_type type)
{
    gguf_put_text(&b->keys, key);
    gguf_put_u32(&b->keys, (uint32_t)type);
    b->key_count++;
}

static inline void gguf_builder_u32(struct gguf_builder *b, const char *key, uint32_t value)
{
    gguf_builder_key(b, key, GGUF_U32);
    gguf_put_u32(&b->keys, value);
}

static inline void gguf_builder_f32(struct gguf_builder *b, const char *key, float value)
{
    gguf_builder_key(b, key, GGUF_F32);
    buffer_append(&b->keys, &value, sizeof value);
}

static inline void gguf_builder_bool(struct gguf_builder *b, const char *key, bool value)
{
    gguf_builder_key(b, key, GGUF_BOOL);
    buffer_append_byte(&b->keys, (char)value);
}

static inline void gguf_builder_text(struct gguf_builder *b, const char *key, const char *value)
{
    gguf_builder_key(b, key, GGUF_STRING);
    gguf_put_text(&b->keys, value);
}

static inline void gguf_builder_array(struct gguf_builder *b, const char *key,
                                      enum gguf_type element, uint64_t count)
{
    gguf_builder_key(b, key, GGUF_ARRAY);
    gguf_put_u32(&b->keys, (uint32_t)element);
    gguf_put_u64(&b->keys, count);
}

static inline void gguf_builder_texts(struct gguf_builder *b, const char *key,
                                      const char *const *values, uint64_t count)
{
    gguf_builder_array(b, key, GGUF_STRING, count);
    for (uint64_t i = 0; i < count; i++)
        gguf_put_text(&b->keys, values[i]);
}

static inline void gguf_builder_i32s(struct gguf_builder *b, const char *key, const int32_t *values,
                                     uint64_t count)
{
    gguf_builder_array(b, key, GGUF_I32, count);
    buffer_append(&b->keys, values, count * sizeof *values);
}

/* A row of the tensor table with an offset of the caller's choice; no data. */
static inline void gguf_builder_row(struct gguf_builder *b, const char *name, uint32_t type,
                                    uint32_t dimension_count, const uint64_t *dimensions,
                                    uint64_t offset)
{
    gguf_put_text(&b->tensors, name);
    gguf_put_u32(&b->tensors, dimension_count);
    for (uint32_t i = 0; i < dimension_count; i++)
        gguf_put_u64(&b->tensors, dimensions[i]);
    gguf_put_u32(&b->tensors, type);
    gguf_put_u64(&b->tensors, offset);
    b->tensor_count++;
}

/* A tensor whose data follows the one before at the next aligned offset. */
static inline void gguf_builder_tensor(struct gguf_builder *b, const char *name,
                                       enum tensor_type type, uint64_t n_cols, uint64_t n_outputs,
                                       const void *data, size_t bytes)
{
    uint64_t dimensions[2] = {n_cols, n_outputs};
    while (b->data.bytes % GGUF_BUILDER_ALIGNMENT != 0)
        buffer_append_byte(&b->data, 0);
    gguf_builder_row(b, name, (uint32_t)type, n_outputs == 0 ? 1 : 2, dimensions, b->data.bytes);
    buffer_append(&b->data, data, bytes);
}

/* The whole file, malloc'd to its exact length so that a sanitizer sees any read past it. */
static inline void *gguf_builder_finish(const struct gguf_builder *b, size_t *bytes)
{
    struct buffer out;
    buffer_init(&out, 1u << 27);
    buffer_append(&out, "GGUF", 4);
    gguf_put_u32(&out, 3);
    gguf_put_u64(&out, b->tensor_count);
    gguf_put_u64(&out, b->key_count);
    buffer_append(&out, b->keys.data, b->keys.bytes);
    buffer_append(&out, b->tensors.data, b->tensors.bytes);
    while (b->tensor_count != 0 && out.bytes % GGUF_BUILDER_ALIGNMENT != 0)
        buffer_append_byte(&out, 0);
    buffer_append(&out, b->data.data, b->data.bytes);
    CHECK(out.failed == STATUS_OK && b->keys.failed == STATUS_OK && b->data.failed == STATUS_OK);
    void *file = malloc(out.bytes);
    CHECK(file != NULL);
    memcpy(file, out.data, out.bytes);
    *bytes = out.bytes;
    buffer_deinit(&out);
    return file;
}

#endif
