#ifndef PENSTOCK_BENCH_SCORES_H
#define PENSTOCK_BENCH_SCORES_H

#include <stdbool.h>
#include <stdint.h>

/* What accuracy.py asks of an engine, and the form of the answer; the same for every engine.
 *
 * Question, on standard input, for each sequence: a line "COUNT DECODE_FROM", then COUNT lines, each
 * a token id and up to SCORES_WANTED_MAX ids whose log-probability after this token is wanted. Tokens
 * before DECODE_FROM are a prompt; the others are given one at a time, as when they were generated.
 * Answer, on standard output: for every position but the last a line with the first choice and the
 * log-probabilities that were wanted. */
#define SCORES_WANTED_MAX 8u
#define SCORES_COUNT_MAX  1024u

struct scores_sequence {
    uint32_t count, decode_from;
    int32_t ids[SCORES_COUNT_MAX];
    uint32_t wanted_count[SCORES_COUNT_MAX];
    int32_t wanted[SCORES_COUNT_MAX][SCORES_WANTED_MAX];
};

/* False at the end of the questions. Ends the process when one is malformed or names a token outside
 * the vocabulary. */
bool scores_read(struct scores_sequence *out, uint32_t vocabulary);

/* logprobs: [vocabulary], after the token at `position`. */
void scores_write(const struct scores_sequence *sequence, uint32_t position, const float *logprobs,
                  uint32_t vocabulary);

#endif
