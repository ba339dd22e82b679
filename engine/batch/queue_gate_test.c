#include "unit_test.h"

#include <pthread.h>

#include "queue_gate.h"

static void requests_are_bounded_at_the_limit_plus_the_free_slots(void **state)
{
    (void)state;
    struct queue_gate gate;
    queue_gate_init(&gate, 2, 1000, 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(queue_gate_enter(&gate, 10), STATUS_OK);
    assert_int_equal(queue_gate_enter(&gate, 10), STATUS_FULL);
    queue_gate_leave(&gate, 10);
    queue_gate_set_free_slots(&gate, 0); /* it runs now */
    assert_int_equal(queue_gate_enter(&gate, 10), STATUS_FULL);
    queue_gate_leave(&gate, 10);
    assert_int_equal(queue_gate_enter(&gate, 10), STATUS_OK);
}

static void tokens_are_bounded_but_one_large_prompt_may_wait_alone(void **state)
{
    (void)state;
    struct queue_gate gate;
    queue_gate_init(&gate, 10, 100, 0);
    assert_int_equal(queue_gate_enter(&gate, 101), STATUS_OK);
    assert_int_equal(queue_gate_enter(&gate, 1), STATUS_FULL);
    assert_int_equal(atomic_load(&gate.requests), 1);
    queue_gate_leave(&gate, 101);
    assert_int_equal(queue_gate_enter(&gate, 60), STATUS_OK);
    assert_int_equal(queue_gate_enter(&gate, 41), STATUS_FULL);
    assert_int_equal(queue_gate_enter(&gate, 40), STATUS_OK);
}

static void what_waits_again_is_counted_past_the_bound(void **state)
{
    (void)state;
    struct queue_gate gate;
    queue_gate_init(&gate, 1, 100, 0);
    assert_int_equal(queue_gate_enter(&gate, 10), STATUS_OK);
    queue_gate_reenter(&gate, 500);
    assert_int_equal(atomic_load(&gate.requests), 2);
    queue_gate_leave(&gate, 10);
    assert_int_equal(queue_gate_enter(&gate, 1), STATUS_FULL);
    queue_gate_leave(&gate, 500);
    assert_int_equal(queue_gate_enter(&gate, 1), STATUS_OK);
}

static void *enter_and_leave(void *context)
{
    struct queue_gate *gate = context;
    for (int i = 0; i < 20000; i++) {
        if (queue_gate_enter(gate, 3) == STATUS_OK) {
            assert_in_range(atomic_load(&gate->requests), 1, 2);
            queue_gate_leave(gate, 3);
        }
    }
    return NULL;
}

static void threads_never_pass_the_bound_together(void **state)
{
    (void)state;
    struct queue_gate gate;
    queue_gate_init(&gate, 2, 1000, 0);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, enter_and_leave, &gate), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&gate.requests), 0);
    assert_int_equal(atomic_load(&gate.tokens), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_bounded_at_the_limit_plus_the_free_slots),
        cmocka_unit_test(tokens_are_bounded_but_one_large_prompt_may_wait_alone),
        cmocka_unit_test(what_waits_again_is_counted_past_the_bound),
        cmocka_unit_test(threads_never_pass_the_bound_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
