#include "batcher_testing.h"

/* Tokens of prompts of the tenant and of the priority of `r` that came later than r and were run before it. */
static uint64_t passing_tokens(const struct world *w, const struct batch_request *r,
                               uint64_t tenant)
{
    uint64_t passing = 0;
    for (uint32_t i = 0; i < w->request_count; i++) {
        const struct batch_request *other = &w->requests[i].request;
        if (other->arrival > r->arrival && other->priority == r->priority &&
            other->tenant == tenant && other->was_admitted &&
            sequence_is_before(other->sequences, r->sequences))
            passing += other->prompt_count;
    }
    return passing;
}

/* Its own tenant's hold at most three times its tokens, another's also what its own tenant had submitted before (with the
 * prefix cache only what it lacks counts, which is not known here). */
static void assert_nobody_is_passed_by_too_much(const struct world *w)
{
    for (uint32_t i = 0; !w->options.prefix_cache && i < w->request_count; i++) {
        const struct batch_request *r = &w->requests[i].request;
        uint64_t before = 0;
        for (uint32_t j = 0; j < w->request_count; j++) {
            const struct batch_request *other = &w->requests[j].request;
            if (other->arrival < r->arrival && other->tenant == r->tenant)
                before += other->prompt_count;
        }
        for (uint64_t tenant = 0; tenant < TENANTS; tenant++) {
            uint64_t passing = passing_tokens(w, r, tenant);
            assert_true(tenant == r->tenant ? passing <= 3ull * r->prompt_count
                                            : passing <= before + 4ull * r->prompt_count);
        }
    }
}

static uint64_t drafted_in_all_worlds, accepted_in_all_worlds, loaded_in_all_worlds;

static void run_world(uint64_t seed)
{
    random_state = seed;
    struct batcher_options options = {
        .block_count = 2 + next_random(BLOCKS_MAX - 1),
        .sequence_count_max = 1 + next_random(12),
        .prefix_cache = next_random(4) != 0,
        .pinned_blocks_max = next_random(BLOCKS_MAX),
        .inter_token_target_ns = next_random(2) * (1000000 + next_random(1000000)),
        .inter_token_factor = next_random(2) * (1.1 + 0.01 * next_random(200)),
        .draft_tokens_max = next_random(3) * next_random(7),
    };
    options.batch_tokens_max = options.sequence_count_max + next_random(100);
    options.host_slots = choose_host_slots(options.prefix_cache);
    struct world w;
    world_open(&w, &options);
    w.request_count = 1 + next_random(REQUESTS_MAX);
    for (uint32_t i = 0; i < w.request_count; i++) {
        request_make(&w, &w.requests[i], i);
        w.requests[i].arrives_at = next_random(60);
        if (next_random(6) == 0)
            w.requests[i].cancel_at = w.requests[i].arrives_at + next_random(60);
    }
    uint32_t left = w.request_count;
    uint64_t arrivals = 0;
    for (w.step = 0; left > 0; w.step++) {
        assert_true(w.step < 20000); /* somebody starves */
        left = 0;
        for (uint32_t i = 0; i < w.request_count; i++) {
            struct fake_request *r = &w.requests[i];
            if (r->arrives_at == w.step) {
                r->request.arrival = arrivals++;
                submit(&w, r);
            }
            if (r->cancel_at == w.step && r->request.live_count > 0)
                end_request(&w, r);
            left += !r->was_submitted || r->request.live_count > 0;
        }
        run_step(&w);
        if (w.step % 4 == 0)
            assert_true(batcher_is_consistent(w.b));
    }
    assert_nobody_is_passed_by_too_much(&w);
    for (uint32_t i = 0; i < w.request_count; i++) {
        struct fake_request *r = &w.requests[i];
        assert_int_equal(r->end_count, r->request.sequence_count);
        if (r->sequences[0].output_count > 0)
            assert_prompt_scored(r);
        for (uint32_t j = 0; j < r->request.sequence_count; j++)
            assert_outputs(r, &r->sequences[j], r->cancel_at == UINT64_MAX);
    }
    drafted_in_all_worlds += w.drafted_total;
    accepted_in_all_worlds += w.accepted_total;
    world_close(&w);
    loaded_in_all_worlds += w.loaded_total;
}

static void thousands_of_random_worlds_end_with_the_right_tokens_and_no_leak(void **state)
{
    (void)state;
    for (seed_in_hand = 1; seed_in_hand <= 3000; seed_in_hand++)
        run_world(seed_in_hand);
    assert_true(accepted_in_all_worlds > 10000);
    assert_true(drafted_in_all_worlds > accepted_in_all_worlds + 10000);
    assert_true(loaded_in_all_worlds > 1000);
}

