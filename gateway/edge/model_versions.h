#ifndef PENSTOCK_EDGE_MODEL_VERSIONS_H
#define PENSTOCK_EDGE_MODEL_VERSIONS_H

#include <pthread.h>
#include <stdatomic.h>

#include "breaker.h"
#include "config.h"
#include "rollout.h"

/* The versions of a model: with which settings its replicas are started, which of them get requests, and how these ended. A version
 * is the model's row of the config as one reload had it, and a number from 1 on.
 *
 *   main     a reload says which version is wanted, and with which policy; keeps the configs       (version_settings.h)
 *   control  starts and ends replicas by it, and reports                                           (rollout_control.h)
 *   loops    send requests by the share, and count how they ended
 *
 * What main and control tell each other is behind a lock that nobody holds for long; loops only use the atomics. */

/* The proven one, the new one, one that a reload wants before the control thread has heard of it, and one on its way out. */
#define MODEL_VERSIONS_KEPT 4u

struct model_version {
    uint32_t number;       /* 0: the place is free */
    struct config *config; /* owned by main's side; that of version 1 is the first config */
};

/* What the control thread last said. */
struct version_report {
    enum rollout_phase phase;
    enum rollout_result result;
    uint32_t stable, fresh, result_version;
    uint32_t heard;                  /* the wanted version that it knows of */
    uint32_t fresh_count, old_count; /* replicas that are wanted */
    double fresh_share;
    uint64_t since_ns;
    struct rollout_outcomes outcomes, outcomes_old;
    uint32_t ended_count; /* rollouts that have come to their end */
    char text[320];
};

struct version_counts {
    _Atomic uint64_t requests, failed, streams, slow;
};

struct model_versions {
    pthread_mutex_t lock; /* of what follows */
    struct model_version items[MODEL_VERSIONS_KEPT];
    uint32_t wanted;
    struct rollout_policy policy;
    struct version_report report;

    /* Main's own */
    uint32_t newest; /* the version that the newest text asks for */
    uint32_t last;   /* number given */
    uint32_t settled_count;
    _Atomic bool has_texts; /* each version has a file in the run directory */

    /* Written by the control thread, read by loops, each alone (relaxed) */
    _Atomic uint32_t stable, fresh; /* equal: there is one version */
    _Atomic double fresh_share;     /* below 0: as the load says */
    struct version_counts stable_counts, fresh_counts;
    uint64_t first_token_ns, inter_token_ns; /* what a stream is slow against; 0: no matter */
};

/* Version 1, with the first config. Thread: main. */
void model_versions_init(struct model_versions *versions, struct config *first,
                         const struct config_model *row);
void model_versions_deinit(struct model_versions *versions);

struct rollout_policy model_versions_policy(const struct config_rollout *row);

/* The config that has this version's settings; NULL: there is none any more. It lives as long as the version is the stable or the new one
 * of the report, or is wanted. Any thread. */
const struct config *model_versions_config(struct model_versions *versions, uint32_t number);
/* A copy. Any thread. */
struct version_report model_versions_report(struct model_versions *versions);

/* --- loops --- */

/* A request has ended at a replica of the version. */
void model_versions_count(struct model_versions *versions, uint32_t number,
                          enum breaker_outcome outcome);
/* A stream has: the time to its first event, and the mean time between events (0: there was one). */
void model_versions_count_stream(struct model_versions *versions, uint32_t number,
                                 uint64_t first_ns, uint64_t between_ns);

#endif
