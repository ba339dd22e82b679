#ifndef PENSTOCK_WEIGHT_CACHE_WRITER_H
#define PENSTOCK_WEIGHT_CACHE_WRITER_H

#include "weight_cache_format.h"

/* Writes a weight cache: open, append each weight, then finish or abandon. */
typedef struct weight_cache_writer weight_cache_writer;

/* Takes the right to write the cache at `path`, and waits for it while another process writes it:
 * *has_waited, and then its file may be there. STATUS_IO (a folder that may not be written, ...),
 * STATUS_NO_MEMORY, with a note that names the file. */
NODISCARD status weight_cache_writer_open(const char *path, const struct weight_cache_key *key,
                                          weight_cache_writer **out, bool *has_waited,
                                          struct error_note *note);

/* Appends what `b` laid out as `w`; of `image` only the sources are read. After anything but
 * STATUS_OK (STATUS_IO: disk full, ...; STATUS_NO_MEMORY) the writer can only be abandoned. */
NODISCARD status weight_cache_writer_append(weight_cache_writer *writer, backend *b,
                                            const weight *w, const struct weight_image *image,
                                            struct error_note *note);

/* Makes the file durable and puts it into its place, whole, over any other. Frees the writer
 * whatever comes of it. */
NODISCARD status weight_cache_writer_finish(weight_cache_writer *writer, struct error_note *note);

/* Removes what was written; accepts NULL. */
void weight_cache_writer_abandon(weight_cache_writer *writer);

#endif