static const struct batcher_options small = {
    .block_count = 8, .sequence_count_max = 4, .batch_tokens_max = 32, .prefix_cache = true};

static void run_until_idle(struct world *w)
{
    for (int i = 0; i < 1000 && batcher_any_request(w->b) != NULL; i++)
        run_step(w);
    assert_null(batcher_any_request(w->b));
}

static void sequences_of_one_request_share_the_prompt_and_copy_its_last_block(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, &small);
    struct fake_request *r = add(&w, 24, 4, 3, 0);
    run_step(&w); /* prompt, and the first token of all three */
    struct batcher_stats stats;
    batcher_get_stats(w.b, &stats);
    assert_int_equal(stats.running_sequences, 3);
    assert_int_equal(stats.blocks.referenced, 2);
    assert_int_equal(stats.blocks.tokens_used, 24);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(r->sequences[i].output_count, 1);
    const struct step_plan *plan = batcher_plan(w.b);
    assert_int_equal(plan->copy_count, 2); /* the third writes in place */
    run_copies(&w, plan);
    uint64_t digests[8];
    run_forward(&w, plan, digests);
    uint32_t count;
    const struct step_sample *samples = batcher_complete(w.b, &count);
    assert_int_equal(count, 3);
    for (uint32_t i = 0; i < 3; i++)
        take_sample(&w, &samples[i], digests);
    batcher_get_stats(w.b, &stats);
    assert_int_equal(stats.blocks.referenced, 4);
    assert_true(batcher_is_consistent(w.b));
    end_request(&w, r);
    world_close(&w);
}

static void a_repeated_prompt_computes_only_what_the_cache_lacks(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, &small);
    add(&w, 40, 1, 1, 0);
    run_until_idle(&w);
    struct fake_request *again = add(&w, 40, 1, 1, 0);
    const struct step_plan *plan = batcher_plan(w.b);
    assert_int_equal(plan->row_count, 8);
    assert_int_equal(again->request.cached_tokens, 32);
    batcher_abandon(w.b);
    end_request(&w, again);

    /* A prompt of whole blocks: one block is computed again, for some row must give logits. */
    struct fake_request *whole = add(&w, 32, 1, 1, 0);
    plan = batcher_plan(w.b);
    assert_int_equal(plan->row_count, 16);
    assert_int_equal(whole->request.cached_tokens, 16);
    struct batcher_stats stats;
    batcher_get_stats(w.b, &stats);
    assert_int_equal(stats.recomputed_tokens, 16);
    assert_int_equal(stats.prefix_query_tokens, 40 + 40 + 32);
    assert_int_equal(stats.prefix_hit_tokens, 32 + 16);
    batcher_abandon(w.b);
    end_request(&w, whole);
    world_close(&w);
}

/* Runs a prompt of two blocks and a token, all of them `token`; returns how many the cache held. */
static uint32_t run_alike(struct world *w, int32_t token, const struct block_pin *pin)
{
    w->request_count = 0; /* one slot for all of them */
    struct fake_request *r = make(w, 2 * BLOCK_TOKENS + 1, 1, 1, 0);
    for (uint32_t i = 0; i < r->request.prompt_count; i++)
        r->prompt[i] = token;
    hash_prompt(r);
    if (pin != NULL)
        r->pins[r->request.pin_count++] = *pin;
    submit(w, r);
    run_until_idle(w);
    return r->request.cached_tokens;
}

static void pinned_prompts_outlast_others_until_their_time_and_never_stand_in_the_way(void **state)
{
    (void)state;
    struct world w;
    struct batcher_options options =
        small; /* 8 blocks; a prompt holds 3, and leaves 2 in the cache */
    options.pinned_blocks_max = 4;
    world_open(&w, &options);
    const struct block_pin both = {2, 100}, first = {1, 100};
    run_alike(&w, 1, &both);
    for (int32_t other = 10; other < 20; other++)
        run_alike(&w, other, NULL);
    assert_int_equal(run_alike(&w, 1, NULL), 32);
    run_alike(&w, 2, &first);
    for (int32_t other = 20; other < 30; other++)
        run_alike(&w, other, NULL);
    assert_int_equal(run_alike(&w, 2, NULL), 16);
    struct batcher_stats stats;
    batcher_get_stats(w.b, &stats);
    assert_int_equal(stats.blocks.pinned, 3);
    run_alike(&w, 3, &both); /* only one more may be pinned: the first of the prompt */
    batcher_get_stats(w.b, &stats);
    assert_int_equal(stats.blocks.pinned, 4);
    /* Who needs all blocks gets them. */
    struct fake_request *large = add(&w, 88, 40, 1, 0);
    run_until_idle(&w);
    assert_outputs(large, &large->sequences[0], true);
    batcher_get_stats(w.b, &stats);
    assert_int_equal(stats.blocks.pinned, 0);
    run_alike(&w, 1, &both);
    w.step = 100;
    for (int32_t other = 30; other < 40; other++)
        run_alike(&w, other, NULL);
    assert_int_equal(run_alike(&w, 1, NULL), 0);
    world_close(&w);
}

