#ifndef PENSTOCK_SCHEDULER_SLURM_JSON_H
#define PENSTOCK_SCHEDULER_SLURM_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Values in the forms that Slurm's API gives them from version to version. Reading takes each form wherever it comes, so that one
 * reader does for all versions; only what is written depends on the version (slurm_api.h). Pure. */

/* A whole number: 60, 60.0, or {"set":true,"infinite":false,"number":60}. False: null, not set, infinite, negative or no number. */
bool slurm_number(const json_t *object, const char *name, uint64_t *out);

/* The same, 0 when there is none. */
uint64_t slurm_number_or_0(const json_t *object, const char *name);

/* "" where there is none or it is no text. Borrowed from the object. */
const char *slurm_text(const json_t *object, const char *name);

/* Is this word in a list of flags? The list may be a text ("RUNNING", "mixed", "a,b"), or an array of texts; case does not count. */
bool slurm_has_flag(const json_t *object, const char *name, const char *word);

#endif
