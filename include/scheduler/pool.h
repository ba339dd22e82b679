#ifndef PENSTOCK_SCHEDULER_POOL_H
#define PENSTOCK_SCHEDULER_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "hash.h"
#include "name_table.h"
#include "quota_tree.h"
#include "slice.h"
#include "status.h"

/* The federated pool: what every member has told of its slices, and what of them is booked for replicas. It is the one book of
 * the placement: nothing is given to two replicas, whatever order events come in, and a member that cannot be reached keeps its slices
 * and its bookings until it says itself that they are gone.
 *
 * No input or output and no clock: members' watchers call in with what they have heard and the time, the placement reads the
 * columns and books. Everything is allocated at creation (names at a report). Thread: one owner.
 *
 * Slices have indices below pool_columns()->count. An index stays with its slice until that is gone and nothing is booked on it;
 * versions are never used twice in one pool, so index and version together tell a slice's state exactly. */
struct pool;

struct pool_limits {
    uint32_t members_max;  /* 1 .. POOL_MEMBERS_MAX */
    uint32_t slices_max;   /* 1 .. 2^20 */
    uint32_t bookings_max; /* replicas */
    uint32_t parts_max;    /* a gang of 8 has 8 */
    uint32_t names_max;    /* about 3 a slice */
};

#define POOL_MEMBERS_MAX 1024u
#define POOL_GANG_MAX    256u /* parts of one replica */
#define POOL_SLICE_NONE  UINT32_MAX
#define POOL_MEMBER_NONE UINT32_MAX
#define POOL_NO_END      UINT64_MAX
#define POOL_MODEL_NONE  UINT32_MAX /* no model's number */
/* 10,000 slices in 100 members, and as much again. */
#define POOL_LIMITS_DEFAULT                                                                        \
    (struct pool_limits)                                                                           \
    {                                                                                              \
        .members_max = 256, .slices_max = 20480, .bookings_max = 20480, .parts_max = 40960,        \
        .names_max = 98304                                                                         \
    }

/* `quota` (borrowed until the pool is destroyed; may be NULL) is charged for bookings and credited when they end. STATUS_OK,
 * STATUS_INVALID (a limit out of range), STATUS_NO_MEMORY. */
NODISCARD status pool_create(const struct pool_limits *limits, const struct hash_key *key,
                             struct quota_tree *quota, struct pool **out);
void pool_destroy(struct pool *pool); /* accepts NULL */
const struct pool_limits *pool_limits_of(const struct pool *pool);

/* --- names and labels --- */

/* Numbers of texts that mean the same in every member (regions, zones, products, profiles, organisations), for shapes and
 * policies. `acquire` holds the number until `release`. Statuses of name_table_acquire. */
NODISCARD status pool_name_acquire(struct pool *pool, const char *text, uint32_t *out);
void pool_name_release(struct pool *pool, uint32_t name);
uint32_t pool_name_find(const struct pool *pool, const char *text); /* NAME_NONE: nobody has it */
/* A member's own name (a node, a rack). */
uint32_t pool_member_name_find(const struct pool *pool, uint32_t member, const char *text);
const char *pool_name_text(const struct pool *pool, uint32_t name);
uint32_t pool_name_bound(const struct pool *pool);

/* The bit of a label (1 << n). Labels are those that the config's policies speak of. They may be declared at any time: slices that were
 * reported with it have it from then on. STATUS_OK, STATUS_FULL beyond SLICE_LABELS_MAX, STATUS_TOO_LARGE,
 * STATUS_INVALID (empty), STATUS_NO_MEMORY. */
NODISCARD status pool_label_declare(struct pool *pool, const char *text, uint64_t *out);
uint64_t pool_label_find(const struct pool *pool, const char *text); /* 0: not declared */
/* Of bit number `n`; NULL: there is none. */
const char *pool_label_text(const struct pool *pool, uint32_t n);

/* --- members --- */

