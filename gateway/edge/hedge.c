/* Hedged prefill
 *
 *   attempt_start -> hedge_arm ...... the time is over, no head: a copy to another replica
 *                                         |
 *        own head 200 -> cancel the copy  |  the copy's head 200 -> cancel the own exchange, the copy's takes its place
 *        own end without a good answer -> the copy takes its place (hedge_take_over)
 *                                         |  the copy's end, or a refusal: forgotten
 *
 * Until one of them is chosen nothing of either has reached the client, so whoever is chosen starts at the beginning. Both
 * have the same name (resumption.h), so that they would say the same. The time is the one that is set, and not before
 * what the set share of the model's recent first tokens took. */
#include "hedge.h"

#include "admission.h"
#include "allowance.h"
#include "check.h"
#include "clock.h"
#include "log.h"
#include "proxy_state.h"
#include "request_stories.h"
#include "scope.h"

static void count(const struct proxy *proxy, enum hedge_outcome outcome)
{
    struct stream_metrics *metrics = &proxy->record->edge->stream_metrics;

    metrics_add(metrics->models[proxy->choice.model->index].hedges[outcome], 1);
}

static bool is_of_class(const struct proxy *proxy, const struct config_hedge *class)
{
    const struct caller *caller = proxy->record->caller;
    const struct admission_request request = {.caller = caller,
                                              .priority = proxy->waiting.priority};

    return proxy->wants_stream && proxy->choice.keeper == NULL &&
           edge_ready_count(proxy->choice.model) > 1 &&
           waiting_room_band(&request) <= class->priority_max &&
           patterns_match(class->organisations, caller->organisation);
}

void hedge_init(struct proxy *proxy, const struct config_model *row)
{
    const struct config_hedge *class = &row->hedge;
    uint64_t usual_ns = quantile_tracker_get(&proxy->choice.model->first_token);

    proxy->hedge.quantile = class->quantile;
    proxy->hedge.after_ns = class->after_ns;
    if (class->quantile > 0 && usual_ns > class->after_ns)
        proxy->hedge.after_ns = usual_ns;
    if (!is_of_class(proxy, class))
        proxy->hedge.after_ns = 0;
}

void hedge_note_first(struct proxy *proxy, uint64_t now_ns)
{
    if (proxy->hedge.quantile > 0)
        quantile_tracker_note(&proxy->choice.model->first_token, proxy->hedge.quantile,
                              now_ns - proxy->attempt.start_ns);
}

/* --- the copy --- */

/* Another replica than the one that has it; NULL: none can take it now. */
static struct edge_replica *other_pick(struct proxy *proxy, uint64_t now_ns)
{
    struct replica_choice choice = proxy->choice;
    struct edge_replica *replica;

    replica_choice_avoid(&choice, proxy->attempt.replica, proxy->attempt.generation, now_ns);
    replica = replica_choice_pick(&choice, now_ns);
    return replica != proxy->attempt.replica ? replica : NULL;
}

static void send_copy(struct proxy *proxy)
{
    struct hedge *hedge = &proxy->hedge;
    uint64_t now_ns = clock_now_ns();
    struct edge_replica *replica = other_pick(proxy, now_ns);

    if (replica == NULL)
        return;
    hedge->is_sent = true;
    if (!retry_budget_spend(&proxy->choice.model->retries)) {
        count(proxy, HEDGE_REFUSED);
        return;
    }
    if (!replica_guard_begin(&replica->guard, now_ns, &hedge->attempt.is_breaker_trial))
        return;
    stored_replica_write(replica->id, hedge->number);
    log_info("gateway/edge", "request_id=%s is given to replica %s#%u too: %s#%u has not answered",
             http_request_id(proxy->record->request), proxy->choice.model->name, replica->index,
             proxy->choice.model->name, proxy->attempt.replica->index);
    if (attempt_send(proxy, &hedge->attempt, replica, hedge->number) != STATUS_OK) {
        request_stories_not_sent(&hedge->attempt);
        attempt_close(proxy, &hedge->attempt, BREAKER_UNKNOWN);
    }
}

