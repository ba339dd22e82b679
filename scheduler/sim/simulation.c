/* Simulation
 *
 * A discrete-event simulation: nothing happens between two events, so the clock jumps from one to the next. Every request is simulated
 * on its own (none is scaled up from a sample, and no flow stands for many: what breaks a service level is chance, the burst that
 * meets a full replica, which flows average away and samples exaggerate). What makes a day of a hundred million requests cheap
 * is the replica: a continuous batch in which all sequences advance by the same number of tokens needs three events a request
 * (it comes, its prompt is read, it ends), not one a token (service.c).
 *
 *   the server's own code    autoscaler, capacity, forecast, router (predicted TTFT), pool, placement, placement queue
 *   modelled                 replicas, clusters, starts (lognormal about the model's mean), traffic, failures, notices
 *   left out                 prefix caches, prompts' contents, the network, the gateway's own time, disaggregated prefill
 *
 * A replica is sent what it has slots for; the rest waits in the gateway, at most two minutes. Slices are paid from the moment they are
 * booked until they are free again: start, life and drain. A request of a replica that is lost is continued on another: its
 * prompt and what it had got are read anew, and the gap counts as time between tokens.
 *
 * Decisions are made every two seconds, of all models in turn; then the queue places what it can. The streams of chance are apart
 * from each other (chance.h): requests and failures are the same under every rule. */
#include "simulation.h"

#include <math.h>
#include <string.h>

#include "clock.h"
#include "sim.h"

#define BEGIN_LOCAL_S 1767571200ll /* Monday, the 5th of January 2026 */
#define BEGIN_S                                                                                    \
    600u /* the plan's first minutes fill an empty world; by then it is as at such an hour */
#define REPLICAS_EXTRA       64u
#define REQUESTS_FIRST       65536u
#define MET_COUNT_LEAST      10000u
#define CAPACITY_LEAST_PER_S 1e-3 /* of a replica: a request takes 17 minutes of it */

const char *simulation_rule_name(enum simulation_rule rule)
{
    static const char *const names[SIMULATION_RULE_COUNT] = {"penstock", "queue", "concurrency",
                                                             "static", "clairvoyant"};

    CHECK(rule < SIMULATION_RULE_COUNT);
    return names[rule];
}

double simulation_ttft_ms(const struct simulation_report *report, double share)
{
    uint64_t all = 0, below = 0;

    for (uint32_t i = 0; i < SIMULATION_LATENCY_BUCKETS; i++)
        all += report->ttft_ms_below[i];
    for (uint32_t i = 0; i < SIMULATION_LATENCY_BUCKETS; i++) {
        below += report->ttft_ms_below[i];
        if ((double)below >= share * (double)all)
            return exp2((i + 1) / 4.0);
    }
    return 0;
}

/* --- building the world --- */

status simulation_check(const struct simulation_config *config, struct error_note *note)
{
    const struct {
        const char *name;
        double value, least, most;
    } fields[] = {
        {"clusters", config->clusters, 1, 1000},    {"slices", config->slices_per_cluster, 4, 1000},
        {"models", config->models, 1, 1000},        {"hours", config->hours, 1, 168},
        {"begin hour", config->begin_hour, 0, 167}, {"load", config->load, 0.05, 0.95}};

    for (size_t i = 0; i < ARRAY_COUNT(fields); i++) {
        if (!(fields[i].value >= fields[i].least && fields[i].value <= fields[i].most)) {
            error_note_set(note, "%s must be from %g to %g, not %g", fields[i].name,
                           fields[i].least, fields[i].most, fields[i].value);
            return STATUS_INVALID;
        }
    }
    return STATUS_OK;
}

