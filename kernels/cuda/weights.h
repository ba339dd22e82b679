#ifndef PENSTOCK_KERNELS_CUDA_WEIGHTS_H
#define PENSTOCK_KERNELS_CUDA_WEIGHTS_H

#include <stdbool.h>
#include <stdint.h>

/* How a weight lies in a device's memory. One layout serves products of few rows, products of many, and gathering a row.
 *
 * A weight is a list of parts: runs of sources of one form, stacked along the outputs. A part is a list of bands of 16
 * outputs (the last one is filled up with zeros), one after the other, and there are two kinds.
 *
 * Rows (F32, F16, BF16): each output has `stride` elements, its n_cols and zeros up to a multiple of 64. This is what a
 * library's product of two matrices reads too, so that such a weight is never converted.
 *
 * Cells (everything else): 16 outputs by 64 columns make a cell, the columns behind n_cols being zeros. A band is
 * `band_units_bytes` bytes of units and then n_spans cells. The 32 lanes of a warp share a cell as the tensor cores' operands
 * are shared: lane 4 g + t (g < 8, t < 4) has outputs g and g + 8 and, of each of the cell's two groups of 32 columns, the
 * eight columns from 8 t on. Tensor cores sum over columns in any order that both operands agree on, so these eight
 * consecutive columns serve as four pairs of two multiplications of 16-bit elements, or as two words of one of int8 codes;
 * and the activation's eight columns are one load. Every lane of a warp reads 16 bytes next to its neighbour's, so a warp reads
 * a cell's codes as one run of 512 bytes.
 *
 * A cell:
 *     codes    [32 lanes] 16 bytes: words (group 0, output g), (0, g + 8), (1, g), (1, g + 8), each with eight codes of four
 *              bits: byte b has column 8 t + b in its low half and 8 t + 4 + b in its high half (E2M1: from the lowest
 *              bits, columns 8 t .. 8 t + 7 one by one).
 *              Codes of eight bits (S8, F8): two such runs of 512 bytes, one a group, of words (g, first four columns),
 *              (g + 8, first four), (g, last four), (g + 8, last four).
 *     plane    the bits above the fourth. U5: [32 lanes] a word in which bit s of byte b belongs to byte b of register s; U6:
 *              [32 lanes] two words, one a group, bits 2 s and 2 s + 1 likewise. Registers: (g, first four columns), (g + 8,
 *              first), (g, last), (g + 8, last); for U5 group 0's four, then group 1's.
 *     scales   f16, [8 g] group 0's and then group 1's: (scale of output g, scale of g + 8), and for forms with minimums
 *              (minimum of g, of g + 8), for U6, which has a scale for 16 columns, the second 16 columns' scales. F8 has none.
 * An element is unit * (scale * (code + offset) + minimum). The unit, a power of two and one for each output, keeps the
 * products of a file's two-level scales within f16 whatever their magnitude. F8's elements are multiplied with f32 scales,
 * an array behind the part's bands.
 */
enum weight_form {
    WEIGHT_F32,
    WEIGHT_F16,
    WEIGHT_BF16,
    WEIGHT_F8,  /* E4M3 */
    WEIGHT_U4,  /* codes 0..15, offset -8: Q4_0 */
    WEIGHT_U4M, /* with a minimum: Q4_1, Q4_K */
    WEIGHT_U5,  /* codes 0..31, offset -16: Q5_0 */
    WEIGHT_U5M, /* with a minimum: Q5_1, Q5_K */
    WEIGHT_U6,  /* codes 0..63, offset -32, a scale for 16 columns: Q6_K */
    WEIGHT_S8,  /* signed codes: Q8_0 */
    WEIGHT_E2M1, /* codes of 4 bits that stand for 0, 1, 2, 3, 4, 6, 8, 12 and their negatives: MXFP4 */
    WEIGHT_FORM_COUNT
};

#define WEIGHT_BAND_OUTPUTS 16u
#define WEIGHT_SPAN_COLS    64u
#define WEIGHT_GROUP_COLS   32u
#define WEIGHT_UNITS_BYTES  64u /* f32 [16], before the cells of a band of codes */
#define WEIGHT_PART_MAX     8u

#ifdef __cplusplus
#define WEIGHT_FACT constexpr
#else
#define WEIGHT_FACT static inline
#endif

WEIGHT_FACT bool weight_form_is_rows(enum weight_form form)
{
    return form <= WEIGHT_BF16;
}

