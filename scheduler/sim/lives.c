/* Replicas come and go: wanted, placed by the server's queue and placement, started, drained, lost. */
#include <math.h>

#include "clock.h"
#include "sim.h"

#define START_SPREAD  0.15 /* deviation of a start's logarithm */
#define START_RATE    0.1  /* of the fading mean of starts */
#define DRAIN_MOST_NS (600 * SIM_SECOND_NS)
#define RESERVE_NS    (3600 * SIM_SECOND_NS)
#define SLICE_MEMORY  (16ull << 30)
#define UID_BITS      20u
#define PRIORITY      10

uint32_t lives_of_uid(uint64_t uid)
{
    return (uint32_t)(uid & ((1u << UID_BITS) - 1)) - 1;
}

static void pay(struct sim *sim, const struct sim_replica *replica)
{
    double hours = (double)(sim->now_ns - replica->placed_ns) / SIM_SECOND_NS / 3600;

    sim->report->slice_hours += hours * sim->models[replica->model].spec.parts;
    sim->report->money += hours * replica->price_hour;
}

static uint32_t replica_find_free(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->replica_room; i++) {
        uint32_t number = (sim->replica_free + i) % sim->replica_room;

        if (sim->replicas[number].state == SIM_FREE) {
            sim->replica_free = number + 1;
            return number;
        }
    }
    return SIM_NONE;
}

static struct placement_request request_for(struct sim *sim, uint32_t number)
{
    const struct sim_replica *replica = &sim->replicas[number];
    const struct sim_spec *spec = &sim->models[replica->model].spec;

    return (struct placement_request){
        .uid = replica->uid,
        .model = replica->model,
        .priority = PRIORITY,
        .is_movable = spec->parts == 1,
        .shape = {.product = sim->fleet.products[spec->product],
                  .memory_bytes = SLICE_MEMORY,
                  .takes_preemptible = replica->is_spot,
                  .price_max_nano_hour = replica->is_spot ? fleet_spot_price(spec->product) : 0},
        .part_count = spec->parts,
        .domain_max = PLACEMENT_NODE,
        .run_ns = POOL_NO_END,
        .reserve_ns = RESERVE_NS,
        .cold_start_s = (float)spec->start_s,
        .recover_s = (float)spec->start_s};
}

/* False: as many as there can be are wanted already. */
static bool replica_want(struct sim *sim, uint32_t model, bool is_spot)
{
    uint32_t number = replica_find_free(sim);
    struct sim_replica *replica;
    struct placement_request request;

    if (number == SIM_NONE)
        return false;
    replica = &sim->replicas[number];
    replica->state = SIM_WAITING;
    replica->model = model;
    replica->is_spot = is_spot;
    replica->uid = (uint64_t)++replica->generation << UID_BITS | (number + 1);
    replica->wanted_ns = sim->now_ns;
    request = request_for(sim, number);
    if (placement_queue_add(sim->fleet.queue, &request, sim->now_ns) != STATUS_OK) {
        replica->state = SIM_FREE;
        return false;
    }
    sim->models[model].waiting_count++;
    sim->models[model].spot_count += is_spot;
    sim->needs_round = true;
    return true;
}

/* --- placing --- */

