#ifndef PENSTOCK_ENGINE_SLEEP_H
#define PENSTOCK_ENGINE_SLEEP_H

#include "engine_private.h"

/* The step thread's side of engine_sleep and engine_wake (sleep.c). */

/* There is an order that nobody has carried out. */
bool sleep_is_ordered(const engine *e);
/* Carries the order out, if there is one; true: sleep_tell is to be called once the stats tell of it. */
bool sleep_obey(engine *e);
/* Whoever gave the order may go on. */
void sleep_tell(engine *e);

/* The door: a request that has entered the queue gate asks whether it may go in. Any thread. */
bool sleep_keeps_out(engine *e);

#endif
