#ifndef PENSTOCK_ENGINE_MODEL_SOURCE_H
#define PENSTOCK_ENGINE_MODEL_SOURCE_H

#include "gguf.h"
#include "safetensors.h"

/* A model on disk, whichever kind of files it is in: a GGUF file, or a folder as Hugging Face's libraries write it
 * (config.json, safetensors). Tensors are named and shaped as GGUF's converter names them, so that what loads a model never
 * asks where it came from. Immutable after open: any thread. */
typedef struct model_source model_source;

/* A folder, or a GGUF file. Statuses as gguf_open and safetensors_open; STATUS_INVALID, STATUS_UNSUPPORTED also about
 * config.json. */
NODISCARD status model_source_open(const char *path, model_source **out, struct error_note *note);
/* A GGUF file that is in memory and outlives the object (tests, fuzzing); `data` is aligned to 8 bytes. */
NODISCARD status model_source_open_memory(const void *data, uint64_t bytes, model_source **out,
                                          struct error_note *note);
void model_source_close(model_source *source); /* accepts NULL */

/* Starts reading everything into memory; returns at once. */
void model_source_prefetch(const model_source *source);
/* See gguf_get_identity; of a folder, over all its files. */
void model_source_get_identity(const model_source *source, struct gguf_identity *out);

/* NULL: the model is a folder. */
const gguf *model_source_gguf(const model_source *source);
/* NULL: the model is a file. */
const char *model_source_folder(const model_source *source);

#endif
