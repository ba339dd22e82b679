/* Orders wait in one list. One that the member could not be asked about goes to the list's end with a time before which it is not
 * tried again, so that it keeps no other waiting for longer than its own call takes.
 *
 *      start -> [ waits ] -> runs --definite--> STARTED
 *                  ^          |
 *                  +--asked again later
 *
 * A stop that comes while its order waits takes its place; one that comes while its order runs waits
 * behind it, as there is one worker, and the order is not tried again then: it would start what was stopped.
 *
 * Nothing that a driver tells is lost: where there is no memory for it, its thread waits until there is. An owner that misses the end of
 * a replica or of a list would be wrong for ever. */
#include "member_runner.h"

#include <stdatomic.h>
#include <time.h>

#include "check.h"
#include "clock.h"
#include "log.h"
#include "member_event.h"
#include "memory.h"
#include "thread.h"

struct task {
    struct task *next;
    uint64_t uid;
    struct member_order *order; /* owned; NULL: to be stopped */
    uint64_t grace_ns;
    uint64_t not_before_ns, wait_ns;
    bool is_replaced; /* a stop came while it ran: not to be tried again */
};

#define MEMORY_WAIT_NS                                                                             \
    (100 * NS_PER_MS) /* between looks for memory: short for people, no burden for a machine */

struct member_runner {
    struct member_runner_options options;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* of the monotonic clock: tasks, room for events, the end */
    struct member_event *first, **last;
    uint32_t event_count;
    struct task *tasks, **tasks_last;
    struct task *running; /* by the worker; NULL: none */
    uint32_t task_count;  /* with the one that runs */
    _Atomic bool is_stopping;
    bool has_watcher, has_worker;
    pthread_t watcher, worker;
};

/* --- waiting --- */

/* With the lock; returns at the time, at a change, or at the end. */
static void wait_until(struct member_runner *runner, uint64_t until_ns)
{
    const struct timespec at = {(time_t)(until_ns / NS_PER_SECOND),
                                (long)(until_ns % NS_PER_SECOND)};

    if (until_ns == UINT64_MAX)
        (void)pthread_cond_wait(&runner->changed, &runner->lock);
    else
        (void)pthread_cond_timedwait(&runner->changed, &runner->lock, &at);
}

/* Without the lock. */
static void wait_for(struct member_runner *runner, uint64_t wait_ns)
{
    uint64_t until_ns = clock_now_ns() + wait_ns;

    (void)pthread_mutex_lock(&runner->lock);
    while (!runner->is_stopping && clock_now_ns() < until_ns)
        wait_until(runner, until_ns);
    (void)pthread_mutex_unlock(&runner->lock);
}

static uint64_t wait_longer(const struct member_runner *runner, uint64_t wait_ns)
{
    if (wait_ns == 0)
        return runner->options.retry_first_ns;
    return wait_ns < runner->options.retry_max_ns / 2 ? wait_ns * 2 : runner->options.retry_max_ns;
}

/* There is no memory for what the driver tells. False: the runner ends, it need not be told any more. */
static bool wait_for_memory(struct member_runner *runner, bool *is_logged)
{
    if (!*is_logged)
        log_error("scheduler", "member %s: out of memory: what it tells waits",
                  runner->options.name);
    *is_logged = true;
    wait_for(runner, MEMORY_WAIT_NS);
    return !runner->is_stopping;
}

/* --- events --- */

static void event_put(struct member_runner *runner, struct member_event *event)
{
    bool is_first;

    event->next = NULL;
    event->at_ns = clock_now_ns();
    (void)pthread_mutex_lock(&runner->lock);
    while (runner->event_count >= runner->options.events_max && !runner->is_stopping)
        (void)pthread_cond_wait(&runner->changed, &runner->lock);
    is_first = runner->event_count == 0;
    *runner->last = event;
    runner->last = &event->next;
    runner->event_count++;
    (void)pthread_mutex_unlock(&runner->lock);
    if (is_first)
        runner->options.wake(runner->options.context);
}

