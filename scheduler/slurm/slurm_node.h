#ifndef PENSTOCK_SCHEDULER_SLURM_NODE_H
#define PENSTOCK_SCHEDULER_SLURM_NODE_H

#include <jansson.h>

#include "slurm_member.h"

/* Nodes of an answer as slices. */

/* What jobs hold, made from the list of jobs. All owned. */
struct slurm_holds {
    json_t *milli, *mib;    /* ours: slice id -> how much */
    json_t *cores;          /* ours: node -> cores */
    json_t *foreign_shards; /* others': node -> shards; nodes tell a wrong number of them */
};

NODISCARD status slurm_holds_init(struct slurm_holds *holds);
void slurm_holds_deinit(struct slurm_holds *holds);
/* Adds one job, if it holds anything. STATUS_OK, STATUS_NO_MEMORY. */
NODISCARD status slurm_holds_add(struct slurm_holds *holds,
                                 const struct slurm_member_config *config, const json_t *job);

enum slice_health slurm_node_health(const json_t *node);

/* Tells the slices of one node; none if it is not of the config's partition, or no node. Texts are borrowed for the call. */
void slurm_node_report(const json_t *node, const struct slurm_member_config *config,
                       const struct slurm_holds *holds,
                       void (*slice)(void *context, const struct slice_report *report),
                       void *context);

#endif
