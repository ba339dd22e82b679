#ifndef PENSTOCK_EDGE_JOIN_H
#define PENSTOCK_EDGE_JOIN_H

#include "edge.h"
#include "heartbeat.h"
#include "http_remote.h"
#include "replica.h"

/* Replicas on other machines: how they find the gateway, how it knows them, and what it hears of them. See join.c.
 *
 * A member of the pool that starts one gives it what join_order wrote. The replica registers with that, once, and reports from then on;
 * the slot's page says what its reports say, so whoever reads pages need not know where a replica is. What is sent to it goes
 * over the slot's link. */

/* Where it listens, and how it is known there. Counted: one for the slot, one for each loop that has a target of it. */
struct replica_link {
    http_remote *remote; /* owned */
    uint64_t number;     /* of all links of the process, from 1 on */
    _Atomic uint32_t count;
};
void replica_link_release(struct replica_link *link); /* accepts NULL; any thread */

/* Whom events go to: REPLICA_ANSWERED and REPLICA_NOT_READY of the replica with this uid. They come on the listener's thread. */
struct join_sink {
    void (*event)(void *context, uint32_t id, uint64_t uid, enum replica_event event);
    void *context;
};

struct join;

/* Binds pool.listen, if there is one (else *out is NULL, which all below accept). `edge` with its models outlives it; `config` is
 * borrowed for the call. `has_model_path`: models' paths come from the command line, and replicas are told so. STATUS_OK;
 * STATUS_IO, STATUS_INVALID, STATUS_INTERNAL with the note; STATUS_NO_MEMORY. Thread: main. */
NODISCARD status join_open(struct edge *edge, const struct config *config, bool has_model_path,
                           struct join **out, struct error_note *note);
/* Begins to hear. The sink is copied. STATUS_OK, or what http_server_start says. Thread: main. */
NODISCARD status join_start(struct join *join, const struct join_sink *sink);
/* Hears nothing any more: no event comes after it. Thread: main. */
void join_stop(struct join *join);
/* When no loop has a target of a link. Thread: main. */
void join_close(struct join *join);

/* "host:port" under which other machines reach it. As long as the join. */
const char *join_authority(const struct join *join);

/* The text of a config that has come into force. `changes_replicas`: those that run read it. STATUS_OK, STATUS_NO_MEMORY. Thread: main. */
NODISCARD status join_set_config(struct join *join, struct text_slice text, bool changes_replicas);

/* --- the control thread's --- */

/* A replica with this uid (not 0) is to be started elsewhere for the slot: appends to `environment` what it must know, "KEY=value" with a
 * NUL behind each. What was known of the slot's replica before is forgotten. STATUS_OK; STATUS_UNSUPPORTED: there is no pool.listen;
 * STATUS_TOO_LARGE, STATUS_NO_MEMORY (the buffer's). */
NODISCARD status join_order(struct edge *edge, struct edge_replica *replica, uint64_t uid,
                            struct buffer *environment);
/* It is gone, or given up: nothing is taken from it any more, and what is on its way to it ends as though it had died. Another uid than
 * the slot's: nothing happens. */
void join_forget(struct edge *edge, struct edge_replica *replica, uint64_t uid);

/* --- any thread's --- */

/* The link to the replica that has the slot; the caller's to release. NULL: it is not elsewhere, or has not registered. */
struct replica_link *join_link(struct edge *edge, const struct edge_replica *replica);

/* What it has told of itself: where it listens, and why it failed last. "": nothing. */
struct join_facts {
    char address[HTTP_ADDRESS_TEXT_BYTES];
    char reason[HEARTBEAT_REASON_BYTES + 1];
};
void join_facts_get(struct edge *edge, const struct edge_replica *replica, struct join_facts *out);

#endif
