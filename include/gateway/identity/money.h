#ifndef PENSTOCK_IDENTITY_MONEY_H
#define PENSTOCK_IDENTITY_MONEY_H

#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "request_usage.h"

/* Money in whole numbers: thousand-millionths of whatever unit the config's prices and budgets are given in. A price for
 * a million tokens with up to three decimals is then a whole number for each token, and sums are exact. */

#define MONEY_NANO 1000000000.0

struct money_price {
    uint64_t input, cached_input, output; /* of a token, in 1e-12 of the unit */
    uint64_t slice_hour;                  /* in 1e-9 of it; 0: tokens have prices */
    uint64_t idle_factor; /* of slices, in millionths: config_price.idle_factor_max */
};

struct money_price money_price_of(const struct config_price *config);

/* Whether anything costs something. */
bool money_price_is_set(const struct money_price *price);

/* What the tokens cost, rounded up to a thousand-millionth. */
int64_t money_cost(const struct money_price *price, const struct request_usage *usage);
/* The same of a slice's time. */
int64_t money_slice_cost(const struct money_price *price, uint64_t time_ns);

/* Periods of budgets, counted from 1970 in UTC: days or months. */
uint32_t money_period(enum budget_period kind, uint64_t now_s);
/* Unix time at which it ends. */
uint64_t money_period_end_s(enum budget_period kind, uint32_t period);
/* "2026-11-21" or "2026-11". */
void money_period_write(enum budget_period kind, uint32_t period, char out[16]);

#endif
