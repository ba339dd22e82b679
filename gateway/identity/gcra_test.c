#include "unit_test.h"

#include "clock.h"
#include "gcra.h"
#include "thread.h"

#define MINUTE (60 * NS_PER_SECOND)
#define NOW    (1000 * NS_PER_SECOND)

static uint64_t remaining(_Atomic uint64_t *word, uint64_t now_ns, uint64_t limit)
{
    uint64_t reset_ns;

    return gcra_remaining(*word, now_ns, limit, MINUTE, &reset_ns);
}

/* For limits that divide a minute and for those that do not. */
static void exactly_the_limit_fits_in_at_once(void **state)
{
    static const uint64_t limits[] = {1, 2, 3, 7, 60, 61, 100, 999, 10007};

    (void)state;
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        _Atomic uint64_t word = 0;
        uint64_t wait_ns = 0;

        for (uint64_t taken = 0; taken < limits[i]; taken++) {
            assert_int_equal(remaining(&word, NOW, limits[i]), limits[i] - taken);
            assert_true(gcra_take(&word, NOW, 1, limits[i], MINUTE, &wait_ns));
        }
        assert_int_equal(remaining(&word, NOW, limits[i]), 0);
        assert_false(gcra_take(&word, NOW, 1, limits[i], MINUTE, &wait_ns));
    }
}

static void the_wait_is_exact(void **state)
{
    _Atomic uint64_t word = 0;
    uint64_t wait_ns = 0, none;

    (void)state;
    assert_true(gcra_take(&word, NOW, 100, 100, MINUTE, &wait_ns));
    assert_false(gcra_take(&word, NOW, 25, 100, MINUTE, &wait_ns));
    assert_int_equal(wait_ns, 15 * NS_PER_SECOND);
    assert_false(gcra_take(&word, NOW + wait_ns - 1, 25, 100, MINUTE, &none));
    assert_true(gcra_take(&word, NOW + wait_ns, 25, 100, MINUTE, &none));
}

static void what_can_never_fit_has_no_wait(void **state)
{
    _Atomic uint64_t word = 0;
    uint64_t wait_ns = 0;

    (void)state;
    assert_false(gcra_take(&word, NOW, 101, 100, MINUTE, &wait_ns));
    assert_true(wait_ns == UINT64_MAX);
    assert_int_equal(word, 0);
}

static void what_is_not_used_comes_back(void **state)
{
    _Atomic uint64_t word = 0;
    uint64_t wait_ns, reset_ns;

    (void)state;
    assert_true(gcra_take(&word, NOW, 90, 100, MINUTE, &wait_ns));
    gcra_settle(&word, 90, 7, 100, MINUTE);
    assert_int_equal(remaining(&word, NOW, 100), 93);
    gcra_settle(&word, 0, 193, 100, MINUTE); /* more than there was: owed */
    assert_int_equal(gcra_remaining(word, NOW, 100, MINUTE, &reset_ns), 0);
    assert_int_equal(reset_ns, 120 * NS_PER_SECOND);
    assert_int_equal(remaining(&word, NOW + 61 * NS_PER_SECOND, 100), 1);
}

/* A refund long after does not give more than the limit. */
static void credit_does_not_pile_up(void **state)
{
    _Atomic uint64_t word = 0;
    uint64_t wait_ns;

    (void)state;
    assert_true(gcra_take(&word, NOW, 50, 100, MINUTE, &wait_ns));
    gcra_settle(&word, 50, 0, 100, MINUTE);
    assert_int_equal(remaining(&word, NOW + 10 * MINUTE, 100), 100);
    assert_true(gcra_take(&word, NOW + 10 * MINUTE, 100, 100, MINUTE, &wait_ns));
    assert_false(gcra_take(&word, NOW + 10 * MINUTE, 1, 100, MINUTE, &wait_ns));
}

struct crowd {
    _Atomic uint64_t word;
    _Atomic uint32_t taken;
};

static void *crowd_take(void *context)
{
    struct crowd *crowd = context;
    uint64_t wait_ns;

    for (unsigned i = 0; i < 10000; i++)
        crowd->taken += gcra_take(&crowd->word, NOW, 1, 7001, MINUTE, &wait_ns);
    return NULL;
}

static void threads_together_take_the_limit_and_no_more(void **state)
{
    struct crowd crowd = {0};
    pthread_t threads[4];

    (void)state;
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(thread_start(&threads[i], "crowd", crowd_take, &crowd), STATUS_OK);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(crowd.taken, 7001);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exactly_the_limit_fits_in_at_once),
        cmocka_unit_test(the_wait_is_exact),
        cmocka_unit_test(what_can_never_fit_has_no_wait),
        cmocka_unit_test(what_is_not_used_comes_back),
        cmocka_unit_test(credit_does_not_pile_up),
        cmocka_unit_test(threads_together_take_the_limit_and_no_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
