#include "budget.h"

#include <math.h>
#include <stdio.h>

#include "money.h"
#include "scope.h"

#define ASKING_RETRY_MS 100u /* some round trips to a database */

/* A blank between names, which have none. */
static void subject_write(const struct config_budget *row, const struct caller *caller, char *out,
                          size_t bytes)
{
    switch ((enum quota_per)row->per) {
    case QUOTA_PER_ORGANISATION:
        (void)snprintf(out, bytes, "organisation %s", caller->organisation);
        break;
    case QUOTA_PER_TEAM:
        (void)snprintf(out, bytes, "team %s %s", caller->organisation, caller->team);
        break;
    case QUOTA_PER_KEY:
        (void)snprintf(out, bytes, "key %s", caller->key_id);
        break;
    case QUOTA_PER_ALL:
        (void)snprintf(out, bytes, "all");
        break;
    }
}

static status refuse(const struct config_budget *row, const char *subject, uint64_t now_ms,
                     struct budget_refusal *refusal)
{
    uint32_t period = money_period((enum budget_period)row->period, now_ms / 1000);

    refusal->is_passing = false;
    refusal->retry_after_ms =
        money_period_end_s((enum budget_period)row->period, period) * 1000 - now_ms;
    (void)snprintf(refusal->message, sizeof(refusal->message),
                   "You exceeded your current quota: the request may cost more than is left of the "
                   "%s's budget of '%.128s'",
                   row->period == BUDGET_DAY ? "day" : "month", subject);
    return STATUS_FULL;
}

/* Nothing is over: in a moment it is known how much there is. */
static status refuse_for_now(struct budget_refusal *refusal)
{
    refusal->retry_after_ms = ASKING_RETRY_MS;
    refusal->is_passing = true;
    (void)snprintf(refusal->message, sizeof(refusal->message),
                   "Your budget is being asked for; please try again in %ums", ASKING_RETRY_MS);
    return STATUS_FULL;
}

static int64_t amount_of(const struct config_budget *row)
{
    return llround(row->amount * MONEY_NANO);
}

static status account_take(struct spend_account *account, const struct config_budget *row,
                           const char *subject, int64_t most, uint64_t now_ms,
                           struct budget_refusal *refusal)
{
    switch (spend_reserve(account, amount_of(row), most)) {
    case SPEND_TAKEN:
        return STATUS_OK;
    case SPEND_ASKING:
        return refuse_for_now(refusal);
    case SPEND_OVER:
        break;
    }
    return refuse(row, subject, now_ms, refusal);
}

static bool budget_matches(const struct config_budget *row, const struct caller *caller)
{
    return patterns_match(row->organisation, caller->organisation) &&
           patterns_match(row->team, caller->team) && patterns_match(row->key, caller->name);
}

void budget_settle(const struct budget_hold *hold, int64_t cost)
{
    for (uint32_t i = 0; i < hold->count; i++)
        spend_settle(hold->accounts[i], hold->reserved, cost);
}

status budget_reserve(struct spend_book *book, const struct config_tenants *config,
                      const struct caller *caller, int64_t most, uint64_t now_ms,
                      struct budget_hold *hold, struct budget_refusal *refusal)
{
    const struct config_budget *rows = config->budgets.items;
    status result = STATUS_OK;

    *hold = (struct budget_hold){.reserved = most};
    for (uint32_t i = 0; result == STATUS_OK && i < config->budgets.count; i++) {
        char subject[SPEND_SUBJECT_BYTES_MAX];
        struct spend_account *account = NULL;

        if (!budget_matches(&rows[i], caller))
            continue;
        subject_write(&rows[i], caller, subject, sizeof(subject));
        result = hold->count < BUDGETS_PER_REQUEST_MAX
                     ? spend_book_get(book, subject, (enum budget_period)rows[i].period, &account)
                     : STATUS_TOO_LARGE;
        if (result == STATUS_FULL)
            result = STATUS_TOO_LARGE;
        if (result != STATUS_OK)
            break;
        result = account_take(account, &rows[i], subject, hold->reserved, now_ms, refusal);
        if (result == STATUS_OK) {
            hold->amounts[hold->count] = amount_of(&rows[i]);
            hold->accounts[hold->count++] = account;
        }
    }
    if (result != STATUS_OK) {
        budget_settle(hold, 0);
        hold->count = 0;
    }
    return result;
}
