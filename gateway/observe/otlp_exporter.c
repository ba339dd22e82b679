/* From the loops to the receiver
 *
 *   loop:    items (a request's story), samples (what it adds to metrics)      otlp_exporter_put, _measure
 *                |                        |
 *   thread:  options.spans             genai_metrics_add
 *                |                        |
 *            spans, encoded one          every metrics_interval: one request, never sent again,
 *            behind the other            since the next one says all that it would
 *                |
 *            a batch: full, or interval over
 *                |
 *            sent; sent again by otlp_retry.h; given up after retry_time
 *
 * There is one batch at a time: while it is tried again, items stay in their queues, which are bounded, so the memory of an
 * exporter whose receiver is down is what it was. */
#include "otlp_exporter.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cell_ring.h"
#include "check.h"
#include "clock.h"
#include "hash.h"
#include "log.h"
#include "memory.h"
#include "otlp_link.h"
#include "ring.h"
#include "thread.h"

#define AREA            "gateway/observe"
#define BATCH_BYTES_MAX (16u << 20)
#define SAMPLES_FACTOR  8u /* every request leaves a sample, few leave a story */
#define WAKE_PARTS      2u /* the thread is woken when a queue is filled by one part */
#define HOST_BYTES      256u
#define INSTANCE_BYTES  40u
#define RESOURCE_MAX    16u
#define LOOK_NS         (10 * NS_PER_MS) /* at the end, before another try */

enum drop { DROP_QUEUE_FULL, DROP_REFUSED, DROP_REJECTED, DROP_GIVEN_UP, DROP_COUNT };
static const char *const drop_names[DROP_COUNT] = {"queue_full", "refused", "rejected", "given_up"};

struct loop_queues {
    struct cell_ring *items, *samples; /* owned */
};

/* Spans that are collected, and the request that is tried. */
struct batch {
    struct buffer spans; /* encoded, one behind the other */
    uint32_t span_count;
    uint64_t begun_ns;     /* when the first of them came */
    struct buffer request; /* bytes > 0: it is to be sent */
    uint32_t tries;
    uint64_t first_try_ns, next_try_ns;
};

struct otlp_exporter {
    struct otlp_exporter_options options;
    struct loop_queues *loops; /* [loop_count], owned */
    struct otlp_link link;
    struct otlp_resource resource;
    struct attribute attributes[RESOURCE_MAX];
    char *attribute_texts; /* owned; what they point to */
    char host[HOST_BYTES], instance[INSTANCE_BYTES];
    struct batch batch;
    struct genai_metrics *measured; /* owned */
    uint64_t metrics_due_ns;
    bool is_failing[OTLP_SIGNAL_COUNT]; /* each failure is logged once */

    pthread_t thread;
    struct parking parking;
    bool is_running;
    _Atomic bool is_stopping;
    _Atomic uint64_t end_ns; /* with is_stopping: when flush_time is over */
    metrics_series *exported[OTLP_SIGNAL_COUNT], *failing[OTLP_SIGNAL_COUNT];
    metrics_series *dropped[OTLP_SIGNAL_COUNT][DROP_COUNT];
};

/* --- loops --- */

static void put(otlp_exporter *exporter, struct cell_ring *queue, enum otlp_signal signal,
                uint32_t count_max, const void *cell)
{
    if (cell_ring_put(queue, cell) != STATUS_OK)
        metrics_add(exporter->dropped[signal][DROP_QUEUE_FULL], 1);
    if (cell_ring_count(queue) >= count_max / WAKE_PARTS)
        parking_signal(&exporter->parking);
}

void otlp_exporter_put(otlp_exporter *exporter, uint32_t loop, const void *item)
{
    put(exporter, exporter->loops[loop].items, OTLP_TRACES,
        (uint32_t)exporter->options.settings->queue, item);
}

void otlp_exporter_measure(otlp_exporter *exporter, uint32_t loop,
                           const struct genai_sample *sample)
{
    if (exporter->options.settings->metrics_interval_ns > 0)
        put(exporter, exporter->loops[loop].samples, OTLP_METRICS,
            (uint32_t)exporter->options.settings->queue * SAMPLES_FACTOR, sample);
}

/* --- the thread: what comes --- */

