
#include "check.h"
#include "safetensors.h"

/* A file in memory: whatever it says, every byte of every tensor that is given out lies inside it. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    safetensors *file = NULL;
    struct error_note note = {""};
    if (safetensors_open_memory(data, bytes, &file, &note) != STATUS_OK) {
        CHECK(note.text[0] != '\0');
        return 0;
    }
    uint64_t sum = 0;
    for (uint64_t i = 0; i < safetensors_tensor_count(file); i++) {
        const struct safetensors_tensor *t = safetensors_tensor_at(file, i);
        const uint8_t *start = t->data;
        CHECK(start >= data && t->bytes <= (size_t)(data + bytes - start));
        sum += t->bytes;
        for (uint64_t at = 0; at < t->bytes; at++)
            CHECK(start + at < data + bytes);
    }
    CHECK(sum <= bytes);
    struct safetensors_identity identity;
    safetensors_get_identity(file, &identity);
    safetensors_close(file);
    return 0;
}
