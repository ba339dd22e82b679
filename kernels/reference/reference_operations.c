/* What is done row by row: embedding, norms, products, gates. */
#include "reference_private.h"

#include <math.h>
#include <string.h>

#include "check.h"

void reference_embed(backend *b, const weight *table, const int32_t *tokens, uint32_t n_rows,
                     float scale, float *x)
{
    (void)b;
    for (uint32_t r = 0; r < n_rows; r++) {
        CHECK(tokens[r] >= 0);
        float *row = x + (size_t)r * table->n_cols;
        if ((uint32_t)tokens[r] >= table->n_outputs) {
            memset(row, 0, table->n_cols * sizeof *row);
            continue;
        }
        reference_weight_row(table, (uint32_t)tokens[r], row);
        for (uint32_t c = 0; c < table->n_cols; c++)
            row[c] *= scale;
    }
}

void reference_norm_row(const float *in, const float *gain, float epsilon, uint32_t d, float *out)
{
    double squares = 0;
    for (uint32_t c = 0; c < d; c++)
        squares += (double)in[c] * in[c];
    double inverse = 1 / sqrt(squares / d + (double)epsilon);
    for (uint32_t c = 0; c < d; c++)
        out[c] = (float)(in[c] * inverse * gain[c]);
}

void reference_rms_norm(backend *b, const float *x, const float *gain, float epsilon,
                        const uint32_t *rows, uint32_t n_rows, uint32_t d, activation *out)
{
    (void)b;
    CHECK(d == out->n_cols && n_rows <= out->rows_max);
    for (uint32_t r = 0; r < n_rows; r++)
        reference_norm_row(x + (size_t)(rows != NULL ? rows[r] : r) * d, gain, epsilon, d,
                           out->values + (size_t)r * d);
}

void reference_matmul(backend *b, const weight *w, const activation *a, uint32_t n_rows,
                      const float *bias, bool accumulate, float *y)
{
    CHECK(!w->is_gated && a->n_cols == w->n_cols && n_rows <= a->rows_max);
    float *row = of_backend(b)->rows;
    for (uint32_t o = 0; o < w->n_outputs; o++) {
        reference_weight_row(w, o, row);
        for (uint32_t r = 0; r < n_rows; r++) {
            double sum = dot(row, a->values + (size_t)r * a->n_cols, w->n_cols);
            if (bias != NULL)
                sum += bias[o];
            float *target = y + (size_t)r * w->n_outputs + o;
            *target = (float)(accumulate ? *target + sum : sum);
        }
    }
}

double reference_gate_value(enum gate_kind kind, double g, double u)
{
    const double clamp = (double)GATE_CLAMP;
    switch (kind) {
    case GATE_SILU:
        return g / (1 + exp(-g)) * u;
    case GATE_GELU_TANH:
        return 0.5 * g * (1 + tanh(0.7978845608028654 * (g + 0.044715 * g * g * g))) * u;
    case GATE_GELU_ERF:
        return 0.5 * g * (1 + erf(g * 0.7071067811865476)) * u;
    case GATE_SILU_CLAMPED:
        g = fmin(g, clamp);
        return g / (1 + exp(-(double)GATE_ALPHA * g)) * (fmin(fmax(u, -clamp), clamp) + 1);
    }
    check_failed("a gate kind", __FILE__, __LINE__);
}

void reference_gated_row(const struct reference_backend *b, const weight *w, const float *in,
                         const struct gated_terms *terms, enum gate_kind gate, float *out)
{
    float *gate_row = b->rows, *up_row = b->rows + w->n_cols;
    for (uint32_t o = 0; o < w->n_outputs; o++) {
        reference_weight_row(w, o, gate_row);
        reference_weight_row(w, w->n_outputs + o, up_row);
        double g = dot(gate_row, in, w->n_cols), u = dot(up_row, in, w->n_cols);
        if (terms->bias != NULL) {
            g += (double)terms->bias[o];
            u += (double)terms->bias[w->n_outputs + o];
        }
        if (terms->rows != NULL) {
            g += (double)terms->rows[o];
            u += (double)terms->rows[w->n_outputs + o];
        }
        out[o] = (float)reference_gate_value(gate, g, u);
    }
}

void reference_matmul_gated(backend *b, const weight *w, const activation *a, uint32_t n_rows,
                            const struct gated_terms *terms, enum gate_kind gate, activation *out)
{
    CHECK(w->is_gated && a->n_cols == w->n_cols && n_rows <= a->rows_max);
    CHECK(out->n_cols == w->n_outputs && n_rows <= out->rows_max);
    for (uint32_t r = 0; r < n_rows; r++) {
        struct gated_terms own = terms != NULL ? *terms : (struct gated_terms){NULL, NULL};
        if (own.rows != NULL)
            own.rows += (size_t)r * 2 * w->n_outputs;
        reference_gated_row(of_backend(b), w, a->values + (size_t)r * a->n_cols, &own, gate,
                            out->values + (size_t)r * out->n_cols);
    }
}

void reference_matmul_low_rank(backend *b, const struct low_rank *changes, uint32_t change_count,
                               const struct low_rank_rows *rows, const activation *a,
                               float *scratch, uint32_t first_output, uint32_t y_width, float *y)
{
    (void)b;
    for (uint32_t i = 0; i < rows->n_rows; i++) {
        CHECK(rows->changes[i] < change_count);
        const struct low_rank *change = &changes[rows->changes[i]];
        if (change->rank == 0)
            continue;
        CHECK(a->n_cols == change->n_cols && first_output + change->n_outputs <= y_width);
        const float *x = a->values + (size_t)rows->rows[i] * a->n_cols;
        for (uint32_t k = 0; k < change->rank; k++)
            scratch[k] = (float)dot(change->down + (size_t)k * change->n_cols, x, change->n_cols);
        for (uint32_t o = 0; o < change->n_outputs; o++) {
            double sum = 0;
            for (uint32_t k = 0; k < change->rank; k++)
                sum += (double)scratch[k] * (double)change->up[(size_t)k * change->n_outputs + o];
            y[(size_t)rows->rows[i] * y_width + first_output + o] += (float)sum;
        }
    }
}

void reference_rms_norm_add(backend *b, float *y, const float *gain, float epsilon, uint32_t n_rows,
                            uint32_t d, float *x)
{
    (void)b;
    for (uint32_t r = 0; r < n_rows; r++) {
        reference_norm_row(y + (size_t)r * d, gain, epsilon, d, y + (size_t)r * d);
        for (uint32_t c = 0; c < d; c++)
            x[(size_t)r * d + c] += y[(size_t)r * d + c];
    }
}

void reference_soft_cap(backend *b, float *x, uint64_t count, float cap)
{
    (void)b;
    for (uint64_t i = 0; i < count; i++)
        x[i] = (float)((double)cap * tanh((double)x[i] / (double)cap));
}
