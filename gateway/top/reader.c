#include "reader.h"

#include <pthread.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "memory.h"
#include "thread.h"

struct reader {
    const struct top *top; /* borrowed */
    pthread_t thread;
    pthread_mutex_t lock; /* of what stands below it */
    pthread_cond_t wake;
    bool is_ending, has_news;
    struct top_facts *facts; /* owned until it is taken */
    struct error_note note;
    int descriptor;
};

static void news_give(struct reader *reader, struct top_facts *facts, const struct error_note *note)
{
    const uint64_t one = 1;

    (void)pthread_mutex_lock(&reader->lock);
    top_facts_destroy(reader->facts);
    reader->facts = facts;
    reader->note = *note;
    reader->has_news = true;
    (void)pthread_mutex_unlock(&reader->lock);
    (void)!write(reader->descriptor, &one, sizeof(one)); /* full means that it is readable */
}

/* False: it is to end. */
static bool interval_wait(struct reader *reader)
{
    struct timespec until;
    uint64_t end_ns = clock_now_ns() + reader->top->interval_ns;
    bool is_ending;

    until = (struct timespec){.tv_sec = (time_t)(end_ns / NS_PER_SECOND),
                              .tv_nsec = (long)(end_ns % NS_PER_SECOND)};
    (void)pthread_mutex_lock(&reader->lock);
    while (!reader->is_ending &&
           pthread_cond_timedwait(&reader->wake, &reader->lock, &until) == 0) {
    }
    is_ending = reader->is_ending;
    (void)pthread_mutex_unlock(&reader->lock);
    return !is_ending;
}

static void *reader_run(void *context)
{
    struct reader *reader = context;
    double gateway_s = 0;

    do {
        struct error_note note = {""};
        struct top_facts *facts = top_facts_read(reader->top, &gateway_s, &note);

        news_give(reader, facts, &note);
    } while (interval_wait(reader));
    return NULL;
}

struct reader *reader_create(const struct top *top)
{
    struct reader *reader = memory_allocate_array(1, sizeof(*reader));
    pthread_condattr_t monotonic;

    if (reader == NULL)
        return NULL;
    reader->top = top;
    reader->descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    (void)pthread_mutex_init(&reader->lock, NULL);
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&reader->wake, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    if (reader->descriptor >= 0 &&
        thread_start(&reader->thread, "reader", reader_run, reader) == STATUS_OK)
        return reader;
    if (reader->descriptor >= 0)
        (void)close(reader->descriptor);
    memory_release(reader);
    return NULL;
}

void reader_destroy(struct reader *reader)
{
    reader->top->stop(reader->top->context);
    (void)pthread_mutex_lock(&reader->lock);
    reader->is_ending = true;
    (void)pthread_cond_signal(&reader->wake);
    (void)pthread_mutex_unlock(&reader->lock);
    (void)pthread_join(reader->thread, NULL);
    (void)pthread_cond_destroy(&reader->wake);
    (void)pthread_mutex_destroy(&reader->lock);
    top_facts_destroy(reader->facts);
    (void)close(reader->descriptor);
    memory_release(reader);
}

int reader_descriptor(const struct reader *reader)
{
    return reader->descriptor;
}

bool reader_take(struct reader *reader, struct top_facts **facts, struct error_note *note)
{
    uint64_t count;
    bool has_news;

    (void)!read(reader->descriptor, &count, sizeof(count)); /* empty means that there is nothing */
    (void)pthread_mutex_lock(&reader->lock);
    has_news = reader->has_news;
    *facts = reader->facts;
    *note = reader->note;
    reader->facts = NULL;
    reader->has_news = false;
    (void)pthread_mutex_unlock(&reader->lock);
    return has_news;
}