static void the_worst_running_sequence_gives_way_and_loses_nothing(void **state)
{
    (void)state;
    struct world w;
    struct batcher_options options = small;
    options.block_count = 6;
    options.prefix_cache = false;
    world_open(&w, &options);
    struct fake_request *good = add(&w, 30, 40, 1, 0);
    struct fake_request *bad = add(&w, 15, 40, 1, 5);
    run_until_idle(&w);
    assert_true(w.preempted_total > 0);
    assert_int_equal(good->request.preemption_count, 0);
    assert_int_equal(bad->request.preemption_count, w.preempted_total);
    struct batcher_stats stats;
    batcher_get_stats(w.b, &stats);
    assert_true(stats.lost_tokens >=
                w.preempted_total); /* without a cache all of it is computed again */
    assert_outputs(good, &good->sequences[0], true);
    assert_outputs(bad, &bad->sequences[0], true);
    world_close(&w);
}

static void a_long_prompt_beside_decodes_stays_inside_the_target(void **state)
{
    (void)state;
    struct world w;
    struct batcher_options options = small;
    options.block_count = 32;
    options.batch_tokens_max = 96;
    options.prefix_cache = false; /* the prompts are alike */
    /* run_step's machine: 1 ms and 10 us a row, so about 40 rows */
    options.inter_token_target_ns = 1400000;
    world_open(&w, &options);
    struct fake_request *talker = add(&w, 4, 40, 1, 0);
    while (talker->sequences[0].output_count < 6)
        run_step(&w);
    struct fake_request *teacher = add(&w, 90, 1, 1, 0); /* teaches the price of a row */
    while (teacher->request.live_count > 0)
        run_step(&w);
    struct fake_request *reader = add(&w, 96, 2, 1, 0);
    reader->request.priority = 1;
    uint32_t steps = 0;
    while (reader->sequences[0].output_count == 0 && talker->request.live_count > 0) {
        uint32_t before = reader->sequences[0].computed_count;
        run_step(&w);
        assert_true(reader->sequences[0].computed_count - before <= 48);
        steps++;
    }
    assert_in_range(steps, 2, 6);
    run_until_idle(&w);
    world_close(&w);
}

/* A machine in which rows are all that costs: a fifth of the rows is a fifth of the time. */
static uint64_t rows_only_ns(const struct step_plan *plan)
{
    return 1000ull * plan->row_count;
}

/* Runs a step on that machine; returns the prompt rows beside decodes in it. */
static uint32_t run_step_of_rows(struct world *w)
{
    uint64_t digests[64 + STEP_SCORES_MAX];
    const struct step_plan *plan = batcher_plan(w->b);
    assert_non_null(plan);
    uint32_t beside = plan->decode_count > 0 ? plan->row_count - plan->decode_count : 0;
    uint64_t elapsed_ns = rows_only_ns(plan);
    run_copies(w, plan);
    run_forward(w, plan, digests);
    uint32_t count;
    const struct step_sample *samples = batcher_complete(w->b, &count);
    batcher_note_time(w->b, plan, elapsed_ns);
    for (uint32_t i = 0; i < count; i++)
        take_sample(w, &samples[i], digests);
    for (uint32_t i = 0; i < count; i++) {
        if (sequence_is_done(samples[i].sequence))
            batcher_end_sequence(w->b, samples[i].sequence);
    }
    return beside;
}

