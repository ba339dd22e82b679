#ifndef PENSTOCK_CONFIG_ROLLOUT_SETTINGS_H
#define PENSTOCK_CONFIG_ROLLOUT_SETTINGS_H

#include <stdint.h>

/* models[].rollout: how another version of a model takes the place of the one that runs (scheduler/rollout.c). */
struct config_rollout {
    int kind; /* enum rollout_kind */
    int64_t surge, unavailable_max;
    double canary_share;
    uint64_t canary_ns, canary_ns_max, watch_ns, progress_ns;
    int64_t failures_max, requests_min;
    double error_rate_max, slow_rate_max;
};

#endif
