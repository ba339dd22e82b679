#ifndef PENSTOCK_MODEL_SOURCE_PRIVATE_H
#define PENSTOCK_MODEL_SOURCE_PRIVATE_H

#include <jansson.h>

#include "gguf_names.h"
#include "model_source.h"

/* Which numbers of a tensor are the ones meant, when a folder keeps them otherwise than GGUF does. */
enum tensor_order {
    ORDER_PLAIN,      /* as they lie */
    ORDER_STRIDED,    /* rows row_first, row_first + row_step, ... of twice as many */
    ORDER_TRANSPOSED, /* and columns lie outside of rows */
    ORDER_MXFP4       /* and scales lie apart, and nibbles in pairs of neighbours */
};

/* A tensor under GGUF's name and shape. */
struct source_tensor {
    struct text_slice name;
    enum tensor_type type;
    uint64_t dimensions[GGUF_DIMENSIONS_MAX]; /* [0] is the fastest: columns; then rows, experts */
    const void *data;

    /* F8_E4M3, see tensor_source */
    const float *scales; /* of all experts */
    uint32_t scale_outputs, scale_cols;

    enum tensor_order order;
    uint32_t row_first, row_step;
    const uint8_t *block_scales; /* ORDER_MXFP4 */
};

struct model_source {
    gguf *file;     /* owned; NULL for a folder */
    char *folder;   /* owned; NULL for a file */
    json_t *config; /* owned; of a folder */
    uint64_t config_checksum;
    safetensors *weights; /* owned; of a folder */

    struct source_tensor *tensors; /* owned */
    uint64_t tensor_count;
    struct gguf_names names; /* of `tensors` */
    char *name_bytes;        /* owned; the names of a folder's tensors */
    float *numbers;          /* owned; what had to be turned into floats: scales, factors */
};

uint64_t model_source_tensor_count(const model_source *source);
const struct source_tensor *model_source_tensor_at(const model_source *source, uint64_t index);
/* NULL when absent. */
const struct source_tensor *model_source_tensor_find(const model_source *source, const char *name);

/* How much of a name a note shows. For "%.*s". */
static inline int name_shown(struct text_slice name)
{
    return name.bytes < 80 ? (int)name.bytes : 80;
}

/* Opens config.json and the weights of `source->folder`, and names the tensors. */
NODISCARD status hf_folder_read(model_source *source, struct error_note *note);

#endif
