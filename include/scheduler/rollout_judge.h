#ifndef PENSTOCK_SCHEDULER_ROLLOUT_JUDGE_H
#define PENSTOCK_SCHEDULER_ROLLOUT_JUDGE_H

#include <stdbool.h>
#include <stdint.h>

/* Whether a new version does worse than it may, by how its requests ended beside those of the old one. Pure; any thread. */

/* Requests of which some went wrong in one way. */
struct rollout_sample {
    uint64_t count, bad;
};

/* How likely a version that goes wrong in `rate` of its requests, each by itself, would have had as many bad ones or more: the upper
 * tail of the binomial distribution (Clopper and Pearson 1934). 1 where no more than that share is bad. */
double rollout_tail_over(const struct rollout_sample *sample, double rate);

/* How likely the new version would have as many of all bad requests as it has, or more, if it were no worse than the old one: Fisher's
 * exact test, one-sided (Fisher 1935; the upper tail of the hypergeometric distribution). Exact for small counts too, where tests by
 * the normal distribution are not. 1 where the new version's share of bad ones is not the higher. */
double rollout_tail_worse(const struct rollout_sample *fresh, const struct rollout_sample *old);

/* The chance that a version which is as good as it must be is found bad, over all looks at it together. */
#define ROLLOUT_ERROR_CHANCE 0.01

/* A judge looks again each time that the requests have doubled, since who looks often enough finds something in mere chance: the k-th
 * look has ROLLOUT_ERROR_CHANCE / ((k + 1) (k + 2)), which sum up to it (union bound). */
struct rollout_judge {
    uint32_t looks;
};

struct rollout_bound {
    uint64_t
        count_min; /* fewer of the new version say nothing; so do fewer of the old one in the comparison */
    double rate_max; /* 0..1: as much goes wrong at most, or as much as with the old version */
    bool needs_old;  /* without count_min requests of the old one there is no verdict */
};

/* Looks at it, if a look is due, or if `is_last`: true when it is bad: more goes wrong than `rate_max`, and more than with the old
 * version, neither by chance. Without count_min requests of the old version the first is enough, unless the bound needs them. */
bool rollout_judge_look(struct rollout_judge *judge, const struct rollout_bound *bound,
                        const struct rollout_sample *fresh, const struct rollout_sample *old,
                        bool is_last);

#endif
