#include "waiting.h"

#include "check.h"
#include "clock.h"
#include "proxy_state.h"

void waiting_leave(struct proxy *proxy)
{
    http_timer_cancel(&proxy->waiting.timer);
    http_timer_cancel(&proxy->waiting.head_timer);
    if (proxy->waiting.link == NULL)
        return;
    *proxy->waiting.link = proxy->waiting.next;
    if (proxy->waiting.next != NULL)
        proxy->waiting.next->waiting.link = proxy->waiting.link;
    else
        proxy->loop->waiting_tail = proxy->waiting.link;
    proxy->waiting.link = NULL;
    proxy->loop->waiting_count--;
    (void)atomic_fetch_sub_explicit(&proxy->choice.model->waiting_count, 1, memory_order_relaxed);
}

static void wait_over(struct http_timer *timer, http_loop *loop)
{
    (void)loop;
    proxy_dispatch(CONTAINER_OF(timer, struct proxy, waiting.timer));
}

/* Nothing has come for so long that the client should hear that it is not forgotten. From here on an error is an event
 * of the stream, and the front end sends the further comments. */
static void head_due(struct http_timer *timer, http_loop *loop)
{
    struct proxy *proxy = CONTAINER_OF(timer, struct proxy, waiting.head_timer);
    const struct http_header headers[] = {
        {text_slice_of("cache-control"), text_slice_of("no-cache")},
        {text_slice_of("x-accel-buffering"), text_slice_of("no")}};

    (void)loop;
    proxy->is_streaming = true;
    proxy->record->status_code = 200;
    http_stream_start(proxy->record->request, 200, headers, ARRAY_COUNT(headers),
                      "text/event-stream; charset=utf-8");
    (void)http_stream_write(proxy->record->request, text_slice_of(": waiting\n\n"));
}

static void head_timer_set(struct proxy *proxy)
{
    if (!proxy->wants_stream || proxy->is_streaming || proxy->keepalive_ns == 0)
        return;
    proxy->waiting.head_timer.run = head_due;
    http_timer_set(proxy->loop->loop, &proxy->waiting.head_timer,
                   proxy->record->start_ns + proxy->keepalive_ns);
}

void waiting_enter(struct proxy *proxy, uint64_t now_ns)
{
    uint64_t until_ns = proxy->waiting.deadline_ns;

    if (now_ns >= until_ns || !replica_choice_has_hope(&proxy->choice)) {
        proxy_fail(proxy, 503, "model_not_ready",
                   "No replica of the model is ready; try again later",
                   replica_choice_retry_ms(&proxy->choice, now_ns));
        return;
    }
    if (atomic_fetch_add_explicit(&proxy->choice.model->waiting_count, 1, memory_order_relaxed) >=
        proxy->choice.model->waiting_count_max) {
        (void)atomic_fetch_sub_explicit(&proxy->choice.model->waiting_count, 1,
                                        memory_order_relaxed);
        proxy_fail(proxy, 429, "queue_full",
                   "Too many requests wait for the model; try again later",
                   replica_choice_retry_ms(&proxy->choice, now_ns));
        return;
    }
    if (proxy->choice.avoid != NULL && proxy->choice.avoid_until_ns > now_ns &&
        proxy->choice.avoid_until_ns < until_ns)
        until_ns = proxy->choice.avoid_until_ns;
    proxy->waiting.next = NULL;
    proxy->waiting.link = proxy->loop->waiting_tail;
    *proxy->waiting.link = proxy;
    proxy->loop->waiting_tail = &proxy->waiting.next;
    proxy->loop->waiting_count++;
    proxy->waiting.timer.run = wait_over;
    http_timer_set(proxy->loop->loop, &proxy->waiting.timer, until_ns);
    head_timer_set(proxy);
}

void proxy_wake(struct edge_loop *state)
{
    /* Each of those that wait now, once: who must go on waiting goes to the end. */
    for (uint32_t i = state->waiting_count; i > 0 && state->waiting != NULL; i--)
        proxy_dispatch(state->waiting);
}
