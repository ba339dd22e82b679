#include "encoder_pooling.h"

#include <math.h>
#include <string.h>

/* sentence-transformers' floor of a length (torch.nn.functional.normalize). */
#define LENGTH_MIN 1e-12

static double column_sum(const float *rows, uint32_t n_rows, uint32_t d, uint32_t c)
{
    double sum = 0;
    for (uint32_t r = 0; r < n_rows; r++)
        sum += (double)rows[(size_t)r * d + c];
    return sum;
}

static float column_highest(const float *rows, uint32_t n_rows, uint32_t d, uint32_t c)
{
    float highest = rows[c];
    for (uint32_t r = 1; r < n_rows; r++)
        highest = fmaxf(highest, rows[(size_t)r * d + c]);
    return highest;
}

static void normalize(float *out, uint32_t d)
{
    double squares = 0;
    for (uint32_t c = 0; c < d; c++)
        squares += (double)out[c] * (double)out[c];
    double length = sqrt(squares);
    length = length < LENGTH_MIN ? LENGTH_MIN : length;
    for (uint32_t c = 0; c < d; c++)
        out[c] = (float)((double)out[c] / length);
}

void encoder_pool(const struct encoder_shape *shape, const float *rows, uint32_t n_rows, float *out)
{
    uint32_t d = shape->d;
    double divisor = shape->pooling == POOLING_MEAN_SQRT ? sqrt((double)n_rows) : (double)n_rows;
    switch (shape->pooling) {
    case POOLING_CLS:
        memcpy(out, rows, d * sizeof out[0]);
        break;
    case POOLING_LAST:
        memcpy(out, rows + (size_t)(n_rows - 1) * d, d * sizeof out[0]);
        break;
    case POOLING_MAX:
        for (uint32_t c = 0; c < d; c++)
            out[c] = column_highest(rows, n_rows, d, c);
        break;
    case POOLING_MEAN:
    case POOLING_MEAN_SQRT:
        for (uint32_t c = 0; c < d; c++)
            out[c] = (float)(column_sum(rows, n_rows, d, c) / divisor);
        break;
    }
    if (shape->normalizes)
        normalize(out, d);
}

static double product(const struct host_matrix *m, uint32_t output, const float *row)
{
    double sum = (double)m->bias[output];
    for (uint32_t c = 0; c < m->n_cols; c++)
        sum += (double)m->rows[(size_t)output * m->n_cols + c] * (double)row[c];
    return sum;
}

void encoder_classify(const struct encoder_shape *shape, const struct encoder_weights *weights,
                      const float *row, float *hidden, float *out)
{
    for (uint32_t o = 0; o < shape->d; o++)
        hidden[o] = (float)tanh(product(&weights->head_dense, o, row));
    for (uint32_t o = 0; o < shape->class_count; o++) {
        double logit = product(&weights->head_out, o, hidden);
        out[o] = (float)(shape->applies_sigmoid ? 1.0 / (1.0 + exp(-logit)) : logit);
    }
}
