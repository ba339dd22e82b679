/* Products: how they are cut into pieces for the team.
 *
 * They go by groups of 16 outputs, all rows of a block of rows at a time, so that a group's weights come
 * from memory once a block and from L1 for every further tile of rows. */

#include "cpu_products.h"

#include "check.h"

/* Codes of the rows that are multiplied before the next block of rows: half of a 2 MiB L2. */
#define ROW_BLOCK_BYTES (1u << 20)
/* Multiply-adds below which a product is not handed to the team. */
#define ALONE_PRODUCTS 65536u

/* The function for the next rows of `left`, and how many it takes at once. */
static gemm_function *gemm_of(const struct cpu_backend *cpu, const struct segment *segment,
                              uint32_t left, uint32_t *n_rows)
{
    bool has_tiles = !FORMAT_IS_FLOAT(segment->format) && left >= cpu->tile_rows_min;
    *n_rows = smaller(has_tiles ? CALL_ROWS_MAX : TILE_ROWS, left);
    if (FORMAT_IS_FLOAT(segment->format))
        return cpu->kernels->gemm_floats;
    return has_tiles ? cpu->kernels->gemm_tiles : cpu->kernels->gemm_codes;
}

/* Groups [group, group + n_groups) of one segment, at most what a tile holds, for all rows of the
 * block. */
void product_multiply_groups(const struct product_job *job, const struct segment *segment,
                             uint32_t group, uint32_t n_groups, float *tile)
{
    const struct cpu_kernels *kernels = job->cpu->kernels;
    uint32_t output = group * GROUP_OUTPUTS;
    uint32_t n_outputs = smaller(n_groups * GROUP_OUTPUTS, segment->n_outputs - output);
    output += segment->first_output;
    size_t stride = (size_t)n_groups * GROUP_OUTPUTS;
    for (uint32_t done = 0, n_rows; done < job->n_rows; done += n_rows) {
        uint32_t row = job->row + done;
        gemm_function *gemm = gemm_of(job->cpu, segment, job->n_rows - done, &n_rows);
        gemm(segment, group, n_groups, job->a, row, n_rows, tile, stride);
        kernels->tile_store(tile, stride, n_rows, n_outputs,
                            job->bias != NULL ? job->bias + output : NULL, job->accumulate,
                            job->y + (size_t)row * job->w->n_outputs + output, job->w->n_outputs);
    }
}

static void product_groups(void *context, uint32_t member, uint32_t first, uint32_t count)
{
    const struct product_job *job = context;
    float *tile = job->cpu->scratch[member].gate;
    uint32_t per_call = job->n_rows <= 4 ? TILE_GROUPS : 1;
    const struct segment *segment = job->w->segments;
    while (count > 0) {
        while (first >= segment->n_groups) {
            first -= segment->n_groups;
            segment++;
        }
        uint32_t n_groups = smaller(smaller(count, per_call), segment->n_groups - first);
        product_multiply_groups(job, segment, first, n_groups, tile);
        first += n_groups;
        count -= n_groups;
    }
}

/* Runs `body` over `count` units of the weight for each block of rows. */
static void run_blocks(struct product_job *job, uint32_t n_rows, uint32_t count, team_body *body)
{
    struct team *team = job->cpu->team;
    uint32_t row_bytes = job->w->n_cols * (job->w->needs_floats ? (uint32_t)sizeof(float) : 1u);
    uint32_t rows_max = larger(ROW_BLOCK_BYTES / row_bytes / TILE_ROWS, 4) * TILE_ROWS;
    uint32_t chunk = larger(count / (team_size(team) * PIECES_PER_MEMBER), 1);
    for (uint32_t row = 0; row < n_rows; row += rows_max) {
        job->row = row;
        job->n_rows = smaller(rows_max, n_rows - row);
        uint64_t products = (uint64_t)job->n_rows * job->w->n_cols * count * GROUP_OUTPUTS;
        team_run(team, count, products < ALONE_PRODUCTS ? count : chunk, body, job);
    }
}

