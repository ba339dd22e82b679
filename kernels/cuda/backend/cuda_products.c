/* Products, by how many rows there are. */

#include <string.h>

#include "check.h"
#include "cuda_backend.h"
#include "products.h"
#include "tile_product.h"

/* --- many rows: cuBLASLt --- */

struct wide_product {
    const weight *w;
    const struct activation_view *a;
    uint32_t n_rows;
    bool accumulate;
    float *y; /* rows of the weight's n_outputs */
};

static void multiply(struct cuda_backend *b, const struct wide_product *p,
                     const struct weight_part *part, uint32_t first, uint32_t count,
                     const void *matrix, uint64_t stride)
{
    bool is_f16 = part->form == WEIGHT_F16;
    const struct gemm_args args = {
        .m = p->n_rows,
        .n = count,
        .k = part->n_cols,
        .type = is_f16 ? GEMM_F16 : GEMM_BF16,
        .a = is_f16 ? p->a->f16 : p->a->bf16,
        .w = matrix,
        .a_stride = p->a->n_cols,
        .w_stride = stride,
        .y_stride = p->w->view.n_outputs,
        .alpha = 1.0f,
        .accumulate = p->accumulate,
        .y = p->y + part->first_output + first,
    };
    device_gemm(b->stream, &args);
}

/* A part that is not of 16 bits is made so in runs of outputs that fit in the scratch. */
static void multiply_widened(struct cuda_backend *b, const struct wide_product *p,
                             const struct weight_part *part)
{
    uint32_t stride = (part->n_cols + 7) / 8 * 8;
    uint64_t fit = WIDE_WEIGHT_BYTES / (2ull * stride) / WEIGHT_BAND_OUTPUTS * WEIGHT_BAND_OUTPUTS;
    uint32_t run = fit < WEIGHT_BAND_OUTPUTS ? WEIGHT_BAND_OUTPUTS : (uint32_t)fit;
    for (uint32_t first = 0; first < part->n_outputs; first += run) {
        uint32_t left = part->n_outputs - first, count = left < run ? left : run;
        const struct dequantise_args args = {
            .part = *part,
            .first_output = first,
            .n_outputs = count,
            .out = b->wide_weight.memory,
            .out_stride = stride,
        };
        dequantise_launch(b->stream, &args);
        multiply(b, p, part, first, count, args.out, stride);
    }
}

static void multiply_wide(struct cuda_backend *b, const struct wide_product *p, const float *bias)
{
    const struct weight_view *view = &p->w->view;
    for (uint32_t i = 0; i < view->part_count; i++) {
        const struct weight_part *part = &view->parts[i];
        if (weight_form_is_rows(part->form))
            multiply(b, p, part, 0, part->n_outputs, part->data, part->stride);
        else
            multiply_widened(b, p, part);
    }
    if (bias == NULL)
        return;
    const struct bias_add_args args = {
        .y = p->y,
        .bias = bias,
        .n_rows = p->n_rows,
        .n_outputs = view->n_outputs,
        .y_width = view->n_outputs,
    };
    bias_add_launch(b->stream, &args);
}

/* --- any number of rows --- */

/* y gets all outputs, of a gated weight both halves'. */
static void multiply_rows(struct cuda_backend *b, const weight *w, const activation *a,
                          uint32_t n_rows, const float *bias, bool accumulate, float *y)
{
    struct activation_view view = activation_read(a);
    if (activation_is_few(a) || !w->takes_tiles) {
        const struct product_args args = {w->view, view, n_rows, bias, accumulate, y};
        product_few_launch(b->stream, &args);
    } else if (n_rows <= TILE_ROWS_MAX) {
        const struct tile_product_args args = {w->view,    view, n_rows,         bias,
                                               accumulate, y,    b->tiles.memory};
        tile_product_launch(b->stream, &args);
    } else {
        const struct wide_product product = {w, &view, n_rows, accumulate, y};
        multiply_wide(b, &product, bias);
    }
}

void cuda_matmul(backend *b, const weight *w, const activation *a, uint32_t n_rows,
                 const float *bias, bool accumulate, float *y)
{
    if (n_rows > 0)
        multiply_rows(of_cuda(b), w, a, n_rows, bias, accumulate, y);
}

static void join(struct cuda_backend *b, const weight *w, const activation *a, uint32_t n_rows,
                 const struct gated_terms *terms, enum gate_kind gate,
                 const struct activation_view *out)
{
    multiply_rows(b, w, a, n_rows, NULL, false, b->gated.memory);
    const struct gate_join_args args = {b->gated.memory, n_rows, *terms, gate, *out};
    gate_join_launch(b->stream, &args);
}

void cuda_matmul_gated(backend *base, const weight *w, const activation *a, uint32_t n_rows,
                       const struct gated_terms *terms, enum gate_kind gate, activation *out)
{
    struct cuda_backend *b = of_cuda(base);
    const struct gated_terms none = {NULL, NULL};
    const struct gated_terms *given = terms != NULL ? terms : &none;
    if (n_rows == 0)
        return;
    struct activation_view in = activation_read(a), to = activation_write(out, n_rows);
    if (activation_is_few(a) && weight_view_is_joined(&w->view)) {
        const struct product_gated_args args = {w->view, in, n_rows, *given, gate, to};
        product_gated_few_launch(b->stream, &args);
    } else if (!activation_is_few(a) && n_rows <= TILE_ROWS_MAX && w->takes_gated_tiles) {
        const struct tile_gated_args args = {w->view, in, n_rows,         *given,
                                             gate,    to, b->tiles.memory};
        tile_gated_launch(b->stream, &args);
    } else {
        join(b, w, a, n_rows, given, gate, &to);
    }
}

void cuda_matmul_low_rank(backend *base, const struct low_rank *changes, uint32_t change_count,
                          const struct low_rank_rows *rows, const activation *a, float *scratch,
                          uint32_t first_output, uint32_t y_width, float *y)
{
    struct low_rank_args args = {
        .rows = *rows,
        .a = activation_read(a),
        .scratch = scratch,
        .first_output = first_output,
        .y_width = y_width,
        .y = y,
    };
    for (uint32_t i = 0; i < change_count; i++)
        args.rank_max = changes[i].rank > args.rank_max ? changes[i].rank : args.rank_max;
    for (uint32_t first = 0; first < change_count; first += LOW_RANK_CHANGES_MAX) {
        uint32_t left = change_count - first;
        args.first_change = first;
        args.changes.count = left < LOW_RANK_CHANGES_MAX ? left : LOW_RANK_CHANGES_MAX;
        memcpy(args.changes.items, changes + first, args.changes.count * sizeof(*changes));
        low_rank_launch(of_cuda(base)->stream, &args);
    }
}
