/* From the loops to the disk
 *
 *   loop:   records_take <- free ring | cells never used yet        records_put -> full ring
 *                              ^                                                      |
 *   writer:                    +------ access log line, ledger row, audit count <-----+   every interval
 *
 * Each loop has its own cells and its own two rings, each with one writer and one reader. A cell that was given back goes out
 * before one that has never been used, so that the memory in use is what the load needs. The writer copies what the ledger
 * keeps and gives the cell back at once: a database that is locked or full fills the ledger's memory, never the rings. */
#include "records.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "access_log.h"
#include "audit_counts.h"
#include "check.h"
#include "clock.h"
#include "ledger.h"
#include "log.h"
#include "memory.h"
#include "ring.h"
#include "thread.h"

#define AREA       "gateway/records"
#define RETRY_NS   (1 * NS_PER_SECOND) /* after a ledger that could not be written */
#define PRUNE_NS   (60 * NS_PER_SECOND)
#define AUDIT_NS   (60 * NS_PER_SECOND) /* how long requests' causes are counted together */
#define WAKE_PARTS 2u                   /* the writer is woken when a ring is filled by one part */

enum stream { STREAM_ACCESS_LOG, STREAM_LEDGER, STREAM_AUDIT_LOG, STREAM_COUNT };
static const char *const stream_names[STREAM_COUNT] = {"access_log", "ledger", "audit_log"};

struct loop_records {
    struct request_record *cells; /* [cell_count], owned */
    uint32_t cell_count;
    uint32_t fresh;    /* the first that was never used; loop */
    uint64_t number;   /* of the last record put; loop */
    ring *free, *full; /* owned */
};

struct records {
    struct loop_records *loops; /* [loop_count], owned */
    uint32_t loop_count;
    uint64_t interval_ns;
    bool must_keep;
    char *access_log_path;    /* owned */
    access_log *access_log;   /* owned; NULL: none; the writer's */
    state_database *database; /* owned; NULL: none; the writer's */
    struct ledger *ledger;    /* owned; NULL: none; the writer's */
    const leader *leader;     /* borrowed */
    _Atomic bool ledger_is_full;
    struct audit_counts counts; /* the writer's */
    uint64_t retry_ns, prune_ns, audit_ns;

    pthread_mutex_t audit_lock;     /* of what follows */
    state_database *audit_database; /* owned; NULL: none */
    audit_log *audit;               /* owned; NULL: none */

    pthread_mutex_t question_lock; /* of the list */
    struct usage_question *questions, **question_tail;

    pthread_t writer;
    struct parking parking;
    bool is_running;
    _Atomic bool is_stopping, must_reopen;
    bool is_failing[STREAM_COUNT]; /* the writer's: each failure is logged once */
    metrics_series *dropped[STREAM_COUNT], *failing[STREAM_COUNT], *waiting;
};

/* --- loops --- */

bool records_has_access_log(const struct records *records)
{
    return records->access_log != NULL;
}

bool records_has_ledger(const struct records *records)
{
    return records->ledger != NULL;
}

bool records_has_audit_log(const struct records *records)
{
    return records->audit != NULL;
}

bool records_must_keep(const struct records *records)
{
    return records->must_keep;
}

bool records_have_room(const struct records *records)
{
    return !records->must_keep ||
           !atomic_load_explicit(&records->ledger_is_full, memory_order_relaxed);
}

struct request_record *records_take(struct records *records, uint32_t loop)
{
    struct loop_records *own = &records->loops[loop];
    struct request_record *record = ring_pop(own->free);

    if (record != NULL || own->fresh == own->cell_count)
        return record;
    return &own->cells[own->fresh++];
}

void records_put(struct records *records, uint32_t loop, struct request_record *record)
{
    struct loop_records *own = &records->loops[loop];
    status pushed;

    record->loop = loop;
    record->number = ++own->number;
    pushed = ring_push(own->full, record);
    CHECK(pushed == STATUS_OK); /* as many places as cells */
    if (ring_count(own->full) >= own->cell_count / WAKE_PARTS)
        parking_signal(&records->parking);
}

void records_give_back(struct records *records, uint32_t loop, struct request_record *record)
{
    status pushed = ring_push(records->loops[loop].free, record);

    CHECK(pushed == STATUS_OK);
}

void records_count_lost(struct records *records, bool is_metered)
{
    if (records->access_log != NULL)
        metrics_add(records->dropped[STREAM_ACCESS_LOG], 1);
    if (is_metered && records->ledger != NULL)
        metrics_add(records->dropped[STREAM_LEDGER], 1);
}

