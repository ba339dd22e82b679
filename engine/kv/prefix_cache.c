#include "prefix_cache.h"

#include <string.h>

#include "check.h"
#include "memory.h"

/* The prefix cache answers one question: which of the blocks that a new prompt needs has somebody
 * computed already?
 *
 * Identity. The KV of a position depends on all tokens up to it and on nothing else, so a block is
 * known by the chain
 *
 *      root(salt) -> h0 = H(root, 0, tokens 0..15) -> h1 = H(h0, 1, tokens 16..31) -> ...
 *
 * H is keyed SipHash with 128 bits out. Two different chains with equal hashes would show one
 * client another's KV, so the tokens themselves must not be needed for a comparison: the key is
 * random at each start and never leaves the process, which leaves an outsider 2^-128 a guess. The
 * salt (a tenant's) is in the root, so equal prompts of two tenants have different hashes from the
 * first block on: neither can find, nor time, the other's. The block's number is in H so that no
 * salt can stand for a hash in the middle of a chain.
 *
 * Only full blocks are here. A full block is never written again, so a block can be shared without
 * a lock or a copy; only the last, partly filled block of a sequence is ever written, and that one
 * is nobody else's (copy on write, see block_table.c).
 *
 * Memory. One array by block id holds the hashes; one open-addressed table of twice as many cells
 * (a power of two) holds block ids. Both are made once:
 *
 *      cells:   [ - ][ 7 ][ - ][ 2 ][ 9 ][ - ] ...       4 bytes each, load <= 1/2, linear probing
 *                      |         |    |
 *      hashes:  [0] [1] [2] ... [7] ... [9] ...           16 bytes each, by block id
 *
 * Life of an entry. A block enters when its 16th position has been computed (of prompts and of
 * generated text alike: the next turn of a conversation starts with both). While sequences
 * reference it, it is found here and shared. When the last reference goes, the allocator keeps it
 * in its list of unreferenced blocks, oldest first, and it can still be found. When the allocator
 * runs out of free blocks it takes the oldest kept one and calls us to forget it.
 *
 * Invariants (prefix_cache_is_consistent):
 *  - a block is findable in the allocator if and only if exactly one cell names it;
 *  - no two entries have equal hashes. prefix_cache_insert sees to it by handing the second comer
 * the first one's block; and since a sequence then references every block of its own chain as the
 * cache knows it, a referenced block's ancestors are referenced too, unless they were forgotten and
 * computed again. So what is unreferenced is always a set of whole subtrees, and the release order
 * (children first) evicts leaves before their parents.
 *  - every cell is reachable from its home without crossing an empty cell. Removal shifts later
 * cells back (Knuth, TAOCP 6.4, algorithm R) instead of leaving tombstones: a cache that turns over
 * for weeks never slows down.
 *
 * Why not a radix tree over tokens, which would match partial blocks too: a tree costs a node per
 * branch, splits and merges on the step thread, and pointers that follow attacker-made shapes; here
 * a lookup is one hash probe a block, the hashes come ready from the thread that submitted the
 * prompt, and at most 15 tokens of a match are lost. */

struct prefix_cache {
    block_allocator *allocator; /* borrowed */
    prefix_marks *marks;        /* borrowed; NULL: none */
    prefix_leave_fn *leave;     /* NULL: none */
    void *leave_context;        /* borrowed */
    struct hash_key key;        /* secret of this process */
    struct hash128 *hashes;     /* owned; [blocks]: hash of each findable block */
    uint32_t *cells;            /* owned; [mask + 1]: block id or BLOCK_NONE */
    uint32_t mask;
    uint32_t count; /* cells in use */
    uint32_t block_count;
};

static uint32_t home_of(const prefix_cache *cache, struct hash128 hash)
{
    return (uint32_t)hash.low & cache->mask;
}

/* The cell that holds `hash`, or the empty cell where it would go. */
static uint32_t cell_find(const prefix_cache *cache, struct hash128 hash)
{
    uint32_t cell = home_of(cache, hash);
    while (cache->cells[cell] != BLOCK_NONE &&
           !hash128_equals(cache->hashes[cache->cells[cell]], hash))
        cell = (cell + 1) & cache->mask;
    return cell;
}

/* Empties `hole` and closes the gap behind it. */
static void cell_remove(prefix_cache *cache, uint32_t hole)
{
    uint32_t cell = hole;
    for (;;) {
        cell = (cell + 1) & cache->mask;
        uint32_t block = cache->cells[cell];
        if (block == BLOCK_NONE)
            break;
        /* May move into the hole only if its home is not between the hole (exclusive) and here. */
        uint32_t from_home = (cell - home_of(cache, cache->hashes[block])) & cache->mask;
        uint32_t from_hole = (cell - hole) & cache->mask;
        if (from_home >= from_hole) {
            cache->cells[hole] = block;
            hole = cell;
        }
    }
    cache->cells[hole] = BLOCK_NONE;
    cache->count--;
}

