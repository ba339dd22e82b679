#ifndef PENSTOCK_EDGE_TAKEOVER_H
#define PENSTOCK_EDGE_TAKEOVER_H

#include "control.h"
#include "edge.h"
#include "gateway.h"
#include "handover.h"

/* Taking the place of a gateway that runs (handover.h): the new one's side. What the old one has is offered before anything
 * is made; what of it is of use is taken while things are made; and when all is ready, the place is taken.
 *
 * Replicas are taken over where their model stands in the config as it did, with the settings that a replica is started with, and
 * the rest of what it reads unchanged: they go on with what they do, caches and all. They are then replicas of the old
 * program until they are started again. Others are started anew beside the old ones, and serve from the moment of the change.
 *
 * Thread: main. */

struct takeover_listener {
    char address[128];
    int descriptors[HANDOVER_DESCRIPTORS_MAX];
    uint32_t count;
};

struct takeover_replica {
    char model[160], address[EDGE_ADDRESS_BYTES];
    uint32_t model_index, index;
    struct control_process process; /* descriptors -1: given to the control thread */
    bool is_adopted;
};

#define TAKEOVER_LISTENERS_MAX 2u
#define TAKEOVER_REPLICAS_MAX  4096u

struct takeover {
    int socket;
    uint32_t epoch; /* of this gateway; 1 for the first that takes over */
    int32_t keeper; /* the process that started it all, and stays; 0: none */
    bool run_directory_is_ours;
    char run_directory[96];
    struct takeover_listener listeners[TAKEOVER_LISTENERS_MAX];
    uint32_t listener_count;
    struct takeover_replica *replicas; /* owned; [replica_count] */
    uint32_t replica_count;
};

/* Whether this process was started to take over; the socket, or -1. Call it once, before other threads exist: the
 * environment is changed. */
int takeover_socket(void);

/* Reads the offer, until its end. Adapters that clients have loaded go to `edge->adapters`, for models of `config`. STATUS_OK;
 * STATUS_IO, STATUS_UNSUPPORTED (another protocol), STATUS_NO_MEMORY with a note. */
NODISCARD status takeover_open(int socket, struct edge *edge, const struct config *config,
                               struct takeover **out, struct error_note *note);
void takeover_close(struct takeover *takeover); /* accepts NULL */

/* Decides which replicas can be taken over, by the config that the old gateway runs with. */
void takeover_compare(struct takeover *takeover, const struct config *config,
                      const struct gateway_options *options);

/* The sockets of an address; NULL: the old one does not listen there. */
const struct takeover_listener *takeover_listener_find(const struct takeover *takeover,
                                                       const char *address);
/* The process of this replica; NULL: there is none, or it cannot be taken over. */
struct takeover_replica *takeover_replica_find(struct takeover *takeover, uint32_t model_index,
                                               uint32_t index);

/* Waits until all replicas are ready or have failed, and each model has one; says so; waits for the word; makes this the gateway. STATUS_OK, also when the old one
 * is gone; STATUS_AGAIN: a signal asks for the end before that; STATUS_IO: the old one has changed its mind. */
NODISCARD status takeover_finish(struct takeover *takeover, struct edge *edge,
                                 const sigset_t *signals, struct error_note *note);

#endif
