#ifndef PENSTOCK_PULL_FILE_DIGEST_H
#define PENSTOCK_PULL_FILE_DIGEST_H

#include <stdbool.h>
#include <stddef.h>

#include "pull_file.h"

/* The hash of a file while it comes: SHA-256, or git's (SHA-1 of a head and the content) where only that is known. */

typedef struct file_digest file_digest;

file_digest *file_digest_create(const struct pull_file *file); /* NULL: no memory */
void file_digest_destroy(file_digest *digest);                 /* accepts NULL */

/* From the file's begin. */
bool file_digest_restart(file_digest *digest);
bool file_digest_add(file_digest *digest, const void *data, size_t bytes);
/* Of the first `bytes` of what is open there. */
bool file_digest_read(file_digest *digest, int descriptor, uint64_t bytes);
/* Is it what the order says? True as well where no hash is known. `hex` gets it. */
bool file_digest_is_right(file_digest *digest, char hex[SHA256_HEX_BYTES + 1]);

#endif
