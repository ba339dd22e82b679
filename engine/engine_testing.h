#ifndef PENSTOCK_ENGINE_TESTING_H
#define PENSTOCK_ENGINE_TESTING_H

#include "unit_test.h"

#include <errno.h>
#include <math.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "engine.h"

/* A client for engine tests: submits one request and collects what comes back. */

#define CLIENT_N_MAX      8u
#define CLIENT_TOKENS_MAX 4096u
#define CLIENT_TEXT_MAX   16384u

struct client_sequence {
    int32_t tokens[CLIENT_TOKENS_MAX];
    float logprobs[CLIENT_TOKENS_MAX];
    uint32_t token_count;
    char text[CLIENT_TEXT_MAX];
    size_t text_bytes;
    uint32_t end_count;
    enum finish_reason finish;
    struct engine_usage usage;
    struct engine_timing timing;
    int32_t stop_token;
    char stop_text[64];
    status error;
};

struct client {
    struct engine_request request; /* first */
    struct client_sequence sequences[CLIENT_N_MAX];
    _Atomic uint32_t event_count;
    uint32_t sleep_us;     /* in each callback */
    uint32_t cancel_after; /* cancels itself at this event; 0: never */
    engine *e;
    bool got_last;
    struct engine_trace trace; /* once it has */
    sem_t last;
};

static inline void client_on_event(struct engine_request *request, const struct engine_event *event)
{
    struct client *c = (struct client *)request;
    assert_false(c->got_last);
    assert_true(event->index < CLIENT_N_MAX);
    struct client_sequence *s = &c->sequences[event->index];
    assert_int_equal(s->end_count, 0);
    for (uint32_t i = 0; i < event->token_count; i++) {
        s->tokens[s->token_count] = event->tokens[i].id;
        s->logprobs[s->token_count++] = event->tokens[i].logprob;
    }
    memcpy(s->text + s->text_bytes, event->text.data, event->text.bytes);
    s->text_bytes += event->text.bytes;
    s->usage = event->usage;
    s->timing = event->timing;
    assert_int_equal(event->usage.completion_tokens, s->token_count);
    if (event->finish != FINISH_NONE) {
        s->end_count++;
        s->finish = event->finish;
        s->stop_token = event->stop_token;
        s->error = event->error;
        (void)snprintf(s->stop_text, sizeof s->stop_text, "%.*s", (int)event->stop_text.bytes,
                       event->stop_text.bytes > 0 ? event->stop_text.data : "");
    }
    c->got_last = event->is_last;
    assert_true((event->trace != NULL) == event->is_last);
    if (event->is_last)
        c->trace = *event->trace;
    if (c->sleep_us > 0)
        usleep(c->sleep_us);
    uint32_t count = atomic_fetch_add(&c->event_count, 1) + 1;
    if (count == c->cancel_after && !event->is_last)
        engine_cancel(c->e, request);
    if (event->is_last)
        sem_post(&c->last);
}

static inline struct client *client_create(engine *e, const int32_t *prompt, uint32_t prompt_count,
                                           uint32_t max_tokens)
{
    struct client *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->e = e;
    c->request = (struct engine_request){
        .prompt = prompt,
        .prompt_count = prompt_count,
        .n = 1,
        .max_tokens = max_tokens,
        .sampling = {.top_p = 1.0f, .repetition_penalty = 1.0f, .logprobs = -1},
        .on_event = client_on_event,
    };
    sem_init(&c->last, 0, 0);
    return c;
}

static inline void client_submit(struct client *c)
{
    assert_int_equal(engine_submit(c->e, &c->request), STATUS_OK);
}

/* Every sequence ended exactly once, or the test fails: after a while, as the emulated device is slow. */
static inline void client_wait(struct client *c)
{
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 240;
    while (sem_timedwait(&c->last, &limit) != 0)
        assert_int_equal(errno, EINTR);
    for (uint32_t i = 0; i < c->request.n; i++)
        assert_int_equal(c->sequences[i].end_count, 1);
}

static inline void client_destroy(struct client *c)
{
    sem_destroy(&c->last);
    free(c);
}

static inline void client_run(struct client *c)
{
    client_submit(c);
    client_wait(c);
}

/* Waits until the engine has nothing left and holds no block. */
static inline void assert_becomes_empty(engine *e)
{
    struct engine_stats stats;
    for (int i = 0; i < 5000; i++) {
        engine_get_stats(e, &stats);
        if (stats.running == 0 && stats.waiting == 0 &&
            stats.blocks_free + stats.blocks_cached == stats.blocks_total)
            return;
        usleep(1000);
    }
    fail_msg("%u running, %u waiting, %u of %u blocks free, %u kept", stats.running, stats.waiting,
             stats.blocks_free, stats.blocks_total, stats.blocks_cached);
}

#endif
