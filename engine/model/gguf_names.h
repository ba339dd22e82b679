#ifndef PENSTOCK_GGUF_NAMES_H
#define PENSTOCK_GGUF_NAMES_H

#include <stdint.h>

#include "hash.h"
#include "status.h"
#include "text_slice.h"

/* From a name to its index: open addressing with linear probing, at most half full, never resized.
 * The hash is keyed by the kernel's random source, so a file cannot be made to collide. Immutable
 * once filled: any thread. */
struct gguf_names {
    struct hash_key key;
    uint32_t *slots;   /* owned; index + 1, 0: empty */
    uint64_t mask;     /* slot count - 1 */
    const void *items; /* borrowed: an array of structs that begin with a struct text_slice */
    size_t item_bytes;
};

/* STATUS_NO_MEMORY. `count_max` < 2^31. A zeroed struct may be freed. */
NODISCARD status gguf_names_init(struct gguf_names *names, const void *items, size_t item_bytes,
                                 uint64_t count_max);
void gguf_names_deinit(struct gguf_names *names);

/* Adds item `index`, whose name is set. false: there is one of that name, at *other. */
bool gguf_names_add(struct gguf_names *names, uint32_t index, uint32_t *other);
bool gguf_names_find(const struct gguf_names *names, struct text_slice name, uint32_t *index);

#endif
