#ifndef PENSTOCK_SCHEDULER_ROLLOUT_H
#define PENSTOCK_SCHEDULER_ROLLOUT_H

#include <stddef.h>

#include "replica.h"
#include "rollout_judge.h"

/* How one version of a model takes the place of another, as a pure state machine: what the model's slots do, how its requests end and
 * the time go in; which slots should run which version, and which share of the requests the new one gets, come out. It gives a
 * version up by itself and goes back to the one before. The diagram and the reasons stand in scheduler/rollout.c.
 *
 * Thread: whoever owns the struct (the gateway's control thread). */

enum rollout_kind {
    ROLLOUT_ROLLING, /* one replica after the other */
    ROLLOUT_CANARY   /* first a few, for a share of the requests and some time */
};

enum rollout_phase {
    ROLLOUT_STEADY,    /* one version */
    ROLLOUT_TRYING,    /* a canary runs beside the old version */
    ROLLOUT_REPLACING, /* the new version takes the place of the old one */
    ROLLOUT_WATCHING,  /* has taken it; may still be given up */
    ROLLOUT_RETURNING, /* was given up: the old version takes its place back */
    ROLLOUT_PHASE_COUNT
};
/* Lower-case name. Never NULL. */
const char *rollout_phase_name(enum rollout_phase phase);

enum rollout_result {
    ROLLOUT_NOT_YET, /* one is under way, or there was none */
    ROLLOUT_DONE,
    ROLLOUT_STARTS_FAILED, /* the rest: why it was given up */
    ROLLOUT_DIED,          /* replicas ended that had been ready */
    ROLLOUT_NOT_READY,     /* none got ready for too long */
    ROLLOUT_ERRORS,        /* requests failed */
    ROLLOUT_SLOW,          /* requests missed their latency target */
    ROLLOUT_SUPERSEDED,    /* a third version is wanted */
    ROLLOUT_TAKEN_BACK,    /* the old version is wanted again */
    ROLLOUT_RESULT_COUNT
};
/* Lower-case name ("starts_failed"). Never NULL. */
const char *rollout_result_name(enum rollout_result result);

struct rollout_policy {
    enum rollout_kind kind;
    uint32_t surge;           /* processes beyond the target */
    uint32_t unavailable_max; /* ready replicas that may be lacking; with surge 0 at least 1 */
    double canary_share;      /* of the requests, and of the replicas */
    uint64_t canary_ns;       /* from the first ready replica */
    uint64_t canary_ns_max;   /* with less than requests_min it goes on after this */
    uint64_t watch_ns;        /* after the last one was replaced */
    uint64_t progress_ns;     /* longest wait for the next ready replica */
    uint32_t failures_max;    /* ends of its replicas before they are ready, or after */
    uint32_t requests_min;    /* with fewer there is no judgement */
    double error_rate_max, slow_rate_max;
};

/* How the requests and replicas of a version ended since the rollout began. */
struct rollout_outcomes {
    struct rollout_sample errors; /* of the requests that ended */
    struct rollout_sample slow;   /* of the streams with a first token */
    uint32_t failed_starts, deaths;
};

/* A slot as it is; a step may change what is wanted of it. */
struct rollout_slot {
    uint32_t version; /* that runs there, or ran last */
    bool is_wanted;
    enum replica_state state;
};

/* A share of the requests below 0: they go where the load says, whatever the version. */
#define ROLLOUT_BY_LOAD (-1.0)

struct rollout_decision {
    uint32_t fresh_count,
        old_count; /* replicas of the new and of the old version that are wanted; others are not counted */
    double fresh_share; /* of the requests, where both versions have ready replicas */
    bool has_changed;   /* another phase, or result, than after the step before */
    uint64_t
        next_ns; /* when a step may do something though nothing has happened; UINT64_MAX: never */
};

struct rollout {
    enum rollout_phase phase;
    uint32_t stable; /* the last version that was proven */
    uint32_t fresh;  /* the one that is to take its place, or was to last */
    enum rollout_result result;
    uint32_t result_version;                  /* the version that `result` is of; 0: none */
    struct rollout_outcomes found, found_old; /* what it was judged by, and the old one beside it */
    uint64_t since_ns;                        /* in this phase */
    uint64_t begun_ns;                        /* the rollout */
    uint64_t ready_ns;    /* when the new version first had a ready replica; 0: not yet */
    uint64_t progress_ns; /* the last time that a replica got ready, or none was waited for */
    uint32_t ready_count; /* of the version that takes the place, in the last step */
    bool was_little;      /* went on without enough requests for a judgement */
    bool has_news;        /* for the next decision's has_changed */
    struct rollout_judge errors, slow;
};

/* Steady, with this version. */
void rollout_init(struct rollout *rollout, uint32_t version, uint64_t now_ns);

/* From now on `version` is wanted: a number that no other had, or that of rollout->stable, which takes a rollout back. What the next
 * step is told of outcomes begins at 0 with it. */
void rollout_change(struct rollout *rollout, const struct rollout_policy *policy, uint32_t version,
                    uint64_t now_ns);

/* Whether versions change; when none does, who owns the slots may want what it likes. */
static inline bool rollout_is_active(const struct rollout *rollout)
{
    return rollout->phase != ROLLOUT_STEADY;
}

/* The version that a slot gets which is started for other reasons than the rollout's. */
uint32_t rollout_version(const struct rollout *rollout);

/* What should be now, with `target` replicas wanted in all: sets `is_wanted`, and `version` of those that it wants anew. A slot is only
 * wanted anew when it is stopped. Ready replicas are only unwanted as long as target - unavailable_max others are ready. */
struct rollout_decision rollout_step(struct rollout *rollout, const struct rollout_policy *policy,
                                     struct rollout_slot *slots, uint32_t count, uint32_t target,
                                     const struct rollout_outcomes *fresh,
                                     const struct rollout_outcomes *old, uint64_t now_ns);

/* What happens, or how the last rollout ended and why, in words for operators; always ends with a zero. Returns the length. */
size_t rollout_explain(const struct rollout *rollout, char *text, size_t bytes);

#endif
