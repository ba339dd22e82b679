#ifndef PENSTOCK_EDGE_LIFE_H
#define PENSTOCK_EDGE_LIFE_H

#include <signal.h>

#include "edge.h"
#include "gateway.h"

/* What the main thread does while a gateway lives: waits for signals, and does what they ask. */

/* Blocks the signals for this thread and those that it starts. */
void life_signals_block(sigset_t *signals);

/* All runs. Takes the place of the gateway before, where there is one; serves until the end is asked for, or until another gateway has
 * taken over; drains. `successor` as gateway_run has it. STATUS_OK; STATUS_IO with a note: the place could not be taken. */
NODISCARD status life_run(struct edge *edge, const struct gateway_options *options,
                          const sigset_t *signals, pid_t *successor, struct error_note *note);

#endif
