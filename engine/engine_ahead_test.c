/* WRAP: calloc malloc */
/* A device that is kept a step ahead: it is, where it may be; it says what the host says; and when it fails or hangs, everybody
 * is told and nobody is told anything wrong. */
#include "fake_model_testing.h"

enum { ROUNDS_MAX = 4000 };

static void wait_until_ahead(uint32_t steps)
{
    for (uint32_t i = 0; i < ROUNDS_MAX && atomic_load(&steps_open_most) < steps; i++)
        usleep(5000);
    assert_int_equal(atomic_load(&steps_open_most), steps);
}

static struct client *ask(engine *e, uint32_t prompt_count, uint32_t seed, uint32_t outputs)
{
    struct client *c = client_create(e, make_prompt(prompt_count, seed), prompt_count, outputs);
    c->request.sampling.ignore_eos = true;
    c->request.sampling.seed = seed;
    return c;
}

static void a_device_has_its_next_step_before_the_last_ones_tokens_are_read(void **state)
{
    (void)state;
    fake_is_queued = true;
    engine *e = open_engine(&defaults);
    struct client *c = ask(e, 20, 1, 50);
    client_run(c);
    assert_int_equal(c->sequences[0].token_count, 50);
    wait_until_ahead(2);
    assert_becomes_empty(e);
    client_destroy(c);
    engine_close(e);
}

static void what_the_host_must_sample_is_waited_for(void **state)
{
    (void)state;
    fake_is_queued = true;
    engine *e = open_engine(&defaults);
    for (uint32_t wish = 0; wish < 4; wish++) {
        struct client *c = ask(e, 20, wish, 30);
        static const int32_t run[] = {'a', 'b'};
        static const struct token_run ban = {run, 2};
        struct sampling_params *p = &c->request.sampling;
        p->temperature = 0.8f;
        p->typical_p = wish == 0 ? 0.9f : 0.0f;
        p->dry = (struct dry_params){.multiplier = wish == 1 ? 0.8f : 0.0f,
                                     .base = 1.75f,
                                     .allowed_length = 2,
                                     .last_n = -1};
        p->bans = &ban;
        p->ban_count = wish == 2;
        p->mirostat = (struct mirostat_params){.is_on = wish == 3, .tau = 5, .eta = 0.1f};
        atomic_store(&steps_open_most, 0);
        client_run(c);
        assert_int_equal(c->sequences[0].token_count, 30);
        assert_int_equal(atomic_load(&steps_open_most), 1);
        client_destroy(c);
    }
    engine_close(e);
}

/* Every wish that a device knows, and some that it does not, so that steps hold both. */
enum { WISHES = 14 };

static struct client *ask_wish(engine *e, uint32_t wish, bool has_host_wishes)
{
    static const struct logit_bias biases[] = {{'e', 3.0f}, {'q', -100.0f}, {'z', 2.5f}};
    static const int32_t allowed[] = {'a', 'c', 'e', 'g', 'm', 's', 't', 'z'};
    static const int32_t ends[] = {'e', 't'};
    struct client *c = client_create(e, make_prompt(20 + 3 * wish, wish), 20 + 3 * wish, 60);
    struct sampling_params *p = &c->request.sampling;
    c->request.n = wish % 3 == 1 ? 3 : 1;
    c->request.priority = (int32_t)(wish % 2);
    p->seed = 100 + wish;
    p->temperature = wish % 4 == 0 ? 0.0f : 0.7f + 0.1f * (float)wish;
    p->top_k = wish == 3 ? 5 : 0;
    p->top_p = wish == 5 ? 0.8f : 1.0f;
    p->min_p = wish == 6 ? 0.05f : 0.0f;
    p->repetition_penalty = wish == 7 || wish == 1 ? 1.3f : 1.0f;
    p->presence_penalty = wish == 2 ? 0.5f : 0.0f;
    p->frequency_penalty = wish == 8 || wish == 4 ? 0.3f : 0.0f;
    p->biases = biases;
    p->bias_count = wish == 9 || wish == 4 ? 3 : 0;
    p->allowed_tokens = wish == 10 ? allowed : NULL;
    p->allowed_token_count = wish == 10 ? (uint32_t)ARRAY_COUNT(allowed) : 0;
    p->stop_tokens = ends;
    p->stop_token_count = wish == 11 ? 2 : 0;
    p->min_tokens = wish == 11 ? 25 : 0;
    p->logprobs = (int32_t)(wish % 5) - 1;
    p->typical_p = has_host_wishes && wish == 12 ? 0.9f : 0.0f;
    p->repetition = wish == 13 ? (struct repetition_params){1, 4, 3} : p->repetition;
    return c;
}

static void run_wishes(struct client **clients, bool is_queued, uint64_t kv_blocks, bool together,
                       bool has_host_wishes)
{
    struct engine_options options = defaults;
    options.kv_bytes = kv_blocks * BLOCK_BYTES;
    fake_is_queued = is_queued;
    engine *e = open_engine(&options);
    for (uint32_t i = 0; i < WISHES; i++) {
        clients[i] = ask_wish(e, i, has_host_wishes);
        client_submit(clients[i]);
        if (!together)
            client_wait(clients[i]);
    }
    for (uint32_t i = 0; together && i < WISHES; i++)
        client_wait(clients[i]);
    assert_becomes_empty(e);
    engine_close(e);
}

static void free_wishes(struct client **clients)
{
    for (uint32_t i = 0; i < WISHES; i++)
        client_destroy(clients[i]);
}

