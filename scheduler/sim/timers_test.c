#include "unit_test.h"

#include <stdbool.h>

#include "chance.h"
#include "timers.h"

#define COUNT 200u

/* What a heap should do, done by looking at all. */
static uint32_t first_of(const uint64_t *at_ns)
{
    uint32_t best = UINT32_MAX;

    for (uint32_t i = 0; i < COUNT; i++) {
        if (at_ns[i] != UINT64_MAX && (best == UINT32_MAX || at_ns[i] < at_ns[best]))
            best = i;
    }
    return best;
}

static void timers_go_off_in_order_however_they_are_set_and_unset(void **state)
{
    struct timers timers;
    struct chance chance;
    uint64_t at_ns[COUNT], first_ns = 0;
    (void)state;

    chance_init(&chance, 1, 2, 3);
    assert_int_equal(timers_init(&timers, COUNT), STATUS_OK);
    memset(at_ns, 0xFF, sizeof(at_ns));
    assert_int_equal(timers_first(&timers, &first_ns), UINT32_MAX);
    for (int i = 0; i < 20000; i++) {
        uint32_t timer = chance_below(&chance, COUNT), expected;

        /* Few different moments, so that many are the same; every fourth is unset. */
        at_ns[timer] = chance_below(&chance, 4) == 0 ? UINT64_MAX : chance_below(&chance, 50);
        timers_set(&timers, timer, at_ns[timer]);
        expected = first_of(at_ns);
        assert_int_equal(timers_first(&timers, &first_ns), expected);
        if (expected != UINT32_MAX)
            assert_int_equal(first_ns, at_ns[expected]);
    }
    timers_deinit(&timers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_go_off_in_order_however_they_are_set_and_unset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
