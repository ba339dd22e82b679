#include "unit_test.h"

#include <string.h>

#include "router.h"

static void the_least_loaded_ready_replica_is_picked(void **state)
{
    const struct router_candidate candidates[] = {{.is_ready = true, .outstanding = 5},
                                                  {.is_ready = false},
                                                  {.is_ready = true, .outstanding = 2},
                                                  {.is_ready = true, .outstanding = 3}};

    (void)state;
    for (uint32_t turn = 0; turn < 9; turn++)
        assert_int_equal(router_pick(candidates, 4, turn, ROUTER_NONE), 2);
}

static void equal_replicas_take_turns(void **state)
{
    const struct router_candidate candidates[] = {{.is_ready = true, .outstanding = 1},
                                                  {.is_ready = true, .outstanding = 1},
                                                  {.is_ready = true, .outstanding = 1}};
    uint32_t picked[3] = {0};

    (void)state;
    for (uint32_t turn = 0; turn < 30; turn++)
        picked[router_pick(candidates, 3, turn, ROUTER_NONE)]++;
    for (int i = 0; i < 3; i++)
        assert_int_equal(picked[i], 10);
}

static void none_ready_is_none(void **state)
{
    const struct router_candidate candidates[] = {{.is_ready = false}, {.is_ready = false}};

    (void)state;
    assert_int_equal(router_pick(candidates, 2, 1, ROUTER_NONE), ROUTER_NONE);
    assert_int_equal(router_pick(candidates, 2, 1, 0), ROUTER_NONE);
    assert_int_equal(router_pick(candidates, 0, 1, ROUTER_NONE), ROUTER_NONE);
}

static void the_avoided_one_is_only_taken_when_alone(void **state)
{
    struct router_candidate candidates[] = {{.is_ready = true},
                                            {.is_ready = true, .outstanding = 9}};

    (void)state;
    assert_int_equal(router_pick(candidates, 2, 0, 0), 1);
    candidates[1].is_ready = false;
    assert_int_equal(router_pick(candidates, 2, 0, 0), 0);
}

/* Replicas of different speed: each finishes `speed` requests while ten come in. */
static void slow_replicas_get_fewer_requests(void **state)
{
    struct router_candidate candidates[] = {
        {.is_ready = true}, {.is_ready = true}, {.is_ready = true}};
    const uint32_t speed[] = {8, 4, 1};
    uint32_t sent[3] = {0}, turn = 0;

    (void)state;
    for (int round = 0; round < 1000; round++) {
        for (int i = 0; i < 10; i++) {
            uint32_t index = router_pick(candidates, 3, turn++, ROUTER_NONE);

            candidates[index].outstanding++;
            sent[index]++;
        }
        for (int i = 0; i < 3; i++)
            candidates[i].outstanding -=
                candidates[i].outstanding < speed[i] ? candidates[i].outstanding : speed[i];
    }
    assert_true(sent[0] > sent[1] && sent[1] > sent[2]);
    assert_true(sent[2] <= 1100 && sent[0] >= 4500);
}

/* Groups spread evenly, and only those of a replica that goes move. */
static void a_group_stays_with_its_replica_as_long_as_it_is_there(void **state)
{
    enum { COUNT = 5, GROUPS = 5000 };
    struct router_candidate candidates[COUNT] = {{.is_ready = true, .outstanding = 3},
                                                 {.is_ready = true},
                                                 {.is_ready = true, .outstanding = 4},
                                                 {.is_ready = true, .outstanding = 2},
                                                 {.is_ready = true, .outstanding = 1}};
    uint32_t home[GROUPS], sizes[COUNT] = {0}, moved = 0;

    (void)state;
    for (uint32_t group = 0; group < GROUPS; group++) {
        struct router_request request = {.has_group = true, .group = group, .turn = group};

        home[group] = router_choose(ROUTER_PREDICTED_TTFT, candidates, COUNT, &request);
        sizes[home[group]]++;
        for (request.turn = 0; request.turn < 5; request.turn++)
            assert_int_equal(router_choose(ROUTER_PREDICTED_TTFT, candidates, COUNT, &request),
                             home[group]);
    }
    for (uint32_t i = 0; i < COUNT; i++)
        assert_true(sizes[i] > GROUPS / COUNT * 8 / 10 && sizes[i] < GROUPS / COUNT * 12 / 10);
    candidates[2].is_ready = false;
    for (uint32_t group = 0; group < GROUPS; group++) {
        struct router_request request = {.has_group = true, .group = group, .turn = group};
        uint32_t now = router_choose(ROUTER_PREDICTED_TTFT, candidates, COUNT, &request);

        assert_int_not_equal(now, 2);
        assert_true(now == home[group] || home[group] == 2);
        moved += now != home[group];
    }
    assert_int_equal(moved, sizes[2]);
}

