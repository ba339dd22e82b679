#ifndef PENSTOCK_ENGINE_KV_PREFIX_CACHE_H
#define PENSTOCK_ENGINE_KV_PREFIX_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "block_allocator.h"
#include "hash.h"
#include "prefix_marks.h"
#include "status.h"

/* Finds KV that was computed before: a table from the hash of a full block, and of everything before it, to the
 * physical block that holds it. Owns no block; it only knows which ones are worth finding.
 * Thread: step, except the hash functions, which are pure. Allocates only in prefix_cache_create. */
typedef struct prefix_cache prefix_cache;

/* `a` is borrowed for the cache's life; the cache becomes its evict callback. `key` is copied: 16 bytes that outsiders
 * cannot guess, so that nobody can make two prompts collide. STATUS_OK or STATUS_NO_MEMORY. */
NODISCARD status prefix_cache_create(block_allocator *a, const struct hash_key *key,
                                     prefix_cache **out);
/* Accepts NULL. The allocator must not evict afterwards. */
void prefix_cache_destroy(prefix_cache *cache);

/* Told of a block that is about to be forgotten; what it holds is still there. NULL: nobody is. */
typedef void prefix_leave_fn(void *context, struct hash128 hash, uint32_t block);
void prefix_cache_set_leave(prefix_cache *cache, prefix_leave_fn *leave, void *context);

/* Names that go when their block is forgotten; borrowed for the cache's life. */
void prefix_cache_set_marks(prefix_cache *cache, prefix_marks *marks);

/* The parent of a sequence's first block. Sequences find each other's blocks only under equal salts. Any thread. */
struct hash128 prefix_hash_root(const uint64_t salt[2]);

/* Hash of the block with number `index` (from 0) that holds `tokens`, after the block with hash `parent`. Any thread. */
struct hash128 prefix_hash_next(const struct hash_key *key, struct hash128 parent, uint32_t index,
                                const int32_t tokens[BLOCK_TOKENS]);

/* Longest run of `hashes` (block 0, 1, ...) that is here, `count` at most. Writes their blocks to `blocks` and
 * takes one reference to each for the caller. Returns how many. */
uint32_t prefix_cache_match(prefix_cache *cache, const struct hash128 *hashes, uint32_t count,
                            uint32_t *blocks);

/* Is a block with this hash here? Takes no reference, changes no order. */
bool prefix_cache_has(const prefix_cache *cache, struct hash128 hash);

/* Makes the wholly filled `block`, of which the caller holds a reference, findable under `hash`. When another block
 * with the same content is here already, the caller's reference moves to that one and `block` is released: equal
 * content is held once. Returns the block that the caller now references. */
uint32_t prefix_cache_insert(prefix_cache *cache, struct hash128 hash, uint32_t block);

/* Blocks that can be found now. */
uint32_t prefix_cache_count(const prefix_cache *cache);

/* Every entry reachable, unique, and pointing to a block that points back. For tests and debug builds: linear time. */
bool prefix_cache_is_consistent(const prefix_cache *cache);

#endif
