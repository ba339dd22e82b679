/* Low-rank changes of products: two small products in floats, a row at a time, so that what a row gets does not depend on
 * which rows share its adapter. */

#include "check.h"
#include "cpu_backend.h"

/* Columns of an output that are one piece: about as much work as a piece of a norm. */
#define PIECE_OUTPUTS 512u

struct low_rank_job {
    struct cpu_backend *cpu;
    const struct low_rank *changes;
    const struct low_rank_rows *rows;
    const activation *a;
    float *scratch;
    uint32_t rank_max;
    uint32_t pieces; /* of a row */
    uint32_t first_output, y_width;
    float *y;
};

/* Units are rows: scratch[i, k] = down[k] . a row. */
static void shrink_rows(void *context, uint32_t member, uint32_t first, uint32_t count)
{
    (void)member;
    const struct low_rank_job *job = context;
    for (uint32_t i = first; i < first + count; i++) {
        const struct low_rank *change = &job->changes[job->rows->changes[i]];
        const float *x = job->a->floats + job->rows->rows[i] * job->a->float_stride;
        for (uint32_t k = 0; k < change->rank; k++)
            job->scratch[(size_t)i * job->rank_max + k] = job->cpu->kernels->dot(
                change->down + (size_t)k * change->n_cols, x, change->n_cols);
    }
}

/* Units are pieces of rows. */
static void grow_pieces(void *context, uint32_t member, uint32_t first, uint32_t count)
{
    (void)member;
    const struct low_rank_job *job = context;
    for (uint32_t unit = first; unit < first + count; unit++) {
        uint32_t i = unit / job->pieces, column = unit % job->pieces * PIECE_OUTPUTS;
        const struct low_rank *change = &job->changes[job->rows->changes[i]];
        uint32_t left = change->n_outputs - column;
        float *y = job->y + (size_t)job->rows->rows[i] * job->y_width + job->first_output + column;
        for (uint32_t k = 0; k < change->rank; k++)
            job->cpu->kernels->add_scaled(change->up + (size_t)k * change->n_outputs + column,
                                          job->scratch[(size_t)i * job->rank_max + k],
                                          left < PIECE_OUTPUTS ? left : PIECE_OUTPUTS, y);
    }
}

void cpu_matmul_low_rank(backend *b, const struct low_rank *changes, uint32_t change_count,
                         const struct low_rank_rows *rows, const activation *a, float *scratch,
                         uint32_t first_output, uint32_t y_width, float *y)
{
    struct low_rank_job job = {.cpu = cpu_of(b),
                               .changes = changes,
                               .rows = rows,
                               .a = a,
                               .scratch = scratch,
                               .first_output = first_output,
                               .y_width = y_width,
                               .y = y};
    for (uint32_t i = 0; i < change_count; i++) {
        const struct low_rank *change = &changes[i];
        if (change->rank == 0)
            continue;
        CHECK(a->n_cols == change->n_cols && first_output + change->n_outputs <= y_width);
        job.rank_max = change->rank > job.rank_max ? change->rank : job.rank_max;
        job.pieces = (change->n_outputs + PIECE_OUTPUTS - 1) / PIECE_OUTPUTS;
    }
    team_run(job.cpu->team, rows->n_rows, 1, shrink_rows, &job);
    team_run(job.cpu->team, rows->n_rows * job.pieces, 1, grow_pieces, &job);
}
