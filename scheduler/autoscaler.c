/* Autoscaler
 *
 * Demand is counted in requests at once, at the speed that replicas have when they are as full as the service level allows: the arrivals a
 * second times the time that a request then takes (Little's law), or what really runs where that is more. A half-empty
 * replica is faster, so what runs alone would tell too little of how few replicas are enough.
 *
 *   stable     mean of the last minute's arrivals, or what the last six seconds prove to be more (three deviations of chance)
 *   chance     + z * sqrt(dispersion * demand): requests come by chance, so that some moments have more. A share would be
 *              too little for one replica and too much for a hundred (square-root staffing: Halfin and Whitt 1981)
 *   backlog    + what waits and what will wait when the next replica is ready, spread over two cold starts
 *   forecast   the same for what the hour of the week brings by then, upper side
 *   panic      the last six seconds alone, when they need twice what is ready; until a minute has passed without that, nothing is
 *              taken away
 *   guard      caches or queues nearly full: one more, when none is starting
 *   bounds     min, max, schedules
 *
 * Demand over what replicas carry, each measured on its own device, gives the wish. What is starting already is part of what there
 * is, so a replica that takes its time is not asked for twice. Up is done at once, twofold or four in 15 seconds. Down is
 * done when every wish of the stabilisation window was lower, when a replica less leaves enough in caches and queues, and a tenth
 * of them a minute. The window is a cold start by default, a minute at least: a replica that is kept idle for as long as its start takes has
 * cost what starting it again would (the break-even of renting or buying; Lin et al. 2011 for servers).
 *
 * Sources: windows, panic and ticks: Knative serving 1.x, pkg/autoscaler/scaling/autoscaler.go and config-autoscaler; steps and
 * stabilisation: Kubernetes HorizontalPodAutoscaler, defaults of `behavior`; guard: llm-d Workload Variant Autoscaler, saturation analysis;
 * spot with on-demand fallback: Mao et al. 2024 (SkyServe). */
#include "autoscaler.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "clock.h"

/* Knative: stable-window 60s, panic-window-percentage 10, panic-threshold-percentage 200. */
#define STABLE_S    60u
#define PANIC_S     6u
#define PANIC_RATIO 2.0
/* Between two looks that make a rate: one request within milliseconds is no rate of hundreds. */
#define RATE_S_LEAST 1.0
/* HorizontalPodAutoscaler: scaleUp 100 % or 4 pods in 15 s, scaleDown stabilizationWindowSeconds 300. */
#define UP_STEP_NS    (15 * NS_PER_SECOND)
#define UP_FACTOR     2u
#define UP_COUNT      4u
#define DOWN_MOST_NS  (300 * NS_PER_SECOND)
#define DOWN_LEAST_NS (60 * NS_PER_SECOND)
#define DOWN_STEP_NS  (60 * NS_PER_SECOND)
#define DOWN_PART     10u
/* Workload Variant Autoscaler: kvCacheThreshold 0.80, queueLengthThreshold 5, kvSpareTrigger 0.10, queueSpareTrigger 3. */
#define FULL_KV_SHARE  0.80
#define FULL_QUEUED    5.0
#define SPARE_KV_SHARE 0.10
#define SPARE_QUEUED   3.0
/* SkyServe runs two more than needed of a handful. */
#define SPOT_EXTRA 0.25

#define COLD_STARTS_IDLE                                                                           \
    10 /* of these it must be idle before it goes to zero: starts cost at most a tenth */
#define COLD_STARTS_DRAIN 2
#define DRAIN_S                                                                                    \
    60.0 /* a backlog may take so long, or two cold starts: what is started for it alone costs as much */
#define PROOF_DEVIATIONS                                                                           \
    3.0 /* 1 of 700 windows by chance; there are 1800 an hour, and each costs at most a replica */
#define DOWN_MARGIN     0.25 /* of a replica that must be left over beside the one that goes */
#define DISPERSION_RATE 0.01 /* a hundred ticks */
#define DISPERSION_MOST 16.0
#define NS_PER_S        1e9

