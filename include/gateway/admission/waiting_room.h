#ifndef PENSTOCK_ADMISSION_WAITING_ROOM_H
#define PENSTOCK_ADMISSION_WAITING_ROOM_H

#include <stdbool.h>
#include <stdint.h>

#include "caller.h"
#include "rank_tree.h"
#include "request_usage.h"
#include "status.h"

/* The requests that wait for one model, and the order in which they are served:
 *
 *   1. by priority: a lower band goes first, always;
 *   2. inside a band fairly: organisations against each other, in each its teams, in each its keys,
 *      by the tokens that they have been served over their weight;
 *   3. of one key: the earliest deadline, then the order of arrival.
 *
 * Fairness is that of Sheng et al. 2024 ("Fairness in Serving Large Language Models", OSDI,
 * algorithm 2: the virtual token counter), at each level of the tree: who has the smallest counter
 * is next, a counter grows by what a request costs over the weight, and whoever comes back after
 * an absence is lifted to the smallest counter of those that wait, so that nobody saves up. With
 * the paper's prediction of lengths: a request is charged when it is taken, by what it is expected to
 * cost (an answer is expected to be as long as its key's lately were), for more as it is
 * delivered, and what was too much is given back when it ends. The cost is prompt_weight for each
 * uncached prompt token and output_weight for each token generated.
 *
 * Bounded by requests and by prompt tokens. When it is full, a newcomer takes the place of the last
 * request of whoever waits with the most (over weight), in the lowest band; unless that is the
 * newcomer itself, which is refused. So a flood fills the room and pushes out only itself.
 *
 * Pure: time is an argument. One owner at a time; tickets are the caller's memory and stay where
 * they are from enter to leave. */

typedef struct waiting_room waiting_room;

/* Bands of priority: -8 (first) to 8 (last). What is beyond counts as the nearest. */
#define WAITING_ROOM_BAND_HALF  8
#define WAITING_ROOM_BAND_COUNT (2 * WAITING_ROOM_BAND_HALF + 1)

struct waiting_room_policy {
    uint32_t requests_max;
    uint64_t tokens_max; /* of the prompts that wait; one that is larger may wait alone */
    double prompt_weight, output_weight;
};

struct admission_request {
    const struct caller *caller;           /* borrowed until leave */
    int32_t priority;                      /* what it asks for; the caller's limit is applied */
    uint32_t prompt_tokens, output_tokens; /* as far as can be told */
    uint64_t deadline_ns;                  /* by which it should be served; for the order only */
};

enum ticket_state {
    TICKET_OUT,     /* not in the room, nor served through it */
    TICKET_WAITING, /* in the room */
    TICKET_TAKEN    /* is being served */
};

struct room_flow;

/* All private but the first three; begins as zero. */
struct waiting_ticket {
    enum ticket_state state;
    int32_t band;     /* -WAITING_ROOM_BAND_HALF.. */
    uint32_t tokens;  /* of its prompt, as expected */
    uint64_t charged; /* cost */
    struct rank_node node;
    struct room_flow *flow;      /* NULL: none yet */
    struct waiting_ticket *next; /* pushed out with it */
};

NODISCARD status waiting_room_create(const struct waiting_room_policy *policy,
                                     waiting_room **out); /* STATUS_NO_MEMORY */
/* Tickets that are still in it must not be used any more. Accepts NULL. */
void waiting_room_destroy(waiting_room *room);
void waiting_room_set_policy(waiting_room *room, const struct waiting_room_policy *policy);

/* The band that a request gets. */
int32_t waiting_room_band(const struct admission_request *request);

/* Lets a request wait. `pushed_out`, whatever is returned: the tickets that had to go for it, linked
 * by next and in state OUT; NULL: none. STATUS_FULL: no place for it. STATUS_NO_MEMORY. */
NODISCARD status waiting_room_enter(waiting_room *room, struct waiting_ticket *ticket,
                                    const struct admission_request *request,
                                    struct waiting_ticket **pushed_out);

/* The next one, charged and TAKEN; NULL: nobody waits. With `is_for_newcomers`, the next of a key that has
 * none TAKEN. */
struct waiting_ticket *waiting_room_take(waiting_room *room, bool is_for_newcomers);

/* The same, of those keys whose first request may be taken: the others are passed. */
typedef bool waiting_ticket_test(const struct waiting_ticket *ticket, const void *context);
struct waiting_ticket *waiting_room_take_if(waiting_room *room, bool is_for_newcomers,
                                            waiting_ticket_test *may, const void *context);

/* The end of one that waits (its client is gone), or of one that was taken: `usage` corrects its
 * charge, NULL or not known: the charge stays. */
void waiting_room_leave(waiting_room *room, struct waiting_ticket *ticket,
                        const struct request_usage *usage);

/* One that was taken has had so much delivered: its charge becomes what that costs, with the output that `request` expects
 * where there is less yet. */
void waiting_room_deliver(waiting_room *room, struct waiting_ticket *ticket,
                          const struct admission_request *request,
                          const struct request_usage *usage);

/* Tokens of the answers that the request's key has lately had; 0: not known. */
uint32_t waiting_room_output_tokens(const waiting_room *room,
                                    const struct admission_request *request);

/* Charges a request that was served past the room, while others wait in it. */
void waiting_room_charge(waiting_room *room, const struct admission_request *request,
                         uint64_t cost);

/* The cost of a request by what it has used. */
uint64_t waiting_room_cost(const waiting_room *room, uint32_t prompt_tokens,
                           uint32_t output_tokens);

/* How many requests will be served before this one, and their cost, if nothing else comes and
 * everybody's requests cost about the same: a flow with as much weight has as many of its requests
 * served meanwhile, one with double weight twice as many. For one that waits. */
struct waiting_place {
    uint32_t ahead;
    double cost;
};
struct waiting_place waiting_room_place(const waiting_room *room,
                                        const struct waiting_ticket *ticket);

uint32_t waiting_room_count(const waiting_room *room);
uint64_t waiting_room_tokens(const waiting_room *room);
uint32_t waiting_room_band_count(const waiting_room *room, int32_t band);

#endif
