#ifndef PENSTOCK_MODEL_FACTS_H
#define PENSTOCK_MODEL_FACTS_H

#include "model_family.h"
#include "model_source_private.h"

/* What a model says about itself, by key, whichever kind of file it is in. Pure. */

/* One fact's names; NULL: that kind of file does not have it. */
struct fact_key {
    const char *gguf; /* behind "<architecture>." */
    const char *hf;   /* in config.json */
};

/* The name of a fact in this file, for messages. */
#define FACT_NAME_MAX 128u
const char *fact_name(const model_source *source, const struct model_family *family,
                      const struct fact_key *key, char name[FACT_NAME_MAX]);

enum fact_outcome { FACT_ABSENT, FACT_FOUND, FACT_WRONG /* there, but of another kind */ };

/* null counts as absent. */
enum fact_outcome fact_u64(const model_source *source, const struct model_family *family,
                           const struct fact_key *key, uint64_t *out);
enum fact_outcome fact_f64(const model_source *source, const struct model_family *family,
                           const struct fact_key *key, double *out);

/* A real in (0, max], or `fallback` where it is absent. STATUS_INVALID. */
NODISCARD status fact_positive(const model_source *source, const struct model_family *family,
                               const struct fact_key *key, double fallback, double max, double *out,
                               struct error_note *note);

#endif