void records_reopen(struct records *records)
{
    atomic_store_explicit(&records->must_reopen, true, memory_order_release);
    parking_signal(&records->parking);
}

status records_ask(struct records *records, struct usage_question *question)
{
    if (records->ledger == NULL)
        return STATUS_UNSUPPORTED;
    question->next = NULL;
    CHECK(pthread_mutex_lock(&records->question_lock) == 0);
    *records->question_tail = question;
    records->question_tail = &question->next;
    CHECK(pthread_mutex_unlock(&records->question_lock) == 0);
    parking_signal(&records->parking);
    return STATUS_OK;
}

/* --- audit --- */

status records_audit(struct records *records, const struct audit_event *event,
                     struct error_note *note)
{
    status result = STATUS_OK;

    CHECK(pthread_mutex_lock(&records->audit_lock) == 0);
    if (records->audit != NULL)
        result = audit_log_append(records->audit, event, clock_wall_ms(), note);
    CHECK(pthread_mutex_unlock(&records->audit_lock) == 0);
    if (records->audit != NULL)
        metrics_set(records->failing[STREAM_AUDIT_LOG], result != STATUS_OK);
    return result == STATUS_OK ? STATUS_OK : STATUS_IO;
}

/* --- the writer --- */

/* Told once, until it works again. */
static void outcome(struct records *records, enum stream stream, status result,
                    const struct error_note *note)
{
    bool is_failing = result != STATUS_OK;

    if (is_failing && !records->is_failing[stream])
        log_error(AREA, "the %s cannot be written: %s", stream_names[stream],
                  note->text[0] != '\0' ? note->text : status_name(result));
    else if (!is_failing && records->is_failing[stream])
        log_info(AREA, "the %s is written again", stream_names[stream]);
    records->is_failing[stream] = is_failing;
    metrics_set(records->failing[stream], is_failing);
}

static void record_take_in(struct records *records, const struct request_record *record)
{
    if (records->access_log != NULL)
        access_log_add(records->access_log, record);
    if (records->ledger != NULL && record->is_metered) {
        bool has_room = records->must_keep || !ledger_is_full(records->ledger);

        if (!has_room || ledger_add(records->ledger, record) != STATUS_OK)
            metrics_add(records->dropped[STREAM_LEDGER], 1);
    }
    if (records->audit != NULL && record->audit_action != NULL)
        audit_counts_add(&records->counts, record);
}

static void rings_drain(struct records *records)
{
    for (uint32_t i = 0; i < records->loop_count; i++) {
        struct loop_records *own = &records->loops[i];

        /* No more than it can hold: the others have their turn too. */
        for (uint32_t j = 0; j < own->cell_count; j++) {
            struct request_record *record = ring_pop(own->full);

            if (record == NULL)
                break;
            record_take_in(records, record);
            records_give_back(records, i, record);
        }
    }
}

static void access_log_write(struct records *records)
{
    struct error_note note = {"the disk or the reader does not take it"};
    uint64_t lost;

    if (records->access_log == NULL)
        return;
    if (access_log_flush(records->access_log, &lost))
        outcome(records, STREAM_ACCESS_LOG, lost > 0 ? STATUS_IO : STATUS_OK, &note);
    if (lost > 0)
        metrics_add(records->dropped[STREAM_ACCESS_LOG], (double)lost);
    if (atomic_exchange_explicit(&records->must_reopen, false, memory_order_acquire))
        outcome(records, STREAM_ACCESS_LOG, access_log_reopen(records->access_log, &note), &note);
}

static void ledger_write(struct records *records, uint64_t now_ns)
{
    struct error_note note = {""};
    status result = STATUS_OK;

    if (records->ledger == NULL)
        return;
    if (now_ns >= records->retry_ns) {
        result = ledger_flush(records->ledger, &note);
        outcome(records, STREAM_LEDGER, result, &note);
        if (result != STATUS_OK)
            records->retry_ns = clock_now_ns() + RETRY_NS;
    }
    if (result == STATUS_OK && now_ns >= records->prune_ns && leader_is(records->leader, now_ns)) {
        if (ledger_prune(records->ledger, clock_wall_ms() / 1000, &note) != STATUS_OK)
            log_warn(AREA, "old rows of the ledger cannot be deleted: %s", note.text);
        records->prune_ns = now_ns + PRUNE_NS;
    }
    metrics_set(records->waiting, ledger_waiting_count(records->ledger));
    atomic_store_explicit(&records->ledger_is_full, ledger_is_full(records->ledger),
                          memory_order_relaxed);
}

