#include "reporter.h"

#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "gateway_link_calls.h"
#include "log.h"
#include "memory.h"
#include "thread.h"

#define AREA "gateway/serving"

struct reporter {
    struct replica *replica;
    gateway_link *link;
    told_names *told; /* owned */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;        /* it is over */
    _Atomic bool is_over;       /* release by main under the lock */
    uint64_t heard_ns;          /* when the gateway last answered */
    bool is_lost;               /* which has been logged */
    bool is_ending, is_unknown; /* the process was asked to end; the gateway knows nothing of it */
};

static bool is_over(const void *context)
{
    return atomic_load_explicit(&((const struct reporter *)context)->is_over, memory_order_acquire);
}

static enum heartbeat_phase phase_of(const struct replica *replica)
{
    switch (replica_phase(replica)) {
    case REPLICA_LOADING:
        return HEARTBEAT_STARTING;
    case REPLICA_READY:
        if (!replica_is_alive(replica))
            return HEARTBEAT_STUCK;
        return replica_is_asleep(replica) ? HEARTBEAT_ASLEEP : HEARTBEAT_READY;
    case REPLICA_DRAINING:
    case REPLICA_CLOSING:
        break;
    }
    return HEARTBEAT_DRAINING;
}

static void beat_fill(struct reporter *reporter, struct heartbeat *beat)
{
    const struct replica *replica = reporter->replica;
    const shared_page *page = shared_page_of(replica->page);

    *beat = (struct heartbeat){.phase = phase_of(replica),
                               .bytes_per_token = shared_page_bytes_per_token(page),
                               .reason = {"", 0}};
    if (beat->phase == HEARTBEAT_READY) {
        beat->context_max = replica_context_max(replica);
        beat->capabilities = replica_capabilities(replica);
    }
    beat->has_state = shared_page_read(page, &beat->state);
    for (uint32_t i = 0; i < START_MOMENTS; i++)
        beat->moments_ns[i] = shared_page_moment(page, (enum start_moment)i);
    told_names_compare(reporter->told, page, beat);
}

/* Main drains, and ends. */
static void end_ask(struct reporter *reporter, const char *why)
{
    if (reporter->is_ending)
        return;
    reporter->is_ending = true;
    log_warn(AREA, "%s: this replica ends", why);
    (void)kill(getpid(), SIGTERM);
}

static void config_look(struct reporter *reporter)
{
    struct error_note note = {""};

    if (!gateway_link_has_news(reporter->link) || reporter->is_ending)
        return;
    if (gateway_link_read_config(reporter->link, &note) == STATUS_OK)
        (void)kill(getpid(), SIGHUP);
    else /* the next report asks again */
        log_warn(AREA, "the gateway's new config was not read: %s", note.text);
}

static void heard(struct reporter *reporter)
{
    reporter->heard_ns = clock_now_ns();
    if (reporter->is_lost)
        log_info(AREA, "the gateway is reached again");
    reporter->is_lost = false;
    told_names_confirm(reporter->told);
    config_look(reporter);
}

static void not_heard(struct reporter *reporter, const struct error_note *note)
{
    uint64_t patience_ns = reporter->replica->config->pool.lost_timeout_ns;

    told_names_forget(reporter->told);
    if (!reporter->is_lost && !is_over(reporter))
        log_warn(AREA, "the gateway is not reached: %s", note->text);
    reporter->is_lost = true;
    if (clock_now_ns() - reporter->heard_ns >= patience_ns)
        end_ask(reporter, "the gateway has not been reached for pool.lost_timeout");
}

static void report(struct reporter *reporter)
{
    struct error_note note = {""};
    struct heartbeat beat;
    status result;

    if (reporter->is_unknown)
        return;
    beat_fill(reporter, &beat);
    result = gateway_link_report(reporter->link, &beat, is_over, reporter, &note);
    if (result == STATUS_OK) {
        heard(reporter);
        return;
    }
    if (result != STATUS_DENIED) {
        not_heard(reporter, &note);
        return;
    }
    reporter->is_unknown = true;
    end_ask(reporter, note.text);
}

/* True: it is over. */
static bool wait_until(struct reporter *reporter, uint64_t until_ns)
{
    struct timespec end = {(time_t)(until_ns / NS_PER_SECOND), (long)(until_ns % NS_PER_SECOND)};
    bool is;

    pthread_mutex_lock(&reporter->lock);
    while (!(is = is_over(reporter)) && clock_now_ns() < until_ns)
        (void)pthread_cond_timedwait(&reporter->wake, &reporter->lock, &end);
    pthread_mutex_unlock(&reporter->lock);
    return is;
}

static void *reporter_run(void *context)
{
    struct reporter *reporter = context;
    uint64_t next_ns = clock_now_ns();

    reporter->heard_ns = next_ns;
    do {
        uint64_t now_ns;

        report(reporter);
        now_ns = clock_now_ns();
        next_ns += HEARTBEAT_INTERVAL_NS;
        next_ns = next_ns > now_ns ? next_ns : now_ns; /* what was missed is not made up for */
    } while (!wait_until(reporter, next_ns));
    return NULL;
}

static void reporter_free(struct reporter *reporter)
{
    told_names_destroy(reporter->told);
    (void)pthread_cond_destroy(&reporter->wake);
    (void)pthread_mutex_destroy(&reporter->lock);
    memory_release(reporter);
}

status reporter_start(struct replica *replica, gateway_link *link, struct reporter **out)
{
    struct reporter *reporter = memory_allocate_array(1, sizeof(*reporter));
    pthread_condattr_t attributes;
    status result;
    int rc;

    if (reporter == NULL)
        return STATUS_NO_MEMORY;
    rc = pthread_mutex_init(&reporter->lock, NULL);
    CHECK(rc == 0);
    rc = pthread_condattr_init(&attributes);
    CHECK(rc == 0);
    rc = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    CHECK(rc == 0);
    rc = pthread_cond_init(&reporter->wake, &attributes);
    CHECK(rc == 0);
    (void)pthread_condattr_destroy(&attributes);
    reporter->replica = replica;
    reporter->link = link;
    result = told_names_create(&reporter->told);
    if (result == STATUS_OK)
        result = thread_start(&reporter->thread, "reporter", reporter_run, reporter);
    if (result != STATUS_OK) {
        reporter_free(reporter);
        return result;
    }
    *out = reporter;
    return STATUS_OK;
}

void reporter_stop(struct reporter *reporter)
{
    if (reporter == NULL)
        return;
    pthread_mutex_lock(&reporter->lock);
    atomic_store_explicit(&reporter->is_over, true, memory_order_release);
    pthread_cond_signal(&reporter->wake);
    pthread_mutex_unlock(&reporter->lock);
    (void)pthread_join(reporter->thread, NULL);
    reporter_free(reporter);
}
