#ifndef PENSTOCK_CUDA_ATTENTION_PRIVATE_H
#define PENSTOCK_CUDA_ATTENTION_PRIVATE_H

#include "activation.h"
#include "attention.h"

/* What the files of attention say to each other. */

void attention_split_launch(device_stream *stream, const struct attention_args *args);
void attention_long_launch(device_stream *stream, const struct attention_args *args);

/* LAUNCH(size, type) of the kernel for heads of d_head of a cache of `type`; nothing for sizes that attention_supports does
 * not know. */
#define ATTENTION_DISPATCH_TYPE(size, type, LAUNCH)                                                \
    case size:                                                                                     \
        if ((type) == KV_F16)                                                                      \
            LAUNCH(size, KV_F16);                                                                  \
        else if ((type) == KV_INT8)                                                                \
            LAUNCH(size, KV_INT8);                                                                 \
        else                                                                                       \
            LAUNCH(size, KV_FP8);                                                                  \
        break
#define ATTENTION_DISPATCH(d_head, type, LAUNCH)                                                   \
    switch (d_head) {                                                                              \
        ATTENTION_DISPATCH_TYPE(32, type, LAUNCH);                                                 \
        ATTENTION_DISPATCH_TYPE(64, type, LAUNCH);                                                 \
        ATTENTION_DISPATCH_TYPE(80, type, LAUNCH);                                                 \
        ATTENTION_DISPATCH_TYPE(96, type, LAUNCH);                                                 \
        ATTENTION_DISPATCH_TYPE(112, type, LAUNCH);                                                \
        ATTENTION_DISPATCH_TYPE(128, type, LAUNCH);                                                \
        ATTENTION_DISPATCH_TYPE(192, type, LAUNCH);                                                \
        ATTENTION_DISPATCH_TYPE(256, type, LAUNCH);                                                \
    }

#endif
