#include "waiting.h"

#include <inttypes.h>
#include <stdio.h>

#include "check.h"
#include "clock.h"
#include "control.h"
#include "edge_admission.h"
#include "engine.h"
#include "log.h"
#include "proxy_state.h"
#include "quota.h"
#include "request_stories.h"
#include "request_wishes.h"
#include "suspects.h"

/* How often it is looked whether somebody else's trial on a replica is over. */
#define TRIAL_LOOK_NS (20 * NS_PER_MS)

/* --- the list --- */

static void list_add(struct proxy *proxy)
{
    proxy->waiting.next = NULL;
    edge_work_end(proxy->record, clock_now_ns());
    proxy->waiting.link = proxy->loop->waiting_tail;
    *proxy->waiting.link = proxy;
    proxy->loop->waiting_tail = &proxy->waiting.next;
    proxy->loop->waiting_count++;
}

static void list_remove(struct proxy *proxy)
{
    *proxy->waiting.link = proxy->waiting.next;
    if (proxy->waiting.next != NULL)
        proxy->waiting.next->waiting.link = proxy->waiting.link;
    else
        proxy->loop->waiting_tail = proxy->waiting.link;
    proxy->waiting.link = NULL;
    proxy->loop->waiting_count--;
}

void waiting_leave(struct proxy *proxy)
{
    http_timer_cancel(&proxy->waiting.timer);
    if (proxy->waiting.link != NULL)
        list_remove(proxy);
}

void waiting_release(struct proxy *proxy)
{
    waiting_leave(proxy);
    admission_leave(proxy->choice.model->admission, &proxy->waiting.ticket, &proxy->record->usage,
                    clock_now_ns());
}

/* --- refusals --- */

static void refuse_not_ready(struct proxy *proxy)
{
    proxy_fail(proxy, 503, "model_not_ready", "No replica of the model is ready; try again later",
               replica_choice_retry_ms(&proxy->choice, clock_now_ns()));
}

static void refuse(struct proxy *proxy, enum queue_refusal reason, uint64_t retry_after_ms)
{
    static const struct {
        const char *code, *message;
    } texts[QUEUE_REFUSAL_COUNT] = {
        [QUEUE_FULL] = {"queue_full", "Too many requests wait for the model; try again later"},
        [QUEUE_PUSHED_OUT] = {"queue_full",
                              "Too many requests wait for the model, most of them yours; try again "
                              "later"},
        [QUEUE_LATE] = {"deadline_unreachable",
                        "The first token would come later than it is wanted; try again later"},
        [QUEUE_DEADLINE] = {"deadline_unreachable",
                            "The time in which the first token was wanted is over"},
        [QUEUE_TIMEOUT] = {"queue_timeout",
                           "The request has waited for the model for too long; try again later"},
    };

    queue_metrics_refused(&proxy->record->edge->queue_metrics, proxy->choice.model->index, reason);
    proxy_fail(proxy, 429, texts[reason].code, texts[reason].message, retry_after_ms);
}

static void refuse_late(struct proxy *proxy, enum queue_refusal reason)
{
    refuse(proxy, reason, admission_retry_after_ms(proxy->choice.model->admission));
}

/* --- what the client is told --- */

size_t waiting_headers_make(struct proxy *proxy, struct http_header *out)
{
    struct waiting *waiting = &proxy->waiting;
    const struct admission_ticket *ticket = &waiting->ticket;
    uint64_t until_ns = admission_is_waiting(ticket) ? clock_now_ns() : ticket->granted_ns;

    if (!waiting->is_queued || until_ns <= ticket->enter_ns)
        return 0;
    (void)snprintf(waiting->number[0], sizeof(waiting->number[0]), "%u", ticket->position + 1);
    (void)snprintf(waiting->number[1], sizeof(waiting->number[1]), "%" PRIu64,
                   (uint64_t)((until_ns - ticket->enter_ns) / NS_PER_MS));
    out[0] =
        (struct http_header){text_slice_of("x-queue-position"), text_slice_of(waiting->number[0])};
    out[1] =
        (struct http_header){text_slice_of("x-queue-wait-ms"), text_slice_of(waiting->number[1])};
    return WAITING_HEADER_COUNT;
}

