#include "retry_budget.h"

#define WHOLE 1000 /* of a retry */

void retry_budget_init(struct retry_budget *budget, uint32_t burst)
{
    atomic_init(&budget->credit, (int64_t)burst * WHOLE);
}

void retry_budget_earn(struct retry_budget *budget, double share, uint32_t burst)
{
    int64_t credit = atomic_load_explicit(&budget->credit, memory_order_relaxed);
    int64_t full = (int64_t)burst * WHOLE, next;

    do {
        if (credit >= full)
            return; /* as it nearly always is: nothing is written */
        next = credit + (int64_t)(share * WHOLE);
        next = next < full ? next : full;
    } while (!atomic_compare_exchange_weak_explicit(&budget->credit, &credit, next,
                                                    memory_order_relaxed, memory_order_relaxed));
}

bool retry_budget_spend(struct retry_budget *budget)
{
    int64_t credit = atomic_load_explicit(&budget->credit, memory_order_relaxed);

    do {
        if (credit < WHOLE)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&budget->credit, &credit, credit - WHOLE,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}
