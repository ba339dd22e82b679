#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "check.h"
#include "metrics_private.h"
#include "number.h"
#include "text_out.h"
#include "utf8.h"

/* The text exposition format 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats) and OpenMetrics 1.0
 * (prometheus.io/docs/specs/om/open_metrics_spec).
 *
 * A gateway with many models and tenants has tens of thousands of lines, nearly all of them buckets, and a scrape should take no
 * more than two milliseconds: room for a line is made once and its parts are copied into it, and numbers that
 * are whole or short decimals, nearly all of them, are written without printf. */

/* Of a number, a time or an exemplar's text, each with what is around it. */
#define TAIL_BYTES_MAX 256u

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

/* --- numbers --- */

#define DECIMALS     9u
#define DECIMAL_ONE  1000000000u
#define WHOLE_MAX    9007199254740992.0 /* 2^53 */
#define DECIMALS_MAX (WHOLE_MAX / DECIMAL_ONE)

/* Most are of one digit. */
static char *count_out(char *at, uint64_t count)
{
    if (count > 9)
        return text_out_decimal(at, count);
    *at = (char)('0' + count);
    return at + 1;
}

/* Nine decimals at most, trailing zeros left out. `nano` and DECIMAL_ONE are exact as doubles, so their quotient is the double that
 * is nearest to what is written: reading it gives the same number. */
static char *decimals_out(char *at, uint64_t nano)
{
    char digits[DECIMALS];
    uint64_t rest = nano % DECIMAL_ONE;
    size_t count = DECIMALS;

    at = text_out_decimal(at, nano / DECIMAL_ONE);
    if (rest == 0)
        return at;
    for (size_t i = DECIMALS; i > 0; i--, rest /= 10)
        digits[i - 1] = (char)('0' + rest % 10);
    while (digits[count - 1] == '0')
        count--;
    *at++ = '.';
    return text_out(at, digits, count);
}

static char *value_out(char *at, double value)
{
    double magnitude = fabs(value);

    if (isnan(value))
        return text_out(at, "NaN", 3);
    if (isinf(value))
        return text_out(at, value > 0 ? "+Inf" : "-Inf", 4);
    if (magnitude < WHOLE_MAX && magnitude == (double)(uint64_t)magnitude) {
        if (value < 0)
            *at++ = '-';
        return count_out(at, (uint64_t)magnitude);
    }
    if (magnitude < DECIMALS_MAX) {
        uint64_t nano = (uint64_t)(magnitude * DECIMAL_ONE + 0.5);

        if ((double)nano / DECIMAL_ONE == magnitude) {
            if (value < 0)
                *at++ = '-';
            return decimals_out(at, nano);
        }
    }
    struct buffer text;
    buffer_init(&text, TAIL_BYTES_MAX);
    number_write_shortest(&text, value);
    at = text_out(at, text.data, text.bytes); /* no memory: the line says nothing, and is refused */
    buffer_deinit(&text);
    return at;
}

/* A histogram's sum, to nine decimals: what clocks tell has no more of them, and the shortest text of a sum of many numbers takes ten
 * times as long to find. */
static char *sum_out(char *at, double sum)
{
    if (!(fabs(sum) >= 1e-3 && fabs(sum) < DECIMALS_MAX))
        return value_out(at, sum);
    if (sum < 0)
        *at++ = '-';
    return decimals_out(at, (uint64_t)(fabs(sum) * DECIMAL_ONE + 0.5));
}

/* A bound as the client libraries write it, with a point or an exponent. */
static char *bound_out(char *at, double bound)
{
    char *end = value_out(at, bound);

    if (!isinf(bound) && memchr(at, '.', (size_t)(end - at)) == NULL &&
        memchr(at, 'e', (size_t)(end - at)) == NULL)
        end = text_out(end, ".0", 2);
    return end;
}

/* --- lines --- */

/* `le="0.5"} `, the same for all series of a family. */
struct bound_text {
    uint32_t bytes;
    char text[44];
};

