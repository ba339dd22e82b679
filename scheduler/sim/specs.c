/* The models of a simulated world. Four kinds with round figures of the order that engines have today: parameters' bytes over memory
 * bandwidth give the fixed part, arithmetic the price of a prompt's token, keys and values over bandwidth that of a token in the
 * cache. Sizes follow Zipf's law: the first model of a product is asked for most. */
#include <math.h>
#include <string.h>

#include "sim.h"

#define MS             1e6
#define US             1e3
#define SECOND         1e9
#define SPREAD         0.5  /* of lengths */
#define LONGEST        4    /* times the mean */
#define PROFILE_ERROR  1.25 /* what is believed before it is measured, over the truth */
#define SPORADIC_SHARE 10u  /* one model of so many is asked for now and then only */
#define SPORADIC_PER_S 0.004
#define SPOT_SHARE     4u /* one of so many may stand on spot */
#define ZIPF           0.8
#define OPENING_SHARE  1.25 /* the busiest hour over the usual one, near enough */

static const struct kind {
    const char *name;
    struct step_cost cost;
    struct replica_limits limits;
    struct service_level level;
    double prompt_tokens, output_tokens;
    uint32_t parts;
    double start_s;
} kinds[] = {
    {"chat",
     {30 * MS, 150 * US, 0.30 * US},
     {200e3, 32, 512},
     {2 * SECOND, 80 * MS},
     900,
     350,
     1,
     35},
    {"agent",
     {25 * MS, 90 * US, 0.20 * US},
     {400e3, 48, 1024},
     {6 * SECOND, 100 * MS},
     5000,
     400,
     2,
     45},
    {"reasoning",
     {25 * MS, 80 * US, 0.12 * US},
     {500e3, 64, 512},
     {3 * SECOND, 60 * MS},
     1500,
     1800,
     4,
     60},
    {"large",
     {30 * MS, 70 * US, 0.08 * US},
     {900e3, 96, 1024},
     {4 * SECOND, 70 * MS},
     2000,
     1000,
     8,
     90},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

uint32_t specs_kind_find(struct text_slice name)
{
    const char *dash = memchr(name.data, '-', name.bytes);

    if (dash != NULL)
        name.bytes = (size_t)(dash - name.data);
    for (uint32_t i = 0; i < KINDS; i++) {
        if (text_slice_is(name, kinds[i].name))
            return i;
    }
    return SIM_NONE;
}

/* All but the traffic. */
static void spec_fill_kind(struct sim_spec *spec, uint32_t number, const struct kind *kind)
{
    *spec = (struct sim_spec){.kind = kind->name,
                              .cost = kind->cost,
                              .limits = kind->limits,
                              .level = kind->level,
                              .parts = kind->parts,
                              .start_s = kind->start_s,
                              .count_min = 1,
                              .takes_spot = number % SPOT_SHARE == SPOT_SHARE - 2};
    spec->profile = (struct step_cost){PROFILE_ERROR * kind->cost.fixed_ns,
                                       PROFILE_ERROR * kind->cost.prefill_token_ns,
                                       PROFILE_ERROR * kind->cost.kv_token_ns};
    spec->shape =
        (struct load_shape){kind->prompt_tokens, 0, kind->output_tokens, exp(SPREAD * SPREAD) - 1};
}

static void spec_measure(struct sim_spec *spec)
{
    spec->truth =
        capacity_under(&spec->cost, &spec->shape, &spec->limits, &spec->level, ROLE_MIXED, NULL);
}

static void spec_fill(struct sim_spec *spec, uint32_t number, struct chance *chance)
{
    const struct kind *kind = &kinds[number % KINDS];

    spec_fill_kind(spec, number, kind);
    spec_measure(spec);
    spec->traffic =
        (struct traffic_model){.number = number,
                               .busiest_hour = 12 + 6 * chance_unit(chance),
                               .night = 0.2 + 0.2 * chance_unit(chance),
                               .weekend = 0.5 + 0.4 * chance_unit(chance),
                               .bursts_a_day = 1,
                               .burst_most = 1.6,
                               .prompt_tokens = kind->prompt_tokens,
                               .output_tokens = kind->output_tokens,
                               .prompt_spread = SPREAD,
                               .output_spread = SPREAD,
                               .prompt_most = (uint32_t)(LONGEST * kind->prompt_tokens),
                               .output_most = (uint32_t)(LONGEST * kind->output_tokens)};
}

/* Products by turns, in the shares that the fleet has; none for what no cluster has. */
static uint32_t product_for(const uint32_t slices_of[FLEET_PRODUCTS], double *taken, double weight)
{
    uint32_t best = 0;
    double most = -INFINITY;

    for (uint32_t i = 0; i < FLEET_PRODUCTS; i++) {
        double left = slices_of[i] > 0 ? 1 - taken[i] / slices_of[i] : -INFINITY;

        if (left > most) {
            most = left;
            best = i;
        }
    }
    taken[best] += weight;
    return best;
}

void specs_make(struct sim_spec *specs, uint32_t count, uint64_t seed, double load,
                const uint32_t slices_of[FLEET_PRODUCTS])
{
    double weights[FLEET_PRODUCTS] = {0}, all = 0, slices = 0, taken[FLEET_PRODUCTS] = {0};
    struct chance chance;

    chance_init(&chance, seed, 0x6d6f64656c73, 0);
    for (uint32_t i = 0; i < FLEET_PRODUCTS; i++)
        slices += slices_of[i];
    for (uint32_t i = 0; i < count; i++)
        all += pow(i + 1, -ZIPF);
    for (uint32_t i = 0; i < count; i++) {
        double weight = pow(i + 1, -ZIPF);

        spec_fill(&specs[i], i, &chance);
        specs[i].product = product_for(slices_of, taken, weight / all * slices);
        weights[specs[i].product] += weight;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct sim_spec *spec = &specs[i];
        double share = pow(i + 1, -ZIPF) / weights[spec->product];

        spec->traffic.usual_per_s = share * load * slices_of[spec->product] / spec->parts *
                                    spec->truth.requests_per_s / OPENING_SHARE;
        if (count >= SPORADIC_SHARE && i % SPORADIC_SHARE == SPORADIC_SHARE - 1) {
            spec->traffic.usual_per_s = SPORADIC_PER_S;
            spec->count_min = 0;
        }
    }
}

/* A model of a trace is as its kind is, asked as the trace asks. One that is asked for less than once in the time after which an idle
 * replica goes may go to zero. */
#define SELDOM_PER_S (1.0 / 300)

void specs_of_trace(struct sim_spec *specs, const struct trace *trace,
                    const uint32_t slices_of[FLEET_PRODUCTS])
{
    double taken[FLEET_PRODUCTS] = {0}, seconds = (double)trace->last_ns / SIM_SECOND_NS + 1;

    for (uint32_t i = 0; i < trace->model_count; i++) {
        const struct trace_model *model = &trace->models[i];
        struct sim_spec *spec = &specs[i];
        double count = (double)model->count, output = model->output_sum / count;

        spec_fill_kind(spec, i, &kinds[model->kind]);
        spec->shape =
            (struct load_shape){model->prompt_sum / count, 0, output,
                                fmax(model->output_square_sum / count / (output * output) - 1, 0)};
        spec_measure(spec);
        spec->count_min = count / seconds < SELDOM_PER_S ? 0 : 1;
        spec->product = product_for(slices_of, taken,
                                    count / seconds / spec->truth.requests_per_s * spec->parts);
    }
}
