/* WRAP: memory_allocate memory_allocate_array memory_allocate_aligned communicator_all_reduce_sum */
#include "model.h"

#include <math.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "communicator.h"
#include "fail_allocation_testing.h"
#include "rank_backend.h"
#include "tiny_llama.h"
#include "unit_test.h"

/* Models on several ranks beside the same on one. The oracle's sums are in double, so that what ranks add up differs from the whole
 * by the rounding of the parts to float alone. Meant to run under TSan too. */

#define CONTEXT  64u
#define BLOCKS   8u
#define ROWS_MAX 32u

/* --- a rank fails at its n-th sum --- */

static uint32_t failing_rank;
static _Atomic int64_t sums_left = INT64_MAX; /* of that rank */

void __real_communicator_all_reduce_sum(communicator *c, float *x, uint64_t count);
void __wrap_communicator_all_reduce_sum(communicator *c, float *x, uint64_t count);

void __wrap_communicator_all_reduce_sum(communicator *c, float *x, uint64_t count)
{
    if (c->rank == failing_rank && atomic_fetch_sub(&sums_left, 1) <= 0)
        communicator_group_fail(c->group, STATUS_INTERNAL);
    else
        __real_communicator_all_reduce_sum(c, x, count);
}

/* --- a tiny model --- */

struct bench {
    void *data;
    model_source *source;
    backend *b;
    model *m;
};

static struct model_options options_of(uint32_t rank_count)
{
    return (struct model_options){
        .batch_tokens_max = ROWS_MAX,
        .logit_rows_max = ROWS_MAX,
        .sequence_count_max = 2,
        .context_max = CONTEXT,
        .kv_blocks = BLOCKS,
        .kv_type = KV_F16,
        .rank_count = rank_count,
        .rank_backend = {.path = BACKEND_REFERENCE, .threads = rank_count}};
}

static status bench_open(struct bench *bench, const struct model_options *options,
                         struct error_note *note)
{
    size_t bytes;
    *bench = (struct bench){.data = tiny_llama_build(NULL, &bytes)};
    assert_int_equal(model_source_open_memory(bench->data, bytes, &bench->source, note), STATUS_OK);
    status s = rank_backend_open(&options->rank_backend, 0, options->rank_count, &bench->b, note);
    return s == STATUS_OK ? model_open(bench->source, bench->b, options, &bench->m, note) : s;
}

static void bench_close(struct bench *bench)
{
    model_close(bench->m);
    backend_close(bench->b);
    model_source_close(bench->source);
    free(bench->data);
}

static const uint32_t TABLE[BLOCKS] = {3, 0, 2}, OTHER_TABLE[BLOCKS] = {3, 4, 5};
static const int32_t TOKENS[24] = {5, 1, 47, 0, 9,  9,  30, 12, 8,  22, 41, 7,
                                   3, 2, 1,  0, 19, 18, 17, 40, 33, 6,  6,  28};

/* One sequence's rows from `first` on; the logits of all of them, and their hidden states. */
static status run_rows(struct bench *bench, uint32_t first, uint32_t count, const uint32_t *table,
                       float *logits, double *hidden)
{
    uint32_t starts[2] = {0, count}, positions[ROWS_MAX], sequences[ROWS_MAX] = {0}, rows[ROWS_MAX];
    double *sums[ROWS_MAX];
    for (uint32_t i = 0; i < count; i++) {
        positions[i] = first + i;
        rows[i] = i;
        sums[i] = hidden + (size_t)i * TINY_WIDTH;
    }
    struct model_step step = {.tokens = TOKENS + first,
                              .batch = {count, 1, starts, positions, sequences, table, BLOCKS},
                              .logit_rows = rows,
                              .logit_row_count = count};
    if (hidden != NULL) {
        step.hidden_rows = rows;
        step.hidden_sums = sums;
        step.hidden_row_count = count;
    }
    const float *out = NULL;
    status s = model_forward(bench->m, &step, &out);
    if (s == STATUS_OK)
        memcpy(logits, out, (size_t)count * TINY_VOCABULARY * sizeof *logits);
    return s;
}

static float whole[ROWS_MAX * TINY_VOCABULARY], other[ROWS_MAX * TINY_VOCABULARY];

