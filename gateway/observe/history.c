/* The thread sleeps until something is put or asked. What is put stands in a list under a lock that is held for as long as it takes to
 * hang one in; each is one transaction, its minute's and its hour's rows together. What cannot be written is logged once, waits in memory, and is tried again when the next comes. */
#include "history.h"

#include <pthread.h>
#include <string.h>

#include "anomaly_watch.h"
#include "check.h"
#include "clock.h"
#include "history_json.h"
#include "history_store.h"
#include "log.h"
#include "memory.h"
#include "thread.h"

#define AREA    "gateway/observe"
#define PRUNE_S 600 /* between two removals of old rows */

struct history_put {
    struct history_put *next;
    int64_t minute_s, at_s;
    struct history_row rows[]; /* [model_count + 1] */
};

struct history {
    struct config_history settings;
    history_store *store;       /* owned; the thread's while it runs */
    struct anomaly_watch watch; /* the thread's while it runs */
    uint32_t model_count;
    pthread_t thread;
    bool is_running;             /* main */
    struct history_put *pending; /* taken and not written yet, the oldest first; the thread's */
    int64_t prune_s;             /* when old rows go next; the thread's */
    bool has_failed;             /* which was logged; the thread's */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    /* Under the lock */
    struct history_put *puts, **puts_tail;
    uint32_t put_count; /* of those and the pending ones */
    bool has_lost;      /* which was logged */
    struct history_question *questions, **questions_tail;
    bool is_over;
};

/* --- life --- */

status history_open(const struct history_options *options, history **out, struct error_note *note)
{
    history *made = memory_allocate_array(1, sizeof(*made));
    status result;

    if (made == NULL)
        return STATUS_NO_MEMORY;
    made->settings = options->settings;
    made->model_count = options->model_count;
    made->puts_tail = &made->puts;
    made->questions_tail = &made->questions;
    (void)pthread_mutex_init(&made->lock, NULL);
    (void)pthread_cond_init(&made->wake, NULL);
    result = anomaly_watch_init(&made->watch, options);
    if (result == STATUS_OK)
        result = history_store_open(options->path, &made->store, note);
    if (result == STATUS_OK)
        result =
            anomaly_watch_load(&made->watch, made->store, (int64_t)(clock_wall_ms() / 1000), note);
    if (result != STATUS_OK) {
        history_close(made);
        return result;
    }
    *out = made;
    return STATUS_OK;
}

void history_close(history *closed)
{
    if (closed == NULL)
        return;
    anomaly_watch_deinit(&closed->watch);
    history_store_close(closed->store);
    (void)pthread_cond_destroy(&closed->wake);
    (void)pthread_mutex_destroy(&closed->lock);
    memory_release(closed);
}

/* --- writing --- */

static status old_remove(history *own, int64_t now_s, struct error_note *note)
{
    int64_t minutes_s = (int64_t)(own->settings.keep_minutes_ns / NS_PER_SECOND),
            hours_s = (int64_t)(own->settings.keep_hours_ns / NS_PER_SECOND);

    if (now_s < own->prune_s)
        return STATUS_OK;
    own->prune_s = now_s + PRUNE_S;
    return history_store_prune(own->store, now_s - minutes_s, now_s - hours_s, note);
}

static status put_write(history *own, const struct history_put *put, struct error_note *note)
{
    status result = history_store_begin(own->store, note);

    if (result != STATUS_OK)
        return result;
    for (uint32_t i = 0; i <= own->model_count && result == STATUS_OK; i++) {
        const char *model = i < own->model_count ? own->watch.models[i].name : HISTORY_FREE_SLICES;

        if (!history_row_is_empty(&put->rows[i]))
            result = history_store_add(own->store, model, put->minute_s, &put->rows[i], note);
    }
    if (result == STATUS_OK)
        result = old_remove(own, put->at_s, note);
    if (result != STATUS_OK) {
        history_store_roll_back(own->store);
        return result;
    }
    return history_store_commit(own->store, note);
}

/* Apart from the rows, which must not be lost for its sake. */
static status put_judge(history *own, const struct history_put *put, struct error_note *note)
{
    status result = history_store_begin(own->store, note);

    if (result != STATUS_OK)
        return result;
    result = anomaly_watch_add(&own->watch, own->store, put->at_s, put->rows, note);
    if (result != STATUS_OK) {
        history_store_roll_back(own->store);
        return result;
    }
    return history_store_commit(own->store, note);
}

