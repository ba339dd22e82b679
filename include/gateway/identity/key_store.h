#ifndef PENSTOCK_IDENTITY_KEY_STORE_H
#define PENSTOCK_IDENTITY_KEY_STORE_H

#include "key_table.h"
#include "state_database.h"

/* API keys in the state database. A key is who it belongs to and what it allows, under an id that stays; its secrets are
 * what clients show, and there are several while one is replaced by the next. Only hashes of secrets are kept; the
 * secret itself is given once, to who makes it. One thread at a time. */

#define KEY_ID_BYTES     24u /* "key_" and 16 hex digits, and room */
#define KEY_SECRET_BYTES 56u /* "sk-" and 48 hex digits: 192 random bits */

struct key_new {
    const char *name, *organisation, *team, *models; /* "": none, all */
    uint32_t scopes, weight;
    int32_t priority_max;
    uint64_t ttft_slo_ms, expires_s;
};

/* Makes a key with its first secret. STATUS_OK; STATUS_INVALID: the organisation has a key of this name, which is not
 * revoked; STATUS_AGAIN, STATUS_IO. */
NODISCARD status key_store_create(state_database *database, const struct key_new *key,
                                  uint64_t now_s, char id[KEY_ID_BYTES],
                                  char secret[KEY_SECRET_BYTES], struct error_note *note);

/* A new secret for a key; those of before are good until `now_s + overlap_s`, or as long as they were. STATUS_OK,
 * STATUS_NOT_FOUND (there is none, or it is revoked), STATUS_AGAIN, STATUS_IO. */
NODISCARD status key_store_rotate(state_database *database, const char *id, uint64_t now_s,
                                  uint64_t overlap_s, char secret[KEY_SECRET_BYTES],
                                  struct error_note *note);

/* From now on no secret of the key is good. Statuses as above. */
NODISCARD status key_store_revoke(state_database *database, const char *id, uint64_t now_s,
                                  struct error_note *note);

/* Deletes secrets that have ended before. Inside of a transaction. STATUS_OK, STATUS_IO. */
NODISCARD status key_store_sweep(state_database *database, uint64_t before_s,
                                 struct error_note *note);

/* One key as it stands. */
struct key_row {
    struct key_identity identity;
    uint64_t created_s, expires_s, revoked_s;
    uint32_t secret_count; /* that are good now */
};
/* Calls `take` with each key, oldest first; its texts live during the call. STATUS_OK, STATUS_IO. */
NODISCARD status key_store_list(state_database *database, uint64_t now_s,
                                void (*take)(void *context, const struct key_row *row),
                                void *context, struct error_note *note);

/* All secrets that are or will be good, as a table for the loops. STATUS_OK, STATUS_TOO_LARGE (more than KEY_COUNT_MAX),
 * STATUS_NO_MEMORY, STATUS_IO. */
NODISCARD status key_store_load(state_database *database, uint64_t now_s, struct key_table **out,
                                struct error_note *note);

#endif
