#ifndef PENSTOCK_OBSERVE_ANOMALY_WATCH_H
#define PENSTOCK_OBSERVE_ANOMALY_WATCH_H

#include "anomaly.h"
#include "history.h"
#include "history_store.h"

/* The series of all models: gathers rows to windows, judges each window when it is over, and keeps what it has seen in the history's file,
 * so that a restart forgets nothing. Thread: the history's. */
struct anomaly_watch {
    struct config_anomalies settings;
    int64_t window_s, window; /* its length; number of the one that is being gathered, 0: none */
    uint32_t model_count;
    struct anomaly_model {
        char name[HISTORY_MODEL_BYTES];
        struct history_row row;                              /* of the window */
        struct anomaly_series *series[ANOMALY_SIGNAL_COUNT]; /* owned; made when first needed */
        metrics_series *score[ANOMALY_SIGNAL_COUNT], *is_anomalous[ANOMALY_SIGNAL_COUNT];
    } * models; /* owned */
};

/* STATUS_OK, STATUS_INVALID (the metrics' names), STATUS_NO_MEMORY. */
NODISCARD status anomaly_watch_init(struct anomaly_watch *watch,
                                    const struct history_options *options);
void anomaly_watch_deinit(struct anomaly_watch *watch);

/* Learns what the file has. STATUS_OK, STATUS_IO with a note. */
NODISCARD status anomaly_watch_load(struct anomaly_watch *watch, history_store *store,
                                    int64_t now_s, struct error_note *note);

/* rows[model] of the time around `at_s`, which has just passed. Inside of begin and commit of the store. STATUS_OK, STATUS_IO with a note. */
NODISCARD status anomaly_watch_add(struct anomaly_watch *watch, history_store *store, int64_t at_s,
                                   const struct history_row *rows, struct error_note *note);

/* Appends {"window_seconds", "threshold", "anomalies": [{"model", "signal", "score", "value", "expected" (null: not known), "anomalous", "since"
 * (null: it is none), "learning"}]}, those of signals that have had a window with enough in it. */
void anomaly_watch_write(const struct anomaly_watch *watch, struct buffer *out);

#endif
