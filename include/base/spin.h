#ifndef PENSTOCK_SPIN_H
#define PENSTOCK_SPIN_H

#include "clock.h"

/* How long a thread looks for what is about to happen before it parks: longer than the serial parts of a step, shorter than a
 * scheduling tick. */
#define SPIN_NS (100 * NS_PER_US)
/* Pauses between two looks at the clock: a pause is 40 to 140 cycles, so about 1 to 3 us. */
#define SPINS_PER_CLOCK 64u

#endif