struct writer {
    struct buffer *out;
    enum metrics_format format;
    /* Of the family that is being written: */
    size_t name_bytes;
    struct bound_text bounds[METRICS_BOUND_COUNT_MAX + 1];
};

/* Room for a line of the series; NULL: there is none, which `out` remembers. */
static char *line_begin(const struct writer *writer, const metrics_series *series)
{
    size_t bytes = writer->name_bytes + series->labels_bytes + TAIL_BYTES_MAX;

    return buffer_reserve(writer->out, bytes) == STATUS_OK ? writer->out->data + writer->out->bytes
                                                           : NULL;
}

static void line_end(const struct writer *writer, char *end)
{
    *end++ = '\n';
    *end = '\0';
    writer->out->bytes = (size_t)(end - writer->out->data);
}

static void bounds_write(struct writer *writer, const metrics_family *family)
{
    for (uint32_t i = 0; family->kind == METRICS_HISTOGRAM && i <= family->bound_count; i++) {
        struct bound_text *bound = &writer->bounds[i];
        char *at = text_out(bound->text, "le=\"", 4);

        at = bound_out(at, i < family->bound_count ? family->bounds[i] : (double)INFINITY);
        at = text_out(at, "\"} ", 3);
        bound->bytes = (uint32_t)(at - bound->text);
    }
}

/* `name{labels} `, with `suffix` behind the name. */
static char *name_out(char *at, const struct writer *writer, const metrics_series *series,
                      struct text_slice suffix)
{
    at = text_out(at, series->family->name, writer->name_bytes);
    at = text_out(at, suffix.data, suffix.bytes);
    if (series->labels_bytes > 0) {
        *at++ = '{';
        at = text_out(at, series->labels, series->labels_bytes);
        *at++ = '}';
    }
    *at++ = ' ';
    return at;
}

/* `name_bucket{labels,`, up to the bound. */
static char *bucket_out(char *at, const struct writer *writer, const metrics_series *series)
{
    at = text_out(at, series->family->name, writer->name_bytes);
    at = text_out(at, "_bucket{", 8);
    if (series->labels_bytes == 0)
        return at;
    at = text_out(at, series->labels, series->labels_bytes);
    *at++ = ',';
    return at;
}

static char *exemplar_out(char *at, struct metrics_exemplar *exemplar)
{
    struct metrics_exemplar_view view;

    if (!metrics_exemplar_read(exemplar, &view))
        return at;
    at = text_out(at, " # {trace_id=\"", 14);
    at = text_out(at, view.trace_id, sizeof view.trace_id);
    at = text_out(at, "\"} ", 3);
    at = value_out(at, view.value);
    *at++ = ' ';
    return value_out(at, (double)view.wall_ms / 1000);
}

static void write_histogram(const struct writer *writer, const metrics_series *series)
{
    const metrics_family *family = series->family;
    uint64_t count = 0, sum_bits;
    size_t first = writer->out->bytes,
           prefix_bytes = 0; /* every bucket's line begins like the first */
    double sum;
    char *at;

    for (uint32_t i = 0; i <= family->bound_count; i++) {
        const struct bound_text *bound = &writer->bounds[i];

        count += atomic_load_explicit(&series->counts[i], memory_order_relaxed);
        if ((at = line_begin(writer, series)) == NULL)
            return;
        if (i == 0)
            prefix_bytes = (size_t)(bucket_out(at, writer, series) - at);
        else
            memcpy(at, writer->out->data + first, prefix_bytes);
        at = count_out(text_out(at + prefix_bytes, bound->text, bound->bytes), count);
        if (writer->format == METRICS_OPENMETRICS && series->exemplars != NULL)
            at = exemplar_out(at, &series->exemplars[i]);
        line_end(writer, at);
    }
    sum_bits = atomic_load_explicit(&series->value_bits, memory_order_relaxed);
    memcpy(&sum, &sum_bits, sizeof sum);
    if ((at = line_begin(writer, series)) == NULL)
        return;
    line_end(writer, sum_out(name_out(at, writer, series, text_slice_of("_sum")), sum));
    if ((at = line_begin(writer, series)) == NULL)
        return;
    line_end(writer, count_out(name_out(at, writer, series, text_slice_of("_count")), count));
}

