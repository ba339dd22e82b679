#ifndef PENSTOCK_SCHEDULER_ROUTER_H
#define PENSTOCK_SCHEDULER_ROUTER_H

#include <stdbool.h>
#include <stdint.h>

/* Picks the replica for a request. Pure: what it knows comes in as candidates, so the same code
 * runs in the gateway, in tests and in a simulation. */

struct router_candidate {
    bool is_ready;
    uint32_t outstanding; /* requests sent to it that have not ended */
};

#define ROUTER_NONE UINT32_MAX

/* The ready candidate with the fewest outstanding requests, `avoid` (an index, or ROUTER_NONE) only
 * when there is no other; ROUTER_NONE when none is ready. Equal ones take turns by `turn`, a number
 * that the caller counts up: always taking the first would send every request of a quiet gateway to
 * one replica. Least outstanding requests: a replica that is slow for any reason keeps its requests
 * longer and so gets fewer, with no measurement at all. */
uint32_t router_pick(const struct router_candidate *candidates, uint32_t count, uint32_t turn,
                     uint32_t avoid);

/* How much busier than the idlest a group's replica may be and still be taken: reading a prompt anew
 * costs more than waiting beside so few. */
#define ROUTER_NEAR_SLACK 4u

/* For a request of a group that has its prompt's beginning in common (`group`: any number): the ready
 * candidate that the group agrees on, so that it is computed and kept once. Which one that is follows
 * from the numbers alone, and changes for few groups when a replica comes or goes (rendezvous hashing,
 * Thaler and Ravishankar 1998). Where it has more than ROUTER_NEAR_SLACK outstanding beyond the
 * fewest, router_pick's choice is taken instead. ROUTER_NONE when none is ready. */
uint32_t router_pick_near(const struct router_candidate *candidates, uint32_t count, uint32_t turn,
                          uint64_t group);

#endif
