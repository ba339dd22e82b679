/* WRAP: memory_allocate memory_allocate_array memory_allocate_aligned */
#include "model.h"

#include "fail_allocation_testing.h"
#include "tiny_llama.h"
#include "unit_test.h"

#define CONTEXT  64u
#define BLOCKS   8u
#define ROWS_MAX 32u

/* --- a tiny model on the oracle --- */

struct bench {
    void *data;
    model_source *source;
    backend *b;
    model *m;
};

static const struct model_options OPTIONS = {.batch_tokens_max = ROWS_MAX,
                                             .logit_rows_max = ROWS_MAX,
                                             .sequence_count_max = 2,
                                             .context_max = CONTEXT,
                                             .kv_blocks = BLOCKS,
                                             .kv_type = KV_F16};

static status bench_open(struct bench *bench, const struct tiny_llama_change *change,
                         struct error_note *note)
{
    size_t bytes;
    struct backend_options options = {.path = BACKEND_REFERENCE, .threads = 1};
    *bench = (struct bench){.data = tiny_llama_build(change, &bytes)};
    assert_int_equal(model_source_open_memory(bench->data, bytes, &bench->source, note), STATUS_OK);
    assert_int_equal(backend_open(&options, &bench->b, note), STATUS_OK);
    return model_open(bench->source, bench->b, &OPTIONS, &bench->m, note);
}

static void bench_close(struct bench *bench)
{
    model_close(bench->m);
    backend_close(bench->b);
    model_source_close(bench->source);
    free(bench->data);
}

/* One sequence's rows of a step: `count` tokens at positions from `first`, blocks as in `table`. */
struct part {
    const int32_t *tokens;
    uint32_t first, count;
    const uint32_t *table;
};

/* Runs the parts as one step and copies the logits of every row. */
static void run_parts(struct bench *bench, const struct part *parts, uint32_t part_count,
                      float *logits)
{
    int32_t tokens[ROWS_MAX];
    uint32_t starts[3] = {0}, positions[ROWS_MAX], sequences[ROWS_MAX], rows[ROWS_MAX],
             tables[2 * BLOCKS], n = 0;
    for (uint32_t p = 0; p < part_count; p++) {
        memcpy(tables + p * BLOCKS, parts[p].table, BLOCKS * sizeof *tables);
        for (uint32_t i = 0; i < parts[p].count; i++, n++) {
            tokens[n] = parts[p].tokens[i];
            positions[n] = parts[p].first + i;
            sequences[n] = p;
            rows[n] = n;
        }
        starts[p + 1] = n;
    }
    struct model_step step = {
        .tokens = tokens,
        .batch = {n, part_count, starts, positions, sequences, tables, BLOCKS},
        .logit_rows = rows,
        .logit_row_count = n};
    const float *out = NULL;
    assert_int_equal(model_forward(bench->m, &step, &out), STATUS_OK);
    memcpy(logits, out, (size_t)n * TINY_VOCABULARY * sizeof *logits);
}

static const uint32_t FIRST_TABLE[BLOCKS] = {3, 0, 2};
static const uint32_t SECOND_TABLE[BLOCKS] = {7, 6, 5};
static const int32_t TOKENS[24] = {5, 1, 47, 0, 9,  9,  30, 12, 8,  22, 41, 7,
                                   3, 2, 1,  0, 19, 18, 17, 40, 33, 6,  6,  28};

static float whole[ROWS_MAX * TINY_VOCABULARY], other[ROWS_MAX * TINY_VOCABULARY];

static void a_prompt_gives_the_same_logits_in_one_step_and_in_many(void **state)
{
    (void)state;
    struct bench bench;
    assert_int_equal(bench_open(&bench, NULL, NULL), STATUS_OK);
    struct part all = {TOKENS, 0, 24, FIRST_TABLE};
    run_parts(&bench, &all, 1, whole);
    for (uint32_t first = 0, count = 1; first < 24;
         first += count, count = first + 5 < 24 ? 5 : 24 - first) {
        struct part part = {TOKENS + first, first, count, SECOND_TABLE};
        run_parts(&bench, &part, 1, other);
        assert_memory_equal(other, whole + first * TINY_VOCABULARY,
                            count * TINY_VOCABULARY * sizeof(float));
    }
    assert_memory_not_equal(whole, whole + TINY_VOCABULARY, TINY_VOCABULARY * sizeof(float));
    bench_close(&bench);
}

