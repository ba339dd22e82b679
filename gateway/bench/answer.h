#ifndef PENSTOCK_BENCH_ANSWER_H
#define PENSTOCK_BENCH_ANSWER_H

#include <stdbool.h>
#include <stdint.h>

#include "bench_samples.h"
#include "buffer.h"

/* Reads one streamed answer as it comes, and when what of it came. */

struct answer {
    uint64_t first_ns, last_ns; /* of events with text; 0: none yet */
    uint32_t event_count;       /* with text */
    uint32_t prompt_tokens, cached_tokens,
        output_tokens; /* as the server's usage says; 0: it says nothing */
    bool is_complete;  /* [DONE] came */
    bool has_error;    /* an event that tells of one */
};

/* Takes the whole lines from the front of `body`, which came until `now_ns`; gaps between events with text go to `gaps`, in milliseconds.
 * STATUS_OK, STATUS_NO_MEMORY. */
NODISCARD status answer_read(struct answer *answer, struct buffer *body, uint64_t now_ns,
                             struct bench_samples *gaps);

#endif
