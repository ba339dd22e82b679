#ifndef PENSTOCK_IDENTITY_KEY_TABLE_H
#define PENSTOCK_IDENTITY_KEY_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "status.h"
#include "text_slice.h"

/* API keys by the hash of their secret: built once, then immutable, so that all loops read it without a lock. Only
 * hashes are known. A key that a client shows is hashed, and what is looked up is the hash: where the walk ends tells
 * something of the hash and nothing of any key. */

#define KEY_HASH_BYTES      32u
#define KEY_SHOWN_BYTES_MAX 512u /* of what a client may show */
#define KEY_COUNT_MAX       100000u

/* Whose key it is and what it allows. Texts are never NULL. */
struct key_identity {
    const char *id, *organisation, *team, *name;
    const char *models; /* patterns of the models that it may use, blanks between; "": all */
    uint32_t scopes, weight;
    int32_t priority_max;
    uint64_t ttft_slo_ns;
};

struct key_table;

/* An empty table for `count_max` secrets. STATUS_OK, STATUS_TOO_LARGE, STATUS_NO_MEMORY. */
NODISCARD status key_table_create(uint32_t count_max, struct key_table **out);
void key_table_destroy(struct key_table *table); /* accepts NULL */

/* Adds one secret; all is copied. `expires_s`: Unix time from which on it is no good; 0: never. STATUS_OK,
 * STATUS_FULL, STATUS_NO_MEMORY. */
NODISCARD status key_table_add(struct key_table *table, const uint8_t hash[KEY_HASH_BYTES],
                               const struct key_identity *identity, uint64_t expires_s);

uint32_t key_table_count(const struct key_table *table);

/* Whose key it is; NULL when it is nobody's, or not any more. Borrowed from the table. `table` may be NULL. Any
 * thread. */
const struct key_identity *key_table_find(const struct key_table *table,
                                          const uint8_t hash[KEY_HASH_BYTES], uint64_t now_s);

/* SHA-256 of what is shown; false when it is empty or too long to be a key. */
bool key_hash(struct text_slice shown, uint8_t hash[KEY_HASH_BYTES]);

/* 64 hex digits in either case into a hash. They must be there (the config has been checked). */
void key_hash_read(const char *digits, uint8_t hash[KEY_HASH_BYTES]);

/* The key in the value of an Authorization header ("Bearer KEY", the scheme in either case); data NULL when it has
 * another form. RFC 6750, section 2.1. */
struct text_slice key_of_bearer(struct text_slice authorization);

#endif
