#ifndef PENSTOCK_TOP_MINUTE_H
#define PENSTOCK_TOP_MINUTE_H

#include <stdint.h>

#include "facts.h"

/* What the models did in the last minute, of the history's rows of whole minutes: all of the minute that has begun, and so
 * much of the one before as makes sixty seconds. Pure. */

#define TIME_STATES 8

struct time_state {
    const char *key, *label;
    char letter;
    int foreground, background; /* of the terminal's 256 colours; as the dashboard's */
};
extern const struct time_state time_states[TIME_STATES];

/* NAN: not known. */
struct minute {
    const char *name;           /* the model's, borrowed from the facts; "": all models */
    uint32_t replicas, ready;   /* now */
    double under_way;           /* requests at the replicas now */
    double shares[TIME_STATES]; /* of the replicas' time; all 0 where there was none */
    double requests, failed, output_tokens, prompt_tokens, cost; /* a second */
    double first_p50, first_p99, between_p50;                    /* seconds */
    double waiting, kv_usage;
};

struct minutes {
    struct minute total;
    struct minute *models; /* owned; in the order of the config */
    uint32_t count;
};

/* False: no memory. `facts` must outlive it. */
bool minutes_init(struct minutes *minutes, const struct top_facts *facts);
void minutes_deinit(struct minutes *minutes);
/* The model of this name; the first one if there is none (any longer), or the name is NULL. Less than count, but where that is 0. */
uint32_t minutes_find(const struct minutes *minutes, const char *name);

#endif