static void assert_same_wishes(struct client **a, struct client **b)
{
    for (uint32_t i = 0; i < WISHES; i++) {
        for (uint32_t j = 0; j < a[i]->request.n; j++) {
            const struct client_sequence *x = &a[i]->sequences[j], *y = &b[i]->sequences[j];
            assert_true(x->token_count > 0);
            assert_same_output(x, y);
            if (a[i]->request.sampling.logprobs >= 0)
                assert_memory_equal(x->logprobs, y->logprobs, x->token_count * sizeof(float));
        }
    }
}

static void a_device_says_what_the_host_says_alone_together_and_preempted(void **state)
{
    (void)state;
    struct client *host[WISHES], *device[WISHES];
    for (int host_wishes = 0; host_wishes < 2; host_wishes++) {
        run_wishes(host, false, 256, true, host_wishes != 0);
        for (int way = 0; way < 3; way++) {
            run_wishes(device, true, way == 2 ? 20 : 256, way > 0, host_wishes != 0);
            assert_same_wishes(host, device);
            free_wishes(device);
        }
        free_wishes(host);
    }
}

static void clients_that_leave_at_any_moment_leave_nothing_behind(void **state)
{
    (void)state;
    fake_is_queued = true;
    struct engine_options options = defaults;
    options.kv_bytes = 24 * BLOCK_BYTES;
    engine *e = open_engine(&options);
    uint32_t aborted = 0;
    atomic_store(&forward_us, 100);
    for (uint32_t round = 0; round < 40; round++) {
        struct client *leaving[4], *staying = ask(e, 30, round, 40), *alone = ask(e, 30, round, 40);
        for (uint32_t i = 0; i < 4; i++) {
            leaving[i] = ask(e, 17 + i, 200 + i, 200);
            leaving[i]->cancel_after = 1 + (round + i) % 7;
            client_submit(leaving[i]);
        }
        client_run(staying);
        for (uint32_t i = 0; i < 4; i++) {
            client_wait(leaving[i]);
            aborted += leaving[i]->sequences[0].finish == FINISH_ABORT;
            client_destroy(leaving[i]);
        }
        client_run(alone);
        assert_same_output(&staying->sequences[0], &alone->sequences[0]);
        client_destroy(staying);
        client_destroy(alone);
    }
    assert_true(aborted > 0);
    assert_becomes_empty(e);
    engine_close(e);
}

/* The device fails in the middle: what was said until then is a beginning of what would have been said. */
static void a_failure_with_steps_under_way_is_told_to_everybody(void **state)
{
    (void)state;
    fake_is_queued = true;
    engine *e = open_engine(&defaults);
    struct client *whole[3], *cut[3];
    for (uint32_t i = 0; i < 3; i++) {
        whole[i] = ask(e, 20 + i, i, 400);
        client_submit(whole[i]);
    }
    for (uint32_t i = 0; i < 3; i++)
        client_wait(whole[i]);
    atomic_store(&forward_us, 5000);
    for (uint32_t i = 0; i < 3; i++) {
        cut[i] = ask(e, 20 + i, i, 400);
        client_submit(cut[i]);
    }
    for (uint32_t i = 0; i < ROUNDS_MAX && atomic_load(&cut[2]->event_count) < 1; i++)
        usleep(2000);
    atomic_store(&forward_fails, 1);
    for (uint32_t i = 0; i < 3; i++) {
        client_wait(cut[i]);
        const struct client_sequence *s = &cut[i]->sequences[0];
        assert_int_equal(s->finish, FINISH_ERROR);
        assert_int_equal(s->error, STATUS_INTERNAL);
        assert_true(s->token_count < 400);
        assert_memory_equal(s->tokens, whole[i]->sequences[0].tokens,
                            s->token_count * sizeof s->tokens[0]);
    }
    assert_false(engine_is_alive(e, clock_now_ns(), UINT64_MAX / 2));
    assert_int_equal(engine_submit(e, &whole[0]->request), STATUS_CLOSED);
    assert_becomes_empty(e);
    for (uint32_t i = 0; i < 3; i++) {
        client_destroy(whole[i]);
        client_destroy(cut[i]);
    }
    engine_close(e);
}

static void a_device_that_hangs_is_seen_by_the_age_of_its_step(void **state)
{
    (void)state;
    fake_is_queued = true;
    engine *e = open_engine(&defaults);
    struct client *c = ask(e, 20, 1, 300);
    atomic_store(&forward_us, 5000);
    client_submit(c);
    wait_until_ahead(2);
    uint64_t limit_ns = 50 * NS_PER_MS;
    atomic_store(&forward_hangs, true);
    uint32_t i = 0;
    while (i < ROUNDS_MAX && engine_is_alive(e, clock_now_ns(), limit_ns)) {
        usleep(5000);
        i++;
    }
    bool was_alive = engine_is_alive(e, clock_now_ns(), limit_ns);
    atomic_store(&forward_hangs, false);
    assert_false(was_alive);
    client_wait(c);
    assert_int_equal(c->sequences[0].token_count, 300);
    client_destroy(c);
    engine_close(e);
}

int main(void)
{
    spell_bytes();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_device_has_its_next_step_before_the_last_ones_tokens_are_read),
        cmocka_unit_test(what_the_host_must_sample_is_waited_for),
        cmocka_unit_test(a_device_says_what_the_host_says_alone_together_and_preempted),
        cmocka_unit_test(clients_that_leave_at_any_moment_leave_nothing_behind),
        cmocka_unit_test(a_failure_with_steps_under_way_is_told_to_everybody),
        cmocka_unit_test(a_device_that_hangs_is_seen_by_the_age_of_its_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
