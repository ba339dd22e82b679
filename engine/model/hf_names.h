#ifndef PENSTOCK_HF_NAMES_H
#define PENSTOCK_HF_NAMES_H

#include "model_family.h"

/* From the names of tensors in Hugging Face checkpoints to GGUF's. Pure. */

/* What a tensor of a checkpoint is for. */
enum hf_use {
    HF_TENSOR,  /* a tensor of the model, or one that nobody knows (under its own name) */
    HF_SCALE,   /* factors of the F8 tensor of the name */
    HF_IGNORED, /* buffers that follow from the configuration */
    /* gpt-oss' experts, which are stacked otherwise than GGUF's */
    HF_GATE_UP,
    HF_GATE_UP_BIAS,
    HF_GATE_UP_BLOCKS,
    HF_GATE_UP_SCALES,
    HF_DOWN,
    HF_DOWN_BLOCKS,
    HF_DOWN_SCALES
};

#define HF_NAME_MAX 160u
/* Writes the NUL-terminated name to `out`; the names of gpt-oss' experts get
 * as far as the layer ("blk.7."). */
enum hf_use hf_name_of(const struct model_family *family, struct text_slice name,
                       char out[HF_NAME_MAX]);

#endif