static status count_write(void *context, const struct audit_count *count)
{
    struct records *records = context;
    struct error_note note = {""};
    char detail[64];
    struct audit_event event = {count->actor, count->action, count->object, detail};
    status result;

    (void)snprintf(detail, sizeof(detail), "%llu within a minute",
                   (unsigned long long)count->count);
    result = records_audit(records, &event, &note);
    outcome(records, STREAM_AUDIT_LOG, result, &note);
    return result;
}

static void counts_write(struct records *records, uint64_t now_ns)
{
    if (now_ns < records->audit_ns)
        return;
    records->audit_ns = now_ns + AUDIT_NS;
    if (audit_counts_flush(&records->counts, count_write, records) != STATUS_OK)
        return; /* told by count_write; they are kept */
}

static void questions_answer(struct records *records)
{
    struct usage_question *next;

    CHECK(pthread_mutex_lock(&records->question_lock) == 0);
    next = records->questions;
    records->questions = NULL;
    records->question_tail = &records->questions;
    CHECK(pthread_mutex_unlock(&records->question_lock) == 0);
    while (next != NULL) {
        struct usage_question *question = next;

        next = question->next;
        question->result = usage_write(records->database, question->query, question->format,
                                       &question->out, &question->note);
        question->done(question);
    }
}

static void *writer_run(void *context)
{
    struct records *records = context;
    bool is_last = false;

    while (!is_last) {
        uint32_t ticket = parking_prepare(&records->parking);
        uint64_t now_ns = clock_now_ns();

        is_last = atomic_load_explicit(&records->is_stopping, memory_order_acquire);
        if (is_last)
            records->retry_ns = records->audit_ns = 0; /* once more, whatever was before */
        rings_drain(records);
        access_log_write(records);
        ledger_write(records, now_ns);
        counts_write(records, now_ns);
        questions_answer(records);
        if (is_last)
            parking_cancel(&records->parking);
        else
            parking_wait(&records->parking, ticket, records->interval_ns);
    }
    return NULL;
}

/* --- life --- */

static status metrics_make(struct records *records, metrics_registry *registry)
{
    static const char *const labels[] = {"stream", NULL};
    const struct metrics_family_options options[] = {
        {METRICS_COUNTER, "penstock_records_dropped_total",
         "Access log lines and ledger rows that found no room.", labels, NULL, 0, 0},
        {METRICS_GAUGE, "penstock_records_failing",
         "1 while the last write of the stream has failed.", labels, NULL, 0, 0},
        {METRICS_GAUGE, "penstock_ledger_waiting_rows",
         "Rows that wait in memory for the ledger's database.", NULL, NULL, 0, 0}};
    metrics_family *families[ARRAY_COUNT(options)];

    for (size_t i = 0; i < ARRAY_COUNT(options); i++) {
        status result = metrics_family_create(registry, &options[i], &families[i]);

        if (result != STATUS_OK)
            return result;
    }
    for (int i = 0; i < STREAM_COUNT; i++) {
        records->dropped[i] = metrics_series_get(families[0], &stream_names[i]);
        records->failing[i] = metrics_series_get(families[1], &stream_names[i]);
    }
    records->waiting = metrics_series_get(families[2], NULL);
    return STATUS_OK;
}

static bool is_on(const struct records *records)
{
    return records->access_log != NULL || records->ledger != NULL || records->audit != NULL;
}

static status loops_make(struct records *records, uint32_t cell_count)
{
    for (uint32_t i = 0; i < records->loop_count; i++) {
        struct loop_records *own = &records->loops[i];
        status result = ring_create(cell_count, &own->free);

        if (result == STATUS_OK)
            result = ring_create(cell_count, &own->full);
        if (result != STATUS_OK)
            return result;
        own->cells = memory_allocate_array(cell_count, sizeof(own->cells[0]));
        if (own->cells == NULL)
            return STATUS_NO_MEMORY;
        own->cell_count = cell_count;
    }
    return STATUS_OK;
}

static status access_log_make(struct records *records, const char *target, struct error_note *note)
{
    size_t bytes = strlen(target) + 1;

    if (strcmp(target, "off") == 0)
        return STATUS_OK;
    records->access_log_path = memory_allocate(bytes);
    if (records->access_log_path == NULL)
        return STATUS_NO_MEMORY;
    memcpy(records->access_log_path, target, bytes);
    return access_log_open(records->access_log_path, &records->access_log, note);
}

