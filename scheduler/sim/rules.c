/* What decides how many replicas a model has: ours, and the rules that it is compared with. All see the same measurements at the same
 * moments; the others get the true capacity of a replica, which they would have to be told, ours measures it. */
#include <math.h>
#include <string.h>

#include "clock.h"
#include "sim.h"

#define MEASURED_REPLICAS 4u   /* whose step is noted at a decision */
#define MEASUREMENT_NOISE 0.03 /* of a step's time */
#define COUNT_MOST        60000u
#define ON_DEMAND_SHARE   0.5 /* of a model that takes spot */
/* HorizontalPodAutoscaler: sync period 15 s, tolerance 0.1, stabilisation down 300 s, up at most 100 % or 4 in 15 s. */
#define QUEUE_PERIOD_NS (15 * SIM_SECOND_NS)
#define QUEUE_TOLERANCE 0.1
#define QUEUE_TARGET    0.8 /* of what a replica carries, in service and waiting */
/* Knative: target 70 %, panic at twice, down at most to half at once, to zero after the stable window and 30 s. */
#define CONCURRENCY_TARGET   0.7
#define CONCURRENCY_PANIC    2.0
#define CONCURRENCY_STABLE_S 60u
#define CONCURRENCY_PANIC_S  6u
#define CONCURRENCY_GRACE_NS (90 * SIM_SECOND_NS)
/* What a careful planner leaves free at the peak. */
#define STATIC_LOAD 0.8

static struct autoscaler_policy policy_of(const struct sim_spec *spec)
{
    struct autoscaler_policy policy = autoscaler_policy_default();

    policy.count_min = spec->count_min;
    policy.count_max = COUNT_MOST;
    policy.spot_notice_ns = FLEET_NOTICE_NS;
    policy.on_demand_share = spec->takes_spot ? ON_DEMAND_SHARE : 1;
    return policy;
}

/* What forecasts and planners have seen; returns the requests a second of the busiest hour. */
static double learn_history(const struct sim *sim, struct sim_model *model)
{
    static float rates[TRAFFIC_DAY_SLOTS];
    double busiest = 0;

    for (uint32_t day = 0; day < SIM_HISTORY_DAYS; day++) {
        int64_t day_s = sim->begin_local_s - sim->begin_local_s % TRAFFIC_DAY_S +
                        ((int64_t)day - SIM_HISTORY_DAYS) * TRAFFIC_DAY_S;
        double sum = 0;

        /* Days are numbered from a Monday two weeks before the simulated week. */
        traffic_day(sim->config.seed, &model->spec.traffic, day + sim->config.begin_hour / 24,
                    rates);
        for (uint32_t slot = 0; slot < TRAFFIC_DAY_SLOTS; slot++) {
            forecast_note(&model->forecast, day_s + (int64_t)slot * TRAFFIC_SLOT_S, rates[slot]);
            sum += rates[slot];
            if ((slot + 1) % (3600 / TRAFFIC_SLOT_S) == 0) {
                busiest = fmax(busiest, sum * TRAFFIC_SLOT_S / 3600);
                sum = 0;
            }
        }
    }
    return busiest;
}

/* Of a trace, whose yesterday nobody knows: its own. */
static double busiest_hour(const struct trace_model *recorded)
{
    uint64_t most = 0, count = 0, hour = 0;

    for (uint64_t i = 0; i < recorded->count; i++) {
        uint64_t at_hour = recorded->requests[i].at_ns / (3600 * SIM_SECOND_NS);

        count = at_hour == hour ? count + 1 : 1;
        hour = at_hour;
        most = count > most ? count : most;
    }
    return (double)most / 3600;
}

void rules_init(struct sim *sim, struct sim_model *model)
{
    const struct sim_spec *spec = &model->spec;
    struct autoscaler_policy policy = policy_of(spec);
    double busiest;

    forecast_init(&model->forecast);
    busiest = model->recorded != NULL ? busiest_hour(model->recorded) : learn_history(sim, model);
    model->static_count =
        (uint32_t)fmax(ceil(busiest / (STATIC_LOAD * spec->truth.requests_per_s)), 1);
    step_model_init(&model->steps, &spec->profile);
    model->shape = spec->shape;
    model->output_square =
        (1 + spec->shape.output_variation) * spec->shape.output_tokens * spec->shape.output_tokens;
    model->start_s = spec->start_s;
    autoscaler_init(&model->autoscaler, &policy, &model->forecast, sim->now_ns);
}

/* --- ours --- */

/* The steps of a few replicas, as their own counters would tell. */
static void note_steps(struct sim *sim, struct sim_model *model)
{
    for (uint32_t i = 0; i < MEASURED_REPLICAS && i < model->ready_count; i++) {
        uint32_t place = chance_below(&sim->chance, model->ready_count);
        const struct service *service = &sim->replicas[model->candidate_replicas[place]].service;
        double noise = 1 + MEASUREMENT_NOISE * chance_normal(&sim->chance);

        if (service_outstanding(service) == 0)
            continue;
        step_model_note(&model->steps, service->is_reading ? service->limits.chunk_tokens : 0,
                        service->kv_tokens, service_step_ns(service) * noise);
    }
}

static struct capacity times(struct capacity one, uint32_t count)
{
    return (struct capacity){one.requests_per_s * count, one.concurrency * count};
}

static struct rules_wish ours(struct sim *sim, struct sim_model *model)
{
    struct autoscaler_observation seen = {
        .local_s = sim->begin_local_s + (int64_t)(sim->now_ns / SIM_SECOND_NS),
        .ready_count = model->ready_count,
        .starting_count = model->starting_count + model->waiting_count,
        .spot_ready_count = model->spot_ready_count,
        .cold_start_s = model->start_s,
        .arrivals = model->arrivals,
        .running = model->running,
        .held = model->held_count};
    struct autoscaler_decision decision;
    struct step_cost cost;
    uint64_t begin_ns = clock_now_ns(), took_ns;

