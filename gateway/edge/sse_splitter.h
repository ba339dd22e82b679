#ifndef PENSTOCK_EDGE_SSE_SPLITTER_H
#define PENSTOCK_EDGE_SSE_SPLITTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text_slice.h"

/* Finds where events end in an event stream that comes in pieces, so that only whole events are
 * passed on: when a replica dies in the middle of one, the client must not be left with half of it
 * before our error event. WHATWG HTML, section 9.2.6, with lines that end in LF or CR LF (nobody
 * sends lone CRs). */
#define SSE_END_LINE_BYTES_MAX 32u /* of the lines by which a last event is known, and more */

struct sse_splitter {
    size_t line_bytes;                 /* of the unfinished line, CR not counted */
    bool has_field;                    /* the unfinished event has a line that is no comment */
    bool has_done;                     /* the unfinished event is the last that its API sends */
    char line[SSE_END_LINE_BYTES_MAX]; /* the unfinished line's first bytes */
    uint64_t event_count;              /* finished ones that were not only comments */
    bool has_begun;                    /* there was one: something was produced */
    bool is_done;                      /* the last event has passed */
    bool has_open_comment;             /* the unfinished event has a comment */
    bool has_comment;                  /* one of the events that the last piece completed has */
};

/* Takes the next piece. Returns how many of its bytes belong to events that are now complete: 0
 * when none ended in it. */
size_t sse_splitter_feed(struct sse_splitter *splitter, struct text_slice piece);

#endif
