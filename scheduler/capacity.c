/* Capacity
 *
 * A replica batches continuously, so that its speed hangs on its load: with b sequences generating, each of which holds K tokens on
 * average, every step gives b tokens, b / O of them a request's last (O output tokens), and for each that ends a new prompt of
 * P tokens must be read. A step of the steady state therefore takes
 *
 *      step(b) = fixed + prefill_token * b * P / O + kv_token * b * K,      K = cached + P + O / 2 * (1 + v)
 *
 * (v the variation of O: who is met in the batch is met in proportion to its length, the inspection paradox)
 * and the replica answers b / (O * step(b)) requests a second. More sequences give more throughput and slower tokens: the capacity
 * is the largest b at which 99 of 100 requests meet the service level, and its cache and slots suffice. It is found by halving,
 * since everything that could be violated grows with b:
 *
 *   inter-token   step(b) <= target: a request's mean over its life is near the mean of all
 *   cache         b * (cached + P + O) <= tokens that the cache holds
 *   first token   half a step + the wait for prompts before + reading the own one. Prompts are read one after the other in
 *                 chunks, beside the generation: a queue with one server that works S for a prompt. The wait's tail is
 *                 exponential in heavy traffic (Kingman 1962); with lengths as irregular as the exponential distribution's
 *                 P(wait > t) = u exp(-(1 - u) t / S), u the share of time in which prompts are read. So 99 of 100 wait less than
 *                 S ln(100 u) / (1 - u).
 *
 * The other way round, at a given rate L of requests that come by a Poisson process, a stream meets b others on average (arrivals see time
 * averages; Wolff 1982), and each of its steps has the prompts that come meanwhile in it:
 *
 *      step = (fixed + kv_token * (1 + b) * K) / (1 - L * P * prefill_token)              b = L * O * step     (Little 1961)
 *
 * both linear in b, so solved at once. What is left below the fraction line is what the prompts leave of the time; where it or the
 * solution is negative, the load is more than the replica carries. A first token takes the rest of the step under way, if there is one, the wait
 * for prompts before (the mean of the queue above: u S / (1 - u)), and its own reading with the generation beside it.
 *
 * The regression forgets: a weight of 1 - 1/1024 a sample (Dynamo keeps 64, of one replica; these are of all that run the model on such a device). The profile counts as one sample in each direction, so that it decides what
 * measurements do not tell (the price of prompt tokens where none was read), and hardly anything else. */
#include "capacity.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "check.h"

#define FORGET         (1.0 / 1024)
#define PROFILE_WEIGHT 1.0
#define PREFILL_UNIT                                                                               \
    512.0 /* prompt tokens and tokens in the cache of a usual step: they bring what is */
#define KV_UNIT                                                                                    \
    65536.0 /* regressed to about 1, so that the profile weighs alike in each direction */
#define UNMET_SHARE       0.01
#define CAPACITY_LEAST    1e-6
#define SEQUENCES_MAX     65536.0
#define HALVINGS          48
#define PREFILL_SHARE_MAX 0.99
#define NS_PER_S          1e9
#define SAMPLES_MEASURED  4.0

void step_model_init(struct step_model *model, const struct step_cost *profile)
{
    memset(model, 0, sizeof(*model));
    model->profile = *profile;
}

void step_model_note(struct step_model *model, double prefill_tokens, double kv_tokens,
                     double step_ns)
{
    const double x[3] = {1, prefill_tokens / PREFILL_UNIT, kv_tokens / KV_UNIT};

    if (!(step_ns > 0) || !isfinite(step_ns + prefill_tokens + kv_tokens))
        return;
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 3; j++)
            model->moments[i][j] = (1 - FORGET) * model->moments[i][j] + x[i] * x[j];
        model->products[i] = (1 - FORGET) * model->products[i] + x[i] * step_ns;
    }
}

