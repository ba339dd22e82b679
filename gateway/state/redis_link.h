#ifndef PENSTOCK_STATE_REDIS_LINK_H
#define PENSTOCK_STATE_REDIS_LINK_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdint.h>

#include "status.h"

/* A connection to Redis that is made again when it has broken. Calls wait for the network, at most REDIS_WAIT_MS each. One
 * thread at a time. */

#define REDIS_WAIT_MS      1000
#define REDIS_HOST_BYTES   256u
#define REDIS_PORT_DEFAULT 6379

/* Where: "redis://[USER@]HOST[:PORT][/NUMBER]", an IPv6 address in brackets, or "unix:/path". */
struct redis_address {
    char host[REDIS_HOST_BYTES], user[64]; /* or the path of a socket; "": the default user */
    bool is_socket;
    int port, database;
};
/* STATUS_OK; STATUS_INVALID with a note. Pure. */
NODISCARD status redis_address_read(const char *text, struct redis_address *out,
                                    struct error_note *note);

struct redis_link {
    struct redis_address address;
    char *password;        /* owned; "": none */
    redisContext *context; /* owned; NULL: none */
    uint64_t retry_ns;     /* no attempt before */
    uint32_t generation;   /* counts connections */
    struct error_note last;
};

/* Nothing is connected yet. STATUS_OK, STATUS_INVALID with a note, STATUS_NO_MEMORY. */
NODISCARD status redis_link_init(struct redis_link *link, const char *address, const char *password,
                                 struct error_note *note);
void redis_link_deinit(struct redis_link *link);

/* Connects where that is needed, at most once a second. STATUS_OK, STATUS_IO with a note. */
NODISCARD status redis_link_ensure(struct redis_link *link, struct error_note *note);

/* The next reply, freed with freeReplyObject. NULL with a note: the connection has broken and is closed, or it was an error, which
 * closes it as well: nothing that we send has one for an answer. */
redisReply *redis_link_reply(struct redis_link *link, struct error_note *note);

#endif
