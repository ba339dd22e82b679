#ifndef PENSTOCK_IDENTITY_AUTH_H
#define PENSTOCK_IDENTITY_AUTH_H

#include <stdint.h>

#include "config.h"

/* API keys. Only hashes are known; a key that a client shows is hashed and compared with every one
 * of them, without an early exit, so that the time taken tells nothing about which key was near. */

#define AUTH_KEY_BYTES_MAX 512u
#define AUTH_HASH_BYTES    32u

struct auth_keys {
    const uint8_t (
        *hashes)[AUTH_HASH_BYTES]; /* [count], in the config's memory, in the config's order */
    uint32_t count;
};

#define AUTH_NONE UINT32_MAX

/* Decodes the config's hashes; they live as long as the config. STATUS_OK, STATUS_NO_MEMORY. */
NODISCARD status auth_keys_init(struct auth_keys *keys, const struct config *config);

/* The key in the value of an Authorization header ("Bearer KEY", the scheme in either case); data
 * NULL when it has another form. */
struct text_slice auth_bearer(struct text_slice authorization);

/* Index of the key in the config, or AUTH_NONE. Any thread. */
uint32_t auth_find(const struct auth_keys *keys, struct text_slice shown);

#endif
