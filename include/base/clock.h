#ifndef PENSTOCK_BASE_CLOCK_H
#define PENSTOCK_BASE_CLOCK_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Time comes in as a parameter wherever a decision depends on it; these two calls are the only sources. */

#define NS_PER_US     1000ull
#define NS_PER_MS     1000000ull
#define NS_PER_SECOND 1000000000ull

/* Monotonic nanoseconds; never steps. Any thread. */
uint64_t clock_now_ns(void);

/* Wall clock, milliseconds since 1970 UTC; only for what people read (`created`, logs). Any thread. */
uint64_t clock_wall_ms(void);

#ifdef __cplusplus
}
#endif

#endif