static void text_put(struct member_runner *runner, enum member_event_kind kind, uint64_t uid,
                     status result, const char *text)
{
    struct member_event *event;
    bool is_logged = false;

    do {
        event = member_event_text(kind, uid, result, text);
    } while (event == NULL && wait_for_memory(runner, &is_logged));
    if (event != NULL)
        event_put(runner, event);
}

static void sink_list_begin(void *context)
{
    text_put(context, MEMBER_EVENT_LIST_BEGIN, 0, STATUS_OK, "");
}

static void sink_slice(void *context, const struct slice_report *report)
{
    struct member_event *event;
    bool is_logged = false;

    do {
        event = member_event_slice(report);
    } while (event == NULL && wait_for_memory(context, &is_logged));
    if (event != NULL)
        event_put(context, event);
}

static void sink_slice_gone(void *context, const char *id)
{
    text_put(context, MEMBER_EVENT_SLICE_GONE, 0, STATUS_OK, id);
}

static void sink_list_end(void *context)
{
    text_put(context, MEMBER_EVENT_LIST_END, 0, STATUS_OK, "");
}

static void sink_heard(void *context)
{
    text_put(context, MEMBER_EVENT_HEARD, 0, STATUS_OK, "");
}

static void sink_resync(void *context)
{
    text_put(context, MEMBER_EVENT_RESYNC, 0, STATUS_OK, "");
}

static void sink_replica(void *context, const struct member_replica *replica)
{
    struct member_event *event;
    bool is_logged = false;

    do {
        event = member_event_replica(replica);
    } while (event == NULL && wait_for_memory(context, &is_logged));
    if (event != NULL)
        event_put(context, event);
}

static void sink_replicas_listed(void *context)
{
    text_put(context, MEMBER_EVENT_REPLICAS_LISTED, 0, STATUS_OK, "");
}

struct member_event *member_runner_take(struct member_runner *runner)
{
    struct member_event *first;

    (void)pthread_mutex_lock(&runner->lock);
    first = runner->first;
    runner->first = NULL;
    runner->last = &runner->first;
    runner->event_count = 0;
    (void)pthread_cond_broadcast(&runner->changed);
    (void)pthread_mutex_unlock(&runner->lock);
    return first;
}

/* --- the watcher --- */

static void *watch(void *context)
{
    struct member_runner *runner = context;
    const struct member_driver *driver = &runner->options.driver;
    const struct member_sink sink = {sink_list_begin, sink_slice,           sink_slice_gone,
                                     sink_list_end,   sink_heard,           sink_resync,
                                     sink_replica,    sink_replicas_listed, runner};
    uint64_t wait_ns = 0;

    while (!runner->is_stopping) {
        struct error_note note = {""};
        uint64_t begin_ns = clock_now_ns();
        status result = driver->follow(driver->driver, &sink, &runner->is_stopping, &note);

        if (runner->is_stopping)
            break;
        /* One that held for long breaks off for a reason of its own. */
        if (clock_now_ns() - begin_ns > runner->options.retry_max_ns)
            wait_ns = 0;
        text_put(runner, MEMBER_EVENT_BROKEN, 0, result, note.text);
        wait_ns = wait_longer(runner, wait_ns);
        wait_for(runner, wait_ns);
    }
    return NULL;
}

/* --- the worker --- */

static void task_free(struct task *task)
{
    memory_release(task->order);
    memory_release(task);
}

/* With the lock. */
static void task_append(struct member_runner *runner, struct task *task)
{
    task->next = NULL;
    *runner->tasks_last = task;
    runner->tasks_last = &task->next;
}

/* With the lock: the first that is due; NULL: none is, and when to look again. */
static struct task *task_take(struct member_runner *runner, uint64_t *until_ns)
{
    uint64_t now_ns = clock_now_ns();
    struct task **link = &runner->tasks;

    *until_ns = UINT64_MAX;
    for (struct task *task = *link; task != NULL; link = &task->next, task = *link) {
        if (task->not_before_ns <= now_ns) {
            *link = task->next;
            if (*link == NULL)
                runner->tasks_last = link;
            return task;
        }
        *until_ns = task->not_before_ns < *until_ns ? task->not_before_ns : *until_ns;
    }
    return NULL;
}

