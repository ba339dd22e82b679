#ifndef PENSTOCK_IDENTITY_TOKEN_IDENTITY_H
#define PENSTOCK_IDENTITY_TOKEN_IDENTITY_H

#include <jansson.h>

#include "config.h"
#include "key_table.h"

/* Who a verified token speaks for, by the claims that the config names. */

#define TOKEN_TEXT_BYTES_MAX   128u
#define TOKEN_ISSUER_BYTES_MAX 255u
#define TOKEN_MODELS_BYTES_MAX 4096u

struct token_identity {
    struct key_identity key; /* its texts are in here, or in the claims */
    char id[TOKEN_ISSUER_BYTES_MAX + TOKEN_TEXT_BYTES_MAX + 8], models[TOKEN_MODELS_BYTES_MAX];
};

/* STATUS_OK; STATUS_DENIED with `why`: a claim is missing, or has another form than a name (1 to TOKEN_TEXT_BYTES_MAX
 * printable characters, no blanks). `claims` and `issuer` are borrowed with the result. Any thread. */
NODISCARD status token_identity_read(struct token_identity *out, const struct config_issuer *issuer,
                                     const json_t *claims, const char **why);

#endif
