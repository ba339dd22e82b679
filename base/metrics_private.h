#ifndef PENSTOCK_BASE_METRICS_PRIVATE_H
#define PENSTOCK_BASE_METRICS_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "metrics.h"

#define METRICS_BUCKET_COUNT                                                                       \
    64u /* chains of a family's table; a family has at most some thousand series */

struct metrics_series {
    metrics_family *family;         /* borrowed */
    metrics_series *next;           /* owned by the family, in order of creation; lock */
    metrics_series *next_in_bucket; /* lock */
    char *labels;  /* owned; `name="value",name="value"`, escaped; "" without labels */
    bool is_shown; /* the "other" series only once somebody got it; lock */
    _Atomic uint64_t value_bits; /* a double: value, or sum of a histogram */
    _Atomic uint64_t counts[];   /* histogram: bound_count + 1, not cumulative */
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
    uint32_t series_count; /* without "other"; lock */
    uint32_t series_max;
    metrics_series *first, **last;                 /* lock */
    metrics_series *other;                         /* owned; all label values "other" */
    metrics_series *buckets[METRICS_BUCKET_COUNT]; /* lock */
};

struct metrics_collector {
    void (*collect)(void *context);
    void *context;
};

struct metrics_registry {
    pthread_mutex_t lock;          /* families and series */
    pthread_mutex_t scrape_lock;   /* one scrape at a time, and collectors; taken before `lock` */
    metrics_family *first, **last; /* lock */
    struct metrics_collector *collectors; /* owned; scrape_lock */
    size_t collector_count;
};

/* Appends `text` with the escapes of the text format; quotes too when it is a label's value. */
void metrics_write_escaped(struct buffer *out, const char *text, bool is_label);

#endif
