#ifndef PENSTOCK_ENGINE_TOKENIZER_FOLDER_H
#define PENSTOCK_ENGINE_TOKENIZER_FOLDER_H

#include "buffer.h"
#include "tokenizer.h"

/* The text side of a Hugging Face model folder: tokenizer.json, and where they are there, tokenizer_config.json,
 * chat_template.jinja, special_tokens_map.json and generation_config.json. Files that a model of this kind may lack may be
 * absent; one that is there must be right. Oracle: the `tokenizers` and `transformers` packages. */

/* What generation_config.json suggests where a request says nothing; NaN and -1: it does not say. */
struct generation_defaults {
    double temperature, top_p, min_p, repetition_penalty;
    int32_t top_k;
};

struct tokenizer_folder {
    tokenizer *tokenizer;        /* owned; tokenizer_is_end knows the eos ids of all files */
    struct buffer chat_template; /* owned; the template's source; no bytes: the folder has none */
    struct generation_defaults generation;
    uint32_t length_max; /* model_max_length; 0: none given, or beyond any use */
};

/* `path`: the folder. STATUS_NOT_FOUND: no tokenizer.json; STATUS_INVALID, STATUS_UNSUPPORTED (a part of the tokenizer this
 * build does not have, by its name), STATUS_TOO_LARGE, STATUS_IO, STATUS_NO_MEMORY; each with a note that begins with the
 * file. On failure nothing is left to deinit. */
NODISCARD status tokenizer_folder_open(const char *path, struct tokenizer_folder *out,
                                       struct error_note *note);
void tokenizer_folder_deinit(struct tokenizer_folder *folder);

/* A tokenizer from the text of a tokenizer.json alone (tests, fuzzing). `eos`, `bos`: the texts that the configuration
 * names, empty slices for none. */
NODISCARD status tokenizer_create_json(struct text_slice json, struct text_slice bos,
                                       struct text_slice eos, tokenizer **out,
                                       struct error_note *note);

#endif
