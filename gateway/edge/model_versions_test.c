#include "unit_test.h"

#include "model_versions.h"

#define S 1000000000ull

static struct config first;

static struct model_versions versions_of(void)
{
    static const struct config_model row = {
        .autoscale = {.first_token_ns = 2 * S, .inter_token_ns = S / 10},
        .rollout = {.kind = ROLLOUT_CANARY,
                    .surge = 2,
                    .unavailable_max = 3,
                    .canary_share = 0.25,
                    .failures_max = 4,
                    .requests_min = 5}};
    struct model_versions versions = {0};

    model_versions_init(&versions, &first, &row);
    return versions;
}

static uint64_t value(const _Atomic uint64_t *count)
{
    return atomic_load(count);
}

static void a_model_begins_with_version_1_of_the_first_config(void **state)
{
    struct model_versions versions = versions_of();
    struct version_report report = model_versions_report(&versions);

    (void)state;
    assert_int_equal(report.stable, 1);
    assert_int_equal(report.phase, ROLLOUT_STEADY);
    assert_true(report.fresh_share < 0);
    assert_ptr_equal(model_versions_config(&versions, 1), &first);
    assert_null(model_versions_config(&versions, 2));
    assert_int_equal(versions.policy.kind, ROLLOUT_CANARY);
    assert_int_equal(versions.policy.surge, 2);
    assert_int_equal(versions.policy.unavailable_max, 3);
    assert_int_equal(versions.policy.failures_max, 4);
    assert_int_equal(versions.policy.requests_min, 5);
    model_versions_deinit(&versions);
}

static void requests_count_for_the_version_of_their_replica(void **state)
{
    struct model_versions versions = versions_of();

    (void)state;
    atomic_store(&versions.fresh, 3);
    model_versions_count(&versions, 1, BREAKER_GOOD);
    model_versions_count(&versions, 3, BREAKER_FAILED);
    model_versions_count(&versions, 3, BREAKER_GOOD);
    model_versions_count(&versions, 3, BREAKER_UNKNOWN);
    model_versions_count(&versions, 2, BREAKER_FAILED); /* superseded */
    assert_int_equal(value(&versions.stable_counts.requests), 1);
    assert_int_equal(value(&versions.stable_counts.failed), 0);
    assert_int_equal(value(&versions.fresh_counts.requests), 2);
    assert_int_equal(value(&versions.fresh_counts.failed), 1);
    model_versions_deinit(&versions);
}

static void a_stream_is_slow_by_its_first_token_or_by_those_that_follow(void **state)
{
    struct model_versions versions = versions_of();

    (void)state;
    model_versions_count_stream(&versions, 1, 2 * S, S / 10); /* just in time */
    assert_int_equal(value(&versions.stable_counts.slow), 0);
    model_versions_count_stream(&versions, 1, 2 * S + 1, 0);
    model_versions_count_stream(&versions, 1, 1, S / 10 + 1);
    assert_int_equal(value(&versions.stable_counts.slow), 2);
    versions.first_token_ns = versions.inter_token_ns = 0; /* no matter */
    model_versions_count_stream(&versions, 1, 100 * S, 100 * S);
    model_versions_count_stream(&versions, 2, 100 * S, 100 * S); /* nobody's */
    assert_int_equal(value(&versions.stable_counts.streams), 4);
    assert_int_equal(value(&versions.stable_counts.slow), 2);
    model_versions_deinit(&versions);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model_begins_with_version_1_of_the_first_config),
        cmocka_unit_test(requests_count_for_the_version_of_their_replica),
        cmocka_unit_test(a_stream_is_slow_by_its_first_token_or_by_those_that_follow),
    };

    return cmocka_run_group_tests_name("model_versions", tests, NULL, NULL);
}