static void assert_close(const float *got, const float *want, size_t count, double part)
{
    double highest = 0;
    for (size_t i = 0; i < count; i++)
        highest = fmax(highest, fabs((double)want[i]));
    for (size_t i = 0; i < count; i++)
        if (!(fabs((double)got[i] - (double)want[i]) <= part * highest))
            fail_msg("number %zu is %g, not %g", i, (double)got[i], (double)want[i]);
}

static void run_whole(double *hidden)
{
    struct bench bench;
    struct model_options options = options_of(1);
    assert_int_equal(bench_open(&bench, &options, NULL), STATUS_OK);
    assert_int_equal(run_rows(&bench, 0, 24, TABLE, whole, hidden), STATUS_OK);
    bench_close(&bench);
}

/* 4 ranks share 2 key heads: each is held twice. */
static const uint32_t RANK_COUNTS[] = {2, 4};

static void ranks_give_what_one_gives(void **state)
{
    (void)state;
    static double hidden[ROWS_MAX * TINY_WIDTH], own[ROWS_MAX * TINY_WIDTH];
    memset(hidden, 0, sizeof hidden);
    run_whole(hidden);
    for (size_t i = 0; i < ARRAY_COUNT(RANK_COUNTS); i++) {
        struct bench bench;
        struct model_options options = options_of(RANK_COUNTS[i]);
        assert_int_equal(bench_open(&bench, &options, NULL), STATUS_OK);
        memset(own, 0, sizeof own);
        assert_int_equal(run_rows(&bench, 0, 24, TABLE, other, own), STATUS_OK);
        assert_close(other, whole, (size_t)24 * TINY_VOCABULARY, 2e-5);
        for (size_t k = 0; k < (size_t)24 * TINY_WIDTH; k++)
            assert_true(fabs(own[k] - hidden[k]) <= 1e-4);
        bench_close(&bench);
    }
}

static void the_cut_of_a_prompt_into_steps_changes_no_bit(void **state)
{
    (void)state;
    struct bench bench;
    struct model_options options = options_of(4);
    assert_int_equal(bench_open(&bench, &options, NULL), STATUS_OK);
    assert_int_equal(run_rows(&bench, 0, 24, TABLE, whole, NULL), STATUS_OK);
    for (uint32_t first = 0, count = 1; first < 24;
         first += count, count = first + 5 < 24 ? 5 : 24 - first) {
        assert_int_equal(run_rows(&bench, first, count, TABLE, other, NULL), STATUS_OK);
        assert_memory_equal(other, whole + first * TINY_VOCABULARY,
                            count * TINY_VOCABULARY * sizeof(float));
    }
    bench_close(&bench);
}

static void blocks_are_copied_and_touched_on_all_ranks(void **state)
{
    (void)state;
    struct bench bench;
    struct model_options options = options_of(2);
    assert_int_equal(bench_open(&bench, &options, NULL), STATUS_OK);
    assert_int_equal(run_rows(&bench, 0, 20, TABLE, whole, NULL), STATUS_OK);
    const uint32_t from[1] = {0}, to[1] = {4};
    model_kv_copy_blocks(bench.m, from, to, 1);
    for (uint32_t block = 0; block < BLOCKS; block++)
        model_kv_touch_block(bench.m, block);
    assert_int_equal(run_rows(&bench, 20, 2, TABLE, whole, NULL), STATUS_OK);
    assert_int_equal(run_rows(&bench, 20, 2, OTHER_TABLE, other, NULL), STATUS_OK);
    assert_memory_equal(other, whole, 2 * TINY_VOCABULARY * sizeof(float));
    bench_close(&bench);
}

static void ranks_sleep_and_wake(void **state)
{
    (void)state;
    struct bench bench;
    struct model_options options = options_of(4);
    assert_int_equal(bench_open(&bench, &options, NULL), STATUS_OK);
    assert_int_equal(run_rows(&bench, 0, 24, TABLE, whole, NULL), STATUS_OK);
    model_sleep(bench.m, 1);
    model_sleep(bench.m, 2);
    assert_int_equal(model_wake(bench.m, NULL), STATUS_OK);
    assert_int_equal(run_rows(&bench, 0, 24, TABLE, other, NULL), STATUS_OK);
    assert_memory_equal(other, whole, (size_t)24 * TINY_VOCABULARY * sizeof(float));
    bench_close(&bench);
}

