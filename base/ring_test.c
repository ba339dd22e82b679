/* WRAP: malloc calloc realloc aligned_alloc */
#include "unit_test.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "check.h"
#include "clock.h"
#include "fail_nth.h"
#include "ring.h"
#include "thread.h"

static ring *make(size_t count_max)
{
    ring *r = NULL;
    assert_int_equal(ring_create(count_max, &r), STATUS_OK);
    return r;
}

static void items_come_out_in_order_over_many_laps(void **state)
{
    (void)state;
    ring *r = make(4);
    int items[64];
    assert_null(ring_pop(r));
    for (size_t i = 0; i < ARRAY_COUNT(items); i += 2) {
        assert_int_equal(ring_push(r, &items[i]), STATUS_OK);
        assert_int_equal(ring_push(r, &items[i + 1]), STATUS_OK);
        assert_int_equal(ring_count(r), 2);
        assert_ptr_equal(ring_pop(r), &items[i]);
        assert_ptr_equal(ring_pop(r), &items[i + 1]);
        assert_null(ring_pop(r));
    }
    ring_destroy(r);
    ring_destroy(NULL);
}

static void the_last_place_fits_and_one_more_is_full(void **state)
{
    (void)state;
    static const size_t asked[] = {1, 2, 3, 4, 5, 100};
    static const size_t given[] = {2, 2, 4, 4, 8, 128};
    int item;
    for (size_t i = 0; i < ARRAY_COUNT(asked); i++) {
        ring *r = make(asked[i]);
        for (int lap = 0; lap < 3; lap++) {
            for (size_t n = 0; n < given[i]; n++)
                assert_int_equal(ring_push(r, &item), STATUS_OK);
            assert_int_equal(ring_push(r, &item), STATUS_FULL);
            assert_int_equal(ring_count(r), given[i]);
            for (size_t n = 0; n < given[i]; n++)
                assert_ptr_equal(lap == 1 ? ring_pop_shared(r) : ring_pop(r), &item);
            assert_null(ring_pop_shared(r));
        }
        ring_destroy(r);
    }
}

static void memory_that_runs_out_is_a_status(void **state)
{
    (void)state;
    for (unsigned long n = 1; n <= 2; n++) {
        ring *r = NULL;
        fail_nth_begin(n);
        assert_int_equal(ring_create(8, &r), STATUS_NO_MEMORY);
        assert_true(fail_nth_end());
        assert_null(r);
    }
    ring *r = NULL;
    assert_int_equal(ring_create(SIZE_MAX, &r), STATUS_NO_MEMORY);
}

/* Senders number their items; the reader checks that each sender's come in order, each once, and
 * that what was written before the push is seen after the pop (plain memory, so TSan would see a
 * missing order). The ring is small, so that it is often full and often empty, and the reader
 * parks. */

#define SENDER_COUNT 4u
#define ITEM_COUNT   20000u

struct item {
    unsigned sender, number;
};

struct stress {
    ring *r;
    struct parking parking;
    struct item items[SENDER_COUNT][ITEM_COUNT];
    _Atomic unsigned next_sender;
    _Atomic unsigned popped;
};

static void *send_items(void *context)
{
    struct stress *stress = context;
    unsigned sender = atomic_fetch_add(&stress->next_sender, 1);
    for (unsigned i = 0; i < ITEM_COUNT; i++) {
        struct item *item = &stress->items[sender][i];
        item->sender = sender;
        item->number = i + 1;
        while (ring_push(stress->r, item) == STATUS_FULL)
            sched_yield();
        parking_signal(&stress->parking);
    }
    return NULL;
}

