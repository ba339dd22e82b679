#ifndef PENSTOCK_SCHEDULER_ROUTER_H
#define PENSTOCK_SCHEDULER_ROUTER_H

#include <stdbool.h>
#include <stdint.h>

/* Picks the replica for a request. Pure: what it knows comes in as candidates, so the same code
 * runs in the gateway, in tests and in a simulation. scheduler/router.c tells how the policies weigh. */

enum router_policy {
    ROUTER_PREDICTED_TTFT,  /* where the first token should come first */
    ROUTER_LEAST_LOAD,      /* the fewest requests */
    ROUTER_ROUND_ROBIN,     /* one after the other */
    ROUTER_CONSISTENT_HASH, /* where the group's number says, with bounded load */
    ROUTER_POLICY_COUNT
};

struct router_candidate {
    bool is_ready;
    uint32_t outstanding; /* requests sent to it that have not ended */
    /* The rest is for ROUTER_PREDICTED_TTFT; all 0 where nothing is known of a replica. */
    uint32_t cached_tokens; /* of this request's prompt, in its cache */
    double queued_ns;       /* until the prompts before this one are read */
    double prefill_ns; /* what a prompt's token takes beside what runs there now; 0: not known */
    double step_ns;    /* what a step takes; 0: not known, or none runs */
};

struct router_request {
    uint32_t prompt_tokens; /* as well as it is known */
    bool has_group;         /* of a session or of others with the same beginning */
    uint64_t group;         /* any number */
    uint32_t turn;          /* counted up by the caller: equal candidates take turns */
};

#define ROUTER_NONE UINT32_MAX

/* ROUTER_PREDICTED_TTFT weighs every candidate where there are at most ROUTER_LOOK_MAX; of more a sample by chance (from `turn`: the
 * same call gives the same choice) and those with the most of the prompt in their caches. */
#define ROUTER_LOOK_MAX 64u
#define ROUTER_SAMPLE   32u
#define ROUTER_CACHES   8u

/* The candidate to send the request to; ROUTER_NONE when none is ready. */
uint32_t router_choose(enum router_policy policy, const struct router_candidate *candidates,
                       uint32_t count, const struct router_request *request);

/* When the first token should come, from now: the step under way, the prompts before it, and what the cache
 * lacks of its own. `prefill_ns` stands in where the candidate's own is not known. */
double router_predicted_ttft_ns(const struct router_candidate *candidate,
                                const struct router_request *request, double prefill_ns);

/* The ready candidate with the fewest outstanding requests, `avoid` (an index, or ROUTER_NONE) only
 * when there is no other; ROUTER_NONE when none is ready. Equal ones take turns by `turn`: always taking the
 * first would send every request of a quiet gateway to one replica. Least outstanding requests: a replica that is
 * slow for any reason keeps its requests longer and so gets fewer, with no measurement at all. */
uint32_t router_pick(const struct router_candidate *candidates, uint32_t count, uint32_t turn,
                     uint32_t avoid);

/* How much busier than the idlest a group's replica may be and still be taken: reading a prompt anew
 * costs more than waiting beside so few. */
#define ROUTER_NEAR_SLACK 4u

/* Bounded load (Mirrokni, Thorup and Zadimoghaddam 2018): the most requests that a replica may have for the sake of a
 * group: a quarter more than the average would be with this one, rounded up. */
uint32_t router_load_bound(const struct router_candidate *candidates, uint32_t count);

/* The i-th version of a model with `count` versions by the weights, for a request with this number: the same for the same
 * number, each version for its share of the numbers. Weights may be 0, not all. */
uint32_t router_pick_version(const uint32_t *weights, uint32_t count, uint64_t number);

#endif