static void a_sequence_is_not_changed_by_its_neighbour_in_the_batch(void **state)
{
    (void)state;
    struct bench bench;
    assert_int_equal(bench_open(&bench, NULL, NULL), STATUS_OK);
    struct part alone = {TOKENS, 0, 10, FIRST_TABLE};
    run_parts(&bench, &alone, 1, whole);
    struct part both[2] = {{TOKENS + 10, 0, 14, SECOND_TABLE}, {TOKENS, 0, 10, FIRST_TABLE}};
    run_parts(&bench, both, 2, other);
    assert_memory_equal(other + 14 * TINY_VOCABULARY, whole, 10 * TINY_VOCABULARY * sizeof(float));
    bench_close(&bench);
}

static void only_the_rows_asked_for_get_logits_in_their_order(void **state)
{
    (void)state;
    struct bench bench;
    assert_int_equal(bench_open(&bench, NULL, NULL), STATUS_OK);
    struct part all = {TOKENS, 0, 6, FIRST_TABLE};
    run_parts(&bench, &all, 1, whole);
    uint32_t starts[2] = {0, 6}, positions[6] = {0, 1, 2, 3, 4, 5}, sequences[6] = {0},
             rows[2] = {1, 5};
    struct model_step step = {.tokens = TOKENS,
                              .batch = {6, 1, starts, positions, sequences, FIRST_TABLE, BLOCKS},
                              .logit_rows = rows,
                              .logit_row_count = 2};
    const float *logits = NULL;
    assert_int_equal(model_forward(bench.m, &step, &logits), STATUS_OK);
    assert_memory_equal(logits, whole + 1 * TINY_VOCABULARY, TINY_VOCABULARY * sizeof(float));
    assert_memory_equal(logits + TINY_VOCABULARY, whole + 5 * TINY_VOCABULARY,
                        TINY_VOCABULARY * sizeof(float));
    step.logit_row_count = 0; /* a prefill chunk that is not the last */
    assert_int_equal(model_forward(bench.m, &step, &logits), STATUS_OK);
    bench_close(&bench);
}

static void a_copied_block_continues_like_the_original(void **state)
{
    (void)state;
    struct bench bench;
    assert_int_equal(bench_open(&bench, NULL, NULL), STATUS_OK);
    struct part prompt = {TOKENS, 0, 20, FIRST_TABLE};
    run_parts(&bench, &prompt, 1, whole);
    const uint32_t from[1] = {0}, to[1] = {4}, copied_table[BLOCKS] = {3, 4};
    model_kv_copy_blocks(bench.m, from, to, 1);
    struct part next = {TOKENS + 20, 20, 2, FIRST_TABLE},
                copied = {TOKENS + 20, 20, 2, copied_table};
    run_parts(&bench, &next, 1, whole);
    run_parts(&bench, &copied, 1, other);
    assert_memory_equal(other, whole, 2 * TINY_VOCABULARY * sizeof(float));
    bench_close(&bench);
}

static void info_tells_the_sizes(void **state)
{
    (void)state;
    struct bench bench;
    assert_int_equal(bench_open(&bench, NULL, NULL), STATUS_OK);
    const struct model_info *info = model_get_info(bench.m);
    struct model_info before;
    assert_int_equal(model_file_info(bench.source, KV_F16, &before, NULL), STATUS_OK);
    assert_string_equal(info->architecture, "llama");
    assert_string_equal(info->name, "tiny ??");
    assert_int_equal(info->vocabulary, TINY_VOCABULARY);
    assert_int_equal(info->d_head, TINY_HEAD_WIDTH);
    assert_int_equal(info->context_trained, 64);
    uint64_t layer = 2 * TINY_WIDTH + TINY_WIDTH * (2 * 32 + 2 * 16) + 3 * TINY_WIDTH * TINY_FFN;
    assert_int_equal(info->parameter_count,
                     TINY_LAYERS * layer + TINY_WIDTH + TINY_VOCABULARY * TINY_WIDTH);
    assert_int_equal(info->weight_bytes, info->parameter_count * sizeof(float));
    assert_int_equal(info->kv_block_bytes,
                     TINY_LAYERS * 2 * 16 * TINY_KV_HEADS * TINY_HEAD_WIDTH * 2);
    assert_int_equal(before.kv_block_bytes, info->kv_block_bytes);
    assert_int_equal(before.parameter_count, info->parameter_count);
    bench_close(&bench);
}

