#include "usage_report.h"

#include <inttypes.h>
#include <string.h>

#include "check.h"
#include "report_number.h"

void usage_report_write(const struct api_usage *usage, struct buffer *out)
{
    const char *finish = usage->finish != NULL && usage->finish[0] != '\0' ? usage->finish : "-";

    buffer_append_format(out, "%" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRIu64 " %s",
                         usage->prompt_tokens, usage->cached_tokens, usage->completion_tokens,
                         usage->reasoning_tokens, usage->busy_ns, finish);
}

/* Takes the word and the blank behind it away; NULL: it is none of them. */
static const char *word_take(struct text_slice *text)
{
    static const char *const words[] = {"-", "stop", "length", "tool_calls", "repetition"};
    const char *blank = text->bytes > 0 ? memchr(text->data, ' ', text->bytes) : NULL;
    struct text_slice word = {text->data,
                              blank != NULL ? (size_t)(blank - text->data) : text->bytes};
    size_t taken = word.bytes + (blank != NULL);

    for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
        if (!text_slice_is(word, words[i]))
            continue;
        *text = (struct text_slice){text->data + taken, text->bytes - taken};
        return i == 0 ? "" : words[i];
    }
    return NULL;
}

/* Takes the five numbers and the word away. */
static bool usage_take(struct text_slice *text, struct api_usage *usage)
{
    uint64_t tokens[4], busy_ns;
    const char *finish;

    for (size_t i = 0; i < ARRAY_COUNT(tokens); i++) {
        if (!report_number_take(text, UINT32_MAX, &tokens[i]))
            return false;
    }
    if (!report_number_take(text, INT64_MAX, &busy_ns))
        return false;
    finish = word_take(text);
    if (finish == NULL)
        return false;
    *usage = (struct api_usage){.prompt_tokens = (uint32_t)tokens[0],
                                .cached_tokens = (uint32_t)tokens[1],
                                .completion_tokens = (uint32_t)tokens[2],
                                .reasoning_tokens = (uint32_t)tokens[3],
                                .busy_ns = busy_ns,
                                .finish = finish};
    return true;
}

bool usage_report_read(struct text_slice text, struct api_usage *usage)
{
    struct api_usage read;

    if (!usage_take(&text, &read) || text.bytes > 0)
        return false;
    *usage = read;
    return true;
}

void usage_report_write_line(const struct api_usage *usage, struct buffer *out)
{
    buffer_append_text(out, USAGE_REPORT_COMMENT);
    usage_report_write(usage, out);
    buffer_append_byte(out, '\n');
}

void usage_report_write_told(const struct api_usage *usage, uint32_t choice, const int32_t *tokens,
                             size_t count, struct buffer *out)
{
    buffer_append_text(out, USAGE_REPORT_COMMENT);
    usage_report_write(usage, out);
    buffer_append_format(out, " %" PRIu32 " %" PRIu32, usage->cache_write_tokens, choice);
    for (size_t i = 0; i < count; i++) {
        buffer_append_byte(out, ' ');
        buffer_append_u64(out, (uint64_t)tokens[i]);
    }
    buffer_append_byte(out, '\n');
}

void usage_report_insert(struct text_slice line, struct buffer *out, size_t at)
{
    size_t end = out->bytes;

    buffer_append_slice(out, line);
    if (out->failed != STATUS_OK || line.bytes == 0)
        return;
    memmove(out->data + at + line.bytes, out->data + at, end - at);
    memcpy(out->data + at, line.data, line.bytes);
}

/* What stands behind the mark of a report's line. */
static bool line_read(struct text_slice text, struct usage_report *report)
{
    struct usage_report read = {.choice = 0};
    uint64_t written, choice;

    if (!usage_take(&text, &read.usage))
        return false;
    if (text.bytes > 0) {
        if (!report_number_take(&text, UINT32_MAX, &written) ||
            !report_number_take(&text, UINT32_MAX, &choice))
            return false;
        read.tells_tokens = true;
        read.usage.cache_write_tokens = (uint32_t)written;
        read.choice = (uint32_t)choice;
        read.tokens = text;
    }
    *report = read;
    return true;
}

bool usage_report_next(struct usage_report *report, int32_t *token)
{
    uint64_t number;

    if (report->tokens.bytes == 0 || !report_number_take(&report->tokens, INT32_MAX, &number))
        return false;
    *token = (int32_t)number;
    return true;
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

struct text_slice usage_report_skip(struct text_slice *events, struct usage_report *told,
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
    *has_report = line_read(
        (struct text_slice){report + mark_bytes, (size_t)(line_end - report) - mark_bytes}, told);
    run.bytes = (size_t)(report - run.data);
    *events = (struct text_slice){line_end + 1, (size_t)(end - line_end) - 1};
    return run;
}
