#ifndef PENSTOCK_OBSERVE_HISTORY_STORE_H
#define PENSTOCK_OBSERVE_HISTORY_STORE_H

#include "history_row.h"
#include "status.h"

/* The file of the history: rows a minute and an hour for each model, and the values that the anomaly detection has seen. SQLite with a
 * write-ahead log, which two gateways may have open while one takes the other's place; a crash loses what was not written yet and
 * nothing else. Bounded: old rows are removed. One thread at a time. */
typedef struct history_store history_store;

#define HISTORY_MINUTE_S    60
#define HISTORY_HOUR_S      3600
#define HISTORY_DAY_S       86400
#define HISTORY_MODEL_BYTES 160u /* of a model's name, with its end */

/* Opens the file and makes it (mode 0600) where it is not there; "": in memory. STATUS_OK; STATUS_INVALID (no such file, or
 * of a newer version), STATUS_IO with a note; STATUS_NO_MEMORY. */
NODISCARD status history_store_open(const char *path, history_store **out, struct error_note *note);
void history_store_close(history_store *store); /* accepts NULL */

/* One write, all or nothing. STATUS_OK, STATUS_IO with a note. */
NODISCARD status history_store_begin(history_store *store, struct error_note *note);
NODISCARD status history_store_commit(history_store *store, struct error_note *note);
void history_store_roll_back(history_store *store);

/* Adds to the row of the minute that begins at `minute_s` (seconds since 1970), and to its hour's. Inside of begin and commit. */
NODISCARD status history_store_add(history_store *store, const char *model, int64_t minute_s,
                                   const struct history_row *row, struct error_note *note);
/* Removes rows that began before these. Inside of begin and commit. */
NODISCARD status history_store_prune(history_store *store, int64_t minutes_from_s,
                                     int64_t hours_from_s, struct error_note *note);

/* Calls `row` for each row of `step_s` (HISTORY_MINUTE_S or HISTORY_HOUR_S) that begins within [from_s, to_s), in order of their times;
 * `model` NULL: of all. It may stop by returning false. */
typedef bool history_row_call(void *context, const char *model, int64_t start_s,
                              const struct history_row *row);
NODISCARD status history_store_read(history_store *store, int step_s, int64_t from_s, int64_t to_s,
                                    const char *model, history_row_call *call, void *context,
                                    struct error_note *note);

/* A value that the anomaly detection has seen of this model and signal in the window that began then; another of the same is replaced. */
NODISCARD status history_store_note_signal(history_store *store, const char *model,
                                           const char *signal, int64_t window_s, int64_t start_s,
                                           double value, struct error_note *note);
typedef void history_signal_call(void *context, const char *model, const char *signal,
                                 int64_t start_s, double value);
/* Those of windows of this length, since then. */
NODISCARD status history_store_read_signals(history_store *store, int64_t window_s, int64_t from_s,
                                            history_signal_call *call, void *context,
                                            struct error_note *note);

#endif
