/* Whatever comes as a token or as a key set is read to its end or refused; and nothing but a signature of the one known
 * key is ever good. */
#include <stdlib.h>

#include "jwt.h"

#define KNOWN_KEYS                                                                                 \
    "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":"                                       \
    "\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const struct jwt_rules rules = {"joe", "penstock",
                                           1u << JWT_RS256 | 1u << JWT_ES256 | 1u << JWT_EDDSA, 30};
    static struct jwks *known;
    struct text_slice text = {(const char *)data, bytes};
    struct error_note note;
    struct jwks *keys = NULL;
    json_t *claims = NULL;
    const char *why;
    char issuer[64];

    if (known == NULL && jwks_read(text_slice_of(KNOWN_KEYS), &known, &note) != STATUS_OK)
        abort();
    if (jwks_read(text, &keys, &note) == STATUS_OK)
        jwks_destroy(keys);
    if (jwt_issuer(text, issuer, sizeof(issuer)) == STATUS_OK && strlen(issuer) >= sizeof(issuer))
        abort();
    /* The published signatures by this key are not of claims. */
    if (jwt_verify(text, &rules, known, 1300819000, &claims, &why) == STATUS_OK)
        abort();
    return 0;
}
