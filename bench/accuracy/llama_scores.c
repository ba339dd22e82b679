/* llama.cpp's answers to accuracy.py, which compiles this file against the library that
 * bench/peers built: see scores.h. Settings are the library's own, but for the threads.
 *
 *     llama_scores MODEL.gguf */

#include <stdio.h>
#include <stdlib.h>

#include "llama.h"
#include "log_softmax.h"
#include "scores.h"

#define THREADS 2

static void stay_silent(enum ggml_log_level level, const char *text, void *context)
{
    (void)context;
    if (level == GGML_LOG_LEVEL_ERROR)
        fputs(text, stderr);
}

/* Tokens [first, first + rows) in one call, all of whose logits are wanted. */
static void run_step(struct llama_context *c, const struct scores_sequence *sequence,
                     struct llama_batch *batch, uint32_t first, uint32_t rows, uint32_t vocabulary)
{
    batch->n_tokens = (int32_t)rows;
    for (uint32_t i = 0; i < rows; i++) {
        batch->token[i] = sequence->ids[first + i];
        batch->pos[i] = (llama_pos)(first + i);
        batch->n_seq_id[i] = 1;
        batch->seq_id[i][0] = 0;
        batch->logits[i] = 1;
    }
    if (llama_decode(c, *batch) != 0) {
        fprintf(stderr, "llama_decode failed\n");
        exit(1);
    }
    for (uint32_t i = 0; i < rows; i++) {
        float *logits = llama_get_logits_ith(c, (int32_t)i);
        log_softmax(logits, vocabulary, logits);
        scores_write(sequence, first + i, logits, vocabulary);
    }
}

static void run_sequence(struct llama_context *c, const struct scores_sequence *sequence,
                         struct llama_batch *batch, uint32_t vocabulary)
{
    llama_memory_clear(llama_get_memory(c), true);
    uint32_t last = sequence->count - 1;
    uint32_t prompt = sequence->decode_from < last ? sequence->decode_from : last;
    if (prompt > 0)
        run_step(c, sequence, batch, 0, prompt, vocabulary);
    for (uint32_t i = prompt; i < last; i++)
        run_step(c, sequence, batch, i, 1, vocabulary);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: llama_scores MODEL.gguf < questions\n");
        return 2;
    }
    llama_log_set(stay_silent, NULL);
    llama_backend_init();
    struct llama_model *model = llama_model_load_from_file(argv[1], llama_model_default_params());
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = params.n_batch = SCORES_COUNT_MAX;
    params.n_threads = params.n_threads_batch = THREADS;
    struct llama_context *c = model != NULL ? llama_init_from_model(model, params) : NULL;
    if (c == NULL)
        return 1;
    uint32_t vocabulary = (uint32_t)llama_vocab_n_tokens(llama_model_get_vocab(model));
    struct llama_batch batch = llama_batch_init((int32_t)SCORES_COUNT_MAX, 0, 1);
    static struct scores_sequence sequence; /* 48 kB */
    while (scores_read(&sequence, vocabulary))
        run_sequence(c, &sequence, &batch, vocabulary);
    llama_batch_free(batch);
    llama_free(c);
    llama_model_free(model);
    return 0;
}
