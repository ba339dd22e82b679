#ifndef PENSTOCK_EDGE_POOL_ADMIN_H
#define PENSTOCK_EDGE_POOL_ADMIN_H

#include "buffer.h"
#include "replica_fleet.h"

/* What the admin API tells of the pool: pure writers of JSON, on the pool's thread. Amounts of compute are in devices (thousandths of
 * one are its grain), prices in the ledger's unit an hour, times in seconds from now; a figure that is not known is null. Words of states,
 * reasons and terms are those of slice.h, pool.h and placement.h. Buffers' ceilings are the caller's: look at `failed`. */

struct pool_admin {
    struct replica_fleet *fleet;
    struct quota_tree *quota;       /* NULL: no quotas */
    const char *const *quota_names; /* [quota_tree_count]: "organisation/team" */
    const char *(*model_name)(const void *context, uint32_t model); /* of a booking; never NULL */
    const void *context;
    /* What is asked for, for the share of capacity that is stranded; none: null. */
    const struct placement_stranded_shape *mix;
    uint32_t mix_count;
};

/* A slice's state for people: its health (enum slice_health), or what comes before that. */
enum {
    POOL_STATE_GONE =
        SLICE_HEALTH_COUNT, /* its member has it no more, but something is booked there */
    POOL_STATE_QUARANTINED,
    POOL_STATE_COUNT
};
uint32_t pool_slice_state(const struct pool_columns *columns, uint32_t slice);
const char *pool_slice_state_name(uint32_t state); /* "ok", "gone", ... */

/* GET /admin/pool
 *   {"members": [{"name", "state", "listing", "heard_seconds", "synced_seconds" (null: never), "trouble" ("": none), "backlog",
 *                 "slices": SLICES}],
 *    "slices": SLICES,
 *    "capacity": AMOUNT, "stranded_share", "replicas": {"reserved", "committed", "draining"}, "waiting",
 *    "quotas": [{"name", "parent" (null: the root), "weight", "priority", "guaranteed": AMOUNT, "limit": AMOUNT, "used": AMOUNT,
 *                "fair": AMOUNT, "borrowed": AMOUNT}]}
 *   SLICES: {STATE: {"count", "replicas", "devices", "devices_booked", "memory_bytes", "memory_booked_bytes"}}, states that occur
 *   AMOUNT: {"devices", "memory_bytes", "price_hour"}, null: unlimited. capacity is of slices that are sound and of members that are not lost.
 *   borrowed: what is used beyond what is guaranteed. */
void pool_json_write(const struct pool_admin *admin, uint64_t now_ns, struct buffer *out);

#define POOL_PAGE_MAX 1000u
struct pool_page {
    uint32_t from, count_max; /* 1..POOL_PAGE_MAX */
};

/* GET /admin/pool/slices?from=N&limit=N, the pool's rows from `from` on
 *   {"slices": [{"slice": "member/id", "member", "id", "state", "health", "reason", "quarantined", "avoid_seconds", "kind", "vendor",
 *                "product", "profile", "compute_capability", "node", "region", "zone", "rack", "nvlink_domain", "switch", "pcie_root",
 *                "numa", "owner", "labels": [...], "preemptible", "preemptions_hour", "price_hour", "devices", "devices_free",
 *                "devices_booked", "devices_foreign", "devices_step" (0: cannot be cut), "memory_bytes", "memory_free_bytes",
 *                "memory_booked_bytes", "memory_foreign_bytes", "tenants", "tenants_max", "seen_seconds", "version",
 *                "replicas": [{"uid", "model", "phase", "priority", "preemptible", "quota", "devices", "memory_bytes",
 *                              "ends_seconds" (null: not known)}]}],
 *    "next": N (null: that was all)} */
void pool_slices_json_write(const struct pool_admin *admin, const struct pool_page *page,
                            uint64_t now_ns, struct buffer *out);

/* GET /admin/placement/{model}?from=N&limit=N: what one more replica, `request`, would get now, were there nobody
 * before it: slices that are held for those that wait count as free. Nothing is booked.
 *   {"model", "parts", "priority", "fits", "reason" (null: it fits), "quota" (whose limit; null), "tier", "domain" (gangs; null),
 *    "chosen": [{"slice", "score", "terms": {...}}],
 *    "weights": {term: weight}, of this tier
 *    "passed_over": {reason: count},
 *    "slices": [{"slice", "reason" (null: it fits), "score", "terms": {...} (null: passed over), "price_hour" (of a part), "preemptible"}],
 *              the best first, then those that came furthest
 *    "slice_count", "from",
 *    "waiting": [{"uid", "model", "priority", "parts", "waited_seconds", "reason", "hold", "starts_seconds" (null: not known)}],
 *    "decisions": [{"seconds_ago", "uid", "model", "slice", "parts", "tier", "outcome", "why", "score", "terms": {...},
 *                   "weights": {...}, "passed_over": {reason: count}}], the newest first}
 * STATUS_OK; STATUS_INVALID: the request makes no sense, STATUS_NO_MEMORY: nothing is written. */
NODISCARD status placement_json_write(const struct pool_admin *admin,
                                      const struct placement_request *request,
                                      const struct pool_page *page, uint64_t now_ns,
                                      struct buffer *out);

#endif
