#ifndef PENSTOCK_ENCODER_SHAPE_H
#define PENSTOCK_ENCODER_SHAPE_H

#include "backend.h"
#include "gguf.h"
#include "pooling_facts.h"
#include "status.h"

/* What kind of encoder a model is and how large, and what is made of its last layer. Pure. */

/* The head of a model that classifies. */
enum class_head {
    CLASS_HEAD_NONE,
    CLASS_HEAD_POOLER,  /* BERT: tanh(pooler), then classifier */
    CLASS_HEAD_ROBERTA, /* tanh(classifier.dense), then classifier.out_proj */
};

struct encoder_shape {
    const char *architecture; /* static */
    uint32_t n_layers, d, d_ffn, n_heads, d_head, vocabulary, n_positions, n_types;
    uint32_t position_offset; /* of the first token: RoBERTa begins behind its padding id */
    uint32_t context_max;     /* longest text the model was made for */
    float norm_epsilon;
    enum gate_kind activation;
    enum pooling_kind pooling;
    bool normalizes;
    enum class_head head;
    uint32_t class_count;
    bool applies_sigmoid; /* to a single class's logit */
};

/* STATUS_INVALID, STATUS_UNSUPPORTED, with a note; STATUS_NOT_FOUND: there is no config.json. */
NODISCARD status encoder_shape_read_folder(const char *folder, struct encoder_shape *out,
                                           struct error_note *note);
NODISCARD status encoder_shape_read_gguf(const gguf *file, struct encoder_shape *out,
                                         struct error_note *note);

#endif