struct autoscaler_policy autoscaler_policy_default(void)
{
    return (struct autoscaler_policy){.count_min = 1,
                                      .count_max = 1,
                                      .load_max = 1,
                                      .spare_deviations = 0.5,
                                      .forecast_deviations = 0.5,
                                      .panic_ratio = PANIC_RATIO,
                                      .idle_ns = 300 * NS_PER_SECOND,
                                      .on_demand_share = 1,
                                      .spot_extra = SPOT_EXTRA};
}

const char *autoscaler_reason_name(enum autoscaler_reason reason)
{
    static const char *const names[] = {"steady",   "load",        "panic",      "held", "spare",
                                        "forecast", "warm_spares", "min",        "max",  "rate",
                                        "idle",     "lower",       "stabilising"};

    CHECK((size_t)reason < ARRAY_COUNT(names));
    return names[reason];
}

void autoscaler_init(struct autoscaler *autoscaler, const struct autoscaler_policy *policy,
                     struct forecast *forecast, uint64_t now_ns)
{
    CHECK(policy->count_max >= 1 && policy->load_max > 0 &&
          policy->schedule_count <= AUTOSCALER_SCHEDULES_MAX);
    memset(autoscaler, 0, sizeof(*autoscaler));
    autoscaler->policy = *policy;
    autoscaler->forecast = forecast;
    autoscaler->last_ns = autoscaler->idle_since_ns = now_ns;
    autoscaler->panic_until_ns = now_ns + STABLE_S * NS_PER_SECOND;
    autoscaler->dispersion = 1;
    autoscaler->up_since_ns = autoscaler->down_since_ns = now_ns;
}

/* --- the guard --- */

static struct spare spare_spread(const struct replica_load *loads, uint32_t count, double factor)
{
    struct spare spare = {.count = count};
    uint32_t open = 0;

    for (uint32_t i = 0; i < count; i++) {
        double kv_share = loads[i].kv_share * factor, queued = loads[i].queued * factor;

        if (kv_share >= FULL_KV_SHARE || queued >= FULL_QUEUED) {
            spare.full_count++;
            continue;
        }
        spare.kv_share += FULL_KV_SHARE - kv_share;
        spare.queued += FULL_QUEUED - queued;
        open++;
    }
    if (open > 0) {
        spare.kv_share /= open;
        spare.queued /= open;
    }
    return spare;
}

struct spare spare_of(const struct replica_load *loads, uint32_t count)
{
    return spare_spread(loads, count, 1);
}

struct spare spare_with_one_fewer(const struct replica_load *loads, uint32_t count)
{
    return count < 2 ? (struct spare){.count = count, .full_count = count}
                     : spare_spread(loads, count, (double)count / (count - 1));
}

bool spare_is_enough(const struct spare *spare)
{
    return spare->full_count < spare->count && spare->kv_share >= SPARE_KV_SHARE &&
           spare->queued >= SPARE_QUEUED;
}

/* --- measuring --- */

static double time_at_capacity_s(const struct autoscaler_observation *seen)
{
    const struct capacity *of = seen->ready_count > 0 ? &seen->ready : &seen->up;

    return of->requests_per_s > 0 ? of->concurrency / of->requests_per_s : 0;
}

static void measure(struct autoscaler *autoscaler, const struct autoscaler_observation *seen,
                    uint64_t now_ns)
{
    double elapsed_s = (double)(now_ns - autoscaler->last_ns) / NS_PER_S, rate, mean, difference;

    if (seen->arrivals > 0 || seen->running > 0 || seen->held > 0)
        autoscaler->idle_since_ns = now_ns;
    load_window_note(&autoscaler->concurrency, now_ns,
                     fmin(seen->running, fmax(seen->ready.concurrency, 0)));
    autoscaler->arrived += seen->arrivals;
    if (elapsed_s < RATE_S_LEAST)
        return;
    autoscaler->last_ns = now_ns;
    rate = autoscaler->arrived / elapsed_s;
    autoscaler->arrived = 0;
    mean = load_window_mean(&autoscaler->arrivals, now_ns, STABLE_S);
    if (mean > 0) {
        difference = rate - mean;
        autoscaler->dispersion +=
            DISPERSION_RATE * (fmin(difference * difference * elapsed_s / mean, DISPERSION_MOST) -
                               autoscaler->dispersion);
    }
    load_window_note(&autoscaler->arrivals, now_ns, rate);
    if (autoscaler->forecast != NULL)
        forecast_note(autoscaler->forecast, seen->local_s, rate);
}

