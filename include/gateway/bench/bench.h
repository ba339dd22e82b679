#ifndef PENSTOCK_BENCH_BENCH_H
#define PENSTOCK_BENCH_BENCH_H

#include "bench_samples.h"
#include "workload.h"

/* Measures a server of streamed chat completions from outside, as a client sees it: any that speaks the OpenAI API.
 *
 * Closed loop: `concurrency` clients, each of which asks again when it has its answer; tells what the server can do at most. Open loop
 * (load.rate > 0): requests come by a Poisson process whether or not earlier ones have ended, as users' do; tells what they feel at that
 * load. There a request's time begins when it was due, not when a connection was free for it: waiting is not left out (coordinated
 * omission; Tene 2013). */

struct bench_order {
    const char *url;                /* of the API: "https://host:port" */
    const char *key;                /* bearer; NULL or "": none */
    const char *ca_file;            /* NULL: the system's authorities */
    struct workload_options load;   /* borrowed texts */
    uint32_t concurrency;           /* streams at once; in the open loop the most at once */
    uint64_t request_count;         /* to send; > 0 */
    uint64_t duration_ns;           /* after which none is sent any more; 0: all are */
    double ttft_slo_ms, gap_slo_ms; /* what a good answer holds; 0: does not matter */
};

/* What came of it. Times in milliseconds. */
struct bench_result {
    struct bench_samples ttft, gap,
        end_to_end; /* of answers that ended well; gap: between two events of one */
    uint64_t started_ns, ended_ns;
    uint64_t sent, failed, good; /* good: ended well and within the service level */
    uint64_t prompt_tokens, cached_tokens, output_tokens;
    double context_tokens_mean; /* prompt and half of the answer: what a stream holds on average */
    struct error_note first_failure;
};

/* The first model that the server lists; `out` is appended to. STATUS_OK, STATUS_NOT_FOUND, and those of http_fetch, with a note. */
NODISCARD status bench_find_model(const struct bench_order *order, struct buffer *out,
                                  struct error_note *note);

/* Runs to its end. STATUS_OK also when requests failed: result->failed counts them. STATUS_NO_MEMORY, STATUS_INVALID (the trace), with a
 * note. bench_result_deinit in any case. One thread. */
NODISCARD status bench_run(const struct bench_order *order, struct bench_result *result,
                           struct error_note *note);
void bench_result_deinit(struct bench_result *result);

/* For people, and for programs. */
void bench_write_text(const struct bench_order *order, struct bench_result *result,
                      struct buffer *out);
void bench_write_json(const struct bench_order *order, struct bench_result *result,
                      struct buffer *out);

#endif
