/* Router
 *
 * Predicted time to first token. What a request waits for is the step that runs, the prompts that are read before its own,
 * and its own prompt without what the replica's cache holds:
 *
 *      ttft = step / 2  +  time of the prompts before  +  (prompt tokens - cached tokens) * time of a prompt's token
 *
 * with the time of a prompt's token as that replica has measured it lately beside as much generation as it runs now. All of it is known
 * exactly of a local replica (its shared page, and what this gateway has sent it), so a prompt's home follows from where its blocks
 * really lie, not from a memory of where it was once sent. Nothing need be tuned: a long shared prefix outweighs a queue, a
 * short one does not.
 *
 * What a prompt costs. Reading it keeps whoever comes behind it waiting for as long, so what the cache lacks counts twice in the
 * choice: once as this request's own wait, once as the next one's. With it once only, busy replicas send conversations away from
 * their blocks to save a moment, everybody reads more, and all wait longer (bench/routing).
 *
 * Near the best. Costs within a twentieth of the best are the same: of these the one with fewest requests is taken, and of
 * equal ones by turns. A group (session) goes to its own replica where that costs little: its blocks may be in a cache that
 * we cannot see.
 *
 * Bounded load. Each request in a replica slows all others there, which the newcomer's own first token does not tell. So beyond
 * router_load_bound a replica is taken only if the reading that it saves takes longer than what the surplus of requests
 * costs: a step for each.
 *
 * Groups. Which replica a group agrees on follows from the numbers alone, and changes for few groups when a replica comes or
 * goes (rendezvous hashing, Thaler and Ravishankar 1998). */
#include "router.h"

#include <math.h>

/* Where nobody has measured anything yet; only its ratio to a step matters, and that for the first requests. */
#define PREFILL_NS_GUESS 1e6
#define STEP_NS_GUESS    1e7
/* Costs that are no higher than this factor of the least are equal. */
#define EQUAL_FACTOR 1.05

uint32_t router_pick(const struct router_candidate *candidates, uint32_t count, uint32_t turn,
                     uint32_t avoid)
{
    uint32_t best = ROUTER_NONE;

    for (uint32_t i = 0; i < count; i++) {
        uint32_t index = (turn % count + i) % count;

        if (!candidates[index].is_ready || index == avoid)
            continue;
        if (best == ROUTER_NONE || candidates[index].outstanding < candidates[best].outstanding)
            best = index;
    }
    if (best == ROUTER_NONE && avoid < count && candidates[avoid].is_ready)
        return avoid;
    return best;
}

/* --- groups --- */

/* The finisher of SplitMix64 (Steele et al. 2014): every bit of the result hangs on every bit of both. */
static uint64_t weight_of(uint64_t group, uint32_t index)
{
    uint64_t value = group + (index + 1) * 0x9E3779B97F4A7C15ull;

    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9ull;
    value = (value ^ value >> 27) * 0x94D049BB133111EBull;
    return value ^ value >> 31;
}

/* The group's first ready choice among those with at most `outstanding_max` requests. */
static uint32_t group_home(const struct router_candidate *candidates, uint32_t count,
                           uint64_t group, uint32_t outstanding_max)
{
    uint32_t home = ROUTER_NONE;

    for (uint32_t i = 0; i < count; i++) {
        if (!candidates[i].is_ready || candidates[i].outstanding > outstanding_max)
            continue;
        if (home == ROUTER_NONE || weight_of(group, i) > weight_of(group, home))
            home = i;
    }
    return home;
}

uint32_t router_load_bound(const struct router_candidate *candidates, uint32_t count)
{
    uint64_t total = 1, ready = 0;

    for (uint32_t i = 0; i < count; i++) {
        if (candidates[i].is_ready) {
            total += candidates[i].outstanding;
            ready++;
        }
    }
    return ready > 0 ? (uint32_t)((total * 5 + ready * 4 - 1) / (ready * 4)) : 0;
}

static uint32_t consistent_hash(const struct router_candidate *candidates, uint32_t count,
                                const struct router_request *request)
{
    uint32_t bound = router_load_bound(candidates, count), home;

    if (!request->has_group)
        return router_pick(candidates, count, request->turn, ROUTER_NONE);
    /* The bound counts the newcomer, so somebody is always below it. */
    home = group_home(candidates, count, request->group, bound > 0 ? bound - 1 : 0);
    return home;
}

static uint32_t round_robin(const struct router_candidate *candidates, uint32_t count,
                            uint32_t turn)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t index = (turn % count + i) % count;

        if (candidates[index].is_ready)
            return index;
    }
    return ROUTER_NONE;
}

/* --- predicted time to first token --- */

double router_predicted_ttft_ns(const struct router_candidate *candidate,
                                const struct router_request *request, double prefill_ns)
{
    uint32_t cached = candidate->cached_tokens < request->prompt_tokens ? candidate->cached_tokens
                                                                        : request->prompt_tokens;

    if (candidate->prefill_ns > 0)
        prefill_ns = candidate->prefill_ns;
    return candidate->step_ns / 2 + candidate->queued_ns +
           (double)(request->prompt_tokens - cached) * prefill_ns;
}

