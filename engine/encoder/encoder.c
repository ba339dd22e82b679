/* The encoder as a service: its thread, its queue, and how waiting texts become passes.
 *
 *   any thread   encoder_submit -> gate (counts) -> ring -> wakes the thread
 *   the thread   ring -> list of requests, oldest first -> texts of the oldest, then of the next, until a
 *                pass is full -> encoder_model_run -> on_done of the requests that are through
 *
 * A request's texts may lie in several passes, and a pass may hold texts of many requests. A text's
 * numbers do not depend on its neighbours, so order is all that batching changes. Everything a pass
 * needs is allocated at open. */
#include "encoder_private.h"

#include "clock.h"

const struct encoder_info *encoder_get_info(const encoder *e)
{
    return &e->info;
}

const tokenizer *encoder_get_tokenizer(const encoder *e)
{
    return e->tokens;
}

static bool is_well_formed(const encoder *e, const struct encoder_request *r)
{
    if (r->text_count == 0 || r->text_start[0] != 0)
        return false;
    for (uint32_t i = 0; i < r->text_count; i++)
        if (r->text_start[i + 1] <= r->text_start[i] ||
            r->text_start[i + 1] - r->text_start[i] > e->info.context_max)
            return false;
    for (uint32_t i = 0; i < r->text_start[r->text_count]; i++)
        if (r->tokens[i] < 0 || (uint32_t)r->tokens[i] >= e->info.vocabulary)
            return false;
    return true;
}

status encoder_submit(encoder *e, struct encoder_request *r)
{
    if (!is_well_formed(e, r))
        return STATUS_INVALID;
    if (atomic_load_explicit(&e->is_closing, memory_order_acquire))
        return STATUS_CLOSED;
    uint64_t tokens = r->text_start[r->text_count];
    uint64_t before = atomic_fetch_add_explicit(&e->waiting_tokens, tokens, memory_order_relaxed);
    uint32_t count = atomic_fetch_add_explicit(&e->waiting_count, 1, memory_order_relaxed);
    r->submitted_ns = clock_now_ns();
    r->next_text = 0;
    r->busy_ns = 0;
    /* one request alone is never too much */
    bool is_full = count >= e->options.queue_requests_max ||
                   (before > 0 && before + tokens > e->options.queue_tokens_max);
    if (is_full || ring_push(e->inbox, r) != STATUS_OK) {
        atomic_fetch_sub_explicit(&e->waiting_tokens, tokens, memory_order_relaxed);
        atomic_fetch_sub_explicit(&e->waiting_count, 1, memory_order_relaxed);
        return STATUS_FULL;
    }
    parking_signal(&e->parking);
    return STATUS_OK;
}

void encoder_get_stats(const encoder *e, struct encoder_stats *out)
{
    uint32_t running = atomic_load_explicit(&e->running, memory_order_relaxed);
    uint32_t all = atomic_load_explicit(&e->waiting_count, memory_order_relaxed);
    *out = (struct encoder_stats){
        .running = running,
        .waiting = all > running ? all - running : 0,
        .waiting_tokens = atomic_load_explicit(&e->waiting_tokens, memory_order_relaxed),
        .passes = atomic_load_explicit(&e->passes, memory_order_relaxed),
        .texts = atomic_load_explicit(&e->texts, memory_order_relaxed),
        .tokens = atomic_load_explicit(&e->pass_tokens, memory_order_relaxed),
        .busy_ns = atomic_load_explicit(&e->busy_ns, memory_order_relaxed),
        .pass_ms = atomic_load_explicit(&e->pass_ms, memory_order_relaxed),
    };
}

bool encoder_is_alive(const encoder *e, uint64_t now_ns, uint64_t limit_ns)
{
    uint64_t since = atomic_load_explicit(&e->busy_since_ns, memory_order_relaxed);
    return since == 0 || now_ns <= since || now_ns - since <= limit_ns;
}