/* --- needs, in requests at once --- */

static double with_chance(const struct autoscaler *autoscaler, double demand)
{
    return demand +
           autoscaler->policy.spare_deviations * sqrt(fmax(autoscaler->dispersion, 1) * demand);
}

static double need_stable(const struct autoscaler *autoscaler,
                          const struct autoscaler_observation *seen,
                          struct autoscaler_decision *decision)
{
    double slow = decision->arrivals_per_s, fast = decision->arrivals_panic_per_s;
    double sure = fast - PROOF_DEVIATIONS * sqrt(fmax(autoscaler->dispersion, 1) * fast / PANIC_S);
    double time_s = time_at_capacity_s(seen);
    double drain_s = fmax(COLD_STARTS_DRAIN * seen->cold_start_s, DRAIN_S);
    double demand = fmax(decision->concurrency, fmax(slow, sure) * time_s);
    /* Those that start are ready one after the other: half of them on average. */
    double more_per_s =
        fmax(slow, sure) - seen->ready.requests_per_s - seen->starting.requests_per_s / 2;

    decision->backlog = seen->held + fmax(seen->running - seen->ready.concurrency, 0) +
                        fmax(more_per_s, 0) * seen->cold_start_s;
    return with_chance(autoscaler, demand) + decision->backlog / drain_s * time_s;
}

static double need_forecast(const struct autoscaler *autoscaler,
                            const struct autoscaler_observation *seen,
                            struct autoscaler_decision *decision)
{
    int64_t then_s = seen->local_s + (int64_t)ceil(seen->cold_start_s);
    double middle, upper, demand, chance;

    decision->forecast_per_s = -1;
    if (autoscaler->forecast == NULL)
        return 0;
    middle = forecast_at(autoscaler->forecast, then_s, 0);
    if (middle < 0)
        return 0;
    upper = forecast_at(autoscaler->forecast, then_s, autoscaler->policy.forecast_deviations);
    decision->forecast_per_s = upper;
    /* A replica for less than a request in the time after which it would be taken away is not worth its while. */
    if (middle * (double)autoscaler->policy.idle_ns / NS_PER_S < 1)
        return 0;
    demand = middle * time_at_capacity_s(seen);
    chance = with_chance(autoscaler, demand) - demand;
    /* Both errors are independent, so their squares add up. */
    return demand + hypot(chance, (upper - middle) * time_at_capacity_s(seen));
}

/* Of ready and starting replicas `have` of them carry what they carry: how many carry `need`. */
static double replicas_for(const struct autoscaler *autoscaler,
                           const struct autoscaler_observation *seen, double need)
{
    double count = seen->ready_count + seen->starting_count;
    double surplus =
        (seen->ready.concurrency + seen->starting.concurrency) - need / autoscaler->policy.load_max;

    if (surplus >= 0)
        return fmax(count - surplus / fmax(seen->down.concurrency, 1e-6), 0);
    return count - surplus / fmax(seen->up.concurrency, 1e-6);
}

/* Whole replicas with the warm spares. Down one goes only with a margin. */
static uint32_t whole(const struct autoscaler *autoscaler,
                      const struct autoscaler_observation *seen, double replicas)
{
    uint32_t count = seen->ready_count + seen->starting_count, rounded;

    if (replicas > UINT32_MAX / 4)
        return UINT32_MAX / 4;
    if (replicas <= 0)
        return 0;
    replicas += autoscaler->policy.warm_spares;
    rounded = (uint32_t)ceil(replicas - 1e-9);
    if (rounded >= count)
        return rounded;
    rounded = (uint32_t)ceil(replicas + DOWN_MARGIN - 1e-9);
    return rounded < count ? rounded : count;
}

/* --- bounds --- */

