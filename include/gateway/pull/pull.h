#ifndef PENSTOCK_PULL_PULL_H
#define PENSTOCK_PULL_PULL_H

#include <stdbool.h>

#include "status.h"

/* Fetches models' files: one from a URL, or those of a repository from a server that speaks as the Hugging Face Hub does
 * (GET /api/models/{repository}/revision/{revision}, .../tree/{commit}, /{repository}/resolve/{commit}/{path}).
 *
 * A file is written beside its place as "<name>.part" and renamed when it is whole and its hash is right, so what stands under a
 * file's own name is whole. What a broken connection or a killed program leaves is gone on with, by Range and If-Range; with the
 * tag of the file it came from in "<name>.part.tag". Nothing is ever written outside the folder: names are checked, and links
 * inside it are not followed. */

struct pull_order {
    const char *from;     /* URL of a file, or "organisation/name"; required */
    const char *folder;   /* must exist or is made, one level; required */
    const char *endpoint; /* URL of the server of repositories; NULL: `from` must be a URL */
    const char *revision; /* branch, tag or commit; NULL: main */
    const char *pattern;  /* files of the repository whose path matches (fnmatch), NULL: all */
    const char *sha256;   /* 64 hexadecimal digits that the file must have; NULL: not known */
    const char *token;    /* for the server of `from`; NULL: none */
    bool is_quiet;        /* no progress */
};

/* Fetches, telling progress on standard error. STATUS_OK: all files are there. Else the note says which file and why: STATUS_INVALID
 * (the order, a name, an answer, a hash), STATUS_NOT_FOUND, STATUS_DENIED, STATUS_CLOSED, STATUS_TIMEOUT, STATUS_IO,
 * STATUS_FULL (the disk), STATUS_TOO_LARGE, STATUS_NO_MEMORY. One thread. */
NODISCARD status pull(const struct pull_order *order, struct error_note *note);

#endif