/* With the lock: what is waiting for `uid`, taken out; NULL: nothing. */
static struct task *task_find(struct member_runner *runner, uint64_t uid)
{
    struct task **link = &runner->tasks;

    for (struct task *task = *link; task != NULL; link = &task->next, task = *link) {
        if (task->uid != uid)
            continue;
        *link = task->next;
        if (*link == NULL)
            runner->tasks_last = link;
        return task;
    }
    return NULL;
}

static bool is_definite(status result)
{
    return result != STATUS_CLOSED && result != STATUS_TIMEOUT && result != STATUS_AGAIN;
}

/* Without the lock. */
static status task_do(struct member_runner *runner, const struct task *task,
                      struct error_note *note)
{
    const struct member_driver *driver = &runner->options.driver;
    status result = task->order != NULL
                        ? driver->start(driver->driver, task->order, note)
                        : driver->stop(driver->driver, task->uid, task->grace_ns, note);

    /* One that asks to be asked later has done nothing wrong. */
    if (result != STATUS_OK)
        log_write(result == STATUS_AGAIN ? LOG_INFO : LOG_WARN, "scheduler",
                  "member %s: %s of %016llx: %s: %s", runner->options.name,
                  task->order != NULL ? "start" : "stop", (unsigned long long)task->uid,
                  status_name(result), note->text);
    return result;
}

/* With the lock: whether it is over, with what became of it; else it waits to be tried again. */
static bool task_settle(struct member_runner *runner, struct task *task, status result)
{
    bool is_done = task->order != NULL ? is_definite(result) : result == STATUS_OK;

    runner->running = NULL;
    if (is_done || task->is_replaced) {
        runner->task_count--;
        return true;
    }
    task->wait_ns = wait_longer(runner, task->wait_ns);
    task->not_before_ns = clock_now_ns() + task->wait_ns;
    task_append(runner, task);
    return false;
}

/* Without the lock, and when the task counts no more: who is told finds things as they are. */
static void task_tell(struct member_runner *runner, const struct task *task, status result,
                      const char *text)
{
    if (task->order != NULL && is_definite(result))
        text_put(runner, MEMBER_EVENT_STARTED, task->uid, result, text);
    else if (task->order == NULL && result == STATUS_OK)
        text_put(runner, MEMBER_EVENT_STOPPED, task->uid, result, "");
}

static void *work(void *context)
{
    struct member_runner *runner = context;

    (void)pthread_mutex_lock(&runner->lock);
    while (!runner->is_stopping) {
        uint64_t until_ns;
        struct error_note note = {""};
        struct task *task = task_take(runner, &until_ns);
        status result;

        if (task == NULL) {
            wait_until(runner, until_ns);
            continue;
        }
        runner->running = task;
        (void)pthread_mutex_unlock(&runner->lock);
        result = task_do(runner, task, &note);
        (void)pthread_mutex_lock(&runner->lock);
        if (!task_settle(runner, task, result))
            continue;
        (void)pthread_mutex_unlock(&runner->lock);
        task_tell(runner, task, result, note.text);
        task_free(task);
        (void)pthread_mutex_lock(&runner->lock);
    }
    (void)pthread_mutex_unlock(&runner->lock);
    return NULL;
}

status member_runner_start(struct member_runner *runner, const struct member_order *order)
{
    struct task *task = memory_allocate_array(1, sizeof(*task));
    struct member_order *copy = member_order_copy(order);

    if (task == NULL || copy == NULL) {
        memory_release(task);
        memory_release(copy);
        return STATUS_NO_MEMORY;
    }
    task->uid = order->uid;
    task->order = copy;
    (void)pthread_mutex_lock(&runner->lock);
    task_append(runner, task);
    runner->task_count++;
    (void)pthread_cond_broadcast(&runner->changed);
    (void)pthread_mutex_unlock(&runner->lock);
    return STATUS_OK;
}

