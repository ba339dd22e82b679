#ifndef PENSTOCK_SCHEDULER_SLURM_CLIENT_H
#define PENSTOCK_SCHEDULER_SLURM_CLIENT_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "buffer.h"
#include "http_fetch.h"
#include "slurm_member.h"

/* Requests to one slurmrestd over one kept connection, as one user. One thread's. */

/* What differs in what we write. */
enum slurm_family {
    SLURM_API_38, /* numbers and texts plain, `gres`, environment an object, script beside the job, no lists of nodes */
    SLURM_API_39, /* `tres_per_node`, environment an array, numbers as objects, lists of nodes */
    SLURM_API_41, /* and the script inside of the job */
};

struct slurm_api {
    unsigned version; /* 38: "v0.0.38" */
    enum slurm_family family;
};

#define SLURM_API_VERSION_MIN 38u
#define SLURM_API_VERSION_MAX 46u

/* The highest version we know among the paths of an OpenAPI document. False: none. Pure. */
bool slurm_api_choose(const json_t *openapi, struct slurm_api *out);

struct slurm_client {
    const struct slurm_member_config *config; /* borrowed */
    const _Atomic bool *is_stopping;          /* borrowed; NULL: a request is never given up */
    struct http_fetch_session *session;       /* owned */
    struct buffer key, token, answer;
    uint64_t token_ends_seconds; /* minted: when it is no longer good; 0: there is none */
    struct slurm_api api;        /* version 0: not asked yet */
    int64_t clock_offset;        /* the cluster's clock minus ours, seconds */
};

NODISCARD status slurm_client_init(struct slurm_client *client,
                                   const struct slurm_member_config *config);
void slurm_client_deinit(struct slurm_client *client);

/* Asks for the API's versions and the cluster's clock. Statuses of slurm_client_ask. */
NODISCARD status slurm_client_open(struct slurm_client *client, struct error_note *note);

/* One request; `path` is what follows the version ("nodes", "job/7"). `body` data NULL: none.
 * STATUS_OK: *out is the answer (the caller's; NULL where `out` is NULL); STATUS_AGAIN: 304, nothing has changed; STATUS_NOT_FOUND: no such job;
 * STATUS_FULL: no resources of this kind; STATUS_DENIED, STATUS_INVALID: refused; STATUS_CLOSED: slurmrestd or
 * what is behind it cannot be reached; STATUS_TIMEOUT, STATUS_CANCELLED, STATUS_NO_MEMORY. With a note. An answer with
 * errors is never a list: one that could not be made looks like an empty one. */
NODISCARD status slurm_client_ask(struct slurm_client *client, const char *method, const char *path,
                                  struct text_slice body, json_t **out, struct error_note *note);

/* What an answer says by itself: its errors, or STATUS_OK. Pure. */
status slurm_answer_check(int status_code, const json_t *answer, struct error_note *note);

/* Slurm's seconds (its own clock) now. */
uint64_t slurm_client_now(const struct slurm_client *client);

#endif
