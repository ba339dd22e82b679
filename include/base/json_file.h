#ifndef PENSTOCK_BASE_JSON_FILE_H
#define PENSTOCK_BASE_JSON_FILE_H

#include "json.h"

/* Files of a folder that somebody else wrote: a model's. */

/* Appends the whole file "<folder>/<name>" to `out`, whose ceiling is the file's. STATUS_NOT_FOUND without a note;
 * STATUS_TOO_LARGE, STATUS_IO, STATUS_NO_MEMORY with one. */
NODISCARD status folder_file_read(const char *folder, const char *name, struct buffer *out,
                                  struct error_note *note);

/* The file as a JSON object of at most 64 MiB and four million values, whose whole numbers beyond 64 bits become reals; *out is the caller's. STATUS_NOT_FOUND without a note;
 * STATUS_INVALID and what folder_file_read answers with one. */
NODISCARD status folder_json_read(const char *folder, const char *name, json_t **out,
                                  struct error_note *note);

#endif
