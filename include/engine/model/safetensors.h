#ifndef PENSTOCK_ENGINE_SAFETENSORS_H
#define PENSTOCK_ENGINE_SAFETENSORS_H

#include <stdint.h>

#include "status.h"
#include "text_slice.h"

/* The tensors of a Hugging Face model, mapped read-only: one safetensors file, or a folder whose tensors are in
 * model.safetensors or in the shards that model.safetensors.index.json names. Everything is checked before it is used:
 * the header's length and JSON, each type, shape and byte range, holes and overlaps, duplicate names, and the index against
 * what its shards hold. Format: huggingface/safetensors, README, "Format". Immutable after open: any thread. */
typedef struct safetensors safetensors;

enum safetensors_type {
    SAFETENSORS_BOOL,
    SAFETENSORS_U8,
    SAFETENSORS_I8,
    SAFETENSORS_F8_E4M3,
    SAFETENSORS_F8_E5M2,
    SAFETENSORS_U16,
    SAFETENSORS_I16,
    SAFETENSORS_F16,
    SAFETENSORS_BF16,
    SAFETENSORS_U32,
    SAFETENSORS_I32,
    SAFETENSORS_F32,
    SAFETENSORS_U64,
    SAFETENSORS_I64,
    SAFETENSORS_F64
};
/* As files spell it ("BF16"), and the bytes of an element. */
const char *safetensors_type_name(enum safetensors_type type);
uint32_t safetensors_type_bytes(enum safetensors_type type);

#define SAFETENSORS_DIMENSIONS_MAX 8u
struct safetensors_tensor {
    struct text_slice name;
    enum safetensors_type type;
    uint32_t dimension_count; /* 0: a single number */
    uint64_t
        dimensions[SAFETENSORS_DIMENSIONS_MAX]; /* [0] is the slowest (rows); 1 past the count */
    const void
        *data; /* inside the mapping; aligned to the file's own choice only, often not at all */
    uint64_t bytes;
};

/* `path`: a file or a folder. STATUS_NOT_FOUND, STATUS_IO, STATUS_INVALID, STATUS_TOO_LARGE (a named limit),
 * STATUS_UNSUPPORTED (an element type), STATUS_NO_MEMORY; each with a note. The files must not shrink while open. */
NODISCARD status safetensors_open(const char *path, safetensors **out, struct error_note *note);
/* One file that is in memory and outlives the object (tests, fuzzing). */
NODISCARD status safetensors_open_memory(const void *data, uint64_t bytes, safetensors **out,
                                         struct error_note *note);
void safetensors_close(safetensors *file); /* accepts NULL */

/* Starts reading all of it into memory, for a caller about to do so. Returns at once. */
void safetensors_prefetch(const safetensors *file);

uint64_t safetensors_tensor_count(const safetensors *file);
/* In the order of the files and their headers. */
const struct safetensors_tensor *safetensors_tensor_at(const safetensors *file, uint64_t index);
/* NULL when absent. */
const struct safetensors_tensor *safetensors_tensor_find(const safetensors *file, const char *name);

/* What tells these files from others and from their own earlier versions without reading all of them: total length, the
 * latest time of change, and a checksum of all headers and of the first 4 KiB of each of up to 1,024 tensors. */
struct safetensors_identity {
    uint64_t bytes;
    uint64_t modified_ns; /* since 1970; 0 for memory */
    uint64_t checksum;
};
void safetensors_get_identity(const safetensors *file, struct safetensors_identity *out);

#endif
