#ifndef PENSTOCK_ADMISSION_ADMISSION_H
#define PENSTOCK_ADMISSION_ADMISSION_H

#include <stdatomic.h>

#include "kv_share.h"
#include "waiting_room.h"

/* When a request of one model may go to a replica: as many at once as the model's replicas can
 * start soon, the others wait in the model's waiting room. One for each model, shared by all loops.
 *
 * While nobody waits a request takes one of the free slots by one atomic operation, and gives it
 * back by another. Only when slots are short, when somebody waits, is the room entered, under a
 * mutex that is held for as long as it takes to put a request into its trees or to take one out:
 * microseconds, with no call of the system's in between. So is it while several keys send requests,
 * since then it matters whose they are.
 *
 * A slot that comes free is given away at once, by whichever thread freed it: the request's loop is
 * told by the function `wake`, and then collects what it was given. */

struct admission;

#define ADMISSION_LOOP_COUNT_MAX 64u

struct admission_options {
    struct waiting_room_policy policy;
    uint64_t timeout_ns;   /* longest wait: the deadline of requests that bring none */
    uint32_t loop_count;   /* 1..ADMISSION_LOOP_COUNT_MAX */
    uint32_t block_tokens; /* of a block of the KV cache */
    /* Loop `loop` has something to collect. Any thread, no lock held. */
    void (*wake)(void *context, uint32_t loop);
    void *context;
};

enum admission_state {
    ADMISSION_OUT,
    ADMISSION_WAITING,
    ADMISSION_GIVEN,      /* a slot, which its loop has not collected yet */
    ADMISSION_PUSHED_OUT, /* the same of a refusal */
    ADMISSION_RUNNING     /* has a slot */
};

/* What is asked when a request enters. */
struct admission_entry {
    const struct caller *caller; /* borrowed until leave */
    int32_t priority;
    uint64_t body_bytes;
    uint32_t output_tokens_max; /* 0: not said */
    uint64_t due_ns;            /* by when its first token must come; 0: no limit */
    uint32_t loop;
    /* The shares of the KV cache that it is held to; [claim_count], the request's memory until leave */
    struct kv_claim *claims;
    uint32_t claim_count;
    bool
        is_streamed; /* admission_deliver tells how far it is; else it holds what it is expected to come to */
};

/* In the request's memory; zero at first. The owner's loop may read `position` and the times. */
struct admission_ticket {
    struct waiting_ticket waiting;
    struct admission_request request;
    struct admission_ticket *next, **link; /* in its loop's list */
    _Atomic uint32_t state;                /* enum admission_state; RUNNING and OUT: its loop's */
    uint32_t loop;
    uint64_t body_bytes;
    struct kv_claim *claims; /* open ones; [claim_count] */
    uint32_t claim_count;
    uint32_t kv_blocks;    /* that it holds; while it waits, that it will have to */
    bool waited_for_share; /* there was a slot, but not for its share of the KV cache */
    uint64_t enter_ns, granted_ns;
    uint64_t first_ns; /* when its first token came; set by its loop; 0: not yet */
    uint32_t position; /* how many were before it when it came */
    uint32_t
        deliver_tokens; /* when so many of its answer are delivered, its charge is looked at; its loop's */
};

enum admission_answer {
    ADMISSION_GO,   /* it has a slot */
    ADMISSION_WAIT, /* its loop is woken when that has changed */
    ADMISSION_FULL, /* no place to wait */
    ADMISSION_LATE, /* its first token would come too late */
    ADMISSION_TOO_LARGE, /* alone it would hold more of the KV cache than it may; `kv_blocks` says how much */
};

struct admission_place {
    uint32_t ahead;  /* requests that will be served before it */
    int64_t wait_ms; /* until it has a slot; -1: not known yet */
};

NODISCARD status admission_create(const struct admission_options *options, struct admission **out);
void admission_destroy(struct admission *admission); /* as waiting_room_destroy */

/* New limits (reload). Any thread. */
void admission_set_policy(struct admission *admission, const struct waiting_room_policy *policy,
                          uint64_t timeout_ns);
/* How many requests may be served at once; `reserve` of them (fewer than slots) are kept for keys that have none running, while
 * more than one key sends requests: then who comes next to a flood need not wait for one of its answers to end. Any thread. */
void admission_set_slots(struct admission *admission, uint32_t slots, uint32_t reserve);

/* Blocks of the KV caches of the ready replicas, together: what shares are of; 0: not known, and no share is kept. Any thread. */
void admission_set_kv_blocks(struct admission *admission, uint64_t blocks);

/* `retry_after_ms`: with FULL and LATE, when it is worth to come again. Loop `entry->loop`. */
enum admission_answer admission_enter(struct admission *admission, struct admission_ticket *ticket,
                                      const struct admission_entry *entry, uint64_t now_ns,
                                      uint64_t *retry_after_ms);

/* The next ticket of the loop that was given something: RUNNING, or OUT when it was pushed out. NULL:
 * no more. Its loop. */
struct admission_ticket *admission_collect(struct admission *admission, uint32_t loop,
                                           uint64_t now_ns);

/* A request that runs has had so much delivered by now, to the token: what it is charged follows. Cheap; its loop. */
void admission_deliver(struct admission *admission, struct admission_ticket *ticket,
                       const struct request_usage *usage);

/* The end, in whatever state it is; OUT: nothing. `usage`: what it has used; it may be unknown. Its
 * loop. */
void admission_leave(struct admission *admission, struct admission_ticket *ticket,
                     const struct request_usage *usage, uint64_t now_ns);

/* Where it stands; false: it waits no longer. Its loop. */
bool admission_place(struct admission *admission, struct admission_ticket *ticket,
                     struct admission_place *out);

/* When somebody who is refused now may come again: in the time in which a tenth of those who wait
 * are served, a second at least. Any thread. */
uint64_t admission_retry_after_ms(struct admission *admission);

struct admission_figures {
    uint32_t slots;
    int64_t running;
    uint32_t waiting[WAITING_ROOM_BAND_COUNT];
    uint64_t waiting_tokens;
};
void admission_figures(struct admission *admission, struct admission_figures *out); /* any thread */

static inline bool admission_is_running(const struct admission_ticket *ticket)
{
    return atomic_load_explicit(&ticket->state, memory_order_relaxed) == ADMISSION_RUNNING;
}

/* In the room, or given something that it has not collected. */
static inline bool admission_is_waiting(const struct admission_ticket *ticket)
{
    uint32_t state = atomic_load_explicit(&ticket->state, memory_order_relaxed);

    return state != ADMISSION_OUT && state != ADMISSION_RUNNING;
}

#endif
