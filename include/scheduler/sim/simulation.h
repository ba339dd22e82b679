#ifndef PENSTOCK_SCHEDULER_SIMULATION_H
#define PENSTOCK_SCHEDULER_SIMULATION_H

#include <stdbool.h>
#include <stdint.h>

#include "status.h"
#include "trace.h"

/* A day of a whole pool in minutes: the server's own autoscaler, placement and router on a virtual clock, with clusters, traffic
 * and failures made from a seed. The same seed gives the same day to the last request, whatever rule scales, on any machine with the
 * same maths library. scheduler/sim/simulation.c tells what is modelled and what is not. */

enum simulation_rule {
    SIMULATION_PENSTOCK,    /* scheduler/autoscaler.c */
    SIMULATION_QUEUE,       /* as the HorizontalPodAutoscaler on requests in service and waiting */
    SIMULATION_CONCURRENCY, /* as Knative's autoscaler */
    SIMULATION_STATIC, /* as many as the busiest hour of the two weeks before needed, and a quarter */
    SIMULATION_CLAIRVOYANT, /* knows the day: the fewest that carry it, started in time */
    SIMULATION_RULE_COUNT
};
const char *simulation_rule_name(enum simulation_rule rule);

struct simulation_config {
    uint64_t seed;
    uint32_t clusters;           /* 1..1000 */
    uint32_t slices_per_cluster; /* 4..1000 */
    uint32_t models;             /* 1..1000 */
    uint32_t hours;              /* 1..168, from Monday 00:00 */
    uint32_t begin_hour;         /* of the week, 0..167 */
    double load;  /* share of the slices that the busiest hour needs on average, 0.05..0.95 */
    bool is_calm; /* nothing fails and no spot slice is taken back */
    /* Borrowed; NULL: traffic is made from the seed. With one it has the models, and load is not looked at; nothing is known of the
     * weeks before, so that forecasts begin with nothing and the static plan is that of the trace's own busiest hour. */
    const struct trace *trace;
};

#define SIMULATION_LATENCY_BUCKETS 64u

struct simulation_report {
    uint64_t requests, met, refused,
        continued;                   /* met: within the service level; continued: after a loss */
    uint64_t late_ttft, late_tokens; /* why not met; a request may be both */
    double worst_model_met;          /* share, of models with at least 10,000 requests */
    uint64_t
        ttft_ms_below[SIMULATION_LATENCY_BUCKETS]; /* requests by bucket: see simulation_ttft_ms */
    double slice_hours, starting_hours,
        draining_hours;   /* paid; the latter two are parts of the first */
    double money;         /* of the ledger's unit */
    double planned_hours; /* what the clairvoyant plan needs, were nothing to fail or to drain */
    double replicas_mean;
    uint32_t replicas_most, slices_most;
    uint64_t starts, stops, lost, spot_notices;
    /* What failed: nodes alone, whole clusters, whole zones; and how often most of a spot cluster was taken back. */
    uint32_t node_losses, cluster_losses, zone_losses, spot_waves;
    uint64_t placements, placement_waits; /* that did not fit at once */
    double place_wait_s_most;             /* until placed */
    uint32_t zero_starts;                 /* from zero, for a held request */
    /* Of this machine, not of the virtual clock. */
    double placement_us_mean, placement_us_most, decision_us_mean, decision_us_most, wall_s;
};

/* STATUS_OK; STATUS_INVALID: a field out of range, `note` says which. The two below check by themselves. */
NODISCARD status simulation_check(const struct simulation_config *config, struct error_note *note);

/* STATUS_OK; STATUS_INVALID as above, or a trace asks what no replica can do; STATUS_NO_MEMORY. */
NODISCARD status simulation_run(const struct simulation_config *config, enum simulation_rule rule,
                                struct simulation_report *report, struct error_note *note);

/* The time to first token that a share (0..1) of requests did not exceed, in milliseconds, to the width of a bucket (a quarter). */
double simulation_ttft_ms(const struct simulation_report *report, double share);

/* --- sharing --- */

/* Tenants and gangs on the same clusters, without requests: four tenants that are guaranteed a fifth of the slices each ask for more and
 * less than that by turns, the first always for more than there is, until `load` of the slices is taken; a fifth tenant asks for gangs of
 * eight on one node, within a guarantee of a tenth. What is borrowed is reclaimed by preemption, and others are
 * moved aside for gangs. Replicas live for a while and go. */
struct simulation_sharing {
    uint32_t gangs, gangs_placed;
    double gang_wait_s_mean, gang_wait_s_p99, gang_wait_s_most; /* of those placed */
    double gang_oldest_s;                                       /* that still waits at the end */
    double load_mean; /* share of the slices that was taken */
    double
        below_s_most; /* the longest time that a tenant had less than its guarantee while it asked for more */
    double
        reclaim_s; /* what it should not exceed: least run of a victim, its drain, and a round before and after */
    uint64_t placements, preemptions, moves;
    uint32_t rounds;
    double round_us_mean, round_us_most, wall_s; /* of this machine */
    bool is_consistent;                          /* the pool's book, at the end */
};

/* Of `config`, models and the hour it begins at are not looked at. Statuses as simulation_run. */
NODISCARD status simulation_share(const struct simulation_config *config,
                                  struct simulation_sharing *sharing, struct error_note *note);

#endif
