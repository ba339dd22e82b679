#ifndef PENSTOCK_ENGINE_STOP_MATCHER_H
#define PENSTOCK_ENGINE_STOP_MATCHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"
#include "text_slice.h"

/* Finds stop strings in text that arrives in pieces. The compiled strings are immutable and may be
 * shared by all sequences of a request; what a sequence needs is one small state by value, so
 * feeding allocates nothing.
 *
 * The caller keeps the bytes that are not sent yet: the state's `held_bytes` last bytes of what
 * came before, followed by the new piece. A byte that may be the start of a stop string is held
 * back until it is known not to be.
 *
 * Which match wins is a property of the bytes, not of the pieces: the one that ends first; of those
 * that end at the same byte, the longest; of equal strings, the first in the list. Algorithm: Aho
 * and Corasick 1975, "Efficient string matching". */
typedef struct stop_matcher stop_matcher;

/* Compiles `stop_count` strings (copied; 1 .. UINT16_MAX of them; what a client may send is the
 * caller's limit). STATUS_INVALID: an empty string, none, or too many; STATUS_TOO_LARGE: over
 * UINT32_MAX / 2 bytes together; STATUS_NO_MEMORY. Memory: 24 bytes a byte of stop string and 1
 * KiB. */
NODISCARD status stop_matcher_create(const struct text_slice *stops, uint32_t stop_count,
                                     bool include_stop, stop_matcher **out);
/* Accepts NULL. */
void stop_matcher_destroy(stop_matcher *matcher);

/* Where one sequence is. Zero-initialised at its start; the fields are for reading only. */
struct stop_state {
    uint32_t node;       /* of the automaton */
    uint32_t held_bytes; /* last bytes of the text that are not to be sent yet */
};

struct stop_match {
    /* of (held bytes, then the piece): how many may be sent now. On a match this is where the
     * text ends: before the stop string, or after it with include_stop */
    size_t send_bytes;
    int32_t stop; /* index of the stop string that matched; -1: none */
};

/* Takes the next piece (may be empty). After a match the state must not be fed again. When the text
 * ends without a match, the caller sends the held bytes. Linear in the piece. Thread: any, one at a
 * time per state. */
struct stop_match stop_matcher_feed(const stop_matcher *matcher, struct stop_state *state,
                                    struct text_slice piece);

/* The compiled string, borrowed for the matcher's life. */
struct text_slice stop_matcher_text(const stop_matcher *matcher, int32_t stop);

#endif
