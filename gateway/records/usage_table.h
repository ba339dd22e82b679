#ifndef PENSTOCK_RECORDS_USAGE_TABLE_H
#define PENSTOCK_RECORDS_USAGE_TABLE_H

#include "usage_query.h"

/* Rows of a usage report as an aligned table, CSV (RFC 4180) or JSON, appended to a buffer whose own `failed` tells. */

#define USAGE_TEXT_COUNT   5 /* organisation, team, key_id, key, model */
#define USAGE_NUMBER_COUNT 9 /* requests, failures, estimated, tokens four times, busy time, cost */
#define USAGE_COLUMN_COUNT (1 + USAGE_TEXT_COUNT + USAGE_NUMBER_COUNT)

struct usage_row {
    uint64_t time_s; /* where it is grouped by time */
    const char *texts[USAGE_TEXT_COUNT];
    uint64_t numbers[USAGE_NUMBER_COUNT]; /* the last two: thousand-millionths */
};

struct usage_table {
    struct buffer *out;
    enum usage_format format;
    bool has_column[USAGE_COLUMN_COUNT], has_hours;
    struct buffer cells; /* a table's, NUL behind each: it is aligned when all are known */
    uint32_t widths[USAGE_COLUMN_COUNT]; /* in bytes */
};

/* `groups`: bits of enum usage_group; the columns follow from them. `out` is borrowed until the end. */
void usage_table_begin(struct usage_table *table, uint32_t groups, enum usage_format format,
                       struct buffer *out);
void usage_table_add(struct usage_table *table, const struct usage_row *row);
void usage_table_end(struct usage_table *table);

#endif
