/* WRAP: calloc */
#include "unit_test.h"

#include "block_allocator.h"
#include "check.h"

void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);

static int calloc_fail_at; /* 0: never; counts down to the call that fails */

void *__wrap_calloc(size_t count, size_t bytes)
{
    if (calloc_fail_at > 0 && --calloc_fail_at == 0)
        return NULL;
    return __real_calloc(count, bytes);
}

static uint32_t evicted[8];
static uint32_t evicted_count;

static void note_evicted(void *context, uint32_t block)
{
    (void)context;
    assert_true(evicted_count < ARRAY_COUNT(evicted));
    evicted[evicted_count++] = block;
}

static block_allocator *make(uint32_t count)
{
    block_allocator *a = NULL;
    assert_int_equal(block_allocator_create(count, &a), STATUS_OK);
    block_allocator_set_evict(a, note_evicted, NULL);
    evicted_count = 0;
    return a;
}

static uint32_t take(block_allocator *a)
{
    uint32_t block = BLOCK_NONE;
    assert_int_equal(block_acquire(a, &block), STATUS_OK);
    return block;
}

static void every_block_is_given_once_and_then_memory_is_out(void **state)
{
    (void)state;
    block_allocator *a = make(5);
    bool seen[5] = {false};
    for (int i = 0; i < 5; i++) {
        uint32_t block = take(a);
        assert_true(block < 5 && !seen[block]);
        seen[block] = true;
        assert_int_equal(block_reference_count(a, block), 1);
    }
    uint32_t untouched = 77;
    assert_int_equal(block_acquire(a, &untouched), STATUS_NO_MEMORY);
    assert_int_equal(untouched, 77);
    assert_true(block_allocator_is_consistent(a));
    block_release(a, 3);
    assert_int_equal(take(a), 3);
    block_allocator_destroy(a);
}

static void a_block_is_free_only_after_its_last_reference(void **state)
{
    (void)state;
    block_allocator *a = make(2);
    uint32_t block = take(a);
    block_retain(a, block);
    block_release(a, block);
    assert_int_equal(block_allocator_counts(a).referenced, 1);
    block_release(a, block);
    assert_int_equal(block_allocator_counts(a).referenced, 0);
    assert_int_equal(block_allocator_counts(a).free, 2);
    assert_true(block_allocator_is_consistent(a));
    block_allocator_destroy(a);
}

static uint32_t take_findable(block_allocator *a)
{
    uint32_t block = take(a);
    block_set_filled(a, block, BLOCK_TOKENS);
    block_set_findable(a, block, true);
    return block;
}

static void kept_blocks_are_evicted_oldest_first_and_only_when_nothing_is_free(void **state)
{
    (void)state;
    block_allocator *a = make(4);
    uint32_t first = take_findable(a);
    uint32_t second = take_findable(a);
    uint32_t third = take_findable(a);
    block_release(a, second);
    block_release(a, third);
    block_release(a, first);
    assert_int_equal(block_allocator_counts(a).kept, 3);
    assert_int_equal(block_available_count(a), 4);
    take(a); /* the free one */
    assert_int_equal(evicted_count, 0);
    assert_int_equal(take(a), second);
    block_retain(a, third); /* found again: no longer a candidate */
    assert_int_equal(take(a), first);
    assert_int_equal(evicted_count, 2);
    assert_int_equal(evicted[0], second);
    assert_int_equal(evicted[1], first);
    uint32_t none;
    assert_int_equal(block_acquire(a, &none), STATUS_NO_MEMORY);
    assert_true(block_allocator_is_consistent(a));
    block_allocator_destroy(a);
}

static void pinned_blocks_are_given_up_after_all_others_until_their_time(void **state)
{
    (void)state;
    block_allocator *a = make(4);
    block_allocator_set_pinned_max(a, 4);
    uint32_t block[4];
    for (uint32_t i = 0; i < 4; i++)
        block[i] = take_findable(a);
    assert_true(block_pin(a, block[0], 20));
    assert_true(block_pin(a, block[1], 10));
    assert_true(block_pin(a, block[0], 5)); /* is pinned for longer already */
    for (uint32_t i = 0; i < 4; i++)
        block_release(a, block[i]);
    assert_true(block_allocator_is_consistent(a));
    assert_int_equal(block_allocator_counts(a).kept, 4);
    assert_int_equal(block_allocator_counts(a).pinned, 2);
    assert_int_equal(take(a), block[2]);
    block_allocator_set_now(
        a, 10); /* one pin's time has passed: it is released just now, after block 3 was */
    assert_int_equal(take(a), block[3]);
    assert_int_equal(take(a), block[1]);
    assert_int_equal(block_allocator_counts(a).pinned, 1);
    assert_int_equal(take(a), block[0]); /* there is no other */
    assert_int_equal(block_allocator_counts(a).pinned, 0);
    assert_true(block_allocator_is_consistent(a));
    block_allocator_destroy(a);
}

