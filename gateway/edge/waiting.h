#ifndef PENSTOCK_EDGE_WAITING_H
#define PENSTOCK_EDGE_WAITING_H

#include "edge.h"

/* Requests without a ready replica stand in a list of their loop, oldest first, and are woken by
 * the control thread when any replica changes its state. Loop thread; part of struct proxy. */

struct waiting {
    struct proxy *next, **link; /* in loop->waiting; link NULL: not in it */
    struct http_timer timer;
    struct http_timer head_timer; /* an event stream gets its head and a comment, if nothing came */
    uint64_t deadline_ns;
};

/* Lets a request wait until a replica is ready or its time is over; refuses it where there is no
 * hope or no place (then the proxy is dead). */
void waiting_enter(struct proxy *proxy, uint64_t now_ns);

/* Out of the list, if it is in it. */
void waiting_leave(struct proxy *proxy);

#endif
