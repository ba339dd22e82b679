#ifndef PENSTOCK_BENCH_REPORT_H
#define PENSTOCK_BENCH_REPORT_H

#include <stdint.h>
#include <stdio.h>

#include "stream_client.h"

/* Collects results and writes them as JSON and as a line for people. Percentiles are exact: every
 * sample is kept. */

struct report_samples {
    float *milliseconds; /* owned */
    size_t count, capacity;
};

struct report {
    struct report_samples first_token, gap, end_to_end;
    uint64_t started_ns, ended_ns;
    uint64_t request_count, error_count, output_tokens, prompt_tokens, cached_tokens;
    double ttft_slo_ms,
        gap_slo_ms; /* goodput: requests whose TTFT and mean gap hold both; 0: not asked */
    uint64_t good_count;

    /* A long prompt beside the streams, and their gaps while it had no first token. */
    struct stream_client_result long_prompt;
    struct report_samples gap_beside;
};

void report_add(struct report *report, const struct stream_client_result *result);
void report_add_gap(struct report *report, uint64_t gap_ns);
void report_add_gap_beside(struct report *report, uint64_t gap_ns);
/* The long prompt's result: not among the requests; an error when it did not end well. */
void report_add_long(struct report *report, const struct stream_client_result *result);
void report_write(struct report *report, FILE *out, const char *name, uint32_t concurrency,
                  double rate);
void report_deinit(struct report *report);

#endif
