#ifndef PENSTOCK_SCHEDULER_BREAKER_H
#define PENSTOCK_SCHEDULER_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

/* A circuit breaker for one replica or upstream, as a pure state machine:
 *
 *   CLOSED --failures in a row, or too great a share of them--> OPEN --open_ns--> TRYING
 *     ^                                                          ^                   |
 *     |                                                          +--- a failure -----+
 *     +------------------- trial_count good ones in a row ---------------------------+
 *
 * OPEN, nothing is sent to it: it would cost the client the time of a failure. TRYING, one request
 * at a time is. Each time that it opens again without having closed it stays open for twice as
 * long. One owner at a time. */

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_TRYING };

struct breaker_policy {
    uint32_t failures_max;    /* in a row; 0: it never opens */
    double share_max;         /* of a window's requests that fail */
    uint32_t window_requests; /* fewer than these say nothing about a share */
    uint64_t window_ns;
    uint64_t open_ns, open_max_ns;
    uint32_t trial_count;
};

struct breaker {
    enum breaker_state state;
    uint32_t failures_in_a_row, good_in_a_row;
    uint32_t window_total, window_failed;
    uint64_t window_end_ns;
    uint64_t open_until_ns;
    uint32_t opened_count; /* since it was last closed */
    bool has_trial;        /* a request is under way while it is TRYING */
};

/* Whether a request may be sent. `is_trial`: it is the one by which the breaker tries; then breaker_end
 * must follow. */
bool breaker_begin(struct breaker *breaker, uint64_t now_ns, bool *is_trial);

enum breaker_outcome {
    BREAKER_GOOD,
    BREAKER_FAILED,
    BREAKER_UNKNOWN, /* ended for another reason: the client went */
    BREAKER_OUTCOME_COUNT
};
/* `is_trial`: as breaker_begin said. */
void breaker_end(struct breaker *breaker, const struct breaker_policy *policy,
                 enum breaker_outcome outcome, bool is_trial, uint64_t now_ns);

/* When a request could be sent: now_ns or earlier when it could now; UINT64_MAX: when one that is under
 * way has ended. */
uint64_t breaker_open_until_ns(const struct breaker *breaker);

/* Whether it has nothing to remember: closed, and no failure lately. */
bool breaker_is_calm(const struct breaker *breaker, uint64_t now_ns);

#endif
