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
 * Many replicas. A choice among ROUTER_LOOK_MAX weighs them all. Of more it weighs ROUTER_SAMPLE by chance, and those with the most of the
 * prompt in their caches: the best of a few chosen by chance is nearly as good as the best of all (Mitzenmacher 2001, the power of
 * two choices; of 32 it is among the best 3 %), and what it costs no longer grows but for one glance at each cache. The
 * bound of load is then that of the sample.
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

struct load {
    uint64_t total, ready; /* total: with the newcomer */
};

static void load_add(struct load *load, const struct router_candidate *candidate)
{
    if (candidate->is_ready) {
        load->total += candidate->outstanding;
        load->ready++;
    }
}

static uint32_t load_bound(const struct load *load)
{
    return load->ready > 0 ? (uint32_t)((load->total * 5 + load->ready * 4 - 1) / (load->ready * 4))
                           : 0;
}

uint32_t router_load_bound(const struct router_candidate *candidates, uint32_t count)
{
    struct load load = {1, 0};

    for (uint32_t i = 0; i < count; i++)
        load_add(&load, &candidates[i]);
    return load_bound(&load);
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

static double read_ns(const struct router_candidate *candidate,
                      const struct router_request *request, double prefill_ns)
{
    uint32_t cached = candidate->cached_tokens < request->prompt_tokens ? candidate->cached_tokens
                                                                        : request->prompt_tokens;

    if (candidate->prefill_ns > 0)
        prefill_ns = candidate->prefill_ns;
    return (double)(request->prompt_tokens - cached) * prefill_ns;
}

double router_predicted_ttft_ns(const struct router_candidate *candidate,
                                const struct router_request *request, double prefill_ns)
{
    return candidate->step_ns / 2 + candidate->queued_ns + read_ns(candidate, request, prefill_ns);
}

/* --- who is looked at --- */

/* The ready ones that a choice weighs, and what each costs. */
struct field {
    const struct router_candidate *candidates;
    uint32_t index[ROUTER_LOOK_MAX];
    double cost_ns[ROUTER_LOOK_MAX];
    uint32_t count;
    uint32_t fair_count; /* of these, from the first: taken whatever is in their caches */
    double prefill_ns;   /* of a candidate that has not measured it */
};

_Static_assert(ROUTER_SAMPLE + ROUTER_CACHES <= ROUTER_LOOK_MAX, "a field has room for both");

static const struct router_candidate *field_at(const struct field *field, uint32_t place)
{
    return &field->candidates[field->index[place]];
}

static void field_add(struct field *field, uint32_t index)
{
    if (field->candidates[index].is_ready)
        field->index[field->count++] = index;
}

static void field_add_all(struct field *field, uint32_t count, uint32_t turn)
{
    uint32_t from = turn % count;

    for (uint32_t i = from; i < count && field->count < ROUTER_LOOK_MAX; i++)
        field_add(field, i);
    for (uint32_t i = 0; i < from && field->count < ROUTER_LOOK_MAX; i++)
        field_add(field, i);
}

/* By chance, each anew: of a fixed part (every tenth, say) the same ones would always vie with each other, and nothing would even
 * out between them and the rest. */
static void field_add_sample(struct field *field, uint32_t count, uint32_t turn)
{
    for (uint32_t i = 0; i < ROUTER_SAMPLE; i++)
        field_add(field, (uint32_t)((weight_of(turn, i) >> 32) * count >> 32));
}

/* Those with the most of the prompt; of equal ones the first from `turn` on. */
static void field_add_caches(struct field *field, uint32_t count, uint32_t turn)
{
    uint32_t best[ROUTER_CACHES], found = 0, least = 0, from = turn % count;

    for (uint32_t i = 0; i < count; i++) {
        uint32_t index = from + i < count ? from + i : from + i - count, place;
        uint32_t cached = field->candidates[index].cached_tokens;

        if (cached <= least || !field->candidates[index].is_ready)
            continue;
        place = found < ROUTER_CACHES ? found++ : ROUTER_CACHES - 1;
        for (; place > 0 && field->candidates[best[place - 1]].cached_tokens < cached; place--)
            best[place] = best[place - 1];
        best[place] = index;
        if (found == ROUTER_CACHES)
            least = field->candidates[best[ROUTER_CACHES - 1]].cached_tokens;
    }
    for (uint32_t i = 0; i < found; i++)
        field_add(field, best[i]);
}

/* The mean of those that have measured it, else the guess. */
static double mean_prefill_ns(const struct field *field)
{
    double sum = 0;
    uint32_t known = 0;

    for (uint32_t i = 0; i < field->count; i++) {
        if (field_at(field, i)->prefill_ns > 0) {
            sum += field_at(field, i)->prefill_ns;
            known++;
        }
    }
    return known > 0 ? sum / known : PREFILL_NS_GUESS;
}

static void field_make(struct field *field, const struct router_candidate *candidates,
                       uint32_t count, const struct router_request *request)
{
    field->candidates = candidates;
    field->count = field->fair_count = 0;
    if (count == 0)
        return;
    if (count > ROUTER_LOOK_MAX)
        field_add_sample(field, count, request->turn);
    if (field->count == 0)
        field_add_all(field, count, request->turn);
    field->fair_count = field->count;
    if (count > ROUTER_LOOK_MAX && field->count <= ROUTER_SAMPLE)
        field_add_caches(field, count, request->turn);
    field->prefill_ns = mean_prefill_ns(field);
    for (uint32_t i = 0; i < field->count; i++)
        field->cost_ns[i] =
            router_predicted_ttft_ns(field_at(field, i), request, field->prefill_ns) +
            read_ns(field_at(field, i), request, field->prefill_ns);
}

/* --- the choice among them --- */

/* The place of the one that costs least, of those with at most `outstanding_max` requests. */
static uint32_t cheapest(const struct field *field, uint32_t outstanding_max)
{
    uint32_t best = ROUTER_NONE;
    double least = INFINITY;

    for (uint32_t i = 0; i < field->count; i++) {
        if (field_at(field, i)->outstanding <= outstanding_max && field->cost_ns[i] < least)
            least = field->cost_ns[i];
    }
    for (uint32_t i = 0; i < field->count; i++) {
        uint32_t outstanding = field_at(field, i)->outstanding;

        if (outstanding <= outstanding_max && field->cost_ns[i] <= least * EQUAL_FACTOR &&
            (best == ROUTER_NONE || outstanding < field_at(field, best)->outstanding))
            best = i;
    }
    return best;
}

/* Whether what `far` saves of reading is worth that it has more requests than `near`. */
static bool is_worth_its_load(const struct field *field, uint32_t far, uint32_t near)
{
    const struct router_candidate *of_far = field_at(field, far), *of_near = field_at(field, near);
    double step_ns = of_far->step_ns > 0 ? of_far->step_ns : STEP_NS_GUESS;
    double surplus = of_far->outstanding > of_near->outstanding
                         ? (double)(of_far->outstanding - of_near->outstanding)
                         : 0;

    return field->cost_ns[near] - field->cost_ns[far] > surplus * step_ns;
}

/* A group's own replica, unless another is known to have more of the prompt, or it is much busier. */
static uint32_t session_home(const struct field *field, uint32_t count,
                             const struct router_request *request, uint32_t best)
{
    uint32_t least = UINT32_MAX - ROUTER_NEAR_SLACK, home;

    for (uint32_t i = 0; i < field->count; i++) {
        if (field_at(field, i)->outstanding < least)
            least = field_at(field, i)->outstanding;
    }
    home = group_home(field->candidates, count, request->group, least + ROUTER_NEAR_SLACK);
    return home != ROUTER_NONE &&
                   field->candidates[home].cached_tokens >= field->candidates[best].cached_tokens
               ? home
               : best;
}

static uint32_t predicted_ttft(const struct router_candidate *candidates, uint32_t count,
                               const struct router_request *request)
{
    struct field field;
    struct load load = {1, 0};
    uint32_t best, near, bound;

    field_make(&field, candidates, count, request);
    best = cheapest(&field, UINT32_MAX);
    if (best == ROUTER_NONE)
        return best;
    for (uint32_t i = 0; i < field.fair_count; i++)
        load_add(&load, field_at(&field, i));
    bound = load_bound(&load);
    if (field_at(&field, best)->outstanding >= bound) {
        near = cheapest(&field, bound - 1);
        if (!is_worth_its_load(&field, best, near))
            best = near;
    }
    best = field.index[best];
    return request->has_group ? session_home(&field, count, request, best) : best;
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
