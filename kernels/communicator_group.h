#ifndef PENSTOCK_COMMUNICATOR_GROUP_H
#define PENSTOCK_COMMUNICATOR_GROUP_H

#include <pthread.h>
#include <stdatomic.h>

#include "communicator.h"
#include "ring.h"

/* What the ranks of a group share: where they meet, and why they no longer can. */
struct communicator_group {
    uint32_t size;
    /* Ranks at the barrier, and how often all have been: the last to arrive takes the count back and moves the number on,
     * which lets the others go. */
    _Atomic uint32_t arrived, meetings;
    struct parking parking;
    _Atomic int failure; /* enum status; set once */

    pthread_mutex_t
        lock; /* of members, and of abort against close; only when ranks come, go or fail */
    communicator *members[COMMUNICATOR_RANKS_MAX]; /* borrowed; NULL: not open */

    /* Written by one rank before a meeting, read by the others behind it. */
    uint8_t id[COMMUNICATOR_ID_BYTES];
    bool has_id;
    float *buffers[COMMUNICATOR_RANKS_MAX]; /* the host's kind: what each rank brings */
};

/* Waits for all ranks. STATUS_OK, or why the group failed. What each wrote before is seen by all behind it. */
NODISCARD status communicator_group_meet(communicator_group *group);

/* communicator_host.c. STATUS_NO_MEMORY. */
NODISCARD status host_communicator_create(backend *b, uint32_t rank, uint64_t floats_max,
                                          communicator **out);

#endif