static void no_more_blocks_are_pinned_than_may_be(void **state)
{
    (void)state;
    block_allocator *a = make(4);
    uint32_t block[4];
    for (uint32_t i = 0; i < 4; i++)
        block[i] = take_findable(a);
    assert_false(block_pin(a, block[0], 10));
    block_allocator_set_pinned_max(a, 2);
    assert_true(block_pin(a, block[0], 10));
    assert_true(block_pin(a, block[1], 30));
    assert_false(block_pin(a, block[2], 30));
    assert_true(block_pin(a, block[0], 20)); /* has its pin, which gets longer */
    block_release(a, block[0]);
    block_allocator_set_now(a, 19);
    assert_false(block_pin(a, block[2], 30));
    block_allocator_set_now(a, 20);
    assert_true(block_pin(a, block[2], 30));
    assert_int_equal(block_allocator_counts(a).pinned, 2);
    block_allocator_set_now(a, 30);
    block_release(a, block[1]); /* past its time before it was kept */
    assert_int_equal(block_allocator_counts(a).pinned, 1);
    block_allocator_set_now(a, 7); /* time does not go back */
    assert_true(block_pin(a, block[3], 30));
    assert_int_equal(block_allocator_counts(a).pinned, 1);
    assert_true(block_allocator_is_consistent(a));
    block_allocator_destroy(a);
}

static void tokens_in_shared_blocks_count_once_and_kept_ones_do_not(void **state)
{
    (void)state;
    block_allocator *a = make(3);
    uint32_t full = take_findable(a);
    uint32_t part = take(a);
    block_set_filled(a, part, 5);
    block_retain(a, full);
    assert_int_equal(block_allocator_counts(a).tokens_used, 21);
    block_release(a, full);
    assert_int_equal(block_allocator_counts(a).tokens_used, 21);
    block_release(a, full);
    assert_int_equal(block_allocator_counts(a).tokens_used, 5);
    block_retain(a, full);
    assert_int_equal(block_allocator_counts(a).tokens_used, 21);
    block_release(a, part);
    assert_int_equal(block_allocator_counts(a).tokens_used, 16);
    assert_true(block_allocator_is_consistent(a));
    block_allocator_destroy(a);
}

static void forgetting_gives_up_all_that_is_kept_and_begins_anew(void **state)
{
    (void)state;
    block_allocator *a = make(4);
    block_allocator_set_pinned_max(a, 4);
    uint32_t block[3] = {take_findable(a), take_findable(a), take(a)};
    assert_true(block_pin(a, block[0], 20));
    for (uint32_t i = 0; i < 3; i++)
        block_release(a, block[i]);
    assert_int_equal(block_allocator_counts(a).kept, 2);
    block_allocator_forget(a);
    struct block_counts counts = block_allocator_counts(a);
    assert_true(counts.free == 4 && counts.kept == 0 && counts.pinned == 0);
    assert_int_equal(evicted_count, 2);
    assert_true(block_allocator_is_consistent(a));
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(take(a), i);
    block_allocator_destroy(a);
}

static void create_fails_cleanly_at_each_allocation(void **state)
{
    (void)state;
    for (int nth = 1; nth <= 2; nth++) {
        block_allocator *a = NULL;
        calloc_fail_at = nth;
        assert_int_equal(block_allocator_create(4, &a), STATUS_NO_MEMORY);
        assert_null(a);
    }
    calloc_fail_at = 0;
}

struct watched {
    uint64_t sums[3];
    uint32_t counts[3];
};

static void note_life(void *context, enum block_figure figure, uint64_t ns)
{
    struct watched *watched = context;
    watched->sums[figure] += ns;
    watched->counts[figure]++;
}

static void one_block_in_many_tells_how_it_lived(void **state)
{
    (void)state;
    block_allocator *a = make(1);
    struct watched seen = {0};
    block_allocator_set_watch(a, note_life, &seen);
    block_allocator_set_now(a, 100);
    uint32_t block = take(a); /* the first is watched */
    block_set_filled(a, block, BLOCK_TOKENS);
    block_set_findable(a, block, true);
    block_allocator_set_now(a, 110);
    block_retain(a, block); /* found while it is in use */
    block_release(a, block);
    block_allocator_set_now(a, 130);
    block_release(a, block);
    block_allocator_set_now(a, 160);
    block_retain(a, block); /* found while it is kept */
    block_allocator_set_now(a, 200);
    block_release(a, block);
    block_allocator_set_now(a, 1000);
    for (uint32_t i = 1; i < BLOCK_WATCH_EVERY;
         i++) /* of these nothing is told but the first's end */
        block_release(a, take(a));
    assert_int_equal(seen.counts[BLOCK_REUSE_GAP], 2);
    assert_int_equal(seen.sums[BLOCK_REUSE_GAP], (110 - 100) + (160 - 130));
    assert_int_equal(seen.counts[BLOCK_LIFETIME], 1);
    assert_int_equal(seen.sums[BLOCK_LIFETIME], 900);
    assert_int_equal(seen.counts[BLOCK_IDLE], 1);
    assert_int_equal(seen.sums[BLOCK_IDLE], 800);
    block = take(a); /* the next that is watched; it is never found, so it is not given up either */
    block_release(a, block);
    assert_int_equal(seen.counts[BLOCK_LIFETIME], 1);
    assert_true(block_allocator_is_consistent(a));
    block_allocator_destroy(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_block_is_given_once_and_then_memory_is_out),
        cmocka_unit_test(a_block_is_free_only_after_its_last_reference),
        cmocka_unit_test(kept_blocks_are_evicted_oldest_first_and_only_when_nothing_is_free),
        cmocka_unit_test(pinned_blocks_are_given_up_after_all_others_until_their_time),
        cmocka_unit_test(no_more_blocks_are_pinned_than_may_be),
        cmocka_unit_test(tokens_in_shared_blocks_count_once_and_kept_ones_do_not),
        cmocka_unit_test(forgetting_gives_up_all_that_is_kept_and_begins_anew),
        cmocka_unit_test(one_block_in_many_tells_how_it_lived),
        cmocka_unit_test(create_fails_cleanly_at_each_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
