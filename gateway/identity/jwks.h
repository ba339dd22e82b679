#ifndef PENSTOCK_IDENTITY_JWKS_H
#define PENSTOCK_IDENTITY_JWKS_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>

#include "status.h"
#include "text_slice.h"

/* An issuer's public keys, from a JSON Web Key Set (RFC 7517; RFC 7518 section 6; RFC 8037 section 2). Immutable once
 * read, so that all loops verify with it. Keys of other kinds, for encryption, or too weak (RSA below 2,048 bits) are
 * left out. */

#define JWKS_KEY_COUNT_MAX 64u
#define JWKS_ID_BYTES_MAX  256u

enum jwt_algorithm { JWT_RS256, JWT_ES256, JWT_EDDSA, JWT_ALGORITHM_COUNT };

/* "RS256"; static text. */
const char *jwt_algorithm_name(enum jwt_algorithm algorithm);
/* STATUS_OK, STATUS_NOT_FOUND: not one of ours; "none" is not. */
NODISCARD status jwt_algorithm_read(const char *name, enum jwt_algorithm *out);

struct jwks {
    uint32_t count;
    struct jwks_key {
        char id[JWKS_ID_BYTES_MAX + 1]; /* kid; "": none */
        enum jwt_algorithm algorithm;   /* the one that a key of its kind is for */
        EVP_PKEY *key;                  /* owned */
    } keys[JWKS_KEY_COUNT_MAX];
};

/* STATUS_OK; STATUS_INVALID with a note: no key set, or none of its keys is of use; STATUS_NO_MEMORY. */
NODISCARD status jwks_read(struct text_slice json, struct jwks **out, struct error_note *note);
void jwks_destroy(struct jwks *keys); /* accepts NULL */

#endif
