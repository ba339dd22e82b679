#include "metrics_private.h"

#include <math.h>
#include <string.h>

#include "check.h"
#include "clock.h"
#include "hash.h"
#include "memory.h"

/* A series is found once, at start or when a tenant or replica appears, and its pointer kept; from
 * then on updates are relaxed atomics on its own words. Relaxed is enough: a metric orders nothing,
 * and a scrape may see one series a moment later than another. A histogram's buckets are stored
 * apart and summed up by the scrape, which makes _count the sum of what it read: bucket, +Inf and
 * _count always agree; only _sum may be one observation ahead or behind.
 *
 * The lock guards only the lists. Updates never take it. */

#define METRICS_SERIES_MAX_DEFAULT 1000u
#define METRICS_LABEL_COUNT_MAX    16u
#define METRICS_LABELS_BYTES_MAX   4096u /* all label values of a series, escaped */

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

void metrics_lists_take(metrics_registry *registry)
{
    lock_take(&registry->turn);
    lock_take(&registry->lock);
    lock_leave(&registry->turn);
}

void metrics_lists_leave(metrics_registry *registry)
{
    lock_leave(&registry->lock);
}

status metrics_registry_create(metrics_registry **out)
{
    metrics_registry *registry = memory_allocate_array(1, sizeof *registry);
    if (registry == NULL)
        return STATUS_NO_MEMORY;
    int rc = pthread_mutex_init(&registry->lock, NULL);
    CHECK(rc == 0);
    rc = pthread_mutex_init(&registry->turn, NULL);
    CHECK(rc == 0);
    rc = pthread_mutex_init(&registry->scrape_lock, NULL);
    CHECK(rc == 0);
    registry->last = &registry->first;
    *out = registry;
    return STATUS_OK;
}

static void series_destroy(metrics_series *series)
{
    if (series == NULL)
        return;
    memory_release(series->exemplars);
    memory_release(series);
}

static void family_destroy(metrics_family *family)
{
    if (family == NULL)
        return;
    for (uint32_t i = 0; i < family->series_count; i++)
        series_destroy(family->series[i]);
    memory_release(family->series);
    series_destroy(family->other);
    for (uint32_t i = 0; family->label_names != NULL && i < family->label_count; i++)
        memory_release(family->label_names[i]);
    memory_release(family->label_names);
    memory_release(family->bounds);
    memory_release(family->name);
    memory_release(family->help);
    memory_release(family);
}

void metrics_registry_destroy(metrics_registry *registry)
{
    if (registry == NULL)
        return;
    for (metrics_family *family = registry->first; family != NULL;) {
        metrics_family *next = family->next;
        family_destroy(family);
        family = next;
    }
    memory_release(registry->collectors);
    pthread_mutex_destroy(&registry->lock);
    pthread_mutex_destroy(&registry->turn);
    pthread_mutex_destroy(&registry->scrape_lock);
    memory_release(registry);
}

/* [a-zA-Z_:][a-zA-Z0-9_:]*; a label has no colon. */
static bool name_is_valid(const char *name, bool allows_colon)
{
    if (name == NULL || name[0] == '\0' || (name[0] >= '0' && name[0] <= '9'))
        return false;
    for (const char *c = name; *c != '\0'; c++) {
        bool is_letter = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || *c == '_';
        bool is_digit = *c >= '0' && *c <= '9';
        if (!is_letter && !is_digit && !(allows_colon && *c == ':'))
            return false;
    }
    return true;
}

static bool ends_in(const char *text, const char *ending)
{
    size_t bytes = strlen(text);
    size_t ending_bytes = strlen(ending);
    return bytes >= ending_bytes && strcmp(text + bytes - ending_bytes, ending) == 0;
}

static bool options_are_valid(const struct metrics_family_options *options)
{
    if (!name_is_valid(options->name, true) || options->help == NULL)
        return false;
    if (options->kind == METRICS_COUNTER && !ends_in(options->name, "_total"))
        return false;
    uint32_t label_count = 0;
    for (; options->labels != NULL && options->labels[label_count] != NULL; label_count++) {
        const char *label = options->labels[label_count];
        bool is_reserved = strncmp(label, "__", 2) == 0 || strcmp(label, "le") == 0;
        if (!name_is_valid(label, false) || is_reserved || label_count == METRICS_LABEL_COUNT_MAX)
            return false;
    }
    if (options->kind != METRICS_HISTOGRAM)
        return options->bound_count == 0;
    if (options->bound_count == 0 || options->bound_count > METRICS_BOUND_COUNT_MAX)
        return false;
    for (uint32_t i = 0; i < options->bound_count; i++) {
        if (!isfinite(options->bounds[i]) ||
            (i > 0 && options->bounds[i] <= options->bounds[i - 1]))
            return false;
    }
    return true;
}

