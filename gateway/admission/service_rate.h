#ifndef PENSTOCK_ADMISSION_SERVICE_RATE_H
#define PENSTOCK_ADMISSION_SERVICE_RATE_H

#include <stdbool.h>
#include <stdint.h>

/* How fast a model's replicas have lately served: what waiting times are computed from. Sums over
 * requests that have ended, each halved every SERVICE_RATE_HALF_LIFE_NS, so that a ratio of two is
 * the mean of the recent past. By Little's law what leaves in a second is the slots in use over
 * the time that a request keeps its slot, so nothing has to be measured about the queue itself, and
 * the first answer already gives a figure. Pure; one owner. */

#define SERVICE_RATE_HALF_LIFE_NS (20ull * 1000000000ull)

struct service_rate {
    double requests, cost, slot_seconds;
    double first_requests, first_seconds; /* from the slot to the first token */
    double prompt_bytes, prompt_tokens, output_tokens, told;
    uint64_t last_ns;
};

struct service_sample {
    uint64_t cost; /* what it was charged in the end */
    uint64_t slot_ns;
    uint64_t first_ns; /* 0: it had no first token */
    bool is_told;      /* the figures below are known */
    uint64_t prompt_bytes;
    uint32_t prompt_tokens, output_tokens;
};

void service_rate_add(struct service_rate *rate, const struct service_sample *sample,
                      uint64_t now_ns);

/* Seconds until `slots` slots have served `cost`; negative: not known. */
double service_rate_seconds(const struct service_rate *rate, double cost, double slots);

/* Mean seconds from a slot to the first token; 0 while it is not known. */
double service_rate_first_seconds(const struct service_rate *rate);

/* The mean cost of a request; 0 while it is not known. */
double service_rate_cost(const struct service_rate *rate);

/* Tokens of a prompt in a body of so many bytes, and of an answer: what they lately were; before
 * that, what is usual of English text, and a short answer. */
uint32_t service_rate_prompt_tokens(const struct service_rate *rate, uint64_t bytes);
uint32_t service_rate_output_tokens(const struct service_rate *rate);

#endif
