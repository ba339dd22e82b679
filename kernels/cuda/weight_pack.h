#ifndef PENSTOCK_KERNELS_CUDA_WEIGHT_PACK_H
#define PENSTOCK_KERNELS_CUDA_WEIGHT_PACK_H

#include "backend.h"
#include "weights.h"

#ifdef __cplusplus
extern "C" {
#endif

/* From a file's tensors to the bytes of weights.h, on the host. The image of a weight is one run of bytes: its parts' bands,
 * each part followed by its F8 scales. It is packed in pieces of whole bands, each from the sources alone, so that any number
 * of threads can pack and a large model goes to a device through one staging buffer of a few megabytes.
 *
 * Thread: any; nothing here keeps state. */

/* The aim for a piece. One band can be larger (16 rows of 64k f32 elements are 4 MiB). */
#define WEIGHT_PIECE_BYTES (4u << 20)

struct weight_layout_part {
    struct weight_part part; /* without device pointers */
    uint32_t first_source, source_count;
    uint32_t first_piece, piece_bands;    /* bands of a piece */
    uint64_t data_offset;                 /* in the image */
    uint64_t scales_offset, scales_bytes; /* F8 */
};

struct weight_layout {
    uint32_t n_outputs, n_cols, part_count, piece_count;
    bool is_gated;
    uint64_t bytes;           /* of the image; a multiple of 64 */
    uint64_t piece_bytes_max; /* what staging needs */
    struct weight_layout_part parts[WEIGHT_PART_MAX];
};

/* A run of the image. */
struct weight_piece {
    uint64_t offset, bytes;
};

/* Lays out `count` sources stacked along their outputs; their data is not read. Gated: gate and up, two sources of one shape.
 * STATUS_INVALID: a type that is not known, columns that are not whole blocks or differ, no output, more than WEIGHT_PART_MAX
 * sources; STATUS_UNSUPPORTED: more than 2^20 columns. */
NODISCARD status weight_layout_plan(const struct tensor_source *sources, uint32_t count,
                                    bool is_gated, struct weight_layout *out);

struct weight_piece weight_layout_piece(const struct weight_layout *layout, uint32_t index);

/* Writes piece `index` (its `bytes`) to `out`; `sources` as at the plan. */
void weight_piece_pack(const struct weight_layout *layout, const struct tensor_source *sources,
                       uint32_t index, uint8_t *out);

/* The weight whose image is at device address `base` (64-byte aligned). Borrows it. */
struct weight_view weight_layout_view(const struct weight_layout *layout, const void *base);

#ifdef __cplusplus
}
#endif

#endif
