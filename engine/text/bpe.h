#ifndef PENSTOCK_BPE_H
#define PENSTOCK_BPE_H

#include <stddef.h>
#include <stdint.h>

#include "status.h"

/* Byte-pair merges: a table (left id, right id) -> (rank, merged id), and the merging of one word.
 * Algorithm: Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units",
 * section 3.2: the adjacent pair of lowest rank is merged, the leftmost first, until none is left.
 */

struct bpe_pair {
    uint64_t key;   /* left << 32 | right; BPE_PAIR_EMPTY: free */
    uint32_t rank;  /* order of the merge in the file; lower goes first */
    int32_t merged; /* id */
};
#define BPE_PAIR_EMPTY UINT64_MAX
#define BPE_RANK_NONE  UINT32_MAX

/* Open addressing, at most 60 % full, multiply-shift hashing with a random odd multiplier
 * (Dietzfelbinger et al. 1997), so that neither a text nor a vocabulary can choose collisions. */
struct bpe_table {
    struct bpe_pair *pairs; /* owned, [1 << (64 - shift)] */
    uint64_t multiplier;
    unsigned shift;
};

NODISCARD status bpe_table_init(struct bpe_table *table, uint32_t pair_count);
void bpe_table_deinit(struct bpe_table *table);
/* At most `pair_count` different pairs. A pair that is there already gets the new rank, as in the
 * `tokenizers` library. */
void bpe_table_put(struct bpe_table *table, int32_t left, int32_t right, uint32_t rank,
                   int32_t merged);
/* NULL when the pair does not merge. */
const struct bpe_pair *bpe_table_find(const struct bpe_table *table, int32_t left, int32_t right);

/* Memory for long words; grows to the longest word seen. Zero-initialised at start. */
struct bpe_scratch {
    struct bpe_symbol *symbols; /* owned */
    uint64_t *heap;             /* owned */
    size_t capacity;            /* of both, in symbols */
};
void bpe_scratch_deinit(struct bpe_scratch *scratch);

/* Merges ids[0, *count) in place; *count becomes the number of ids left. O(n log n) whatever the
 * word. STATUS_TOO_LARGE: 2^31 ids or more; STATUS_NO_MEMORY. */
NODISCARD status bpe_merge(const struct bpe_table *table, int32_t *ids, size_t *count,
                           struct bpe_scratch *scratch);

#endif
