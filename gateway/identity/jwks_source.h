#ifndef PENSTOCK_IDENTITY_JWKS_SOURCE_H
#define PENSTOCK_IDENTITY_JWKS_SOURCE_H

#include <stdatomic.h>

#include "jwks.h"

/* Where an issuer's keys come from: a file, or a URL that is asked over HTTP(S) with the system's certificates. Blocks:
 * never on a loop. */

#define JWKS_BYTES_MAX (1u << 20)

/* Whether the config's text is a URL, else it is a path. */
bool jwks_source_is_url(const char *source);

/* Reads the set. `is_stopping` (NULL: never) cuts a download short. STATUS_OK; STATUS_IO, STATUS_INVALID with a note;
 * STATUS_NO_MEMORY, STATUS_CANCELLED. */
NODISCARD status jwks_source_read(const char *source, const _Atomic bool *is_stopping,
                                  struct jwks **out, struct error_note *note);

#endif
