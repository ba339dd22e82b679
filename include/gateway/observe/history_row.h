#ifndef PENSTOCK_OBSERVE_HISTORY_ROW_H
#define PENSTOCK_OBSERVE_HISTORY_ROW_H

#include "buffer.h"
#include "latency_histogram.h"
#include "replica_time.h"

/* What is kept of a model for a minute or an hour. All are sums, so that rows can be added: those of minutes to an hour's, those of two
 * gateways of which one takes the other's place to one. */
enum history_value {
    /* first the replicas' seconds, by enum replica_time */
    HISTORY_REQUESTS = TIME_COUNT, /* that ended */
    HISTORY_ERRORS,                /* of them, answered by 5xx */
    HISTORY_REFUSED,       /* of them, answered by 429: limits, budgets, full waiting rooms */
    HISTORY_PROMPT_TOKENS, /* with those found in the cache */
    HISTORY_CACHED_TOKENS,
    HISTORY_OUTPUT_TOKENS,
    HISTORY_COST,            /* in the unit of the prices */
    HISTORY_DRAFTED_TOKENS,  /* by speculation */
    HISTORY_ACCEPTED_TOKENS, /* of them right */
    HISTORY_WAITING_SECONDS, /* of requests in the gateway's and the replicas' queues */
    HISTORY_RUNNING_SECONDS, /* of requests in batches */
    HISTORY_KV_SECONDS,      /* of the replicas' caches in use: the share times the time */
    HISTORY_UP_SECONDS,      /* of replicas that have told it */
    HISTORY_VALUE_COUNT
};

struct history_row {
    double values[HISTORY_VALUE_COUNT];
    struct latency_histogram first_token, inter_token;
};

/* As columns and in JSON; of states replica_time_name. Never NULL. */
const char *history_value_name(enum history_value value);

void history_row_add(struct history_row *row, const struct history_row *other);
/* Seconds of replicas, of all states. */
double history_row_replica_seconds(const struct history_row *row);
bool history_row_is_empty(const struct history_row *row);

/* Appends what an operator should know of `seconds` of a model: how busy it was, why it was not, what may help. Plain English, one line. */
void history_words_write(const struct history_row *row, double seconds, struct buffer *out);

#endif
