#include "kernel_bench.h"

/* The cache's operations: attention, append, copy. Nine query heads on three of keys and values, as in the 135M model,
 * over as many layers, so that a layer is cold when its turn comes again. */

#define LAYERS      30u
#define COPY_BLOCKS 32u

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

static double block_bytes(backend *b, enum kv_type type, uint32_t layers)
{
    struct kv_shape one = {layers, 3, 64, 1, type};
    return (double)b->operations->kv_block_bytes(&one);
}

/* `n_sequences` with `context` positions each, of which the last `rows_each` are rows of the step.
 */
static struct attention_run attention_open(backend *b, enum kv_type type, uint32_t n_sequences,
                                           uint32_t context, uint32_t rows_each, uint32_t layers)
{
    struct attention_run run = {.b = b, .layers = layers};
    run.shape =
        (struct attention_shape){.n_heads = 9, .n_kv_heads = 3, .d_head = 64, .scale = 0.125f};
    for (uint32_t i = 0; i < ARRAY_COUNT(frequencies); i++)
        frequencies[i] = (float)pow(1e5, -2.0 * i / 64);
    run.rope = (struct rope_table){frequencies, 64, 1, true};
    uint32_t blocks = (context + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS;
    struct kv_shape kv = {layers, 3, 64, n_sequences * blocks, type};
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

/* Append fills the cache, a block goes from the first sequence to the second, attention reads both. */
static void check_cache(struct bench *bench, enum kv_type type, uint32_t context)
{
    float *rows[2];
    backend *backends[2] = {bench->reference, bench->b};
    for (int i = 0; i < 2; i++) {
        struct attention_run run = attention_open(backends[i], type, 2, context, 3, 1);
        rows[i] = malloc(6 * 576 * sizeof(float));
        CHECK(rows[i] != NULL);
        const uint32_t *first = run.batch.block_tables,
                       *second = first + run.batch.block_table_stride;
        run.b->operations->kv_copy_blocks(run.b, run.kv, first, second, 1);
        run_attention(&run);
        run.b->operations->matmul(run.b, run.identity, run.out, 6, NULL, false, rows[i]);
        attention_close(&run);
    }
    check_close("attention", rows[0], rows[1], 6 * 576);
    free(rows[0]);
    free(rows[1]);
}

static void bench_attention(struct bench *bench, enum kv_type type, uint32_t n_sequences,
                            uint32_t context, uint32_t rows_each)
{
    struct attention_run run =
        attention_open(bench->b, type, n_sequences, context, rows_each, LAYERS);
    struct timing t = {.operation = "attention", .n_rows = n_sequences * rows_each};
    snprintf(t.shape, sizeof(t.shape), "%u x %u of %s", n_sequences, context, kv_type_name(type));
    double pairs = 0;
    for (uint32_t r = 0; r < rows_each; r++)
        pairs += (double)n_sequences * (context - r);
    t.bytes = (double)n_sequences * context * block_bytes(bench->b, type, 1) / KV_BLOCK_TOKENS;
    *(type == KV_INT8 ? &t.int8_ops : &t.float_ops) = pairs * 9 * 64 * 2 * 2;
    t.ns = fastest_ns(run_attention, &run) / LAYERS;
    report(bench, &t);
    attention_close(&run);
}

static void bench_append(struct bench *bench, enum kv_type type, uint32_t n_sequences,
                         uint32_t rows_each)
{
    struct attention_run run = attention_open(bench->b, type, n_sequences, 512, rows_each, LAYERS);
    struct timing t = {.operation = "append", .n_rows = n_sequences * rows_each};
    snprintf(t.shape, sizeof(t.shape), "%u x %u rows of %s", n_sequences, rows_each,
             kv_type_name(type));
    run.is_append = true;
    t.bytes = t.n_rows * (960 * sizeof(float) + block_bytes(bench->b, type, 1) / KV_BLOCK_TOKENS);
    t.ns = fastest_ns(run_attention, &run) / LAYERS;
    report(bench, &t);
    attention_close(&run);
}

static void run_copy(void *context)
{
    struct attention_run *run = context;
    uint32_t from[COPY_BLOCKS], to[COPY_BLOCKS];
    for (uint32_t i = 0; i < COPY_BLOCKS; i++) {
        from[i] = i;
        to[i] = COPY_BLOCKS + i;
    }
    run->b->operations->kv_copy_blocks(run->b, run->kv, from, to, COPY_BLOCKS);
}

static void bench_copy(struct bench *bench, enum kv_type type)
{
    struct attention_run run =
        attention_open(bench->b, type, 1, 2 * COPY_BLOCKS * KV_BLOCK_TOKENS, 1, LAYERS);
    struct timing t = {.operation = "copy", .n_rows = COPY_BLOCKS};
    snprintf(t.shape, sizeof(t.shape), "%u layers of %s", LAYERS, kv_type_name(type));
    t.bytes = 2.0 * COPY_BLOCKS * block_bytes(bench->b, type, LAYERS);
    t.ns = fastest_ns(run_copy, &run);
    report(bench, &t);
    attention_close(&run);
}

void bench_cache_operations(struct bench *bench)
{
    static const struct {
        uint32_t n_sequences, context, rows_each;
    } shapes[] = {{1, 128, 1},  {1, 512, 1},   {1, 2048, 1},  {1, 8192, 1},  {16, 192, 1},
                  {32, 192, 1}, {16, 1024, 1}, {1, 512, 512}, {1, 2048, 512}};
    bool wants_attention = is_wanted(bench, "attention"), wants_append = is_wanted(bench, "append"),
         wants_copy = is_wanted(bench, "copy");
    for (enum kv_type type = 0; type < CPU_KV_TYPE_COUNT; type++) {
        if (wants_attention || wants_append || wants_copy)
            check_cache(bench, type, 300);
        for (size_t i = 0; wants_attention && i < ARRAY_COUNT(shapes); i++)
            bench_attention(bench, type, shapes[i].n_sequences, shapes[i].context,
                            shapes[i].rows_each);
        if (wants_append) {
            bench_append(bench, type, 16, 1);
            bench_append(bench, type, 1, 512);
        }
        if (wants_copy)
            bench_copy(bench, type);
    }
}