static void a_group_leaves_a_replica_that_is_too_busy_or_has_less_of_the_prompt(void **state)
{
    struct router_candidate candidates[] = {{.is_ready = true}, {.is_ready = true}};
    struct router_request request = {.prompt_tokens = 500, .has_group = true, .group = 42};
    uint32_t home = router_choose(ROUTER_PREDICTED_TTFT, candidates, 2, &request);

    (void)state;
    candidates[home].outstanding = ROUTER_NEAR_SLACK;
    assert_int_equal(router_choose(ROUTER_PREDICTED_TTFT, candidates, 2, &request), home);
    candidates[home].outstanding = ROUTER_NEAR_SLACK + 1;
    assert_int_equal(router_choose(ROUTER_PREDICTED_TTFT, candidates, 2, &request), 1 - home);
    candidates[1 - home].is_ready = false;
    assert_int_equal(router_choose(ROUTER_PREDICTED_TTFT, candidates, 2, &request), home);
    candidates[1 - home] = (struct router_candidate){.is_ready = true, .cached_tokens = 256};
    candidates[home].outstanding = 0;
    assert_int_equal(router_choose(ROUTER_PREDICTED_TTFT, candidates, 2, &request), 1 - home);
    candidates[home].cached_tokens = 256;
    assert_int_equal(router_choose(ROUTER_PREDICTED_TTFT, candidates, 2, &request), home);
    candidates[0].is_ready = candidates[1].is_ready = false;
    assert_int_equal(router_choose(ROUTER_PREDICTED_TTFT, candidates, 2, &request), ROUTER_NONE);
}

/* --- all policies, any candidates --- */

static uint64_t random_state = 1;

static uint32_t random_below(uint32_t limit)
{
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)((random_state >> 33) % limit);
}

static void random_candidates(struct router_candidate *candidates, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        candidates[i] = (struct router_candidate){
            .is_ready = random_below(4) > 0,
            .outstanding = random_below(20),
            .cached_tokens = random_below(2) * random_below(3000),
            .queued_ns = random_below(2) * random_below(5000) * 1e6,
            .prefill_ns = random_below(3) > 0 ? 1e5 * (1 + random_below(50)) : 0,
            .step_ns = random_below(3) > 0 ? 1e6 * (1 + random_below(50)) : 0,
        };
}

static void only_a_ready_replica_is_chosen_and_one_is_when_there_is_one(void **state)
{
    struct router_candidate candidates[8];

    (void)state;
    for (uint32_t round = 0; round < 20000; round++) {
        uint32_t count = 1 + random_below(8), ready = 0;
        struct router_request request = {.prompt_tokens = random_below(3000),
                                         .has_group = random_below(2) == 0,
                                         .group = random_below(100),
                                         .turn = round};

        random_candidates(candidates, count);
        for (uint32_t i = 0; i < count; i++)
            ready += candidates[i].is_ready;
        for (int policy = 0; policy < ROUTER_POLICY_COUNT; policy++) {
            uint32_t chosen =
                router_choose((enum router_policy)policy, candidates, count, &request);

            if (ready == 0)
                assert_int_equal(chosen, ROUTER_NONE);
            else
                assert_true(chosen < count && candidates[chosen].is_ready);
        }
    }
}