/* False: it could not be written. */
static bool put_take(history *own, const struct history_put *put, bool is_last)
{
    struct error_note note = {""};

    if (put_write(own, put, &note) != STATUS_OK) {
        if (is_last || !own->has_failed)
            log_error(AREA, "%s; %s", note.text,
                      is_last ? "the rest is lost" : "it is tried again");
        own->has_failed = true;
        return false;
    }
    own->has_failed = false;
    if (put_judge(own, put, &note) != STATUS_OK)
        log_error(AREA, "what the anomaly detection has seen is not kept: %s", note.text);
    return true;
}

/* At the end what one could not be written for, the others could not either: each might wait for a disk or a lock as long as it did. */
static void pending_take(history *own, bool is_last)
{
    uint32_t done = 0;
    bool is_good = true;

    while (own->pending != NULL) {
        struct history_put *put = own->pending;

        is_good = is_good && put_take(own, put, is_last);
        if (!is_good && !is_last)
            break;
        own->pending = put->next;
        memory_release(put);
        done++;
    }
    pthread_mutex_lock(&own->lock);
    own->put_count -= done;
    pthread_mutex_unlock(&own->lock);
}

static void pending_append(history *own, struct history_put *puts)
{
    struct history_put **tail = &own->pending;

    while (*tail != NULL)
        tail = &(*tail)->next;
    *tail = puts;
}

void history_put(history *own, int64_t minute_s, const struct history_row *rows)
{
    size_t bytes = ((size_t)own->model_count + 1) * sizeof(rows[0]);
    struct history_put *put = memory_allocate(sizeof(*put) + bytes);
    bool is_lost = put == NULL, is_news = false;

    pthread_mutex_lock(&own->lock);
    if (!is_lost && own->put_count < HISTORY_PUTS_MAX && !own->is_over) {
        put->next = NULL;
        put->minute_s = minute_s;
        put->at_s = (int64_t)(clock_wall_ms() / 1000);
        memcpy(put->rows, rows, bytes);
        *own->puts_tail = put;
        own->puts_tail = &put->next;
        own->put_count++;
        own->has_lost = false;
        put = NULL;
        (void)pthread_cond_signal(&own->wake);
    } else {
        is_news = !own->has_lost;
        own->has_lost = true;
    }
    pthread_mutex_unlock(&own->lock);
    memory_release(put);
    if (is_news)
        log_error(AREA, "a part of the history is lost: its file is not written fast enough");
}

/* --- answering --- */

static void question_answer(history *own, struct history_question *question)
{
    struct error_note note = {""};

    if (question->query.topic == HISTORY_ANOMALIES) {
        anomaly_watch_write(&own->watch, &question->out);
        question->result = question->out.failed;
    } else {
        question->result = history_rows_write(own->store, &question->query, &question->out, &note);
    }
    if (question->result == STATUS_IO)
        log_error(AREA, "%s", note.text);
    question->done(question);
}

status history_ask(history *own, struct history_question *question)
{
    status result = STATUS_OK;

    question->next = NULL;
    pthread_mutex_lock(&own->lock);
    if (own->is_over) {
        result = STATUS_CLOSED;
    } else {
        *own->questions_tail = question;
        own->questions_tail = &question->next;
        (void)pthread_cond_signal(&own->wake);
    }
    pthread_mutex_unlock(&own->lock);
    return result;
}

/* --- the thread --- */

static void *history_run(void *context)
{
    history *own = context;
    bool is_over = false;

    while (!is_over) {
        struct history_put *puts;
        struct history_question *question, *next;

        pthread_mutex_lock(&own->lock);
        while (own->puts == NULL && own->questions == NULL && !own->is_over)
            (void)pthread_cond_wait(&own->wake, &own->lock);
        puts = own->puts;
        question = own->questions;
        own->puts = NULL;
        own->puts_tail = &own->puts;
        own->questions = NULL;
        own->questions_tail = &own->questions;
        is_over = own->is_over;
        pthread_mutex_unlock(&own->lock);
        pending_append(own, puts);
        pending_take(own, is_over);
        for (; question != NULL; question = next) {
            next = question->next; /* whoever asked may free it */
            question_answer(own, question);
        }
    }
    return NULL;
}

status history_start(history *own)
{
    status result = thread_start(&own->thread, "history", history_run, own);

    own->is_running = result == STATUS_OK;
    return result;
}

void history_stop(history *own)
{
    if (own == NULL || !own->is_running)
        return;
    pthread_mutex_lock(&own->lock);
    own->is_over = true;
    (void)pthread_cond_signal(&own->wake);
    pthread_mutex_unlock(&own->lock);
    (void)pthread_join(own->thread, NULL);
    own->is_running = false;
}
