#ifndef PENSTOCK_EDGE_ANSWER_SOURCE_H
#define PENSTOCK_EDGE_ANSWER_SOURCE_H

#include <stdatomic.h>

#include "continuation.h"
#include "hash.h"

/* Gives names to answers: no two are equal, and none can be guessed from others. Any thread. */
struct answer_source {
    struct hash_key key; /* secret */
    _Atomic uint64_t count;
};
void answer_source_init(struct answer_source *source);
void answer_source_draw(struct answer_source *source, struct answer_name *out);

#endif