/* The time to the first token, and what the reading takes once more for those behind it. */
static double cost_ns(const struct router_candidate *candidate,
                      const struct router_request *request, double prefill_ns)
{
    double ttft_ns = router_predicted_ttft_ns(candidate, request, prefill_ns);

    return 2 * ttft_ns - candidate->queued_ns - candidate->step_ns / 2;
}

/* What ROUTER_PREDICTED_TTFT promises of each choice without a group. */
static void the_least_cost_wins_within_the_bound_of_load(void **state)
{
    struct router_candidate candidates[6];
    uint32_t above = 0, within = 0;

    (void)state;
    for (uint32_t round = 0; round < 20000; round++) {
        struct router_request request = {.prompt_tokens = random_below(3000), .turn = round};
        uint32_t count = 2 + random_below(5), chosen, bound;
        double chosen_ns, inside_ns = 1e30, step_ns;

        random_candidates(candidates, count);
        for (uint32_t i = 0; i < count; i++) /* measured everywhere: predictions compare */
            candidates[i].prefill_ns = 1e5 * (1 + random_below(50));
        chosen = router_choose(ROUTER_PREDICTED_TTFT, candidates, count, &request);
        bound = router_load_bound(candidates, count);
        if (chosen == ROUTER_NONE)
            continue;
        chosen_ns = cost_ns(&candidates[chosen], &request, 0);
        step_ns = candidates[chosen].step_ns > 0 ? candidates[chosen].step_ns : 1e7;
        for (uint32_t i = 0; i < count; i++) {
            double other_ns = cost_ns(&candidates[i], &request, 0);

            if (candidates[i].is_ready && candidates[i].outstanding < bound && other_ns < inside_ns)
                inside_ns = other_ns;
        }
        assert_true(chosen_ns <= inside_ns * 1.0501);
        within += candidates[chosen].outstanding < bound;
        if (candidates[chosen].outstanding < bound)
            continue;
        above++; /* then what it saves outweighs a step for each request of the surplus */
        assert_true(inside_ns * 1.0501 - chosen_ns >
                    (candidates[chosen].outstanding - bound + 1) * step_ns);
    }
    assert_true(above > 100 && within > 1000); /* both happen */
}

static void consistent_hashing_keeps_the_bound(void **state)
{
    struct router_candidate candidates[5] = {{.is_ready = true},
                                             {.is_ready = true},
                                             {.is_ready = true},
                                             {.is_ready = true},
                                             {.is_ready = true}};

    (void)state;
    for (uint32_t i = 0; i < 1000; i++) { /* a single group, nothing ends */
        struct router_request request = {.has_group = true, .group = 7, .turn = i};
        uint32_t bound = router_load_bound(candidates, 5);
        uint32_t chosen = router_choose(ROUTER_CONSISTENT_HASH, candidates, 5, &request);

        candidates[chosen].outstanding++;
        assert_true(candidates[chosen].outstanding <= bound);
    }
    for (uint32_t i = 0; i < 5; i++) /* a quarter more than the fifth of them */
        assert_true(candidates[i].outstanding <= 251);
}

static void round_robin_goes_round_those_that_are_ready(void **state)
{
    struct router_candidate candidates[] = {{.is_ready = true, .outstanding = 9},
                                            {.is_ready = false},
                                            {.is_ready = true},
                                            {.is_ready = true}};
    uint32_t taken[4] = {0};

    (void)state;
    for (uint32_t turn = 0; turn < 400; turn++) {
        struct router_request request = {.turn = turn};

        taken[router_choose(ROUTER_ROUND_ROBIN, candidates, 4, &request)]++;
    }
    assert_int_equal(taken[0], 100);
    assert_int_equal(taken[1], 0);
    assert_int_equal(taken[2] + taken[3], 300);
}

