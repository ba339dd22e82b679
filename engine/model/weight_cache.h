#ifndef PENSTOCK_WEIGHT_CACHE_H
#define PENSTOCK_WEIGHT_CACHE_H

#include "weight_cache_format.h"

/* A weight cache, mapped or, where that is faster, read: weights are taken one by one in the order in which they were written, and
 * their content is checked on the way. Owned by the step thread; closed after the weights. */
typedef struct weight_cache weight_cache;

/* STATUS_NOT_FOUND: there is none. STATUS_INVALID: damaged, or of another model or layout.
 * STATUS_IO, STATUS_NO_MEMORY. Each with a note that names the file. */
NODISCARD status weight_cache_open(const char *path, const struct weight_cache_key *key,
                                   weight_cache **out, struct error_note *note);
void weight_cache_close(weight_cache *cache); /* accepts NULL */

/* Fills `image`'s data and bytes with the next weight, which must have been made of the image's
 * sources, after comparing it with its checksums on the backend's team. STATUS_INVALID: it is
 * damaged, or another weight. */
NODISCARD status weight_cache_take(weight_cache *cache, backend *b, struct weight_image *image,
                                   struct error_note *note);

/* Gives the pages of all weights back to the system until they are wanted again; they must not be read meanwhile. All of them
 * have been taken. */
void weight_cache_sleep(weight_cache *cache);
/* The end of that: they are there, in memory, and as they were, by their checksums. STATUS_OK, also where it did not sleep;
 * STATUS_INVALID: the file has been changed, with a note; it sleeps on. */
NODISCARD status weight_cache_wake(weight_cache *cache, backend *b, struct error_note *note);

bool weight_cache_is_used_up(const weight_cache *cache);
uint64_t weight_cache_bytes(const weight_cache *cache); /* of all weights */
bool weight_cache_is_mapped(const weight_cache *cache); /* else: read into memory of our own */

#endif