    note_steps(sim, model);
    cost = step_model_fit(&model->steps);
    seen.up = seen.down = capacity_under(&cost, &model->shape, &model->spec.limits,
                                         &model->spec.level, ROLE_MIXED, NULL);
    seen.ready = times(seen.up, seen.ready_count);
    seen.starting = times(seen.up, seen.starting_count);
    for (uint32_t i = 0; i < model->ready_count; i++) {
        const struct service *service = &sim->replicas[model->candidate_replicas[i]].service;

        sim->loads[i] = (struct replica_load){service->kv_tokens / service->limits.kv_tokens,
                                              service->queue_count - service->is_reading};
    }
    seen.spare = spare_of(sim->loads, model->ready_count);
    seen.spare_with_one_fewer = spare_with_one_fewer(sim->loads, model->ready_count);
    decision = autoscaler_decide(&model->autoscaler, &seen, sim->now_ns);
    took_ns = clock_now_ns() - begin_ns;
    sim->decision_s += (double)took_ns / 1e9;
    sim->decisions++;
    sim->report->decision_us_most = fmax(sim->report->decision_us_most, (double)took_ns / 1e3);
    sim->report->zero_starts +=
        seen.ready_count + seen.starting_count == 0 && decision.count > 0 && seen.held > 0;
    return (struct rules_wish){decision.on_demand, decision.spot};
}

/* --- the others --- */

static uint32_t clamp_count(const struct sim_model *model, double count, uint32_t least)
{
    least = least > model->spec.count_min ? least : model->spec.count_min;
    return count < least ? least : count > COUNT_MOST ? COUNT_MOST : (uint32_t)count;
}

static uint32_t queue_rule(struct sim *sim, struct sim_model *model)
{
    struct rule_state *rule = &model->rule;
    uint32_t count = model->ready_count + model->starting_count + model->waiting_count, wish;
    double all = (double)model->running + model->held_count;
    double ratio = all / (QUEUE_TARGET * model->spec.truth.concurrency * (count > 0 ? count : 1));

    if (rule->acted_ns != 0 && sim->now_ns - rule->acted_ns < QUEUE_PERIOD_NS)
        return count;
    rule->acted_ns = sim->now_ns;
    wish = fabs(ratio - 1) <= QUEUE_TOLERANCE ? count : clamp_count(model, ceil(ratio * count), 1);
    wish = wish > 0 ? wish : 1;
    rule->wishes[rule->wish_next++ % RULE_WISHES] = wish;
    if (wish < count) {
        for (uint32_t i = 0; i < RULE_WISHES; i++)
            wish = rule->wishes[i] > wish ? rule->wishes[i] : wish;
        return wish < count ? wish : count;
    }
    return wish > 2 * count && wish > count + 4 ? (2 * count > count + 4 ? 2 * count : count + 4)
                                                : wish;
}

static uint32_t concurrency_rule(struct sim *sim, struct sim_model *model)
{
    struct rule_state *rule = &model->rule;
    uint32_t count = model->ready_count + model->starting_count + model->waiting_count;
    uint32_t ready = model->ready_count > 0 ? model->ready_count : 1, least = ready / 2;
    double target = CONCURRENCY_TARGET * model->spec.truth.concurrency, stable, panic, wish;

    load_window_note(&rule->concurrency, sim->now_ns, (double)model->running + model->held_count);
    if (model->running > 0 || model->held_count > 0)
        rule->busy_ns = sim->now_ns;
    stable = ceil(load_window_mean(&rule->concurrency, sim->now_ns, CONCURRENCY_STABLE_S) / target);
    panic = ceil(load_window_mean(&rule->concurrency, sim->now_ns, CONCURRENCY_PANIC_S) / target);
    stable = stable < least ? least : stable;
    if (panic / ready >= CONCURRENCY_PANIC)
        rule->panic_until_ns = sim->now_ns + CONCURRENCY_STABLE_S * SIM_SECOND_NS;
    wish = stable;
    if (sim->now_ns < rule->panic_until_ns) {
        rule->panic_count = panic > rule->panic_count ? (uint32_t)panic : rule->panic_count;
        rule->panic_count = count > rule->panic_count ? count : rule->panic_count;
        wish = fmax(stable, rule->panic_count);
    } else {
        rule->panic_count = 0;
    }
    if (wish < 1 && count > 0 && sim->now_ns - rule->busy_ns < CONCURRENCY_GRACE_NS)
        wish = 1;
    return clamp_count(model, wish, 0);
}

static uint32_t count_by(struct sim *sim, struct sim_model *model)
{
    switch (sim->rule) {
    case SIMULATION_QUEUE:
        return queue_rule(sim, model);
    case SIMULATION_CONCURRENCY:
        return concurrency_rule(sim, model);
    case SIMULATION_STATIC:
        return model->static_count;
    default:
        return model
            ->plan[(sim->now_ns < sim->end_ns ? sim->now_ns : sim->end_ns - 1) / SIM_SECOND_NS];
    }
}

/* Whoever knows the day takes no slice that will be taken back. */
struct rules_wish rules_wish(struct sim *sim, struct sim_model *model)
{
    struct rules_wish wish = {0, 0};
    uint32_t count;

    if (sim->rule == SIMULATION_PENSTOCK)
        return ours(sim, model);
    count = count_by(sim, model);
    if (model->spec.takes_spot && sim->rule != SIMULATION_CLAIRVOYANT)
        wish.spot = (uint32_t)((1 - ON_DEMAND_SHARE) * count);
    wish.on_demand = count - wish.spot;
    return wish;
}