/* The rates of the simulated time, from the days that it touches. */
static status rates_make(struct sim *sim, struct sim_model *model)
{
    uint64_t slots = (uint64_t)sim->config.hours * 3600 / TRAFFIC_SLOT_S, slot = 0;
    uint32_t first = sim->config.begin_hour % 24 * 3600 / TRAFFIC_SLOT_S;
    float *day = memory_allocate_array(TRAFFIC_DAY_SLOTS, sizeof(*day));

    model->rates = memory_allocate_array(slots, sizeof(*model->rates));
    if (day == NULL || model->rates == NULL) {
        memory_release(day);
        return STATUS_NO_MEMORY;
    }
    for (uint32_t i = 0; slot < slots; i++) {
        traffic_day(sim->config.seed, &model->spec.traffic,
                    SIM_HISTORY_DAYS + sim->config.begin_hour / 24 + i, day);
        for (uint32_t k = i == 0 ? first : 0; k < TRAFFIC_DAY_SLOTS && slot < slots; k++)
            model->rates[slot++] = day[k];
    }
    memory_release(day);
    return STATUS_OK;
}

static status model_make(struct sim *sim, uint32_t number, const struct sim_spec *spec)
{
    struct sim_model *model = &sim->models[number];
    double planned_hours;
    status result;

    model->spec = *spec;
    if (sim->config.trace != NULL)
        model->recorded = &sim->config.trace->models[number];
    result = model->recorded == NULL ? rates_make(sim, model) : STATUS_OK;
    if (result == STATUS_OK)
        result = plan_make(model, sim->config.seed, sim->config.hours * 3600, &planned_hours);
    if (result != STATUS_OK)
        return result;
    sim->report->planned_hours += planned_hours;
    sim_traffic_begin(model, sim->config.seed, (uint64_t)sim->config.hours * 3600, &model->traffic);
    rules_init(sim, model);
    if (traffic_next(&model->traffic, &model->next))
        timers_set(&sim->timers, number, model->next.at_ns);
    return STATUS_OK;
}