static void many_senders_lose_nothing_and_wake_the_reader(void **state)
{
    (void)state;
    struct stress *stress = calloc(1, sizeof *stress);
    assert_non_null(stress);
    stress->r = make(8);
    pthread_t senders[SENDER_COUNT];
    for (unsigned i = 0; i < SENDER_COUNT; i++)
        assert_int_equal(thread_start(&senders[i], "sender", send_items, stress), STATUS_OK);
    unsigned seen[SENDER_COUNT] = {0};
    unsigned total = 0;
    while (total < SENDER_COUNT * ITEM_COUNT) {
        struct item *item = ring_pop(stress->r);
        if (item == NULL) {
            uint32_t ticket = parking_prepare(&stress->parking);
            item = ring_pop(stress->r);
            if (item == NULL) {
                uint64_t before = clock_now_ns();
                parking_wait(&stress->parking, ticket, 20 * NS_PER_SECOND);
                /* A lost wake-up would sleep to the end. */
                assert_true(clock_now_ns() - before < 15 * NS_PER_SECOND);
                continue;
            }
            parking_cancel(&stress->parking);
        }
        assert_int_equal(item->number, seen[item->sender] + 1);
        seen[item->sender] = item->number;
        total++;
    }
    for (unsigned i = 0; i < SENDER_COUNT; i++)
        assert_int_equal(pthread_join(senders[i], NULL), 0);
    assert_null(ring_pop(stress->r));
    ring_destroy(stress->r);
    free(stress);
}

/* The ring as a free list: threads take items, own them for a while and give them back. */
#define LOAN_COUNT  8u
#define LOAN_ROUNDS 20000u

struct loans {
    ring *r;
    struct loan {
        unsigned
            owner; /* plain: two owners at once would be a race for TSan and a wrong value here */
    } loans[LOAN_COUNT];
    _Atomic unsigned next_owner;
    _Atomic unsigned errors;
};

static void *borrow(void *context)
{
    struct loans *loans = context;
    unsigned me = atomic_fetch_add(&loans->next_owner, 1) + 1;
    for (unsigned i = 0; i < LOAN_ROUNDS; i++) {
        struct loan *loan = ring_pop_shared(loans->r);
        if (loan == NULL) {
            sched_yield();
            continue;
        }
        if (loan->owner != 0)
            atomic_fetch_add(&loans->errors, 1);
        loan->owner = me;
        if (i % 64 == 0)
            sched_yield();
        if (loan->owner != me)
            atomic_fetch_add(&loans->errors, 1);
        loan->owner = 0;
        while (ring_push(loans->r, loan) ==
               STATUS_FULL) /* another borrower is in the middle of its pop */
            sched_yield();
    }
    return NULL;
}

static void shared_readers_never_get_one_item_twice(void **state)
{
    (void)state;
    struct loans *loans = calloc(1, sizeof *loans);
    assert_non_null(loans);
    loans->r = make(LOAN_COUNT);
    for (size_t i = 0; i < LOAN_COUNT; i++)
        assert_int_equal(ring_push(loans->r, &loans->loans[i]), STATUS_OK);
    pthread_t threads[SENDER_COUNT];
    for (unsigned i = 0; i < SENDER_COUNT; i++)
        assert_int_equal(thread_start(&threads[i], "borrower", borrow, loans), STATUS_OK);
    for (unsigned i = 0; i < SENDER_COUNT; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(atomic_load(&loans->errors), 0);
    assert_int_equal(ring_count(loans->r), LOAN_COUNT);
    ring_destroy(loans->r);
    free(loans);
}

static void a_wait_without_a_signal_ends_at_its_time(void **state)
{
    (void)state;
    struct parking parking = {0};
    uint64_t before = clock_now_ns();
    uint32_t ticket = parking_prepare(&parking);
    parking_wait(&parking, ticket, 20 * NS_PER_MS);
    uint64_t took = clock_now_ns() - before;
    assert_true(took >= 19 * NS_PER_MS);
    assert_true(took < 10 * NS_PER_SECOND);
    assert_int_equal(parking.sleepers, 0);
}

static void a_signal_after_prepare_is_not_lost(void **state)
{
    (void)state;
    struct parking parking = {0};
    uint32_t ticket = parking_prepare(&parking);
    parking_signal(&parking);
    parking_wait(&parking, ticket, UINT64_MAX); /* would hang if lost; ctest ends it then */
    assert_int_equal(parking.sleepers, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_come_out_in_order_over_many_laps),
        cmocka_unit_test(the_last_place_fits_and_one_more_is_full),
        cmocka_unit_test(memory_that_runs_out_is_a_status),
        cmocka_unit_test(many_senders_lose_nothing_and_wake_the_reader),
        cmocka_unit_test(shared_readers_never_get_one_item_twice),
        cmocka_unit_test(a_wait_without_a_signal_ends_at_its_time),
        cmocka_unit_test(a_signal_after_prepare_is_not_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
