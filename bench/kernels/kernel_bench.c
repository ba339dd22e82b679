/* Times the operations of the kernel table: operation x shape x path.
 *
 * Every case is compared with the reference before it is timed. Weights are timed cold, as a
 * model's are: a case cycles through as many copies as a model has layers, so that none is still in
 * a cache when its turn comes again. The figure is the fastest of many short repetitions, since
 * neighbours on the machine only ever add time. The share of the roof is the time that the bytes
 * (at the measured read bandwidth) or the products (at the measured int8 peak) need at least,
 * whichever is longer, over the time taken. */

#include <getopt.h>
#include <stdio.h>

#include <jansson.h>

#include "clock.h"
#include "kernel_testing.h"
#include "roofs.h"

#define LAYERS      30u
#define CHECK_ROWS  2u
#define COLD_BYTES  (96u << 20) /* copies of a weight until they fill this */
#define TIME_MIN_NS (250 * NS_PER_MS)
#define REPEATS_MIN 5u
#define REPEATS_MAX 400u

struct bench {
    backend *reference;
    backend *b;
    enum backend_path path;
    uint32_t threads;
    struct roofs roofs;
    const char *filter; /* part of a case's name; NULL: all */
    json_t *results;
    uint64_t random;
};

struct timing {
    const char *operation;
    char shape[64];
    uint32_t n_rows;
    double bytes, ops; /* a call */
    double ns;         /* a call, fastest */
};

static bool is_wanted(const struct bench *bench, const char *name)
{
    return bench->filter == NULL || strstr(name, bench->filter) != NULL;
}

static void report(struct bench *bench, const struct timing *t)
{
    double roof_ns = t->bytes / bench->roofs.near_bytes_per_s * 1e9;
    double compute_ns =
        bench->roofs.int8_ops_per_s > 0 ? t->ops / bench->roofs.int8_ops_per_s * 1e9 : 0;
    bool is_compute = compute_ns > roof_ns;
    double share = (is_compute ? compute_ns : roof_ns) / t->ns;
    printf("%-16s %-10s %-22s rows %4u  %10.1f us  %7.2f GB/s  %8.1f GOP/s  %5.1f %% of %s\n",
           bench->b->operations->name, t->operation, t->shape, t->n_rows, t->ns / 1e3,
           t->bytes / t->ns, t->ops / t->ns, 100 * share, is_compute ? "int8 peak" : "read");
    fflush(stdout);
    json_array_append_new(bench->results,
                          json_pack("{s:s,s:s,s:s,s:i,s:f,s:f,s:f,s:f,s:s}", "path",
                                    bench->b->operations->name, "operation", t->operation, "shape",
                                    t->shape, "rows", (int)t->n_rows, "ns", t->ns, "gb_per_s",
                                    t->bytes / t->ns, "gop_per_s", t->ops / t->ns, "roof_share",
                                    share, "roof", is_compute ? "int8" : "read"));
}

/* Fastest time of one call of `run`. */
static double fastest_ns(void (*run)(void *context), void *context)
{
    double best = 1e18;
    uint64_t begin_ns = clock_now_ns();
    run(context);
    for (uint32_t i = 0; i < REPEATS_MAX; i++) {
        uint64_t start_ns = clock_now_ns();
        run(context);
        uint64_t end_ns = clock_now_ns();
        double ns = (double)(end_ns - start_ns);
        best = ns < best ? ns : best;
        if (i + 1 >= REPEATS_MIN && end_ns - begin_ns > TIME_MIN_NS)
            break;
    }
    return best;
}