/* --- more than a choice weighs one by one --- */

#define MANY 500u

static void many_replicas_are_loaded_evenly(void **state)
{
    static struct router_candidate candidates[MANY];
    static uint32_t queue[20 * MANY];
    uint32_t most = 0, least = UINT32_MAX;

    (void)state;
    for (uint32_t i = 0; i < MANY; i++)
        candidates[i] =
            (struct router_candidate){.is_ready = true, .prefill_ns = 1e5, .step_ns = 1e7};
    for (uint32_t turn = 0; turn < 200 * MANY; turn++) { /* twenty each, which end in any order */
        struct router_request request = {.prompt_tokens = 500, .turn = turn};
        uint32_t place = turn % (20 * MANY), other = random_below(20 * MANY), ended;

        if (turn >= 20 * MANY) {
            ended = queue[other];
            queue[other] = queue[place];
            candidates[ended].outstanding--;
        }
        queue[place] = router_choose(ROUTER_PREDICTED_TTFT, candidates, MANY, &request);
        assert_true(queue[place] < MANY);
        assert_int_equal(router_choose(ROUTER_PREDICTED_TTFT, candidates, MANY, &request),
                         queue[place]);
        candidates[queue[place]].outstanding++;
    }
    for (uint32_t i = 0; i < MANY; i++) {
        most = candidates[i].outstanding > most ? candidates[i].outstanding : most;
        least = candidates[i].outstanding < least ? candidates[i].outstanding : least;
    }
    print_message("%u to %u of 20 requests each\n", least, most);
    assert_true(most <= 25); /* the bound of load, were it of all */
}

static void of_many_the_one_with_the_prompt_is_found(void **state)
{
    static struct router_candidate candidates[MANY];

    (void)state;
    for (uint32_t i = 0; i < MANY; i++)
        candidates[i] = (struct router_candidate){
            .is_ready = true, .outstanding = 4, .prefill_ns = 1e5, .step_ns = 1e7};
    for (uint32_t i = 0; i < MANY; i += 3) /* what all share, in the caches of many */
        candidates[i].cached_tokens = 200;
    for (uint32_t turn = 0; turn < 2000; turn++) {
        struct router_request request = {.prompt_tokens = 3000, .turn = turn};
        uint32_t home = random_below(MANY);
        struct router_candidate before = candidates[home];

        candidates[home].cached_tokens = 2900;
        assert_int_equal(router_choose(ROUTER_PREDICTED_TTFT, candidates, MANY, &request), home);
        candidates[home].is_ready = false;
        assert_int_not_equal(router_choose(ROUTER_PREDICTED_TTFT, candidates, MANY, &request),
                             home);
        candidates[home] = before;
        /* None has more than the others: one of those that have something. */
        assert_int_equal(
            candidates[router_choose(ROUTER_PREDICTED_TTFT, candidates, MANY, &request)]
                .cached_tokens,
            200);
    }
}

static void of_many_the_only_ready_one_is_found(void **state)
{
    static struct router_candidate candidates[MANY];
    const uint32_t counts[] = {ROUTER_LOOK_MAX, ROUTER_LOOK_MAX + 1, MANY};

    (void)state;
    memset(candidates, 0, sizeof(candidates));
    for (uint32_t i = 0; i < 3000; i++) {
        struct router_request request = {
            .prompt_tokens = 100, .has_group = i % 2 == 0, .group = i, .turn = i};
        uint32_t count = counts[i % 3], only = random_below(count);

        assert_int_equal(router_choose(ROUTER_PREDICTED_TTFT, candidates, count, &request),
                         ROUTER_NONE);
        candidates[only] = (struct router_candidate){.is_ready = true, .outstanding = i % 7};
        assert_int_equal(router_choose(ROUTER_PREDICTED_TTFT, candidates, count, &request), only);
        candidates[only].is_ready = false;
    }
}

