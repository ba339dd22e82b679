#ifndef PENSTOCK_ENGINE_BATCH_QUEUE_GATE_H
#define PENSTOCK_ENGINE_BATCH_QUEUE_GATE_H

#include <stdatomic.h>
#include <stdint.h>

#include "status.h"

/* The bound of the waiting queue, in requests and in prompt tokens. Any thread asks at the door before it builds
 * anything; the step thread counts requests out when they start to run. Overload is thus answered at once, by the thread
 * that brought the request.
 *
 * A waiting request that a free slot is there for does not count against `requests_max`: a burst into an idle
 * engine is not a queue. A request larger than `tokens_max` is let in when nothing waits, so that no prompt which fits
 * the engine is refused for ever. */
struct queue_gate {
    _Atomic uint32_t requests;   /* waiting now */
    _Atomic uint64_t tokens;     /* their prompt tokens */
    _Atomic uint32_t free_slots; /* written by the step thread */
    uint32_t requests_max;       /* fixed */
    uint64_t tokens_max;         /* fixed */
};

void queue_gate_init(struct queue_gate *gate, uint32_t requests_max, uint64_t tokens_max,
                     uint32_t slots);

/* STATUS_OK, or STATUS_FULL (nothing counted). Any thread. */
NODISCARD status queue_gate_enter(struct queue_gate *gate, uint32_t tokens);
/* The same without the bounds, for what was let in once and waits again (preemption). Step thread. */
void queue_gate_reenter(struct queue_gate *gate, uint32_t tokens);
/* Takes back one enter or reenter. Any thread. */
void queue_gate_leave(struct queue_gate *gate, uint32_t tokens);
/* Step thread. */
void queue_gate_set_free_slots(struct queue_gate *gate, uint32_t slots);

#endif