static void info_is_of_all_ranks(void **state)
{
    (void)state;
    struct bench one, four;
    struct model_options options = options_of(1);
    assert_int_equal(bench_open(&one, &options, NULL), STATUS_OK);
    options = options_of(4);
    assert_int_equal(bench_open(&four, &options, NULL), STATUS_OK);
    const struct model_info *a = model_get_info(one.m), *b = model_get_info(four.m);
    assert_int_equal(b->parameter_count, a->parameter_count);
    assert_int_equal(b->n_heads, a->n_heads);
    assert_int_equal(b->kv_block_bytes, 2 * a->kv_block_bytes); /* each key head is held twice */
    /* Norms are there four times, and keys and values twice; all else once. */
    uint64_t norms = (1 + 2 * TINY_LAYERS) * TINY_WIDTH,
             keys = (uint64_t)TINY_LAYERS * 2 * TINY_WIDTH * TINY_KV_HEADS * TINY_HEAD_WIDTH;
    assert_int_equal(b->weight_bytes, a->weight_bytes + (3 * norms + keys) * sizeof(float));
    bench_close(&one);
    bench_close(&four);
}

static void what_cannot_be_shared_out_is_refused_with_the_numbers(void **state)
{
    (void)state;
    static const struct {
        uint32_t rank_count, adapter_rank_max;
        const char *part;
    } ROWS[] = {
        {3, 0, "3 ranks cannot share 4 attention heads"},
        {8, 0, "8 ranks cannot share 4 attention heads"},
        {2, 16, "2 ranks takes no adapters"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(ROWS); i++) {
        struct bench bench;
        struct error_note note = {""};
        struct model_options options = options_of(ROWS[i].rank_count);
        options.adapter_rank_max = ROWS[i].adapter_rank_max;
        assert_int_equal(bench_open(&bench, &options, &note), STATUS_UNSUPPORTED);
        assert_null(bench.m);
        assert_non_null(strstr(note.text, ROWS[i].part));
        bench_close(&bench);
    }
}

static void a_cut_inside_of_a_block_is_refused(void **state)
{
    (void)state;
    struct bench bench = {0};
    struct error_note note = {""};
    struct model_options options = options_of(2);
    /* Its MLP has 32 columns, which in Q8_0 are one block. */
    assert_int_equal(model_source_open("tests/data/tiny/linear.gguf", &bench.source, &note),
                     STATUS_OK);
    assert_int_equal(rank_backend_open(&options.rank_backend, 0, 2, &bench.b, &note), STATUS_OK);
    assert_int_equal(model_open(bench.source, bench.b, &options, &bench.m, &note),
                     STATUS_UNSUPPORTED);
    assert_non_null(strstr(
        note.text, "blk.0.ffn_down.weight cannot be cut at columns 0 to 16: its blocks are of 32"));
    bench_close(&bench);
}

/* Wherever a rank stops, the step ends with a status on all of them, and the model can be closed. */
static void a_rank_that_fails_ends_the_step_everywhere(void **state)
{
    (void)state;
    for (failing_rank = 0; failing_rank < 4; failing_rank++) {
        for (uint32_t at = 0; at < 1 + 2 * TINY_LAYERS; at++) {
            struct bench bench;
            struct model_options options = options_of(4);
            assert_int_equal(bench_open(&bench, &options, NULL), STATUS_OK);
            assert_int_equal(run_rows(&bench, 0, 4, TABLE, other, NULL), STATUS_OK);
            atomic_store(&sums_left, at);
            assert_int_equal(run_rows(&bench, 4, 20, TABLE, other, NULL), STATUS_INTERNAL);
            atomic_store(&sums_left, INT64_MAX);
            bench_close(&bench);
        }
    }
}

static void opening_without_memory_fails_cleanly(void **state)
{
    (void)state;
    struct bench bench;
    struct model_options options = options_of(2);
    status s = STATUS_NO_MEMORY;
    run_whole(NULL);
    int64_t n = 0;
    for (; s != STATUS_OK; n++) {
        struct error_note note = {""};
        size_t bytes;
        bench = (struct bench){.data = tiny_llama_build(NULL, &bytes)};
        assert_int_equal(model_source_open_memory(bench.data, bytes, &bench.source, &note),
                         STATUS_OK);
        assert_int_equal(rank_backend_open(&options.rank_backend, 0, 2, &bench.b, &note),
                         STATUS_OK);
        atomic_store(&allocations_left, n);
        s = model_open(bench.source, bench.b, &options, &bench.m, &note);
        atomic_store(&allocations_left, INT64_MAX);
        if (s != STATUS_OK) {
            assert_int_equal(s, STATUS_NO_MEMORY);
            assert_string_not_equal(note.text, "");
            assert_null(bench.m);
        } else {
            assert_int_equal(run_rows(&bench, 0, 24, TABLE, other, NULL), STATUS_OK);
            assert_close(other, whole, (size_t)24 * TINY_VOCABULARY, 2e-5);
        }
        bench_close(&bench);
    }
    assert_true(n > 40);
}

/* --- a real model --- */

#define PROMPT     3u
#define STEPS_MAX  12u
#define VOCABULARY 49152u

/* How the real model is run. */
struct trial {
    const model_source *source;
    const char *path, *weight_cache;
    enum backend_path backend;
    uint32_t rank_count, steps;
    bool is_first; /* its best tokens are those of all trials */
};

static backend *trial_open(const struct trial *trial, model **m)
{
    struct error_note note = {""};
    backend *b;
    struct model_options options = {
        .batch_tokens_max = PROMPT,
        .logit_rows_max = 1,
        .sequence_count_max = 1,
        .context_max = CONTEXT,
        .kv_blocks = 4,
        .kv_type = KV_F16,
        .weight_cache = trial->weight_cache,
        .model_path = trial->path,
        .rank_count = trial->rank_count,
        .rank_backend = {.path = trial->backend, .threads = trial->rank_count}};
    assert_int_equal(rank_backend_open(&options.rank_backend, 0, trial->rank_count, &b, &note),
                     STATUS_OK);
    if (model_open(trial->source, b, &options, m, &note) != STATUS_OK)
        fail_msg("%s", note.text);
    assert_int_equal(model_get_info(*m)->vocabulary, VOCABULARY);
    return b;
}

static uint32_t best_of(const float *logits)
{
    uint32_t best = 0;
    for (uint32_t t = 1; t < VOCABULARY; t++)
        best = logits[t] > logits[best] ? t : best;
    return best;
}

/* The logits behind a short prompt and behind each further token. */
static void decode(const struct trial *trial, int32_t *tokens, float *logits)
{
    static const uint32_t table[4] = {2, 0, 3, 1};
    model *m;
    backend *b = trial_open(trial, &m);
    for (uint32_t i = 0, position = 0, count = PROMPT; i < trial->steps; i++, count = 1) {
        uint32_t starts[2] = {0, count}, positions[PROMPT], sequences[PROMPT] = {0},
                 row = count - 1;
        for (uint32_t k = 0; k < count; k++)
            positions[k] = position + k;
        struct model_step step = {.tokens = tokens + position,
                                  .batch = {count, 1, starts, positions, sequences, table, 4},
                                  .logit_rows = &row,
                                  .logit_row_count = 1};
        const float *out;
        assert_int_equal(model_forward(m, &step, &out), STATUS_OK);
        memcpy(logits + (size_t)i * VOCABULARY, out, VOCABULARY * sizeof *out);
        position += count;
        if (trial->is_first)
            tokens[position] = (int32_t)best_of(out);
    }
    model_close(m);
    backend_close(b);
}

static float *make_logits(void)
{
    float *logits = malloc((size_t)STEPS_MAX * VOCABULARY * sizeof *logits);
    assert_non_null(logits);
    return logits;
}

/* 9 heads, 3 key heads, an MLP of 6 * 256, matrices in blocks of 32. */
static void three_ranks_of_a_real_model_give_its_tokens(void **state)
{
    (void)state;
    struct trial trial = {.path = getenv("PENSTOCK_TEST_MODEL"),
                          .backend = BACKEND_REFERENCE,
                          .rank_count = 1,
                          .steps = 2,
                          .is_first = true};
    if (trial.path == NULL)
        skip();
    model_source *source;
    int32_t tokens[PROMPT + STEPS_MAX] = {504, 3575, 282};
    float *want = make_logits(), *got = make_logits();
    assert_int_equal(model_source_open(trial.path, &source, NULL), STATUS_OK);
    trial.source = source;
    decode(&trial, tokens, want);
    trial.rank_count = 3;
    trial.is_first = false;
    decode(&trial, tokens, got);
    for (uint32_t i = 0; i < trial.steps; i++)
        assert_int_equal(best_of(got + (size_t)i * VOCABULARY),
                         best_of(want + (size_t)i * VOCABULARY));
    assert_close(got, want, (size_t)trial.steps * VOCABULARY, 1e-3);
    model_source_close(source);
    free(want), free(got);
}

/* How far two runs are apart on average. */
static double mean_difference(const float *a, const float *b, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += fabs((double)a[i] - (double)b[i]);
    return sum / (double)count;
}

/* Three devices, emulated: what they exchange goes through the host, in the middle of a queued step. */
static void three_devices_give_what_one_rank_gives(void **state)
{
    (void)state;
    const struct backend_options options = {.path = BACKEND_CUDA_EMULATED, .threads = 1};
    struct trial trial = {.path = getenv("PENSTOCK_TEST_MODEL"),
                          .backend = BACKEND_REFERENCE,
                          .rank_count = 1,
                          .steps = 1,
                          .is_first = true};
    struct error_note note;
    backend *b;
    assert_int_equal(setenv("PENSTOCK_FAKE_DEVICE", "devices=3", 1), 0);
    assert_int_equal(setenv("PENSTOCK_EMULATOR_CHECKS", "off", 1), 0);
    if (trial.path == NULL)
        skip();
    if (backend_open(&options, &b, &note) != STATUS_OK)
        skip(); /* the library is not built */
    backend_close(b);
    model_source *source;
    int32_t tokens[PROMPT + STEPS_MAX] = {504, 3575, 282};
    float *want = make_logits(), *got = make_logits();
    assert_int_equal(model_source_open(trial.path, &source, NULL), STATUS_OK);
    trial.source = source;
    decode(&trial, tokens, want);
    trial.backend = BACKEND_CUDA_EMULATED;
    trial.rank_count = 3;
    trial.is_first = false;
    decode(&trial, tokens, got);
    assert_true(mean_difference(got, want, (size_t)trial.steps * VOCABULARY) < 0.5);
    model_source_close(source);
    free(want), free(got);
}

/* The weights of each rank go to a cache of its own, and come back from it. Products of int8 inputs: where an input lies between two
 * steps, rounding decides, so that ranks are 0.14 apart from one rank on average, as one CPU path is from another. */
static void ranks_keep_their_weights_apart(void **state)
{
    (void)state;
    char folder[] = "/tmp/penstock-ranks-XXXXXX", command[128];
    struct trial trial = {.path = getenv("PENSTOCK_TEST_MODEL"),
                          .backend = BACKEND_AUTO,
                          .rank_count = 1,
                          .steps = STEPS_MAX,
                          .is_first = true};
    if (trial.path == NULL)
        skip();
    model_source *source;
    size_t count = (size_t)STEPS_MAX * VOCABULARY;
    int32_t tokens[PROMPT + STEPS_MAX] = {504, 3575, 282};
    float *want = make_logits(), *written = make_logits(), *taken = make_logits();
    assert_non_null(mkdtemp(folder));
    assert_int_equal(model_source_open(trial.path, &source, NULL), STATUS_OK);
    trial.source = source;
    decode(&trial, tokens, want);
    trial = (struct trial){source, trial.path, folder, BACKEND_AUTO, 3, STEPS_MAX, false};
    decode(&trial, tokens, written);
    decode(&trial, tokens, taken);
    model_source_close(source);
    assert_memory_equal(taken, written, count * sizeof *taken);
    assert_true(mean_difference(written, want, count) < 0.5);
    free(want), free(written), free(taken);
    (void)snprintf(command, sizeof command, "test $(ls %s/*.cpu-?of3-weights | wc -l) = 3", folder);
    assert_int_equal(system(command), 0);
    (void)snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_give_what_one_gives),
        cmocka_unit_test(the_cut_of_a_prompt_into_steps_changes_no_bit),
        cmocka_unit_test(blocks_are_copied_and_touched_on_all_ranks),
        cmocka_unit_test(ranks_sleep_and_wake),
        cmocka_unit_test(info_is_of_all_ranks),
        cmocka_unit_test(what_cannot_be_shared_out_is_refused_with_the_numbers),
        cmocka_unit_test(a_cut_inside_of_a_block_is_refused),
        cmocka_unit_test(a_rank_that_fails_ends_the_step_everywhere),
        cmocka_unit_test(opening_without_memory_fails_cleanly),
        cmocka_unit_test(three_ranks_of_a_real_model_give_its_tokens),
        cmocka_unit_test(three_devices_give_what_one_rank_gives),
        cmocka_unit_test(ranks_keep_their_weights_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
