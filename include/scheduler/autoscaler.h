#ifndef PENSTOCK_SCHEDULER_AUTOSCALER_H
#define PENSTOCK_SCHEDULER_AUTOSCALER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "capacity.h"
#include "forecast.h"
#include "load_window.h"

/* How many replicas a model (of one role) should have: measurements and the time go in, a number comes out together with every
 * term that led to it. Nothing here knows where replicas run or how they start: placement and the replica manager do. The terms
 * and the reasons stand in scheduler/autoscaler.c.
 *
 * Pure; one owner at a time. */

/* How often it wants to be asked (Knative's tick-interval). Any interval up to a minute does. */
#define AUTOSCALER_TICK_NS 2000000000ull

#define AUTOSCALER_SCHEDULES_MAX 16u

/* Between these minutes of these days other bounds hold, by the clock on the wall. */
struct autoscaler_schedule {
    uint8_t days; /* bit 0: Monday */
    uint16_t from_minute,
        to_minute; /* 0..1440; from > to: over midnight, the day is that of its begin */
    uint32_t count_min, count_max; /* count_max 0: as without a schedule */
};

struct autoscaler_policy {
    uint32_t count_min, count_max; /* count_min 0: scales to zero; count_max >= 1 */
    uint32_t warm_spares;    /* ready replicas beyond what the load needs, while there is load */
    uint32_t sleeping_count; /* replicas that are put to sleep instead of ended */
    double load_max;         /* share of the measured capacity that is planned for; above 0 */
    double spare_deviations; /* of the load's own chance; see bench/simulator for what they cost */
    double forecast_deviations; /* of the forecast's error */
    double panic_ratio;         /* panic window's need over what is ready */
    uint64_t idle_ns;           /* without a request, at least, before it goes to zero */
    uint64_t down_ns; /* the need must have been lower for so long; 0: a cold start, 60 to 300 s */
    double on_demand_share; /* of the replicas, that never are on spot; 1: no spot */
    double spot_extra;      /* share of replicas on spot that are run in addition */
    uint64_t
        spot_notice_ns; /* before it is taken back; with time for a start there are no extra ones */
    uint32_t schedule_count;
    struct autoscaler_schedule schedules[AUTOSCALER_SCHEDULES_MAX];
};

/* The defaults, with their sources. */
struct autoscaler_policy autoscaler_policy_default(void);

/* The guard's view of a replica: shares and counts as the replica measured them. */
struct replica_load {
    double kv_share; /* of its cache, 0..1 */
    double queued;   /* requests in it that have not begun */
};

/* What replicas that are not full have left on average, llm-d's Workload Variant Autoscaler (saturation engine): full is at 80 % of the
 * cache or five waiting. */
struct spare {
    double kv_share, queued;
    uint32_t full_count, count; /* of all replicas */
};
struct spare spare_of(const struct replica_load *loads, uint32_t count);
/* The same with one replica fewer and the load spread over the others. */
struct spare spare_with_one_fewer(const struct replica_load *loads, uint32_t count);
bool spare_is_enough(const struct spare *spare);

struct autoscaler_observation {
    int64_t
        local_s; /* seconds since 1970 by the clock on the wall, for schedules and the forecast */
    uint32_t ready_count, starting_count, sleeping_count;
    uint32_t spot_ready_count;       /* of the ready ones */
    struct capacity ready, starting; /* sums, each by its own device's measured capacity */
    struct capacity up,
        down;            /* of the replica that would come next, and of the one that would go */
    double cold_start_s; /* from now to ready, of the one that would come next */
    double arrivals;     /* requests since the last decision, refused ones too */
    double running;      /* requests in replicas, their queues too */
    double held;         /* requests that wait in the gateway */
    struct spare spare, spare_with_one_fewer; /* count 0: not measured */
};

enum autoscaler_reason {
    AUTOSCALER_STEADY,      /* nothing changes */
    AUTOSCALER_LOAD,        /* the load of the stable window */
    AUTOSCALER_PANIC,       /* the load of the panic window */
    AUTOSCALER_HELD,        /* requests wait and no replica is there */
    AUTOSCALER_SPARE,       /* caches or queues are nearly full */
    AUTOSCALER_FORECAST,    /* it will be needed when it is ready */
    AUTOSCALER_SPARES,      /* warm spares */
    AUTOSCALER_BOUND_MIN,   /* min or a schedule's */
    AUTOSCALER_BOUND_MAX,   /* max or a schedule's: more was needed */
    AUTOSCALER_RATE,        /* more is needed than may be started at once */
    AUTOSCALER_IDLE,        /* to zero */
    AUTOSCALER_LOWER,       /* less is needed, for long enough */
    AUTOSCALER_STABILISING, /* less is needed, not yet for long enough */
    AUTOSCALER_REASON_COUNT
};
const char *autoscaler_reason_name(enum autoscaler_reason reason);

/* The decision and its terms. Counts are of replicas, ready and starting together. */
struct autoscaler_decision {
    uint32_t count;                    /* there should be as many */
    uint32_t wake, start, stop, sleep; /* what is to be done for it; sleep is part of stop */
    uint32_t on_demand, spot; /* how `count` and the extra spot replicas should be divided */
    enum autoscaler_reason reason;
    bool is_panicking;
    double arrivals_per_s, arrivals_panic_per_s; /* stable and panic window */
    double concurrency, concurrency_panic;
    double backlog;        /* requests that will wait when the next replica is ready */
    double forecast_per_s; /* upper side; negative: not known */
    double dispersion;     /* of arrivals: variance over mean, 1 for chance alone */
    double need_stable, need_panic, need_forecast; /* replicas, before rounding */
    double load;                                   /* share of what is ready that is used */
    uint32_t count_stabilised;     /* the highest wish of the stabilisation window */
    uint32_t count_min, count_max; /* in force */
};

#define AUTOSCALER_WISHES 32u

struct autoscaler {
    struct autoscaler_policy policy;
    struct forecast *forecast; /* borrowed, may be NULL */
    struct load_window arrivals, concurrency;
    double dispersion;       /* of arrivals, fading mean */
    uint64_t last_ns;        /* arrivals were made a rate */
    double arrived;          /* since then */
    uint64_t panic_until_ns; /* 0: calm */
    uint32_t panic_count;    /* never below, while it lasts */
    uint64_t idle_since_ns;
    uint64_t wish_part, wish_part_ns; /* the newest part of the stabilisation window, its length */
    uint32_t wishes[AUTOSCALER_WISHES]; /* the highest wish of each part */
    uint64_t up_since_ns;               /* the step's begin, and what there was then */
    uint32_t up_base;
    bool has_decided;
    uint32_t last_count; /* decided last: what is more than that are extra replicas on spot */
    uint64_t down_since_ns;
    uint32_t down_left; /* that may still go in this step */
};

/* `policy` is copied. It begins in panic: a gateway that starts beside running replicas takes none away before it has seen their load
 * for a stable window. */
void autoscaler_init(struct autoscaler *autoscaler, const struct autoscaler_policy *policy,
                     struct forecast *forecast, uint64_t now_ns);

/* One decision. `now_ns` never goes backwards. */
struct autoscaler_decision autoscaler_decide(struct autoscaler *autoscaler,
                                             const struct autoscaler_observation *seen,
                                             uint64_t now_ns);

/* "12 -> 15 (panic): ..." with every term, for the log; always ends with a zero. Returns the length. */
size_t autoscaler_explain(const struct autoscaler_decision *decision,
                          const struct autoscaler_observation *seen, char *text, size_t bytes);

#endif
