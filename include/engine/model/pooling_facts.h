#ifndef PENSTOCK_ENGINE_POOLING_FACTS_H
#define PENSTOCK_ENGINE_POOLING_FACTS_H

#include <stdbool.h>

#include "gguf.h"
#include "status.h"

/* How a model's hidden states become an embedding, as its files tell it. Pure. */

enum pooling_kind { POOLING_MEAN, POOLING_CLS, POOLING_LAST, POOLING_MAX, POOLING_MEAN_SQRT };

struct pooling_facts {
    bool are_told; /* else the files say nothing of `kind` */
    enum pooling_kind kind;
    bool normalizes;
};

/* From sentence-transformers' modules.json, where there is one. STATUS_OK; STATUS_UNSUPPORTED: a module or a pooling that is not
 * listed above; STATUS_INVALID, STATUS_IO, STATUS_NO_MEMORY; with a note, and nothing told. */
NODISCARD status pooling_facts_read_folder(const char *folder, struct pooling_facts *out,
                                           struct error_note *note);
/* From the file's pooling_type: llama.cpp's enum llama_pooling_type. STATUS_OK, STATUS_UNSUPPORTED with a note. */
NODISCARD status pooling_facts_read_gguf(const gguf *file, const char *architecture,
                                         struct pooling_facts *out, struct error_note *note);

#endif
