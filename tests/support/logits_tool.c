/* Log-probabilities of a model over a token sequence, for tests that compare them with other engines'.
 *
 *   logits_tool [--ranks N] [--hidden] MODEL BACKEND CONTEXT CHUNK DECODE_FROM [ADAPTER...] < ids > logprobs
 *
 * ids: u32 count, then so many i32. The sequence is read in steps of CHUNK rows up to DECODE_FROM, one row each after it.
 * --ranks: so many compute it together, one thread each; without adapters.
 * ADAPTER: a folder, or "-" for none; with several, each step has the rows of one sequence for each of them.
 * logprobs: sequence by sequence, for every position but the last, f32 for each token of the vocabulary; with --hidden
 * instead of them the hidden states behind the last norm, f64 for each of the model's features. Exit status 77:
 * this CPU cannot run the backend; 2: wrong use; 1: the reason is on standard error. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "communicator.h"
#include "log_softmax.h"
#include "model_adapter.h"
#include "rank_backend.h"

#define IDS_MAX       65536u
#define SEQUENCES_MAX 4u
#define CHUNK_MAX     96u
#define RANK_MAX      16u
#define THREADS       2u

struct tool {
    model_source *source;
    backend *b;
    model *m;
    model_adapter *adapters[SEQUENCES_MAX];
    uint32_t sequence_count, blocks; /* blocks: of one sequence */
    uint32_t *block_tables;
    int32_t *ids;
    uint32_t count;
    uint32_t rank_count;
    bool gives_hidden;
    uint32_t width;  /* numbers of a position: vocabulary or features */
    float *logprobs; /* owned, with gives_hidden as `hidden`; [sequences][count - 1][vocabulary] */
    double *hidden;  /* [sequences][count - 1][features] */
};

static void require(status s, const struct error_note *note)
{
    if (s == STATUS_OK)
        return;
    (void)fprintf(stderr, "logits_tool: %s (%s)\n", note->text, status_name(s));
    exit(1);
}

static void *must(void *memory)
{
    CHECK(memory != NULL);
    return memory;
}

static void read_ids(struct tool *t)
{
    t->ids = must(calloc(IDS_MAX, sizeof *t->ids));
    if (fread(&t->count, sizeof t->count, 1, stdin) == 1 && t->count > 0 && t->count <= IDS_MAX &&
        fread(t->ids, sizeof *t->ids, t->count, stdin) == t->count)
        return;
    (void)fprintf(stderr, "logits_tool: no token ids\n");
    exit(2);
}

static void open_model(struct tool *t, const char *path, enum backend_path backend_path,
                       uint32_t context)
{
    struct error_note note = {""};
    struct backend_options all = {.path = backend_path,
                                  .threads = t->rank_count > 1 ? t->rank_count : THREADS};
    t->blocks = (context + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS;
    struct model_options options = {.batch_tokens_max = SEQUENCES_MAX * CHUNK_MAX,
                                    .logit_rows_max = SEQUENCES_MAX * CHUNK_MAX,
                                    .sequence_count_max = SEQUENCES_MAX,
                                    .context_max = context,
                                    .kv_blocks = t->blocks * SEQUENCES_MAX,
                                    .kv_type = KV_F16,
                                    .adapter_rank_max = t->rank_count > 1 ? 0 : RANK_MAX,
                                    .adapters_max = SEQUENCES_MAX,
                                    .rank_count = t->rank_count,
                                    .rank_backend = all};
    require(model_source_open(path, &t->source, &note), &note);
    require(rank_backend_open(&all, 0, t->rank_count, &t->b, &note), &note);
    require(model_open(t->source, t->b, &options, &t->m, &note), &note);
    /* Blocks in falling order, so that a cache that ignores the table is found out. */
    t->block_tables = must(calloc(options.kv_blocks, sizeof *t->block_tables));
    for (uint32_t i = 0; i < options.kv_blocks; i++)
        t->block_tables[i] = options.kv_blocks - 1 - i;
}

static void open_adapters(struct tool *t, char *const *folders, uint32_t count)
{
    struct error_note note = {""};
    t->sequence_count = count > 0 ? count : 1;
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(folders[i], "-") == 0)
            continue;
        require(model_adapter_open(t->m, folders[i], &t->adapters[i], &note), &note);
        while (!model_adapter_upload(t->m, t->adapters[i]))
            continue;
    }
}

/* Where the numbers of a position begin. */
static size_t place_of(const struct tool *t, uint32_t sequence, uint32_t position)
{
    return ((size_t)sequence * (t->count - 1) + position) * t->width;
}

