#ifndef PENSTOCK_IDENTITY_BUDGET_H
#define PENSTOCK_IDENTITY_BUDGET_H

#include "caller.h"
#include "config.h"
#include "request_usage.h"
#include "spend_book.h"

/* Budgets (tenants.budgets) of a request's caller: reserve before, settle after. */

#define BUDGETS_PER_REQUEST_MAX 8u /* that one request may match */

/* What a request may still spend, until it is settled. Plain data. */
struct budget_hold {
    const struct config_price *price; /* lives as long as the process: prices need a restart */
    int64_t reserved;
    uint32_t count;
    struct spend_account *accounts[BUDGETS_PER_REQUEST_MAX];
};

struct budget_refusal {
    bool is_passing;         /* not for want of money: it is worth coming back */
    uint64_t retry_after_ms; /* to the end of the period */
    char message[320];
};

/* Reserves the most that the request may cost of every budget that it matches, or of none. `most`: tokens that it may
 * use. STATUS_OK; STATUS_FULL: one of them has too little left, `refusal` is filled; STATUS_TOO_LARGE: more budgets match
 * than BUDGETS_PER_REQUEST_MAX, or there is no room for more subjects; STATUS_NO_MEMORY. Loop. */
NODISCARD status budget_reserve(struct spend_book *book, const struct config_tenants *config,
                                const struct caller *caller, const struct config_price *price,
                                const struct request_usage *most, uint64_t now_ms,
                                struct budget_hold *hold, struct budget_refusal *refusal);

/* Ends what budget_reserve has begun, once: what was used is paid, and told in `usage->cost_nano`. Loop. */
void budget_settle(const struct budget_hold *hold, struct request_usage *usage);

#endif
