#include "usage_report.h"

#include <inttypes.h>
#include <string.h>

#include "check.h"
#include "wire_format.h"

void usage_report_write(const struct api_usage *usage, struct buffer *out)
{
    const char *finish = usage->finish != NULL && usage->finish[0] != '\0' ? usage->finish : "-";

    buffer_append_format(out, "%" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRIu64 " %s",
                         usage->prompt_tokens, usage->cached_tokens, usage->completion_tokens,
                         usage->reasoning_tokens, usage->busy_ns, finish);
}

/* Takes a number of at most `max` and the blank behind it away. */
static bool number_take(struct text_slice *text, uint64_t max, uint64_t *out)
{
    uint64_t number = 0;
    size_t at = 0;

    for (; at < text->bytes && text->data[at] >= '0' && text->data[at] <= '9'; at++) {
        uint64_t digit = (uint64_t)(text->data[at] - '0');

        if (number > (max - digit) / 10)
            return false;
        number = number * 10 + digit;
    }
    if (at == 0 || (at < text->bytes && text->data[at] != ' '))
        return false;
    *out = number;
    at += at < text->bytes;
    *text = (struct text_slice){text->data + at, text->bytes - at};
    return true;
}

bool usage_report_read(struct text_slice text, struct api_usage *usage)
{
    static const char *const words[] = {"-", "stop", "length", "tool_calls", "repetition"};
    const char *finish = NULL;
    uint64_t tokens[4], busy_ns;

    for (size_t i = 0; i < ARRAY_COUNT(tokens); i++) {
        if (!number_take(&text, UINT32_MAX, &tokens[i]))
            return false;
    }
    if (!number_take(&text, INT64_MAX, &busy_ns))
        return false;
    for (size_t i = 0; finish == NULL && i < ARRAY_COUNT(words); i++)
        finish = text_slice_is(text, words[i]) ? words[i] : NULL;
    if (finish == NULL)
        return false;
    *usage = (struct api_usage){.prompt_tokens = (uint32_t)tokens[0],
                                .cached_tokens = (uint32_t)tokens[1],
                                .completion_tokens = (uint32_t)tokens[2],
                                .reasoning_tokens = (uint32_t)tokens[3],
                                .busy_ns = busy_ns,
                                .finish = finish == words[0] ? "" : finish};
    return true;
}

void usage_report_insert(const struct api_usage *usage, struct buffer *out, size_t at)
{
    size_t end = out->bytes, line_bytes;
    char line[USAGE_REPORT_BYTES_MAX];

    /* Written behind, then changed about: the line is some twenty bytes, the event some hundreds. */
    buffer_append_text(out, USAGE_REPORT_COMMENT);
    usage_report_write(usage, out);
    buffer_append_byte(out, '\n');
    line_bytes = out->bytes - end;
    if (out->failed != STATUS_OK || line_bytes > sizeof(line))
        return;
    memcpy(line, out->data + end, line_bytes);
    memmove(out->data + at + line_bytes, out->data + at, end - at);
    memcpy(out->data + at, line, line_bytes);
}

/* The next line that begins like a report; NULL: there is none. */
static const char *report_find(struct text_slice events)
{
    const size_t mark_bytes = sizeof(USAGE_REPORT_COMMENT) - 1;
    const char *line = events.data, *end = events.data + events.bytes;

    while (line != NULL && (size_t)(end - line) >= mark_bytes) {
        if (memcmp(line, USAGE_REPORT_COMMENT, mark_bytes) == 0)
            return line;
        line = memchr(line, '\n', (size_t)(end - line));
        if (line != NULL)
            line++;
    }
    return NULL;
}

struct text_slice usage_report_skip(struct text_slice *events, struct api_usage *usage,
                                    bool *has_report)
{
    const size_t mark_bytes = sizeof(USAGE_REPORT_COMMENT) - 1;
    const char *report = report_find(*events), *end = events->data + events->bytes, *line_end;
    struct text_slice run = *events;

    *has_report = false;
    line_end = report != NULL ? memchr(report, '\n', (size_t)(end - report)) : NULL;
    if (line_end == NULL) {
        *events = (struct text_slice){end, 0};
        return run;
    }
    *has_report = usage_report_read(
        (struct text_slice){report + mark_bytes, (size_t)(line_end - report) - mark_bytes}, usage);
    run.bytes = (size_t)(report - run.data);
    *events = (struct text_slice){line_end + 1, (size_t)(end - line_end) - 1};
    return run;
}
