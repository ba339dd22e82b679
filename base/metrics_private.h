#ifndef PENSTOCK_BASE_METRICS_PRIVATE_H
#define PENSTOCK_BASE_METRICS_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "metrics.h"

#define METRICS_BOUND_COUNT_MAX 64u
#define METRICS_BUCKET_COUNT                                                                       \
    64u /* chains of a family's table; a family has at most some thousand series */

/* The last traced observation of a bucket behind a sequence lock: odd while somebody writes, 0: there was none. */
struct metrics_exemplar {
    _Atomic uint32_t sequence;
    _Atomic uint64_t value_bits, wall_ms;
    _Atomic uint64_t trace_id[METRICS_TRACE_ID_BYTES / sizeof(uint64_t)];
};

struct metrics_series {
    metrics_family *family;         /* borrowed */
    metrics_series *next_in_bucket; /* lock */
    char *labels; /* behind the counts; `name="value",name="value"`, escaped; "" without labels */
    uint32_t labels_bytes;
    bool is_shown;                      /* the "other" series only once somebody got it; lock */
    struct metrics_exemplar *exemplars; /* owned; one a bucket; NULL: none are kept */
    _Atomic uint64_t value_bits;        /* a double: value, or sum of a histogram */
    _Atomic uint64_t counts[];          /* histogram: bound_count + 1, not cumulative */
};

struct metrics_family {
    metrics_registry *registry; /* borrowed */
    metrics_family *next;       /* owned by the registry; lock */
    enum metrics_kind kind;
    char *name, *help;  /* owned */
    char **label_names; /* owned, label_count of them */
    uint32_t label_count;
    double *bounds; /* owned, bound_count of them */
    uint32_t bound_count;
    bool keeps_exemplars;  /* lock */
    uint32_t series_count; /* without "other"; lock */
    uint32_t series_max;
    /* [series_count] of `series_capacity`, owned, in order of creation. An array and no list, so that a scrape can ask for the
     * memory of the next ones while it writes one: they lie anywhere; lock */
    metrics_series **series;
    uint32_t series_capacity;
    metrics_series *other;                         /* owned; all label values "other" */
    metrics_series *buckets[METRICS_BUCKET_COUNT]; /* lock */
};

struct metrics_collector {
    void (*collect)(void *context);
    void *context;
};

struct metrics_registry {
    pthread_mutex_t lock;          /* families and series; taken by metrics_lists_take alone */
    pthread_mutex_t turn;          /* held while waiting for `lock` */
    pthread_mutex_t scrape_lock;   /* one scrape at a time, and collectors; taken before `lock` */
    metrics_family *first, **last; /* lock */
    struct metrics_collector *collectors; /* owned; scrape_lock */
    size_t collector_count;
};

/* The lock of families and series. Who waits for it gets it before a scrape that leaves it for a moment has it again: a mutex alone
 * would mostly go to the thread that has just left it. */
void metrics_lists_take(metrics_registry *registry);
void metrics_lists_leave(metrics_registry *registry);

/* What an exemplar says, or false: there is none, or somebody writes it all the time. */
struct metrics_exemplar_view {
    double value;
    uint64_t wall_ms;
    char trace_id[METRICS_TRACE_ID_BYTES];
};
bool metrics_exemplar_read(struct metrics_exemplar *exemplar, struct metrics_exemplar_view *out);

/* Appends `text` with the escapes of the text format; quotes too when it is a label's value. */
void metrics_write_escaped(struct buffer *out, const char *text, bool is_label);

#endif