static void of_many_a_group_keeps_its_own(void **state)
{
    static struct router_candidate candidates[MANY];

    (void)state;
    for (uint32_t i = 0; i < MANY; i++)
        candidates[i] =
            (struct router_candidate){.is_ready = true, .prefill_ns = 1e5, .step_ns = 1e7};
    for (uint32_t group = 0; group < 500; group++) {
        struct router_request request = {
            .prompt_tokens = 100, .has_group = true, .group = group, .turn = group};
        uint32_t home = router_choose(ROUTER_PREDICTED_TTFT, candidates, MANY, &request);

        for (request.turn = 0; request.turn < 5; request.turn++)
            assert_int_equal(router_choose(ROUTER_PREDICTED_TTFT, candidates, MANY, &request),
                             home);
    }
}

/* Everybody asks about the same document: its home must not be the only one that works. */
static void a_prompt_that_all_share_makes_no_hot_spot(void **state)
{
    enum { COUNT = 4, PROMPT = 1000, SHARED = 900 };
    struct router_candidate candidates[COUNT];
    uint32_t hits = 0, most = 0;

    (void)state;
    for (uint32_t i = 0; i < COUNT; i++)
        candidates[i] =
            (struct router_candidate){.is_ready = true, .prefill_ns = 1e5, .step_ns = 1e7};
    for (uint32_t turn = 0; turn < 400; turn++) {
        struct router_request request = {.prompt_tokens = PROMPT, .turn = turn};
        uint32_t chosen = router_choose(ROUTER_PREDICTED_TTFT, candidates, COUNT, &request);

        hits += candidates[chosen].cached_tokens > 0;
        candidates[chosen].cached_tokens = SHARED;
        candidates[chosen].outstanding++;
        most = candidates[chosen].outstanding > most ? candidates[chosen].outstanding : most;
        if (turn >= 40) /* forty at a time */
            candidates[turn % COUNT].outstanding -= candidates[turn % COUNT].outstanding > 0;
    }
    assert_true(hits >= 400 - COUNT);
    assert_true(most <= 20); /* ten on average */
}

static void versions_get_their_shares_and_a_number_its_version(void **state)
{
    const uint32_t weights[] = {90, 0, 10};
    uint32_t taken[3] = {0};

    (void)state;
    for (uint64_t number = 0; number < 20000; number++) {
        uint32_t version = router_pick_version(weights, 3, number);

        assert_int_equal(version, router_pick_version(weights, 3, number));
        taken[version]++;
    }
    assert_int_equal(taken[1], 0);
    assert_true(taken[0] > 17700 && taken[0] < 18300);
    assert_int_equal(taken[0] + taken[2], 20000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_loaded_ready_replica_is_picked),
        cmocka_unit_test(equal_replicas_take_turns),
        cmocka_unit_test(none_ready_is_none),
        cmocka_unit_test(the_avoided_one_is_only_taken_when_alone),
        cmocka_unit_test(slow_replicas_get_fewer_requests),
        cmocka_unit_test(a_group_stays_with_its_replica_as_long_as_it_is_there),
        cmocka_unit_test(a_group_leaves_a_replica_that_is_too_busy_or_has_less_of_the_prompt),
        cmocka_unit_test(only_a_ready_replica_is_chosen_and_one_is_when_there_is_one),
        cmocka_unit_test(the_least_cost_wins_within_the_bound_of_load),
        cmocka_unit_test(consistent_hashing_keeps_the_bound),
        cmocka_unit_test(round_robin_goes_round_those_that_are_ready),
        cmocka_unit_test(many_replicas_are_loaded_evenly),
        cmocka_unit_test(of_many_the_one_with_the_prompt_is_found),
        cmocka_unit_test(of_many_the_only_ready_one_is_found),
        cmocka_unit_test(of_many_a_group_keeps_its_own),
        cmocka_unit_test(a_prompt_that_all_share_makes_no_hot_spot),
        cmocka_unit_test(versions_get_their_shares_and_a_number_its_version),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