enum member_state {
    MEMBER_CONNECTING, /* no complete list yet: slices that are known from before are kept, nothing new is placed */
    MEMBER_SYNCED, /* the columns are what it said last */
    MEMBER_STALE,  /* silent for MEMBER_STALE_INTERVALS: as it was, nothing new is placed */
    MEMBER_LOST, /* silent for longer: replicas there count as down when their data path fails too */
    MEMBER_STATE_COUNT
};
const char *member_state_name(enum member_state state);

#define MEMBER_STALE_INTERVALS 3u

struct member_config {
    const char *name; /* of the whole pool's members, one */
    uint64_t
        interval_ns; /* how often it is heard at least: an event, a bookmark, an unchanged answer */
    uint64_t lost_after_ns; /* of silence; above MEMBER_STALE_INTERVALS intervals */
};

struct member_info {
    const char *name; /* borrowed until it is removed */
    enum member_state state;
    uint64_t heard_ns;    /* last */
    uint64_t synced_ns;   /* the end of its last complete list; 0: none */
    uint32_t slice_count; /* with those that are gone but booked */
    bool is_listing;      /* between begin and end */
};

/* STATUS_OK; STATUS_INVALID: name empty or taken, times out of order; STATUS_FULL; STATUS_TOO_LARGE; STATUS_NO_MEMORY. */
NODISCARD status pool_member_add(struct pool *pool, const struct member_config *config,
                                 uint64_t now_ns, uint32_t *out);
/* It leaves the config: its slices are gone, bookings there stay until released. STATUS_AGAIN while there are any (call
 * again when they are released), STATUS_OK: the number may be given to another. */
NODISCARD status pool_member_remove(struct pool *pool, uint32_t member);
uint32_t pool_member_find(const struct pool *pool, const char *name); /* POOL_MEMBER_NONE */
/* Numbers are below this; false: there is none of this number. */
uint32_t pool_member_bound(const struct pool *pool);
bool pool_member_get(const struct pool *pool, uint32_t member, struct member_info *out);

/* A complete list begins; slices are reported by pool_slice_upsert; at the end those that were not are gone. A list that breaks off is
 * simply begun anew: nothing is lost by it. */
void pool_list_begin(struct pool *pool, uint32_t member, uint64_t now_ns);
/* Returns how many slices went. Without a begin (or after one that was overtaken by a loss) does nothing. */
uint32_t pool_list_end(struct pool *pool, uint32_t member, uint64_t now_ns);
/* Something was heard of it. A stale member is synced again; a lost one must list first (what happened meanwhile is not known). */
void pool_member_heard(struct pool *pool, uint32_t member, uint64_t now_ns);
/* What it knows of changes has a gap (410 Gone, a restarted controller): connecting until it has listed. */
void pool_member_resync(struct pool *pool, uint32_t member, uint64_t now_ns);

/* Members' silence and bookings' deadlines; tells the quota tree what there is (pool_capacity). Returns when to call again at the latest (UINT64_MAX: never by itself).
 * Reservations that were not committed in time are released. */
uint64_t pool_tick(struct pool *pool, uint64_t now_ns);

/* --- slices --- */

/* Adds a slice or changes it; counts as heard. What is booked on it stays booked, even if the slice is smaller now. STATUS_OK,
 * STATUS_INVALID: no id, no memory and no compute, a value out of range, or a step that does not divide it; STATUS_FULL,
 * STATUS_TOO_LARGE (a text), STATUS_NO_MEMORY; then nothing has changed. */
NODISCARD status pool_slice_upsert(struct pool *pool, uint32_t member,
                                   const struct slice_report *report, uint64_t now_ns);
/* The member says that it is gone. Its index is free once nothing is booked there. False: not known. */
bool pool_slice_remove(struct pool *pool, uint32_t member, const char *id, uint64_t now_ns);
uint32_t pool_slice_find(const struct pool *pool, uint32_t member,
                         const char *id); /* POOL_SLICE_NONE */
