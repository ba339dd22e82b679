#include "cell_ring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>

static void what_is_put_comes_out_in_order_up_to_the_limit(void **state)
{
    struct cell_ring *ring;
    int value;

    (void)state;
    assert_int_equal(cell_ring_create(sizeof(int), 3, &ring), STATUS_OK);
    assert_null(cell_ring_front(ring));
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 3; i++) {
            value = round * 10 + i;
            assert_int_equal(cell_ring_put(ring, &value), STATUS_OK);
        }
        assert_int_equal(cell_ring_put(ring, &value), STATUS_FULL);
        assert_int_equal(cell_ring_count(ring), 3);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(*(const int *)cell_ring_front(ring), round * 10 + i);
            cell_ring_drop(ring);
        }
        assert_null(cell_ring_front(ring));
    }
    cell_ring_destroy(ring);
}

#define PASSED 200000u

/* Two halves that must be equal: a cell that was read while it was written would differ. */
struct pair {
    uint64_t a, filler[6], b;
};

static void *sender(void *context)
{
    for (uint64_t i = 0; i < PASSED;) {
        struct pair pair = {.a = i, .b = i};

        if (cell_ring_put(context, &pair) == STATUS_OK)
            i++;
        else
            sched_yield();
    }
    return NULL;
}

static void two_threads_lose_and_tear_nothing(void **state)
{
    struct cell_ring *ring;
    pthread_t thread;

    (void)state;
    assert_int_equal(cell_ring_create(sizeof(struct pair), 7, &ring), STATUS_OK);
    assert_int_equal(pthread_create(&thread, NULL, sender, ring), 0);
    for (uint64_t i = 0; i < PASSED;) {
        const struct pair *pair = cell_ring_front(ring);

        if (pair == NULL) {
            sched_yield();
            continue;
        }
        assert_int_equal(pair->a, i);
        assert_int_equal(pair->b, i);
        cell_ring_drop(ring);
        i++;
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    cell_ring_destroy(ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_put_comes_out_in_order_up_to_the_limit),
        cmocka_unit_test(two_threads_lose_and_tear_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