static status ledger_make(struct records *records, const struct config *config,
                          struct error_note *note)
{
    const struct config_records *settings = &config->records;
    char files[2][PATH_MAX];
    /* Beside SQLite's file it would wait on the disk that is full. Gateways that hand over to each other live at the same time
     * for a while: there are two, and each takes the one that is free. */
    bool has_file = config->state.postgres[0] != '\0' &&
                    state_spool_path(&config->state, "ledger", files[0], sizeof(files[0])) &&
                    state_spool_path(&config->state, "ledger-1", files[1], sizeof(files[1]));
    const struct ledger_options options = {
        .file = has_file ? files[0] : NULL,
        .other_file = files[1],
        .leader = records->leader,
        .memory_max = (uint32_t)settings->ledger_memory,
        .extra_max = records->must_keep ? records->loop_count * (uint32_t)settings->queue : 0,
        .keep_requests_s = settings->keep_requests_ns / NS_PER_SECOND,
        .keep_hours_s = settings->keep_hours_ns / NS_PER_SECOND,
    };
    status result;

    if (!settings->ledger || !config_keeps_state(&config->state))
        return STATUS_OK;
    result = state_database_open_waiting(&config->state, &records->database, note);
    if (result == STATUS_OK)
        result = ledger_create(&options, records->database, &records->ledger, note);
    return result;
}

static status audit_make(struct records *records, const struct config *config,
                         struct error_note *note)
{
    status result = STATUS_OK;

    if (config->records.audit_log[0] == '\0')
        return STATUS_OK;
    if (config_keeps_state(&config->state))
        result = state_database_open_waiting(&config->state, &records->audit_database, note);
    if (result == STATUS_OK)
        result = audit_log_open(config->records.audit_log, records->audit_database, &records->audit,
                                note);
    return result;
}

status records_open(const struct config *config, uint32_t loop_count, metrics_registry *metrics,
                    const leader *who_leads, struct records **out, struct error_note *note)
{
    struct records *records = memory_allocate_array(1, sizeof(*records));
    status result = STATUS_OK;

    if (records == NULL)
        return STATUS_NO_MEMORY;
    CHECK(pthread_mutex_init(&records->audit_lock, NULL) == 0);
    CHECK(pthread_mutex_init(&records->question_lock, NULL) == 0);
    records->question_tail = &records->questions;
    records->interval_ns = config->records.interval_ns;
    records->must_keep = config->records.ledger && config_keeps_state(&config->state) &&
                         config->records.ledger_full == LEDGER_FULL_REFUSE;
    records->loop_count = loop_count;
    records->leader = who_leads;
    records->loops = memory_allocate_array(loop_count, sizeof(records->loops[0]));
    if (records->loops == NULL)
        result = STATUS_NO_MEMORY;
    if (result == STATUS_OK)
        result = metrics_make(records, metrics);
    if (result == STATUS_OK)
        result = access_log_make(records, config->records.access_log, note);
    if (result == STATUS_OK)
        result = ledger_make(records, config, note);
    if (result == STATUS_OK)
        result = audit_make(records, config, note);
    if (result == STATUS_OK && is_on(records))
        result = loops_make(records, (uint32_t)config->records.queue);
    if (result != STATUS_OK) {
        records_close(records);
        return result;
    }
    *out = records;
    return STATUS_OK;
}

status records_start(struct records *records)
{
    status result = STATUS_OK;

    if (!is_on(records))
        return STATUS_OK;
    records->audit_ns = clock_now_ns() + AUDIT_NS;
    result = thread_start(&records->writer, "records", writer_run, records);
    records->is_running = result == STATUS_OK;
    return result;
}

void records_stop(struct records *records)
{
    if (records == NULL || !records->is_running)
        return;
    atomic_store_explicit(&records->is_stopping, true, memory_order_release);
    parking_signal(&records->parking);
    (void)pthread_join(records->writer, NULL);
    records->is_running = false;
    if (records->ledger != NULL && ledger_waiting_count(records->ledger) > 0)
        log_error(AREA, "%u rows of the ledger could not be written and %s",
                  ledger_waiting_count(records->ledger),
                  ledger_has_file(records->ledger) ? "wait for the next start" : "are lost");
}

void records_close(struct records *records)
{
    if (records == NULL)
        return;
    for (uint32_t i = 0; records->loops != NULL && i < records->loop_count; i++) {
        ring_destroy(records->loops[i].free);
        ring_destroy(records->loops[i].full);
        memory_release(records->loops[i].cells);
    }
    memory_release(records->loops);
    access_log_close(records->access_log);
    memory_release(records->access_log_path);
    ledger_destroy(records->ledger);
    state_database_close(records->database);
    audit_log_close(records->audit);
    state_database_close(records->audit_database);
    (void)pthread_mutex_destroy(&records->audit_lock);
    (void)pthread_mutex_destroy(&records->question_lock);
    memory_release(records);
}
