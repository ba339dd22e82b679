#include "engine_private.h"

#include "check.h"
#include "clock.h"
#include "thread.h"

/* The publisher: tokens in, text out. Detokenizing, stop strings and the client's callbacks are kept off the step
 * thread, which meanwhile computes the next step.
 *
 * A stop string is found here, a step or two after its last token was sampled. The text before it goes out at once; the
 * step thread is told to end the sequence; what it has sampled in the meantime is thrown away here, so no client ever
 * sees or pays for it; and the final event goes out when the step thread's last message of that sequence comes. */

/* There are about ten of them, and none in most requests. */
static bool is_shown(const struct engine_request *caller, int32_t token)
{
    for (uint32_t i = 0; i < caller->shown_token_count; i++) {
        if (caller->shown_tokens[i] == token)
            return true;
    }
    return false;
}

static struct text_slice piece_of(const struct token_message *m, const engine *e)
{
    const struct engine_request *caller = m->request->caller;
    if (m->stop_token >= 0 && !caller->include_stop)
        return (struct text_slice){"", 0}; /* the token that ends the text is not part of it */
    bool shows = m->stop_token < 0 && (caller->shows_special || is_shown(caller, m->sample.token));
    return tokenizer_piece(e->tokens, m->sample.token, shows);
}

/* Turns the message's token into what may be sent. */
static struct text_ready advance_text(engine *e, struct stream *stream,
                                      const struct token_message *m)
{
    struct text_slice piece = {"", 0};
    if (m->has_token)
        piece = piece_of(m, e);
    bool watches = stream->token_count > m->request->caller->sampling.min_tokens;
    return text_stream_feed(&stream->text, piece, watches, m->finish != FINISH_NONE);
}

static void count_token(engine *e, struct stream *stream, const struct token_message *m)
{
    struct live_request *r = m->request;
    uint64_t now_ns = m->time_ns;
    engine_metrics_token(e->metrics, now_ns, stream->last_token_ns);
    atomic_fetch_add_explicit(&e->stats.generated_tokens, 1, memory_order_relaxed);
    if (stream->first_token_ns == 0)
        stream->first_token_ns = now_ns;
    stream->last_token_ns = now_ns;
    stream->token_count++;
    stream->predicted_count = m->predicted_count;
    if (r->token_count == 0) {
        r->first_token_ns = now_ns;
        engine_metrics_first_token(e->metrics, now_ns - r->submitted_ns);
    }
    r->last_token_ns = now_ns;
    r->token_count++;
}

static void record_request(engine *e, const struct live_request *r, const struct token_message *m)
{
    if (e->metrics == NULL)
        return;
    struct engine_request_record record = {
        .finish = r->worst_finish,
        .submitted_ns = r->submitted_ns,
        .admitted_ns = m->admitted_ns,
        .first_token_ns = r->first_token_ns,
        .last_token_ns = r->last_token_ns,
        .now_ns = clock_now_ns(),
        .prompt_tokens = r->batch.prompt_count,
        .cached_tokens = m->cached_tokens,
        .n = r->batch.sequence_count,
        .max_tokens = r->caller->max_tokens,
        .preemptions = m->preemption_count,
        .generated_tokens = r->token_count,
    };
    for (uint32_t i = 0; i < r->batch.sequence_count; i++) {
        if (r->streams[i].token_count > record.generated_tokens_max)
            record.generated_tokens_max = r->streams[i].token_count;
    }
    engine_metrics_request(e->metrics, &record);
}

/* What an event says besides its text. */
static struct engine_event event_of(const struct token_message *m, const struct stream *stream)
{
    const struct live_request *r = m->request;
    return (struct engine_event){
        .index = m->index,
        .text = {"", 0},
        .stop_text = {"", 0},
        .finish = m->finish,
        .stop_token = m->stop_token,
        .usage = {.prompt_tokens = r->batch.prompt_count,
                  .cached_tokens = m->cached_tokens,
                  .cache_write_tokens = m->cache_write_tokens,
                  .completion_tokens = stream->token_count,
                  .accepted_prediction_tokens = stream->predicted_count,
                  .busy_ns = m->busy_ns},
        .timing = {.submitted_ns = r->submitted_ns,
                   .admitted_ns = m->admitted_ns,
                   .first_token_ns = stream->first_token_ns,
                   .last_token_ns = stream->last_token_ns,
                   .preemption_count = m->preemption_count},
        .error = m->error,
    };
}

/* Reasons in the order in which one of several sequences speaks for the request. */
static enum finish_reason worse_finish(enum finish_reason a, enum finish_reason b)
{
    return a > b ? a : b;
}

static const struct engine_trace *finish_trace(struct live_request *r,
                                               const struct token_message *m)
{
    r->trace.number = r->batch.arrival + 1;
    r->trace.admitted_ns = m->admitted_ns;
    r->trace.first_token_ns = r->first_token_ns;
    r->trace.last_token_ns = r->last_token_ns;
    r->trace.preemption_count = m->preemption_count;
    return &r->trace;
}