void cpu_matmul(backend *b, const weight *w, const activation *a, uint32_t n_rows,
                const float *bias, bool accumulate, float *y)
{
    CHECK(!w->is_gated && a->n_cols == w->n_cols && n_rows <= a->rows_max);
    CHECK((!w->needs_codes || a->tiles != NULL) && (!w->needs_floats || a->floats != NULL));
    struct product_job job = {
        .cpu = cpu_of(b), .w = w, .a = a, .bias = bias, .accumulate = accumulate, .y = y};
    run_blocks(&job, n_rows, w->n_groups, product_groups);
}

void product_gated_unit(const struct product_job *job, uint32_t unit,
                        struct member_scratch *scratch)
{
    const struct cpu_kernels *kernels = job->cpu->kernels;
    const struct segment *gate = &job->w->segments[0], *up = &job->w->segments[1];
    uint32_t group = unit * UNIT_GROUPS;
    uint32_t n_groups = smaller(UNIT_GROUPS, gate->n_groups - group);
    uint32_t column = unit * UNIT_OUTPUTS;
    uint32_t n_columns = smaller(UNIT_OUTPUTS, job->w->n_outputs - column);
    for (uint32_t done = 0, n_rows; done < job->n_rows; done += n_rows) {
        uint32_t row = job->row + done, gate_rows, up_rows;
        gemm_function *gate_gemm = gemm_of(job->cpu, gate, job->n_rows - done, &gate_rows);
        gemm_function *up_gemm = gemm_of(job->cpu, up, job->n_rows - done, &up_rows);
        n_rows = smaller(gate_rows, up_rows);
        gate_gemm(gate, group, n_groups, job->a, row, n_rows, scratch->gate, UNIT_OUTPUTS);
        up_gemm(up, group, n_groups, job->a, row, n_rows, scratch->up, UNIT_OUTPUTS);
        for (uint32_t r = 0; r < n_rows; r++) {
            float *values = scratch->gate + r * UNIT_OUTPUTS, *ups = scratch->up + r * UNIT_OUTPUTS;
            if (job->bias != NULL) {
                kernels->add_scaled(job->bias + column, 1.0f, n_columns, values);
                kernels->add_scaled(job->bias + job->w->n_outputs + column, 1.0f, n_columns, ups);
            }
            if (job->row_terms != NULL) {
                const float *terms =
                    job->row_terms + (size_t)(row + r) * 2 * job->w->n_outputs + column;
                kernels->add_scaled(terms, 1.0f, n_columns, values);
                kernels->add_scaled(terms + job->w->n_outputs, 1.0f, n_columns, ups);
            }
            /* Whole groups: what pads the last one falls into what pads the row. */
            kernels->gate_apply(job->gate, values, ups, n_groups * GROUP_OUTPUTS,
                                job->out->floats + (row + r) * job->out->float_stride + column);
        }
    }
}

static void gated_units(void *context, uint32_t member, uint32_t first, uint32_t count)
{
    const struct product_job *job = context;
    for (uint32_t unit = first; unit < first + count; unit++)
        product_gated_unit(job, unit, &job->cpu->scratch[member]);
}

void cpu_matmul_gated(backend *b, const weight *w, const activation *a, uint32_t n_rows,
                      const struct gated_terms *terms, enum gate_kind gate, activation *out)
{
    CHECK(w->is_gated && a->n_cols == w->n_cols && n_rows <= a->rows_max);
    CHECK(out->n_cols == w->n_outputs && n_rows <= out->rows_max);
    CHECK((!w->needs_codes || a->tiles != NULL) && (!w->needs_floats || a->floats != NULL));
    struct product_job job = {.cpu = cpu_of(b),
                              .w = w,
                              .a = a,
                              .bias = terms != NULL ? terms->bias : NULL,
                              .row_terms = terms != NULL ? terms->rows : NULL,
                              .gate = gate,
                              .out = out};
    run_blocks(&job, n_rows, product_gated_units(w), gated_units);
    cpu_quantise(cpu_of(b), out, n_rows);
}
