#ifndef PENSTOCK_GATEWAY_SERVING_REPLICA_LIFE_H
#define PENSTOCK_GATEWAY_SERVING_REPLICA_LIFE_H

#include "replica.h"
#include "serving.h"

/* The replica's life, as serving_run leads it. Thread: main, but replica_load, which a thread of
 * its own runs so that signals are heard meanwhile. */

/* Binds and answers probes; phase LOADING. */
NODISCARD status replica_open(const struct config *config, const struct config_model *model,
                              const struct serving_options *options, struct replica **out,
                              struct error_note *note);
/* Opens the engine and starts the workers; the caller then sets the phase. */
NODISCARD status replica_load(struct replica *replica, struct error_note *note);
/* Loads the adapters of the config, and those that clients had loaded, of which one that cannot be is only logged; a
 * part of replica_load. */
NODISCARD status replica_load_adapters(struct replica *replica, struct error_note *note);
/* Unloads what only `before` has and loads what only `after` has; what fails is logged. READY; not with an encoder. */
void replica_change_adapters(struct replica *replica, const struct config_model *before,
                             const struct config_model *after);
/* Opens the flight recorder, as observability.requests says; without one the replica runs all the same (flight.c). Before the engine. */
void replica_open_flight(struct replica *replica, const char *listen);
/* engine_options.on_step; `context`: the replica. */
void replica_note_step(void *context, const struct engine_step *step);
void replica_set_phase(struct replica *replica, enum replica_phase phase);
uint32_t replica_job_count(const struct replica *replica);
/* Ends what is left with an error and frees everything. */
void replica_close(struct replica *replica);

#endif