static char *text_copy(const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = memory_allocate(bytes);
    if (copy != NULL)
        memcpy(copy, text, bytes);
    return copy;
}

/* Takes over `labels`. NULL when memory is out. The labels stand behind the series: a scrape reads thousands of both. */
static metrics_series *series_create(metrics_family *family, char *labels)
{
    size_t count = family->kind == METRICS_HISTOGRAM ? family->bound_count + 1 : 0;
    size_t counts_bytes = count * sizeof(_Atomic uint64_t);
    size_t labels_bytes = labels != NULL ? strlen(labels) : 0;
    metrics_series *series = NULL;
    if (labels != NULL)
        series = memory_allocate_array(1, sizeof *series + counts_bytes + labels_bytes + 1);
    if (series != NULL) {
        series->family = family;
        series->labels = (char *)series + sizeof *series + counts_bytes;
        series->labels_bytes = (uint32_t)labels_bytes;
        memcpy(series->labels, labels, labels_bytes + 1);
    }
    memory_release(labels);
    if (series == NULL || !family->keeps_exemplars)
        return series;
    series->exemplars = memory_allocate_array(count, sizeof *series->exemplars);
    if (series->exemplars == NULL) {
        series_destroy(series);
        return NULL;
    }
    return series;
}

/* Label values as the text format wants them; `values` NULL: all "other". The caller owns the
 * result; NULL: no memory, or longer than a label set may be. */
static char *labels_render(const metrics_family *family, const char *const *values)
{
    struct buffer text;
    buffer_init(&text, METRICS_LABELS_BYTES_MAX);
    for (uint32_t i = 0; i < family->label_count; i++) {
        if (i > 0)
            buffer_append_byte(&text, ',');
        buffer_append_text(&text, family->label_names[i]);
        buffer_append_text(&text, "=\"");
        metrics_write_escaped(&text, values != NULL ? values[i] : "other", true);
        buffer_append_byte(&text, '"');
    }
    if (buffer_reserve(&text, 0) != STATUS_OK) {
        buffer_deinit(&text);
        return NULL;
    }
    return text.data; /* the buffer's one allocation changes hands */
}

static bool family_fill(metrics_family *family, const struct metrics_family_options *options)
{
    family->kind = options->kind;
    family->series_max =
        options->series_max != 0 ? options->series_max : METRICS_SERIES_MAX_DEFAULT;
    family->name = text_copy(options->name);
    family->help = text_copy(options->help);
    while (options->labels != NULL && options->labels[family->label_count] != NULL)
        family->label_count++;
    family->label_names = memory_allocate_array(family->label_count, sizeof *family->label_names);
    family->bound_count = options->bound_count;
    family->bounds = memory_allocate_array(family->bound_count, sizeof *family->bounds);
    if (family->name == NULL || family->help == NULL || family->label_names == NULL ||
        family->bounds == NULL)
        return false;
    for (uint32_t i = 0; options->labels != NULL && i < family->label_count; i++) {
        family->label_names[i] = text_copy(options->labels[i]);
        if (family->label_names[i] == NULL)
            return false;
    }
    for (uint32_t i = 0; i < family->bound_count; i++)
        family->bounds[i] = options->bounds[i];
    family->other = series_create(family, labels_render(family, NULL));
    return family->other != NULL;
}

status metrics_family_create(metrics_registry *registry,
                             const struct metrics_family_options *options, metrics_family **out)
{
    if (!options_are_valid(options))
        return STATUS_INVALID;
    metrics_family *family = memory_allocate_array(1, sizeof *family);
    if (family == NULL)
        return STATUS_NO_MEMORY;
    family->registry = registry;
    if (!family_fill(family, options)) {
        family_destroy(family);
        return STATUS_NO_MEMORY;
    }
    status result = STATUS_OK;
    metrics_lists_take(registry);
    for (metrics_family *other = registry->first; other != NULL; other = other->next) {
        if (strcmp(other->name, family->name) == 0)
            result = STATUS_INVALID;
    }
    if (result == STATUS_OK) {
        *registry->last = family;
        registry->last = &family->next;
    }
    metrics_lists_leave(registry);
    if (result != STATUS_OK)
        family_destroy(family);
    else
        *out = family;
    return result;
}

