#ifndef PENSTOCK_IDENTITY_GCRA_H
#define PENSTOCK_IDENTITY_GCRA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* A rate limit in one word, exact and without a lock: the generic cell rate algorithm (ITU-T I.371, annex A, as a virtual
 * scheduling algorithm). The word is the theoretical arrival time: when all that was taken so far will have been earned
 * back. `limit` units are earned in `period_ns`, and as many may be taken at once. The same as a bucket of `limit` tokens
 * that fills evenly, but there is nothing to refill, and a word whose time has passed says that nothing was taken.
 *
 * Any thread; times are monotonic. Amounts up to 2^53 and periods up to a day. */

/* The time that an amount takes to earn, rounded down: so that exactly `limit` units fit in, whatever the limit. */
uint64_t gcra_cost_ns(uint64_t amount, uint64_t limit, uint64_t period_ns);

/* Takes `amount` if it is there. Otherwise nothing changes, and `wait_ns` is the exact time until it will be, if nobody
 * else takes any; UINT64_MAX: it is more than the limit, and never will be. */
bool gcra_take(_Atomic uint64_t *arrival_ns, uint64_t now_ns, uint64_t amount, uint64_t limit,
               uint64_t period_ns, uint64_t *wait_ns);

/* What was taken as `taken` turns out to be `used`: less, or more than the limit, which then is earned back before anything
 * else. */
void gcra_settle(_Atomic uint64_t *arrival_ns, uint64_t taken, uint64_t used, uint64_t limit,
                 uint64_t period_ns);

/* What could be taken now, and the time until all of `limit` could. */
uint64_t gcra_remaining(uint64_t arrival_ns, uint64_t now_ns, uint64_t limit, uint64_t period_ns,
                        uint64_t *reset_ns);

#endif
