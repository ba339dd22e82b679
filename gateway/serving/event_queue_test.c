#include "event_queue.h"

#include <pthread.h>
#include <sched.h>

#include "unit_test.h"

static void records_come_out_in_order_and_whole(void **state)
{
    (void)state;
    struct event_queue queue;
    assert_int_equal(event_queue_init(&queue, 1000), STATUS_OK);
    assert_int_equal(queue.capacity, 1024);
    for (unsigned round = 0; round < 500; round++) {
        for (unsigned i = 0; i < 3; i++) {
            size_t bytes = 1 + (round * 7 + i * 31) % 200;
            unsigned char *record = event_queue_reserve(&queue, bytes);
            assert_non_null(record);
            assert_int_equal((uintptr_t)record % 8, 0);
            memset(record, (int)(round + i), bytes);
            event_queue_commit(&queue);
        }
        for (unsigned i = 0; i < 3; i++) {
            size_t bytes = 1 + (round * 7 + i * 31) % 200;
            const unsigned char *record = event_queue_peek(&queue);
            assert_non_null(record);
            for (size_t at = 0; at < bytes; at++)
                assert_int_equal(record[at], (unsigned char)(round + i));
            event_queue_pop(&queue);
        }
        assert_null(event_queue_peek(&queue));
    }
    event_queue_deinit(&queue);
}

static void a_full_queue_declines_and_goes_on_after_a_pop(void **state)
{
    (void)state;
    struct event_queue queue;
    assert_int_equal(event_queue_init(&queue, 256), STATUS_OK);
    assert_null(event_queue_reserve(&queue, 249));
    for (int i = 0; i < 4; i++) {
        assert_non_null(event_queue_reserve(&queue, 56));
        event_queue_commit(&queue);
    }
    assert_null(event_queue_reserve(&queue, 1));
    assert_non_null(event_queue_peek(&queue));
    event_queue_pop(&queue);
    assert_null(event_queue_reserve(&queue, 57));
    assert_non_null(event_queue_reserve(&queue, 56));
    event_queue_deinit(&queue);
}

#define STRESS_RECORDS 200000u

static void *produce(void *context)
{
    struct event_queue *queue = context;
    for (uint32_t i = 0; i < STRESS_RECORDS; i++) {
        uint32_t *record;
        while ((record = event_queue_reserve(queue, 4 + i % 90)) == NULL)
            sched_yield();
        *record = i;
        event_queue_commit(queue);
    }
    return NULL;
}

static void two_threads_lose_and_swap_nothing(void **state)
{
    (void)state;
    struct event_queue queue;
    pthread_t producer;
    assert_int_equal(event_queue_init(&queue, 512), STATUS_OK);
    assert_int_equal(pthread_create(&producer, NULL, produce, &queue), 0);
    for (uint32_t i = 0; i < STRESS_RECORDS; i++) {
        const uint32_t *record;
        while ((record = event_queue_peek(&queue)) == NULL)
            sched_yield();
        assert_int_equal(*record, i);
        event_queue_pop(&queue);
    }
    pthread_join(producer, NULL);
    event_queue_deinit(&queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_come_out_in_order_and_whole),
        cmocka_unit_test(a_full_queue_declines_and_goes_on_after_a_pop),
        cmocka_unit_test(two_threads_lose_and_swap_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
