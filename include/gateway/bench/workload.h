#ifndef PENSTOCK_BENCH_WORKLOAD_H
#define PENSTOCK_BENCH_WORKLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "buffer.h"
#include "status.h"

/* What the load generator sends, decided before the first byte leaves: the same seed gives the same
 * prompts to every server, in the same order. Prompts are made of common English words that are one
 * token each in byte-level BPE vocabularies, so a prompt of n words is close to n tokens; the
 * report states the server's own count. */

struct workload_options {
    const char *model;
    uint64_t seed;
    uint32_t prompt_words; /* unique words of a request */
    uint32_t
        shared_words;     /* words of a system prompt that all requests of a group share; 0: none */
    uint32_t group_count; /* how many such system prompts; at least 1 */
    uint32_t output_tokens; /* max_tokens, with ignore_eos */
    uint32_t turns;         /* requests of a conversation; each carries the answers so far */
    double rate;            /* requests a second, Poisson arrivals; 0: closed loop */
    const char
        *trace; /* file of lines "arrival_seconds prompt_words output_tokens group"; NULL: none */
};

typedef struct workload workload;

NODISCARD status workload_create(const struct workload_options *options, workload **out,
                                 struct error_note *note);
void workload_destroy(workload *w);

/* One request: when it arrives (ns after the start; 0 in a closed loop) and what it asks. */
struct workload_request {
    uint64_t arrival_ns;
    uint32_t prompt_words, output_tokens, group;
    uint64_t number;
};

/* false at the end of a trace; other workloads never end. */
bool workload_next(workload *w, struct workload_request *out);

/* Appends the JSON body of a request. `history` holds the earlier turns as JSON messages
 * ("{...},{...},"), or is empty; `question` receives this turn's user message in the same form, for
 * the caller to append to the history. */
void workload_write_body(workload *w, const struct workload_request *request,
                         const struct buffer *history, struct buffer *question,
                         struct buffer *body);

#endif
