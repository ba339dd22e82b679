#ifndef PENSTOCK_SCHEDULER_MEMBER_RUNNER_H
#define PENSTOCK_SCHEDULER_MEMBER_RUNNER_H

#include "member.h"

/* A member's two threads: the watcher runs the driver's `follow`, again after a back-off when it breaks off; the worker runs orders,
 * one after the other, again and again where it is not known what became of one. What the driver tells is copied and
 * kept until the pool's owner takes it, so that a slow or hanging cluster costs nobody else anything. */
struct member_runner;

enum member_event_kind {
    MEMBER_EVENT_LIST_BEGIN,
    MEMBER_EVENT_SLICE,
    MEMBER_EVENT_SLICE_GONE, /* id */
    MEMBER_EVENT_LIST_END,
    MEMBER_EVENT_HEARD,
    MEMBER_EVENT_RESYNC,
    MEMBER_EVENT_REPLICA,
    MEMBER_EVENT_REPLICAS_LISTED,
    MEMBER_EVENT_BROKEN,  /* `follow` has returned: result, text; it is called again */
    MEMBER_EVENT_STARTED, /* the order's result: uid, result, text; never of one that `stop` was called for before it was begun */
    MEMBER_EVENT_STOPPED /* the member has heard that it is to end: uid; the end itself it tells as any other */
};

/* Texts belong to the event. */
struct member_event {
    struct member_event *next;
    enum member_event_kind kind;
    uint64_t at_ns;
    union {
        struct slice_report slice;
        struct member_replica replica;
        struct {
            uint64_t uid;
            status result;
            const char *text; /* the slice's id, or why; "" */
        };
    };
};

struct member_runner_options {
    const char *name;                      /* of the member, for the log; borrowed */
    struct member_driver driver;           /* taken over, also when creation fails */
    uint64_t retry_first_ns, retry_max_ns; /* waits, doubling, between calls that failed; not 0 */
    uint32_t events_max;                   /* a driver that tells more than is taken waits */
    /* There are events, and were none before: who takes is woken once for all that have gathered. Any thread, must not block. */
    void (*wake)(void *context);
    void *context;
};

/* STATUS_OK, STATUS_NO_MEMORY, STATUS_IO (no thread). */
NODISCARD status member_runner_create(const struct member_runner_options *options,
                                      struct member_runner **out);

/* What has happened since the last call, in its order; NULL: nothing. The caller's, to be freed one by one. Any thread. */
struct member_event *member_runner_take(struct member_runner *runner);
void member_event_free(struct member_event *event); /* accepts NULL */

/* The order is copied. MEMBER_EVENT_STARTED will tell. STATUS_OK, STATUS_NO_MEMORY. Any thread. */
NODISCARD status member_runner_start(struct member_runner *runner,
                                     const struct member_order *order);
/* STATUS_NOT_FOUND: its order had not been begun and is forgotten, nothing is there. STATUS_OK: the member is told, until it has heard
 * (MEMBER_EVENT_STOPPED); an order that it may have is not tried again. A later call replaces the one before. STATUS_NO_MEMORY: nothing has
 * changed. Any thread. */
NODISCARD status member_runner_stop(struct member_runner *runner, uint64_t uid, uint64_t grace_ns);

/* Orders that the member has not heard yet. Any thread. */
uint32_t member_runner_backlog(struct member_runner *runner);

/* Both threads are asked to end; orders that have not been begun are dropped. Returns at once. */
void member_runner_end(struct member_runner *runner);
/* Waits for the threads, which may take the driver's time-out, and frees all. Accepts NULL. */
void member_runner_destroy(struct member_runner *runner);

#endif