void metrics_family_keep_exemplars(metrics_family *family)
{
    CHECK(family->kind == METRICS_HISTOGRAM);
    metrics_lists_take(family->registry);
    family->keeps_exemplars = true;
    if (family->other->exemplars == NULL)
        family->other->exemplars =
            memory_allocate_array(family->bound_count + 1, sizeof *family->other->exemplars);
    CHECK(family->other->exemplars != NULL);
    metrics_lists_leave(family->registry);
}

status metrics_families_create(metrics_registry *registry, const struct metrics_family_row *rows,
                               size_t count)
{
    for (size_t i = 0; i < count; i++) {
        status result = metrics_family_create(registry, &rows[i].options, rows[i].out);

        if (result != STATUS_OK)
            return result;
    }
    return STATUS_OK;
}

/* Where the pointer to the series with these labels stands, or would stand. */
static metrics_series **bucket_find(metrics_family *family, const char *labels)
{
    /* Unkeyed is fine: series_max bounds the chains, whoever chose the values. */
    static const struct hash_key key = {0, 0};
    metrics_series **link =
        &family->buckets[hash64(&key, labels, strlen(labels)) % METRICS_BUCKET_COUNT];
    while (*link != NULL && strcmp((*link)->labels, labels) != 0)
        link = &(*link)->next_in_bucket;
    return link;
}

#define SERIES_FIRST 8u

/* Room for one more. */
static bool series_reserve(metrics_family *family)
{
    uint32_t capacity = family->series_capacity > 0 ? 2 * family->series_capacity : SERIES_FIRST;
    if (family->series_count < family->series_capacity)
        return true;
    metrics_series **grown = memory_resize(family->series, capacity * sizeof(family->series[0]));
    if (grown == NULL)
        return false;
    family->series = grown;
    family->series_capacity = capacity;
    return true;
}

/* NULL at the cap, without memory, and for the labels of "other". Takes over *labels (and clears
 * it) for a new series. */
static metrics_series *series_find_or_add(metrics_family *family, char **labels)
{
    metrics_series **link = bucket_find(family, *labels);
    if (*link != NULL)
        return *link;
    if (family->series_count == family->series_max || strcmp(*labels, family->other->labels) == 0)
        return NULL;
    metrics_series *series = series_create(family, *labels);
    *labels = NULL;
    if (series == NULL || !series_reserve(family)) {
        series_destroy(series);
        return NULL;
    }
    *link = series;
    family->series[family->series_count++] = series;
    return series;
}

metrics_series *metrics_series_get(metrics_family *family, const char *const *label_values)
{
    CHECK(family->label_count == 0 || label_values != NULL);
    char *labels = labels_render(family, label_values);
    metrics_lists_take(family->registry);
    metrics_series *series = labels != NULL ? series_find_or_add(family, &labels) : NULL;
    if (series == NULL)
        series = family->other;
    series->is_shown = true;
    metrics_lists_leave(family->registry);
    memory_release(labels);
    return series;
}

void metrics_series_remove(metrics_family *family, const char *const *label_values)
{
    char *labels = labels_render(family, label_values);
    if (labels == NULL)
        return; /* too long ever to have been made */
    metrics_lists_take(family->registry);
    metrics_series **link = bucket_find(family, labels);
    metrics_series *series = *link;
    if (series != NULL) {
        *link = series->next_in_bucket;
        uint32_t place = 0;
        while (family->series[place] != series)
            place++;
        memmove(&family->series[place], &family->series[place + 1],
                (family->series_count - place - 1) * sizeof(family->series[0]));
        family->series_count--;
    }
    metrics_lists_leave(family->registry);
    memory_release(labels);
    series_destroy(series);
}