/* --- products --- */

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
            run->b->operations->matmul_gated(run->b, run->weights[i], run->a, run->n_rows,
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

static struct product_run product_open(struct bench *bench, backend *b,
                                       const struct product_case *c,
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
    (void)bench;
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
static void check_close(const char *name, const float *expected, const float *actual, size_t count)
{
    double error = 0, size = 0;
    for (size_t i = 0; i < count; i++) {
        double difference = (double)actual[i] - (double)expected[i];
        error += difference * difference;
        size += (double)expected[i] * (double)expected[i];
    }
    if (!(error <= size * 0.03 * 0.03)) {
        fprintf(stderr, "%s: differs from the reference by %.3g of its size\n", name,
                sqrt(error / size));
        exit(1);
    }
}

static void check_product(struct bench *bench, const struct product_case *c,
                          const struct tensor_source *sources)
{
    struct product_run expected = product_open(bench, bench->reference, c, sources, 1, CHECK_ROWS);
    struct product_run actual = product_open(bench, bench->b, c, sources, 1, CHECK_ROWS);
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
    struct product_run run = product_open(bench, bench->b, c, sources, copies, 512);
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
        t.ops = 2.0 * rows[i] * c->n_outputs * c->n_cols * (c->is_gated ? 2 : 1);
        t.ns = fastest_ns(run_product, &run) / run.copies;
        report(bench, &t);
    }
    run.copies = copies;
    product_close(&run);
    for (int i = 0; i < 2; i++)
        tensor_free(&sources[i]);
}

/* --- attention --- */

struct attention_run {
    backend *b;
    struct attention_shape shape;
    struct rope_table rope;
    struct step_batch batch;
    kv_store *kv;
    weight *identity;
    activation *out;
    float *qkv;
    uint32_t layers;
    bool is_append;
};

static void run_attention(void *context)
{
    struct attention_run *run = context;
    for (uint32_t layer = 0; layer < run->layers; layer++) {
        if (run->is_append)
            run->b->operations->rope_kv_append(run->b, run->qkv, &run->rope, &run->shape,
                                               &run->batch, run->kv, layer);
        else
            run->b->operations->attention(run->b, run->qkv, &run->shape, &run->batch, run->kv,
                                          layer, run->out);
    }
}

static float frequencies[32];

/* `n_sequences` with `context` positions each, of which the last `rows_each` are rows of the step.
 */
static struct attention_run attention_open(backend *b, uint32_t n_sequences, uint32_t context,
                                           uint32_t rows_each, uint32_t layers)
{
    struct attention_run run = {.b = b, .layers = layers};
    run.shape = (struct attention_shape){9, 3, 64, 0.125f, 0, 0};
    for (uint32_t i = 0; i < ARRAY_COUNT(frequencies); i++)
        frequencies[i] = (float)pow(1e5, -2.0 * i / 64);
    run.rope = (struct rope_table){frequencies, 64, 1, true};
    uint32_t blocks = (context + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS;
    struct kv_shape kv = {layers, 3, 64, n_sequences * blocks, KV_F16};
    CHECK(b->operations->kv_create(b, &kv, &run.kv) == STATUS_OK);
    run.identity = identity_weight(b, TENSOR_Q8_0, 576);
    uint32_t n_rows = n_sequences * rows_each;
    uint32_t all_rows = n_sequences * context;
    CHECK(b->operations->activation_create(b, run.identity, all_rows, &run.out) == STATUS_OK);
    uint32_t *start = malloc((n_sequences + 1) * sizeof(uint32_t)),
             *tables = malloc(kv.n_blocks * sizeof(uint32_t));
    uint32_t *position = malloc(all_rows * sizeof(uint32_t)),
             *sequence = malloc(all_rows * sizeof(uint32_t));
    for (uint32_t i = 0; i < kv.n_blocks; i++)
        tables[i] =
            i / blocks + i % blocks * n_sequences; /* neighbours in time, not in the sequence */
    run.qkv = b->operations->allocate(b, (uint64_t)all_rows * 960 * sizeof(float));
    uint64_t state = 3;
    for (size_t i = 0; i < (size_t)all_rows * 960; i++)
        run.qkv[i] = random_float(&state);
    /* Fill the cache, then describe the step. */
    for (uint32_t pass = 0; pass < 2; pass++) {
        uint32_t each = pass == 0 ? context : rows_each;
        for (uint32_t r = 0; r < n_sequences * each; r++) {
            sequence[r] = r / each;
            position[r] = context - each + r % each;
        }
        for (uint32_t s = 0; s <= n_sequences; s++)
            start[s] = s * each;
        run.batch = (struct step_batch){n_sequences * each, n_sequences, start, position,
                                        sequence,           tables,      blocks};
        run.is_append = true;
        if (pass == 0)
            run_attention(&run);
    }
    run.batch.n_rows = n_rows;
    run.is_append = false;
    return run;
}

static void attention_close(struct attention_run *run)
{
    const struct backend_operations *op = run->b->operations;
    op->kv_destroy(run->b, run->kv);
    op->activation_destroy(run->b, run->out);
    op->weight_destroy(run->b, run->identity);
    op->release(run->b, run->qkv);
    free((void *)(uintptr_t)run->batch.row_start);
    free((void *)(uintptr_t)run->batch.row_position);
    free((void *)(uintptr_t)run->batch.row_sequence);
    free((void *)(uintptr_t)run->batch.block_tables);
}

static void check_attention(struct bench *bench, uint32_t context)
{
    float *rows[2];
    backend *backends[2] = {bench->reference, bench->b};
    for (int i = 0; i < 2; i++) {
        struct attention_run run = attention_open(backends[i], 2, context, 3, 1);
        rows[i] = malloc(6 * 576 * sizeof(float));
        run_attention(&run);
        run.b->operations->matmul(run.b, run.identity, run.out, 6, NULL, false, rows[i]);
        attention_close(&run);
    }
    check_close("attention", rows[0], rows[1], 6 * 576);
    free(rows[0]);
    free(rows[1]);
}

static void bench_attention(struct bench *bench, uint32_t n_sequences, uint32_t context,
                            uint32_t rows_each)
{
    const char *name = rows_each == 1 ? "attention" : "attention+";
    if (!is_wanted(bench, name))
        return;
    struct attention_run run = attention_open(bench->b, n_sequences, context, rows_each, LAYERS);
    struct timing t = {.operation = name, .n_rows = n_sequences * rows_each};
    snprintf(t.shape, sizeof(t.shape), "%u x %u positions", n_sequences, context);
    double pairs = 0;
    for (uint32_t r = 0; r < rows_each; r++)
        pairs += (double)n_sequences * (context - r);
    t.bytes = (double)n_sequences * context * 3 * 64 * 2 * 2;
    t.ops = pairs * 9 * 64 * 2 * 2;
    t.ns = fastest_ns(run_attention, &run) / LAYERS;
    report(bench, &t);
    if (n_sequences == 16 || rows_each > 1) {
        run.is_append = true;
        t.operation = "append";
        t.bytes = (double)t.n_rows * (960 * 4 + 768);
        t.ops = 0;
        t.ns = fastest_ns(run_attention, &run) / LAYERS;
        report(bench, &t);
    }
    attention_close(&run);
}

/* --- norm --- */

struct norm_run {
    backend *b;
    weight *w;
    activation *a;
    float *x;
    uint32_t n_rows;
};

static void run_norm(void *context)
{
    struct norm_run *run = context;
    for (int i = 0; i < 20; i++)
        run->b->operations->rms_norm(run->b, run->x, run->x, 1e-5f, NULL, run->n_rows, 576, run->a);
}

static void bench_norm(struct bench *bench)
{
    static const uint32_t rows[] = {1, 16, 512};
    if (!is_wanted(bench, "norm"))
        return;
    struct norm_run run = {.b = bench->b, .w = identity_weight(bench->b, TENSOR_Q8_0, 576)};
    CHECK(bench->b->operations->activation_create(bench->b, run.w, 512, &run.a) == STATUS_OK);
    run.x = bench->b->operations->allocate(bench->b, 512 * 576 * sizeof(float));
    for (size_t i = 0; i < 512 * 576; i++)
        run.x[i] = random_float(&bench->random);
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        run.n_rows = rows[i];
        struct timing t = {.operation = "norm", .n_rows = rows[i], .bytes = rows[i] * 576.0 * 4};
        snprintf(t.shape, sizeof(t.shape), "576");
        t.ns = fastest_ns(run_norm, &run) / 20;
        report(bench, &t);
    }
    bench->b->operations->activation_destroy(bench->b, run.a);
    bench->b->operations->weight_destroy(bench->b, run.w);
    bench->b->operations->release(bench->b, run.x);
}

static const struct product_case product_cases[] = {
    {"qkv", TENSOR_Q4_1, 960, 576, false},    {"output", TENSOR_Q4_1, 576, 576, false},
    {"gated", TENSOR_Q4_1, 1536, 576, true},  {"down", TENSOR_Q4_1, 576, 1536, false},
    {"head", TENSOR_Q8_0, 49152, 576, false}, {"q4_0", TENSOR_Q4_0, 1536, 1536, false},
    {"q5_1", TENSOR_Q5_1, 1536, 1536, false}, {"q6_k", TENSOR_Q6_K, 1536, 1536, false},
    {"q4_k", TENSOR_Q4_K, 4096, 4096, false}, {"f16", TENSOR_F16, 1536, 1536, false},
    {"bf16", TENSOR_BF16, 1536, 1536, false},
};

static void bench_path(struct bench *bench)
{
    bench->b = backend_open_or_die(bench->path, bench->threads);
    bench->roofs = roofs_measure(bench->b, bench->path, bench->threads, COLD_BYTES);
    roofs_print(&bench->roofs, backend_path_name(bench->path), bench->threads);
    for (size_t i = 0; i < ARRAY_COUNT(product_cases); i++)
        bench_product(bench, &product_cases[i]);
    bench_norm(bench);
    if (is_wanted(bench, "attention+")) {
        check_attention(bench, 300);
        static const uint32_t contexts[] = {128, 512, 2048, 8192};
        for (size_t i = 0; i < ARRAY_COUNT(contexts); i++)
            bench_attention(bench, 1, contexts[i], 1);
        bench_attention(bench, 16, 192, 1);
        bench_attention(bench, 32, 192, 1);
        bench_attention(bench, 16, 1024, 1);
        bench_attention(bench, 1, 512, 512);
        bench_attention(bench, 1, 2048, 512);
    }
    backend_close(bench->b);
}

static int usage(void)
{
    fprintf(
        stderr,
        "usage: kernel_bench [--path NAME] [--threads N] [--only PART_OF_A_NAME] [--json FILE]\n");
    return 2;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"path", required_argument, NULL, 'p'},
                                            {"threads", required_argument, NULL, 't'},
                                            {"only", required_argument, NULL, 'o'},
                                            {"json", required_argument, NULL, 'j'},
                                            {0}};
    struct bench bench = {.threads = 2, .results = json_array(), .random = 1};
    const char *path = NULL, *json = NULL;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'p':
            path = optarg;
            break;
        case 't':
            bench.threads = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'o':
            bench.filter = optarg;
            break;
        case 'j':
            json = optarg;
            break;
        default:
            return usage();
        }
    }
    if (optind != argc || bench.threads == 0)
        return usage();
    bench.reference = backend_open_or_die(BACKEND_REFERENCE, 1);
    uint32_t tried = 0;
    for (size_t i = 0; i < ARRAY_COUNT(fast_paths); i++) {
        bench.path = fast_paths[i];
        if (!backend_path_is_supported(bench.path) ||
            (path != NULL && strcmp(path, backend_path_name(bench.path)) != 0))
            continue;
        bench_path(&bench);
        tried++;
    }
    backend_close(bench.reference);
    if (tried == 0) {
        fprintf(stderr, "kernel_bench: no such path on this CPU\n");
        return 1;
    }
    int result = json != NULL ? json_dump_file(bench.results, json, JSON_INDENT(1)) : 0;
    json_decref(bench.results);
    return result == 0 ? 0 : 1;
}