static bool is_in_schedule(const struct autoscaler_schedule *schedule, int64_t local_s)
{
    int64_t day_number = local_s / 86400 - (local_s % 86400 < 0);
    uint32_t minute = (uint32_t)((local_s - day_number * 86400) / 60);
    /* Day 0 was a Thursday, which is bit 3. */
    uint32_t today = (uint32_t)(((day_number + 3) % 7 + 7) % 7), yesterday = (today + 6) % 7;

    if (schedule->from_minute <= schedule->to_minute)
        return (schedule->days >> today & 1) != 0 && minute >= schedule->from_minute &&
               minute < schedule->to_minute;
    return ((schedule->days >> today & 1) != 0 && minute >= schedule->from_minute) ||
           ((schedule->days >> yesterday & 1) != 0 && minute < schedule->to_minute);
}

static void bounds_at(const struct autoscaler_policy *policy, int64_t local_s,
                      struct autoscaler_decision *decision)
{
    decision->count_min = policy->count_min;
    decision->count_max = policy->count_max;
    for (uint32_t i = 0; i < policy->schedule_count; i++) {
        const struct autoscaler_schedule *schedule = &policy->schedules[i];

        if (!is_in_schedule(schedule, local_s))
            continue;
        decision->count_min = schedule->count_min;
        if (schedule->count_max > 0)
            decision->count_max = schedule->count_max;
    }
    if (decision->count_max < decision->count_min)
        decision->count_max = decision->count_min;
}

/* --- down, slowly --- */

static uint64_t down_window_ns(const struct autoscaler *autoscaler,
                               const struct autoscaler_observation *seen)
{
    double window_ns = seen->cold_start_s * NS_PER_S;

    if (autoscaler->policy.down_ns > 0)
        return autoscaler->policy.down_ns;
    return (uint64_t)fmin(fmax(window_ns, (double)DOWN_LEAST_NS), (double)DOWN_MOST_NS);
}

/* Notes the wish and gives the highest of the window. The window is kept in AUTOSCALER_WISHES - 1 parts, of which the oldest may
 * reach back a part too far. */
static uint32_t stabilised(struct autoscaler *autoscaler, uint32_t wish, uint64_t window_ns,
                           uint64_t now_ns)
{
    uint64_t part_ns = window_ns / (AUTOSCALER_WISHES - 1) + 1, part = now_ns / part_ns;
    uint64_t steps = autoscaler->wish_part_ns == part_ns ? part - autoscaler->wish_part : 0;
    uint32_t highest = 0;

    if (autoscaler->wish_part_ns != part_ns) {
        /* Another window: what is known counts as if it was wished just now. */
        for (uint32_t i = 0; i < AUTOSCALER_WISHES; i++)
            highest = autoscaler->wishes[i] > highest ? autoscaler->wishes[i] : highest;
        memset(autoscaler->wishes, 0, sizeof(autoscaler->wishes));
        autoscaler->wishes[part % AUTOSCALER_WISHES] = highest;
        autoscaler->wish_part_ns = part_ns;
    }
    for (uint64_t i = 1; i <= steps && i <= AUTOSCALER_WISHES; i++)
        autoscaler->wishes[(autoscaler->wish_part + i) % AUTOSCALER_WISHES] = 0;
    autoscaler->wish_part = part;
    if (wish > autoscaler->wishes[part % AUTOSCALER_WISHES])
        autoscaler->wishes[part % AUTOSCALER_WISHES] = wish;
    highest = 0;
    for (uint32_t i = 0; i < AUTOSCALER_WISHES; i++)
        highest = autoscaler->wishes[i] > highest ? autoscaler->wishes[i] : highest;
    return highest;
}

static uint32_t limit_down(struct autoscaler *autoscaler, uint32_t count, uint32_t wish,
                           uint64_t now_ns)
{
    uint32_t gone;

    if (now_ns - autoscaler->down_since_ns >= DOWN_STEP_NS) {
        autoscaler->down_since_ns = now_ns;
        autoscaler->down_left = count / DOWN_PART > 0 ? count / DOWN_PART : 1;
    }
    gone = count - wish < autoscaler->down_left ? count - wish : autoscaler->down_left;
    autoscaler->down_left -= gone;
    return count - gone;
}

