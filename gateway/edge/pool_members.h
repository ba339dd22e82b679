#ifndef PENSTOCK_EDGE_POOL_MEMBERS_H
#define PENSTOCK_EDGE_POOL_MEMBERS_H

#include "arena.h"
#include "config.h"
#include "metrics.h"
#include "replica_fleet.h"

/* The members of the pool as the config names them: their drivers. */

struct pool_members {
    uint32_t count;
    const struct config_member
        *rows;          /* [count], by the pool's numbers; in the first config's memory */
    uint32_t local;     /* the number of this machine; POOL_MEMBER_NONE */
    void *local_driver; /* for local_member.h; lives as long as the fleet */
    struct device_metrics *metrics; /* owned */
    arena *memory;                  /* owned: what drivers borrow */
};

/* Makes all drivers and adds them to the fleet, which begins to follow them. STATUS_OK; STATUS_INVALID, STATUS_IO, STATUS_NO_MEMORY with a note. */
NODISCARD status pool_members_create(struct pool_members *members, const struct config *config,
                                     struct replica_fleet *fleet, metrics_registry *registry,
                                     struct error_note *note);
/* After the fleet. */
void pool_members_deinit(struct pool_members *members);

#endif