static void a_step_with_decodes_grows_by_the_factor_and_no_more(void **state)
{
    (void)state;
    struct world w;
    struct batcher_options options = {.block_count = 64,
                                      .sequence_count_max = 24,
                                      .batch_tokens_max = 96,
                                      .inter_token_factor = 1.5};
    world_open(&w, &options);
    struct fake_request *talkers[20];
    for (uint32_t i = 0; i < 20; i++)
        talkers[i] = add(&w, 1, OUTPUT_MAX, 1, 0);
    struct fake_request *reader = add(&w, PROMPT_MAX, 2, 1, 0);
    run_step_of_rows(&w); /* nobody generates yet: 20 prompts and the reader's first 76 rows */
    assert_int_equal(reader->sequences[0].computed_count, 76);
    for (int i = 0; i < 8; i++)
        run_step_of_rows(&w); /* teaches the price of a row */
    struct fake_request *second = add(&w, PROMPT_MAX, 2, 1, 0);
    uint32_t steps = 0;
    while (second->sequences[0].output_count == 0) {
        assert_true(talkers[0]->request.live_count > 0);
        /* 21 requests at 1.5 times their pace are 31 rows, of which 20 are the talkers'. */
        uint32_t beside = run_step_of_rows(&w);
        assert_in_range(beside, 1, 13);
        steps++;
    }
    assert_in_range(steps, 8, 14);
    for (uint32_t i = 0; i < w.request_count; i++) {
        if (w.requests[i].request.live_count > 0)
            end_request(&w, &w.requests[i]);
    }
    world_close(&w);
}

static void a_short_prompt_passes_a_long_one_and_many_do_not(void **state)
{
    (void)state;
    struct world w;
    struct batcher_options options = {
        .block_count = 64, .sequence_count_max = 32, .batch_tokens_max = 32};
    world_open(&w, &options);
    struct fake_request *long_one = add(&w, PROMPT_MAX, 1, 1, 0);
    struct fake_request *other_long = add(&w, PROMPT_MAX, 1, 1, 0);
    struct fake_request *short_one = add(&w, 8, 1, 1, 0);
    run_step(&w);
    assert_int_equal(short_one->request.live_count, 0);
    assert_int_equal(long_one->request.live_count, 1);
    /* Beside a chunk of the long one fits no other long one; short ones come all the time. */
    uint32_t passed = 8;
    while (other_long->request.live_count > 0) {
        assert_true(w.request_count < REQUESTS_MAX);
        struct fake_request *next = add(&w, 24, 1, 1, 0);
        run_step(&w);
        passed += next->request.live_count == 0 ? 24 : 0;
    }
    assert_true(passed >= PROMPT_MAX);
    assert_true(passed <= 3 * PROMPT_MAX);
    run_until_idle(&w);
    world_close(&w);
}

static struct fake_request *add_of(struct world *w, uint64_t tenant, uint32_t prompt_count,
                                   uint32_t output_max)
{
    struct fake_request *r = make(w, prompt_count, output_max, 1, 0);
    r->request.tenant = tenant;
    submit(w, r);
    return r;
}

/* A machine that has learnt its price, with `count` answers, each of the tenant `first_tenant` + its number * `stride`. */
static void world_open_talking(struct world *w, uint32_t count, uint64_t stride)
{
    struct batcher_options options = {.block_count = 64,
                                      .sequence_count_max = 24,
                                      .batch_tokens_max = 192,
                                      .inter_token_factor = 1.5,
                                      .inter_token_target_ns = 90000}; /* rows_only_ns: 90 rows */
    world_open(w, &options);
    for (uint32_t i = 0; i < count; i++)
        add_of(w, 1 + i * stride, 1, OUTPUT_MAX);
    struct fake_request *teacher = add_of(w, 1, PROMPT_MAX, 1); /* of the price of a row */
    while (teacher->request.live_count > 0)
        run_step_of_rows(w);
    for (int i = 0; i < 4; i++)
        run_step_of_rows(w);
}

static void end_all(struct world *w)
{
    for (uint32_t i = 0; i < w->request_count; i++) {
        if (w->requests[i].request.live_count > 0)
            end_request(w, &w->requests[i]);
    }
}

static void a_newcomers_prompt_is_read_as_fast_as_the_target_allows(void **state)
{
    (void)state;
    struct world w;
    world_open_talking(&w, 20, 0);
    struct fake_request *own = add_of(&w, 1, PROMPT_MAX, 2);
    struct fake_request *newcomer = add_of(&w, 2, 64, 2);
    assert_true(run_step_of_rows(&w) >= 64); /* with 20 answers no more than 90 rows */
    assert_int_equal(newcomer->sequences[0].output_count, 1);
    assert_true(own->sequences[0].computed_count <= 6);
    /* Who has an answer is a newcomer no more. */
    struct fake_request *second = add_of(&w, 2, 64, 2);
    assert_in_range(run_step_of_rows(&w), 1, 14);
    assert_int_equal(second->sequences[0].output_count, 0);
    end_all(&w);
    world_close(&w);
}

