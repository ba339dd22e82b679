#ifndef PENSTOCK_TESTS_FORCED_MODEL_H
#define PENSTOCK_TESTS_FORCED_MODEL_H

#include "model.h"

/* A model on one backend path that is made to read a given token sequence, so that its opinion
 * about every next token can be compared with somebody else's. Ends the process when something
 * cannot be opened. */
struct forced_model {
    model_source *source;
    backend *b;
    model *m;
    uint32_t *block_table; /* blocks in falling order, so that a cache that ignores the table is
                              found out */
    uint32_t block_count;
    float *logprobs; /* [vocabulary] */
};

/* How the sequence is cut into steps: `chunk` rows each up to `decode_from`, one row each after it.
 */
struct forced_run {
    const int32_t *ids;
    uint32_t count;
    uint32_t chunk; /* at most FORCED_CHUNK_MAX */
    uint32_t decode_from;
};
#define FORCED_CHUNK_MAX 96u

/* Called for every position but the last, with the natural log-probabilities of all tokens there.
 */
typedef void forced_visit(void *context, uint32_t position, const float *logprobs);

void forced_model_open(struct forced_model *f, const char *path, enum backend_path backend,
                       enum kv_type kv_type, uint32_t context_max);
void forced_model_close(struct forced_model *f);
void forced_model_run(struct forced_model *f, const struct forced_run *run, forced_visit *visit,
                      void *context);

#endif
