#ifndef PENSTOCK_ENGINE_TEXT_STREAM_H
#define PENSTOCK_ENGINE_TEXT_STREAM_H

#include <stdbool.h>

#include "arena.h"
#include "stop_matcher.h"
#include "text_slice.h"

/* From the pieces of tokens to text that may be sent: whole UTF-8 characters only, and nothing that
 * may be the start of a stop string. Invalid bytes become U+FFFD, one for each maximal part of a
 * character, as Unicode recommends and as Python's decoder does. Thread: publisher. Allocates only
 * in text_stream_init. */
struct text_stream {
    const stop_matcher *stops; /* borrowed; NULL: none */
    struct stop_state state;
    char *text; /* [text_capacity]; what was sent, then what is held, valid UTF-8 */
    size_t text_bytes, sent_bytes, text_capacity;
    char *raw; /* [raw_capacity]; an unfinished character, then the new piece */
    size_t raw_bytes, raw_capacity;
};

/* STATUS_OK or STATUS_NO_MEMORY. No piece may be longer than `piece_bytes_max`, no stop string than
 * `stop_bytes_max`. */
NODISCARD status text_stream_init(struct text_stream *stream, const stop_matcher *stops,
                                  size_t piece_bytes_max, size_t stop_bytes_max, arena *memory);

struct text_ready {
    struct text_slice text; /* valid until the next call */
    int32_t stop; /* stop string that ended the text; -1: none. Nothing may be fed after it */
};

/* Takes the next piece (may be empty). `watches_stops`: false before min_tokens. `is_end`: nothing
 * will follow, so all that is held comes out. */
struct text_ready text_stream_feed(struct text_stream *stream, struct text_slice piece,
                                   bool watches_stops, bool is_end);

#endif