static void write_series(const struct writer *writer, const metrics_series *series)
{
    char *at;

    if (series->family->kind == METRICS_HISTOGRAM)
        write_histogram(writer, series);
    else if ((at = line_begin(writer, series)) != NULL)
        line_end(writer, value_out(name_out(at, writer, series, (struct text_slice){NULL, 0}),
                                   metrics_value(series)));
}

/* --- families --- */

/* The unit that a name ends with; NULL: none. OpenMetrics wants to be told. */
static const char *unit_of(const char *name, size_t bytes)
{
    static const char *const units[] = {"seconds", "bytes", "joules", "ratio"};

    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        size_t unit_bytes = strlen(units[i]);

        if (bytes > unit_bytes && name[bytes - unit_bytes - 1] == '_' &&
            memcmp(name + bytes - unit_bytes, units[i], unit_bytes) == 0)
            return units[i];
    }
    return NULL;
}

static void write_head(const struct writer *writer, const metrics_family *family)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    bool is_open = writer->format == METRICS_OPENMETRICS;
    /* There a counter's family is called without the "_total" of its samples. */
    int bytes = (int)writer->name_bytes -
                (is_open && family->kind == METRICS_COUNTER ? (int)strlen("_total") : 0);
    const char *unit = is_open ? unit_of(family->name, (size_t)bytes) : NULL;

    buffer_append_format(writer->out, "# HELP %.*s ", bytes, family->name);
    metrics_write_escaped(writer->out, family->help, is_open);
    buffer_append_format(writer->out, "\n# TYPE %.*s %s\n", bytes, family->name,
                         kinds[family->kind]);
    if (unit != NULL)
        buffer_append_format(writer->out, "# UNIT %.*s %s\n", bytes, family->name, unit);
}

/* Series whose memory is asked for while another is written: what a few lines take to write is what memory takes to come. */
#define AHEAD      6u
#define LINE_BYTES 64u

static void look_ahead(const metrics_series *series)
{
    __builtin_prefetch(series);
    __builtin_prefetch((const char *)series + LINE_BYTES);
    __builtin_prefetch((const char *)series + 2 * LINE_BYTES);
}

static void write_family(struct writer *writer, const metrics_family *family)
{
    if (family->series_count == 0 && !family->other->is_shown)
        return;
    writer->name_bytes = strlen(family->name);
    bounds_write(writer, family);
    write_head(writer, family);
    for (uint32_t i = 0; i < family->series_count; i++) {
        if (i + AHEAD < family->series_count)
            look_ahead(family->series[i + AHEAD]);
        write_series(writer, family->series[i]);
    }
    if (family->other->is_shown)
        write_series(writer, family->other);
}

static void lock_take(pthread_mutex_t *lock)
{
    int rc = pthread_mutex_lock(lock);
    CHECK(rc == 0);
}

static void lock_leave(pthread_mutex_t *lock)
{
    int rc = pthread_mutex_unlock(lock);
    CHECK(rc == 0);
}

void metrics_write(metrics_registry *registry, enum metrics_format format, struct buffer *out)
{
    struct writer writer = {.out = out, .format = format};
    const metrics_family *family;

    lock_take(&registry->scrape_lock);
    /* Collectors make and set series, which takes `lock`: they run without it. */
    for (size_t i = 0; i < registry->collector_count; i++)
        registry->collectors[i].collect(registry->collectors[i].context);
    /* Families stay, so the lock may be left between two of them for who waits to make a series. */
    metrics_lists_take(registry);
    for (family = registry->first; family != NULL; family = family->next) {
        write_family(&writer, family);
        metrics_lists_leave(registry);
        metrics_lists_take(registry);
    }
    metrics_lists_leave(registry);
    lock_leave(&registry->scrape_lock);
    if (format == METRICS_OPENMETRICS)
        buffer_append_text(out, "# EOF\n");
}
