/* The two kernels that decide how fast a device generates, on a backend, alone: decode attention over a long context and products of few
 * and many rows. For tools/gpu-check, which sets their rates beside the device's own limits.
 *
 *   gpu_kernels --backend cuda [--small]
 *
 * A case queues enough work for some milliseconds and divides, so that what a launch costs the host is hidden as it is in a step.
 * Layers and copies are more than the device's cache holds. One JSON document on stdout. */

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>

#include "clock.h"
#include "kernel_testing.h"

#define REPEATS       5u
#define COLD_BYTES    (256u << 20)
#define QUEUED_BYTES  (4.0 * 1024 * 1024 * 1024)
#define SMALL_DIVISOR 4096.0
#define FILL_ROWS     2048u

struct bench {
    struct backend_options device;
    backend *b; /* of the case at work: each opens the device anew */
    bool is_small;
    json_t *attention, *products;
};

static void must_be_ok(status s, const char *what)
{
    if (s == STATUS_OK)
        return;
    (void)fprintf(stderr, "gpu_kernels: %s: %s\n", what, status_name(s));
    exit(1);
}

static void *must(void *memory)
{
    CHECK(memory != NULL);
    return memory;
}

static void open_device(struct bench *bench)
{
    struct error_note note = {""};
    status s = backend_open(&bench->device, &bench->b, &note);
    if (s == STATUS_OK)
        return;
    (void)fprintf(stderr, "gpu_kernels: %s\n", note.text);
    exit(77);
}

/* How often a case of so many bytes is queued at a time. */
static uint32_t queue_length(const struct bench *bench, double bytes)
{
    double wanted = QUEUED_BYTES / (bench->is_small ? SMALL_DIVISOR : 1.0) / bytes;
    return wanted < 2.0 ? 2 : wanted > 256.0 ? 256 : (uint32_t)wanted;
}

static float *random_floats(backend *b, uint64_t count, float offset)
{
    uint64_t state = 7;
    float *host = must(malloc(count * sizeof *host));
    for (uint64_t i = 0; i < count; i++)
        host[i] = random_float(&state) + offset;
    float *device = must(b->operations->allocate(b, count * sizeof *device));
    b->operations->upload(b, device, host, count * sizeof *device);
    must_be_ok(b->operations->synchronize(b), "upload");
    free(host);
    return device;
}

/* A matrix whose activations are those that attention writes. */
static weight *reader_of(backend *b, enum tensor_type type, uint32_t n_cols)
{
    uint64_t state = 3;
    struct tensor_source source = random_tensor(type, 16, n_cols, &state);
    weight *w = NULL;
    must_be_ok(b->operations->weight_create(b, &source, 1, &w), "weight");
    tensor_free(&source);
    return w;
}

/* --- attention --- */

struct attention_case {
    uint32_t batch, context, n_heads, n_kv_heads, d_head;
    enum kv_type type;
};

struct attention_run {
    struct attention_case c;
    struct attention_shape shape;
    struct step_batch batch;
    uint32_t *row_start, *positions, *sequences, *tables, *logit_rows;
    int32_t *tokens;
    kv_store *kv;
    uint32_t layers;
    weight *reader;
    activation *out;
    float *qkv;
};