static void stream_open(struct proxy *proxy)
{
    struct http_header headers[WAITING_HEADER_COUNT + 2] = {
        {text_slice_of("cache-control"), text_slice_of("no-cache")},
        {text_slice_of("x-accel-buffering"), text_slice_of("no")}};
    size_t count = 2 + waiting_headers_make(proxy, headers + 2);

    proxy->is_streaming = true;
    proxy->record->status_code = 200;
    http_stream_start(proxy->record->request, 200, headers, count,
                      "text/event-stream; charset=utf-8");
}

/* From the first one on an error is an event of the stream, and the front end keeps it alive. */
static void report(struct proxy *proxy)
{
    struct admission_place place;
    char comment[96] = ": waiting\n\n";

    if (admission_place(proxy->choice.model->admission, &proxy->waiting.ticket, &place)) {
        if (place.wait_ms >= 0)
            (void)snprintf(comment, sizeof(comment), ": queue position=%u eta_ms=%" PRId64 "\n\n",
                           place.ahead + 1, place.wait_ms);
        else
            (void)snprintf(comment, sizeof(comment), ": queue position=%u\n\n", place.ahead + 1);
    }
    if (!proxy->is_streaming)
        stream_open(proxy);
    (void)http_stream_write(proxy->record->request, text_slice_of(comment));
}

/* --- waiting --- */

static void wait_over(struct http_timer *timer, http_loop *loop);

static void timer_arm(struct proxy *proxy, uint64_t until_ns)
{
    if (proxy->waiting.report_ns < until_ns)
        until_ns = proxy->waiting.report_ns;
    proxy->waiting.timer.run = wait_over;
    http_timer_set(proxy->loop->loop, &proxy->waiting.timer, until_ns);
}

/* The next of what may end the wait for a slot. */
static void slot_timer_arm(struct proxy *proxy, uint64_t now_ns)
{
    const struct waiting *waiting = &proxy->waiting;
    uint64_t until_ns = waiting->end_ns;

    if (waiting->due_ns > 0 && waiting->due_ns < until_ns)
        until_ns = waiting->due_ns;
    if (waiting->ready_deadline_ns > now_ns && waiting->ready_deadline_ns < until_ns)
        until_ns = waiting->ready_deadline_ns;
    if (request_story_place_due_ns(proxy->record->story) < until_ns)
        until_ns = request_story_place_due_ns(proxy->record->story);
    timer_arm(proxy, until_ns);
}

/* Whether the wait for a slot has no end in sight; then the proxy is dead. */
static bool slot_give_up(struct proxy *proxy, uint64_t now_ns)
{
    const struct waiting *waiting = &proxy->waiting;

    if (proxy->loop->is_closed)
        proxy_fail_closed(proxy);
    else if (edge_ready_count(proxy->choice.model) == 0 &&
             (now_ns >= waiting->ready_deadline_ns || !replica_choice_has_hope(&proxy->choice)))
        refuse_not_ready(proxy);
    else if (waiting->due_ns > 0 && now_ns >= waiting->due_ns)
        refuse_late(proxy, QUEUE_DEADLINE);
    else if (now_ns >= waiting->end_ns)
        refuse_late(proxy, QUEUE_TIMEOUT);
    else
        return false;
    return true;
}

static void report_if_due(struct proxy *proxy, uint64_t now_ns)
{
    if (now_ns < proxy->waiting.report_ns)
        return;
    report(proxy);
    proxy->waiting.report_ns = proxy->waiting.report_interval_ns > 0
                                   ? now_ns + proxy->waiting.report_interval_ns
                                   : UINT64_MAX;
}

static void wait_over(struct http_timer *timer, http_loop *loop)
{
    struct proxy *proxy = CONTAINER_OF(timer, struct proxy, waiting.timer);
    uint64_t now_ns = clock_now_ns();

    (void)loop;
    if (!admission_is_waiting(&proxy->waiting.ticket)) {
        report_if_due(proxy, now_ns);
        proxy_dispatch(proxy);
    } else if (!slot_give_up(proxy, now_ns)) {
        request_stories_place(proxy, now_ns);
        report_if_due(proxy, now_ns);
        slot_timer_arm(proxy, now_ns);
    }
}

static void wait_observe(struct proxy *proxy)
{
    const struct admission_ticket *ticket = &proxy->waiting.ticket;

    queue_metrics_waited(&proxy->record->edge->queue_metrics, proxy->choice.model->index,
                         waiting_room_band(&ticket->request),
                         (double)(ticket->granted_ns - ticket->enter_ns) / 1e9);
    request_story_note(proxy->record->story, STORY_SLOT, ticket->granted_ns);
}

