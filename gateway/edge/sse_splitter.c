#include "sse_splitter.h"

#include "check.h"

/* By these lines a stream's last event is known: OpenAI's mark, Anthropic's event, and those of
 * OpenAI's responses. */
static const char *const end_lines[] = {"data: [DONE]", "event: message_stop",
                                        "event: response.completed", "event: response.incomplete",
                                        "event: response.failed"};

static bool is_end_line(const struct sse_splitter *splitter)
{
    struct text_slice line = {splitter->line, splitter->line_bytes};

    for (size_t i = 0; i < ARRAY_COUNT(end_lines); i++) {
        if (line.bytes <= sizeof(splitter->line) && text_slice_is(line, end_lines[i]))
            return true;
    }
    return false;
}

static void line_take(struct sse_splitter *splitter, char byte)
{
    if (splitter->line_bytes < sizeof(splitter->line))
        splitter->line[splitter->line_bytes] = byte;
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
        splitter->has_field |= splitter->line[0] != ':';
        splitter->has_done |= is_end_line(splitter);
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
