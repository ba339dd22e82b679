#ifndef PENSTOCK_ENGINE_STEP_FLIGHT_H
#define PENSTOCK_ENGINE_STEP_FLIGHT_H

#include "engine_private.h"

/* Steps that have been launched and whose tokens are not known yet, oldest first: none between turns where the host computes,
 * one where a device is kept busy, two for a moment. Thread: step, but for the making. */

/* STATUS_NO_MEMORY; what is there may be freed. */
NODISCARD status step_flights_open(struct step_flights *flights, uint32_t sequence_count_max);
void step_flights_close(struct step_flights *flights); /* of a zeroed one too */

/* The step of this plan, with copies of its entries. There must be room. */
struct step_flight *step_flights_add(engine *e, const struct step_plan *plan);
/* NULL: none is under way. */
struct step_flight *step_flights_oldest(engine *e);
struct step_flight *step_flights_newest(engine *e);
/* Takes the oldest out. Good until another is added; then step_flight_finish. */
struct step_flight *step_flights_pop(engine *e);
/* Lets go of what the step needed while it ran. */
void step_flight_finish(struct step_flight *flight);

/* The sequence has ended: what steps under way compute for it is looked at by nobody. Its blocks may be given to others at once,
 * for whoever writes to them does so in a later step of the same queue. */
void step_flights_forget(engine *e, const struct sequence *s);
/* The device has failed: nothing is waited for any more. */
void step_flights_abandon(engine *e);

#endif
