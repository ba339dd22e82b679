#ifndef PENSTOCK_EDGE_REPLICA_QUESTION_H
#define PENSTOCK_EDGE_REPLICA_QUESTION_H

#include "edge.h"
#include "http_client.h"

/* Asks a replica of ours for one of its internal answers, as GET /stories/{request id}, and hands it over whole. Loop thread; the memory
 * is the caller's, at one address until the answer. */

struct replica_question {
    void (*answered)(struct replica_question *question); /* set by the caller */
    /* Of the answer: STATUS_OK with HTTP code 200; STATUS_NOT_FOUND: another code; STATUS_TOO_LARGE; else as on_end of an exchange */
    status result;
    struct buffer body; /* of the answer; the question's, until `answered` has returned */
    int status_code;

    http_exchange *exchange; /* private; NULL: none is under way */
};

/* `path` is copied. `answered` is called later, never before this returns, unless the question is cancelled. `bytes_max` of the
 * answer. STATUS_OK; STATUS_NOT_FOUND: the replica is not ours, or is not there; else as http_exchange_start; then nothing is called. */
NODISCARD status replica_question_ask(struct replica_question *question, struct edge_loop *loop,
                                      const struct edge_replica *replica, const char *path,
                                      size_t bytes_max);
/* Nobody wants the answer any more. May be called at any time. */
void replica_question_cancel(struct replica_question *question);

#endif
