#include "unit_test.h"

#include <math.h>
#include <stdbool.h>

#include "capacity.h"

#define MS 1e6
#define US 1e3

static bool is_near(double value, double expected, double difference)
{
    return fabs(value - expected) <= difference;
}

static const struct step_cost cost = {20 * MS, 100 * US, 0.1 * US};
static const struct load_shape shape = {1000, 0, 500, 0};
static const struct replica_limits wide = {1e9, 4096, 512};
static const struct service_level any = {0, 0};

static uint64_t chance = 1;
static double unit(void)
{
    chance = chance * 6364136223846793005ull + 1442695040888963407ull;
    return (double)(chance >> 11) * 0x1p-53;
}

/* --- the regression --- */

static void the_profile_stands_until_something_is_measured(void **state)
{
    struct step_model model;
    struct step_cost fit;
    (void)state;

    step_model_init(&model, &cost);
    fit = step_model_fit(&model);
    assert_true(is_near(fit.fixed_ns, cost.fixed_ns, 1));
    assert_true(is_near(fit.prefill_token_ns, cost.prefill_token_ns, 1e-3));
    assert_true(is_near(fit.kv_token_ns, cost.kv_token_ns, 1e-6));
}

static void steps_teach_what_they_cost_whatever_the_profile_said(void **state)
{
    static const struct step_cost profile = {60 * MS, 20 * US, 1 * US};
    struct step_model model;
    struct step_cost fit;
    (void)state;

    step_model_init(&model, &profile);
    for (int i = 0; i < 4000; i++) {
        double prefill = unit() < 0.3 ? 512 : 0, kv = 200000 * unit();
        double step = cost.fixed_ns + cost.prefill_token_ns * prefill + cost.kv_token_ns * kv;

        step_model_note(&model, prefill, kv, step * (1 + 0.05 * (2 * unit() - 1)));
    }
    fit = step_model_fit(&model);
    assert_true(is_near(fit.fixed_ns / cost.fixed_ns, 1, 0.02));
    assert_true(is_near(fit.prefill_token_ns / cost.prefill_token_ns, 1, 0.02));
    assert_true(is_near(fit.kv_token_ns / cost.kv_token_ns, 1, 0.02));
}

static void a_slower_device_is_noticed_within_its_memory(void **state)
{
    struct step_model model;
    (void)state;

    step_model_init(&model, &cost);
    for (int i = 0; i < 8000; i++) {
        double kv = 200000 * unit(), factor = i < 4000 ? 1 : 2;

        step_model_note(&model, 0, kv, factor * (cost.fixed_ns + cost.kv_token_ns * kv));
    }
    assert_true(is_near(step_model_fit(&model).fixed_ns / cost.fixed_ns, 2, 0.05));
}

static void no_price_is_ever_negative_and_nonsense_is_not_noted(void **state)
{
    struct step_model model;
    struct step_cost fit;
    (void)state;

    /* Steps that get shorter with what they hold: the best line would fall. */
    step_model_init(&model, &cost);
    for (int i = 0; i < 3000; i++) {
        double kv = 400000 * unit(), prefill = 2048 * unit();

        step_model_note(&model, prefill, kv, 100 * MS - 100 * kv - 1000 * prefill);
        step_model_note(&model, prefill, kv, NAN);
        step_model_note(&model, INFINITY, kv, 1);
        step_model_note(&model, prefill, kv, 0);
    }
    fit = step_model_fit(&model);
    assert_true(fit.fixed_ns > 0 && fit.prefill_token_ns >= 0 && fit.kv_token_ns >= 0);
    assert_true(isfinite(fit.fixed_ns + fit.prefill_token_ns + fit.kv_token_ns));
}

/* --- capacity --- */

