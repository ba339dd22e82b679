#ifndef PENSTOCK_GATEWAY_SERVING_RESPONSE_STORE_H
#define PENSTOCK_GATEWAY_SERVING_RESPONSE_STORE_H

#include <stdint.h>

#include "hash.h"
#include "status.h"
#include "text_slice.h"

/* Answers of the responses API that clients may fetch, delete and continue (previous_response_id).
 *
 * They live in the replica that made them, in memory, until their time is over or room is needed:
 * the oldest go first. That replica also has the prefix of the conversation in its cache, so a turn
 * that comes back to it is the fastest there is. Its number is part of the id, and the gateway sends
 * whoever names an id to that replica; when it has died or begun anew, the answer is gone and the
 * client is told so (404), as after the time to live. Nothing is shared between replicas, so nothing
 * can disagree.
 *
 * A record belongs to a tenant; others are told that it does not exist.
 *
 * Threads: any. One mutex guards the table; it is held for a look-up or a change of a few pointers,
 * never while texts are copied or freed, so that the loops, which put records in before they send an
 * answer's end, wait for no more than that. Records are counted and immutable. */
typedef struct response_store response_store;

struct response_record {
    struct text_slice response; /* the object */
    struct text_slice context;  /* items of before, comma-separated */
    struct text_slice input;    /* items of the request */
    struct text_slice output;   /* items of the answer */
};

struct response_store_limits {
    uint64_t bytes_max; /* of all texts together */
    uint32_t count_max; /* 0: nothing is stored */
    uint64_t ttl_ns;
};

NODISCARD status response_store_create(const struct response_store_limits *limits,
                                       const struct hash_key *key, response_store **out);
void response_store_destroy(response_store *store); /* accepts NULL; no record is held any more */

/* Copies the texts. STATUS_TOO_LARGE: it alone is more than the store may have; STATUS_NO_MEMORY. */
NODISCARD status response_store_put(response_store *store, const char *id, struct hash128 tenant,
                                    const struct response_record *record, uint64_t now_ns);
/* The record, held until response_store_release; NULL: there is none of this tenant. */
const struct response_record *response_store_get(response_store *store, struct text_slice id,
                                                 struct hash128 tenant, uint64_t now_ns);
void response_store_release(response_store *store, const struct response_record *record);
/* False: there is none of this tenant. */
bool response_store_delete(response_store *store, struct text_slice id, struct hash128 tenant,
                           uint64_t now_ns);

uint64_t response_store_bytes(response_store *store);
uint32_t response_store_count(response_store *store);

#endif
