#ifndef PENSTOCK_CONFIG_SECRET_SOURCE_H
#define PENSTOCK_CONFIG_SECRET_SOURCE_H

#include <stddef.h>

#include "status.h"

/* Secrets of the config: never in the file itself, which is shown and copied, but in a file of their own or in a variable
 * of the environment. */

#define SECRET_BYTES_MAX 4096u

/* The secret in `file`, or in the variable `variable` ("": not there; both "": no secret, which is fine, and `out` is ""),
 * without white space around it. STATUS_OK; STATUS_IO: the file cannot be read; STATUS_INVALID: there is none in it, or
 * it is too long or not printable; with a note. Not beside a thread that changes the environment. */
NODISCARD status secret_read(const char *file, const char *variable, char out[SECRET_BYTES_MAX + 1],
                             struct error_note *note);

/* Overwrites it, so that it is not found in memory later. */
void secret_forget(char *secret, size_t bytes);

#endif
