#ifndef PENSTOCK_IDENTITY_MONEY_H
#define PENSTOCK_IDENTITY_MONEY_H

#include <stdint.h>

#include "config.h"
#include "request_usage.h"

/* Money in whole numbers: thousand-millionths of whatever unit the config's prices and budgets are given in. A price for
 * a million tokens with up to three decimals is then a whole number for each token, and sums are exact. */

#define MONEY_NANO 1000000000.0

struct money_price { /* of a million tokens, in millionths of the unit: a token's, in 1e-12 of it */
    uint64_t input, cached_input, output;
};

struct money_price money_price_of(const struct config_price *config);

/* What the tokens cost, rounded up to a thousand-millionth. */
int64_t money_cost(const struct money_price *price, const struct request_usage *usage);

/* Periods of budgets, counted from 1970 in UTC: days or months. */
uint32_t money_period(enum budget_period kind, uint64_t now_s);
/* Unix time at which it ends. */
uint64_t money_period_end_s(enum budget_period kind, uint32_t period);
/* "2026-11-21" or "2026-11". */
void money_period_write(enum budget_period kind, uint32_t period, char out[16]);

#endif