static void placed(void *context, const struct placement_request *request,
                   const struct placement_decision *decision)
{
    struct sim *sim = context;
    uint32_t number = lives_of_uid(request->uid);
    struct sim_replica *replica = &sim->replicas[number];
    struct sim_model *model = &sim->models[replica->model];
    const struct pool_columns *columns = pool_columns(sim->fleet.pool);
    double start_s = chance_lognormal(&sim->chance, model->spec.start_s, START_SPREAD), wait_s;

    CHECK(replica->state == SIM_WAITING &&
          pool_commit(sim->fleet.pool, replica->uid, sim->now_ns) == STATUS_OK);
    replica->state = SIM_STARTING;
    replica->placed_ns = sim->now_ns;
    replica->price_hour = 0;
    for (uint32_t i = 0; i < decision->part_count; i++)
        replica->price_hour +=
            (double)columns->price_nano_hour[decision->parts[i].booking.slice] / 1e9;
    model->waiting_count--;
    model->starting_count++;
    sim->report->starts++;
    sim->report->placements++;
    sim->report->placement_waits += sim->now_ns > replica->wanted_ns;
    wait_s = (double)(sim->now_ns - replica->wanted_ns) / SIM_SECOND_NS;
    sim->report->place_wait_s_most = fmax(sim->report->place_wait_s_most, wait_s);
    sim->replicas_paid++;
    sim->slices_paid += model->spec.parts;
    if (sim->replicas_paid > sim->report->replicas_most)
        sim->report->replicas_most = sim->replicas_paid;
    if (sim->slices_paid > sim->report->slices_most)
        sim->report->slices_most = sim->slices_paid;
    timers_set(&sim->timers, sim_timer_of_replica(sim, number),
               sim->now_ns + (uint64_t)(start_s * SIM_SECOND_NS));
}

void lives_round(struct sim *sim)
{
    struct placement_queue_driver driver = {.placed = placed, .context = sim};
    uint64_t begin_ns;
    uint32_t count;
    double took_us;

    if (!sim->needs_round || placement_queue_count(sim->fleet.queue) == 0)
        return;
    sim->needs_round = false;
    begin_ns = clock_now_ns();
    count = placement_queue_round(sim->fleet.queue, &driver, sim->now_ns);
    took_us = (double)(clock_now_ns() - begin_ns) / 1e3;
    if (count > 0) {
        sim->placement_s += took_us / 1e6;
        sim->report->placement_us_most = fmax(sim->report->placement_us_most, took_us / count);
    }
}

/* --- ready --- */

static bool candidates_make_room(struct sim_model *model)
{
    uint32_t room = model->candidate_room > 0 ? 2 * model->candidate_room : 16;
    struct router_candidate *candidates;
    uint32_t *numbers;

    if (model->ready_count < model->candidate_room)
        return true;
    candidates = memory_resize(model->candidates, room * sizeof(*candidates));
    if (candidates == NULL)
        return false;
    model->candidates = candidates;
    numbers = memory_resize(model->candidate_replicas, room * sizeof(*numbers));
    if (numbers == NULL)
        return false;
    model->candidate_replicas = numbers;
    model->candidate_room = room;
    return true;
}

void lives_ready(struct sim *sim, uint32_t number)
{
    struct sim_replica *replica = &sim->replicas[number];
    struct sim_model *model = &sim->models[replica->model];
    double took_s = (double)(sim->now_ns - replica->placed_ns) / SIM_SECOND_NS;

    if (!candidates_make_room(model)) {
        sim->is_out_of_memory = true;
        return;
    }
    sim->report->starting_hours += took_s * model->spec.parts / 3600;
    if (sim->now_ns > 0) /* those of the beginning did not start */
        model->start_s += START_RATE * (took_s - model->start_s);
    model->starting_count--;
    model->spot_ready_count += replica->is_spot;
    replica->state = SIM_READY;
    replica->candidate = model->ready_count++;
    model->candidate_replicas[replica->candidate] = number;
    model->candidates[replica->candidate] = (struct router_candidate){.is_ready = true};
    service_init(&replica->service, &model->spec.cost, &model->spec.limits, sim->now_ns);
    requests_refresh(sim, number);
    requests_release_held(sim, replica->model);
}

/* --- the end --- */

static void candidate_remove(struct sim *sim, struct sim_replica *replica)
{
    struct sim_model *model = &sim->models[replica->model];
    uint32_t last = --model->ready_count, moved = model->candidate_replicas[last];

    model->candidates[replica->candidate] = model->candidates[last];
    model->candidate_replicas[replica->candidate] = moved;
    sim->replicas[moved].candidate = replica->candidate;
    model->spot_ready_count -= replica->is_spot;
    model->spot_count -= replica->is_spot;
}

void lives_drain(struct sim *sim, uint32_t number)
{
    struct sim_replica *replica = &sim->replicas[number];

    candidate_remove(sim, replica);
    replica->state = SIM_DRAINING;
    replica->drain_ns = sim->now_ns;
    CHECK(pool_drain(sim->fleet.pool, replica->uid, sim->now_ns + DRAIN_MOST_NS) == STATUS_OK);
    if (service_outstanding(&replica->service) == 0)
        lives_end(sim, number);
}

