/* Rows gathered and normed. */

#include "check.h"
#include "cuda_backend.h"
#include "encoder.h"
#include "products.h"
#include "rows.h"

/* The rows of `rows`: the open step's logit rows are on the device already. */
static const uint32_t *rows_of(struct cuda_backend *b, const uint32_t *rows, uint32_t n_rows)
{
    if (rows == NULL)
        return NULL;
    if (b->step.is_open && rows == b->step.logit_rows)
        return b->step.state.logit_rows;
    return loose_copy(b, rows, n_rows * sizeof(*rows));
}

static void gather(struct cuda_backend *b, const weight *table, const int32_t *tokens,
                   uint32_t n_rows, float scale, bool accumulate, float *x)
{
    bool is_step = b->step.is_open && tokens == b->step.tokens;
    if (n_rows == 0)
        return;
    const struct embed_args args = {
        .table = table->view,
        .tokens = is_step ? b->step.state.tokens : loose_copy(b, tokens, n_rows * sizeof(*tokens)),
        .sampled = is_step ? b->step.sampled : NULL,
        .n_rows = n_rows,
        .scale = scale,
        .accumulate = accumulate,
        .x = x,
    };
    embed_launch(b->stream, &args);
}

void cuda_embed(backend *b, const weight *table, const int32_t *tokens, uint32_t n_rows,
                float scale, float *x)
{
    gather(of_cuda(b), table, tokens, n_rows, scale, false, x);
}

void cuda_embed_add(backend *b, const weight *table, const int32_t *ids, uint32_t n_rows, float *x)
{
    gather(of_cuda(b), table, ids, n_rows, 1.0f, true, x);
}

void cuda_rms_norm(backend *base, const float *x, const float *gain, float epsilon,
                   const uint32_t *rows, uint32_t n_rows, uint32_t d, activation *out)
{
    struct cuda_backend *b = of_cuda(base);
    if (n_rows == 0)
        return;
    const struct rms_norm_args args = {
        .x = x,
        .gain = gain,
        .rows = rows_of(b, rows, n_rows),
        .n_rows = n_rows,
        .d = d,
        .epsilon = epsilon,
        .out = activation_write(out, n_rows),
    };
    rms_norm_launch(b->stream, &args);
}

void cuda_rms_norm_add(backend *b, float *y, const float *gain, float epsilon, uint32_t n_rows,
                       uint32_t d, float *x)
{
    const struct rms_norm_add_args args = {y, gain, x, n_rows, d, epsilon};
    if (n_rows > 0)
        rms_norm_add_launch(of_cuda(b)->stream, &args);
}

void cuda_soft_cap(backend *b, float *x, uint64_t count, float cap)
{
    if (count > 0)
        soft_cap_launch(of_cuda(b)->stream, x, count, cap);
}

void cuda_layer_norm(backend *b, float *x, const float *gain, const float *bias, float epsilon,
                     uint32_t n_rows, uint32_t d, activation *out)
{
    if (n_rows == 0)
        return;
    const struct layer_norm_args args = {
        x, gain, bias, n_rows, d, epsilon, activation_write(out, n_rows)};
    layer_norm_launch(of_cuda(b)->stream, &args);
}

void cuda_activate(backend *b, const float *y, uint32_t n_rows, enum gate_kind kind,
                   activation *out)
{
    if (n_rows == 0)
        return;
    const struct activate_args args = {y, n_rows, kind, activation_write(out, n_rows)};
    activate_launch(of_cuda(b)->stream, &args);
}