/* Solves the positive definite `a` x = `b` where x[i] is held at 0 wherever `is_zero`; by elimination, in place. */
static void solve(double a[3][3], double b[3], const bool is_zero[3], double x[3])
{
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 3 && is_zero[i]; j++)
            a[i][j] = a[j][i] = i == j ? 1 : 0;
        b[i] = is_zero[i] ? 0 : b[i];
    }
    for (int i = 0; i < 3; i++) {
        for (int row = i + 1; row < 3; row++) {
            double factor = a[row][i] / a[i][i];
            for (int j = i; j < 3; j++)
                a[row][j] -= factor * a[i][j];
            b[row] -= factor * b[i];
        }
    }
    for (int i = 2; i >= 0; i--) {
        x[i] = b[i];
        for (int j = i + 1; j < 3; j++)
            x[i] -= a[i][j] * x[j];
        x[i] /= a[i][i];
    }
}

struct step_cost step_model_fit(const struct step_model *model)
{
    const double prior[3] = {model->profile.fixed_ns,
                             model->profile.prefill_token_ns * PREFILL_UNIT,
                             model->profile.kv_token_ns * KV_UNIT};
    bool is_zero[3] = {false, false, false};
    double x[3];

    /* What comes out negative is held at zero and the rest fitted anew: at most as often as there are terms. */
    for (int round = 0; round < 3; round++) {
        double a[3][3], b[3];
        bool is_sound = true;

        for (int i = 0; i < 3; i++) {
            for (int j = 0; j < 3; j++)
                a[i][j] = model->moments[i][j] + (i == j ? PROFILE_WEIGHT : 0);
            b[i] = model->products[i] + PROFILE_WEIGHT * prior[i];
        }
        solve(a, b, is_zero, x);
        for (int i = 0; i < 3; i++) {
            is_zero[i] = is_zero[i] || x[i] < 0;
            is_sound = is_sound && x[i] >= 0;
        }
        if (is_sound)
            break;
    }
    return (struct step_cost){fmax(x[0], 0), fmax(x[1], 0) / PREFILL_UNIT, fmax(x[2], 0) / KV_UNIT};
}

bool step_model_is_measured(const struct step_model *model)
{
    return model->moments[0][0] >= SAMPLES_MEASURED;
}

/* --- capacity --- */

const char *capacity_bound_name(enum capacity_bound bound)
{
    static const char *const names[] = {"inter_token", "ttft", "kv", "sequences", "prefill"};

    CHECK((size_t)bound < ARRAY_COUNT(names));
    return names[bound];
}

/* What a replica does with `sequences` generating. */
struct operating_point {
    double step_ns, requests_per_ns, ttft_ns, prefill_share;
};

static struct operating_point point_at(const struct step_cost *cost, const struct load_shape *shape,
                                       const struct replica_limits *limits, double sequences)
{
    double prompt = shape->prompt_tokens, output = shape->output_tokens;
    double held =
        sequences * (shape->cached_tokens + prompt + output / 2 * (1 + shape->output_variation));
    double beside_ns = cost->fixed_ns + cost->kv_token_ns * held;
    double chunk = fmin(fmax(limits->chunk_tokens, 1), fmax(prompt, 1)), read_ns, wait_ns;
    struct operating_point point;

    point.step_ns = beside_ns + cost->prefill_token_ns * sequences * prompt / output;
    point.requests_per_ns = sequences / (output * point.step_ns);
    read_ns = prompt / chunk * (beside_ns + cost->prefill_token_ns * chunk);
    point.prefill_share = point.requests_per_ns * read_ns;
    wait_ns = point.prefill_share <= UNMET_SHARE ? 0
              : point.prefill_share >= 1
                  ? INFINITY
                  : read_ns * log(point.prefill_share / UNMET_SHARE) / (1 - point.prefill_share);
    point.ttft_ns = point.step_ns / 2 + wait_ns + read_ns;
    return point;
}

static bool is_met(const struct operating_point *point, const struct load_shape *shape,
                   const struct replica_limits *limits, const struct service_level *level,
                   double sequences, enum capacity_bound *bound)
{
    double held = shape->cached_tokens + shape->prompt_tokens + shape->output_tokens;

    if (sequences > limits->sequences)
        *bound = BOUND_SEQUENCES;
    else if (sequences * held > limits->kv_tokens)
        *bound = BOUND_KV;
    else if (level->inter_token_ns > 0 && point->step_ns > level->inter_token_ns)
        *bound = BOUND_INTER_TOKEN;
    else if (level->ttft_ns > 0 && point->ttft_ns > level->ttft_ns)
        *bound = BOUND_TTFT;
    else if (point->prefill_share > PREFILL_SHARE_MAX)
        *bound = BOUND_PREFILL;
    else
        return true;
    return false;
}

