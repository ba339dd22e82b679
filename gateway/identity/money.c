#include "money.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

#include "clock.h"

#define DAY_S   86400u
#define HOUR_NS (3600u * NS_PER_SECOND)

static uint64_t millionths(double price)
{
    return (uint64_t)llround(price * 1e6);
}

struct money_price money_price_of(const struct config_price *config)
{
    return (struct money_price){
        .input = millionths(config->input),
        .cached_input = millionths(config->cached_input < 0 ? config->input : config->cached_input),
        .output = millionths(config->output),
        .slice_hour = (uint64_t)llround(config->slice_hour * MONEY_NANO),
        .idle_factor = millionths(config->idle_factor_max),
    };
}

bool money_price_is_set(const struct money_price *price)
{
    return price->input > 0 || price->cached_input > 0 || price->output > 0 ||
           price->slice_hour > 0;
}

static int64_t bounded(__uint128_t nano)
{
    return nano < INT64_MAX / 4 ? (int64_t)nano : INT64_MAX / 4;
}

int64_t money_cost(const struct money_price *price, const struct request_usage *usage)
{
    uint64_t cached =
        usage->cached_tokens < usage->prompt_tokens ? usage->cached_tokens : usage->prompt_tokens;
    __uint128_t pico = (__uint128_t)(usage->prompt_tokens - cached) * price->input +
                       (__uint128_t)cached * price->cached_input +
                       (__uint128_t)usage->completion_tokens * price->output;

    return bounded((pico + 999) / 1000);
}

int64_t money_slice_cost(const struct money_price *price, uint64_t time_ns)
{
    return bounded(((__uint128_t)time_ns * price->slice_hour + HOUR_NS - 1) / HOUR_NS);
}

uint32_t money_period(enum budget_period kind, uint64_t now_s)
{
    time_t time = (time_t)now_s;
    struct tm parts;

    if (kind == BUDGET_DAY)
        return (uint32_t)(now_s / DAY_S);
    if (gmtime_r(&time, &parts) == NULL)
        return 0;
    return (uint32_t)((parts.tm_year - 70) * 12 + parts.tm_mon);
}

static time_t month_begin(uint32_t period)
{
    struct tm parts = {
        .tm_year = (int)(70 + period / 12), .tm_mon = (int)(period % 12), .tm_mday = 1};

    return timegm(&parts);
}

uint64_t money_period_end_s(enum budget_period kind, uint32_t period)
{
    return kind == BUDGET_DAY ? ((uint64_t)period + 1) * DAY_S : (uint64_t)month_begin(period + 1);
}

void money_period_write(enum budget_period kind, uint32_t period, char out[16])
{
    time_t time = kind == BUDGET_DAY ? (time_t)period * DAY_S : month_begin(period);
    struct tm parts;

    out[0] = '\0';
    if (gmtime_r(&time, &parts) != NULL)
        (void)strftime(out, 16, kind == BUDGET_DAY ? "%Y-%m-%d" : "%Y-%m", &parts);
}
