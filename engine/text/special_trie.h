#ifndef PENSTOCK_SPECIAL_TRIE_H
#define PENSTOCK_SPECIAL_TRIE_H

#include <stddef.h>
#include <stdint.h>

#include "status.h"
#include "vocabulary.h"

/* The tokens that are found in the text itself before any splitting: user-defined ones anywhere,
 * control ones only where the caller allows. Immutable after init. */
struct special_node {
    uint32_t first_child, next_sibling; /* 0 ends the list: the root is nobody's child */
    int32_t id;                         /* token that ends here; -1: none */
    uint8_t byte;
};

struct special_trie {
    struct special_node *nodes; /* owned; [0] is the root */
    uint32_t node_count, capacity;
    uint32_t root_child[256]; /* 0: no special token begins with this byte */
};

/* Empty. STATUS_NO_MEMORY leaves nothing to deinit. */
NODISCARD status special_trie_init(struct special_trie *trie);
/* `text` is not empty. Of equal texts the last wins. STATUS_NO_MEMORY. */
NODISCARD status special_trie_insert(struct special_trie *trie, struct text_slice text, int32_t id);
void special_trie_deinit(struct special_trie *trie);

/* The longest special token at text[at]; a control token only if it ends at or before `control_end`
 * (0: nowhere). -1: none. *stop is its end. */
int32_t special_trie_match(const struct special_trie *trie, const struct vocabulary *v,
                           struct text_slice text, size_t at, size_t control_end, size_t *stop);

#endif
