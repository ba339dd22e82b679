#ifndef PENSTOCK_STATE_LIMIT_STORE_H
#define PENSTOCK_STATE_LIMIT_STORE_H

#include <stdint.h>

#include "config.h"
#include "status.h"

/* Limits that gateways share, in Redis: for each, three rates as virtual arrival times (gateway/identity/gcra.h) by Redis' clock,
 * and how many requests each gateway runs, for as long as it lives. A gateway adds what it has used since it was here last and
 * is told what all have used; one script does both at once. One thread at a time. */
typedef struct limit_store limit_store;

#define LIMIT_RATES      3u
#define LIMIT_NAME_BYTES 16u

struct limit_exchange {
    uint8_t name[LIMIT_NAME_BYTES];
    int64_t used_us[LIMIT_RATES]; /* time that what was used takes to earn; below 0: given back */
    /* What is owed at least: what this gateway knows of, for a Redis that has forgotten. 0: whatever is there. */
    int64_t owed_min_us[LIMIT_RATES];
    int64_t running; /* here */
    /* Filled in: what is owed by all, and runs elsewhere. */
    int64_t owed_us[LIMIT_RATES], running_elsewhere;
};

/* Nothing is connected yet. STATUS_OK; STATUS_INVALID, STATUS_IO (the password) with a note; STATUS_NO_MEMORY. */
NODISCARD status limit_store_open(const struct config_state *config, limit_store **out,
                                  struct error_note *note);
void limit_store_close(limit_store *store); /* accepts NULL */

/* Whether the Redis of the config answers and lets us in. Statuses as limit_store_open and limit_store_greet. */
NODISCARD status limit_store_check(const struct config_state *config, struct error_note *note);

/* Connects where that is needed. Counts this gateway among those that are there for as long as a lease, and them. STATUS_OK; STATUS_IO
 * with a note. */
NODISCARD status limit_store_greet(limit_store *store, uint32_t *gateway_count,
                                   struct error_note *note);
/* Does not count any more, nor what it runs. */
void limit_store_leave(limit_store *store);

/* Connections so far: after another one Redis may have forgotten. */
uint32_t limit_store_generation(const limit_store *store);

/* All of them in one round trip. STATUS_OK; STATUS_IO with a note: only the first `done` are known to have been done. */
NODISCARD status limit_store_exchange(limit_store *store, struct limit_exchange *items,
                                      uint32_t count, uint32_t *done, struct error_note *note);

#endif
