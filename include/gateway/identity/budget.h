#ifndef PENSTOCK_IDENTITY_BUDGET_H
#define PENSTOCK_IDENTITY_BUDGET_H

#include "caller.h"
#include "config.h"
#include "spend_book.h"

/* Budgets (tenants.budgets) of a request's caller: reserve before, settle after. */

#define BUDGETS_PER_REQUEST_MAX 8u /* that one request may match */

/* What a request may still spend, until it is settled. Plain data. */
struct budget_hold {
    int64_t reserved;
    uint32_t count;
    struct spend_account *accounts[BUDGETS_PER_REQUEST_MAX];
    int64_t
        amounts[BUDGETS_PER_REQUEST_MAX]; /* of the budgets, in thousand-millionths of the unit */
};

struct budget_refusal {
    bool is_passing;         /* not for want of money: it is worth coming back */
    uint64_t retry_after_ms; /* to the end of the period */
    char message[320];
};

/* Reserves `most`, what the request may cost, of every budget that it matches, or of none. STATUS_OK; STATUS_FULL: one of them has too little left, `refusal` is filled; STATUS_TOO_LARGE: more budgets match
 * than BUDGETS_PER_REQUEST_MAX, or there is no room for more subjects; STATUS_NO_MEMORY. Loop. */
NODISCARD status budget_reserve(struct spend_book *book, const struct config_tenants *config,
                                const struct caller *caller, int64_t most, uint64_t now_ms,
                                struct budget_hold *hold, struct budget_refusal *refusal);

/* Ends what budget_reserve has begun, once: this is what the request has cost. Loop. */
void budget_settle(const struct budget_hold *hold, int64_t cost);

#endif
