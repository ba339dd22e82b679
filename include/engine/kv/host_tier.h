#ifndef PENSTOCK_ENGINE_KV_HOST_TIER_H
#define PENSTOCK_ENGINE_KV_HOST_TIER_H

#include <stdbool.h>
#include <stdint.h>

#include "block_allocator.h"
#include "hash.h"
#include "status.h"

/* Which blocks of the cache the host holds a copy of: slots of memory beside the device's, found by the same hashes as the
 * prefix cache's blocks. Like there, it hands out numbers and never touches what they stand for; a slot's content is fixed
 * from when it was put, and of slots that nobody holds the least recently used one is given up first.
 * Thread: step. Allocates only in host_tier_create. */
typedef struct host_tier host_tier;

/* slot_count: 1 .. UINT32_MAX / 4. STATUS_OK or STATUS_NO_MEMORY. */
NODISCARD status host_tier_create(uint32_t slot_count, const struct hash_key *key, host_tier **out);
void host_tier_destroy(host_tier *tier); /* accepts NULL */

bool host_tier_has(const host_tier *tier, struct hash128 hash);
/* The block with this hash is, or becomes, the most recently used one. True: it was not here and now has *slot, to which its
 * content is to be copied. False: it is here already, or all slots are held. */
bool host_tier_put(host_tier *tier, struct hash128 hash, uint32_t *slot);
/* Its slot, held until host_tier_release: nothing else is put there. False: it is not here. */
bool host_tier_hold(host_tier *tier, struct hash128 hash, uint32_t *slot);
void host_tier_release(host_tier *tier, uint32_t slot);
/* Empties it. No slot may be held. */
void host_tier_forget(host_tier *tier);

uint32_t host_tier_slots(const host_tier *tier);
uint32_t host_tier_count(const host_tier *tier); /* of them, those that hold a block */
bool host_tier_is_idle(const host_tier *tier);   /* no slot is held */

/* For tests and debug builds: linear time. */
bool host_tier_is_consistent(const host_tier *tier);

#endif
