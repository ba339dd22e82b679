#include "kernel_bench.h"

/* Row by row: the norm, and rows of the input table. Width and vocabulary of the 135M model. */

#define WIDTH      576u
#define VOCABULARY 49152u
#define ROWS_MAX   512u
#define CALLS      20u /* timed together: one takes about a microsecond */
#define CHECK_ROWS 9u

static const uint32_t row_counts[] = {1, 16, ROWS_MAX};

struct rows_run {
    backend *b;
    weight *table;    /* what embed reads, or what reads the norm's rows */
    activation *rows; /* of the norm */
    float *x, *gain;  /* [ROWS_MAX, WIDTH], [WIDTH] */
    int32_t tokens[ROWS_MAX];
    uint32_t n_rows;
};

static struct rows_run rows_open(backend *b, const struct tensor_source *table)
{
    struct rows_run run = {.b = b};
    if (table == NULL)
        run.table = identity_weight(b, TENSOR_Q8_0, WIDTH);
    else
        CHECK(b->operations->weight_create(b, table, 1, &run.table) == STATUS_OK);
    CHECK(b->operations->activation_create(b, run.table, ROWS_MAX, &run.rows) == STATUS_OK);
    run.x = b->operations->allocate(b, ROWS_MAX * WIDTH * sizeof(float));
    run.gain = b->operations->allocate(b, WIDTH * sizeof(float));
    CHECK(run.x != NULL && run.gain != NULL);
    uint64_t state = 7;
    for (size_t i = 0; i < ROWS_MAX * WIDTH; i++)
        run.x[i] = random_float(&state);
    for (uint32_t i = 0; i < WIDTH; i++)
        run.gain[i] = random_float(&state);
    for (uint32_t i = 0; i < ROWS_MAX; i++)
        run.tokens[i] = (int32_t)(random_next(&state) % VOCABULARY);
    return run;
}

static void rows_close(struct rows_run *run)
{
    const struct backend_operations *op = run->b->operations;
    op->activation_destroy(run->b, run->rows);
    op->weight_destroy(run->b, run->table);
    op->release(run->b, run->x);
    op->release(run->b, run->gain);
}

static void run_norm(void *context)
{
    struct rows_run *run = context;
    for (uint32_t i = 0; i < CALLS; i++)
        run->b->operations->rms_norm(run->b, run->x, run->gain, 1e-5f, NULL, run->n_rows, WIDTH,
                                     run->rows);
}

static void run_embed(void *context)
{
    struct rows_run *run = context;
    for (uint32_t i = 0; i < CALLS; i++)
        run->b->operations->embed(run->b, run->table, run->tokens, run->n_rows, 1, run->x);
}

/* CHECK_ROWS rows of the operation on both backends; a product with the identity shows the norm's. */
static void check_rows(struct bench *bench, const char *name, const struct tensor_source *table)
{
    static float out[2][CHECK_ROWS * WIDTH];
    backend *backends[2] = {bench->reference, bench->b};
    for (int i = 0; i < 2; i++) {
        struct rows_run run = rows_open(backends[i], table);
        run.n_rows = CHECK_ROWS;
        if (table != NULL) {
            run_embed(&run);
        } else {
            run_norm(&run);
            run.b->operations->matmul(run.b, run.table, run.rows, CHECK_ROWS, NULL, false, run.x);
        }
        memcpy(out[i], run.x, sizeof(out[i]));
        rows_close(&run);
    }
    check_close(name, out[0], out[1], CHECK_ROWS * WIDTH);
}

static void bench_rows(struct bench *bench, const char *name, void (*body)(void *context),
                       const struct tensor_source *table, double row_bytes)
{
    check_rows(bench, name, table);
    struct rows_run run = rows_open(bench->b, table);
    for (size_t i = 0; i < ARRAY_COUNT(row_counts); i++) {
        run.n_rows = row_counts[i];
        struct timing t = {
            .operation = name, .n_rows = run.n_rows, .bytes = run.n_rows * row_bytes};
        snprintf(t.shape, sizeof(t.shape), "%u", WIDTH);
        t.ns = fastest_ns(body, &run) / CALLS;
        report(bench, &t);
    }
    rows_close(&run);
}

void bench_row_operations(struct bench *bench)
{
    if (is_wanted(bench, "norm"))
        bench_rows(bench, "norm", run_norm, NULL, WIDTH * sizeof(float));
    if (is_wanted(bench, "embed")) {
        struct tensor_source table = random_tensor(TENSOR_Q8_0, VOCABULARY, WIDTH, &bench->random);
        /* Reads codes with a scale for 32, writes floats. */
        bench_rows(bench, "embed", run_embed, &table, WIDTH * (34.0 / 32 + sizeof(float)));
        tensor_free(&table);
    }
}
