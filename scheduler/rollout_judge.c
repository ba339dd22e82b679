#include "rollout_judge.h"

#include <math.h>

/* Terms that add less than this share of the sum are not added. */
#define TERM_MIN 1e-16
/* Looks after which nothing of the chance is left that matters; the requests have doubled as often. */
#define LOOKS_MAX 40u

/* --- the tests --- */

static double choose_log(double n, double k)
{
    int sign;

    return lgamma_r(n + 1, &sign) - lgamma_r(k + 1, &sign) - lgamma_r(n - k + 1, &sign);
}

double rollout_tail_over(const struct rollout_sample *sample, double rate)
{
    double n = (double)sample->count, k = (double)sample->bad, sum = 0, term;

    if (k <= n * rate)
        return 1;
    if (rate <= 0)
        return 0;
    term = exp(choose_log(n, k) + k * log(rate) + (n - k) * log1p(-rate));
    for (; k <= n && term > sum * TERM_MIN; k++) {
        sum += term;
        term *= (n - k) / (k + 1) * (rate / (1 - rate));
    }
    return sum < 1 ? sum : 1;
}

double rollout_tail_worse(const struct rollout_sample *fresh, const struct rollout_sample *old)
{
    double n = (double)fresh->count, m = (double)old->count, k = (double)fresh->bad;
    double bad = k + (double)old->bad, sum = 0, term;

    if (k * (n + m) <= bad * n)
        return 1;
    term = exp(choose_log(n, k) + choose_log(m, bad - k) - choose_log(n + m, bad));
    for (; k <= n && k <= bad && term > sum * TERM_MIN; k++) {
        sum += term;
        term *= (n - k) / (k + 1) * ((bad - k) / (m - bad + k + 1));
    }
    return sum < 1 ? sum : 1;
}

/* --- the judge --- */

static double chance_of(uint32_t look)
{
    return ROLLOUT_ERROR_CHANCE / ((look + 1.0) * (look + 2.0));
}

bool rollout_judge_look(struct rollout_judge *judge, const struct rollout_bound *bound,
                        const struct rollout_sample *fresh, const struct rollout_sample *old,
                        bool is_last)
{
    double due = ldexp((double)bound->count_min, (int)judge->looks);
    double chance = chance_of(judge->looks);

    if (fresh->count == 0 || fresh->count < bound->count_min ||
        ((double)fresh->count < due && !is_last) || judge->looks == LOOKS_MAX)
        return false;
    judge->looks++;
    if (rollout_tail_over(fresh, bound->rate_max) > chance)
        return false;
    if (old->count < bound->count_min)
        return !bound->needs_old;
    return rollout_tail_worse(fresh, old) <= chance;
}
