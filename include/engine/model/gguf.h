#ifndef PENSTOCK_ENGINE_GGUF_H
#define PENSTOCK_ENGINE_GGUF_H

#include <stdbool.h>
#include <stdint.h>

#include "backend.h"
#include "status.h"
#include "text_slice.h"

/* A GGUF v3 file, mapped read-only. Everything is checked before it is used: counts, lengths and
 * offsets against the file's size, alignment, duplicate names, type blocks. A hostile file gives
 * STATUS_INVALID and a note with the byte offset. Format: ggml's docs/gguf.md. Immutable after
 * open: any thread. */
typedef struct gguf gguf;

enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64
};

/* STATUS_NOT_FOUND, STATUS_IO, STATUS_INVALID, STATUS_TOO_LARGE (a named limit),
 * STATUS_UNSUPPORTED (version, byte order, tensor type), STATUS_NO_MEMORY; each with a note. The
 * file must not shrink while it is open. */
NODISCARD status gguf_open(const char *path, gguf **out, struct error_note *note);
/* The same over memory that outlives the object (tests, fuzzing); `data` is aligned to 8 bytes. */
NODISCARD status gguf_open_memory(const void *data, uint64_t bytes, gguf **out,
                                  struct error_note *note);
void gguf_close(gguf *file); /* accepts NULL */

/* Starts reading the whole file into memory, for a caller about to read all of it. Returns at once;
 * without effect on a file in memory. */
void gguf_prefetch(const gguf *file);

/* What tells a file from other files, and from its own earlier versions, without reading all of it:
 * its length, its time of change, and a checksum of everything before the tensors' data (names,
 * types, shapes, offsets and all metadata) and of the first page of the tensors (of GGUF_SAMPLES_MAX
 * of them, evenly spread, when there are more). The samples are for packers that set every file's
 * time to a constant: a model trained further has the same shapes and length, but none of its large
 * tensors keeps its first 4 KiB. A whole checksum would have to read hundreds of gigabytes. */
#define GGUF_SAMPLES_MAX 1024u
struct gguf_identity {
    uint64_t bytes;
    uint64_t modified_ns; /* since 1970; 0 for a file in memory */
    uint64_t checksum;
};
void gguf_get_identity(const gguf *file, struct gguf_identity *out);

/* Metadata by key. Integers of any width convert when the value fits; false when absent or of
 * another kind. */
bool gguf_get_u64(const gguf *file, const char *key, uint64_t *out);
bool gguf_get_i64(const gguf *file, const char *key, int64_t *out);
bool gguf_get_f64(const gguf *file, const char *key, double *out); /* integers too */
bool gguf_get_bool(const gguf *file, const char *key, bool *out);
bool gguf_get_text(const gguf *file, const char *key,
                   struct text_slice *out); /* inside the mapping */

/* The keys in the file's order, for listings. An index out of range gives an empty slice. */
uint64_t gguf_metadata_count(const gguf *file);
struct text_slice gguf_metadata_key(const gguf *file, uint64_t index);

/* Arrays: element count and type; then elements. */
bool gguf_get_array(const gguf *file, const char *key, enum gguf_type *element, uint64_t *count);
/* Fills `out` with `count` slices / numbers; false when the array is absent, of another type or
 * length. */
bool gguf_read_texts(const gguf *file, const char *key, struct text_slice *out, uint64_t count);
bool gguf_read_i32(const gguf *file, const char *key, int32_t *out, uint64_t count);
bool gguf_read_f32(const gguf *file, const char *key, float *out, uint64_t count);

#define GGUF_DIMENSIONS_MAX 4u
struct gguf_tensor {
    struct text_slice name;
    enum tensor_type type;
    uint32_t dimension_count;
    uint64_t dimensions
        [GGUF_DIMENSIONS_MAX]; /* [0] is the fastest: a matrix's columns; 1 past the count */
    const void *data;          /* inside the mapping, aligned to 8 bytes at least */
    uint64_t bytes;
};
uint64_t gguf_tensor_count(const gguf *file);
/* NULL when absent. */
const struct gguf_tensor *gguf_tensor_find(const gguf *file, const char *name);
const struct gguf_tensor *gguf_tensor_at(const gguf *file, uint64_t index);

#endif