/* The shares of the KV cache that the request is held to; at most `entry` gets. */
static void claims_make(struct proxy *proxy, struct admission_entry *entry)
{
    const struct config *config = config_store_get(&proxy->record->edge->configs)->config;
    struct edge_model *model = proxy->choice.model;
    struct quota_kv_share shares[QUOTA_LIMITS_PER_REQUEST_MAX];
    uint32_t count = quota_kv_shares(&config->tenants, proxy->record->caller, model->name, shares);

    if (count == 0)
        return;
    entry->claims = http_request_allocate(proxy->record->request, count * sizeof(entry->claims[0]));
    for (uint32_t i = 0; i < count; i++)
        entry->claims[i] = (struct kv_claim){.id = shares[i].id, .share = shares[i].share};
    entry->claim_count = count;
    /* A page may have been written after its replica got ready. */
    admission_set_kv_blocks(model->admission, edge_kv_blocks(model));
}

static void refuse_too_large(struct proxy *proxy)
{
    struct api_error error = {0};
    uint64_t tokens = (uint64_t)proxy->waiting.ticket.kv_blocks * ENGINE_BLOCK_TOKENS;

    queue_metrics_refused(&proxy->record->edge->queue_metrics, proxy->choice.model->index,
                          QUEUE_KV_SHARE);
    waiting_release(proxy);
    api_error_set(&error, 400, "invalid_request_error", "kv_share_exceeded", "",
                  "The request would hold about %" PRIu64
                  " tokens of the model's KV cache, more than your share of it; shorten it",
                  tokens);
    if (proxy->is_streaming)
        proxy_end_stream(proxy, &error);
    else
        edge_reply_error(proxy->record, &error);
}

static void slot_enter(struct proxy *proxy, uint64_t now_ns)
{
    struct waiting *waiting = &proxy->waiting;
    struct admission_entry entry = {
        .caller = proxy->record->caller,
        .priority = waiting->priority,
        .body_bytes = proxy->body.bytes,
        .output_tokens_max = waiting->output_tokens_max,
        .due_ns = waiting->due_ns,
        .loop = http_loop_index(proxy->loop->loop),
        .is_streamed = proxy->wants_stream,
    };
    uint64_t retry_after_ms = 0;

    request_story_note(proxy->record->story, STORY_QUEUED, now_ns);
    claims_make(proxy, &entry);

    switch (admission_enter(proxy->choice.model->admission, &waiting->ticket, &entry, now_ns,
                            &retry_after_ms)) {
    case ADMISSION_GO:
        wait_observe(proxy);
        proxy_dispatch(proxy);
        break;
    case ADMISSION_WAIT:
        if (waiting->ticket.waited_for_share)
            queue_metrics_kv_wait(&proxy->record->edge->queue_metrics, proxy->choice.model->index);
        list_add(proxy);
        request_stories_place(proxy, now_ns);
        slot_timer_arm(proxy, now_ns);
        if (proxy->choice.model->scales_from_zero &&
            atomic_load_explicit(&proxy->choice.model->wanted, memory_order_relaxed) == 0)
            control_ask(edge_control(proxy->record->edge), proxy->choice.model);
        break;
    case ADMISSION_FULL:
        refuse(proxy, QUEUE_FULL, retry_after_ms);
        break;
    case ADMISSION_LATE:
        refuse(proxy, QUEUE_LATE, retry_after_ms);
        break;
    case ADMISSION_TOO_LARGE:
        refuse_too_large(proxy);
        break;
    }
}

static bool is_quarantined(struct proxy *proxy, uint64_t now_ns)
{
    struct suspects *suspects = proxy->record->edge->suspects;

    if (!suspects_are_any(suspects))
        return false;
    proxy->losses = suspects_losses(suspects, attempt_content_hash(proxy), now_ns);
    return proxy->losses >= QUARANTINE_LOSS_MAX;
}

/* Of two times of which 0 stands for never. */
static uint64_t earlier(uint64_t a_ns, uint64_t b_ns)
{
    return a_ns == 0 || (b_ns > 0 && b_ns < a_ns) ? b_ns : a_ns;
}

