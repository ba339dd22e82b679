#ifndef PENSTOCK_ENGINE_KV_PREFIX_MARKS_H
#define PENSTOCK_ENGINE_KV_PREFIX_MARKS_H

#include <stdbool.h>
#include <stdint.h>

#include "status.h"

/* Names that others have for beginnings of prompts, kept beside the blocks that hold them. Who routes requests has no
 * tokenizer: it names the beginning of a text by a hash of its own. A mark says that the beginning with this name ends in
 * this block; it is told about when the block can be found, and again when the cache forgets it.
 * Thread: step. Allocates only in prefix_marks_create. */
typedef struct prefix_marks prefix_marks;

struct prefix_mark {
    uint64_t hash;  /* not 0 */
    uint32_t block; /* number of the full block of the prompt, from 0, within which it ends */
};

/* The names of a block beyond this many push out its oldest: a block of 16 tokens of English has one or two. */
#define PREFIX_MARKS_PER_BLOCK 4u

/* `is_resident`: a block has got this name, or no longer has it. A name may be told for several blocks: it is gone once it
 * has been taken back as often as it was given. */
typedef void prefix_mark_fn(void *context, uint64_t hash, bool is_resident);

/* STATUS_OK or STATUS_NO_MEMORY. */
NODISCARD status prefix_marks_create(uint32_t block_count, prefix_mark_fn *changed, void *context,
                                     prefix_marks **out);
void prefix_marks_destroy(prefix_marks *marks); /* accepts NULL; tells nothing */

/* Gives a block that the prefix cache can find a name; one that it has already changes nothing. */
void prefix_marks_put(prefix_marks *marks, uint32_t block, uint64_t hash);
/* The cache forgets the block. */
void prefix_marks_forget(prefix_marks *marks, uint32_t block);

#endif
