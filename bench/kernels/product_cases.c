#include "kernel_bench.h"

/* Products: every shape of the 135M model, and one of each tensor type. */

#define CHECK_ROWS 2u

struct product_case {
    const char *name;
    enum tensor_type type;
    uint32_t n_outputs, n_cols;
    bool is_gated;
};

struct product_run {
    backend *b;
    weight **weights;
    uint32_t copies, n_rows;
    weight *out_shape; /* a weight that reads the gated output */
    activation *a, *out;
    float *x, *gain, *y;
    bool is_gated;
};

static void run_product(void *context)
{
    struct product_run *run = context;
    for (uint32_t i = 0; i < run->copies; i++) {
        if (run->is_gated)
            run->b->operations->matmul_gated(run->b, run->weights[i], run->a, run->n_rows, NULL,
                                             GATE_SILU, run->out);
        else
            run->b->operations->matmul(run->b, run->weights[i], run->a, run->n_rows, NULL, false,
                                       run->y);
    }
}

static weight *make_weight(backend *b, const struct product_case *c,
                           const struct tensor_source *sources)
{
    weight *w = NULL;
    status result = c->is_gated
                        ? b->operations->weight_create_gated(b, &sources[0], &sources[1], &w)
                        : b->operations->weight_create(b, sources, 1, &w);
    CHECK(result == STATUS_OK);
    return w;
}

/* Output rows of one backend, as floats. */
static void compute_rows(struct product_run *run)
{
    run_product(run);
    if (run->is_gated)
        run->b->operations->matmul(run->b, run->out_shape, run->out, run->n_rows, NULL, false,
                                   run->y);
}

static struct product_run product_open(backend *b, const struct product_case *c,
                                       const struct tensor_source *sources, uint32_t copies,
                                       uint32_t n_rows)
{
    struct product_run run = {.b = b, .copies = copies, .n_rows = n_rows, .is_gated = c->is_gated};
    run.weights = calloc(copies, sizeof(*run.weights));
    for (uint32_t i = 0; i < copies; i++)
        run.weights[i] = make_weight(b, c, sources);
    CHECK(b->operations->activation_create(b, run.weights[0], n_rows, &run.a) == STATUS_OK);
    run.x = b->operations->allocate(b, (uint64_t)n_rows * c->n_cols * sizeof(float));
    run.gain = b->operations->allocate(b, c->n_cols * sizeof(float));
    run.y = b->operations->allocate(b, (uint64_t)n_rows * c->n_outputs * sizeof(float));
    uint64_t state = 5;
    for (size_t i = 0; i < (size_t)n_rows * c->n_cols; i++)
        run.x[i] = random_float(&state);
    for (uint32_t i = 0; i < c->n_cols; i++)
        run.gain[i] = 1.0f;
    if (c->is_gated) {
        run.out_shape = identity_weight(b, TENSOR_Q8_0, c->n_outputs);
        CHECK(b->operations->activation_create(b, run.out_shape, n_rows, &run.out) == STATUS_OK);
    }
    b->operations->rms_norm(b, run.x, run.gain, 1e-5f, NULL, n_rows, c->n_cols, run.a);
    return run;
}

static void product_close(struct product_run *run)
{
    const struct backend_operations *op = run->b->operations;
    for (uint32_t i = 0; i < run->copies; i++)
        op->weight_destroy(run->b, run->weights[i]);
    free(run->weights);
    op->weight_destroy(run->b, run->out_shape);
    op->activation_destroy(run->b, run->a);
    op->activation_destroy(run->b, run->out);
    op->release(run->b, run->x);
    op->release(run->b, run->gain);
    op->release(run->b, run->y);
}

/* int8 activations are within about 1 % of the result's own size; a wrong kernel is not. */
static void check_product(struct bench *bench, const struct product_case *c,
                          const struct tensor_source *sources)
{
    struct product_run expected = product_open(bench->reference, c, sources, 1, CHECK_ROWS);
    struct product_run actual = product_open(bench->b, c, sources, 1, CHECK_ROWS);
    compute_rows(&expected);
    compute_rows(&actual);
    check_close(c->name, expected.y, actual.y, (size_t)CHECK_ROWS * c->n_outputs);
    product_close(&expected);
    product_close(&actual);
}

static void bench_product(struct bench *bench, const struct product_case *c)
{
    static const uint32_t rows[] = {1, 2, 4, 8, 16, 32, 128, 512};
    if (!is_wanted(bench, c->name))
        return;
    struct tensor_source sources[2];
    for (int i = 0; i < 2; i++)
        sources[i] = random_tensor(c->type, c->n_outputs, c->n_cols, &bench->random);
    check_product(bench, c, sources);
    weight *probe = make_weight(bench->b, c, sources);
    double weight_bytes = (double)bench->b->operations->weight_bytes(probe);
    bench->b->operations->weight_destroy(bench->b, probe);
    uint32_t copies = (uint32_t)(COLD_BYTES / weight_bytes) + 1;
    struct product_run run = product_open(bench->b, c, sources, copies, 512);
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        run.n_rows = rows[i];
        if ((double)rows[i] * c->n_outputs > 3e6) /* the head is computed for few rows */
            break;
        run.copies =
            rows[i] <= 16 ? copies : copies * 16 / rows[i] / 4 + 1; /* repetitions stay short */
        struct timing t = {.operation = c->name, .n_rows = rows[i]};
        snprintf(t.shape, sizeof(t.shape), "%s %ux%u", tensor_type_name(c->type), c->n_cols,
                 c->n_outputs);
        t.bytes = weight_bytes;
        double ops = 2.0 * rows[i] * c->n_outputs * c->n_cols * (c->is_gated ? 2 : 1);
        bool is_float = c->type == TENSOR_F16 || c->type == TENSOR_BF16;
        t.int8_ops = is_float ? 0 : ops;
        t.float_ops = is_float ? ops : 0;
        t.ns = fastest_ns(run_product, &run) / run.copies;
        report(bench, &t);
    }
    run.copies = copies;
    product_close(&run);
    for (int i = 0; i < 2; i++)
        tensor_free(&sources[i]);
}

static const struct product_case product_cases[] = {
    {"qkv", TENSOR_Q4_1, 960, 576, false},    {"output", TENSOR_Q4_1, 576, 576, false},
    {"gated", TENSOR_Q4_1, 1536, 576, true},  {"down", TENSOR_Q4_1, 576, 1536, false},
    {"head", TENSOR_Q8_0, 49152, 576, false}, {"q4_0", TENSOR_Q4_0, 1536, 1536, false},
    {"q5_1", TENSOR_Q5_1, 1536, 1536, false}, {"q6_k", TENSOR_Q6_K, 1536, 1536, false},
    {"q4_k", TENSOR_Q4_K, 4096, 4096, false}, {"f16", TENSOR_F16, 1536, 1536, false},
    {"bf16", TENSOR_BF16, 1536, 1536, false},
};

void bench_products(struct bench *bench)
{
    for (size_t i = 0; i < ARRAY_COUNT(product_cases); i++)
        bench_product(bench, &product_cases[i]);
}
