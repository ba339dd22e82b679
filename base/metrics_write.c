#include <math.h>

#include "check.h"
#include "metrics_private.h"
#include "number.h"
#include "utf8.h"

/* The text exposition format 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats). */

void metrics_write_escaped(struct buffer *out, const char *text, bool is_label)
{
    size_t bytes = strlen(text);
    for (size_t at = 0; at < bytes;) {
        uint32_t code_point;
        size_t length = utf8_decode(text + at, bytes - at, &code_point);
        if (length == 0) {
            buffer_append_text(out, "\xEF\xBF\xBD"); /* the format is UTF-8 */
            length = utf8_broken_length(text + at, bytes - at);
        } else if (text[at] == '\n') {
            buffer_append_text(out, "\\n");
        } else if (text[at] == '\\') {
            buffer_append_text(out, "\\\\");
        } else if (text[at] == '"' && is_label) {
            buffer_append_text(out, "\\\"");
        } else {
            buffer_append(out, text + at, length);
        }
        at += length;
    }
}

static void write_value(struct buffer *out, double value)
{
    if (isnan(value))
        buffer_append_text(out, "NaN");
    else if (isinf(value))
        buffer_append_text(out, value > 0 ? "+Inf" : "-Inf");
    else
        number_write_shortest(out, value);
}

/* `name{labels} `, with `suffix` behind the name and, unless NULL, an le label. */
static void write_name(const metrics_series *series, const char *suffix, const double *le,
                       struct buffer *out)
{
    bool has_labels = series->family->label_count > 0;
    buffer_append_text(out, series->family->name);
    buffer_append_text(out, suffix);
    if (has_labels || le != NULL) {
        buffer_append_byte(out, '{');
        buffer_append_text(out, series->labels);
        if (le != NULL) {
            buffer_append_text(out, has_labels ? ",le=\"" : "le=\"");
            write_value(out, *le);
            buffer_append_byte(out, '"');
        }
        buffer_append_byte(out, '}');
    }
    buffer_append_byte(out, ' ');
}

static void write_histogram(const metrics_series *series, struct buffer *out)
{
    const metrics_family *family = series->family;
    uint64_t count = 0;
    for (uint32_t i = 0; i <= family->bound_count; i++) {
        count += atomic_load_explicit(&series->counts[i], memory_order_relaxed);
        double bound = i < family->bound_count ? family->bounds[i] : (double)INFINITY;
        write_name(series, "_bucket", &bound, out);
        buffer_append_u64(out, count);
        buffer_append_byte(out, '\n');
    }
    uint64_t sum_bits = atomic_load_explicit(&series->value_bits, memory_order_relaxed);
    double sum;
    memcpy(&sum, &sum_bits, sizeof sum);
    write_name(series, "_sum", NULL, out);
    write_value(out, sum);
    buffer_append_byte(out, '\n');
    write_name(series, "_count", NULL, out);
    buffer_append_u64(out, count);
    buffer_append_byte(out, '\n');
}

static void write_series(const metrics_series *series, struct buffer *out)
{
    if (series->family->kind == METRICS_HISTOGRAM) {
        write_histogram(series, out);
        return;
    }
    write_name(series, "", NULL, out);
    write_value(out, metrics_value(series));
    buffer_append_byte(out, '\n');
}

static void write_family(const metrics_family *family, struct buffer *out)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    if (family->first == NULL && !family->other->is_shown)
        return;
    buffer_append_format(out, "# HELP %s ", family->name);
    metrics_write_escaped(out, family->help, false);
    buffer_append_format(out, "\n# TYPE %s %s\n", family->name, kinds[family->kind]);
    for (const metrics_series *series = family->first; series != NULL; series = series->next)
        write_series(series, out);
    if (family->other->is_shown)
        write_series(family->other, out);
}

void metrics_write(metrics_registry *registry, struct buffer *out)
{
    int rc = pthread_mutex_lock(&registry->scrape_lock);
    CHECK(rc == 0);
    /* Collectors make and set series, which takes `lock`: they run without it. */
    for (size_t i = 0; i < registry->collector_count; i++)
        registry->collectors[i].collect(registry->collectors[i].context);
    rc = pthread_mutex_lock(&registry->lock);
    CHECK(rc == 0);
    for (const metrics_family *family = registry->first; family != NULL; family = family->next)
        write_family(family, out);
    rc = pthread_mutex_unlock(&registry->lock);
    CHECK(rc == 0);
    rc = pthread_mutex_unlock(&registry->scrape_lock);
    CHECK(rc == 0);
}