void lives_end(struct sim *sim, uint32_t number)
{
    struct sim_replica *replica = &sim->replicas[number];
    struct sim_model *model = &sim->models[replica->model];
    enum sim_state state = replica->state;

    CHECK(state != SIM_FREE);
    timers_set(&sim->timers, sim_timer_of_replica(sim, number), UINT64_MAX);
    if (state == SIM_WAITING) {
        (void)placement_queue_remove(sim->fleet.queue, replica->uid);
        model->waiting_count--;
        model->spot_count -= replica->is_spot;
        replica->state = SIM_FREE;
        return;
    }
    if (state != SIM_STARTING)
        requests_advance(sim, number);
    if (state == SIM_READY)
        candidate_remove(sim, replica);
    if (state == SIM_STARTING) {
        model->starting_count--;
        model->spot_count -= replica->is_spot;
    }
    if (state == SIM_DRAINING)
        sim->report->draining_hours +=
            (double)(sim->now_ns - replica->drain_ns) / SIM_SECOND_NS / 3600 * model->spec.parts;
    pay(sim, replica);
    replica->state = SIM_FREE;
    sim->replicas_paid--;
    sim->slices_paid -= model->spec.parts;
    sim->needs_round = true;
    CHECK(pool_release(sim->fleet.pool, replica->uid));
    if (state != SIM_STARTING)
        requests_move(sim, number);
}

/* Who goes first, of those on spot or of the others: what is not placed, what is not ready, then the one with least to do. */
static uint32_t victim_of(struct sim *sim, uint32_t number, bool is_spot)
{
    const struct sim_model *model = &sim->models[number];
    uint32_t best = SIM_NONE, best_rank = 0;

    for (uint32_t i = 0; i < sim->replica_room && model->waiting_count + model->starting_count > 0;
         i++) {
        const struct sim_replica *replica = &sim->replicas[i];
        uint32_t rank = replica->state == SIM_WAITING ? 2 : replica->state == SIM_STARTING ? 1 : 0;

        if (replica->model == number && replica->is_spot == is_spot && rank > best_rank) {
            best = i;
            best_rank = rank;
        }
    }
    for (uint32_t i = 0; i < model->ready_count && best_rank == 0; i++) {
        uint32_t candidate = model->candidate_replicas[i];

        if (sim->replicas[candidate].is_spot == is_spot &&
            (best == SIM_NONE || model->candidates[i].outstanding <
                                     model->candidates[sim->replicas[best].candidate].outstanding))
            best = candidate;
    }
    return best;
}

static void want_of_kind(struct sim *sim, uint32_t number, bool is_spot, uint32_t have,
                         uint32_t count)
{
    while (have < count && replica_want(sim, number, is_spot))
        have++;
    for (; have > count; have--) {
        uint32_t victim = victim_of(sim, number, is_spot);

        CHECK(victim != SIM_NONE);
        sim->report->stops++;
        if (sim->replicas[victim].state == SIM_READY)
            lives_drain(sim, victim);
        else
            lives_end(sim, victim);
    }
}

void lives_want(struct sim *sim, uint32_t number, struct rules_wish wish)
{
    const struct sim_model *model = &sim->models[number];
    uint32_t all = model->ready_count + model->starting_count + model->waiting_count;

    want_of_kind(sim, number, false, all - model->spot_count, wish.on_demand);
    want_of_kind(sim, number, true, model->spot_count, wish.spot);
}

void lives_tick(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->replica_room; i++) {
        struct sim_replica *replica = &sim->replicas[i];

        if (replica->state == SIM_DRAINING && sim->now_ns - replica->drain_ns >= DRAIN_MOST_NS)
            lives_end(sim, i);
    }
}

void lives_settle(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->replica_room; i++) {
        if (sim->replicas[i].state > SIM_WAITING)
            pay(sim, &sim->replicas[i]);
    }
}
