#ifndef PENSTOCK_EDGE_WAITING_H
#define PENSTOCK_EDGE_WAITING_H

#include "admission.h"
#include "edge.h"

/* A request before it goes to a replica: first it waits for one of the model's slots, in the model's
 * waiting room, which decides the order; when it has one and yet no replica can take it (the one
 * that was free has just died), it waits for the next change of a replica's state. All requests of a
 * loop that wait for either stand in one list, oldest first. A streaming client is told meanwhile
 * where it stands. Loop thread; part of struct proxy. */

struct waiting {
    struct proxy *next, **link; /* in loop->waiting; link NULL: not in it */
    struct http_timer timer;
    struct admission_ticket ticket;
    /* given by the proxy */
    bool is_queued;   /* takes a slot; else it goes to a replica at once */
    int32_t priority; /* that it asks for */
    uint32_t output_tokens_max;

    uint64_t ready_deadline_ns;             /* by when a replica must be ready */
    uint64_t end_ns;                        /* of its patience in the room */
    uint64_t due_ns;                        /* when its first token is due; 0: no limit */
    uint64_t report_ns, report_interval_ns; /* the next report of its place; UINT64_MAX: none */
    char number[2][24];                     /* texts of headers */
};

/* Gets a slot, or waits for one, and then dispatches the proxy; refuses it when there is no hope (then
 * the proxy is dead). is_queued, priority and output_tokens_max are set. */
void waiting_start(struct proxy *proxy, const struct config *config);

/* Lets a request that has a slot wait until a replica is ready or its time is over; refuses it where
 * there is no hope (then the proxy is dead). */
void waiting_for_replica(struct proxy *proxy, uint64_t now_ns);

/* Out of the list, if it is in it. */
void waiting_leave(struct proxy *proxy);

/* Gives back its slot, or its place in the room: nothing more will be asked of a replica. What it has
 * used is in its record by now. May be called again. */
void waiting_release(struct proxy *proxy);

/* x-queue-position and x-queue-wait-ms of a request that has waited; returns how many were written:
 * at most WAITING_HEADER_COUNT. */
#define WAITING_HEADER_COUNT 2u
size_t waiting_headers_make(struct proxy *proxy, struct http_header *out);

#endif