void waiting_start(struct proxy *proxy, const struct config *config)
{
    struct waiting *waiting = &proxy->waiting;
    uint64_t now_ns = clock_now_ns(), first_ns;

    waiting->ready_deadline_ns = now_ns + config->upstream.ready_timeout_ns;
    waiting->end_ns = now_ns + config->admission.timeout_ns;
    waiting->due_ns = request_due_ns(proxy->record->request, proxy->record->caller->ttft_slo_ns);
    waiting->report_interval_ns = config->admission.report_interval_ns;
    first_ns = earlier(waiting->report_interval_ns, config->limits.keepalive_ns);
    atomic_fetch_add_explicit(&proxy->choice.model->arrivals, 1, memory_order_relaxed);
    waiting->report_ns = proxy->wants_stream && first_ns > 0 ? now_ns + first_ns : UINT64_MAX;
    if (!waiting->is_queued)
        proxy_dispatch(proxy);
    else if (is_quarantined(proxy, now_ns))
        proxy_fail_quarantined(proxy);
    else if (!replica_choice_has_hope(&proxy->choice))
        refuse_not_ready(proxy);
    else
        slot_enter(proxy, now_ns);
}

/* When a replica that gets nothing now may be asked again. */
static uint64_t next_look_ns(const struct proxy *proxy, uint64_t now_ns, uint64_t until_ns)
{
    const struct edge_model *model = proxy->choice.model;

    for (uint32_t i = 0; i < model->replica_count; i++) {
        const struct edge_replica *replica = &model->replicas[i];
        uint64_t blocked_ns =
            atomic_load_explicit(&replica->guard.blocked_until_ns, memory_order_relaxed);
        uint64_t trial_ns = atomic_load_explicit(&replica->trial_until_ns, memory_order_relaxed);

        if (blocked_ns == UINT64_MAX) /* a trial is under way */
            blocked_ns = now_ns + TRIAL_LOOK_NS;
        if (blocked_ns > now_ns && blocked_ns < until_ns)
            until_ns = blocked_ns;
        if (proxy->losses > 0 && trial_ns > now_ns && now_ns + TRIAL_LOOK_NS < until_ns)
            until_ns = now_ns + TRIAL_LOOK_NS;
    }
    return until_ns;
}

void waiting_for_replica(struct proxy *proxy, uint64_t now_ns)
{
    uint64_t until_ns = proxy->waiting.ready_deadline_ns;

    if (now_ns >= until_ns || !replica_choice_has_hope(&proxy->choice)) {
        refuse_not_ready(proxy);
        return;
    }
    if (proxy->choice.avoid != NULL && proxy->choice.avoid_until_ns > now_ns &&
        proxy->choice.avoid_until_ns < until_ns)
        until_ns = proxy->choice.avoid_until_ns;
    list_add(proxy);
    timer_arm(proxy, next_look_ns(proxy, now_ns, until_ns));
}

/* --- waking --- */

static void slots_collect(struct edge_loop *state, struct edge_model *model, uint64_t now_ns)
{
    struct admission_ticket *ticket;

    while ((ticket = admission_collect(model->admission, http_loop_index(state->loop), now_ns)) !=
           NULL) {
        struct proxy *proxy = CONTAINER_OF(ticket, struct proxy, waiting.ticket);

        if (admission_is_running(ticket)) {
            log_debug("gateway/edge", "request_id=%s has a slot of %s after %" PRIu64 " ms",
                      http_request_id(proxy->record->request), model->name,
                      (uint64_t)((ticket->granted_ns - ticket->enter_ns) / NS_PER_MS));
            wait_observe(proxy);
            proxy_dispatch(proxy);
        } else {
            refuse_late(proxy, QUEUE_PUSHED_OUT);
        }
    }
}

void proxy_wake(struct edge_loop *state, bool replicas_have_changed)
{
    uint64_t now_ns = clock_now_ns();

    for (uint32_t i = 0; i < state->edge->model_count; i++)
        slots_collect(state, &state->edge->models[i], now_ns);
    if (!replicas_have_changed)
        return;
    /* Each of those that wait now, once: who must go on waiting goes to the end. */
    for (uint32_t i = state->waiting_count; i > 0 && state->waiting != NULL; i--) {
        struct proxy *proxy = state->waiting;

        if (!admission_is_waiting(&proxy->waiting.ticket)) {
            proxy_dispatch(proxy);
        } else if (!slot_give_up(proxy, now_ns)) {
            list_remove(proxy);
            list_add(proxy);
        }
    }
}
