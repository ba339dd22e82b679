#include <stdio.h>
#include <string.h>
#include <time.h>

#include "check.h"
#include "history.h"
#include "history_store.h"

static const struct {
    const char *name;
    int64_t step_s, span_s; /* where no times are given */
} steps[] = {
    {"hour", HISTORY_HOUR_S, 2 * HISTORY_DAY_S},
    {"minute", HISTORY_MINUTE_S, 2 * HISTORY_HOUR_S},
    {"day", HISTORY_DAY_S, 30 * (int64_t)HISTORY_DAY_S},
};

/* Seconds since 1970: at most eleven digits. */
static bool seconds_read(const char *text, int64_t *out)
{
    size_t bytes = strlen(text);

    if (bytes == 0 || bytes > 11 || strspn(text, "0123456789") != bytes)
        return false;
    *out = 0;
    for (; *text != '\0'; text++)
        *out = *out * 10 + (*text - '0');
    return true;
}

/* YYYY-MM-DD, with an hour, with a minute: digits where the pattern has '0'. */
static bool date_read(const char *text, int64_t *out)
{
    static const char pattern[] = "0000-00-00T00:00";
    static const size_t ends[] = {10, 13, 16};
    size_t bytes = strlen(text);
    int numbers[5] = {0}, at = 0; /* year, month, day, hour, minute */
    struct tm parts, back;
    time_t seconds;

    if (bytes != ends[0] && bytes != ends[1] && bytes != ends[2])
        return false;
    for (size_t i = 0; i < bytes; i++) {
        bool is_digit = text[i] >= '0' && text[i] <= '9';

        if (pattern[i] == '0' ? !is_digit : text[i] != pattern[i])
            return false;
        if (is_digit)
            numbers[at] = numbers[at] * 10 + (text[i] - '0');
        else
            at++;
    }
    parts = (struct tm){.tm_year = numbers[0] - 1900,
                        .tm_mon = numbers[1] - 1,
                        .tm_mday = numbers[2],
                        .tm_hour = numbers[3],
                        .tm_min = numbers[4]};
    back = parts;
    seconds = timegm(&back);
    *out = (int64_t)seconds;
    /* The 31st of February would come back as another day. */
    return seconds >= 0 && back.tm_mday == parts.tm_mday && back.tm_mon == parts.tm_mon &&
           back.tm_hour == parts.tm_hour && back.tm_min == parts.tm_min;
}

static status time_read(const char *name, const char *text, int64_t *out, struct error_note *note)
{
    if (text[0] == '\0' || seconds_read(text, out) || date_read(text, out))
        return STATUS_OK;
    error_note_set(note,
                   "'%s' must be seconds since 1970, or YYYY-MM-DD, YYYY-MM-DDTHH or "
                   "YYYY-MM-DDTHH:MM in UTC, not '%.64s'",
                   name, text);
    return STATUS_INVALID;
}

status history_query_read(const struct history_words *words, int64_t now_s,
                          struct history_query *query, struct error_note *note)
{
    const char *step = words->step[0] != '\0' ? words->step : "hour";
    size_t row = 0;
    status result;

    while (row < ARRAY_COUNT(steps) && strcmp(steps[row].name, step) != 0)
        row++;
    if (row == ARRAY_COUNT(steps)) {
        error_note_set(note, "'step' must be minute, hour or day, not '%.64s'", step);
        return STATUS_INVALID;
    }
    if (strlen(words->model) >= sizeof(query->model)) {
        error_note_set(note, "'model' is longer than %zu bytes", sizeof(query->model) - 1);
        return STATUS_INVALID;
    }
    *query = (struct history_query){
        .topic = HISTORY_ROWS, .step_s = steps[row].step_s, .to_s = now_s + 1};
    (void)snprintf(query->model, sizeof(query->model), "%s", words->model);
    result = time_read("to", words->to, &query->to_s, note);
    query->from_s = query->to_s - steps[row].span_s;
    if (result == STATUS_OK)
        result = time_read("from", words->from, &query->from_s, note);
    if (result == STATUS_OK && query->from_s >= query->to_s) {
        error_note_set(note, "'from' must be before 'to'");
        result = STATUS_INVALID;
    }
    /* Whole steps: a part of an hour is not known of its own. */
    query->from_s -= query->from_s % query->step_s;
    if (query->from_s < 0)
        query->from_s = 0;
    return result;
}
