#ifndef PENSTOCK_SIM_H
#define PENSTOCK_SIM_H

#include "autoscaler.h"
#include "check.h"
#include "fleet.h"
#include "memory.h"
#include "router.h"
#include "service.h"
#include "simulation.h"
#include "text_slice.h"
#include "timers.h"
#include "trace_rows.h"
#include "traffic.h"

/* What the simulator's files share: the state of the world. One thread. */

#define SIM_HISTORY_DAYS 14u /* that forecasts and the static plan have seen */
#define SIM_NONE         UINT32_MAX
#define SIM_SECOND_NS    1000000000ull

/* What a model is, and what is asked of it (specs.c). */
struct sim_spec {
    const char *kind;
    struct step_cost cost;    /* the truth */
    struct step_cost profile; /* what is believed before anything is measured */
    struct replica_limits limits;
    struct service_level level;
    struct traffic_model traffic;
    struct load_shape shape; /* of the mean request */
    struct capacity truth;   /* of a replica, by `cost` and the mean request */
    uint32_t product, parts; /* slices of one node that a replica needs */
    double start_s;          /* from placed to ready, mean */
    bool takes_spot;
    uint32_t count_min;
};

enum sim_state { SIM_FREE, SIM_WAITING, SIM_STARTING, SIM_READY, SIM_DRAINING };

struct sim_replica {
    enum sim_state state;
    bool is_spot; /* stands there, or is to */
    uint32_t model, generation;
    uint32_t candidate; /* its place among the model's, while ready */
    uint64_t uid, wanted_ns, placed_ns, drain_ns;
    double price_hour;
    struct service service;
};

struct sim_request {
    uint64_t arrived_ns, first_token_ns;
    uint32_t model, answer_tokens;         /* all that it gets */
    uint32_t prompt_tokens, output_tokens; /* for the replica that has it now */
    uint32_t next;                         /* held in the gateway, or free */
    bool has_first_token;
};

/* What the rules that are not ours remember (rules.c). */
#define RULE_WISHES 20u
struct rule_state {
    struct load_window concurrency;
    uint64_t acted_ns, panic_until_ns, busy_ns;
    uint32_t wishes[RULE_WISHES], wish_next, panic_count;
};

struct sim_model {
    struct sim_spec spec;
    const struct trace_model *recorded; /* borrowed; NULL: its traffic is made */
    struct traffic traffic;
    struct traffic_request next;
    float *rates; /* owned: of the simulated time; NULL: recorded */
    /* Those that are ready, side by side for the router. */
    struct router_candidate *candidates; /* owned */
    uint32_t *candidate_replicas;        /* owned: their numbers */
    uint32_t candidate_room;
    uint32_t ready_count, starting_count, waiting_count, turn;
    uint32_t spot_count, spot_ready_count; /* spot: in any of the three */
    uint32_t held_first, held_last, held_count;
    double arrivals; /* since the last decision */
    uint32_t running;
    uint64_t requests, met;
    struct autoscaler autoscaler;
    struct forecast forecast;
    struct step_model steps;
    struct load_shape shape; /* fading mean of what came */
    double output_square;    /* the same of answers' squared lengths */
    double start_s;          /* the same of starts */
    struct rule_state rule;
    uint16_t *plan; /* owned: replicas for each second */
    uint32_t static_count;
};

struct sim {
    struct simulation_config config;
    enum simulation_rule rule;
    struct simulation_report *report;
    struct fleet fleet;
    struct timers timers;
    struct sim_model *models;
    struct sim_replica *replicas;
    uint32_t replica_room, replica_free, replicas_paid; /* free: where to look first */
    uint32_t slices_paid;
    struct sim_request *requests;
    uint32_t request_room, request_free;
    struct replica_load *loads; /* [replica_room], scratch */
    struct fleet_future future;
    uint32_t event_next;
    struct chance chance; /* starts and measurements */
    uint64_t now_ns, end_ns;
    int64_t begin_local_s; /* on the wall */
    double decision_s, placement_s;
    uint64_t decisions;
    bool needs_round, is_out_of_memory;
};

/* specs.c: the models of a world whose busiest hour needs `load` of the slices; or those of a trace. */
void specs_make(struct sim_spec *specs, uint32_t count, uint64_t seed, double load,
                const uint32_t slices_of[FLEET_PRODUCTS]);
void specs_of_trace(struct sim_spec *specs, const struct trace *trace,
                    const uint32_t slices_of[FLEET_PRODUCTS]);
/* What a name begins with, alone or before a '-'; SIM_NONE: no kind. */
uint32_t specs_kind_find(struct text_slice name);

/* plan.c: the clairvoyant's. Replicas for every second; STATUS_NO_MEMORY. The plan is owned by the model. */
NODISCARD status plan_make(struct sim_model *model, uint64_t seed, uint32_t seconds,
                           double *slice_hours);

/* rules.c: what the others keep of history, and how many replicas the sim's rule wants, with those that start or wait. */
void rules_init(struct sim *sim, struct sim_model *model);
struct rules_wish {
    uint32_t on_demand, spot;
};
struct rules_wish rules_wish(struct sim *sim, struct sim_model *model);

/* lives.c: replicas come and go. */
void lives_want(struct sim *sim, uint32_t model, struct rules_wish wish);
void lives_round(struct sim *sim); /* places what waits */
void lives_ready(struct sim *sim, uint32_t replica);
void lives_drain(struct sim *sim, uint32_t replica);
void lives_end(struct sim *sim, uint32_t replica); /* whatever it has goes elsewhere */
void lives_tick(struct sim *sim);
void lives_settle(struct sim *sim); /* at the end of time: pays what runs */
uint32_t lives_of_uid(uint64_t uid);

/* requests.c */
void requests_arrive(struct sim *sim, uint32_t model);
void requests_release_held(struct sim *sim, uint32_t model);
void requests_expire(struct sim *sim, uint32_t model);
/* Lets a replica go on to now: counts first tokens and ends. */
void requests_advance(struct sim *sim, uint32_t replica);
/* Takes everything off a replica and sends it elsewhere. */
void requests_move(struct sim *sim, uint32_t replica);
/* Its candidate as the router should see it, and its timer. */
void requests_refresh(struct sim *sim, uint32_t replica);

/* A model's requests from the beginning, as often as asked for. */
static inline void sim_traffic_begin(const struct sim_model *model, uint64_t seed, uint64_t seconds,
                                     struct traffic *out)
{
    if (model->recorded != NULL)
        traffic_replay(out, model->recorded->requests, model->recorded->count,
                       seconds / TRAFFIC_SLOT_S);
    else
        traffic_init(out, seed, &model->spec.traffic, model->rates, seconds / TRAFFIC_SLOT_S);
}

static inline uint32_t sim_timer_of_replica(const struct sim *sim, uint32_t replica)
{
    return sim->config.models + replica;
}

#endif