void otlp_exporter_span(otlp_exporter *exporter, const struct span *span)
{
    struct batch *batch = &exporter->batch;
    size_t before = batch->spans.bytes;

    exporter->link.format->span(&batch->spans, span);
    if (batch->spans.failed == STATUS_OK) {
        batch->span_count++;
        return;
    }
    /* What was there before it is still good. */
    batch->spans.failed = STATUS_OK;
    batch->spans.bytes = before;
    metrics_add(exporter->dropped[OTLP_TRACES][DROP_REFUSED], 1);
}

static void samples_drain(otlp_exporter *exporter)
{
    for (uint32_t i = 0; i < exporter->options.loop_count; i++) {
        struct cell_ring *queue = exporter->loops[i].samples;
        uint64_t lost = exporter->measured->lost;

        /* No more than are there now: the others have their turn too. */
        for (uint32_t count = cell_ring_count(queue); count > 0; count--) {
            genai_metrics_add(exporter->measured, cell_ring_front(queue));
            cell_ring_drop(queue);
        }
        metrics_add(exporter->dropped[OTLP_METRICS][DROP_REFUSED],
                    (double)(exporter->measured->lost - lost));
    }
}

static bool is_full(const otlp_exporter *exporter)
{
    return exporter->batch.span_count >= (uint32_t)exporter->options.settings->batch;
}

static bool has_items(const otlp_exporter *exporter)
{
    for (uint32_t i = 0; i < exporter->options.loop_count; i++) {
        if (cell_ring_count(exporter->loops[i].items) > 0)
            return true;
    }
    return false;
}

/* --- the thread: sending --- */

