#ifndef PENSTOCK_GATEWAY_HTTP_TIMER_WHEEL_H
#define PENSTOCK_GATEWAY_HTTP_TIMER_WHEEL_H

#include <stdint.h>

#include "http_server.h"

/* The timers of one loop: a hierarchical wheel (Varghese and Lauck 1987, scheme 7) of 1 ms ticks.
 * Setting and cancelling are O(1), which matters because every exchange and event stream moves its
 * timer often. Time comes in as a parameter and is monotonic: the library's own timers live on
 * gettimeofday and are used for nothing of ours. */

#define WHEEL_LEVEL_COUNT 6u /* 64^6 ms: two years; later deadlines are moved to there */
#define WHEEL_SLOT_COUNT  64u

struct timer_wheel {
    uint64_t tick;                        /* all slots up to this one are empty */
    uint64_t occupied[WHEEL_LEVEL_COUNT]; /* a bit a slot; may be stale after a cancel */
    struct http_timer *slots[WHEEL_LEVEL_COUNT][WHEEL_SLOT_COUNT];
    struct http_timer *due;
};

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now_ns);
void timer_wheel_set(struct timer_wheel *wheel, struct http_timer *timer, uint64_t deadline_ns);

/* When to call timer_wheel_run next (0: now, UINT64_MAX: nothing is set); may be early, never late.
 */
uint64_t timer_wheel_next_ns(const struct timer_wheel *wheel);

/* Runs what is due. A timer that sets itself again in its callback runs in a later call, even with
 * a past deadline. */
void timer_wheel_run(struct timer_wheel *wheel, uint64_t now_ns, http_loop *loop);

#endif