/* Sends the event; after a request's last one, forgets it. */
static void send_event(engine *e, const struct token_message *m, struct engine_event *event)
{
    struct live_request *r = m->request;
    if (event->finish != FINISH_NONE) {
        r->worst_finish = worse_finish(r->worst_finish, event->finish);
        r->ended_count++;
        event->is_last = r->ended_count == r->batch.sequence_count;
    }
    bool is_last = event->is_last;
    if (is_last) {
        record_request(e, r, m);
        event->trace = finish_trace(r, m);
    }
    r->caller->on_event(r->caller, event);
    if (is_last)
        live_request_release(r);
}

static void set_stop(struct engine_event *event, const struct live_request *r, int32_t stop)
{
    event->finish = FINISH_STOP;
    event->stop_text = stop_matcher_text(r->stops, stop);
    event->stop_token = -1;
    event->error = STATUS_OK;
}

static void publish(engine *e, const struct token_message *m)
{
    struct live_request *r = m->request;
    struct stream *stream = &r->streams[m->index];
    if (stream->stop >= 0) { /* over for the client: only the step thread's last word counts */
        if (m->finish == FINISH_NONE)
            return;
        struct engine_event event = event_of(m, stream);
        set_stop(&event, r, stream->stop);
        send_event(e, m, &event);
        return;
    }
    struct engine_token token;
    if (m->has_token) {
        count_token(e, stream, m);
        token = (struct engine_token){.id = m->sample.token,
                                      .logprob = m->sample.logprob,
                                      .alternative_count = m->sample.alternative_count,
                                      .alternatives = m->sample.alternatives};
    }
    struct text_ready ready = advance_text(e, stream, m);
    struct engine_event event = event_of(m, stream);
    event.text = ready.text;
    event.tokens = m->has_token ? &token : NULL;
    event.token_count = m->has_token ? 1 : 0;
    if (ready.stop >= 0) {
        stream->stop = ready.stop;
        if (m->finish == FINISH_NONE) {
            atomic_store_explicit(&stream->is_stopped, true, memory_order_relaxed);
            live_request_signal(r, SIGNAL_STOP);
        } else {
            set_stop(&event, r, ready.stop);
        }
    }
    send_event(e, m, &event);
}

status publisher_take_past(engine *e, const struct token_message *m)
{
    struct live_request *r = m->request;
    struct stream *stream = &r->streams[m->index];
    struct engine_token token = {.id = m->sample.token, .logprob = m->sample.logprob};
    stream->token_count++;
    stream->predicted_count = m->predicted_count;
    struct text_ready ready = advance_text(e, stream, m);
    struct engine_event event = event_of(m, stream);
    event.text = ready.text;
    event.tokens = &token;
    event.token_count = 1;
    if (ready.stop >= 0)
        return STATUS_INVALID;
    r->caller->on_past(r->caller, &event);
    return STATUS_OK;
}

static void return_message(engine *e, struct token_message *m)
{
    status s = ring_push(e->free_messages, m);
    CHECK(s == STATUS_OK); /* it has room for all of them */
    parking_signal(&e->step_parking);
}

/* The caller hears of its events when there is no further one, or after so many. */
#define EVENTS_UNTOLD_MAX 256u

static void tell(engine *e, uint32_t *untold)
{
    if (*untold > 0 && e->options.on_step_published != NULL)
        e->options.on_step_published(e->options.context);
    *untold = 0;
}

void *publisher_thread_run(void *context)
{
    engine *e = context;
    uint32_t untold = 0;
    thread_ask_short_slice();
    alloc_guard_begin();
    for (;;) {
        struct token_message *m = ring_pop(e->outbox);
        if (m == NULL || untold == EVENTS_UNTOLD_MAX)
            tell(e, &untold);
        if (m == NULL) {
            atomic_store_explicit(&e->publisher_busy_since_ns, 0, memory_order_relaxed);
            uint32_t ticket = parking_prepare(&e->publisher_parking);
            m = ring_pop(e->outbox);
            if (m == NULL) {
                /* Acquire pairs with engine_close's release: all messages came before it. */
                if (atomic_load_explicit(&e->publisher_may_end, memory_order_acquire)) {
                    parking_cancel(&e->publisher_parking);
                    break;
                }
                parking_wait(&e->publisher_parking, ticket, UINT64_MAX);
                continue;
            }
            parking_cancel(&e->publisher_parking);
        }
        atomic_store_explicit(&e->publisher_busy_since_ns, clock_now_ns(), memory_order_relaxed);
        publish(e, m);
        return_message(e, m);
        untold++;
    }
    alloc_guard_end();
    return NULL;
}
