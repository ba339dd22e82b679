#ifndef PENSTOCK_MODEL_FAMILY_H
#define PENSTOCK_MODEL_FAMILY_H

#include <stdbool.h>
#include <stddef.h>

#include "backend.h"
#include "text_slice.h"

/* The features in which families of decoders differ. A new family is a row of the table; a feature that no row had before is
 * a bit or a column, its place in model_weights.c or model.c, and a small reference model (tests/parity). What a file's own
 * keys say (widths, windows, scalings, experts) is in struct model_shape. */

enum family_feature {
    FAMILY_QKV_BIAS = 1 << 0,     /* required; else a bias is used where the file has one */
    FAMILY_FUSED_QKV = 1 << 1,    /* Q, K and V are one tensor, and gate and up another */
    FAMILY_HEAD_NORMS = 1 << 2,   /* RMS norm of each query and key head before it is rotated */
    FAMILY_POST_NORMS = 1 << 3,   /* what attention and MLP give is normed before it is added */
    FAMILY_SINKS = 1 << 4,        /* a learnt score a head that takes a share and has no value */
    FAMILY_UNIT_NORMS = 1 << 5,   /* folders keep gains less one (GGUF's converter adds it) */
    FAMILY_SCALED_INPUT = 1 << 6, /* embeddings times sqrt(d) */
    FAMILY_LOCAL_ROPE = 1 << 7, /* layers with a window rotate by a table of their own, unscaled */
    FAMILY_BIASED_MOE = 1 << 8, /* experts and router have biases */
    /* Tensor names: the norm before the MLP is called post_attention_norm. */
    FAMILY_LATE_FFN_NORM = 1 << 9,
    FAMILY_PERMUTED = 1 << 10,   /* GGUF's converter interleaves the rotated pairs of Q and K */
    FAMILY_EXACT_YARN = 1 << 11, /* YaRN's ramp between real, not whole, pair numbers */
};

/* Which layers have the window. */
enum window_pattern {
    WINDOW_ALL,       /* all, where there is a window */
    WINDOW_ALTERNATE, /* all but each second one */
    WINDOW_FIVE_SIXTHS,
    WINDOW_LATE /* folders: none unless use_sliding_window, then those from max_window_layers on */
};

struct model_family {
    const char *architecture; /* GGUF's general.architecture, and the prefix of the family's keys */
    const char *model_type;   /* config.json's */
    uint32_t features;        /* enum family_feature */
    enum gate_kind gate;
    enum window_pattern windows;
    uint32_t d_head;                /* folders: when config.json does not say; 0: d / n_heads */
    double rope_base;               /* folders: when config.json does not say */
    float attention_cap, logit_cap; /* when the file does not say; 0: none */
    enum router_kind router;
};

/* By GGUF's name, or by config.json's; NULL: unknown. */
const struct model_family *model_family_find(struct text_slice architecture);
const struct model_family *model_family_find_type(struct text_slice model_type);

/* "llama, qwen2, ...": what may be in a file, for messages. */
void model_family_list(bool is_folder, char *out, size_t bytes);

static inline bool family_has(const struct model_family *family, enum family_feature feature)
{
    return (family->features & (uint32_t)feature) != 0;
}

#endif