static uint32_t limit_up(struct autoscaler *autoscaler, uint32_t count, uint32_t wish,
                         uint64_t now_ns)
{
    uint32_t most;

    if (!autoscaler->has_decided || now_ns - autoscaler->up_since_ns >= UP_STEP_NS ||
        count < autoscaler->up_base) {
        autoscaler->up_since_ns = now_ns;
        autoscaler->up_base = count;
    }
    most = autoscaler->up_base * UP_FACTOR > autoscaler->up_base + UP_COUNT
               ? autoscaler->up_base * UP_FACTOR
               : autoscaler->up_base + UP_COUNT;
    most = most > count ? most : count;
    return wish < most ? wish : most;
}

/* --- the decision --- */

static bool is_idle(const struct autoscaler *autoscaler, const struct autoscaler_observation *seen,
                    uint64_t now_ns)
{
    double needed_ns =
        fmax((double)autoscaler->policy.idle_ns, COLD_STARTS_IDLE * seen->cold_start_s * NS_PER_S);

    return (double)(now_ns - autoscaler->idle_since_ns) >= needed_ns;
}

/* What the load alone asks for, before bounds and steps. */
static uint32_t wish_of(struct autoscaler *autoscaler, const struct autoscaler_observation *seen,
                        struct autoscaler_decision *decision, uint64_t now_ns)
{
    uint32_t count = seen->ready_count + seen->starting_count, wish, least;
    bool has_work = seen->held > 0 || seen->arrivals > 0 || seen->running > 0;

    wish = whole(autoscaler, seen, decision->need_stable);
    decision->reason = wish > count ? AUTOSCALER_LOAD : AUTOSCALER_STEADY;
    if (wish > count && wish - count <= autoscaler->policy.warm_spares)
        decision->reason = AUTOSCALER_SPARES;
    if (wish > count && seen->ready_count == 0 && seen->held > 0)
        decision->reason = AUTOSCALER_HELD;
    if (whole(autoscaler, seen, decision->need_forecast) > wish) {
        wish = whole(autoscaler, seen, decision->need_forecast);
        decision->reason = wish > count ? AUTOSCALER_FORECAST : decision->reason;
    }
    if (decision->is_panicking) {
        least = whole(autoscaler, seen, decision->need_panic);
        if (least > wish && least > count)
            decision->reason = AUTOSCALER_PANIC;
        wish = least > wish ? least : wish;
        wish = autoscaler->panic_count > wish ? autoscaler->panic_count : wish;
    }
    if (wish <= count && seen->starting_count == 0 && seen->spare.count > 0 &&
        !spare_is_enough(&seen->spare)) {
        wish = count + 1;
        decision->reason = AUTOSCALER_SPARE;
    }
    if (wish == 0 && (has_work || (count > 0 && !is_idle(autoscaler, seen, now_ns)))) {
        wish = 1;
        decision->reason = count == 0 ? AUTOSCALER_HELD : decision->reason;
    }
    return wish;
}

/* Whether the last six seconds are far beyond what is ready; keeps what it asked for until a stable window has passed without. */
static void panic_update(struct autoscaler *autoscaler, const struct autoscaler_observation *seen,
                         struct autoscaler_decision *decision, uint64_t now_ns)
{
    uint32_t count = seen->ready_count + seen->starting_count;
    double ready = seen->ready_count > 0 ? seen->ready_count : 1;
    bool is_new = decision->need_panic / ready >= autoscaler->policy.panic_ratio;

    if (is_new)
        autoscaler->panic_until_ns = now_ns + STABLE_S * NS_PER_SECOND;
    decision->is_panicking = now_ns < autoscaler->panic_until_ns;
    if (!decision->is_panicking)
        autoscaler->panic_count = 0;
    else if (count > autoscaler->panic_count)
        autoscaler->panic_count = count;
}

static uint32_t go_down(struct autoscaler *autoscaler, const struct autoscaler_observation *seen,
                        struct autoscaler_decision *decision, uint32_t wish, uint64_t now_ns)
{
    uint32_t count = seen->ready_count + seen->starting_count;

