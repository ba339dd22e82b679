/* Two hold the state: whoever reads it, and the thread that may be stuck in a driver. The last to let go frees it, so that destroying a
 * watch never waits for a driver. */
#include "device_watch.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "memory.h"
#include "thread.h"

struct device_watch {
    struct device_watch_options options;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t wake;
    unsigned holders;
    bool is_stopping;
    bool has_read;
    bool is_wanted;           /* a reading without waiting for the interval's end */
    status outcome;           /* of the last reading */
    struct error_note reason; /* of that */
    uint64_t began_ns;        /* of the reading under way; 0: none is */
    struct device_list last;  /* the last that succeeded */
    struct device_list next;  /* of the thread alone */
};

/* With the lock, which is released. */
static void let_go(struct device_watch *watch)
{
    bool is_last = --watch->holders == 0;

    (void)pthread_mutex_unlock(&watch->lock);
    if (!is_last)
        return;
    (void)pthread_mutex_destroy(&watch->lock);
    (void)pthread_cond_destroy(&watch->wake);
    memory_release(watch);
}

/* `device` has nothing but its place and its trouble. */
static void name_restore(struct device *device, const struct device *known,
                         const struct device *trouble)
{
    *device = *known;
    device->health = trouble->health;
    memcpy(device->reason, trouble->reason, sizeof device->reason);
    device->process_count = 0;
}

/* A GPU that does not even tell its name is known by its place: it is the one that was there before, and its instances are as
 * lost as it is. */
static void names_restore(const struct device_list *before, struct device_list *list)
{
    uint32_t count = list->count;

    for (uint32_t i = 0; i < count; i++) {
        const struct device trouble = list->items[i];
        struct device *place = &list->items[i];

        if (trouble.id[0] != '\0')
            continue;
        for (uint32_t k = 0; k < before->count; k++) {
            if (before->items[k].index != trouble.index)
                continue;
            if (place == NULL)
                place = device_list_add(list, before->items[k].vendor, before->items[k].kind);
            if (place != NULL)
                name_restore(place, &before->items[k], &trouble);
            place = NULL; /* taken */
        }
        if (list->items[i].id[0] == '\0')
            (void)snprintf(list->items[i].id, sizeof list->items[i].id, "gpu-at-%u", trouble.index);
    }
}

static void reading_store(struct device_watch *watch, status outcome,
                          const struct error_note *reason)
{
    watch->outcome = outcome;
    watch->reason = *reason;
    watch->began_ns = 0;
    watch->has_read = true;
    if (outcome == STATUS_OK) {
        names_restore(&watch->last, &watch->next);
        watch->last = watch->next;
    }
}

static void pause_until_next(struct device_watch *watch)
{
    uint64_t until = clock_now_ns() + watch->options.interval_ns;
    struct timespec deadline = {.tv_sec = (time_t)(until / NS_PER_SECOND),
                                .tv_nsec = (long)(until % NS_PER_SECOND)};

    while (!watch->is_stopping && !watch->is_wanted &&
           pthread_cond_clockwait(&watch->wake, &watch->lock, CLOCK_MONOTONIC, &deadline) == 0)
        continue;
}

static void *watch_run(void *context)
{
    struct device_watch *watch = context;
    const struct device_source *source = &watch->options.source;

    (void)pthread_mutex_lock(&watch->lock);
    while (!watch->is_stopping) {
        struct error_note reason = {""};
        status outcome;

        watch->is_wanted = false;
        watch->began_ns = clock_now_ns();
        (void)pthread_mutex_unlock(&watch->lock);
        memset(&watch->next, 0, sizeof watch->next);
        outcome = source->scan(source->context, &watch->next, &reason);
        (void)pthread_mutex_lock(&watch->lock);
        reading_store(watch, outcome, &reason);
        if (!watch->is_stopping && watch->options.changed != NULL)
            watch->options.changed(watch->options.context);
        pause_until_next(watch);
    }
    (void)pthread_mutex_unlock(&watch->lock);
    source->destroy(source->context);
    (void)pthread_mutex_lock(&watch->lock);
    let_go(watch);
    return NULL;
}

status device_watch_create(const struct device_watch_options *options, struct device_watch **out)
{
    struct device_watch *watch = memory_allocate_array(1, sizeof *watch);
    pthread_t thread;

    if (watch == NULL) {
        options->source.destroy(options->source.context);
        return STATUS_NO_MEMORY;
    }
    watch->options = *options;
    watch->holders = 2;
    (void)pthread_mutex_init(&watch->lock, NULL);
    (void)pthread_cond_init(&watch->wake, NULL);
    if (thread_start(&thread, "devices", watch_run, watch) != STATUS_OK) {
        options->source.destroy(options->source.context);
        (void)pthread_mutex_lock(&watch->lock);
        watch->holders = 1;
        let_go(watch);
        return STATUS_IO;
    }
    (void)pthread_detach(thread);
    *out = watch;
    return STATUS_OK;
}

static void all_unknown(struct device_list *list, const char *reason)
{
    for (uint32_t i = 0; i < list->count; i++)
        device_blame(&list->items[i], SLICE_UNKNOWN, "%.100s", reason);
}

status device_watch_read(struct device_watch *watch, uint64_t now_ns, struct device_list *list,
                         struct error_note *note)
{
    status result;

    (void)pthread_mutex_lock(&watch->lock);
    *list = watch->last;
    result = watch->has_read ? watch->outcome : STATUS_AGAIN;
    if (watch->began_ns != 0 && now_ns > watch->began_ns &&
        now_ns - watch->began_ns >= watch->options.silent_after_ns) {
        error_note_set(note, "%s has not answered for %llu s", watch->options.source.name,
                       (unsigned long long)((now_ns - watch->began_ns) / NS_PER_SECOND));
        result = STATUS_TIMEOUT;
    } else if (result != STATUS_OK && result != STATUS_AGAIN) {
        error_note_set(note, "%s", watch->reason.text);
    }
    (void)pthread_mutex_unlock(&watch->lock);
    if (result == STATUS_NOT_FOUND)
        list->count = 0;
    else if (result != STATUS_OK && result != STATUS_AGAIN)
        all_unknown(list, note->text);
    return result;
}

void device_watch_refresh(struct device_watch *watch)
{
    (void)pthread_mutex_lock(&watch->lock);
    watch->is_wanted = true;
    (void)pthread_cond_broadcast(&watch->wake);
    (void)pthread_mutex_unlock(&watch->lock);
}

void device_watch_destroy(struct device_watch *watch)
{
    if (watch == NULL)
        return;
    (void)pthread_mutex_lock(&watch->lock);
    watch->is_stopping = true;
    if (watch->options.source.mute !=
        NULL) /* it lives: its thread has not seen that it is to stop */
        watch->options.source.mute(watch->options.source.context);
    (void)pthread_cond_broadcast(&watch->wake);
    let_go(watch);
}
