#ifndef PENSTOCK_SCHEDULER_SLURM_TOKEN_H
#define PENSTOCK_SCHEDULER_SLURM_TOKEN_H

#include <stdint.h>

#include "buffer.h"
#include "status.h"
#include "text_slice.h"

/* Tokens for slurmrestd: JSON web tokens (RFC 7519) signed with HS256 over the cluster's key, claims "sun" (the user), "iat"
 * and "exp". */

#define SLURM_TOKEN_SECONDS      3600u
#define SLURM_TOKEN_RENEW        300u /* minted anew when less is left: more than two clocks may differ */
#define SLURM_TOKEN_BYTES_MAX    8192u
#define SLURM_KEY_FILE_BYTES_MAX 65536u

/* Writes a token of this user into `out` (cleared first). STATUS_OK, STATUS_TOO_LARGE, STATUS_NO_MEMORY, STATUS_INTERNAL. Pure. */
NODISCARD status slurm_token_mint(struct text_slice key, const char *user, uint64_t now_seconds,
                                  struct buffer *out);

/* Reads a file with a token: its first line, "SLURM_JWT=" before it or not, as `scontrol token` writes it. Or, with is_key, a key: all its
 * bytes. STATUS_OK, STATUS_IO, STATUS_TOO_LARGE, STATUS_INVALID (empty), STATUS_NO_MEMORY; with a note. */
NODISCARD status slurm_secret_read(const char *path, bool is_key, struct buffer *out,
                                   struct error_note *note);

#endif