/* Told once, until it works again. */
static void outcome(otlp_exporter *exporter, enum otlp_signal signal,
                    const struct otlp_answer *answer)
{
    bool is_failing = answer->verdict != OTLP_TAKEN;

    if (is_failing && !exporter->is_failing[signal])
        log_warn(AREA, "%s does not take %s: %s", exporter->options.settings->endpoint,
                 otlp_signal_names[signal], answer->why);
    else if (!is_failing && exporter->is_failing[signal])
        log_info(AREA, "%s takes %s again", exporter->options.settings->endpoint,
                 otlp_signal_names[signal]);
    if (answer->rejected > 0 || (!is_failing && answer->why[0] != '\0'))
        log_warn(AREA, "%s has taken %s but for %llu: %s", exporter->options.settings->endpoint,
                 otlp_signal_names[signal], (unsigned long long)answer->rejected,
                 answer->why[0] != '\0' ? answer->why : "it does not say why");
    exporter->is_failing[signal] = is_failing;
    metrics_set(exporter->failing[signal], is_failing);
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t end_of(const otlp_exporter *exporter)
{
    return atomic_load_explicit(&exporter->is_stopping, memory_order_acquire)
               ? atomic_load_explicit(&exporter->end_ns, memory_order_relaxed)
               : UINT64_MAX;
}

/* For the sender: nobody waits for the answer any more. */
static bool is_over(const void *context)
{
    return clock_now_ns() >= end_of(context);
}

/* Each may take a while, as whoever makes its spans may ask others: at the end no more than there is time for. */
static void items_drain(otlp_exporter *exporter)
{
    for (uint32_t i = 0; i < exporter->options.loop_count; i++) {
        struct cell_ring *queue = exporter->loops[i].items;

        for (uint32_t count = cell_ring_count(queue);
             count > 0 && !is_full(exporter) && !is_over(exporter); count--) {
            if (exporter->batch.span_count == 0)
                exporter->batch.begun_ns = clock_now_ns();
            exporter->options.spans(exporter->options.context, exporter, cell_ring_front(queue));
            cell_ring_drop(queue);
        }
    }
}

static uint64_t timeout_of(const otlp_exporter *exporter, uint64_t now_ns)
{
    uint64_t end_ns = end_of(exporter);

    return least(exporter->options.settings->timeout_ns, end_ns > now_ns ? end_ns - now_ns : 0);
}

static void batch_clear(struct batch *batch)
{
    buffer_clear(&batch->spans);
    buffer_clear(&batch->request);
    batch->span_count = batch->tries = 0;
}

static void batch_drop(otlp_exporter *exporter, enum drop why)
{
    metrics_add(exporter->dropped[OTLP_TRACES][why], exporter->batch.span_count);
    batch_clear(&exporter->batch);
}

static bool batch_is_pending(const struct batch *batch)
{
    return batch->request.bytes > 0;
}

/* The collected spans become a request. */
static void batch_seal(otlp_exporter *exporter, uint64_t now_ns)
{
    struct batch *batch = &exporter->batch;

    exporter->link.format->traces(&batch->request, &exporter->resource,
                                  buffer_slice(&batch->spans));
    batch->tries = 0;
    batch->first_try_ns = batch->next_try_ns = now_ns;
    if (batch->request.failed != STATUS_OK)
        batch_drop(exporter, DROP_REFUSED);
}

static void batch_send(otlp_exporter *exporter, uint64_t now_ns)
{
    struct batch *batch = &exporter->batch;
    struct otlp_answer answer;
    uint64_t random, wait_ns;

    otlp_link_send(&exporter->link, OTLP_TRACES, buffer_slice(&batch->request),
                   timeout_of(exporter, now_ns), &answer);
    outcome(exporter, OTLP_TRACES, &answer);
    if (answer.verdict == OTLP_TAKEN) {
        uint64_t rejected = least(answer.rejected, batch->span_count);

        metrics_add(exporter->exported[OTLP_TRACES], (double)(batch->span_count - rejected));
        metrics_add(exporter->dropped[OTLP_TRACES][DROP_REJECTED], (double)rejected);
        batch_clear(batch);
        return;
    }
    random_bytes(&random, sizeof(random));
    wait_ns = otlp_retry_wait_ns(++batch->tries, answer.retry_after_s, random);
    now_ns = clock_now_ns();
    batch->next_try_ns = now_ns + wait_ns;
    if (answer.verdict == OTLP_REFUSED)
        batch_drop(exporter, DROP_REFUSED);
    else if (batch->next_try_ns - batch->first_try_ns > exporter->options.settings->retry_ns)
        batch_drop(exporter, DROP_GIVEN_UP);
}

static void traces_work(otlp_exporter *exporter, bool is_last)
{
    struct batch *batch = &exporter->batch;
    uint64_t now_ns;

    if (!batch_is_pending(batch))
        items_drain(exporter);
    now_ns = clock_now_ns();
    if (!batch_is_pending(batch) && batch->span_count > 0 &&
        (is_last || is_full(exporter) ||
         now_ns - batch->begun_ns >= exporter->options.settings->interval_ns))
        batch_seal(exporter, now_ns);
    if (batch_is_pending(batch) && now_ns >= batch->next_try_ns)
        batch_send(exporter, now_ns);
}

static void metrics_work(otlp_exporter *exporter, bool is_last)
{
    const struct config_tracing *settings = exporter->options.settings;
    uint64_t now_ns = clock_now_ns();
    struct otlp_answer answer;
    struct buffer request;

    samples_drain(exporter);
    if (settings->metrics_interval_ns == 0 || (now_ns < exporter->metrics_due_ns && !is_last))
        return;
    exporter->metrics_due_ns = now_ns + settings->metrics_interval_ns;
    if (exporter->measured->series_count == 0)
        return;
    buffer_init(&request, BATCH_BYTES_MAX);
    exporter->link.format->metrics(&request, &exporter->resource, exporter->measured,
                                   clock_wall_ms() * NS_PER_MS);
    if (request.failed == STATUS_OK) {
        otlp_link_send(&exporter->link, OTLP_METRICS, buffer_slice(&request),
                       timeout_of(exporter, now_ns), &answer);
        outcome(exporter, OTLP_METRICS, &answer);
        if (answer.verdict == OTLP_TAKEN)
            metrics_add(exporter->exported[OTLP_METRICS], exporter->measured->series_count);
    }
    buffer_deinit(&request);
}

/* Until something is due. */
static uint64_t wait_of(const otlp_exporter *exporter, uint64_t now_ns)
{
    const struct config_tracing *settings = exporter->options.settings;
    const struct batch *batch = &exporter->batch;
    uint64_t due_ns = now_ns + settings->interval_ns;

    if (settings->metrics_interval_ns > 0)
        due_ns = least(due_ns, exporter->metrics_due_ns);
    if (batch_is_pending(batch))
        due_ns = least(due_ns, batch->next_try_ns);
    else if (batch->span_count > 0)
        due_ns = least(due_ns, batch->begun_ns + settings->interval_ns);
    return due_ns > now_ns ? due_ns - now_ns : 0;
}

/* What is left, until it is sent or the time is over. */
static void flush(otlp_exporter *exporter)
{
    metrics_work(exporter, true);
    while (!is_over(exporter)) {
        traces_work(exporter, true);
        if (!has_items(exporter) && exporter->batch.span_count == 0)
            return;
        if (batch_is_pending(&exporter->batch) && exporter->batch.next_try_ns >= end_of(exporter))
            break;
        if (batch_is_pending(&exporter->batch))
            (void)usleep((useconds_t)(LOOK_NS / NS_PER_US));
    }
    log_warn(AREA, "%u spans could not be sent before the end", exporter->batch.span_count);
}

static void *exporter_run(void *context)
{
    otlp_exporter *exporter = context;

    for (;;) {
        uint32_t ticket = parking_prepare(&exporter->parking);

        if (atomic_load_explicit(&exporter->is_stopping, memory_order_acquire)) {
            parking_cancel(&exporter->parking);
            break;
        }
        traces_work(exporter, false);
        metrics_work(exporter, false);
        if (has_items(exporter) && !batch_is_pending(&exporter->batch))
            parking_cancel(&exporter->parking);
        else
            parking_wait(&exporter->parking, ticket, wait_of(exporter, clock_now_ns()));
    }
    flush(exporter);
    return NULL;
}

/* --- life --- */

static status metrics_make(otlp_exporter *exporter)
{
    static const char *const signal[] = {"signal", NULL}, *const reason[] = {"signal", "reason",
                                                                             NULL};
    metrics_family *exported, *dropped, *failing;
    const struct metrics_family_row rows[] = {
        {&exported,
         {METRICS_COUNTER, "penstock_otlp_exported_total",
          "Spans, and points of metrics, that the receiver has taken.", signal, NULL, 0, 0}},
        {&dropped,
         {METRICS_COUNTER, "penstock_otlp_dropped_total",
          "Spans, and points of metrics, that no receiver got; requests where the queue was full.",
          reason, NULL, 0, 0}},
        {&failing,
         {METRICS_GAUGE, "penstock_otlp_failing",
          "1 while the receiver did not take what was sent last.", signal, NULL, 0, 0}}};
    status result = metrics_families_create(exporter->options.metrics, rows, ARRAY_COUNT(rows));

    for (int i = 0; i < OTLP_SIGNAL_COUNT && result == STATUS_OK; i++) {
        exporter->exported[i] = metrics_series_get(exported, &otlp_signal_names[i]);
        exporter->failing[i] = metrics_series_get(failing, &otlp_signal_names[i]);
        for (int j = 0; j < DROP_COUNT; j++) {
            const char *const values[] = {otlp_signal_names[i], drop_names[j]};

            exporter->dropped[i][j] = metrics_series_get(dropped, values);
        }
    }
    return result;
}

/* "key=value" texts of the settings, cut in copies of them. */
static status attributes_make(otlp_exporter *exporter)
{
    const struct setting_list *list = &exporter->options.settings->resource_attributes;
    const char *const *rows = list->items;
    size_t bytes = 1;
    char *at;

    for (uint32_t i = 0; i < list->count; i++)
        bytes += strlen(rows[i]) + 1;
    at = exporter->attribute_texts = memory_allocate(bytes);
    if (at == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < list->count && i < RESOURCE_MAX; i++) {
        size_t length = strlen(rows[i]);
        char *sign;

        memcpy(at, rows[i], length + 1);
        sign = strchr(at, '=');
        if (sign == NULL) /* the config has been checked */
            continue;
        *sign = '\0';
        exporter->attributes[exporter->resource.attribute_count++] =
            (struct attribute){.key = at, .kind = ATTRIBUTE_TEXT, .text = sign + 1};
        at += length + 1;
    }
    return STATUS_OK;
}

static void resource_make(otlp_exporter *exporter)
{
    uint64_t random[2];

    if (gethostname(exporter->host, sizeof(exporter->host) - 1) != 0)
        exporter->host[0] = '\0';
    random_bytes(random, sizeof(random));
    (void)snprintf(exporter->instance, sizeof(exporter->instance), "%016llx%016llx",
                   (unsigned long long)random[0], (unsigned long long)random[1]);
    exporter->resource.service_name = exporter->options.settings->service_name;
    exporter->resource.service_version = PENSTOCK_VERSION;
    exporter->resource.service_instance = exporter->instance;
    exporter->resource.host_name = exporter->host;
    exporter->resource.attributes = exporter->attributes;
}

static status queues_make(otlp_exporter *exporter)
{
    uint32_t count = (uint32_t)exporter->options.settings->queue;
    status result = STATUS_OK;

    exporter->loops =
        memory_allocate_array(exporter->options.loop_count, sizeof(exporter->loops[0]));
    if (exporter->loops == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < exporter->options.loop_count && result == STATUS_OK; i++) {
        result = cell_ring_create(exporter->options.item_bytes, count, &exporter->loops[i].items);
        if (result == STATUS_OK)
            result = cell_ring_create(sizeof(struct genai_sample), count * SAMPLES_FACTOR,
                                      &exporter->loops[i].samples);
    }
    return result;
}

static status make(otlp_exporter *exporter, struct error_note *note)
{
    status result = queues_make(exporter);

    buffer_init(&exporter->batch.spans, BATCH_BYTES_MAX);
    buffer_init(&exporter->batch.request, BATCH_BYTES_MAX + (64u << 10));
    exporter->measured = memory_allocate_array(1, sizeof(*exporter->measured));
    if (result == STATUS_OK && exporter->measured == NULL)
        result = STATUS_NO_MEMORY;
    if (result == STATUS_OK)
        result = attributes_make(exporter);
    if (result == STATUS_OK)
        result = metrics_make(exporter);
    if (result == STATUS_OK)
        result = otlp_link_open(&exporter->link, exporter->options.settings, note);
    return result;
}

status otlp_exporter_create(const struct otlp_exporter_options *options, otlp_exporter **out,
                            struct error_note *note)
{
    otlp_exporter *exporter = memory_allocate_array(1, sizeof(*exporter));
    status result;

    if (exporter == NULL)
        return STATUS_NO_MEMORY;
    exporter->options = *options;
    result = make(exporter, note);
    if (result != STATUS_OK) {
        otlp_exporter_destroy(exporter);
        return result;
    }
    exporter->link.is_over = is_over;
    exporter->link.context = exporter;
    exporter->measured->start_ns = clock_wall_ms() * NS_PER_MS;
    resource_make(exporter);
    *out = exporter;
    return STATUS_OK;
}

status otlp_exporter_start(otlp_exporter *exporter)
{
    status result;

    exporter->metrics_due_ns = clock_now_ns() + exporter->options.settings->metrics_interval_ns;
    result = thread_start(&exporter->thread, "otlp", exporter_run, exporter);
    exporter->is_running = result == STATUS_OK;
    return result;
}

void otlp_exporter_stop(otlp_exporter *exporter)
{
    if (exporter == NULL || !exporter->is_running)
        return;
    atomic_store_explicit(&exporter->end_ns, clock_now_ns() + exporter->options.settings->flush_ns,
                          memory_order_relaxed);
    atomic_store_explicit(&exporter->is_stopping, true, memory_order_release);
    parking_signal(&exporter->parking);
    (void)pthread_join(exporter->thread, NULL);
    exporter->is_running = false;
}

void otlp_exporter_destroy(otlp_exporter *exporter)
{
    if (exporter == NULL)
        return;
    otlp_link_close(&exporter->link);
    for (uint32_t i = 0; exporter->loops != NULL && i < exporter->options.loop_count; i++) {
        cell_ring_destroy(exporter->loops[i].items);
        cell_ring_destroy(exporter->loops[i].samples);
    }
    memory_release(exporter->loops);
    memory_release(exporter->measured);
    memory_release(exporter->attribute_texts);
    buffer_deinit(&exporter->batch.spans);
    buffer_deinit(&exporter->batch.request);
    memory_release(exporter);
}