/* Ours, whatever the member says: quarantined, or released from it (the member's own word stands then). */
void pool_slice_quarantine(struct pool *pool, uint32_t slice, bool is_quarantined);
/* Nothing is placed there until then: the member has just said that it does not fit. */
void pool_slice_avoid(struct pool *pool, uint32_t slice, uint64_t until_ns);

enum slice_presence {
    SLICE_ABSENT, /* the index is free */
    SLICE_PRESENT,
    SLICE_GONE /* the member does not have it any more, but something is booked there */
};

/* Bits of traits: one of each vendor and kind, and what closes a slice to most or to all. */
#define SLICE_TRAIT_VENDOR(vendor) (1u << (vendor))
#define SLICE_TRAIT_KIND(kind)     (1u << (8 + (kind)))
#define SLICE_TRAIT_CLOSED         (1u << 16) /* not present, not sound, or quarantined */
#define SLICE_TRAIT_PREEMPTIBLE    (1u << 17)

/* The slices, a column for each property, so that scans read only what they compare. All arrays have `count` rows; read them,
 * never write; they stay where they are for the pool's life. A row that is SLICE_ABSENT means nothing. */
struct pool_columns {
    uint32_t count;
    uint32_t *traits; /* SLICE_TRAIT_...: what a scan rejects by one comparison */
    uint8_t *presence, *health, *kind, *vendor, *is_quarantined, *is_preemptible;
    uint16_t *member, *compute_capability, *tenants, *tenants_max;
    int16_t *numa;
    uint32_t *id, *node, *region, *zone, *rack, *nvlink, *pcie_switch, *pcie_root; /* names */
    uint32_t *zone_here; /* the zone as a name of its member's own: the largest domain of a gang */
    uint32_t *product, *profile, *owner, *reason; /* names */
    uint64_t *memory_bytes,
        *memory_free; /* free: of the whole, neither booked nor held by others */
    uint32_t *compute_milli, *compute_free, *step_milli;
    uint64_t *memory_foreign, *memory_booked, *compute_booked;
    uint32_t *compute_foreign;
    uint64_t *labels;
    int64_t *price_nano_hour;
    float *preemptions_hour;
    uint64_t *avoid_until_ns, *seen_ns, *version;
};
const struct pool_columns *pool_columns(const struct pool *pool);
/* "member/id", for people. Truncated to `bytes`. */
void pool_slice_write(const struct pool *pool, uint32_t slice, char *out, uint32_t bytes);

/* --- bookings --- */

enum booking_phase {
    BOOKING_RESERVED,  /* held until it is committed or its time is over */
    BOOKING_COMMITTED, /* a replica runs, or is being started, there */
    BOOKING_DRAINING,  /* it finishes, until ends_ns at the latest */
    BOOKING_PHASE_COUNT
};
const char *booking_phase_name(enum booking_phase phase);

struct booking_part {
    uint32_t slice;
    uint64_t version; /* expected; in a booking: of the slice after it was booked */
    uint64_t memory_bytes;
    uint32_t compute_milli;
};

struct booking_request {
    uint64_t uid;    /* of the replica, not 0: the idempotency key */
    uint32_t model;  /* the caller's number of the model's version */
    uint32_t tenant; /* node of the quota tree; any without one */
    int32_t priority;
    bool is_preemptible; /* a higher priority may take its place */
    bool is_movable;     /* may be moved to another slice, make before break */
    bool
        is_adopted; /* found running after a restart: versions, room, limits and the member's state are not looked at */
    struct slice_shape shape; /* of each part */
    uint64_t expires_ns;      /* of the reservation */
    uint64_t run_ns; /* how long it is expected to run once committed; POOL_NO_END: a service */
    uint32_t part_count;
    const struct booking_part *parts; /* borrowed for the call; no slice twice */
};

