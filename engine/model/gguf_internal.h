#ifndef PENSTOCK_GGUF_INTERNAL_H
#define PENSTOCK_GGUF_INTERNAL_H

#include "gguf.h"
#include "gguf_cursor.h"
#include "gguf_names.h"

/* What the parts of the GGUF reader share. gguf.c opens and maps, gguf_metadata.c reads the keys
 * and values, gguf_tensors.c the tensor table. */

/* One key and its value. Everything about it has been checked at open, so getters read without
 * checks. */
struct gguf_entry {
    struct text_slice key; /* inside the mapping */
    enum gguf_type type;
    enum gguf_type element; /* of an array; else equal to `type` */
    uint64_t count;         /* elements of an array; else 1 */
    const uint8_t *data;    /* first element; a text begins with its length */
};

struct gguf {
    const uint8_t *data; /* the whole file; borrowed for gguf_open_memory, else the mapping */
    uint64_t bytes;
    bool is_mapped;       /* `data` is ours to unmap */
    uint64_t modified_ns; /* when is_mapped */

    struct gguf_entry *entries; /* owned, in the file's order */
    uint64_t entry_count;
    struct gguf_names entry_names;

    struct gguf_tensor *tensors; /* owned, in the file's order */
    uint64_t tensor_count;
    struct gguf_names tensor_names;
};

/* How much of a name a note shows, so that a long one does not push the message out. For "%.*s". */
static inline int gguf_shown_bytes(struct text_slice name)
{
    return name.bytes < 80 ? (int)name.bytes : 80;
}

/* Reads `count` keys and values. STATUS_INVALID, STATUS_TOO_LARGE, STATUS_NO_MEMORY; what is
 * already in `file` is freed by gguf_close. */
NODISCARD status gguf_read_metadata(struct gguf *file, struct gguf_cursor *cursor, uint64_t count);

/* Reads `count` tensor descriptions and checks their ranges against the data section, which begins
 * at the next multiple of the file's alignment. Statuses as above; STATUS_UNSUPPORTED: a tensor
 * type this build cannot read. */
NODISCARD status gguf_read_tensors(struct gguf *file, struct gguf_cursor *cursor, uint64_t count);

#endif
