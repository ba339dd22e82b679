#ifndef PENSTOCK_SCHEDULER_RETRY_BUDGET_H
#define PENSTOCK_SCHEDULER_RETRY_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* How many requests may be sent again: each request that comes earns a share of a retry, so that
 * what is sent again stays that share of the traffic, whatever breaks; a burst is saved up, for a
 * replica that dies with all its requests. Without a bound, requests that fail everywhere would
 * multiply the load on what is left. One word, no lock; any thread. */
struct retry_budget {
    _Atomic int64_t credit; /* thousandths of retries */
};

/* Full at first. */
void retry_budget_init(struct retry_budget *budget, uint32_t burst);

/* A request has come, with `share` (0..1) of a retry; no more than `burst` are saved up. */
void retry_budget_earn(struct retry_budget *budget, double share, uint32_t burst);

/* Takes one; false: there is none. */
bool retry_budget_spend(struct retry_budget *budget);

#endif