/* Requests that no replica can serve within its level make any number of replicas too few. */
static status check_capacity(const struct sim *sim, const struct sim_spec *specs,
                             struct error_note *note)
{
    for (uint32_t i = 0; i < sim->config.models; i++) {
        if (specs[i].truth.requests_per_s >= CAPACITY_LEAST_PER_S)
            continue;
        error_note_set(note,
                       "%s: a replica of its kind is too slow for requests of %.0f prompt tokens",
                       sim->config.trace->models[i].name, specs[i].shape.prompt_tokens);
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

static status models_make(struct sim *sim, struct error_note *note)
{
    struct sim_spec *specs = memory_allocate_array(sim->config.models, sizeof(*specs));
    status result = STATUS_OK;

    if (specs == NULL)
        return STATUS_NO_MEMORY;
    if (sim->config.trace != NULL)
        specs_of_trace(specs, sim->config.trace, sim->fleet.slices_of);
    else
        specs_make(specs, sim->config.models, sim->config.seed, sim->config.load,
                   sim->fleet.slices_of);
    if (sim->config.trace != NULL)
        result = check_capacity(sim, specs, note);
    for (uint32_t i = 0; i < sim->config.models && result == STATUS_OK; i++)
        result = model_make(sim, i, &specs[i]);
    memory_release(specs);
    return result;
}

static status requests_make(struct sim *sim)
{
    sim->request_room = REQUESTS_FIRST;
    sim->requests = memory_allocate_array(sim->request_room, sizeof(*sim->requests));
    if (sim->requests == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < sim->request_room; i++)
        sim->requests[i].next = i + 1 < sim->request_room ? i + 1 : SIM_NONE;
    return STATUS_OK;
}

static status sim_init(struct sim *sim, struct error_note *note)
{
    const struct simulation_config *config = &sim->config;
    status result =
        fleet_init(&sim->fleet, config->clusters, config->slices_per_cluster, config->seed, NULL);

    if (result != STATUS_OK)
        return result;
    sim->end_ns = (uint64_t)config->hours * 3600 * SIM_SECOND_NS;
    sim->begin_local_s = BEGIN_LOCAL_S + (int64_t)config->begin_hour * 3600;
    sim->replica_room = sim->fleet.slice_count + REPLICAS_EXTRA;
    chance_init(&sim->chance, config->seed, 0x7374617274, 0);
    sim->models = memory_allocate_array(config->models, sizeof(*sim->models));
    sim->replicas = memory_allocate_array(sim->replica_room, sizeof(*sim->replicas));
    sim->loads = memory_allocate_array(sim->replica_room, sizeof(*sim->loads));
    if (sim->models == NULL || sim->replicas == NULL || sim->loads == NULL)
        return STATUS_NO_MEMORY;
    result = timers_init(&sim->timers, config->models + sim->replica_room);
    if (result == STATUS_OK)
        result = requests_make(sim);
    if (result == STATUS_OK)
        result = models_make(sim, note);
    if (result == STATUS_OK && !config->is_calm)
        result = fleet_foresee(&sim->fleet, config->seed, config->hours * 3600, &sim->future);
    return result;
}

static void sim_deinit(struct sim *sim)
{
    for (uint32_t i = 0; sim->models != NULL && i < sim->config.models; i++) {
        memory_release(sim->models[i].rates);
        memory_release(sim->models[i].plan);
        memory_release(sim->models[i].candidates);
        memory_release(sim->models[i].candidate_replicas);
    }
    memory_release(sim->models);
    memory_release(sim->replicas);
    memory_release(sim->loads);
    memory_release(sim->requests);
    memory_release(sim->future.events);
    timers_deinit(&sim->timers);
    fleet_deinit(&sim->fleet);
}

/* --- the world goes on --- */

static void lose(void *context, uint64_t uid)
{
    struct sim *sim = context;

    sim->report->lost++;
    lives_end(sim, lives_of_uid(uid));
}

/* A notice: nothing new goes there, and what is there finishes or is moved at the end. */
static void leave(void *context, uint64_t uid)
{
    struct sim *sim = context;
    uint32_t replica = lives_of_uid(uid);

    sim->report->spot_notices++;
    if (sim->replicas[replica].state == SIM_READY)
        lives_drain(sim, replica);
    else if (sim->replicas[replica].state == SIM_STARTING)
        lives_end(sim, replica);
}

static void happen(struct sim *sim, const struct fleet_event *event)
{
    struct fleet_node *node = &sim->fleet.nodes[event->node];

    node->is_leaving = event->kind == FLEET_NODE_NOTICE;
    node->is_down = event->kind == FLEET_NODE_DOWN;
    fleet_node_report(&sim->fleet, event->node, sim->now_ns);
    if (event->kind == FLEET_NODE_DOWN)
        fleet_node_replicas(&sim->fleet, event->node, lose, sim);
    if (event->kind == FLEET_NODE_NOTICE)
        fleet_node_replicas(&sim->fleet, event->node, leave, sim);
    sim->needs_round = true;
}

static void decide(struct sim *sim)
{
    lives_tick(sim);
    for (uint32_t i = 0; i < sim->config.models; i++) {
        struct sim_model *model = &sim->models[i];

        requests_expire(sim, i);
        lives_want(sim, i, rules_wish(sim, model));
        model->arrivals = 0;
    }
    lives_round(sim);
    sim->report->replicas_mean += sim->replicas_paid;
}

static void timer_fires(struct sim *sim, uint32_t timer)
{
    uint32_t replica;

    if (timer < sim->config.models) {
        struct sim_model *model = &sim->models[timer];

        requests_arrive(sim, timer);
        timers_set(&sim->timers, timer,
                   traffic_next(&model->traffic, &model->next) ? model->next.at_ns : UINT64_MAX);
        return;
    }
    replica = timer - sim->config.models;
    if (sim->replicas[replica].state == SIM_STARTING) {
        lives_ready(sim, replica);
        return;
    }
    requests_advance(sim, replica);
    requests_refresh(sim, replica);
    if (sim->replicas[replica].state == SIM_DRAINING &&
        service_outstanding(&sim->replicas[replica].service) == 0)
        lives_end(sim, replica);
    else if (sim->models[sim->replicas[replica].model].held_count > 0)
        requests_release_held(sim, sim->replicas[replica].model);
}

/* Every model begins with what it needs at that hour (or, by the static rule, at any), ready at once: the night before is not
 * simulated. */
static void begin(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->config.models; i++) {
        const struct sim_model *model = &sim->models[i];
        uint32_t count =
            sim->rule == SIMULATION_STATIC ? model->static_count : model->plan[BEGIN_S];

        lives_want(sim, i, (struct rules_wish){count, 0});
    }
    lives_round(sim);
    for (uint32_t i = 0; i < sim->replica_room; i++) {
        if (sim->replicas[i].state == SIM_STARTING)
            lives_ready(sim, i);
    }
}

static void run(struct sim *sim)
{
    uint64_t tick_ns = AUTOSCALER_TICK_NS, ticks = 0;

    begin(sim);
    while (!sim->is_out_of_memory) {
        uint64_t at_ns = UINT64_MAX, event_ns = sim->event_next < sim->future.count
                                                    ? sim->future.events[sim->event_next].at_ns
                                                    : UINT64_MAX;
        uint32_t timer = timers_first(&sim->timers, &at_ns);

        if (at_ns > sim->end_ns && tick_ns > sim->end_ns && event_ns > sim->end_ns)
            break;
        if (event_ns <= at_ns && event_ns <= tick_ns) {
            sim->now_ns = event_ns;
            happen(sim, &sim->future.events[sim->event_next++]);
        } else if (tick_ns <= at_ns) {
            sim->now_ns = tick_ns;
            decide(sim);
            ticks++;
            tick_ns += AUTOSCALER_TICK_NS;
        } else {
            sim->now_ns = at_ns;
            timer_fires(sim, timer);
        }
    }
    sim->now_ns = sim->end_ns;
    sim->report->replicas_mean /= (double)(ticks > 0 ? ticks : 1);
}

/* What still runs is paid until the end; what is still under way is not counted. */
static void close_books(struct sim *sim)
{
    struct simulation_report *report = sim->report;

    report->worst_model_met = 1;
    report->node_losses = sim->future.node_losses;
    report->cluster_losses = sim->future.cluster_losses;
    report->zone_losses = sim->future.zone_losses;
    report->spot_waves = sim->future.spot_waves;
    for (uint32_t i = 0; i < sim->config.models; i++) {
        const struct sim_model *model = &sim->models[i];

        if (model->requests >= MET_COUNT_LEAST)
            report->worst_model_met =
                fmin(report->worst_model_met, (double)model->met / (double)model->requests);
        sim->models[i].held_count = 0;
    }
    lives_settle(sim);
    report->placement_us_mean =
        report->placements > 0 ? sim->placement_s * 1e6 / (double)report->placements : 0;
    report->decision_us_mean =
        sim->decisions > 0 ? sim->decision_s * 1e6 / (double)sim->decisions : 0;
}

status simulation_run(const struct simulation_config *config, enum simulation_rule rule,
                      struct simulation_report *report, struct error_note *note)
{
    struct sim sim = {.config = *config, .rule = rule, .report = report};
    uint64_t begin_ns = clock_now_ns();
    status result = simulation_check(config, note);

    CHECK(rule < SIMULATION_RULE_COUNT);
    if (result != STATUS_OK)
        return result;
    if (config->trace != NULL)
        sim.config.models = trace_model_count(config->trace);
    memset(report, 0, sizeof(*report));
    result = sim_init(&sim, note);
    if (result == STATUS_OK) {
        run(&sim);
        result = sim.is_out_of_memory ? STATUS_NO_MEMORY : STATUS_OK;
    }
    if (result == STATUS_OK)
        close_books(&sim);
    else if (result != STATUS_INVALID)
        error_note_set(note, "a world of this size: %s", status_name(result));
    sim_deinit(&sim);
    report->wall_s = (double)(clock_now_ns() - begin_ns) / 1e9;
    return result;
}
