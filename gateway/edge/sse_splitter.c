#include "sse_splitter.h"

#define DONE_LINE       "data: [DONE]"
#define DONE_LINE_BYTES (sizeof(DONE_LINE) - 1)

static void line_take(struct sse_splitter *splitter, char byte)
{
    if (splitter->line_bytes == 0) {
        splitter->is_comment = byte == ':';
        splitter->done_bytes = 0;
    }
    if (splitter->line_bytes == splitter->done_bytes && splitter->done_bytes < DONE_LINE_BYTES &&
        byte == DONE_LINE[splitter->done_bytes])
        splitter->done_bytes++;
    splitter->line_bytes++;
}

/* Returns whether the line was the blank one that ends an event. */
static bool line_end(struct sse_splitter *splitter)
{
    bool is_blank = splitter->line_bytes == 0;

    if (is_blank) {
        splitter->has_begun |= splitter->has_field;
        splitter->is_done |= splitter->has_done;
        splitter->has_field = splitter->has_done = false;
    } else {
        splitter->has_field |= !splitter->is_comment;
        splitter->has_done |=
            splitter->done_bytes == DONE_LINE_BYTES && splitter->line_bytes == DONE_LINE_BYTES;
    }
    splitter->line_bytes = 0;
    return is_blank;
}

size_t sse_splitter_feed(struct sse_splitter *splitter, struct text_slice piece)
{
    size_t complete = 0;

    for (size_t i = 0; i < piece.bytes; i++) {
        char byte = piece.data[i];

        if (byte == '\n') {
            if (line_end(splitter))
                complete = i + 1;
        } else if (byte != '\r') {
            line_take(splitter, byte);
        }
    }
    return complete;
}