static void timer_run(struct http_timer *timer, http_loop *loop)
{
    struct proxy *proxy = CONTAINER_OF(timer, struct proxy, hedge.timer);

    (void)loop;
    /* It may have broken off, and wait for a replica. */
    if (proxy->attempt.exchange != NULL && proxy->attempt.status_code == 0)
        send_copy(proxy);
}

void hedge_arm(struct proxy *proxy)
{
    struct hedge *hedge = &proxy->hedge;

    /* What a replica may have died of goes to one at a time. */
    if (hedge->after_ns == 0 || hedge->is_sent || proxy->losses > 0 ||
        proxy->attempt.splitter.has_begun)
        return;
    http_timer_cancel(&hedge->timer);
    hedge->timer.run = timer_run;
    http_timer_set(proxy->loop->loop, &hedge->timer, clock_now_ns() + hedge->after_ns);
}

/* The prompt of the one that is cancelled, which was read or was about to be. */
static void waste(const struct proxy *proxy)
{
    metrics_add(proxy_flow(proxy)->wasted[WASTE_HEDGED],
                (double)allowance_prompt_tokens(proxy->record));
}

static void drop(struct proxy *proxy, enum hedge_outcome outcome)
{
    struct attempt *attempt = &proxy->hedge.attempt;
    http_exchange *exchange = attempt->exchange;

    attempt_close(proxy, attempt, BREAKER_UNKNOWN);
    http_exchange_cancel(exchange);
    count(proxy, outcome);
    if (outcome == HEDGE_LOST)
        waste(proxy);
}

void hedge_cancel(struct proxy *proxy)
{
    http_timer_cancel(&proxy->hedge.timer);
    if (proxy->hedge.attempt.exchange != NULL)
        drop(proxy, HEDGE_LOST);
}

/* --- which of them --- */

/* The copy is the request's own exchange from now on. The time of its first token is reckoned from when the request was
 * first sent. */
static void become_own(struct proxy *proxy)
{
    struct hedge *hedge = &proxy->hedge;

    proxy->attempt.exchange = hedge->attempt.exchange;
    proxy->attempt.replica = hedge->attempt.replica;
    proxy->attempt.generation = hedge->attempt.generation;
    proxy->attempt.is_breaker_trial = hedge->attempt.is_breaker_trial;
    proxy->attempt.told = hedge->attempt.told;
    hedge->attempt.told = NULL;
    proxy->attempt.status_code = 0;
    proxy->attempt.is_event_stream = false;
    buffer_clear(&proxy->attempt.held);
    memcpy(proxy->number, hedge->number, sizeof(proxy->number));
    hedge->attempt.exchange = NULL;
    count(proxy, HEDGE_WON);
}

bool hedge_meet_head(struct proxy *proxy, const http_exchange *exchange, int status_code)
{
    http_exchange *own = proxy->attempt.exchange;

    if (exchange == own) {
        if (status_code == 200)
            hedge_cancel(proxy);
        return true;
    }
    if (status_code != 200) {
        drop(proxy, HEDGE_FAILED);
        return false;
    }
    attempt_close(proxy, &proxy->attempt, BREAKER_UNKNOWN);
    http_exchange_cancel(own);
    waste(proxy);
    become_own(proxy);
    return true;
}

bool hedge_meet_end(struct proxy *proxy, const http_exchange *exchange, status result)
{
    if (exchange == proxy->attempt.exchange)
        return false;
    attempt_lose(proxy, &proxy->hedge.attempt, result);
    count(proxy, HEDGE_FAILED);
    return true;
}

bool hedge_take_over(struct proxy *proxy)
{
    int status_code = proxy->attempt.status_code;

    if (proxy->hedge.attempt.exchange == NULL ||
        (status_code != 0 && status_code < 500 && status_code != 429))
        return false;
    become_own(proxy);
    return true;
}