static void where_everybody_has_one_answer_newcomers_are_like_everybody(void **state)
{
    (void)state;
    struct world w;
    world_open_talking(&w, 20, 1);
    struct fake_request *newcomer = add_of(&w, 100, 64, 2);
    assert_in_range(run_step_of_rows(&w), 1, 14);
    assert_int_equal(newcomer->sequences[0].output_count, 0);
    end_all(&w);
    world_close(&w);
}

static void shorter_prompts_that_pass_a_newcomers_hold_no_more_tokens_than_it(void **state)
{
    (void)state;
    struct world w;
    struct batcher_options options = {
        .block_count = 64, .sequence_count_max = 32, .batch_tokens_max = 32};
    world_open(&w, &options);
    add_of(&w, 1, 1, OUTPUT_MAX);
    run_step(&w);
    struct fake_request *newcomer = add_of(&w, 2, PROMPT_MAX, 1);
    uint32_t passed = 0;
    while (newcomer->request.live_count > 0) {
        struct fake_request *later = add_of(&w, 1, 24, 1);
        run_step(&w);
        passed += later->request.live_count == 0 && newcomer->request.live_count > 0 ? 24 : 0;
    }
    assert_true(passed <= PROMPT_MAX);
    run_until_idle(&w);
    world_close(&w);
}

/* One of the flood's prompts is being read; the newcomer's goes before all others that came before it. */
static void a_newcomer_passes_a_queue_of_another_tenants_prompts(void **state)
{
    (void)state;
    struct world w;
    struct batcher_options options = {
        .block_count = 64, .sequence_count_max = 32, .batch_tokens_max = 32};
    world_open(&w, &options);
    struct fake_request *flood[4], *newcomer;
    for (uint32_t i = 0; i < 4; i++)
        flood[i] = add_of(&w, 1, PROMPT_MAX, 1);
    run_step(&w);
    newcomer = add_of(&w, 2, PROMPT_MAX, 1);
    while (newcomer->request.live_count > 0)
        run_step(&w);
    for (uint32_t i = 1; i < 4; i++)
        assert_int_equal(flood[i]->request.live_count, 1);
    run_until_idle(&w);
    world_close(&w);
}

static void a_cancelled_request_frees_its_blocks_at_once(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, &small);
    struct fake_request *running = add(&w, 40, 20, 2, 0);
    struct fake_request *waiting = add(&w, PROMPT_MAX, 2, 1, 0);
    run_step(&w);
    run_step(&w);
    end_request(&w, waiting);
    end_request(&w, running);
    struct batcher_stats stats;
    batcher_get_stats(w.b, &stats);
    assert_int_equal(stats.blocks.referenced, 0);
    world_close(&w);
}

static void options_that_cannot_work_are_refused(void **state)
{
    (void)state;
    batcher *b = NULL;
    struct batcher_options options = small;
    options.batch_tokens_max = options.sequence_count_max - 1;
    assert_int_equal(batcher_create(&options, &b), STATUS_INVALID);
    options = small;
    options.block_count = 0;
    assert_int_equal(batcher_create(&options, &b), STATUS_INVALID);
    options = small;
    options.sequence_count_max = 0;
    assert_int_equal(batcher_create(&options, &b), STATUS_INVALID);
    assert_null(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequences_of_one_request_share_the_prompt_and_copy_its_last_block),
        cmocka_unit_test(a_repeated_prompt_computes_only_what_the_cache_lacks),
        cmocka_unit_test(pinned_prompts_outlast_others_until_their_time_and_never_stand_in_the_way),
        cmocka_unit_test(the_worst_running_sequence_gives_way_and_loses_nothing),
        cmocka_unit_test(a_long_prompt_beside_decodes_stays_inside_the_target),
        cmocka_unit_test(a_step_with_decodes_grows_by_the_factor_and_no_more),
        cmocka_unit_test(a_short_prompt_passes_a_long_one_and_many_do_not),
        cmocka_unit_test(a_newcomers_prompt_is_read_as_fast_as_the_target_allows),
        cmocka_unit_test(where_everybody_has_one_answer_newcomers_are_like_everybody),
        cmocka_unit_test(shorter_prompts_that_pass_a_newcomers_hold_no_more_tokens_than_it),
        cmocka_unit_test(a_newcomer_passes_a_queue_of_another_tenants_prompts),
        cmocka_unit_test(a_cancelled_request_frees_its_blocks_at_once),
        cmocka_unit_test(options_that_cannot_work_are_refused),
        cmocka_unit_test_teardown(thousands_of_random_worlds_end_with_the_right_tokens_and_no_leak,
                                  print_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