static double bits_to_double(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint64_t double_to_bits(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Some thread always makes progress; two threads on one series repeat it once in a while. */
static void value_add(metrics_series *series, double amount)
{
    uint64_t before = atomic_load_explicit(&series->value_bits, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&series->value_bits, &before,
                                                  double_to_bits(bits_to_double(before) + amount),
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
}

void metrics_add(metrics_series *series, double amount)
{
    DCHECK(series->family->kind == METRICS_GAUGE ||
           (series->family->kind == METRICS_COUNTER && amount >= 0));
    value_add(series, amount);
}

void metrics_set(metrics_series *series, double value)
{
    DCHECK(series->family->kind != METRICS_HISTOGRAM);
    atomic_store_explicit(&series->value_bits, double_to_bits(value), memory_order_relaxed);
}

/* Release, so that who reads the sequence again sees that somebody has begun, before any of the words. */
static void exemplar_write(struct metrics_exemplar *exemplar, double value, const char *trace_id)
{
    uint64_t words[ARRAY_COUNT(exemplar->trace_id)];
    uint32_t before = atomic_load_explicit(&exemplar->sequence, memory_order_relaxed);

    if ((before & 1u) != 0 ||
        !atomic_compare_exchange_strong_explicit(&exemplar->sequence, &before, before + 1,
                                                 memory_order_acquire, memory_order_relaxed))
        return;
    atomic_thread_fence(memory_order_release);
    memcpy(words, trace_id, sizeof words);
    atomic_store_explicit(&exemplar->value_bits, double_to_bits(value), memory_order_relaxed);
    atomic_store_explicit(&exemplar->wall_ms, clock_wall_ms(), memory_order_relaxed);
    for (size_t i = 0; i < ARRAY_COUNT(words); i++)
        atomic_store_explicit(&exemplar->trace_id[i], words[i], memory_order_relaxed);
    atomic_store_explicit(&exemplar->sequence, before + 2, memory_order_release);
}

/* The bucket that the value fell into. */
static uint32_t observe(metrics_series *series, double value)
{
    const metrics_family *family = series->family;
    uint32_t at = 0;
    while (at < family->bound_count && value > family->bounds[at])
        at++;
    atomic_fetch_add_explicit(&series->counts[at], 1, memory_order_relaxed);
    value_add(series, value);
    return at;
}

void metrics_observe(metrics_series *series, double value)
{
    DCHECK(series->family->kind == METRICS_HISTOGRAM);
    if (!isnan(value)) /* would make _sum useless for ever */
        (void)observe(series, value);
}

void metrics_observe_traced(metrics_series *series, double value, const char *trace_id)
{
    DCHECK(series->family->kind == METRICS_HISTOGRAM);
    if (isnan(value))
        return;
    uint32_t at = observe(series, value);
    if (trace_id != NULL && trace_id[0] != '\0' && series->exemplars != NULL)
        exemplar_write(&series->exemplars[at], value, trace_id);
}

#define EXEMPLAR_TRIES 4u

bool metrics_exemplar_read(struct metrics_exemplar *exemplar, struct metrics_exemplar_view *out)
{
    uint64_t words[ARRAY_COUNT(exemplar->trace_id)];

    for (unsigned i = 0; i < EXEMPLAR_TRIES; i++) {
        uint32_t before = atomic_load_explicit(&exemplar->sequence, memory_order_acquire);
        if (before == 0)
            return false;
        out->value =
            bits_to_double(atomic_load_explicit(&exemplar->value_bits, memory_order_relaxed));
        out->wall_ms = atomic_load_explicit(&exemplar->wall_ms, memory_order_relaxed);
        for (size_t word = 0; word < ARRAY_COUNT(words); word++)
            words[word] = atomic_load_explicit(&exemplar->trace_id[word], memory_order_relaxed);
        atomic_thread_fence(memory_order_acquire);
        if ((before & 1u) == 0 &&
            atomic_load_explicit(&exemplar->sequence, memory_order_relaxed) == before) {
            memcpy(out->trace_id, words, sizeof words);
            return true;
        }
    }
    return false;
}

double metrics_value(const metrics_series *series)
{
    if (series->family->kind != METRICS_HISTOGRAM)
        return bits_to_double(atomic_load_explicit(&series->value_bits, memory_order_relaxed));
    uint64_t count = 0;
    for (uint32_t i = 0; i <= series->family->bound_count; i++)
        count += atomic_load_explicit(&series->counts[i], memory_order_relaxed);
    return (double)count;
}

double metrics_sum(const metrics_series *series)
{
    return bits_to_double(atomic_load_explicit(&series->value_bits, memory_order_relaxed));
}

void metrics_on_scrape(metrics_registry *registry, void (*collect)(void *context), void *context)
{
    lock_take(&registry->scrape_lock);
    size_t count = registry->collector_count;
    struct metrics_collector *grown =
        memory_resize(registry->collectors, (count + 1) * sizeof *registry->collectors);
    CHECK(grown != NULL);
    grown[count] = (struct metrics_collector){collect, context};
    registry->collectors = grown;
    registry->collector_count = count + 1;
    lock_leave(&registry->scrape_lock);
}
