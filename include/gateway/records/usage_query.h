#ifndef PENSTOCK_RECORDS_USAGE_QUERY_H
#define PENSTOCK_RECORDS_USAGE_QUERY_H

#include "buffer.h"
#include "state_database.h"

/* Questions to the ledger's hourly sums, and their answers as text. One thread at a time for each database. */

#define USAGE_ROWS_MAX 100000u /* of an answer; more is refused, not cut */

enum usage_group {
    USAGE_BY_ORGANISATION = 1,
    USAGE_BY_TEAM = 2,
    USAGE_BY_KEY = 4,
    USAGE_BY_MODEL = 8,
    USAGE_BY_DAY = 16,
    USAGE_BY_HOUR = 32,
};

enum usage_format { USAGE_TABLE, USAGE_CSV, USAGE_JSON, USAGE_FORMAT_COUNT };

struct usage_query {
    uint32_t groups;                               /* bits of enum usage_group */
    uint64_t from_s, to_s;                         /* whole hours, UTC; to_s is not part of it */
    const char *organisation, *team, *key, *model; /* "": all; key: id or name */
};

/* As people give it; NULL or "": the default (all of the time; by organisation, team, key and model; a table). */
struct usage_words {
    const char *by, *from, *to, *format;
};

/* Reads the words into `query` and `format`. Times are YYYY-MM-DD or YYYY-MM-DDTHH, UTC. STATUS_OK, STATUS_INVALID with a
 * note. Pure. */
NODISCARD status usage_words_read(const struct usage_words *words, struct usage_query *query,
                                  enum usage_format *format, struct error_note *note);

/* Appends the answer. STATUS_OK, STATUS_TOO_LARGE (rows, or bytes_max of `out`), STATUS_NO_MEMORY, STATUS_IO with a note. */
NODISCARD status usage_write(state_database *database, const struct usage_query *query,
                             enum usage_format format, struct buffer *out, struct error_note *note);

/* "text/csv; charset=utf-8" and so on. */
const char *usage_content_type(enum usage_format format);

#endif