struct booking {
    uint64_t uid;
    uint32_t model, tenant;
    int32_t priority;
    enum booking_phase phase;
    bool is_preemptible, is_movable;
    bool is_resting; /* its parts have no compute */
    struct slice_shape shape;
    uint64_t expires_ns; /* reserved: when it is released */
    uint64_t run_ns;
    uint64_t started_ns;             /* reserved, then committed */
    uint64_t ends_ns;                /* expected; POOL_NO_END */
    struct quota_amount amount;      /* charged */
    uint32_t part_count, part_first; /* for pool_part_next */
};

/* All parts or none. The same uid with the same parts once more: STATUS_OK and nothing changes. STATUS_AGAIN: a slice is not as it was
 * (look again); STATUS_FULL: no room on a slice or in the book; STATUS_DENIED: beyond a limit of the quota tree; STATUS_NOT_FOUND:
 * no such slice, or it takes nothing new; STATUS_INVALID: the request makes no sense, or the uid stands for other parts. */
NODISCARD status pool_reserve(struct pool *pool, const struct booking_request *request,
                              uint64_t now_ns);
/* STATUS_OK (also when it was); STATUS_NOT_FOUND: never reserved, released, or out of time. */
NODISCARD status pool_commit(struct pool *pool, uint64_t uid, uint64_t now_ns);
/* What runs there sleeps: it keeps its memory, and its compute is others'. STATUS_OK (also when it rests), STATUS_NOT_FOUND (not
 * committed), STATUS_UNSUPPORTED: one of its slices cannot be cut, so nobody else could have it. */
NODISCARD status pool_rest(struct pool *pool, uint64_t uid);
/* It takes its compute again. STATUS_OK (also when it has it), STATUS_FULL: others have it; STATUS_NOT_FOUND. */
NODISCARD status pool_rouse(struct pool *pool, uint64_t uid);
/* It is to finish by `ends_ns`. STATUS_OK, STATUS_NOT_FOUND. */
NODISCARD status pool_drain(struct pool *pool, uint64_t uid, uint64_t ends_ns);
/* Nothing runs there any more. False: not known (that is what a second call gets). */
bool pool_release(struct pool *pool, uint64_t uid);

/* NULL: not known. Valid until the next call that changes the book. */
const struct booking *pool_booking_find(const struct pool *pool, uint64_t uid);
/* Rows below the bound, NULL where there is none. The order is that of the rows. */
uint32_t pool_booking_bound(const struct pool *pool);
const struct booking *pool_booking_at(const struct pool *pool, uint32_t row);
/* Their models, [pool_booking_bound]; POOL_MODEL_NONE where there is no booking. For scans. */
const uint32_t *pool_booking_models(const struct pool *pool);
uint32_t pool_booking_row(const struct pool *pool, const struct booking *booking);
uint32_t pool_booking_count(const struct pool *pool);
/* A booking's parts, from part_first, and a slice's, from pool_slice_part_first; POOL_SLICE_NONE ends both. */
const struct booking_part *pool_part(const struct pool *pool, uint32_t part);
uint32_t pool_part_next(const struct pool *pool, uint32_t part);
uint32_t pool_slice_part_first(const struct pool *pool, uint32_t slice);
uint32_t pool_slice_part_next(const struct pool *pool, uint32_t part);
uint32_t pool_part_row(const struct pool *pool, uint32_t part); /* the booking's row */

/* What a part of this shape takes of a slice (the step rounds up; 0 milli: all there is), and what it costs an hour: the larger share,
 * of memory or of compute, of the whole's price. */
void pool_part_size(const struct pool *pool, uint32_t slice, const struct slice_shape *shape,
                    uint64_t *memory_bytes, uint32_t *compute_milli);
int64_t pool_part_price(const struct pool *pool, uint32_t slice, uint64_t memory_bytes,
                        uint32_t compute_milli);
/* Of slices that are present, sound, and of a member that is not lost: what the quota tree divides. */
struct quota_amount pool_capacity(const struct pool *pool);

/* Recomputes every sum from the bookings and compares; false: the book is broken (tests, and a slow check of the server's). */
bool pool_is_consistent(const struct pool *pool);

#endif
