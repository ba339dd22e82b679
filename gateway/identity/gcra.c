#include "gcra.h"

uint64_t gcra_cost_ns(uint64_t amount, uint64_t limit, uint64_t period_ns)
{
    __uint128_t cost = (__uint128_t)amount * period_ns / limit;

    return cost < UINT64_MAX / 4 ? (uint64_t)cost : UINT64_MAX / 4;
}

bool gcra_take(_Atomic uint64_t *arrival_ns, uint64_t now_ns, uint64_t amount, uint64_t limit,
               uint64_t period_ns, uint64_t *wait_ns)
{
    uint64_t cost_ns = gcra_cost_ns(amount, limit, period_ns);
    uint64_t seen_ns = atomic_load_explicit(arrival_ns, memory_order_relaxed);

    if (amount > limit) {
        *wait_ns = UINT64_MAX;
        return false;
    }
    for (;;) {
        uint64_t next_ns = (seen_ns > now_ns ? seen_ns : now_ns) + cost_ns;

        if (next_ns - now_ns > period_ns) {
            *wait_ns = next_ns - now_ns - period_ns;
            return false;
        }
        /* relaxed: the word says all there is to say */
        if (atomic_compare_exchange_weak_explicit(arrival_ns, &seen_ns, next_ns,
                                                  memory_order_relaxed, memory_order_relaxed))
            return true;
    }
}

void gcra_settle(_Atomic uint64_t *arrival_ns, uint64_t taken, uint64_t used, uint64_t limit,
                 uint64_t period_ns)
{
    uint64_t used_ns = gcra_cost_ns(used, limit, period_ns);
    uint64_t taken_ns = gcra_cost_ns(taken, limit, period_ns);
    uint64_t seen_ns = atomic_load_explicit(arrival_ns, memory_order_relaxed), next_ns;

    /* Below zero only where the word has been set since by what other gateways have told. */
    do
        next_ns = seen_ns + used_ns > taken_ns ? seen_ns + used_ns - taken_ns : 0;
    while (!atomic_compare_exchange_weak_explicit(arrival_ns, &seen_ns, next_ns,
                                                  memory_order_relaxed, memory_order_relaxed));
}

uint64_t gcra_remaining(uint64_t arrival_ns, uint64_t now_ns, uint64_t limit, uint64_t period_ns,
                        uint64_t *reset_ns)
{
    uint64_t owed_ns = arrival_ns > now_ns ? arrival_ns - now_ns : 0;

    *reset_ns = owed_ns;
    if (owed_ns >= period_ns)
        return 0;
    return (uint64_t)((__uint128_t)(period_ns - owed_ns) * limit / period_ns);
}
