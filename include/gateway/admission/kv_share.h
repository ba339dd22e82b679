#ifndef PENSTOCK_ADMISSION_KV_SHARE_H
#define PENSTOCK_ADMISSION_KV_SHARE_H

#include <stdbool.h>
#include <stdint.h>

#include "hash.h"
#include "status.h"

/* What part of a model's KV cache the running requests of somebody hold, and whether another one may be added: one account for
 * each limit (tenants.limits[].kv_share) and each organisation, team or key that it counts for itself, as long as a
 * request has to do with it. A prompt's beginning that several requests share is counted for each. Pure; one owner. */

struct kv_account;

/* A limit that a request matches. Its memory is the request's. */
struct kv_claim {
    struct hash128 id;          /* of the limit, and whom it counts */
    double share;               /* of the cache, 0..1 */
    struct kv_account *account; /* private; set while the claim is open */
};

#define KV_ACCOUNT_HEADS 256u

struct kv_accounts { /* zero at first */
    struct kv_account *heads[KV_ACCOUNT_HEADS];
};

/* The claims of a request that comes; nothing is held yet. STATUS_OK, STATUS_NO_MEMORY (then none is open). */
NODISCARD status kv_claims_open(struct kv_accounts *accounts, struct kv_claim *claims,
                                uint32_t count);
/* Of one that goes, with the blocks that it holds. */
void kv_claims_close(struct kv_accounts *accounts, struct kv_claim *claims, uint32_t count,
                     uint32_t blocks);

/* It holds `to` blocks from now on, in place of `from`. */
void kv_claims_hold(struct kv_claim *claims, uint32_t count, uint32_t from, uint32_t to);

/* Whether `blocks` more keep every limit, of a cache of `total`. Who holds nothing may have one request in any case: the
 * cache may have become smaller since it came. 0 in all: the cache is not known, and nothing is held back. */
bool kv_claims_fit(const struct kv_claim *claims, uint32_t count, uint64_t blocks, uint64_t total);

/* The most blocks that the narrowest of the claims allows; UINT64_MAX: any. */
uint64_t kv_claims_blocks_max(const struct kv_claim *claims, uint32_t count, uint64_t total);

#endif