/* A replica that only reads hands each request on with its first token; one that only generates gets it read. */
static struct load_shape shape_for(const struct load_shape *shape, enum replica_role role)
{
    struct load_shape mine = *shape;

    mine.output_tokens = role == ROLE_PREFILL ? 1 : fmax(shape->output_tokens, 1);
    mine.output_variation = role == ROLE_PREFILL ? 0 : fmax(shape->output_variation, 0);
    if (role == ROLE_DECODE) {
        mine.cached_tokens += shape->prompt_tokens;
        mine.prompt_tokens = 0;
    }
    return mine;
}

struct capacity capacity_under(const struct step_cost *cost, const struct load_shape *shape,
                               const struct replica_limits *limits,
                               const struct service_level *level, enum replica_role role,
                               enum capacity_bound *bound)
{
    struct load_shape mine = shape_for(shape, role);
    struct service_level own = {role == ROLE_DECODE ? 0 : level->ttft_ns,
                                role == ROLE_PREFILL ? 0 : level->inter_token_ns};
    enum capacity_bound last = BOUND_SEQUENCES;
    double low = 0, high = SEQUENCES_MAX, mean_ttft_ns;
    struct operating_point point;

    for (int i = 0; i < HALVINGS; i++) {
        double middle = (low + high) / 2;
        point = point_at(cost, &mine, limits, middle);
        if (is_met(&point, &mine, limits, &own, middle, &last))
            low = middle;
        else
            high = middle;
    }
    if (bound != NULL)
        *bound = last;
    low = fmax(low, CAPACITY_LEAST);
    point = point_at(cost, &mine, limits, low);
    /* The mean wait of the same queue: u S / (1 - u). */
    mean_ttft_ns =
        point.step_ns / 2 + (point.requests_per_ns > 0
                                 ? point.prefill_share / point.requests_per_ns /
                                       fmax(1 - point.prefill_share, 1 - PREFILL_SHARE_MAX)
                                 : 0);
    return (struct capacity){
        .requests_per_s = fmax(point.requests_per_ns * NS_PER_S, CAPACITY_LEAST),
        .concurrency = fmax(low + point.requests_per_ns * mean_ttft_ns, CAPACITY_LEAST)};
}

/* --- at a load --- */

struct load_times load_times_at(const struct step_cost *cost, const struct load_shape *shape,
                                const struct replica_limits *limits, double requests_per_s)
{
    static const struct load_times too_much = {INFINITY, INFINITY, INFINITY};
    struct load_shape mine = shape_for(shape, ROLE_MIXED);
    double rate = requests_per_s / NS_PER_S, output = mine.output_tokens,
           prompt = mine.prompt_tokens;
    double held = mine.cached_tokens + prompt + output / 2 * (1 + mine.output_variation);
    double stream_ns = cost->kv_token_ns * held; /* what a stream adds to each step */
    double left = 1 - rate * (prompt * cost->prefill_token_ns + output * stream_ns);
    double chunk = fmin(fmax(limits->chunk_tokens, 1), fmax(prompt, 1));
    double beside_ns, read_ns, share;
    struct load_times times;

    if (left <= 0)
        return too_much;
    times.sequences = rate * output * (cost->fixed_ns + stream_ns) / left;
    times.inter_token_ns = (cost->fixed_ns + stream_ns * (1 + times.sequences)) /
                           (1 - rate * prompt * cost->prefill_token_ns);
    beside_ns = cost->fixed_ns + stream_ns * times.sequences;
    read_ns = prompt / chunk * (beside_ns + cost->prefill_token_ns * chunk);
    share = rate * read_ns;
    if (share >= 1 || times.sequences > limits->sequences ||
        times.sequences * (mine.cached_tokens + prompt + output) > limits->kv_tokens)
        return too_much;
    times.ttft_ns = (1 - exp(-times.sequences)) * times.inter_token_ns / 2 +
                    share * read_ns / (1 - share) + read_ns;
    return times;
}
