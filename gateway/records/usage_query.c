#include "usage_query.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "check.h"
#include "usage_table.h"

#define HOUR_S 3600u

static const struct {
    const char *word;
    uint32_t bit;
} group_words[] = {{"organisation", USAGE_BY_ORGANISATION},
                   {"team", USAGE_BY_TEAM},
                   {"key", USAGE_BY_KEY},
                   {"model", USAGE_BY_MODEL},
                   {"day", USAGE_BY_DAY},
                   {"hour", USAGE_BY_HOUR}};
static const char *const format_words[USAGE_FORMAT_COUNT] = {"table", "csv", "json"};

/* ?1 day, ?2 hour, ?3 organisation, ?4 team, ?5 key, ?6 model: whether to group by it; then the filters. What is not grouped
 * by is one text for all, so that the grouping does nothing. */
static const char query_sql[] =
    "SELECT CASE WHEN ?1 <> 0 THEN hour_s / 86400 * 86400 WHEN ?2 <> 0 THEN hour_s ELSE 0 END,"
    " CASE WHEN ?3 <> 0 THEN organisation ELSE '' END, CASE WHEN ?4 <> 0 THEN team ELSE '' END,"
    " CASE WHEN ?5 <> 0 THEN key_id ELSE '' END, CASE WHEN ?5 <> 0 THEN max(key_name) ELSE '' END,"
    " CASE WHEN ?6 <> 0 THEN model ELSE '' END, sum(requests), sum(failures), sum(estimated),"
    " sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens), sum(reasoning_tokens),"
    " sum(busy_ns), sum(cost_nano)"
    " FROM usage_hours WHERE hour_s >= ?7 AND hour_s < ?8 AND (?9 = '' OR organisation = ?9)"
    " AND (?10 = '' OR team = ?10) AND (?11 = '' OR key_id = ?11 OR key_name = ?11)"
    " AND (?12 = '' OR model = ?12) GROUP BY 1, 2, 3, 4, 6 ORDER BY 1, 2, 3, 4, 6 LIMIT ?13";

/* --- words --- */

static status groups_read(const char *words, uint32_t *groups, struct error_note *note)
{
    *groups = 0;
    while (*words != '\0') {
        size_t bytes = strcspn(words, ",");
        uint32_t bit = 0;

        for (size_t i = 0; i < ARRAY_COUNT(group_words); i++) {
            if (strlen(group_words[i].word) == bytes &&
                memcmp(group_words[i].word, words, bytes) == 0)
                bit = group_words[i].bit;
        }
        if (bit == 0) {
            error_note_set(note,
                           "cannot group by '%.*s'; there are organisation, team, key, model, day "
                           "and hour, with commas between",
                           (int)(bytes < 64 ? bytes : 64), words);
            return STATUS_INVALID;
        }
        *groups |= bit;
        words += bytes + (words[bytes] == ',');
    }
    return STATUS_OK;
}

static status time_read(const char *word, uint64_t *out, struct error_note *note)
{
    struct tm parts = {0};
    const char *end = strptime(word, "%Y-%m-%d", &parts);
    time_t seconds;

    if (end != NULL && *end == 'T')
        end = strptime(end, "T%H", &parts);
    seconds = end != NULL && *end == '\0' ? timegm(&parts) : -1;
    if (seconds < 0) {
        error_note_set(note, "'%.64s' is no time: write 2026-01-31 or 2026-01-31T23, in UTC", word);
        return STATUS_INVALID;
    }
    *out = (uint64_t)seconds;
    return STATUS_OK;
}

static bool is_given(const char *word)
{
    return word != NULL && word[0] != '\0';
}

status usage_words_read(const struct usage_words *words, struct usage_query *query,
                        enum usage_format *format, struct error_note *note)
{
    status result = groups_read(is_given(words->by) ? words->by : "organisation,team,key,model",
                                &query->groups, note);

    query->from_s = 0;
    query->to_s = INT64_MAX;
    if (result == STATUS_OK && is_given(words->from))
        result = time_read(words->from, &query->from_s, note);
    if (result == STATUS_OK && is_given(words->to))
        result = time_read(words->to, &query->to_s, note);
    if (result != STATUS_OK || !is_given(words->format))
        return result;
    for (int i = 0; i < USAGE_FORMAT_COUNT; i++) {
        if (strcmp(words->format, format_words[i]) == 0) {
            *format = (enum usage_format)i;
            return STATUS_OK;
        }
    }
    error_note_set(note, "there is no format '%.64s'; take table, csv or json", words->format);
    return STATUS_INVALID;
}

const char *usage_content_type(enum usage_format format)
{
    static const char *const types[USAGE_FORMAT_COUNT] = {
        "text/plain; charset=utf-8", "text/csv; charset=utf-8", "application/json"};

    return types[format];
}

/* --- the answer --- */

static void query_bind(state_statement *statement, const struct usage_query *query)
{
    const char *const filters[] = {query->organisation, query->team, query->key, query->model};
    const uint32_t bits[] = {USAGE_BY_DAY,  USAGE_BY_HOUR, USAGE_BY_ORGANISATION,
                             USAGE_BY_TEAM, USAGE_BY_KEY,  USAGE_BY_MODEL};

    for (unsigned i = 0; i < ARRAY_COUNT(bits); i++)
        state_bind_number(statement, 1 + i, (query->groups & bits[i]) != 0);
    /* By hour as well as by day is by hour. */
    if ((query->groups & USAGE_BY_HOUR) != 0)
        state_bind_number(statement, 1, 0);
    state_bind_number(statement, 7, (int64_t)query->from_s);
    state_bind_number(statement, 8, (int64_t)query->to_s);
    for (unsigned i = 0; i < ARRAY_COUNT(filters); i++)
        state_bind_text(statement, 9 + i, filters[i]);
    state_bind_number(statement, 13, (int64_t)USAGE_ROWS_MAX + 1);
}

static void row_read(const state_statement *statement, struct usage_row *row)
{
    row->time_s = (uint64_t)state_column_number(statement, 0);
    for (unsigned i = 0; i < USAGE_TEXT_COUNT; i++)
        row->texts[i] = state_column_text(statement, 1 + i);
    for (unsigned i = 0; i < USAGE_NUMBER_COUNT; i++)
        row->numbers[i] = (uint64_t)state_column_number(statement, 6 + i);
}

status usage_write(state_database *database, const struct usage_query *query,
                   enum usage_format format, struct buffer *out, struct error_note *note)
{
    state_statement *statement = state_database_prepare(database, query_sql, note);
    struct usage_table table;
    struct usage_row row;
    uint32_t count = 0;
    bool has_row = false;
    status result;

    if (statement == NULL)
        return STATUS_IO;
    query_bind(statement, query);
    usage_table_begin(&table, query->groups, format, out);
    while ((result = state_statement_step(statement, &has_row, note)) == STATUS_OK && has_row &&
           ++count <= USAGE_ROWS_MAX) {
        row_read(statement, &row);
        usage_table_add(&table, &row);
    }
    usage_table_end(&table);
    state_statement_close(statement);
    if (count > USAGE_ROWS_MAX) {
        error_note_set(note, "more than %u rows; ask for less time, or group by less",
                       USAGE_ROWS_MAX);
        return STATUS_TOO_LARGE;
    }
    return result == STATUS_OK ? out->failed : STATUS_IO;
}
