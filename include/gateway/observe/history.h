#ifndef PENSTOCK_OBSERVE_HISTORY_H
#define PENSTOCK_OBSERVE_HISTORY_H

#include "buffer.h"
#include "history_row.h"
#include "metrics.h"
#include "observability_settings.h"
#include "status.h"

/* What the models' replicas did, minute for minute and hour for hour, and whether that is unusual. A thread of its own owns the file (history_store.h),
 * judges each window of time (anomaly.h) and answers questions, since all of that may wait for a disk. */
typedef struct history history;

struct history_options {
    const char *path; /* of the file; "": in memory */
    struct config_history settings;
    struct config_anomalies anomalies;
    const char *const *models; /* names, borrowed for the call; [model_count] */
    uint32_t model_count;
    metrics_registry *registry; /* for penstock_anomaly and penstock_anomaly_score; borrowed */
};

/* STATUS_OK; STATUS_INVALID, STATUS_IO with a note; STATUS_NO_MEMORY. Thread: main. */
NODISCARD status history_open(const struct history_options *options, history **out,
                              struct error_note *note);
/* STATUS_OK, STATUS_NO_MEMORY. Thread: main. */
NODISCARD status history_start(history *history);
/* Writes what has been put, refuses what is asked from now on, and ends the thread. Accepts NULL. Thread: main. */
void history_stop(history *history);
void history_close(history *history); /* accepts NULL */

/* Adds what each model did within the minute that begins at `minute_s` (seconds since 1970): rows[i] of the i-th model, and one more, of
 * slices without a replica, whose time is in seconds of devices. Copies. When HISTORY_PUTS_MAX wait for a disk that hangs, it is lost, and logged. Any
 * thread, one at a time. */
#define HISTORY_PUTS_MAX 360u
void history_put(history *history, int64_t minute_s, const struct history_row *rows);

/* The name of the row of slices without a replica. */
#define HISTORY_FREE_SLICES ""

/* --- questions --- */

enum history_topic { HISTORY_ROWS, HISTORY_ANOMALIES };

struct history_query {
    enum history_topic topic;
    int64_t step_s; /* HISTORY_MINUTE_S, HISTORY_HOUR_S or HISTORY_DAY_S (of UTC) */
    int64_t from_s, to_s;
    char model[160]; /* "": all */
};

/* As people give it, "" where they do not. Times are seconds since 1970, or YYYY-MM-DD, YYYY-MM-DDTHH, YYYY-MM-DDTHH:MM in UTC; without them the
 * last two hours by minutes, the last two days by hours, the last 30 days by days. `now_s`: since 1970. STATUS_OK, STATUS_INVALID with a note. Pure. */
struct history_words {
    const char *step, *from, *to, *model;
};
NODISCARD status history_query_read(const struct history_words *words, int64_t now_s,
                                    struct history_query *query, struct error_note *note);

#define HISTORY_ANSWER_ROWS_MAX 20000u /* of all models together; more is refused, not cut */

struct history_question {
    struct history_query query;
    struct buffer out; /* the answer's JSON; the asker's to init and deinit */
    status result;     /* STATUS_TOO_LARGE: too many rows */
    void (*done)(
        struct history_question *question); /* on the history's thread, or in history_stop */
    struct history_question *next;
};
/* Calls `done` in the end, if STATUS_OK; STATUS_CLOSED: it is over. Any thread. */
NODISCARD status history_ask(history *history, struct history_question *question);

#endif
