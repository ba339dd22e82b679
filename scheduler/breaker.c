#include "breaker.h"

static void open_it(struct breaker *breaker, const struct breaker_policy *policy, uint64_t now_ns)
{
    uint64_t wait_ns = policy->open_ns;

    for (uint32_t i = 0; i < breaker->opened_count && wait_ns < policy->open_max_ns; i++)
        wait_ns *= 2;
    if (wait_ns > policy->open_max_ns)
        wait_ns = policy->open_max_ns;
    *breaker = (struct breaker){.state = BREAKER_OPEN,
                                .open_until_ns = now_ns + wait_ns,
                                .opened_count = breaker->opened_count + 1};
}

bool breaker_begin(struct breaker *breaker, uint64_t now_ns, bool *is_trial)
{
    *is_trial = false;
    if (breaker->state == BREAKER_CLOSED)
        return true;
    if (breaker->state == BREAKER_OPEN && now_ns >= breaker->open_until_ns)
        breaker->state = BREAKER_TRYING;
    if (breaker->state != BREAKER_TRYING || breaker->has_trial)
        return false;
    *is_trial = breaker->has_trial = true;
    return true;
}

static void count(struct breaker *breaker, const struct breaker_policy *policy, bool has_failed,
                  uint64_t now_ns)
{
    if (now_ns >= breaker->window_end_ns) {
        breaker->window_end_ns = now_ns + policy->window_ns;
        breaker->window_total = breaker->window_failed = 0;
    }
    breaker->window_total++;
    breaker->window_failed += has_failed;
    breaker->failures_in_a_row = has_failed ? breaker->failures_in_a_row + 1 : 0;
}

static void end_closed(struct breaker *breaker, const struct breaker_policy *policy,
                       bool has_failed, uint64_t now_ns)
{
    bool is_row, is_share;

    count(breaker, policy, has_failed, now_ns);
    is_row = breaker->failures_in_a_row >= policy->failures_max;
    is_share = breaker->window_total >= policy->window_requests &&
               breaker->window_failed > policy->share_max * breaker->window_total;
    if (has_failed && policy->failures_max > 0 && (is_row || is_share))
        open_it(breaker, policy, now_ns);
}

void breaker_end(struct breaker *breaker, const struct breaker_policy *policy,
                 enum breaker_outcome outcome, bool is_trial, uint64_t now_ns)
{
    bool has_failed = outcome == BREAKER_FAILED;

    if (is_trial)
        breaker->has_trial = false;
    /* What was sent before it opened says nothing new. */
    if (outcome == BREAKER_UNKNOWN || (breaker->state != BREAKER_CLOSED && !is_trial))
        return;
    if (breaker->state == BREAKER_CLOSED)
        end_closed(breaker, policy, has_failed, now_ns);
    else if (has_failed)
        open_it(breaker, policy, now_ns);
    else if (++breaker->good_in_a_row >= policy->trial_count)
        *breaker = (struct breaker){.state = BREAKER_CLOSED};
}

uint64_t breaker_open_until_ns(const struct breaker *breaker)
{
    if (breaker->state == BREAKER_CLOSED)
        return 0;
    return breaker->has_trial ? UINT64_MAX : breaker->open_until_ns;
}

bool breaker_is_calm(const struct breaker *breaker, uint64_t now_ns)
{
    return breaker->state == BREAKER_CLOSED && breaker->failures_in_a_row == 0 &&
           (breaker->window_failed == 0 || now_ns >= breaker->window_end_ns);
}
