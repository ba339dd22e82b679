#ifndef PENSTOCK_PULL_FILE_H
#define PENSTOCK_PULL_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "status.h"

#define SHA256_HEX_BYTES  64u
#define GIT_OID_HEX_BYTES 40u
#define FILE_BYTES_MAX    (UINT64_C(1) << 42) /* 4 TiB: several times the largest model's file */

/* One file to fetch. All is borrowed. */
struct pull_file {
    int folder;       /* descriptor */
    const char *path; /* in it; safe (pull_name.h) */
    const char *url;
    const char *token;  /* NULL or "" */
    uint64_t bytes;     /* UINT64_MAX: not known */
    const char *sha256; /* lower-case hexadecimal; "": not known */
    const char *
        git_oid; /* of a file that is in the repository itself: git's own hash; "": not known. Needs `bytes` */
    bool is_quiet;
};

/* See pull.h. A file that is there already and has the hash is left as it is. */
NODISCARD status pull_file(const struct pull_file *file, struct error_note *note);

#endif