static void slots_bound_what_nothing_else_does(void **state)
{
    const struct replica_limits limits = {1e9, 16, 512};
    enum capacity_bound bound;
    struct capacity capacity;
    (void)state;

    /* A step of 16: 20 ms + 100 us * 16 * 2 + 0.1 us * 16 * 1250 = 25.2 ms; 16 / (500 * 25.2 ms) a second. */
    capacity = capacity_under(&cost, &shape, &limits, &any, ROLE_MIXED, &bound);
    assert_int_equal(bound, BOUND_SEQUENCES);
    assert_true(is_near(capacity.requests_per_s, 16 / (500 * 0.0252), 1e-6));
    /* 16 generate; a 1.27th a second is read for 0.144 s, and half a step before. */
    assert_true(capacity.concurrency > 16 && capacity.concurrency < 16.3);
}

static void answers_of_uneven_length_fill_the_batch_with_long_ones(void **state)
{
    const struct load_shape uneven = {1000, 0, 500, 1};
    const struct replica_limits limits = {1e9, 16, 512};
    struct capacity capacity = capacity_under(&cost, &uneven, &limits, &any, ROLE_MIXED, NULL);
    (void)state;

    /* 250 tokens more in each: a step of 25.6 ms instead of 25.2 ms. */
    assert_true(is_near(capacity.requests_per_s, 16 / (500 * 0.0256), 1e-6));
}

static void the_cache_bounds_at_whole_requests(void **state)
{
    const struct replica_limits limits = {30000, 4096, 512};
    enum capacity_bound bound;
    struct capacity capacity;
    (void)state;

    capacity = capacity_under(&cost, &shape, &limits, &any, ROLE_MIXED, &bound);
    assert_int_equal(bound, BOUND_KV);
    assert_true(is_near(capacity.requests_per_s, 20 / (500 * (0.020 + 20 * 325e-6)), 1e-5));
}

static void the_inter_token_target_bounds_at_its_step(void **state)
{
    const struct service_level level = {0, 30 * MS};
    enum capacity_bound bound;
    struct capacity capacity;
    (void)state;

    /* 20 ms + b * (0.2 ms + 0.125 ms) = 30 ms: b = 30.77, each a token a step. */
    capacity = capacity_under(&cost, &shape, &wide, &level, ROLE_MIXED, &bound);
    assert_int_equal(bound, BOUND_INTER_TOKEN);
    assert_true(is_near(capacity.requests_per_s, 10 / 0.325 / (500 * 0.030), 1e-6));
}

static void long_prompts_are_bound_by_the_first_token(void **state)
{
    const struct load_shape prompts = {8000, 0, 50, 0};
    const struct service_level level = {4e9, 0};
    enum capacity_bound bound;
    struct capacity loose, tight;
    (void)state;

    loose = capacity_under(&cost, &prompts, &wide, &level, ROLE_MIXED, &bound);
    assert_int_equal(bound, BOUND_TTFT);
    tight =
        capacity_under(&cost, &prompts, &wide, &(struct service_level){2e9, 0}, ROLE_MIXED, &bound);
    assert_true(tight.requests_per_s < loose.requests_per_s);
    /* Reading alone takes 8000 / 512 chunks of 71.2 ms: it can never be more than one in that time. */
    assert_true(loose.requests_per_s < 1 / (8000.0 / 512 * 0.0712));
}

static void a_level_that_nobody_can_meet_has_next_to_no_capacity(void **state)
{
    const struct service_level level = {0, 10 * MS};
    struct capacity capacity = capacity_under(&cost, &shape, &wide, &level, ROLE_MIXED, NULL);
    (void)state;

    assert_true(capacity.requests_per_s > 0 && capacity.requests_per_s < 1e-3);
}

