#include "engine_private.h"

#include "check.h"
#include "sleep.h"
#include "utf8.h"

/* The way in, on the caller's thread: check, ask at the queue's door, allocate, hand over. */

#define SEQUENCES_MAX   128u  /* n of one request */
#define STOPS_MAX       1024u /* stop strings of one request; the front end's own limit is lower */
#define STOP_BYTES_MAX  (64u * 1024u)
#define STOP_TOKENS_MAX 1024u
#define BIASES_MAX      4096u
#define BANS_MAX        1024u
#define END_TOKENS_MAX  256u /* what ends reasoning: a mark and what is around it, some twenty */

static bool stops_are_valid(const struct engine_request *request)
{
    if (request->stop_count > STOPS_MAX)
        return false;
    for (uint32_t i = 0; i < request->stop_count; i++) {
        struct text_slice stop = request->stops[i];
        if (stop.bytes == 0 || stop.bytes > STOP_BYTES_MAX || !utf8_is_valid(stop.data, stop.bytes))
            return false;
    }
    return true;
}

static bool tokens_are_valid(const engine *e, const int32_t *tokens, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= e->info.vocabulary)
            return false;
    }
    return true;
}

static bool reasoning_is_valid(const engine *e, const struct reasoning_budget *budget)
{
    return budget == NULL ||
           (budget->open.bytes > 0 && budget->close.bytes > 0 && budget->end_token_count >= 1 &&
            budget->end_token_count <= END_TOKENS_MAX &&
            tokens_are_valid(e, budget->end_tokens, budget->end_token_count));
}

static bool embedding_is_valid(const struct engine_request *request)
{
    return request->embedding == NULL ||
           (request->n == 1 && request->max_tokens == 1 && request->grammar == NULL &&
            request->reasoning == NULL && request->prompt_scores == NULL);
}

/* What follows from the tokens alone can be had again from them; a state that they do not tell cannot. */
static bool past_is_valid(const engine *e, const struct engine_request *request,
                          uint32_t output_count_max)
{
    if (request->past == NULL)
        return true;
    if (request->on_past == NULL || request->sampling.mirostat.is_on ||
        request->prompt_scores != NULL || request->embedding != NULL)
        return false;
    for (uint32_t i = 0; i < request->n; i++) {
        const struct engine_past *past = &request->past[i];
        if (past->count >= output_count_max || !tokens_are_valid(e, past->tokens, past->count))
            return false;
    }
    return true;
}

static bool request_is_valid(const engine *e, const struct engine_request *request)
{
    if (request->internal != NULL || request->on_event == NULL || request->prompt == NULL)
        return false;
    if (request->n < 1 || request->n > SEQUENCES_MAX || request->max_tokens < 1)
        return false;
    if (request->sampling.stop_token_count > STOP_TOKENS_MAX ||
        request->sampling.bias_count > BIASES_MAX || request->sampling.ban_count > BANS_MAX ||
        !stops_are_valid(request))
        return false;
    if (request->prompt_alternative_count > LOGPROBS_MAX ||
        (request->prompt_alternative_count > 0 && request->prompt_alternatives == NULL))
        return false;
    if (request->pin_count > ENGINE_PINS_MAX || request->prediction_count > e->info.context_max ||
        !tokens_are_valid(e, request->prediction, request->prediction_count))
        return false;
    if (!tokens_are_valid(e, request->prompt, request->prompt_count) ||
        !reasoning_is_valid(e, request->reasoning) || !embedding_is_valid(request))
        return false;
    return sampling_params_check(&request->sampling, e->info.vocabulary, NULL) == STATUS_OK;
}

status engine_submit(engine *e, struct engine_request *request)
{
    if (atomic_load_explicit(&e->is_draining, memory_order_relaxed) ||
        atomic_load_explicit(&e->is_failed, memory_order_relaxed))
        return STATUS_CLOSED;
    if (request->prompt_count < 1)
        return STATUS_INVALID;
    if (request->prompt_count >= e->info.context_max)
        return STATUS_TOO_LARGE;
    if (!request_is_valid(e, request))
        return STATUS_INVALID;

    uint32_t room = e->info.context_max - request->prompt_count;
    uint32_t output_count_max = request->max_tokens < room ? request->max_tokens : room;
    if (!past_is_valid(e, request, output_count_max))
        return STATUS_INVALID;
    status s = queue_gate_enter(&e->gate, request->prompt_count);
    if (s != STATUS_OK)
        return s;
    if (sleep_keeps_out(e)) {
        queue_gate_leave(&e->gate, request->prompt_count);
        return STATUS_AGAIN;
    }
    struct live_request *r;
    s = live_request_create(e, request, output_count_max, &r);
    if (s == STATUS_OK && request->past != NULL) {
        s = past_tokens_take(e, r);
        if (s != STATUS_OK)
            live_request_discard(r);
    }
    if (s != STATUS_OK) {
        queue_gate_leave(&e->gate, request->prompt_count);
        return s;
    }
    r->batch.arrival = atomic_fetch_add_explicit(&e->arrivals, 1, memory_order_relaxed);
    request->internal = r;
    live_request_signal(r, SIGNAL_SUBMIT);
    return STATUS_OK;
}

void engine_cancel(engine *e, struct engine_request *request)
{
    struct live_request *r = request->internal;
    CHECK(r != NULL && r->engine == e);
    live_request_signal(r, SIGNAL_CANCEL);
}
