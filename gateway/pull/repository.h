#ifndef PENSTOCK_PULL_REPOSITORY_H
#define PENSTOCK_PULL_REPOSITORY_H

#include <stdint.h>

#include "buffer.h"
#include "pull_file.h"

/* What a server of repositories says of one of them, at one commit: all files come from the same, even when it is changed meanwhile. */

#define COMMIT_BYTES_MAX 64u
#define FILE_COUNT_MAX   10000u

struct repository_file {
    char *path; /* owned; as the server says: not yet checked */
    uint64_t bytes;
    char sha256[SHA256_HEX_BYTES + 1], git_oid[GIT_OID_HEX_BYTES + 1]; /* one of both */
};

struct repository {
    const char *endpoint, *name, *token; /* borrowed; the endpoint without a slash at its end */
    char commit[COMMIT_BYTES_MAX + 1];
    struct repository_file *files; /* owned */
    size_t file_count;
};

/* Asks for the commit of `revision` and for its files. Statuses as of pull. repository_deinit in any case. */
NODISCARD status repository_list(struct repository *repository, const char *revision,
                                 struct error_note *note);
void repository_deinit(struct repository *repository);

/* The URL of one of them. */
void repository_file_url(const struct repository *repository, const char *path, struct buffer *out);

#endif