static void roles_count_their_own_work_only(void **state)
{
    const struct service_level level = {2e9, 30 * MS};
    enum capacity_bound bound;
    struct capacity prefill, decode, mixed;
    (void)state;

    prefill = capacity_under(&cost, &shape, &wide, &level, ROLE_PREFILL, &bound);
    assert_int_equal(bound, BOUND_TTFT);
    decode = capacity_under(&cost, &shape, &wide, &level, ROLE_DECODE, &bound);
    assert_int_equal(bound, BOUND_INTER_TOKEN);
    mixed = capacity_under(&cost, &shape, &wide, &level, ROLE_MIXED, NULL);
    assert_true(prefill.requests_per_s > mixed.requests_per_s);
    assert_true(decode.requests_per_s > mixed.requests_per_s);
    /* 20 ms + b * 0.125 ms = 30 ms: 80 at once. */
    assert_true(is_near(decode.requests_per_s, 80 / (500 * 0.030), 1e-6));
}

static void capacity_never_grows_when_anything_gets_harder(void **state)
{
    (void)state;

    for (int i = 0; i < 500; i++) {
        struct step_cost price = {50 * MS * unit(), 200 * US * unit(), 0.5 * US * unit()};
        struct load_shape load = {1 + 8000 * unit(), 2000 * unit(), 1 + 1000 * unit(), unit()};
        struct replica_limits limits = {1e4 + 1e6 * unit(), 1 + 200 * unit(), 64 + 2000 * unit()};
        struct service_level level = {1e9 + 9e9 * unit(), 20 * MS + 100 * MS * unit()};
        double before =
            capacity_under(&price, &load, &limits, &level, ROLE_MIXED, NULL).requests_per_s;
        struct step_cost dearer = {1.2 * price.fixed_ns, 1.2 * price.prefill_token_ns,
                                   1.2 * price.kv_token_ns};
        struct replica_limits less = {limits.kv_tokens / 2, limits.sequences / 2,
                                      limits.chunk_tokens};

        assert_true(before > 0 && isfinite(before));
        assert_true(
            capacity_under(&dearer, &load, &limits, &level, ROLE_MIXED, NULL).requests_per_s <=
            before * (1 + 1e-9));
        assert_true(capacity_under(&price, &load, &less, &level, ROLE_MIXED, NULL).requests_per_s <=
                    before * (1 + 1e-9));
    }
}

/* --- at a load --- */

/* A replica that batches continuously, step by step: prompts one after the other in chunks, beside all that generate. */
struct replay {
    double now, next_arrival;
    uint32_t waiting, running, left[4096],
        held[4096]; /* left: tokens to come; held: in the cache */
    double arrived[4096], chunk_left, first_sum, gap_sum;
    uint32_t head, firsts, gaps;
};

static void replay_arrivals(struct replay *replay, double rate_per_s)
{
    while (replay->next_arrival <= replay->now && replay->waiting < 4096) {
        replay->arrived[(replay->head + replay->waiting++) % 4096] = replay->next_arrival;
        replay->next_arrival += -log(unit()) / rate_per_s * 1e9;
    }
}

static void replay_step(struct replay *replay, const struct replica_limits *limits)
{
    double chunk = 0, kv = 0, step;

    if (replay->waiting > 0) {
        if (replay->chunk_left <= 0)
            replay->chunk_left = shape.prompt_tokens;
        chunk = fmin(replay->chunk_left, limits->chunk_tokens);
    }
    for (uint32_t i = 0; i < replay->running; i++)
        kv += replay->held[i];
    step = cost.fixed_ns + cost.prefill_token_ns * chunk + cost.kv_token_ns * kv;
    replay->now += step;
    for (uint32_t i = 0; i < replay->running; i++) {
        replay->gap_sum += step;
        replay->gaps++;
        replay->held[i]++;
        if (--replay->left[i] == 0) {
            replay->running--;
            replay->left[i] = replay->left[replay->running];
            replay->held[i] = replay->held[replay->running];
            i--;
        }
    }
    replay->chunk_left -= chunk;
    if (chunk > 0 && replay->chunk_left <= 0) {
        replay->first_sum += replay->now - replay->arrived[replay->head % 4096];
        replay->firsts++;
        replay->head++;
        replay->waiting--;
        replay->left[replay->running] = (uint32_t)shape.output_tokens - 1;
        replay->held[replay->running++] = (uint32_t)shape.prompt_tokens + 1;
    }
}

