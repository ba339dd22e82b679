#ifndef PENSTOCK_CONFIG_OBSERVABILITY_SETTINGS_H
#define PENSTOCK_CONFIG_OBSERVABILITY_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "settings.h"
#include "tracing_settings.h"

/* observability: what is kept and told of what runs, beside logs and metrics. A struct for each of its sections, whose rows are in
 * gateway/config/config_<section>_table.c. */

struct config_requests {  /* what has happened to requests, and what replicas have done last */
    int64_t kept;         /* requests that have ended; 0: none */
    int64_t replica_kept; /* the same in each replica */
    int64_t flight_steps; /* of a replica's flight recorder; 0: it has none */
    int64_t flights_kept; /* recordings of replicas that have ended */
};

struct config_history { /* what models and replicas have done, by minutes and hours */
    const char *file;   /* "": beside state.database, else in memory */
    uint64_t keep_minutes_ns, keep_hours_ns, interval_ns;
};

struct config_anomalies { /* what is unlike the same hour of the weeks before */
    uint64_t window_ns;
    double threshold;
    int64_t requests_min;
};

struct config_observability {
    struct config_tracing tracing;
    struct config_requests requests;
    struct config_history history;
    struct config_anomalies anomalies;
};

#endif
