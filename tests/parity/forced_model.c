#include "forced_model.h"

#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "log_softmax.h"

#define THREADS 2u

static void require(status s, const struct error_note *note, const char *what)
{
    if (s == STATUS_OK)
        return;
    fprintf(stderr, "%s: %s (%s)\n", what, note->text, status_name(s));
    exit(1);
}

void forced_model_open(struct forced_model *f, const char *path, enum backend_path backend_path,
                       enum kv_type kv_type, uint32_t context_max)
{
    struct error_note note = {""};
    struct backend_options backend_options = {.path = backend_path, .threads = THREADS};
    *f =
        (struct forced_model){.block_count = (context_max + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS};
    require(model_source_open(path, &f->source, &note), &note, path);
    require(backend_open(&backend_options, &f->b, &note), &note, backend_path_name(backend_path));
    struct model_options options = {.batch_tokens_max = FORCED_CHUNK_MAX,
                                    .logit_rows_max = FORCED_CHUNK_MAX,
                                    .sequence_count_max = 1,
                                    .context_max = context_max,
                                    .kv_blocks = f->block_count,
                                    .kv_type = kv_type};
    require(model_open(f->source, f->b, &options, &f->m, &note), &note, path);
    f->block_table = calloc(f->block_count, sizeof *f->block_table);
    f->logprobs = calloc(model_get_info(f->m)->vocabulary, sizeof *f->logprobs);
    CHECK(f->block_table != NULL && f->logprobs != NULL);
    for (uint32_t i = 0; i < f->block_count; i++)
        f->block_table[i] = f->block_count - 1 - i;
}

void forced_model_close(struct forced_model *f)
{
    model_close(f->m);
    backend_close(f->b);
    model_source_close(f->source);
    free(f->block_table);
    free(f->logprobs);
}

/* Rows [first, first + rows) of the sequence in one step. */
static void run_step(struct forced_model *f, const struct forced_run *run, uint32_t first,
                     uint32_t rows, forced_visit *visit, void *context)
{
    uint32_t vocabulary = model_get_info(f->m)->vocabulary;
    uint32_t row_start[2] = {0, rows}, positions[FORCED_CHUNK_MAX],
             sequences[FORCED_CHUNK_MAX] = {0}, logit_rows[FORCED_CHUNK_MAX];
    for (uint32_t i = 0; i < rows; i++) {
        positions[i] = first + i;
        logit_rows[i] = i;
    }
    struct model_step step = {.tokens = run->ids + first,
                              .batch = {.n_rows = rows,
                                        .n_sequences = 1,
                                        .row_start = row_start,
                                        .row_position = positions,
                                        .row_sequence = sequences,
                                        .block_tables = f->block_table,
                                        .block_table_stride = f->block_count},
                              .logit_rows = logit_rows,
                              .logit_row_count = rows};
    const float *logits = NULL;
    struct error_note note = {""};
    require(model_forward(f->m, &step, &logits), &note, "model_forward");
    for (uint32_t i = 0; i < rows; i++) {
        log_softmax(logits + (size_t)i * vocabulary, vocabulary, f->logprobs);
        visit(context, first + i, f->logprobs);
    }
}

void forced_model_run(struct forced_model *f, const struct forced_run *run, forced_visit *visit,
                      void *context)
{
    uint32_t last = run->count - 1; /* what follows the last token is not known */
    CHECK(run->count >= 1 && run->chunk >= 1 && run->chunk <= FORCED_CHUNK_MAX);
    for (uint32_t first = 0, rows; first < last; first += rows) {
        rows = first < run->decode_from ? run->chunk : 1;
        if (first < run->decode_from && rows > run->decode_from - first)
            rows = run->decode_from - first;
        if (rows > last - first)
            rows = last - first;
        run_step(f, run, first, rows, visit, context);
    }
}
