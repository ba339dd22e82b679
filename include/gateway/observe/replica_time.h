#ifndef PENSTOCK_OBSERVE_REPLICA_TIME_H
#define PENSTOCK_OBSERVE_REPLICA_TIME_H

#include <stdbool.h>
#include <stdint.h>

/* What a replica's time goes to. Every moment goes to one of these and to no other, so that they add up to the time that there
 * were replicas, or should have been. Pure. */
enum replica_time {
    TIME_BUSY_PREFILL, /* in steps, for prompts */
    TIME_BUSY_DECODE,  /* in steps, for answers */
    TIME_WAITING_KV, /* requests are there, but no room in the KV cache, or none of their share of it */
    TIME_COLD_START, /* it starts, or is about to be placed */
    TIME_HELD_BY_LIMITS, /* requests are there, but limits refuse or hold them; or the pool is full or a quota used up */
    TIME_FRAGMENTATION, /* it waits for a slice, and what is free is in pieces that will not do */
    TIME_IDLE,          /* ready, and nobody asks */
    TIME_BROKEN,        /* it failed, is distrusted or stuck; or its slice or member has gone */
    TIME_COUNT
};

/* "busy_prefill", ... Never NULL. */
const char *replica_time_name(enum replica_time kind);

enum replica_life {
    LIFE_PLACING, /* wanted, without a slice */
    LIFE_STARTING,
    LIFE_UP,     /* runs: ready, asleep or draining */
    LIFE_BROKEN, /* ended unasked, or had to be killed */
};

/* Why a wanted replica has no slice yet. */
enum slice_wait {
    SLICE_WAIT_NEW,    /* it was not tried yet, or is being started */
    SLICE_WAIT_PIECES, /* there is room, but not in one piece or place */
    SLICE_WAIT_LIMIT,  /* the pool is full; quota, price or another limit */
    SLICE_WAIT_GONE,   /* slices or members are not there or not sound */
};

/* What is known of a replica since the last look. */
struct replica_look {
    enum replica_life life;
    enum slice_wait wait; /* with LIFE_PLACING */
    double seconds;       /* since the last look */
    double
        busy_seconds; /* in steps meanwhile, as it says; a long step may tell of more than `seconds` */
    double prefill_seconds;    /* of them for prompts, reckoned */
    uint32_t running, waiting; /* requests in its batch, and in it before that */
    double kv_free_share;      /* of its cache, free or given up when needed; 1: not known */
    bool is_distrusted;        /* its breaker is open, or it stands still */
    uint32_t held;             /* requests of its model that wait in the gateway */
    bool are_held_for_kv; /* for their tenants' shares of the cache, although there are slots */
    uint32_t refused;     /* requests of its model that limits have refused since the last look */
};

/* Splits `look->seconds`: adds to out[], [TIME_COUNT]. */
void replica_time_split(const struct replica_look *look, double *out);

#endif
