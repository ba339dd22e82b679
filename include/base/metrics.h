#ifndef PENSTOCK_BASE_METRICS_H
#define PENSTOCK_BASE_METRICS_H

#include <stdint.h>

#include "buffer.h"
#include "status.h"
#include "text_slice.h"

/* Prometheus metrics. A registry holds families, a family holds series (one per combination of label values), made at
 * start or when a tenant, model or replica appears, never per request. Updating a series is one or two relaxed
 * atomic operations by any thread and never blocks; making or finding a series takes a lock; scraping walks the lists. A family has a cap on
 * its series: past it, label values become "other" (trust: outsiders must not be able to fill memory with labels).
 * Two formats: Prometheus' text 0.0.4, and OpenMetrics 1.0 with units and exemplars. Bounds are written as floats in both ("1.0",
 * as vLLM's client library does), so that a series is the same one whichever format a scrape asks for. */

typedef struct metrics_registry metrics_registry;
typedef struct metrics_family metrics_family;
typedef struct metrics_series metrics_series;

enum metrics_kind { METRICS_COUNTER, METRICS_GAUGE, METRICS_HISTOGRAM };

NODISCARD status metrics_registry_create(metrics_registry **out);
void metrics_registry_destroy(metrics_registry *registry);

struct metrics_family_options {
    enum metrics_kind kind;
    const char *name;          /* copied; counters end in _total */
    const char *help;          /* copied */
    const char *const *labels; /* label names, copied; NULL-terminated or NULL */
    const double *bounds;      /* histogram: upper bounds, rising, without +Inf; copied */
    uint32_t bound_count;      /* 1..64 */
    uint32_t series_max;       /* 0: 1000 */
};
/* STATUS_INVALID: a name that Prometheus refuses or that the registry has already, bounds that do not rise, or a counter
 * whose name does not end in _total. The family is the registry's. */
NODISCARD status metrics_family_create(metrics_registry *registry,
                                       const struct metrics_family_options *options,
                                       metrics_family **out);

/* Several, each into its place; those before a failure stay. */
struct metrics_family_row {
    metrics_family **out;
    struct metrics_family_options options;
};
NODISCARD status metrics_families_create(metrics_registry *registry,
                                         const struct metrics_family_row *rows, size_t count);

/* The series with these label values (as many as the family has labels), made if new. Never NULL: past the cap (or
 * out of memory) it is the family's "other" series. Valid until it is removed or the registry is destroyed. */
metrics_series *metrics_series_get(metrics_family *family, const char *const *label_values);

/* Removes a series (a replica that is gone). Not to be used by other threads afterwards: the caller's duty. */
void metrics_series_remove(metrics_family *family, const char *const *label_values);

void metrics_add(metrics_series *series, double amount); /* counter (>= 0) and gauge */
void metrics_set(metrics_series *series,
                 double value); /* gauge; counters that mirror a running total */
void metrics_observe(metrics_series *series, double value); /* histogram */
double metrics_value(const metrics_series *series); /* counter and gauge; histogram: count */
double metrics_sum(const metrics_series *series);   /* histogram: of all that was observed */

#define METRICS_TRACE_ID_BYTES 32u /* hex digits, without a NUL */

/* Histogram: the series that are made from now on keep an exemplar for each of their buckets. Call it at start: out of
 * memory ends the process. */
void metrics_family_keep_exemplars(metrics_family *family);
/* Like metrics_observe; the bucket's exemplar becomes this value with its trace, now. `trace_id`: METRICS_TRACE_ID_BYTES hex
 * digits of a W3C trace context; NULL or "": there is none. Never blocks: of two threads at one bucket at once, one's exemplar
 * is dropped. */
void metrics_observe_traced(metrics_series *series, double value, const char *trace_id);

/* Called before each scrape, in order of registration, on the scraping thread: the place to set gauges. Scrapes do not
 * overlap. Call it at start: out of memory ends the process. */
void metrics_on_scrape(metrics_registry *registry, void (*collect)(void *context), void *context);

enum metrics_format { METRICS_TEXT, METRICS_OPENMETRICS };

/* The format that an Accept header prefers; METRICS_TEXT when it is empty, broken or asks for neither. */
enum metrics_format metrics_format_accepted(struct text_slice accept);
const char *metrics_content_type(enum metrics_format format);

/* Appends the whole exposition. Any thread; who makes a series meanwhile waits for one family at most. */
void metrics_write(metrics_registry *registry, enum metrics_format format, struct buffer *out);

#endif