    if (decision->count_stabilised > wish) {
        wish = decision->count_stabilised < count ? decision->count_stabilised : count;
        decision->reason = AUTOSCALER_STABILISING;
    }
    if (wish < count && seen->spare_with_one_fewer.count > 0 &&
        !spare_is_enough(&seen->spare_with_one_fewer)) {
        decision->reason = AUTOSCALER_STABILISING;
        return count;
    }
    if (wish >= count)
        return count;
    wish = limit_down(autoscaler, count, wish, now_ns);
    decision->reason = wish < count ? AUTOSCALER_LOWER : AUTOSCALER_STABILISING;
    return wish;
}

/* From the wish to the count: bounds first, then how fast. */
static uint32_t count_for(struct autoscaler *autoscaler, const struct autoscaler_observation *seen,
                          struct autoscaler_decision *decision, uint32_t wish, uint64_t now_ns)
{
    uint32_t count = seen->ready_count + seen->starting_count, result;

    if (wish < decision->count_min) {
        wish = decision->count_min;
        decision->reason = wish > count ? AUTOSCALER_BOUND_MIN : decision->reason;
    }
    if (wish > decision->count_max) {
        wish = decision->count_max;
        decision->reason = AUTOSCALER_BOUND_MAX;
    }
    decision->count_stabilised =
        stabilised(autoscaler, wish, down_window_ns(autoscaler, seen), now_ns);
    if (count > decision->count_max)
        return decision->count_max; /* more than allowed is ended at once */
    if (wish == 0 && is_idle(autoscaler, seen, now_ns)) {
        decision->reason = count > 0 ? AUTOSCALER_IDLE : AUTOSCALER_STEADY;
        return 0;
    }
    if (wish < count)
        return go_down(autoscaler, seen, decision, wish, now_ns);
    result = limit_up(autoscaler, count, wish, now_ns);
    if (result < decision->count_min)
        result = decision->count_min;
    if (result < wish)
        decision->reason = AUTOSCALER_RATE;
    return result;
}

static void divide_spot(const struct autoscaler_policy *policy,
                        const struct autoscaler_observation *seen,
                        struct autoscaler_decision *decision)
{
    uint32_t floor_count = (uint32_t)ceil(policy->on_demand_share * decision->count - 1e-9);
    uint32_t target = decision->count > floor_count ? decision->count - floor_count : 0, extra, gap;

    decision->on_demand = decision->count;
    if (target == 0)
        return;
    /* At least one, unless a start is done before the slice is gone. */
    extra = (uint32_t)ceil(policy->spot_extra * target - 1e-9);
    extra = extra > 0 ? extra : 1;
    if (seen->cold_start_s * NS_PER_S <= (double)policy->spot_notice_ns)
        extra = 0;
    decision->spot = target + extra;
    gap = decision->spot > seen->spot_ready_count ? decision->spot - seen->spot_ready_count : 0;
    decision->on_demand = floor_count + (gap < target ? gap : target);
}

static void actions(const struct autoscaler_policy *policy,
                    const struct autoscaler_observation *seen, struct autoscaler_decision *decision)
{
    uint32_t count = seen->ready_count + seen->starting_count, more, room;

    if (decision->count >= count) {
        more = decision->count - count;
        decision->wake = more < seen->sleeping_count ? more : seen->sleeping_count;
        decision->start = more - decision->wake;
        return;
    }
    decision->stop = count - decision->count;
    room = policy->sleeping_count > seen->sleeping_count
               ? policy->sleeping_count - seen->sleeping_count
               : 0;
    decision->sleep = decision->stop < room ? decision->stop : room;
}

static struct capacity part_of(const struct capacity *capacity, uint32_t part, uint32_t whole_count)
{
    double share = whole_count > 0 ? (double)part / whole_count : 0;

    return (struct capacity){share * capacity->requests_per_s, share * capacity->concurrency};
}