/* With the lock: `task` takes the place of all that waits for its uid. False: it is not needed, as nothing had been begun. */
static bool stop_put(struct member_runner *runner, struct task *task)
{
    bool is_found = false, is_begun = false;

    for (struct task *before; (before = task_find(runner, task->uid)) != NULL;) {
        is_found = true;
        /* An order that was tried may be there by now. */
        is_begun |= before->order == NULL || before->wait_ns > 0;
        runner->task_count--;
        task_free(before);
    }
    if (runner->running != NULL && runner->running->uid == task->uid) {
        runner->running->is_replaced = true;
        is_begun = true;
    }
    if (is_found && !is_begun)
        return false;
    task_append(runner, task);
    runner->task_count++;
    (void)pthread_cond_broadcast(&runner->changed);
    return true;
}

status member_runner_stop(struct member_runner *runner, uint64_t uid, uint64_t grace_ns)
{
    struct task *task = memory_allocate_array(1, sizeof(*task));
    bool is_put;

    if (task == NULL)
        return STATUS_NO_MEMORY;
    *task = (struct task){.uid = uid, .grace_ns = grace_ns};
    (void)pthread_mutex_lock(&runner->lock);
    is_put = stop_put(runner, task);
    (void)pthread_mutex_unlock(&runner->lock);
    if (is_put)
        return STATUS_OK;
    task_free(task);
    return STATUS_NOT_FOUND;
}

uint32_t member_runner_backlog(struct member_runner *runner)
{
    uint32_t count;

    (void)pthread_mutex_lock(&runner->lock);
    count = runner->task_count;
    (void)pthread_mutex_unlock(&runner->lock);
    return count;
}

/* --- life --- */

static status threads_start(struct member_runner *runner)
{
    pthread_condattr_t attributes;

    if (pthread_condattr_init(&attributes) != 0)
        return STATUS_IO;
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    if (pthread_mutex_init(&runner->lock, NULL) != 0 ||
        pthread_cond_init(&runner->changed, &attributes) != 0)
        return STATUS_IO;
    (void)pthread_condattr_destroy(&attributes);
    runner->has_watcher =
        thread_start(&runner->watcher, "member-watch", watch, runner) == STATUS_OK;
    runner->has_worker = runner->has_watcher &&
                         thread_start(&runner->worker, "member-work", work, runner) == STATUS_OK;
    return runner->has_worker ? STATUS_OK : STATUS_IO;
}

status member_runner_create(const struct member_runner_options *options, struct member_runner **out)
{
    struct member_runner *runner = memory_allocate_array(1, sizeof(*runner));
    status result;

    CHECK(options->retry_first_ns > 0 && options->events_max > 0);
    if (runner == NULL) {
        options->driver.destroy(options->driver.driver);
        return STATUS_NO_MEMORY;
    }
    runner->options = *options;
    runner->last = &runner->first;
    runner->tasks_last = &runner->tasks;
    result = threads_start(runner);
    if (result != STATUS_OK) {
        member_runner_destroy(runner);
        return result;
    }
    *out = runner;
    return STATUS_OK;
}

void member_runner_end(struct member_runner *runner)
{
    const struct member_driver *driver = &runner->options.driver;

    (void)pthread_mutex_lock(&runner->lock);
    runner->is_stopping = true;
    (void)pthread_cond_broadcast(&runner->changed);
    (void)pthread_mutex_unlock(&runner->lock);
    if (driver->wake != NULL)
        driver->wake(driver->driver);
}

void member_runner_destroy(struct member_runner *runner)
{
    if (runner == NULL)
        return;
    member_runner_end(runner);
    if (runner->has_watcher)
        (void)pthread_join(runner->watcher, NULL);
    if (runner->has_worker)
        (void)pthread_join(runner->worker, NULL);
    runner->options.driver.destroy(runner->options.driver.driver);
    for (struct member_event *event = runner->first, *next; event != NULL; event = next) {
        next = event->next;
        member_event_free(event);
    }
    for (struct task *task = runner->tasks, *next; task != NULL; task = next) {
        next = task->next;
        task_free(task);
    }
    (void)pthread_cond_destroy(&runner->changed);
    (void)pthread_mutex_destroy(&runner->lock);
    memory_release(runner);
}
