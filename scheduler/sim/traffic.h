#ifndef PENSTOCK_SIM_TRAFFIC_H
#define PENSTOCK_SIM_TRAFFIC_H

#include <stdbool.h>
#include <stdint.h>

#include "capacity.h"
#include "chance.h"

/* What is asked of a model over days: how many requests a second, when exactly, and how long. All from the seed, the model's number
 * and the day, so that every rule sees the same requests to the last token. */

#define TRAFFIC_SLOT_S    5u /* in which the rate is one number */
#define TRAFFIC_DAY_S     86400u
#define TRAFFIC_DAY_SLOTS (TRAFFIC_DAY_S / TRAFFIC_SLOT_S)

struct traffic_model {
    uint32_t number;
    double usual_per_s;  /* at the busiest hour of an ordinary day */
    double busiest_hour; /* by the clock of the world */
    double night;        /* share of the usual that is left at the quietest hour */
    double weekend;      /* the same of a Saturday and Sunday */
    double bursts_a_day;
    double burst_most;                   /* factor */
    double prompt_tokens, output_tokens; /* means */
    double prompt_spread, output_spread; /* deviations of the logarithms */
    uint32_t prompt_most, output_most;
};

/* rates[TRAFFIC_DAY_SLOTS]: requests a second through the day. Day 0 is a Monday. */
void traffic_day(uint64_t seed, const struct traffic_model *model, uint32_t day, float *rates);

struct traffic_request {
    uint64_t at_ns;
    uint32_t prompt_tokens, output_tokens;
};

/* A model's requests one after the other. */
struct traffic {
    struct traffic_model model;
    struct chance chance;
    const float *rates; /* borrowed: [slots], from time 0 on */
    uint64_t slots;
    double at_s;
    const struct traffic_request *recorded; /* borrowed; NULL: they come by chance */
    uint64_t recorded_count, recorded_next;
};
void traffic_init(struct traffic *traffic, uint64_t seed, const struct traffic_model *model,
                  const float *rates, uint64_t slots);
/* Those that were recorded, as far as the slots go. */
void traffic_replay(struct traffic *traffic, const struct traffic_request *requests, uint64_t count,
                    uint64_t slots);
bool traffic_next(struct traffic *traffic, struct traffic_request *out); /* false: the end */

#endif
