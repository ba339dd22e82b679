/* Traffic
 *
 *   rate = usual * hour of the day * day of the week * the day's own luck * a slow wander * an opening hour * bursts
 *
 * The hour is a raised cosine to the power 1.5 between the night's share and 1, as chat traffic has in public traces (Azure's LLM
 * inference traces of 2023 and 2024, BurstGPT: peak over trough 3 to 5); the wander is an autoregressive process (half an hour, 5 %);
 * the opening is a ramp of two minutes to a quarter more at the beginning of the busy part, every working day at the same time; bursts
 * come by chance, rise in seconds and last minutes. Within five seconds arrivals are a Poisson process, lengths are
 * lognormal. */
#include "traffic.h"

#include <math.h>
#include <stddef.h>

#define TURN             6.283185307179586
#define DAY_LUCK         0.05
#define WANDER           0.05
#define WANDER_HALF_S    1800.0
#define OPENING_BEFORE_H 5.0 /* the opening, before the busiest hour */
#define OPENING_MORE     0.25
#define OPENING_RAMP_S   120.0
#define OPENING_END_S    1800.0
#define BURST_RISE_S     10.0
#define BURST_LEAST_S    60.0
#define BURST_MOST_S     300.0
#define BURSTS_MOST      64

struct burst {
    double begin_s, end_s, factor;
};

static uint32_t bursts_of(const struct traffic_model *model, struct chance *chance,
                          struct burst *bursts)
{
    double at_s = 0;
    uint32_t count = 0;

    if (model->bursts_a_day <= 0)
        return 0;
    while (count < BURSTS_MOST) {
        at_s += chance_exponential(chance) * TRAFFIC_DAY_S / model->bursts_a_day;
        if (at_s >= TRAFFIC_DAY_S)
            break;
        bursts[count++] = (struct burst){
            at_s, at_s + BURST_LEAST_S + chance_unit(chance) * (BURST_MOST_S - BURST_LEAST_S),
            1 + chance_unit(chance) * (model->burst_most - 1)};
    }
    return count;
}

static double burst_factor(const struct burst *bursts, uint32_t count, double at_s)
{
    double factor = 1;

    for (uint32_t i = 0; i < count; i++) {
        double rise = (at_s - bursts[i].begin_s) / BURST_RISE_S;

        if (at_s >= bursts[i].begin_s && at_s < bursts[i].end_s)
            factor = fmax(factor, 1 + (bursts[i].factor - 1) * fmin(rise, 1));
    }
    return factor;
}

static double opening(const struct traffic_model *model, double hour)
{
    double since_s = fmod(hour - (model->busiest_hour - OPENING_BEFORE_H) + 48, 24) * 3600;

    if (since_s >= OPENING_END_S)
        return 1;
    return 1 + OPENING_MORE * fmin(since_s / OPENING_RAMP_S, 1);
}

void traffic_day(uint64_t seed, const struct traffic_model *model, uint32_t day, float *rates)
{
    struct chance chance;
    struct burst bursts[BURSTS_MOST];
    bool is_weekend = day % 7 >= 5;
    double luck, wander = 0, keep = exp2(-(double)TRAFFIC_SLOT_S / WANDER_HALF_S);
    uint32_t burst_count;

    chance_init(&chance, seed, 0x646179, (uint64_t)model->number << 32 | day);
    luck = exp(DAY_LUCK * chance_normal(&chance));
    burst_count = bursts_of(model, &chance, bursts);
    for (uint32_t slot = 0; slot < TRAFFIC_DAY_SLOTS; slot++) {
        double at_s = (slot + 0.5) * TRAFFIC_SLOT_S, hour = at_s / 3600;
        double swing = (1 + cos(TURN * (hour - model->busiest_hour) / 24)) / 2;
        double share = model->night + (1 - model->night) * pow(swing, 1.5);

        wander = keep * wander + sqrt(1 - keep * keep) * WANDER * chance_normal(&chance);
        if (is_weekend)
            share *= model->weekend;
        else
            share *= opening(model, hour);
        rates[slot] = (float)(model->usual_per_s * share * luck * exp(wander) *
                              burst_factor(bursts, burst_count, at_s));
    }
}

void traffic_init(struct traffic *traffic, uint64_t seed, const struct traffic_model *model,
                  const float *rates, uint64_t slots)
{
    traffic->model = *model;
    chance_init(&traffic->chance, seed, 0x72657175657374, model->number);
    traffic->rates = rates;
    traffic->slots = slots;
    traffic->at_s = 0;
    traffic->recorded = NULL;
}

void traffic_replay(struct traffic *traffic, const struct traffic_request *requests, uint64_t count,
                    uint64_t slots)
{
    *traffic = (struct traffic){.recorded = requests, .recorded_count = count, .slots = slots};
}

static bool recorded_next(struct traffic *traffic, struct traffic_request *out)
{
    if (traffic->recorded_next == traffic->recorded_count)
        return false;
    *out = traffic->recorded[traffic->recorded_next++];
    return out->at_ns < traffic->slots * TRAFFIC_SLOT_S * 1000000000ull;
}

static uint32_t length_of(struct chance *chance, double mean, double spread, uint32_t most)
{
    double length = round(chance_lognormal(chance, mean, spread));

    return length < 1 ? 1 : length > most ? most : (uint32_t)length;
}

bool traffic_next(struct traffic *traffic, struct traffic_request *out)
{
    const struct traffic_model *model = &traffic->model;

    if (traffic->recorded != NULL)
        return recorded_next(traffic, out);
    for (;;) {
        uint64_t slot = (uint64_t)(traffic->at_s / TRAFFIC_SLOT_S);
        double ends_s = (double)(slot + 1) * TRAFFIC_SLOT_S, at_s;

        if (slot >= traffic->slots)
            return false;
        at_s = traffic->rates[slot] > 0
                   ? traffic->at_s + chance_exponential(&traffic->chance) / traffic->rates[slot]
                   : ends_s;
        if (at_s >= ends_s) {
            traffic->at_s = ends_s; /* nothing is remembered of a wait: the next slot begins anew */
            continue;
        }
        traffic->at_s = at_s;
        out->at_ns = (uint64_t)(at_s * 1e9);
        out->prompt_tokens = length_of(&traffic->chance, model->prompt_tokens, model->prompt_spread,
                                       model->prompt_most);
        out->output_tokens = length_of(&traffic->chance, model->output_tokens, model->output_spread,
                                       model->output_most);
        return true;
    }
}
