#ifndef PENSTOCK_IDENTITY_JWT_H
#define PENSTOCK_IDENTITY_JWT_H

#include <jansson.h>

#include "jwks.h"

/* JSON Web Tokens (RFC 7519; signatures of RFC 7515 and RFC 8037; the advice of RFC 8725). What a token says of itself is
 * believed only after its signature has been verified, by an algorithm that the config allows, with a key of the kind
 * that this algorithm takes: so neither "none" nor a public key used as a secret gets in. Pure: any thread. */

#define JWT_BYTES_MAX 8192u

struct jwt_rules {
    const char *issuer, *audience;
    uint32_t algorithms; /* 1 << enum jwt_algorithm */
    uint64_t leeway_s;
};

/* Whether a text has the form of a token: three parts with points between. */
bool jwt_is_like(struct text_slice text);

/* The issuer that a token names, not verified: only to know whose rules to apply. Copied into `out`, which has
 * `bytes`. STATUS_OK, STATUS_INVALID. */
NODISCARD status jwt_issuer(struct text_slice token, char *out, size_t bytes);

/* Verifies a token: signature, issuer, audience, exp (which it must have) and nbf. `claims`: json_decref it. STATUS_OK;
 * STATUS_DENIED with `why`, static text; STATUS_NOT_FOUND: none of the keys has the id that it names. */
NODISCARD status jwt_verify(struct text_slice token, const struct jwt_rules *rules,
                            const struct jwks *keys, uint64_t now_s, json_t **claims,
                            const char **why);

#endif
