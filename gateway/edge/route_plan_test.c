#include "unit_test.h"

#include "route_plan.h"

/* local, canary (versions of two), spare; in the config's order. */
static struct config_version versions[] = {{"one", 3}, {"two", 1}, {"three", 0}};
static const char *fallbacks[] = {"spare", "canary"}, *own[] = {"one"};
static struct config_model models[] = {{.name = "one"},    {.name = "two"},   {.name = "three"},
                                       {.name = "canary"}, {.name = "spare"}, {.name = "first"}};
static struct config config = {.models = {models, 6}};

static int set_up(void **state)
{
    (void)state;
    models[3].versions = (struct setting_list){versions, 3};
    models[4].fallbacks = (struct setting_list){own, 1};
    models[5].fallbacks = (struct setting_list){fallbacks, 2};
    return 0;
}

static void a_model_alone_is_all_of_its_plan(void **state)
{
    struct route_plan plan;

    (void)state;
    route_plan_make(&config, 0, 1, &plan);
    assert_int_equal(plan.count, 1);
    assert_int_equal(plan.models[0], 0);
    assert_false(route_plan_next(&plan, FALLBACK_UNAVAILABLE));
}

static void versions_come_by_number_and_stand_in_for_each_other(void **state)
{
    uint32_t first[2] = {0};

    (void)state;
    for (uint64_t number = 0; number < 1000; number++) {
        struct route_plan plan, again;

        route_plan_make(&config, 3, number, &plan);
        route_plan_make(&config, 3, number, &again);
        assert_memory_equal(&plan, &again, sizeof(plan));
        assert_int_equal(plan.count, 2); /* not the one without weight */
        assert_int_equal(plan.models[0] + plan.models[1], 1);
        first[plan.models[0]]++;
    }
    assert_true(first[0] > 700 && first[0] < 800);
}

static void fallbacks_follow_in_order_and_none_comes_twice(void **state)
{
    struct route_plan plan;

    (void)state;
    route_plan_make(&config, 5, 1, &plan);
    assert_int_equal(plan.count, 4); /* first, spare, and the canary's two */
    assert_int_equal(plan.models[0], 5);
    assert_int_equal(plan.models[1], 4);
    assert_true(route_plan_next(&plan, FALLBACK_ERROR));
    assert_int_equal(plan.at, 1);
    assert_false(route_plan_next(&plan, FALLBACK_CONTEXT)); /* not unless asked for */
    assert_false(route_plan_next(&plan, 0));
    assert_int_equal(plan.at, 1);
    assert_true(route_plan_next(&plan, FALLBACK_TIMEOUT) &&
                route_plan_next(&plan, FALLBACK_OVERLOADED));
    assert_false(route_plan_next(&plan, FALLBACK_OVERLOADED));
}

static void failures_have_their_causes(void **state)
{
    static const struct {
        int status;
        const char *body;
        uint32_t cause;
    } rows[] = {{200, "", 0},
                {400, "{\"error\":{\"code\":\"invalid_value\"}}", 0},
                {400, "{\"error\":{\"code\":\"context_length_exceeded\"}}", FALLBACK_CONTEXT},
                {401, "", 0},
                {404, "", 0},
                {429, "", FALLBACK_OVERLOADED},
                {500, "", FALLBACK_ERROR},
                {502, "", FALLBACK_UNAVAILABLE},
                {503, "overloaded", FALLBACK_OVERLOADED},
                {503, "model_not_ready", FALLBACK_UNAVAILABLE},
                {504, "", FALLBACK_TIMEOUT},
                {529, "", FALLBACK_ERROR}};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(route_plan_cause(rows[i].status, text_slice_of(rows[i].body)),
                         rows[i].cause);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model_alone_is_all_of_its_plan),
        cmocka_unit_test(versions_come_by_number_and_stand_in_for_each_other),
        cmocka_unit_test(fallbacks_follow_in_order_and_none_comes_twice),
        cmocka_unit_test(failures_have_their_causes),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
