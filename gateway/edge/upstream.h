#ifndef PENSTOCK_EDGE_UPSTREAM_H
#define PENSTOCK_EDGE_UPSTREAM_H

#include <pthread.h>

#include "edge.h"
#include "http_remote.h"
#include "prefix_memory.h"

/* A server that is not ours, as a replica of a model: asked over its name, with a key of the gateway's, watched by a
 * thread of its own that looks its name up, asks for its models (is it there?) and reads its metrics (how busy is it?). What
 * the thread finds is in struct edge_replica and here; a loop only reads it. */
struct edge_upstream {
    http_remote *remote; /* owned */
    const char *model;   /* its name there; in the first config's memory */
    char *authorization; /* owned; "Bearer ..."; NULL: no key is wanted. Never logged */
    /* What the choice among servers goes by; relaxed */
    _Atomic uint32_t others;  /* requests there that are not ours, by its metrics */
    _Atomic uint32_t waiting; /* those of them that wait */
    _Atomic float prefill_ns; /* of a prompt's token, by its first events; 0: not known */
    prefix_memory *sent;      /* owned; beginnings of prompts that it should have in its cache */
    bool takes_v1;            /* the URL's path does not end in /v1: ours goes there with it */
    /* the thread's */
    struct edge *edge;
    struct edge_replica *replica;
    uint64_t interval_ns;
    uint32_t failure_count; /* in a row */
    pthread_t thread;
    bool has_thread;
    int stop_fd; /* eventfd */
};

/* Reads the key, makes the remote; nothing is asked yet. STATUS_OK, STATUS_INVALID, STATUS_IO, STATUS_NO_MEMORY with the
 * reason. */
struct config_model;
NODISCARD status edge_upstream_create(struct edge *edge, struct edge_replica *replica,
                                      const struct config_model *row, const char *url,
                                      struct error_note *note);
/* Starts watching. */
NODISCARD status edge_upstream_start(struct edge_upstream *upstream);
/* Asks the thread to end, then waits until it has, which may take the time-out of what it is asking. */
void edge_upstream_end(struct edge_upstream *upstream);
void edge_upstream_join(struct edge_upstream *upstream);
void edge_upstream_destroy(struct edge_upstream *upstream); /* accepts NULL */

/* A path of ours as the server has it: its URL's prefix before it. In the request's memory. */
const char *edge_upstream_path(const struct edge_upstream *upstream, http_request *request,
                               const char *path);

/* Whether an answer's status is the gateway's affair with the server, and not the client's: the key is refused, or the path or
 * the model is not there. */
static inline bool edge_upstream_is_ours(int status_code)
{
    return status_code == 401 || status_code == 403 || status_code == 404 || status_code == 405;
}

/* Fills `out` (UPSTREAM_HEADER_COUNT_MAX) with what the server is told: nothing of the caller's identity. Returns the count. */
size_t edge_upstream_headers(const struct edge_upstream *upstream, http_request *request,
                             struct http_header *out);

#endif
