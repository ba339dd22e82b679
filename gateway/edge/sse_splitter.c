#include "sse_splitter.h"

#include <string.h>

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

/* Bytes of a line, its LF not among them. Of the bytes beyond those that are kept only the number counts, and of that
 * only that it is large: there a CR counts too, for which no line by which an end is known is long enough. */
static void line_take(struct sse_splitter *splitter, struct text_slice bytes)
{
    size_t i = 0;

    for (; i < bytes.bytes && splitter->line_bytes < sizeof(splitter->line); i++) {
        if (bytes.data[i] != '\r')
            splitter->line[splitter->line_bytes++] = bytes.data[i];
    }
    splitter->line_bytes += bytes.bytes - i;
}

static void event_end(struct sse_splitter *splitter)
{
    splitter->has_begun |= splitter->has_field;
    splitter->event_count += splitter->has_field;
    splitter->is_done |= splitter->has_done;
    splitter->has_comment |= splitter->has_open_comment;
    splitter->has_field = splitter->has_done = splitter->has_open_comment = false;
}

static void line_note(struct sse_splitter *splitter, char first)
{
    splitter->has_field |= first != ':';
    splitter->has_open_comment |= first == ':';
}

/* Returns whether the line was the blank one that ends an event. */
static bool line_end(struct sse_splitter *splitter)
{
    bool is_blank = splitter->line_bytes == 0;

    if (is_blank) {
        event_end(splitter);
    } else {
        line_note(splitter, splitter->line[0]);
        splitter->has_done |= is_end_line(splitter);
    }
    splitter->line_bytes = 0;
    return is_blank;
}

/* Most lines are whole, and longer than any by which an end is known: of those only the first byte counts. */
static bool is_plain(const struct sse_splitter *splitter, const char *start, size_t bytes)
{
    return splitter->line_bytes == 0 && bytes > SSE_END_LINE_BYTES_MAX && *start != '\r';
}

size_t sse_splitter_feed(struct sse_splitter *splitter, struct text_slice piece)
{
    size_t complete = 0, at = 0;

    splitter->has_comment = false;
    while (at < piece.bytes) {
        const char *start = piece.data + at, *end = memchr(start, '\n', piece.bytes - at);
        size_t bytes = end != NULL ? (size_t)(end - start) : piece.bytes - at;

        at += bytes + (end != NULL);
        if (end != NULL && is_plain(splitter, start, bytes)) {
            line_note(splitter, *start);
            if (at < piece.bytes && piece.data[at] == '\n') {
                event_end(splitter);
                complete = ++at;
            }
            continue;
        }
        line_take(splitter, (struct text_slice){start, bytes});
        if (end != NULL && line_end(splitter))
            complete = at;
    }
    return complete;
}
