#include <stdarg.h>
#include <stdio.h>

#include "settings_private.h"
#include "utf8.h"

#define NEAREST_WORD_BYTES_MAX 64u /* longer words are no slip of a key we know */

static void report_add(struct settings_report *report, uint32_t line, uint32_t column,
                       const char *format, va_list args) __attribute__((format(printf, 4, 0)));

static void report_add(struct settings_report *report, uint32_t line, uint32_t column,
                       const char *format, va_list args)
{
    if (report->error_count == SETTINGS_ERROR_COUNT_MAX)
        return;
    struct settings_error *error = &report->errors[report->error_count++];
    error->line = line;
    error->column = column;
    if (vsnprintf(error->text, sizeof error->text, format, args) < 0)
        error->text[0] = '\0';
    error->text[utf8_complete_prefix(error->text, strlen(error->text))] = '\0';
    for (char *c = error->text; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    }
}

void settings_report_add(struct settings_report *report, uint32_t line, uint32_t column,
                         const char *format, ...)
{
    va_list args;
    va_start(args, format);
    report_add(report, line, column, format, args);
    va_end(args);
}

void settings_fail_at(settings_document *document, struct settings_report *report,
                      const void *address, const char *format, ...)
{
    uint32_t line = 0;
    uint32_t column = 0;
    const struct settings_place *place = document != NULL ? document->newest : NULL;
    while (place != NULL && place->address != address)
        place = place->older;
    if (place != NULL) {
        line = place->line;
        column = place->column;
    }
    va_list args;
    va_start(args, format);
    report_add(report, line, column, format, args);
    va_end(args);
}

void settings_report_write(const struct settings_report *report, struct buffer *out)
{
    for (uint32_t i = 0; i < report->error_count; i++) {
        const struct settings_error *error = &report->errors[i];
        buffer_append_text(out, report->file);
        if (error->line > 0)
            buffer_append_format(out, ":%u:%u", error->line, error->column);
        buffer_append_format(out, ": error: %s\n", error->text);
    }
    if (report->error_count == SETTINGS_ERROR_COUNT_MAX)
        buffer_append_format(out, "%s: only the first %d errors are shown\n", report->file,
                             SETTINGS_ERROR_COUNT_MAX);
}

static char fold(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (char)(c - 'A' + 'a');
    if (c == '-')
        return '_';
    return c;
}

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t least = a < b ? a : b;
    return least < c ? least : c;
}

/* Insertions, deletions, replacements and swaps of neighbours that turn one word into the other
 * (optimal string alignment); upper case, and '-' for '_', cost nothing. Both at most
 * NEAREST_WORD_BYTES_MAX. */
static size_t edit_distance(struct text_slice a, struct text_slice b)
{
    size_t rows[3][NEAREST_WORD_BYTES_MAX + 1];
    for (size_t j = 0; j <= b.bytes; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a.bytes; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i + 2) % 3];
        row[0] = i;
        for (size_t j = 1; j <= b.bytes; j++) {
            char from = fold(a.data[i - 1]);
            char to = fold(b.data[j - 1]);
            row[j] = min3(above[j] + 1, row[j - 1] + 1, above[j - 1] + (from != to));
            bool is_swap =
                i > 1 && j > 1 && from == fold(b.data[j - 2]) && fold(a.data[i - 2]) == to;
            if (is_swap && rows[(i + 1) % 3][j - 2] + 1 < row[j])
                row[j] = rows[(i + 1) % 3][j - 2] + 1;
        }
    }
    return rows[a.bytes % 3][b.bytes];
}

const char *settings_nearest(struct text_slice word, const char *const *candidates, size_t count)
{
    const char *nearest = NULL;
    /* A third of the letters may be wrong; two always, unless the word is so short that anything
     * would match. */
    size_t allowed = word.bytes / 3;
    if (allowed < 2)
        allowed = word.bytes > 3 ? 2 : 1;
    size_t best = allowed + 1;
    for (size_t i = 0; i < count && word.bytes <= NEAREST_WORD_BYTES_MAX; i++) {
        struct text_slice candidate = text_slice_of(candidates[i]);
        if (candidate.bytes > NEAREST_WORD_BYTES_MAX)
            continue;
        size_t distance = edit_distance(word, candidate);
        if (distance < best && distance < candidate.bytes) {
            best = distance;
            nearest = candidates[i];
        }
    }
    return nearest;
}