/* Extra replicas on spot stand in for those that will be taken back: the load is to do without them. */
static struct autoscaler_observation without_extra(const struct autoscaler *autoscaler,
                                                   const struct autoscaler_observation *seen)
{
    struct autoscaler_observation base = *seen;
    uint32_t count = seen->ready_count + seen->starting_count, extra;

    if (autoscaler->policy.on_demand_share >= 1 || !autoscaler->has_decided ||
        count <= autoscaler->last_count)
        return base;
    extra = count - autoscaler->last_count;
    base.starting_count -= extra < base.starting_count ? extra : base.starting_count;
    base.ready_count = autoscaler->last_count - base.starting_count < base.ready_count
                           ? autoscaler->last_count - base.starting_count
                           : base.ready_count;
    base.starting = part_of(&seen->starting, base.starting_count, seen->starting_count);
    base.ready = part_of(&seen->ready, base.ready_count, seen->ready_count);
    return base;
}

static struct autoscaler_decision decide(struct autoscaler *autoscaler,
                                         const struct autoscaler_observation *seen, uint64_t now_ns)
{
    struct autoscaler_decision decision = {0};
    double demand_panic, time_s = time_at_capacity_s(seen);
    uint32_t wish;

    measure(autoscaler, seen, now_ns);
    decision.arrivals_per_s = load_window_mean(&autoscaler->arrivals, now_ns, STABLE_S);
    decision.arrivals_panic_per_s = load_window_mean(&autoscaler->arrivals, now_ns, PANIC_S);
    decision.concurrency = load_window_mean(&autoscaler->concurrency, now_ns, STABLE_S);
    decision.concurrency_panic = load_window_mean(&autoscaler->concurrency, now_ns, PANIC_S);
    decision.dispersion = fmax(autoscaler->dispersion, 1);
    decision.load = seen->ready.concurrency > 0 ? seen->running / seen->ready.concurrency : 0;
    demand_panic = fmax(decision.concurrency_panic, decision.arrivals_panic_per_s * time_s);

    decision.need_stable = replicas_for(autoscaler, seen, need_stable(autoscaler, seen, &decision));
    decision.need_forecast =
        replicas_for(autoscaler, seen, need_forecast(autoscaler, seen, &decision));
    decision.need_panic = replicas_for(autoscaler, seen, demand_panic);
    panic_update(autoscaler, seen, &decision, now_ns);
    bounds_at(&autoscaler->policy, seen->local_s, &decision);

    wish = wish_of(autoscaler, seen, &decision, now_ns);
    decision.count = count_for(autoscaler, seen, &decision, wish, now_ns);
    actions(&autoscaler->policy, seen, &decision);
    divide_spot(&autoscaler->policy, seen, &decision);
    return decision;
}

struct autoscaler_decision autoscaler_decide(struct autoscaler *autoscaler,
                                             const struct autoscaler_observation *seen,
                                             uint64_t now_ns)
{
    struct autoscaler_observation base = without_extra(autoscaler, seen);
    struct autoscaler_decision decision = decide(autoscaler, &base, now_ns);

    autoscaler->last_count = decision.count;
    autoscaler->has_decided = true;
    return decision;
}

size_t autoscaler_explain(const struct autoscaler_decision *decision,
                          const struct autoscaler_observation *seen, char *text, size_t bytes)
{
    int length = snprintf(
        text, bytes,
        "%u -> %u (%s%s): ready %u, starting %u, sleeping %u; arrivals %.3g/s in %u s, %.3g/s in "
        "%u s, "
        "dispersion %.2f; running %.4g, held %.4g, load %.2f; backlog %.3g in %.3g s; needs: "
        "stable "
        "%.2f, panic %.2f, forecast %.2f (%.3g/s); stabilised %u; bounds %u..%u",
        seen->ready_count + seen->starting_count, decision->count,
        autoscaler_reason_name(decision->reason), decision->is_panicking ? ", panicking" : "",
        seen->ready_count, seen->starting_count, seen->sleeping_count, decision->arrivals_per_s,
        STABLE_S, decision->arrivals_panic_per_s, PANIC_S, decision->dispersion, seen->running,
        seen->held, decision->load, decision->backlog, seen->cold_start_s, decision->need_stable,
        decision->need_panic, decision->need_forecast, decision->forecast_per_s,
        decision->count_stabilised, decision->count_min, decision->count_max);

    if (length < 0)
        return 0;
    return (size_t)length < bytes ? (size_t)length : bytes > 0 ? bytes - 1 : 0;
}
