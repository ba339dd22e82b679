#ifndef PENSTOCK_BENCH_MODEL_RUN_H
#define PENSTOCK_BENCH_MODEL_RUN_H

#include <stdbool.h>

#include "backend.h"
#include "model.h"

/* The engine's model and backend, driven as the engine's step thread drives them, without requests, text and threads
 * around: rows laid out, one forward, one greedy token drawn from each row of logits by the engine's own sampler.
 *
 * The cache is filled before anything is timed. One prompt is computed for real and its blocks are copied over the rest
 * of the cache: what keys and values say does not change how long a step takes, as long as they are finite numbers in
 * memory of their own (pages never written would all be the one zero page, and be read from a cache). */
struct model_run;

struct model_run_options {
    const model_source *source; /* borrowed for the run's life */
    uint32_t step_tokens;       /* rows of a prefill step */
    uint32_t sequence_count;    /* slots: rows of a decode step at most */
    uint32_t context_max;       /* tokens of a sequence at most; >= KV_BLOCK_TOKENS */
    uint32_t
        block_count; /* of the cache; room for context_max tokens and the one drawn after them */
    enum kv_type kv_type;
    bool uses_planner; /* prefill steps as the engine's batcher cuts them */
};

NODISCARD status model_run_open(backend *b, const struct model_run_options *options,
                                struct model_run **out, struct error_note *note);
void model_run_close(struct model_run *run); /* accepts NULL */
const struct model_info *model_run_info(const struct model_run *run);

/* Writes every block of the cache. */
void model_run_fill(struct model_run *run);

/* Nanoseconds of one prompt of `tokens` tokens until its first token is drawn, and the steps it took. */
uint64_t model_run_prefill(struct model_run *run, uint32_t tokens, uint32_t *step_count);

/* Nanoseconds of `steps` decode steps of `batch` sequences, each of which attends to `context` positions in each step
 * (the step's own included; it is written over in every one). batch * blocks of context must be in the cache. */
uint64_t model_run_decode(struct model_run *run, uint32_t batch, uint32_t context, uint32_t steps);

#endif
