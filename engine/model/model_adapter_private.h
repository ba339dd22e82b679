#ifndef PENSTOCK_MODEL_ADAPTER_PRIVATE_H
#define PENSTOCK_MODEL_ADAPTER_PRIVATE_H

#include "adapter_slots.h"
#include "model_adapter.h"
#include "model_shape.h"

/* What an adapter may change. */
enum adapter_part {
    ADAPTER_Q,
    ADAPTER_K,
    ADAPTER_V,
    ADAPTER_QKV, /* of a fused projection */
    ADAPTER_OUT,
    ADAPTER_GATE,
    ADAPTER_UP,
    ADAPTER_GATE_UP,
    ADAPTER_DOWN,
    ADAPTER_PART_COUNT
};

struct adapter_layer {
    struct low_rank changes[ADAPTER_PART_COUNT]; /* rank 0: none */
};

struct model_adapter {
    uint32_t n_layers;
    /* Owned. The vectors in it: owned, in the host's memory; or in the slot, on a device. */
    struct adapter_layer *layers;
    struct adapter_slots *slots; /* borrowed; NULL: the host's memory */
    uint32_t slot;
    /* Of the slot: what the image has, and what of it has been uploaded, of floats. */
    float *image; /* owned; NULL: it is all there */
    uint64_t image_floats, image_room, uploaded;
    uint64_t bytes;
    uint32_t rank; /* the largest */
};

/* Where a part's product stands among the outputs that it is added to. */
struct adapter_place {
    const char *module; /* PEFT's name, behind "layers.N." */
    uint32_t n_cols, n_outputs, first_output;
};
struct adapter_place adapter_place_of(const struct model_shape *shape, enum adapter_part part);
/* Whether the model has that part: fused or not, and no MLP in a mixture of experts. */
bool adapter_may_change(const struct model_shape *shape, enum adapter_part part);

/* For model_adapter.c. */
const struct model_shape *model_get_shape(const model *m);
backend *model_get_backend(const model *m);
uint32_t model_get_adapter_rank_max(const model *m);
struct adapter_slots *model_get_adapter_slots(const model *m); /* NULL: the host's memory */

#endif
