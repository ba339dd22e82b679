#ifndef PENSTOCK_TESTS_SAFETENSORS_BUILDER_H
#define PENSTOCK_TESTS_SAFETENSORS_BUILDER_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "buffer.h"

/* Writes safetensors files for tests: the header's members as text, then the data. */
static inline void safetensors_build(struct buffer *out, const char *header, const void *data,
                                     size_t bytes)
{
    uint64_t header_bytes = strlen(header);
    buffer_init(out, 1u << 24);
    buffer_append(out, &header_bytes, sizeof header_bytes);
    buffer_append_text(out, header);
    buffer_append(out, data, bytes);
}

static inline int safetensors_write(const char *path, const char *header, const void *data,
                                    size_t bytes)
{
    struct buffer text;
    safetensors_build(&text, header, data, bytes);
    FILE *file = fopen(path, "wb");
    size_t written = file != NULL ? fwrite(text.data, 1, text.bytes, file) : 0;
    int is_whole = file != NULL && fclose(file) == 0 && written == text.bytes;
    buffer_deinit(&text);
    return is_whole;
}

#endif
