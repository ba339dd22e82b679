#include "service_rate.h"

#include <math.h>

/* Before anything is known: BPE vocabularies take about four bytes of English a token. */
#define BYTES_PER_TOKEN 4.0
#define OUTPUT_TOKENS   128.0

static void decay(struct service_rate *rate, uint64_t now_ns)
{
    double factor;

    if (now_ns <= rate->last_ns)
        return;
    factor = exp2(-(double)(now_ns - rate->last_ns) / (double)SERVICE_RATE_HALF_LIFE_NS);
    rate->requests *= factor;
    rate->cost *= factor;
    rate->slot_seconds *= factor;
    rate->first_requests *= factor;
    rate->first_seconds *= factor;
    rate->prompt_bytes *= factor;
    rate->prompt_tokens *= factor;
    rate->output_tokens *= factor;
    rate->told *= factor;
    rate->last_ns = now_ns;
}

void service_rate_add(struct service_rate *rate, const struct service_sample *sample,
                      uint64_t now_ns)
{
    decay(rate, now_ns);
    rate->requests += 1;
    rate->cost += (double)sample->cost;
    rate->slot_seconds += (double)sample->slot_ns / 1e9;
    if (sample->first_ns > 0) {
        rate->first_requests += 1;
        rate->first_seconds += (double)sample->first_ns / 1e9;
    }
    if (sample->is_told) {
        rate->told += 1;
        rate->prompt_bytes += (double)sample->prompt_bytes;
        rate->prompt_tokens += sample->prompt_tokens;
        rate->output_tokens += sample->output_tokens;
    }
}

/* Sums that have decayed to next to nothing stay good: only their ratio is used. */
static double ratio(double a, double b, double fallback)
{
    return b > 0 ? a / b : fallback;
}

double service_rate_seconds(const struct service_rate *rate, double cost, double slots)
{
    if (rate->cost <= 0 || slots <= 0)
        return -1;
    return cost * ratio(rate->slot_seconds, rate->cost, 0) / slots;
}

double service_rate_first_seconds(const struct service_rate *rate)
{
    return ratio(rate->first_seconds, rate->first_requests, 0);
}

double service_rate_cost(const struct service_rate *rate)
{
    return ratio(rate->cost, rate->requests, 0);
}

uint32_t service_rate_prompt_tokens(const struct service_rate *rate, uint64_t bytes)
{
    double tokens =
        (double)bytes * ratio(rate->prompt_tokens, rate->prompt_bytes, 1 / BYTES_PER_TOKEN);

    return tokens < 1 ? 1 : tokens > 1e9 ? 1000000000u : (uint32_t)tokens;
}

uint32_t service_rate_output_tokens(const struct service_rate *rate)
{
    double tokens = ratio(rate->output_tokens, rate->told, OUTPUT_TOKENS);

    return tokens < 1 ? 1 : (uint32_t)tokens;
}