static void what_is_wrong_with_a_file_is_named(void **state)
{
    (void)state;
    static const struct {
        struct tiny_llama_change change;
        status expected;
        const char *part;
    } ROWS[] = {
        {{.architecture = "mamba"},
         STATUS_UNSUPPORTED,
         "'mamba' is not supported (these are: llama, qwen2, "},
        {{.leave_out = "llama.block_count"}, STATUS_INVALID, "llama.block_count is missing"},
        {{.leave_out = "llama.attention.layer_norm_rms_epsilon"},
         STATUS_INVALID,
         "layer_norm_rms_epsilon is missing"},
        {{.key = "llama.block_count", .value = 0},
         STATUS_INVALID,
         "llama.block_count is 0; 1 to 1024"},
        {{.key = "llama.block_count", .value = 1024},
         STATUS_INVALID,
         "blk.2.attn_norm.weight is missing"},
        {{.key = "llama.block_count", .value = 1025}, STATUS_INVALID, "is 1025"},
        {{.key = "llama.attention.head_count_kv", .value = 3},
         STATUS_INVALID,
         "cannot share 3 key heads"},
        {{.key = "llama.attention.head_count", .value = 5}, STATUS_INVALID, "5 query heads"},
        {{.key = "llama.attention.key_length", .value = 16},
         STATUS_UNSUPPORTED,
         "values of 8 beside keys of 16"},
        {{.key = "llama.rope.dimension_count", .value = 10},
         STATUS_INVALID,
         "10 rotated features in heads of 8"},
        {{.key = "llama.expert_count", .value = 8}, STATUS_INVALID, "0 of 8 experts"},
        {{.leave_out = "token_embd.weight"}, STATUS_INVALID, "token_embd.weight is missing"},
        {{.leave_out = "output_norm.weight"}, STATUS_INVALID, "output_norm.weight is missing"},
        {{.leave_out = "blk.1.ffn_up.weight"}, STATUS_INVALID, "blk.1.ffn_up.weight is missing"},
        {{.wrong_shape = "blk.1.attn_k.weight"},
         STATUS_INVALID,
         "blk.1.attn_k.weight has the shape [32, 17, 1, 1]; [32, 16] is expected"},
        {{.add_tensor = "blk.0.attn_q_norm.weight"},
         STATUS_UNSUPPORTED,
         "blk.0.attn_q_norm.weight belongs to a feature"},
        {{.add_tensor = "blk.0.attn_q.bias"}, STATUS_INVALID, "blk.0.attn_k.bias is missing"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(ROWS); i++) {
        struct bench bench;
        struct error_note note = {""};
        status s = bench_open(&bench, &ROWS[i].change, &note);
        if (s != ROWS[i].expected || strstr(note.text, ROWS[i].part) == NULL)
            fail_msg("row %zu: %s '%s', expected '%s'", i, status_name(s), note.text, ROWS[i].part);
        assert_null(bench.m);
        bench_close(&bench);
    }
}

/* --- a device whose memory the host cannot read: the same backend, saying so --- */

static const struct backend_operations *real_operations;
static uint32_t download_count;

static void counted_download(backend *b, void *host, const void *device, uint64_t bytes)
{
    download_count++;
    real_operations->download(b, host, device, bytes);
}

/* Opens the model once more on the same backend, whose memory is now hidden. `operations` must outlive the bench. */
static status reopen_with_hidden_memory(struct bench *bench, struct backend_operations *operations,
                                        struct error_note *note)
{
    model_close(bench->m);
    bench->m = NULL;
    real_operations = bench->b->operations;
    *operations = *real_operations;
    operations->memory_is_host = false;
    operations->download = counted_download;
    bench->b->operations = operations;
    download_count = 0;
    return model_open(bench->source, bench->b, &OPTIONS, &bench->m, note);
}

static void logits_are_copied_only_from_memory_that_the_host_cannot_read(void **state)
{
    (void)state;
    struct bench bench;
    struct backend_operations hidden;
    struct part all = {TOKENS, 0, 24, FIRST_TABLE};
    assert_int_equal(bench_open(&bench, NULL, NULL), STATUS_OK);
    assert_true(bench.b->operations->memory_is_host);
    run_parts(&bench, &all, 1, whole);
    assert_int_equal(reopen_with_hidden_memory(&bench, &hidden, NULL), STATUS_OK);
    uint32_t at_opening = download_count;
    run_parts(&bench, &all, 1, other);
    assert_int_equal(download_count - at_opening, 1);
    assert_memory_equal(other, whole, 24 * TINY_VOCABULARY * sizeof(float));
    bench_close(&bench);
}

/* The hidden states of all tokens in one step: row r to sums[r], rows from 2 on also to the sum behind them. */
static void run_hidden(struct bench *bench, double *sums)
{
    uint32_t starts[2] = {0, 6}, positions[6] = {0, 1, 2, 3, 4, 5}, sequences[6] = {0};
    const uint32_t rows[10] = {0, 1, 2, 2, 3, 3, 4, 4, 5, 5};
    uint32_t d = model_get_info(bench->m)->d;
    double *targets[10];
    for (uint32_t i = 0; i < 10; i++) {
        bool is_second = i > 0 && rows[i] == rows[i - 1];
        targets[i] = sums + (size_t)(is_second ? 6 : rows[i]) * d;
    }
    struct model_step step = {.tokens = TOKENS,
                              .batch = {6, 1, starts, positions, sequences, FIRST_TABLE, BLOCKS},
                              .hidden_rows = rows,
                              .hidden_sums = targets,
                              .hidden_row_count = 10};
    const float *logits = NULL;
    assert_int_equal(model_forward(bench->m, &step, &logits), STATUS_OK);
}

static void hidden_states_are_added_wherever_they_are(void **state)
{
    (void)state;
    struct bench bench;
    struct backend_operations hidden;
    static double in_place[7 * 256], copied[7 * 256];
    assert_int_equal(bench_open(&bench, NULL, NULL), STATUS_OK);
    uint32_t d = model_get_info(bench.m)->d;
    assert_true(d <= 256);
    memset(in_place, 0, sizeof in_place);
    memset(copied, 0, sizeof copied);
    run_hidden(&bench, in_place);
    for (uint32_t c = 0; c < d; c++) {
        double sum = 0.0;
        for (uint32_t r = 2; r < 6; r++)
            sum += in_place[r * d + c];
        assert_true(in_place[6 * d + c] == sum);
        assert_true(in_place[c] != 0.0 && in_place[c] != in_place[d + c]);
    }
    assert_int_equal(reopen_with_hidden_memory(&bench, &hidden, NULL), STATUS_OK);
    run_hidden(&bench, copied);
    assert_memory_equal(copied, in_place, sizeof copied);
    bench_close(&bench);
}

/* With the leak checker of the address sanitizer this also shows that everything is given back. */
static void model_open_fails_at_each_allocation(struct bench *bench)
{
    int64_t failures = 0;
    for (;; failures++) {
        struct error_note note = {""};
        model *m = NULL;
        allocations_left = failures;
        status s = model_open(bench->source, bench->b, &OPTIONS, &m, &note);
        allocations_left = INT64_MAX;
        if (s == STATUS_OK) {
            model_close(m);
            break;
        }
        assert_int_equal(s, STATUS_NO_MEMORY);
        assert_true(note.text[0] != '\0');
        assert_null(m);
    }
    assert_true(failures > 20);
}

static void running_out_of_memory_at_any_allocation_is_a_status(void **state)
{
    (void)state;
    struct bench bench;
    struct backend_operations hidden;
    assert_int_equal(bench_open(&bench, NULL, NULL), STATUS_OK);
    model_open_fails_at_each_allocation(&bench);
    assert_int_equal(reopen_with_hidden_memory(&bench, &hidden, NULL), STATUS_OK);
    model_open_fails_at_each_allocation(&bench);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prompt_gives_the_same_logits_in_one_step_and_in_many),
        cmocka_unit_test(a_sequence_is_not_changed_by_its_neighbour_in_the_batch),
        cmocka_unit_test(only_the_rows_asked_for_get_logits_in_their_order),
        cmocka_unit_test(a_copied_block_continues_like_the_original),
        cmocka_unit_test(info_tells_the_sizes),
        cmocka_unit_test(what_is_wrong_with_a_file_is_named),
        cmocka_unit_test(logits_are_copied_only_from_memory_that_the_host_cannot_read),
        cmocka_unit_test(hidden_states_are_added_wherever_they_are),
        cmocka_unit_test(running_out_of_memory_at_any_allocation_is_a_status),
    };
    return cmocka_run_group_tests_name("model", tests, NULL, NULL);
}