/* Its products read an activation's codes, scales and sums. */
WEIGHT_FACT bool weight_form_is_coded(enum weight_form form)
{
    return form >= WEIGHT_U4;
}

WEIGHT_FACT bool weight_form_has_minimums(enum weight_form form)
{
    return form == WEIGHT_U4M || form == WEIGHT_U5M;
}

WEIGHT_FACT bool weight_form_is_bytes(enum weight_form form)
{
    return form == WEIGHT_F8 || form == WEIGHT_S8;
}

/* Bytes of an element of rows. */
WEIGHT_FACT uint32_t weight_element_bytes(enum weight_form form)
{
    return form == WEIGHT_F32 ? 4 : 2;
}

/* Where in a cell its plane begins. */
WEIGHT_FACT uint32_t weight_plane_at(enum weight_form form)
{
    return weight_form_is_bytes(form) ? 1024 : 512;
}

/* Bytes of a lane's plane words. */
WEIGHT_FACT uint32_t weight_plane_bytes(enum weight_form form)
{
    return form == WEIGHT_U6 ? 8 : form == WEIGHT_U5 || form == WEIGHT_U5M ? 4 : 0;
}

/* Where in a cell its scales begin. */
WEIGHT_FACT uint32_t weight_scales_at(enum weight_form form)
{
    return weight_plane_at(form) + 32 * weight_plane_bytes(form);
}

/* Bytes of the scales of outputs g and g + 8 over both groups. */
WEIGHT_FACT uint32_t weight_scale_bytes(enum weight_form form)
{
    return form == WEIGHT_F8 ? 0 : weight_form_has_minimums(form) || form == WEIGHT_U6 ? 16 : 8;
}

WEIGHT_FACT uint32_t weight_cell_bytes(enum weight_form form)
{
    return weight_scales_at(form) + 8 * weight_scale_bytes(form);
}

WEIGHT_FACT uint32_t weight_band_units_bytes(enum weight_form form)
{
    return weight_form_is_coded(form) ? WEIGHT_UNITS_BYTES : 0;
}

/* What is added to a code. */
WEIGHT_FACT int weight_form_offset(enum weight_form form)
{
    return form == WEIGHT_U4 ? -8 : form == WEIGHT_U5 ? -16 : form == WEIGHT_U6 ? -32 : 0;
}

/* One part, in device memory. A plain value: kernels take it as an argument, tables of experts are arrays of it. */
struct weight_part {
    enum weight_form form;
    uint32_t first_output; /* among the weight's */
    uint32_t n_outputs;
    uint32_t n_cols;
    uint32_t n_bands;    /* of 16 outputs */
    uint32_t n_spans;    /* of 64 columns */
    uint32_t stride;     /* rows: elements from one output to the next */
    uint64_t band_bytes; /* from one band to the next; a multiple of 64 */
    const uint8_t *data; /* device, 64-byte aligned */
    /* F8: the factor of output o and group p of 32 columns is scales[o / scale_outputs * scale_stride + p / scale_groups]. */
    const float *scales;
    uint32_t scale_outputs, scale_groups, scale_stride;
    uint32_t scale_inverse; /* p / scale_groups = p * scale_inverse >> 31 */
};

struct weight_view {
    uint32_t
        n_outputs; /* of all parts; a gated weight's are its gate's and then its up projection's */
    uint32_t n_cols;
    uint32_t part_count;
    bool is_gated;
    struct weight_part parts[WEIGHT_PART_MAX];
};

/* Which forms of an activation the products of a weight read. */
struct weight_reads {
    bool f32, f16, bf16, codes;
};

static inline struct weight_reads weight_view_reads(const struct weight_view *view)
{
    struct weight_reads reads = {false, false, false, false};
    for (uint32_t i = 0; i < view->part_count; i++) {
        enum weight_form form = view->parts[i].form;
        reads.f32 |= form == WEIGHT_F32;
        reads.f16 |= form == WEIGHT_F16;
        reads.bf16 |= form == WEIGHT_BF16 || form == WEIGHT_F8;
        reads.codes |= weight_form_is_coded(form);
    }
    return reads;
}

/* Gate and up are of one form, so that one kernel computes both and joins them. */
static inline bool weight_view_is_joined(const struct weight_view *view)
{
    return view->is_gated && view->part_count == 2 && view->parts[0].form == view->parts[1].form;
}

#endif
