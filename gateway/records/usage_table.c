#include "usage_table.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "check.h"
#include "json.h"
#include "record_text.h"

#define CELL_BYTES_MAX 256u
#define FIRST_NANO     (USAGE_COLUMN_COUNT - 2) /* from here on thousand-millionths */

static const char *const column_names[USAGE_COLUMN_COUNT] = {"time",
                                                             "organisation",
                                                             "team",
                                                             "key_id",
                                                             "key",
                                                             "model",
                                                             "requests",
                                                             "failures",
                                                             "estimated",
                                                             "prompt_tokens",
                                                             "cached_tokens",
                                                             "completion_tokens",
                                                             "reasoning_tokens",
                                                             "busy_seconds",
                                                             "cost"};

static bool is_text(int column)
{
    return column <= USAGE_TEXT_COUNT;
}

static void time_write(const struct usage_table *table, uint64_t time_s, struct buffer *out)
{
    time_t seconds = (time_t)time_s;
    struct tm utc;
    char text[32];

    if (gmtime_r(&seconds, &utc) == NULL)
        return;
    (void)strftime(text, sizeof(text), table->has_hours ? "%Y-%m-%dT%H" : "%Y-%m-%d", &utc);
    buffer_append_text(out, text);
}

static void cell_write(const struct usage_table *table, const struct usage_row *row, int column,
                       struct buffer *out)
{
    if (column == 0)
        time_write(table, row->time_s, out);
    else if (is_text(column))
        buffer_append_text(out, row->texts[column - 1]);
    else if (column >= FIRST_NANO)
        record_nano_write(out, row->numbers[column - 1 - USAGE_TEXT_COUNT]);
    else
        buffer_append_u64(out, row->numbers[column - 1 - USAGE_TEXT_COUNT]);
}

/* --- CSV, JSON --- */

static void csv_cell_write(struct buffer *out, const char *text)
{
    if (strpbrk(text, "\",\r\n") == NULL) {
        buffer_append_text(out, text);
        return;
    }
    buffer_append_byte(out, '"');
    for (; *text != '\0'; text++) {
        if (*text == '"')
            buffer_append_byte(out, '"');
        buffer_append_byte(out, *text);
    }
    buffer_append_byte(out, '"');
}

/* row NULL: the names. */
static void csv_write(const struct usage_table *table, const struct usage_row *row)
{
    struct buffer cell;
    bool is_first = true;

    buffer_init(&cell, CELL_BYTES_MAX);
    for (int i = 0; i < USAGE_COLUMN_COUNT; i++) {
        if (!table->has_column[i])
            continue;
        if (!is_first)
            buffer_append_byte(table->out, ',');
        is_first = false;
        buffer_clear(&cell);
        if (row != NULL)
            cell_write(table, row, i, &cell);
        csv_cell_write(table->out, row == NULL ? column_names[i] : cell.bytes > 0 ? cell.data : "");
    }
    buffer_append_text(table->out, "\r\n");
    buffer_deinit(&cell);
}

static void json_row_write(const struct usage_table *table, const struct usage_row *row)
{
    struct buffer *out = table->out;

    json_write_comma(out);
    buffer_append_byte(out, '{');
    for (int i = 0; i < USAGE_COLUMN_COUNT; i++) {
        if (!table->has_column[i])
            continue;
        json_write_key(out, column_names[i]);
        if (i > 0 && is_text(i)) {
            json_write_text(out, row->texts[i - 1]);
        } else if (i == 0) {
            buffer_append_byte(out, '"');
            cell_write(table, row, i, out);
            buffer_append_byte(out, '"');
        } else {
            cell_write(table, row, i, out);
        }
    }
    buffer_append_byte(out, '}');
}

/* --- table --- */

static void table_cells_add(struct usage_table *table, const struct usage_row *row)
{
    for (int i = 0; i < USAGE_COLUMN_COUNT; i++) {
        size_t begin = table->cells.bytes;
        uint32_t width;

        if (!table->has_column[i])
            continue;
        if (row == NULL)
            buffer_append_text(&table->cells, column_names[i]);
        else
            cell_write(table, row, i, &table->cells);
        width = (uint32_t)(table->cells.bytes - begin);
        table->widths[i] = width > table->widths[i] ? width : table->widths[i];
        buffer_append_byte(&table->cells, '\0');
    }
}

/* Texts to the left, numbers to the right. */
static void table_align(struct usage_table *table)
{
    const char *at = table->cells.data, *end = at + table->cells.bytes;

    while (at < end) {
        bool is_first = true;

        for (int i = 0; i < USAGE_COLUMN_COUNT; i++) {
            if (!table->has_column[i])
                continue;
            buffer_append_format(table->out, is_text(i) ? "%s%-*s" : "%s%*s", is_first ? "" : "  ",
                                 (int)table->widths[i], at);
            is_first = false;
            at += strlen(at) + 1;
        }
        buffer_append_byte(table->out, '\n');
    }
}

/* --- life --- */

void usage_table_begin(struct usage_table *table, uint32_t groups, enum usage_format format,
                       struct buffer *out)
{
    static const uint32_t bits[1 + USAGE_TEXT_COUNT] = {USAGE_BY_DAY | USAGE_BY_HOUR,
                                                        USAGE_BY_ORGANISATION,
                                                        USAGE_BY_TEAM,
                                                        USAGE_BY_KEY,
                                                        USAGE_BY_KEY,
                                                        USAGE_BY_MODEL};

    *table = (struct usage_table){.out = out, .format = format};
    table->has_hours = (groups & USAGE_BY_HOUR) != 0;
    for (int i = 0; i < USAGE_COLUMN_COUNT; i++)
        table->has_column[i] = !is_text(i) || (groups & bits[i]) != 0;
    buffer_init(&table->cells, out->bytes_max);
    if (format == USAGE_CSV)
        csv_write(table, NULL);
    else if (format == USAGE_JSON)
        buffer_append_text(out, "{\"object\":\"list\",\"data\":[");
    else
        table_cells_add(table, NULL);
}

void usage_table_add(struct usage_table *table, const struct usage_row *row)
{
    if (table->format == USAGE_CSV)
        csv_write(table, row);
    else if (table->format == USAGE_JSON)
        json_row_write(table, row);
    else
        table_cells_add(table, row);
}

void usage_table_end(struct usage_table *table)
{
    if (table->format == USAGE_JSON)
        buffer_append_text(table->out, "]}\n");
    if (table->format == USAGE_TABLE && table->cells.failed != STATUS_OK)
        table->out->failed = table->cells.failed;
    else if (table->format == USAGE_TABLE)
        table_align(table);
    buffer_deinit(&table->cells);
}