/* The allocator gives up a kept block. */
static void forget_block(void *context, uint32_t block)
{
    prefix_cache *cache = context;
    uint32_t cell = cell_find(cache, cache->hashes[block]);
    CHECK(cache->cells[cell] == block);
    if (cache->leave != NULL)
        cache->leave(cache->leave_context, cache->hashes[block], block);
    cell_remove(cache, cell);
    if (cache->marks != NULL)
        prefix_marks_forget(cache->marks, block);
}

status prefix_cache_create(block_allocator *a, const struct hash_key *key, prefix_cache **out)
{
    uint32_t block_count = block_allocator_counts(a).total;
    if (block_count > UINT32_MAX / 4)
        return STATUS_NO_MEMORY;
    uint32_t cell_count = 4;
    while (cell_count < 2 * block_count)
        cell_count *= 2;
    prefix_cache *cache = memory_allocate_array(1, sizeof *cache);
    struct hash128 *hashes = memory_allocate_array(block_count, sizeof *hashes);
    uint32_t *cells = memory_allocate_array(cell_count, sizeof *cells);
    if (cache == NULL || hashes == NULL || cells == NULL) {
        memory_release(cells);
        memory_release(hashes);
        memory_release(cache);
        return STATUS_NO_MEMORY;
    }
    memset(cells, 0xff, cell_count * sizeof *cells); /* BLOCK_NONE */
    *cache = (prefix_cache){.allocator = a,
                            .key = *key,
                            .hashes = hashes,
                            .cells = cells,
                            .mask = cell_count - 1,
                            .block_count = block_count};
    block_allocator_set_evict(a, forget_block, cache);
    *out = cache;
    return STATUS_OK;
}

void prefix_cache_destroy(prefix_cache *cache)
{
    if (cache == NULL)
        return;
    memory_release(cache->cells);
    memory_release(cache->hashes);
    memory_release(cache);
}

void prefix_cache_set_leave(prefix_cache *cache, prefix_leave_fn *leave, void *context)
{
    cache->leave = leave;
    cache->leave_context = context;
}

void prefix_cache_set_marks(prefix_cache *cache, prefix_marks *marks)
{
    cache->marks = marks;
}

struct hash128 prefix_hash_root(const uint64_t salt[2])
{
    return (struct hash128){.low = salt[0], .high = salt[1]};
}

struct hash128 prefix_hash_next(const struct hash_key *key, struct hash128 parent, uint32_t index,
                                const int32_t tokens[BLOCK_TOKENS])
{
    struct {
        uint64_t parent_low, parent_high, index;
        int32_t tokens[BLOCK_TOKENS];
    } record = {parent.low, parent.high, index, {0}}; /* no padding: 24 + 64 bytes */
    _Static_assert(sizeof record == 24 + 4 * BLOCK_TOKENS, "padding would be hashed");
    memcpy(record.tokens, tokens, sizeof record.tokens);
    return hash128(key, &record, sizeof record);
}

uint32_t prefix_cache_match(prefix_cache *cache, const struct hash128 *hashes, uint32_t count,
                            uint32_t *blocks)
{
    uint32_t matched = 0;
    for (; matched < count; matched++) {
        uint32_t block = cache->cells[cell_find(cache, hashes[matched])];
        if (block == BLOCK_NONE)
            break;
        block_retain(cache->allocator, block);
        blocks[matched] = block;
    }
    return matched;
}

bool prefix_cache_has(const prefix_cache *cache, struct hash128 hash)
{
    return cache->cells[cell_find(cache, hash)] != BLOCK_NONE;
}

uint32_t prefix_cache_insert(prefix_cache *cache, struct hash128 hash, uint32_t block)
{
    CHECK(block < cache->block_count);
    uint32_t cell = cell_find(cache, hash);
    uint32_t present = cache->cells[cell];
    if (present == block)
        return block;
    if (present != BLOCK_NONE) {
        block_retain(cache->allocator, present);
        block_release(cache->allocator, block);
        return present;
    }
    CHECK(cache->count < cache->block_count);
    block_set_findable(cache->allocator, block, true);
    cache->hashes[block] = hash;
    cache->cells[cell] = block;
    cache->count++;
    return block;
}

uint32_t prefix_cache_count(const prefix_cache *cache)
{
    return cache->count;
}

bool prefix_cache_is_consistent(const prefix_cache *cache)
{
    uint32_t count = 0;
    for (uint32_t cell = 0; cell <= cache->mask; cell++) {
        uint32_t block = cache->cells[cell];
        if (block == BLOCK_NONE)
            continue;
        if (block >= cache->block_count || !block_is_findable(cache->allocator, block))
            return false;
        if (cell_find(cache, cache->hashes[block]) != cell)
            return false;
        count++;
    }
    uint32_t findable = 0;
    for (uint32_t block = 0; block < cache->block_count; block++)
        findable += block_is_findable(cache->allocator, block) ? 1 : 0;
    return count == cache->count && count == findable;
}
