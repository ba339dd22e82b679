#include "host_tier.h"

#include "memory.h"
#include "prefix_cache.h"

/* What is wanted of slots is what the device's cache wants of blocks: numbers that are found by hashes, held by counted
 * references, and given up oldest first. So a tier is an allocator of slots and a prefix cache over it; a slot that is not held
 * is "kept". Blocks come down leaves first (block_allocator.c), so here too a chain loses its end before its beginning. */

struct host_tier {
    block_allocator *slots; /* owned */
    prefix_cache *found;    /* owned */
};

status host_tier_create(uint32_t slot_count, const struct hash_key *key, host_tier **out)
{
    host_tier *tier = memory_allocate_array(1, sizeof *tier);
    if (tier == NULL)
        return STATUS_NO_MEMORY;
    status s = block_allocator_create(slot_count, &tier->slots);
    if (s == STATUS_OK)
        s = prefix_cache_create(tier->slots, key, &tier->found);
    if (s != STATUS_OK) {
        host_tier_destroy(tier);
        return s;
    }
    *out = tier;
    return STATUS_OK;
}

void host_tier_destroy(host_tier *tier)
{
    if (tier == NULL)
        return;
    prefix_cache_destroy(tier->found);
    block_allocator_destroy(tier->slots);
    memory_release(tier);
}

bool host_tier_has(const host_tier *tier, struct hash128 hash)
{
    return prefix_cache_has(tier->found, hash);
}

bool host_tier_hold(host_tier *tier, struct hash128 hash, uint32_t *slot)
{
    return prefix_cache_match(tier->found, &hash, 1, slot) == 1;
}

void host_tier_release(host_tier *tier, uint32_t slot)
{
    block_release(tier->slots, slot);
}

bool host_tier_put(host_tier *tier, struct hash128 hash, uint32_t *slot)
{
    uint32_t own;
    bool is_here = host_tier_hold(tier, hash, &own);
    if (!is_here) {
        if (block_acquire(tier->slots, &own) != STATUS_OK)
            return false;
        block_set_filled(tier->slots, own, BLOCK_TOKENS);
        *slot = prefix_cache_insert(tier->found, hash, own);
    }
    block_release(tier->slots, own);
    return !is_here;
}

void host_tier_forget(host_tier *tier)
{
    block_allocator_forget(tier->slots);
}

uint32_t host_tier_slots(const host_tier *tier)
{
    return block_allocator_counts(tier->slots).total;
}

uint32_t host_tier_count(const host_tier *tier)
{
    return prefix_cache_count(tier->found);
}

bool host_tier_is_idle(const host_tier *tier)
{
    return block_allocator_counts(tier->slots).referenced == 0;
}

bool host_tier_is_consistent(const host_tier *tier)
{
    return block_allocator_is_consistent(tier->slots) && prefix_cache_is_consistent(tier->found);
}
