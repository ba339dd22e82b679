#include "unit_test.h"

#include "sequence_queue.h"

#define COUNT 200

static uint64_t random_state;

static uint32_t next_random(uint32_t bound)
{
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(random_state >> 33) % bound;
}

static void sequences_leave_in_order_whatever_the_order_they_came_in(void **state)
{
    (void)state;
    static struct batch_request requests[COUNT];
    static struct sequence sequences[COUNT];
    for (uint64_t seed = 0; seed < 50; seed++) {
        random_state = seed;
        struct sequence_queue queue = {NULL, 0};
        for (uint32_t i = 0; i < COUNT; i++) {
            requests[i] =
                (struct batch_request){.priority = (int32_t)next_random(5) - 2, .arrival = i};
            sequences[i] = (struct sequence){.request = &requests[i]};
            sequence_queue_insert(&queue, &sequences[i]);
            if (next_random(4) == 0)
                sequence_queue_remove(&queue, queue.root);
        }
        struct sequence *before = NULL;
        while (queue.root != NULL) {
            struct sequence *s = queue.root;
            assert_true(before == NULL || sequence_is_before(before, s));
            sequence_queue_remove(&queue, s);
            before = s;
        }
        assert_int_equal(queue.count, 0);
    }
}

static void any_element_can_be_removed(void **state)
{
    (void)state;
    static struct batch_request requests[COUNT];
    static struct sequence sequences[COUNT];
    for (uint64_t seed = 0; seed < 50; seed++) {
        random_state = seed;
        struct sequence_queue queue = {NULL, 0};
        bool is_in[COUNT];
        for (uint32_t i = 0; i < COUNT; i++) {
            requests[i] = (struct batch_request){.priority = (int32_t)next_random(3), .arrival = i};
            sequences[i] = (struct sequence){.request = &requests[i]};
            sequence_queue_insert(&queue, &sequences[i]);
            is_in[i] = true;
        }
        for (uint32_t round = 0; round < COUNT / 2; round++) {
            uint32_t i = next_random(COUNT);
            if (!is_in[i])
                continue;
            sequence_queue_remove(&queue, &sequences[i]);
            is_in[i] = false;
            struct sequence *best = NULL;
            for (uint32_t j = 0; j < COUNT; j++) {
                if (is_in[j] && (best == NULL || sequence_is_before(&sequences[j], best)))
                    best = &sequences[j];
            }
            assert_ptr_equal(queue.root, best);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequences_leave_in_order_whatever_the_order_they_came_in),
        cmocka_unit_test(any_element_can_be_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