/* Within a fifth of what such a replica does, from idle to nine tenths of what it carries. Prompts of one length wait less for each other
 * than the formula's irregular ones, so it errs to the long side at high loads. */
static void times_at_a_load_are_those_of_a_replica_that_does_it(void **state)
{
    static const struct replica_limits limits = {1e9, 4096, 512};
    static const double shares[] = {0.05, 0.3, 0.6, 0.8};
    struct capacity most = capacity_under(&cost, &shape, &limits, &any, ROLE_MIXED, NULL);
    (void)state;

    for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
        double rate = shares[i] * most.requests_per_s;
        struct load_times times = load_times_at(&cost, &shape, &limits, rate);
        static struct replay replay;

        memset(&replay, 0, sizeof(replay));
        while (replay.firsts < 20000) {
            replay_arrivals(&replay, rate);
            if (replay.waiting == 0 && replay.running == 0)
                replay.now = replay.next_arrival;
            else
                replay_step(&replay, &limits);
        }
        double first = replay.first_sum / replay.firsts, gap = replay.gap_sum / replay.gaps;
        print_message(
            "load %.2f: first token %.1f, predicted %.1f ms; gap %.2f, predicted %.2f ms\n",
            shares[i], first / MS, times.ttft_ns / MS, gap / MS, times.inter_token_ns / MS);
        assert_true(is_near(times.inter_token_ns / gap, 1, 0.2));
        assert_true(is_near(times.ttft_ns / first, 1, 0.2) ||
                    (shares[i] > 0.5 && times.ttft_ns > first && times.ttft_ns < 2 * first));
    }
}

static void more_than_it_carries_takes_for_ever(void **state)
{
    struct capacity most = capacity_under(&cost, &shape, &wide, &any, ROLE_MIXED, NULL);
    static const struct replica_limits few = {1e9, 2, 512}, small = {3000, 4096, 512};
    (void)state;

    assert_true(isinf(load_times_at(&cost, &shape, &wide, 1.2 * most.requests_per_s).ttft_ns));
    assert_false(isinf(load_times_at(&cost, &shape, &wide, 0.5).ttft_ns));
    assert_true(isinf(load_times_at(&cost, &shape, &few, 0.5).ttft_ns));
    assert_true(isinf(load_times_at(&cost, &shape, &small, 0.5).ttft_ns));
}

static void a_model_is_measured_after_some_steps(void **state)
{
    struct step_model model;
    (void)state;

    step_model_init(&model, &cost);
    assert_false(step_model_is_measured(&model));
    for (int i = 0; i < 10; i++)
        step_model_note(&model, 0, 1000, 20 * MS);
    assert_true(step_model_is_measured(&model));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_at_a_load_are_those_of_a_replica_that_does_it),
        cmocka_unit_test(more_than_it_carries_takes_for_ever),
        cmocka_unit_test(a_model_is_measured_after_some_steps),
        cmocka_unit_test(the_profile_stands_until_something_is_measured),
        cmocka_unit_test(steps_teach_what_they_cost_whatever_the_profile_said),
        cmocka_unit_test(a_slower_device_is_noticed_within_its_memory),
        cmocka_unit_test(no_price_is_ever_negative_and_nonsense_is_not_noted),
        cmocka_unit_test(slots_bound_what_nothing_else_does),
        cmocka_unit_test(answers_of_uneven_length_fill_the_batch_with_long_ones),
        cmocka_unit_test(the_cache_bounds_at_whole_requests),
        cmocka_unit_test(the_inter_token_target_bounds_at_its_step),
        cmocka_unit_test(long_prompts_are_bound_by_the_first_token),
        cmocka_unit_test(a_level_that_nobody_can_meet_has_next_to_no_capacity),
        cmocka_unit_test(roles_count_their_own_work_only),
        cmocka_unit_test(capacity_never_grows_when_anything_gets_harder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