static double cost_ns(const struct router_candidate *candidate,
                      const struct router_request *request, double prefill_ns)
{
    double read_ns = router_predicted_ttft_ns(candidate, request, prefill_ns) -
                     candidate->queued_ns - candidate->step_ns / 2;

    return router_predicted_ttft_ns(candidate, request, prefill_ns) + read_ns;
}

/* What stands in for a time that a replica has not measured: the mean of the others, else the guess. */
static double mean_prefill_ns(const struct router_candidate *candidates, uint32_t count)
{
    double sum = 0;
    uint32_t known = 0;

    for (uint32_t i = 0; i < count; i++) {
        if (candidates[i].prefill_ns > 0) {
            sum += candidates[i].prefill_ns;
            known++;
        }
    }
    return known > 0 ? sum / known : PREFILL_NS_GUESS;
}

static bool is_open(const struct router_candidate *candidate, uint32_t outstanding_max)
{
    return candidate->is_ready && candidate->outstanding <= outstanding_max;
}

/* Of the ready candidates with at most `outstanding_max` requests the one that costs least. */
static uint32_t cheapest(const struct router_candidate *candidates, uint32_t count,
                         const struct router_request *request, double prefill_ns,
                         uint32_t outstanding_max)
{
    uint32_t best = ROUTER_NONE;
    double least = INFINITY;

    for (uint32_t i = 0; i < count; i++) {
        double cost = cost_ns(&candidates[i], request, prefill_ns);

        if (is_open(&candidates[i], outstanding_max) && cost < least)
            least = cost;
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct router_candidate *one = &candidates[(request->turn % count + i) % count];

        if (is_open(one, outstanding_max) &&
            cost_ns(one, request, prefill_ns) <= least * EQUAL_FACTOR &&
            (best == ROUTER_NONE || one->outstanding < candidates[best].outstanding))
            best = (uint32_t)(one - candidates);
    }
    return best;
}

/* Whether what `far` saves of reading is worth that it has more requests than `near`. */
static bool is_worth_its_load(const struct router_candidate *far,
                              const struct router_candidate *near,
                              const struct router_request *request, double prefill_ns)
{
    double step_ns = far->step_ns > 0 ? far->step_ns : STEP_NS_GUESS;
    double surplus =
        far->outstanding > near->outstanding ? (double)(far->outstanding - near->outstanding) : 0;
    double gain = cost_ns(near, request, prefill_ns) - cost_ns(far, request, prefill_ns);

    return gain > surplus * step_ns;
}

/* A group's own replica, unless another is known to have more of the prompt, or it is much busier. */
static uint32_t session_home(const struct router_candidate *candidates, uint32_t count,
                             const struct router_request *request, uint32_t best)
{
    uint32_t least = router_pick(candidates, count, request->turn, ROUTER_NONE);
    uint32_t home = group_home(candidates, count, request->group,
                               candidates[least].outstanding + ROUTER_NEAR_SLACK);

    return home != ROUTER_NONE && candidates[home].cached_tokens >= candidates[best].cached_tokens
               ? home
               : best;
}

static uint32_t predicted_ttft(const struct router_candidate *candidates, uint32_t count,
                               const struct router_request *request)
{
    double prefill_ns = mean_prefill_ns(candidates, count);
    uint32_t bound = router_load_bound(candidates, count);
    uint32_t best = cheapest(candidates, count, request, prefill_ns, UINT32_MAX), near;

    if (best == ROUTER_NONE)
        return best;
    if (candidates[best].outstanding >= bound) {
        near = cheapest(candidates, count, request, prefill_ns, bound - 1);
        if (!is_worth_its_load(&candidates[best], &candidates[near], request, prefill_ns))
            best = near;
    }
    return request->has_group ? session_home(candidates, count, request, best) : best;
}

/* --- the whole --- */

uint32_t router_choose(enum router_policy policy, const struct router_candidate *candidates,
                       uint32_t count, const struct router_request *request)
{
    switch (policy) {
    case ROUTER_LEAST_LOAD:
        return router_pick(candidates, count, request->turn, ROUTER_NONE);
    case ROUTER_ROUND_ROBIN:
        return round_robin(candidates, count, request->turn);
    case ROUTER_CONSISTENT_HASH:
        return consistent_hash(candidates, count, request);
    default:
        return predicted_ttft(candidates, count, request);
    }
}

uint32_t router_pick_version(const uint32_t *weights, uint32_t count, uint64_t number)
{
    uint64_t total = 0, place;

    for (uint32_t i = 0; i < count; i++)
        total += weights[i];
    /* The high bits of a product are as even as the number. */
    place = (uint64_t)((unsigned __int128)weight_of(number, 0) * total >> 64);
    for (uint32_t i = 0; i < count; i++) {
        if (place < weights[i])
            return i;
        place -= weights[i];
    }
    return count - 1;
}
