#ifndef PENSTOCK_ENGINE_DEVICE_PLAN_H
#define PENSTOCK_ENGINE_DEVICE_PLAN_H

#include "model_parts.h"

/* What a model takes of accelerators and what it should do there, reckoned without any: bytes a rank, tokens in the cache, and
 * times from a roofline (Williams, Waterman, Patterson 2009): a step takes as long as its bytes or its operations need,
 * whichever is more, at the shares of a device's peaks that good servers reach. Pure.
 *
 * A layout is tensor x pipeline ranks, a device each: tensor ranks have a part of every matrix and add up twice a layer,
 * pipeline stages have a part of the layers. */

struct device_figures {
    const char *name;           /* "H200" */
    uint64_t memory_bytes;      /* of one device */
    double memory_rate;         /* bytes a second */
    double bf16_rate, fp8_rate; /* dense operations a second; fp8 0: it has none */
    double link_rate;           /* bytes a second and direction, to the others of its node */
    uint32_t node_devices;      /* that these links reach */
    bool is_planned_only;       /* there are no kernels for it: CUDA's run on NVIDIA's devices */
};

/* By its name, or a product's name that has it as a word: "NVIDIA H100 80GB HBM3". NULL: it is none of those known. */
const struct device_figures *device_figures_find(const char *product);
/* In rising order of memory; NULL behind the last. */
const struct device_figures *device_figures_at(uint32_t index);

struct device_plan_input {
    const struct model_info *model;
    const struct model_parts *parts;
    const struct device_figures *device;
    uint32_t tensor, pipeline;   /* > 0 */
    uint32_t sequence_count_max; /* > 0 */
    uint32_t context_max;        /* > 0 */
    uint32_t batch_tokens_max;   /* rows of a step; > 0 */
    uint32_t prompt_tokens;      /* of the prompt whose first token is predicted; > 0 */
    uint64_t kv_bytes;           /* that the cache is to have on each rank; 0: all that is left */
};

struct device_plan {
    /* Of the fullest rank. */
    uint64_t weight_bytes, activation_bytes, reserved_bytes, kv_bytes;
    uint64_t kv_tokens;        /* in all ranks' caches together, of all sequences */
    uint64_t kv_token_bytes;   /* on one rank */
    double first_token_s;      /* of the prompt, alone */
    double inter_token_s;      /* of one stream, at the prompt's length */
    double inter_token_full_s; /* of sequence_count_max streams, or as many as the cache holds */
    uint32_t full_streams;     /* how many those are */
    double output_tokens_s;    /* of all of them together */
};

/* STATUS_INVALID: the layout does not divide the model (heads, experts, layers), with a note; STATUS_TOO_LARGE: it does not fit, with
 * the smallest layout of that device that does, where one of up to 64 tensor ranks and 16 stages is. */
NODISCARD status device_plan_make(const struct device_plan_input *input, struct device_plan *out,
                                  struct error_note *note);

#endif
