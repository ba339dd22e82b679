#include "gguf_internal.h"

#include "hash.h"

#define SAMPLE_BYTES 4096u

/* Everything before the first byte of any tensor. */
static uint64_t head_bytes(const gguf *file)
{
    uint64_t bytes = file->bytes;
    for (uint64_t i = 0; i < file->tensor_count; i++) {
        uint64_t at = (uint64_t)((const uint8_t *)file->tensors[i].data - file->data);
        bytes = at < bytes ? at : bytes;
    }
    return bytes;
}

void gguf_get_identity(const gguf *file, struct gguf_identity *out)
{
    uint64_t count = file->tensor_count < GGUF_SAMPLES_MAX ? file->tensor_count : GGUF_SAMPLES_MAX;
    uint64_t checksum = checksum64(file->data, head_bytes(file));
    for (uint64_t i = 0; i < count; i++) {
        const struct gguf_tensor *tensor = &file->tensors[i * file->tensor_count / count];
        size_t bytes = tensor->bytes < SAMPLE_BYTES ? tensor->bytes : SAMPLE_BYTES;
        uint64_t chain[2] = {checksum, checksum64(tensor->data, bytes)};
        checksum = checksum64(chain, sizeof chain);
    }
    *out = (struct gguf_identity){file->bytes, file->modified_ns, checksum};
}