static uint32_t blocks_of(const struct attention_case *c)
{
    return (c->context + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS;
}

static double attention_bytes(const struct attention_case *c)
{
    double element = c->type == KV_F16 ? 2.0 : 1.0;
    return 2.0 * element * c->batch * c->context * c->n_kv_heads * c->d_head;
}

/* Pages of a sequence lie anywhere in the cache. */
static void lay_out_batch(struct attention_run *run)
{
    uint32_t batch = run->c.batch, blocks = blocks_of(&run->c), all = batch * blocks;
    run->row_start = must(calloc(batch + 1, sizeof *run->row_start));
    run->positions = must(calloc(batch, sizeof *run->positions));
    run->sequences = must(calloc(batch, sizeof *run->sequences));
    run->logit_rows = must(calloc(batch, sizeof *run->logit_rows));
    run->tokens = must(calloc(batch, sizeof *run->tokens));
    run->tables = must(calloc(all, sizeof *run->tables));
    for (uint32_t i = 0; i < batch; i++) {
        run->row_start[i + 1] = i + 1;
        run->positions[i] = run->c.context - 1;
        run->sequences[i] = run->logit_rows[i] = i;
    }
    for (uint32_t i = 0; i < all; i++)
        run->tables[i] = i;
    uint64_t state = 11;
    for (uint32_t i = all - 1; i > 0; i--) {
        uint32_t j = random_next(&state) % (i + 1), kept = run->tables[i];
        run->tables[i] = run->tables[j];
        run->tables[j] = kept;
    }
    run->batch = (struct step_batch){.n_rows = batch,
                                     .n_sequences = batch,
                                     .row_start = run->row_start,
                                     .row_position = run->positions,
                                     .row_sequence = run->sequences,
                                     .block_tables = run->tables,
                                     .block_table_stride = blocks};
}

/* Random keys and values at every position of every layer: how long a kernel takes depends on what it reads (power). */
static void fill_cache(backend *b, const struct attention_run *run)
{
    uint32_t rows = FILL_ROWS < run->c.context ? FILL_ROWS : run->c.context;
    uint32_t width = (run->c.n_heads + 2 * run->c.n_kv_heads) * run->c.d_head;
    float frequency[1] = {0.0f};
    struct rope_table rope = {frequency, 2, 1.0f, false};
    float *qkv = random_floats(b, (uint64_t)rows * width, 0.0f);
    uint32_t start[2] = {0, rows};
    uint32_t *positions = must(calloc(rows, sizeof *positions));
    uint32_t *sequences = must(calloc(rows, sizeof *sequences));
    for (uint32_t s = 0; s < run->c.batch; s++) {
        for (uint32_t first = 0; first < run->c.context; first += rows) {
            uint32_t left = run->c.context - first, count = left < rows ? left : rows;
            for (uint32_t i = 0; i < count; i++)
                positions[i] = first + i;
            start[1] = count;
            struct step_batch batch = run->batch;
            batch.n_rows = count;
            batch.n_sequences = 1;
            batch.row_start = start;
            batch.row_position = positions;
            batch.row_sequence = sequences;
            batch.block_tables += (size_t)s * batch.block_table_stride;
            for (uint32_t layer = 0; layer < run->layers; layer++)
                b->operations->rope_kv_append(b, qkv, &rope, &run->shape, &batch, run->kv, layer);
            must_be_ok(b->operations->synchronize(b), "rope_kv_append");
        }
    }
    b->operations->release(b, qkv);
    free(positions);
    free(sequences);
}

static void attention_open(struct bench *bench, const struct attention_case *c,
                           struct attention_run *run)
{
    backend *b = bench->b;
    const struct backend_operations *o = b->operations;
    uint32_t width = (c->n_heads + 2 * c->n_kv_heads) * c->d_head;
    *run = (struct attention_run){
        .c = *c,
        .shape = {.n_heads = c->n_heads,
                  .n_kv_heads = c->n_kv_heads,
                  .d_head = c->d_head,
                  .scale = 1.0f / sqrtf((float)c->d_head)},
        .layers = bench->is_small ? 2 : (uint32_t)(COLD_BYTES / attention_bytes(c)) + 2};
    lay_out_batch(run);
    struct kv_shape kv = {run->layers, c->n_kv_heads, c->d_head, c->batch * blocks_of(c), c->type};
    must_be_ok(o->kv_create(b, &kv, &run->kv), "cache");
    run->reader = reader_of(b, TENSOR_BF16, c->n_heads * c->d_head);
    uint32_t rows = c->batch > FILL_ROWS ? c->batch : FILL_ROWS;
    must_be_ok(o->activation_create(b, run->reader, rows, &run->out), "activation");
    run->qkv = random_floats(b, (uint64_t)c->batch * width, 0.0f);
    fill_cache(b, run);
    if (o->step_prepare == NULL)
        return;
    struct step_limits limits = {.rows_max = c->batch,
                                 .sequences_max = c->batch,
                                 .logit_rows_max = c->batch,
                                 .block_table_stride = run->batch.block_table_stride,
                                 .vocabulary = 32,
                                 .slots_max = c->batch,
                                 .steps_max = 1,
                                 .n_heads = c->n_heads,
                                 .d_head = c->d_head};
    must_be_ok(o->step_prepare(b, &limits), "step_prepare");
}

static void attention_close(backend *b, struct attention_run *run)
{
    b->operations->kv_destroy(b, run->kv);
    b->operations->activation_destroy(b, run->out);
    b->operations->weight_destroy(b, run->reader);
    b->operations->release(b, run->qkv);
    free(run->row_start);
    free(run->positions);
    free(run->sequences);
    free(run->logit_rows);
    free(run->tokens);
    free(run->tables);
}

/* One step that is nothing but attention, `count` times. */
static double attention_seconds(backend *b, struct attention_run *run, uint32_t count)
{
    const struct backend_operations *o = b->operations;
    uint64_t ticket = 0, begin_ns = clock_now_ns();
    const struct device_sample_result *results;
    struct step_extent extent;
    if (o->step_begin != NULL)
        must_be_ok(o->step_begin(b, &run->batch, run->tokens, run->logit_rows, run->c.batch, false,
                                 &extent),
                   "step_begin");
    for (uint32_t i = 0; i < count; i++)
        o->attention(b, run->qkv, &run->shape, &run->batch, run->kv, i % run->layers, run->out);
    if (o->step_end != NULL) {
        must_be_ok(o->step_end(b, &ticket), "step_end");
        must_be_ok(o->step_wait(b, ticket, &results), "step_wait");
    }
    must_be_ok(o->synchronize(b), "attention");
    return (double)(clock_now_ns() - begin_ns) / 1e9;
}

static void bench_attention(struct bench *bench, const struct attention_case *c)
{
    struct attention_run run;
    open_device(bench);
    uint32_t count = queue_length(bench, attention_bytes(c));
    double best = 1e18;
    attention_open(bench, c, &run);
    for (uint32_t i = 0; i < REPEATS; i++) {
        double seconds = attention_seconds(bench->b, &run, count) / count;
        best = seconds < best ? seconds : best;
    }
    attention_close(bench->b, &run);
    backend_close(bench->b);
    json_array_append_new(bench->attention,
                          must(json_pack("{s:i,s:i,s:s,s:f,s:f}", "batch", (int)c->batch, "context",
                                         (int)c->context, "type", kv_type_name(c->type), "us",
                                         best * 1e6, "bytes_per_s", attention_bytes(c) / best)));
}

/* --- products --- */

struct product_case {
    enum tensor_type type;
    uint32_t n_outputs, n_cols;
};

static void bench_product(struct bench *bench, const struct product_case *c, uint32_t n_rows)
{
    open_device(bench);
    backend *b = bench->b;
    const struct backend_operations *o = b->operations;
    uint64_t state = 5;
    struct tensor_source source = random_tensor(c->type, c->n_outputs, c->n_cols, &state);
    weight *probe = NULL;
    must_be_ok(o->weight_create(b, &source, 1, &probe), "weight");
    double bytes = (double)o->weight_bytes(probe);
    uint32_t copies = bench->is_small ? 2 : (uint32_t)(COLD_BYTES / bytes) + 2;
    weight **weights = must(calloc(copies, sizeof(weight *)));
    weights[0] = probe;
    for (uint32_t i = 1; i < copies; i++)
        must_be_ok(o->weight_create(b, &source, 1, &weights[i]), "weight");
    tensor_free(&source);
    activation *a = NULL;
    must_be_ok(o->activation_create(b, probe, n_rows, &a), "activation");
    float *x = random_floats(b, (uint64_t)n_rows * c->n_cols, 0.0f);
    float *gain = random_floats(b, c->n_cols, 1.0f);
    float *y = must(o->allocate(b, (uint64_t)n_rows * c->n_outputs * sizeof *y));
    o->rms_norm(b, x, gain, 1e-5f, NULL, n_rows, c->n_cols, a);
    must_be_ok(o->synchronize(b), "rms_norm");
    uint32_t count = queue_length(bench, bytes);
    double best = 1e18;
    for (uint32_t i = 0; i < REPEATS; i++) {
        uint64_t begin_ns = clock_now_ns();
        for (uint32_t j = 0; j < count; j++)
            o->matmul(b, weights[j % copies], a, n_rows, NULL, false, y);
        must_be_ok(o->synchronize(b), "matmul");
        double seconds = (double)(clock_now_ns() - begin_ns) / 1e9 / count;
        best = seconds < best ? seconds : best;
    }
    json_array_append_new(
        bench->products,
        must(json_pack("{s:s,s:i,s:i,s:i,s:f,s:f,s:f}", "type", tensor_type_name(c->type),
                       "outputs", (int)c->n_outputs, "columns", (int)c->n_cols, "rows", (int)n_rows,
                       "us", best * 1e6, "bytes_per_s", bytes / best, "ops_per_s",
                       2.0 * n_rows * c->n_outputs * c->n_cols / best)));
    for (uint32_t i = 0; i < copies; i++)
        o->weight_destroy(b, weights[i]);
    free(weights);
    o->activation_destroy(b, a);
    o->release(b, x);
    o->release(b, gain);
    o->release(b, y);
    backend_close(b);
}

/* --- all of them --- */

static void bench_all(struct bench *bench)
{
    static const struct attention_case attention[] = {{1, 8192, 32, 8, 128, KV_F16},
                                                      {8, 8192, 32, 8, 128, KV_F16},
                                                      {32, 8192, 32, 8, 128, KV_F16},
                                                      {32, 8192, 32, 8, 128, KV_FP8},
                                                      {32, 8192, 32, 8, 128, KV_INT8}};
    static const struct attention_case small_attention = {2, 300, 4, 2, 64, KV_F16};
    static const enum tensor_type types[] = {TENSOR_BF16, TENSOR_Q8_0, TENSOR_Q4_0, TENSOR_Q4_K,
                                             TENSOR_Q6_K};
    static const uint32_t rows[] = {1, 4, 8, 16, 32, 64, 256, 2048};
    for (size_t i = 0; !bench->is_small && i < ARRAY_COUNT(attention); i++)
        bench_attention(bench, &attention[i]);
    if (bench->is_small)
        bench_attention(bench, &small_attention);
    for (size_t i = 0; i < ARRAY_COUNT(types); i++) {
        struct product_case c = {types[i], bench->is_small ? 48 : 14336,
                                 bench->is_small ? 512 : 4096};
        for (size_t j = 0; j < (bench->is_small ? 4 : ARRAY_COUNT(rows)); j++)
            bench_product(bench, &c, rows[j]);
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"backend", required_argument, NULL, 'b'}, {"small", no_argument, NULL, 's'}, {0}};
    struct bench bench = {.device = {.path = BACKEND_AUTO},
                          .attention = must(json_array()),
                          .products = must(json_array())};
    bool is_good = true;
    for (int c; is_good && (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'b')
            is_good = backend_path_find(optarg, &bench.device.path);
        else if (c == 's')
            bench.is_small = true;
        else
            is_good = false;
    }
    if (!is_good || optind != argc) {
        (void)fprintf(stderr, "usage: gpu_kernels --backend NAME [--small]\n");
        return 2;
    }
    bench_all(&bench);
    json_t *all = must(json_pack("{s:s,s:o,s:o}", "backend", backend_path_name(bench.device.path),
                                 "attention", bench.attention, "products", bench.products));
    int failed = json_dumpf(all, stdout, JSON_REAL_PRECISION(9));
    (void)fputc('\n', stdout);
    json_decref(all);
    return failed == 0 ? 0 : 1;
}
