#include "text_stream.h"

#include <string.h>

#include "check.h"
#include "utf8.h"

/*   pieces --> raw: [unfinished character | piece]
 *                     whole characters, invalid ones replaced
 *                          |
 *                          v
 *              text: [sent by the last call | held | new]  --stop matcher-->  how much may go now
 *
 * What was sent stays in place until the next call, because the caller reads it there. */

#define REPLACEMENT       "\xEF\xBF\xBD"
#define REPLACEMENT_BYTES 3u
#define CHARACTER_MAX     4u /* bytes of a character */

status text_stream_init(struct text_stream *stream, const stop_matcher *stops,
                        size_t piece_bytes_max, size_t stop_bytes_max, arena *memory)
{
    size_t raw = piece_bytes_max + CHARACTER_MAX;
    size_t text = stop_bytes_max + REPLACEMENT_BYTES * raw; /* held, and all of raw replaced */
    *stream = (struct text_stream){.stops = stops,
                                   .text = arena_allocate(memory, text),
                                   .text_capacity = text,
                                   .raw = arena_allocate(memory, raw),
                                   .raw_capacity = raw};
    return stream->text != NULL && stream->raw != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

/* Bytes of the longest start of a valid character at text[0], at least 1: one replacement stands
 * for them. */
static size_t maximal_part(const char *text, size_t bytes)
{
    size_t part = 1;
    while (part < CHARACTER_MAX - 1 && part < bytes && utf8_complete_prefix(text, part + 1) == 0)
        part++;
    return utf8_complete_prefix(text, 1) == 0 ? part : 1;
}

static void append_text(struct text_stream *stream, const char *data, size_t bytes)
{
    CHECK(stream->text_capacity - stream->text_bytes >= bytes);
    memcpy(stream->text + stream->text_bytes, data, bytes);
    stream->text_bytes += bytes;
}

/* Moves the first `bytes` bytes of raw, whole characters or broken ones, to the end of text. */
static void append_raw(struct text_stream *stream, size_t bytes)
{
    if (utf8_is_valid(stream->raw, bytes)) {
        append_text(stream, stream->raw, bytes);
    } else {
        for (size_t at = 0; at < bytes;) {
            uint32_t code_point;
            size_t length = utf8_decode(stream->raw + at, bytes - at, &code_point);
            if (length > 0) {
                append_text(stream, stream->raw + at, length);
                at += length;
            } else {
                append_text(stream, REPLACEMENT, REPLACEMENT_BYTES);
                at += maximal_part(stream->raw + at, bytes - at);
            }
        }
    }
    memmove(stream->raw, stream->raw + bytes, stream->raw_bytes - bytes);
    stream->raw_bytes -= bytes;
}

struct text_ready text_stream_feed(struct text_stream *stream, struct text_slice piece,
                                   bool watches_stops, bool is_end)
{
    stream->text_bytes -= stream->sent_bytes;
    memmove(stream->text, stream->text + stream->sent_bytes, stream->text_bytes);
    stream->sent_bytes = 0;

    CHECK(piece.bytes <= stream->raw_capacity - stream->raw_bytes);
    if (piece.bytes > 0)
        memcpy(stream->raw + stream->raw_bytes, piece.data, piece.bytes);
    stream->raw_bytes += piece.bytes;
    size_t held = stream->text_bytes;
    append_raw(stream,
               is_end ? stream->raw_bytes : utf8_complete_prefix(stream->raw, stream->raw_bytes));

    struct text_ready ready = {{stream->text, stream->text_bytes}, -1};
    if (stream->stops != NULL && watches_stops) {
        struct text_slice fresh = {stream->text + held, stream->text_bytes - held};
        struct stop_match match = stop_matcher_feed(stream->stops, &stream->state, fresh);
        ready.stop = match.stop;
        if (match.stop >= 0 || !is_end)
            ready.text.bytes = match.send_bytes;
    }
    stream->sent_bytes = ready.text.bytes;
    return ready;
}
