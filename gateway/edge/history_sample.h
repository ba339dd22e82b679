#ifndef PENSTOCK_EDGE_HISTORY_SAMPLE_H
#define PENSTOCK_EDGE_HISTORY_SAMPLE_H

#include "history.h"
#include "placement.h"

struct control;

/* Once a second the control thread looks at every replica that is wanted or there, gives the time since the last look to one cause or another
 * (replica_time.h), and hands the sums to the history, at the end of each minute and several times within it. Control thread. */
struct history_sample {
    struct history_row *rows;  /* owned; [model_count + 1]: of the minute, not handed over yet */
    struct history_seen *seen; /* owned; [replica_count] */
    struct placement_stranded_shape *mix; /* owned; [model_count] */
    metrics_series **state_seconds;       /* owned; [(model_count + 1) * TIME_COUNT] */
    uint64_t looked_ns, look_ns;          /* the last look, and the next */
    uint64_t put_ns, slices_ns;           /* when rows go next; when slices were last looked at */
    uint64_t interval_ns;
    bool must_look;   /* some replica's state has changed */
    int64_t minute_s; /* of the rows */
};

/* STATUS_OK, STATUS_INVALID (the metrics' names), STATUS_NO_MEMORY. */
NODISCARD status history_sample_init(struct history_sample *sample, const struct control *control,
                                     uint64_t now_ns);
void history_sample_deinit(struct history_sample *sample);

/* Returns when it is due next. */
uint64_t history_sample_tick(struct history_sample *sample, struct control *control,
                             uint64_t now_ns);
/* Hands over what there is: the thread ends. */
void history_sample_end(struct history_sample *sample, struct control *control, uint64_t now_ns);

#endif
