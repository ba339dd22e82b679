#include "model_hidden.h"

#include <math.h>

#include "memory.h"

status hidden_open(struct model_hidden *hidden, backend *b, float *x, uint32_t rows_max, uint32_t d,
                   const float *gain, float epsilon)
{
    bool is_host = b->operations->memory_is_host;
    *hidden = (struct model_hidden){.b = b, .x = x, .d = d, .epsilon = epsilon};
    hidden->gain = memory_allocate_array(d, sizeof *hidden->gain);
    hidden->host_x =
        is_host ? x : memory_allocate_array((size_t)rows_max * d, sizeof *hidden->host_x);
    if (hidden->gain == NULL || hidden->host_x == NULL)
        return STATUS_NO_MEMORY;
    b->operations->download(b, hidden->gain, gain, d * sizeof *gain);
    return b->operations->synchronize(b);
}

void hidden_close(struct model_hidden *hidden)
{
    if (hidden->host_x != hidden->x)
        memory_release(hidden->host_x);
    memory_release(hidden->gain);
}

/* The RMS norm of a row (Zhang and Sennrich 2019). */
static void add_row(const struct model_hidden *hidden, const float *row, double *sum)
{
    double squares = 0.0;
    for (uint32_t c = 0; c < hidden->d; c++)
        squares += (double)row[c] * (double)row[c];
    double scale = 1.0 / sqrt(squares / hidden->d + (double)hidden->epsilon);
    for (uint32_t c = 0; c < hidden->d; c++)
        sum[c] += (double)row[c] * scale * (double)hidden->gain[c];
}

status hidden_add(struct model_hidden *hidden, const struct model_step *step)
{
    const struct backend_operations *o = hidden->b->operations;
    if (hidden->host_x != hidden->x) {
        o->download(hidden->b, hidden->host_x, hidden->x,
                    (uint64_t)step->batch.n_rows * hidden->d * sizeof *hidden->x);
        status s = o->synchronize(hidden->b);
        if (s != STATUS_OK)
            return s;
    }
    for (uint32_t i = 0; i < step->hidden_row_count; i++)
        add_row(hidden, hidden->host_x + (size_t)step->hidden_rows[i] * hidden->d,
                step->hidden_sums[i]);
    return STATUS_OK;
}
