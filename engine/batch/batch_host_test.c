#define BLOCKS_MAX 256u
#define PROMPT_MAX 2560u
#include "batcher_testing.h"

/* The tier below the cache at its edges; that it gives the right tokens is what batcher_test's random worlds show. */

enum { LONG = PROMPT_MAX / BLOCK_TOKENS, FREE = 2 };

static void run_until_idle(struct world *w)
{
    for (int i = 0; i < 1000 && batcher_any_request(w->b) != NULL; i++)
        run_step(w);
    assert_null(batcher_any_request(w->b));
}

/* Who generates keeps loads short; but when it has lost its blocks nobody waits for the step, and something must go on. */
static void loads_go_on_when_nobody_is_left_to_wait_for_them(void **state)
{
    (void)state;
    const struct batcher_options options = {.block_count = LONG + FREE,
                                            .sequence_count_max = 2,
                                            .batch_tokens_max = 64,
                                            .prefix_cache = true,
                                            .inter_token_target_ns = 1000,
                                            .host_slots = BLOCKS_MAX};
    struct world w;
    host_block_ns = 100; /* fewer than the least number of copies fit the target */
    world_open(&w, &options);
    (void)add(&w, PROMPT_MAX - 1, 1, 1, 0);
    run_until_idle(&w);
    struct fake_request *other = make(&w, PROMPT_MAX, 1, 1, 0); /* takes all blocks */
    for (uint32_t i = 0; i < PROMPT_MAX; i++)
        other->prompt[i] = (int32_t)(VOCABULARY - 1 - i % VOCABULARY);
    hash_prompt(other);
    submit(&w, other);
    run_until_idle(&w);

    struct fake_request *shorter = add(&w, BLOCK_TOKENS - 1, OUTPUT_MAX, 1, 1);
    run_step(&w);
    struct fake_request *longer = add(&w, PROMPT_MAX - 1, 1, 1, 0);
    run_until_idle(&w);
    assert_int_equal(w.preempted_total, 1); /* the shorter, for want of a block */
    assert_true(longer->request.host_tokens > PROMPT_MAX / 2);
    assert_outputs(shorter, shorter->sequences, true);
    assert_outputs(longer, longer->sequences, true);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_go_on_when_nobody_is_left_to_wait_for_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
