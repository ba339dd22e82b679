#ifndef PENSTOCK_BENCH_ENGINE_CROWD_H
#define PENSTOCK_BENCH_ENGINE_CROWD_H

#include "engine.h"

/* Requests that run side by side on an engine, all of one length, with prompts of fixed tokens that differ from each other:
 * what they said and when. */
struct crowd_options {
    uint32_t requests, prompt_tokens, output_tokens;
    uint32_t seed; /* of the prompts; another one shares no beginning */
};

struct crowd_result {
    int32_t *tokens;   /* owned; [requests, output_tokens] */
    uint64_t *gaps_ns; /* owned; [gap_count], rising: between the tokens of a request */
    uint32_t gap_count;
    uint64_t first_token_ns; /* the mean over the requests, from their submission */
    uint64_t decode_ns;      /* from the last request's first token to the first request's last */
    uint32_t decode_tokens;  /* of all in that time */
    uint64_t elapsed_ns;
};

/* Runs them to their ends. Exits with a message when one fails. Thread: any one. */
void crowd_run(engine *e, const struct crowd_options *options, struct crowd_result *out);
void crowd_result_deinit(struct crowd_result *result);

#endif
