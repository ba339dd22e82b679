#ifndef PENSTOCK_EDGE_JOIN_PRIVATE_H
#define PENSTOCK_EDGE_JOIN_PRIVATE_H

#include <limits.h>
#include <pthread.h>

#include "heartbeat.h"
#include "join.h"

/* What join.c and join_routes.c share. */

/* Of the replica that has a slot, or is to have it. All under the lock. */
struct join_slot {
    uint64_t uid;               /* 0: nobody is expected */
    char token[JOIN_KEY_BYTES]; /* "": none, or it has been used */
    uint64_t token_until_ns;
    char session[JOIN_KEY_BYTES]; /* "": it has not registered */
    struct replica_link *link;    /* counted; NULL: likewise */
    shared_page_writer *page;     /* owned; likewise */
    uint64_t beat_number;         /* of its last message */
    char address[HTTP_ADDRESS_TEXT_BYTES];
    char reason[HEARTBEAT_REASON_BYTES +
                1]; /* stays when it has gone, until the next one registers */
};

struct join {
    struct edge *edge;
    struct join_sink sink;
    http_server *server;        /* owned; one loop */
    http_self_signed *identity; /* owned */
    char authority[HTTP_URL_HOST_BYTES + 16];
    char file[PATH_MAX]; /* the config's, absolute */
    bool has_model_path;
    uint64_t token_ns;       /* how long a token is good for */
    uint64_t refused_log_ns; /* when a refusal was logged last; the loop's */
    pthread_mutex_t lock;    /* of what follows */
    struct join_slot *slots; /* [edge->replica_count], owned */
    uint64_t link_count;     /* that there have been */
    char *text;              /* owned; of the config */
    size_t text_bytes;
    uint64_t text_number; /* rises when replicas should read it again */
};

/* The listener's handler; `context` is the join. Its loop. */
void join_handle(http_request *request, void *context);

/* The slot whose token, or session, this is; NULL: nobody's. Time does not tell how much of it is right. Under the lock. */
struct join_slot *join_slot_of_token(struct join *join, struct text_slice token, uint64_t now_ns);
struct join_slot *join_slot_of_session(struct join *join, struct text_slice session);
static inline uint32_t join_slot_id(const struct join *join, const struct join_slot *slot)
{
    return (uint32_t)(slot - join->slots);
}

/* A secret of 256 bits that names its slot. */
void join_key_make(const struct join *join, const struct join_slot *slot, char out[JOIN_KEY_BYTES]);

/* The slot's replica listens at `address` and has this key; from now on it is known by its session, and the token is spent.
 * STATUS_OK; STATUS_INVALID with the note: such an address, or key, there is not; STATUS_IO (the page), STATUS_NO_MEMORY.
 * Under the lock. */
NODISCARD status join_slot_take(struct join *join, struct join_slot *slot, const char *address,
                                const char *pin, struct error_note *note);

#endif
