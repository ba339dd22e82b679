#include "unit_test.h"

#include <pthread.h>

#include "slice_meter.h"

#define SECOND 1000000000ull

static void what_is_not_busy_is_idle(void **state)
{
    struct slice_meter meter;

    (void)state;
    slice_meter_init(&meter, 2, 5 * SECOND);
    assert_int_equal(slice_meter_idle_ns(&meter, 5 * SECOND), 0);
    assert_int_equal(slice_meter_idle_ns(&meter, 8 * SECOND), 6 * SECOND);
    slice_meter_note(&meter, 4 * SECOND);
    assert_int_equal(slice_meter_idle_ns(&meter, 8 * SECOND), 2 * SECOND);
    slice_meter_note(&meter, 3 * SECOND); /* a step that is told late */
    assert_int_equal(slice_meter_idle_ns(&meter, 8 * SECOND), 0);
    assert_int_equal(slice_meter_idle_ns(&meter, 4 * SECOND), 0);
}

static void idle_time_is_nobodys_where_it_is_not_spread(void **state)
{
    struct slice_meter meter;

    (void)state;
    slice_meter_init(&meter, 1, 0);
    assert_int_equal(slice_meter_bill(&meter, 7, 1000000, 100), 7);
    assert_int_equal(meter.idle_paid_ns, 0);
}

static void idle_time_is_paid_once_and_up_to_the_factor(void **state)
{
    struct slice_meter meter;

    (void)state;
    slice_meter_init(&meter, 1, 0);
    slice_meter_note(&meter, 40);
    /* 60 are idle; three times its own at most. */
    assert_int_equal(slice_meter_bill(&meter, 20, 3000000, 100), 60);
    assert_int_equal(slice_meter_bill(&meter, 15, 3000000, 100), 35); /* 20 were left */
    assert_int_equal(slice_meter_bill(&meter, 5, 3000000, 100), 5);
    assert_int_equal(slice_meter_bill(&meter, 4, 1500000, 110), 6);
    assert_int_equal(meter.idle_paid_ns, 62);
}

static void tokens_are_estimated_by_what_the_last_ones_cost(void **state)
{
    struct slice_meter meter;

    (void)state;
    slice_meter_init(&meter, 1, 0);
    assert_int_equal(slice_meter_expect(&meter, 1000), 0);
    slice_meter_learn(&meter, 0, 100);
    assert_int_equal(slice_meter_expect(&meter, 1000), 0);
    slice_meter_learn(&meter, 100, 5000);
    assert_in_range(slice_meter_expect(&meter, 1000), 50000, 50001);
    for (int i = 0; i < 100; i++)
        slice_meter_learn(&meter, 100, 10000);
    assert_in_range(slice_meter_expect(&meter, 1000), 99900, 100001);
    assert_int_equal(slice_meter_expect(&meter, UINT64_MAX), INT64_MAX / 4);
}

#define THREADS 4
#define BILLS   20000
struct payer {
    struct slice_meter *meter;
    uint64_t billed_ns;
};

static void *pay(void *context)
{
    struct payer *payer = context;

    for (int i = 0; i < BILLS; i++)
        payer->billed_ns += slice_meter_bill(payer->meter, 3, 2000000, BILLS);
    return NULL;
}

/* 20,000 are idle, and 240,000 would be paid by who asks for that much: none of it twice. */
static void threads_together_pay_what_there_is(void **state)
{
    struct slice_meter meter;
    struct payer payers[THREADS];
    pthread_t threads[THREADS];
    uint64_t sum = 0;

    (void)state;
    slice_meter_init(&meter, 1, 0);
    for (int i = 0; i < THREADS; i++) {
        payers[i] = (struct payer){&meter, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, pay, &payers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        sum += payers[i].billed_ns;
    }
    assert_int_equal(sum, 3 * THREADS * BILLS + BILLS);
    assert_int_equal(meter.idle_paid_ns, BILLS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_busy_is_idle),
        cmocka_unit_test(idle_time_is_nobodys_where_it_is_not_spread),
        cmocka_unit_test(idle_time_is_paid_once_and_up_to_the_factor),
        cmocka_unit_test(tokens_are_estimated_by_what_the_last_ones_cost),
        cmocka_unit_test(threads_together_pay_what_there_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
