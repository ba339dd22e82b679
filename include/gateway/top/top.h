#ifndef PENSTOCK_TOP_TOP_H
#define PENSTOCK_TOP_TOP_H

#include <stdbool.h>
#include <stdint.h>

#include "buffer.h"
#include "status.h"

/* `penstock top`: the overview of a gateway's dashboard, live, in a terminal. It reads nothing but the admin API. */

struct top {
    const char *where; /* what is shown as the gateway's address */
    /* The body of GET `path` of the admin listener. STATUS_NOT_FOUND: the gateway has no such thing. Else the note says what is
     * wrong. Called by one thread at a time, not always the same. */
    status (*get)(void *context, const char *path, struct buffer *out, struct error_note *note);
    /* Nobody waits for answers any more: a question under way may end with an error. Any thread. */
    void (*stop)(void *context);
    void *context;
    uint64_t interval_ns; /* between two readings */
    bool is_once; /* one frame, then the end; so it is, too, where the output is no terminal */
};

/* Shows it until q or a signal. Returns the program's exit code: 0; 1: one frame was wanted and the gateway did not
 * answer, which has been printed; 128 + the signal's number. The process's only call. */
int top_run(const struct top *top);

#endif
