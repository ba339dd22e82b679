/* The loop gives the thread a scrape, the thread writes its page and sends it back, the loop answers with the page as it
 * is: it is not copied, and goes when the request is over. A client that goes meanwhile leaves its scrape to the loop's message,
 * which is on its way in any case. */
#include "scrape.h"

#include <pthread.h>

#include "check.h"
#include "edge.h"
#include "memory.h"
#include "openai.h"
#include "thread.h"

#define PAGE_BYTES_MAX (64u << 20)
/* Prometheus scrapes a target once in some seconds, and there are two or three of it. */
#define SCRAPES_MAX 16u

struct scrape {
    struct scraper *scraper;
    struct scrape *next;
    struct http_message message; /* to the loop: it is written */
    http_loop *loop;
    struct edge_record *record; /* loop; NULL: the client has gone */
    enum metrics_format format;
    struct buffer page;
};

struct scraper {
    metrics_registry *registry; /* borrowed */
    pthread_mutex_t lock;       /* of what follows but the last two */
    pthread_cond_t changed;
    struct scrape *first, **last;
    uint32_t count;
    bool is_ending;
    struct buffer spare; /* the last page's memory: the next one is about as long */
    pthread_t thread;
    bool is_running; /* main */
};

static void lock(struct scraper *scraper)
{
    CHECK(pthread_mutex_lock(&scraper->lock) == 0);
}

static void unlock(struct scraper *scraper)
{
    CHECK(pthread_mutex_unlock(&scraper->lock) == 0);
}

static void scrape_destroy(struct scrape *scrape)
{
    struct scraper *scraper = scrape->scraper;
    struct buffer page = scrape->page;

    lock(scraper);
    if (page.data != NULL && scraper->spare.data == NULL) {
        buffer_clear(&page);
        scraper->spare = page;
        page = (struct buffer){0};
    }
    unlock(scraper);
    buffer_deinit(&page);
    memory_release(scrape);
}

/* --- the thread --- */

static void page_begin(struct scraper *scraper, struct buffer *page)
{
    lock(scraper);
    *page = scraper->spare;
    scraper->spare = (struct buffer){0};
    unlock(scraper);
    if (page->data == NULL)
        buffer_init(page, PAGE_BYTES_MAX);
}

/* NULL: it is over. */
static struct scrape *next_take(struct scraper *scraper)
{
    struct scrape *scrape;

    lock(scraper);
    while (scraper->first == NULL && !scraper->is_ending)
        CHECK(pthread_cond_wait(&scraper->changed, &scraper->lock) == 0);
    scrape = scraper->is_ending ? NULL : scraper->first;
    if (scrape != NULL) {
        scraper->first = scrape->next;
        scraper->count--;
        if (scraper->first == NULL)
            scraper->last = &scraper->first;
    }
    unlock(scraper);
    return scrape;
}

static void *scraper_run(void *context)
{
    struct scraper *scraper = context;
    struct scrape *scrape;

    while ((scrape = next_take(scraper)) != NULL) {
        page_begin(scraper, &scrape->page);
        metrics_write(scraper->registry, scrape->format, &scrape->page);
        http_loop_send(scrape->loop, &scrape->message);
    }
    return NULL;
}

status scraper_create(metrics_registry *registry, struct scraper **out)
{
    struct scraper *scraper = memory_allocate_array(1, sizeof(*scraper));
    status result;

    if (scraper == NULL)
        return STATUS_NO_MEMORY;
    scraper->registry = registry;
    scraper->last = &scraper->first;
    CHECK(pthread_mutex_init(&scraper->lock, NULL) == 0);
    CHECK(pthread_cond_init(&scraper->changed, NULL) == 0);
    result = thread_start(&scraper->thread, "scraper", scraper_run, scraper);
    if (result != STATUS_OK) {
        pthread_cond_destroy(&scraper->changed);
        pthread_mutex_destroy(&scraper->lock);
        memory_release(scraper);
        return result;
    }
    scraper->is_running = true;
    *out = scraper;
    return STATUS_OK;
}

void scraper_stop(struct scraper *scraper)
{
    if (!scraper->is_running)
        return;
    lock(scraper);
    scraper->is_ending = true;
    CHECK(pthread_cond_signal(&scraper->changed) == 0);
    unlock(scraper);
    CHECK(pthread_join(scraper->thread, NULL) == 0);
    scraper->is_running = false;
}

void scraper_destroy(struct scraper *scraper)
{
    if (scraper == NULL)
        return;
    scraper_stop(scraper);
    while (scraper->first != NULL) {
        struct scrape *scrape = scraper->first;

        scraper->first = scrape->next;
        scrape_destroy(scrape);
    }
    buffer_deinit(&scraper->spare);
    pthread_cond_destroy(&scraper->changed);
    pthread_mutex_destroy(&scraper->lock);
    memory_release(scraper);
}

/* --- the loop --- */

static void refuse(struct edge_record *record, const char *text)
{
    struct api_error error = {0};

    api_error_set(&error, 503, "server_error", "overloaded", "", "%s", text);
    error.retry_after_ms = 1000;
    edge_reply_error(record, &error);
}

static void answer(struct http_message *message, http_loop *loop)
{
    struct scrape *scrape = CONTAINER_OF(message, struct scrape, message);
    struct edge_record *record = scrape->record;

    (void)loop;
    if (record == NULL) {
        scrape_destroy(scrape);
        return;
    }
    http_request_on_gone(record->request, NULL, NULL);
    record->scrape = scrape;
    if (scrape->page.failed != STATUS_OK) {
        refuse(record, "The gateway has no memory for its metrics");
        return;
    }
    record->status_code = 200;
    http_reply_kept(record->request, 200, NULL, 0, metrics_content_type(scrape->format),
                    buffer_slice(&scrape->page));
}

static void on_gone(http_request *request, void *context)
{
    (void)request;
    ((struct scrape *)context)->record = NULL;
}

/* False: there are too many. */
static bool hand_over(struct scraper *scraper, struct scrape *scrape)
{
    bool has_room;

    lock(scraper);
    has_room = scraper->count < SCRAPES_MAX;
    if (has_room) {
        scraper->count++;
        *scraper->last = scrape;
        scraper->last = &scrape->next;
        CHECK(pthread_cond_signal(&scraper->changed) == 0);
    }
    unlock(scraper);
    return has_room;
}

void admin_metrics(struct edge_record *record, struct text_slice rest)
{
    struct scrape *scrape = memory_allocate_array(1, sizeof(*scrape));

    (void)rest;
    if (scrape == NULL) {
        refuse(record, "The gateway has no memory for its metrics");
        return;
    }
    scrape->loop = http_request_loop(record->request);
    scrape->record = record;
    scrape->message.run = answer;
    scrape->format = metrics_format_accepted(http_request_header(record->request, "accept"));
    scrape->scraper = record->edge->scraper;
    http_request_on_gone(record->request, on_gone, scrape);
    if (hand_over(record->edge->scraper, scrape))
        return;
    http_request_on_gone(record->request, NULL, NULL);
    scrape_destroy(scrape);
    refuse(record, "Too many ask for the metrics at once");
}

void scrape_release(struct scrape *scrape)
{
    if (scrape != NULL)
        scrape_destroy(scrape);
}
