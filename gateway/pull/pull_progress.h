#ifndef PENSTOCK_PULL_PROGRESS_H
#define PENSTOCK_PULL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

/* A line on standard error while a file comes; where that is no terminal, one line when it is there. */

struct pull_progress {
    const char *name;                 /* borrowed */
    uint64_t total_bytes;             /* UINT64_MAX: not known */
    uint64_t begin_bytes, done_bytes; /* there before; there now */
    uint64_t begin_ns, shown_ns;
    bool is_terminal, is_quiet;
};

void pull_progress_begin(struct pull_progress *progress, const char *name, bool is_quiet);
/* Shows it at most ten times a second. */
void pull_progress_show(struct pull_progress *progress, uint64_t done_bytes, uint64_t total_bytes);
/* The last word on this file: "done", "is there already". */
void pull_progress_end(struct pull_progress *progress, const char *word);
/* Ends the line that stands there, before an error is printed. */
void pull_progress_break(struct pull_progress *progress);

#endif