/* Rows [first, first + rows) of every sequence in one step. */
static void run_step(struct tool *t, uint32_t first, uint32_t rows)
{
    uint32_t n = 0;
    int32_t tokens[SEQUENCES_MAX * CHUNK_MAX];
    uint32_t row_start[SEQUENCES_MAX + 1] = {0}, positions[SEQUENCES_MAX * CHUNK_MAX],
                                       sequences[SEQUENCES_MAX * CHUNK_MAX],
                                       row_numbers[SEQUENCES_MAX * CHUNK_MAX];
    double *hidden_sums[SEQUENCES_MAX * CHUNK_MAX];
    for (uint32_t s = 0; s < t->sequence_count; s++) {
        for (uint32_t i = 0; i < rows; i++, n++) {
            tokens[n] = t->ids[first + i];
            positions[n] = first + i;
            sequences[n] = s;
            row_numbers[n] = n;
            hidden_sums[n] = t->hidden + place_of(t, s, first + i);
        }
        row_start[s + 1] = n;
    }
    struct model_step step = {
        .tokens = tokens,
        .batch = {.n_rows = n,
                  .n_sequences = t->sequence_count,
                  .row_start = row_start,
                  .row_position = positions,
                  .row_sequence = sequences,
                  .block_tables = t->block_tables,
                  .block_table_stride = t->blocks},
        .logit_rows = row_numbers,
        .logit_row_count = t->gives_hidden ? 0 : n,
        .hidden_rows = row_numbers,
        .hidden_sums = hidden_sums,
        .hidden_row_count = t->gives_hidden ? n : 0,
        .adapters = t->rank_count > 1 ? NULL : (const model_adapter *const *)t->adapters};
    const float *logits = NULL;
    struct error_note note = {"the step"};
    require(model_forward(t->m, &step, &logits), &note);
    for (uint32_t r = 0; r < n && !t->gives_hidden; r++)
        log_softmax(logits + (size_t)r * t->width, t->width,
                    t->logprobs + place_of(t, sequences[r], positions[r]));
}

static void run(struct tool *t, uint32_t chunk, uint32_t decode_from)
{
    const struct model_info *info = model_get_info(t->m);
    uint32_t last = t->count - 1; /* what follows the last token is not known */
    t->width = t->gives_hidden ? info->d : info->vocabulary;
    size_t count = place_of(t, t->sequence_count, 0);
    size_t number_bytes = t->gives_hidden ? sizeof *t->hidden : sizeof *t->logprobs;
    void *numbers = must(calloc(count > 0 ? count : 1, number_bytes));
    t->logprobs = numbers;
    t->hidden = numbers;
    for (uint32_t first = 0, rows; first < last; first += rows) {
        rows = first < decode_from ? chunk : 1;
        if (first < decode_from && rows > decode_from - first)
            rows = decode_from - first;
        if (rows > last - first)
            rows = last - first;
        run_step(t, first, rows);
    }
    if (fwrite(numbers, number_bytes, count, stdout) != count || fflush(stdout) != 0)
        exit(1);
}

static uint32_t number(const char *text)
{
    return (uint32_t)strtoul(text, NULL, 10);
}

int main(int argc, char **argv)
{
    enum backend_path path;
    struct tool t = {.rank_count = 1};
    if (argc > 2 && strcmp(argv[1], "--ranks") == 0) {
        t.rank_count = number(argv[2]);
        argv += 2;
        argc -= 2;
    }
    if (argc > 1 && strcmp(argv[1], "--hidden") == 0) {
        t.gives_hidden = true;
        argv++;
        argc--;
    }
    if (argc < 6 || argc - 6 > (int)SEQUENCES_MAX || !backend_path_find(argv[2], &path) ||
        number(argv[4]) < 1 || number(argv[4]) > CHUNK_MAX || t.rank_count < 1 ||
        t.rank_count > COMMUNICATOR_RANKS_MAX) {
        (void)fprintf(
            stderr,
            "usage: logits_tool [--ranks N] [--hidden] MODEL BACKEND CONTEXT CHUNK DECODE_FROM "
            "[ADAPTER...] < ids\n");
        return 2;
    }
    if (!backend_path_is_supported(path))
        return 77;
    read_ids(&t);
    open_model(&t, argv[1], path, number(argv[3]));
    open_adapters(&t, argv + 6, (uint32_t)argc - 6);
    run(&t, number(argv[4]), number(argv[5]));
    for (uint32_t i = 0; i < SEQUENCES_MAX; i++)
        model_adapter_close(t.m, t.adapters[i]);
    model_close(t.m);
    backend_close(t.b);
    model_source_close(t.source);
    free(t.block_tables);
    free(t.ids);
    free(t.logprobs);
    return 0;
}
