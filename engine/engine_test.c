/* WRAP: calloc malloc */
/* What becomes of requests, alone and in company, and of the engine when something fails. */
#include "fake_model_testing.h"

static void a_request_is_answered_with_text_usage_and_times(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    struct client *c = client_create(e, make_prompt(40, 1), 40, 12);
    c->request.sampling.logprobs = 3;
    c->request.sampling.ignore_eos = true;
    client_run(c);
    struct client_sequence *s = &c->sequences[0];
    assert_int_equal(s->finish, FINISH_LENGTH);
    assert_int_equal(s->token_count, 12);
    assert_int_equal(s->text_bytes, 12);
    for (uint32_t i = 0; i < 12; i++) {
        assert_int_equal(s->text[i], s->tokens[i]);
        assert_true(s->logprobs[i] < 0.0f);
    }
    assert_int_equal(s->usage.prompt_tokens, 40);
    assert_int_equal(s->usage.completion_tokens, 12);
    assert_true(s->timing.submitted_ns <= s->timing.admitted_ns &&
                s->timing.admitted_ns <= s->timing.first_token_ns &&
                s->timing.first_token_ns <= s->timing.last_token_ns);
    client_destroy(c);
    assert_becomes_empty(e);
    /* Idle counts as alive for ever; the threads need a moment to get there. */
    bool is_alive = false;
    for (int i = 0; i < 5000 && !is_alive; i++) {
        is_alive = engine_is_alive(e, clock_now_ns() + NS_PER_SECOND * 100, NS_PER_SECOND);
        usleep(1000);
    }
    assert_true(is_alive);
    engine_close(e);
}

/* The logprob of prompt[at], by a request that is made to say it. */
static float forced_logprob(engine *e, const int32_t *prompt, uint32_t at)
{
    struct logit_bias bias = {prompt[at], 100.0f};
    struct client *c = client_create(e, prompt, at, 1);
    c->request.sampling.biases = &bias;
    c->request.sampling.bias_count = 1;
    c->request.sampling.logprobs = 0;
    client_run(c);
    assert_int_equal(c->sequences[0].tokens[0], prompt[at]);
    float logprob = c->sequences[0].logprobs[0];
    client_destroy(c);
    return logprob;
}

static void a_scored_prompt_has_the_logprobs_that_its_tokens_would_have_as_answers(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    enum { COUNT = 150, WIDTH = 2 };
    const int32_t *prompt = make_prompt(COUNT, 3);
    static struct token_score scores[CLIENT_N_MAX][COUNT];
    static struct token_logprob best[CLIENT_N_MAX][COUNT * WIDTH];
    struct client *clients[CLIENT_N_MAX];
    client_run(clients[0] = client_create(e, prompt, COUNT, 1)); /* the prefix cache has it all */
    client_destroy(clients[0]);
    for (uint32_t i = 0; i < CLIENT_N_MAX; i++) {
        clients[i] = client_create(e, prompt, COUNT, 4);
        clients[i]->request.n = 1 + i % 3;
        clients[i]->request.prompt_scores = scores[i];
        clients[i]->request.prompt_alternatives = best[i];
        clients[i]->request.prompt_alternative_count = WIDTH;
        client_submit(clients[i]);
    }
    for (uint32_t i = 0; i < CLIENT_N_MAX; i++) {
        client_wait(clients[i]);
        assert_int_equal(clients[i]->sequences[0].usage.cached_tokens, 0);
        client_destroy(clients[i]);
        assert_memory_equal(scores[i] + 1, scores[0] + 1, sizeof scores[0] - sizeof scores[0][0]);
        assert_memory_equal(best[i] + WIDTH, best[0] + WIDTH,
                            sizeof best[0] - WIDTH * sizeof best[0][0]);
    }
    for (uint32_t at = 1; at < COUNT; at++) {
        assert_true(scores[0][at].logprob == forced_logprob(e, prompt, at));
        assert_true(best[0][at * WIDTH].logprob >= scores[0][at].logprob);
        assert_true((scores[0][at].rank == 1) ==
                    (best[0][at * WIDTH].logprob == scores[0][at].logprob));
    }
    engine_close(e);
}

static void a_prompt_that_cannot_be_scored_ends_in_an_error(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    static struct token_score scores[40];
    struct client *c = client_create(e, make_prompt(40, 3), 40, 4);
    c->request.prompt_scores = scores;
    atomic_store(&forward_poisons, 7);
    client_run(c);
    atomic_store(&forward_poisons, 0);
    assert_int_equal(c->sequences[0].finish, FINISH_ERROR);
    assert_int_equal(c->sequences[0].error, STATUS_INTERNAL);
    client_destroy(c);
    assert_becomes_empty(e);
    engine_close(e);
}

static void control_tokens_are_shown_where_the_client_wants_them(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    struct logit_bias bias = {CONTROL, 100.0f};
    for (int shows = 0; shows <= 1; shows++) {
        struct client *c = client_create(e, make_prompt(20, 1), 20, 2);
        c->request.sampling.biases = &bias;
        c->request.sampling.bias_count = 1;
        c->request.shows_special = shows != 0;
        client_run(c);
        assert_int_equal(c->sequences[0].tokens[0], CONTROL);
        assert_string_equal(c->sequences[0].text, shows ? "<c><c>" : "");
        client_destroy(c);
    }
    engine_close(e);
}

static void stop_strings_end_the_text_and_what_was_sampled_after_them_is_not_sent(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    atomic_store(&script, "The end is near. ");
    static const struct text_slice stops[] = {{"nearer", 6}, {"is n", 4}};
    for (int include = 0; include <= 1; include++) {
        struct client *c =
            client_create(e, make_prompt(17, 1), 17, 100); /* 17 is the script's length */
        c->request.stops = stops;
        c->request.stop_count = 2;
        c->request.include_stop = include != 0;
        client_run(c);
        struct client_sequence *s = &c->sequences[0];
        assert_int_equal(s->finish, FINISH_STOP);
        assert_string_equal(s->stop_text, "is n");
        assert_int_equal(s->stop_token, -1);
        const char *text = include ? "The end is n" : "The end ";
        assert_int_equal(s->text_bytes, strlen(text));
        assert_memory_equal(s->text, text, s->text_bytes);
        assert_int_equal(s->usage.completion_tokens, 12); /* up to the n, not beyond */
        client_destroy(c);
    }
    assert_becomes_empty(e);
    engine_close(e);
}

static void stops_wait_for_min_tokens(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    atomic_store(&script, "abc");
    static const struct text_slice stop = {"b", 1};
    struct client *c = client_create(e, make_prompt(15, 1), 15, 100);
    c->request.stops = &stop;
    c->request.stop_count = 1;
    c->request.sampling.min_tokens = 4;
    client_run(c);
    assert_int_equal(c->sequences[0].text_bytes, 4);
    assert_memory_equal(c->sequences[0].text, "abca", 4);
    client_destroy(c);
    engine_close(e);
}

static void end_tokens_and_stop_tokens_end_a_sequence(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    uint32_t ended_by_end_token = 0;
    for (uint32_t seed = 0; seed < 20; seed++) {
        struct client *c = client_create(e, make_prompt(20, seed), 20, 200);
        client_run(c);
        struct client_sequence *s = &c->sequences[0];
        if (s->finish == FINISH_STOP) {
            ended_by_end_token++;
            assert_int_equal(s->stop_token, END_TOKEN);
            assert_int_equal(s->tokens[s->token_count - 1], END_TOKEN);
            assert_int_equal(s->text_bytes, s->token_count - 1);
        }
        client_destroy(c);
    }
    assert_true(ended_by_end_token > 10);
    atomic_store(&script, "xyz");
    static const int32_t stop_token = 'y';
    struct client *c = client_create(e, make_prompt(15, 1), 15, 100);
    c->request.sampling.stop_tokens = &stop_token;
    c->request.sampling.stop_token_count = 1;
    client_run(c);
    assert_int_equal(c->sequences[0].stop_token, 'y');
    assert_int_equal(c->sequences[0].text_bytes, 1);
    client_destroy(c);
    engine_close(e);
}

static void broken_characters_are_held_back_until_they_are_whole(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    atomic_store(
        &script,
        "\xE2\x82\xAC\xFFz\xF0\x9F"); /* euro sign, an invalid byte, z, an unfinished emoji */
    struct client *c = client_create(e, make_prompt(14, 1), 14, 7);
    client_run(c);
    const char *text = "\xE2\x82\xAC\xEF\xBF\xBDz\xEF\xBF\xBD";
    assert_int_equal(c->sequences[0].text_bytes, strlen(text));
    assert_memory_equal(c->sequences[0].text, text, strlen(text));
    client_destroy(c);
    engine_close(e);
}

/* The same requests alone, all together, on a cache so small that they preempt each other, and without prefix cache. */
static void outputs_do_not_depend_on_company_memory_or_cache(void **state)
{
    (void)state;
    enum { COUNT = 32 };
    static struct client *alone[COUNT];
    struct engine_options variants[4] = {defaults, defaults, defaults, defaults};
    variants[0].draft_tokens_max = 0;
    variants[2].kv_bytes = 12 * BLOCK_BYTES;
    variants[3].prefix_cache = false;
    variants[3].batch_tokens_max = 8;
    for (int v = 0; v < 4; v++) {
        engine *e = open_engine(&variants[v]);
        struct client *clients[COUNT];
        uint64_t traced_preemptions = 0;
        for (uint32_t i = 0; i < COUNT; i++) {
            uint32_t prompt_count = 1 + i * 3;
            clients[i] = client_create(e, make_prompt(prompt_count, i), prompt_count, 60);
            clients[i]->request.sampling.temperature = i % 2 == 0 ? 0.0f : 1.5f;
            clients[i]->request.sampling.seed = i;
            clients[i]->request.sampling.frequency_penalty = i % 4 == 3 ? 0.3f : 0.0f;
            clients[i]->request.n = i % 8 == 5 ? 3 : 1;
            clients[i]->request.priority = (int32_t)(i % 3);
            client_submit(clients[i]);
            if (v == 0)
                client_wait(clients[i]);
        }
        for (uint32_t i = 0; i < COUNT; i++) {
            if (v != 0)
                client_wait(clients[i]);
            for (uint32_t j = 0; v != 0 && j < clients[i]->request.n; j++)
                assert_same_output(&clients[i]->sequences[j], &alone[i]->sequences[j]);
            traced_preemptions += clients[i]->trace.preemption_count;
            assert_true(clients[i]->trace.chunk_tokens >=
                        clients[i]->request.prompt_count -
                            clients[i]->sequences[0].usage.cached_tokens);
            if (v != 0)
                client_destroy(clients[i]);
            else
                alone[i] = clients[i];
        }
        struct engine_stats stats;
        assert_becomes_empty(e);
        engine_get_stats(e, &stats);
        assert_true(v != 2 || stats.preemptions > 0);
        assert_int_equal(traced_preemptions, stats.preemptions);
        assert_true(v == 3 || stats.prefix_hit_tokens > 0);
        engine_close(e);
    }
    for (uint32_t i = 0; i < COUNT; i++)
        client_destroy(alone[i]);
}

static void a_cancelled_request_ends_with_abort_and_frees_its_blocks(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    atomic_store(&forward_us, 1000);
    struct client *c = client_create(e, make_prompt(100, 1), 100, 400);
    c->request.sampling.ignore_eos = true;
    c->request.n = 2;
    client_submit(c);
    while (atomic_load(&c->event_count) < 6)
        usleep(100);
    engine_cancel(e, &c->request);
    engine_cancel(e, &c->request);
    client_wait(c);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(c->sequences[i].finish, FINISH_ABORT);
        assert_in_range(c->sequences[i].token_count, 2, 300);
        assert_int_equal(c->sequences[i].usage.prompt_tokens, 100);
    }
    client_destroy(c);
    assert_becomes_empty(e);
    engine_close(e);
}

/* What the request has been told in the end, whichever of its sequences ended last. */
static uint64_t busy_ns_of(const struct client *c)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < c->request.n; i++)
        most = c->sequences[i].usage.busy_ns > most ? c->sequences[i].usage.busy_ns : most;
    return most;
}

static void a_storm_of_cancels_and_stops_leaks_nothing_and_tells_all_time(void **state)
{
    (void)state;
    enum { COUNT = 200 };
    engine *e = open_engine(&defaults);
    static const struct text_slice stop = {"e", 1};
    struct client *clients[COUNT];
    for (uint32_t i = 0; i < COUNT; i++) {
        clients[i] = client_create(e, make_prompt(1 + i % 90, i), 1 + i % 90, 30);
        clients[i]->request.n = 1 + i % 3;
        clients[i]->cancel_after = i % 5;
        clients[i]->request.stops = &stop;
        clients[i]->request.stop_count = i % 2;
        client_submit(clients[i]);
        if (i % 7 == 0 && clients[i]->cancel_after == 0 && clients[i]->request.stop_count == 0 &&
            atomic_load(&clients[i]->event_count) == 0)
            usleep(200);
    }
    uint64_t busy_ns = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        client_wait(clients[i]);
        busy_ns += busy_ns_of(clients[i]);
        client_destroy(clients[i]);
    }
    assert_becomes_empty(e);
    struct engine_stats stats;
    engine_get_stats(e, &stats);
    assert_true(busy_ns > 0 && busy_ns == stats.busy_ns);
    engine_close(e);
}

static void a_slow_reader_makes_the_engine_wait_and_loses_nothing(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    struct client *slow = client_create(e, make_prompt(5, 1), 5, 400);
    slow->request.sampling.ignore_eos = true;
    slow->sleep_us = 500;
    struct client *quick = client_create(e, make_prompt(5, 2), 5, 400);
    quick->request.sampling.ignore_eos = true;
    client_submit(slow);
    client_submit(quick);
    client_wait(slow);
    client_wait(quick);
    assert_int_equal(slow->sequences[0].token_count, 400);
    assert_int_equal(quick->sequences[0].token_count, 400);
    client_destroy(slow);
    client_destroy(quick);
    engine_close(e);
}

static void limits_are_answered_at_once(void **state)
{
    (void)state;
    struct engine_options options = defaults;
    options.sequence_count_max = 1;
    options.queue_requests_max = 2;
    options.queue_tokens_max = 60;
    engine *e = open_engine(&options);
    assert_int_equal(engine_get_info(e)->context_max, 512);
    atomic_store(&forward_us, 2000);
    struct client *c[5];
    for (uint32_t i = 0; i < 5; i++) {
        c[i] = client_create(e, make_prompt(20, i), 20, 100);
        c[i]->request.sampling.ignore_eos = true;
    }
    client_submit(c[0]);
    while (atomic_load(&c[0]->event_count) == 0)
        usleep(100);
    client_submit(c[1]);
    client_submit(c[2]);
    assert_int_equal(engine_submit(e, &c[3]->request), STATUS_FULL); /* two wait */
    engine_cancel(e, &c[2]->request);
    client_wait(c[2]);
    c[3]->request.prompt = make_prompt(41, 3);
    c[3]->request.prompt_count = 41;
    assert_int_equal(engine_submit(e, &c[3]->request), STATUS_FULL); /* 20 + 41 tokens */
    c[3]->request.prompt_count = 40;
    client_submit(c[3]);
    c[4]->request.prompt_count = 512;
    assert_int_equal(engine_submit(e, &c[4]->request), STATUS_TOO_LARGE);
    c[4]->request.prompt_count = 0;
    assert_int_equal(engine_submit(e, &c[4]->request), STATUS_INVALID);
    c[4]->request.prompt_count = 20;
    c[4]->request.n = 129;
    assert_int_equal(engine_submit(e, &c[4]->request), STATUS_INVALID);
    c[4]->request.n = 1;
    c[4]->request.sampling.top_p = 2.0f;
    assert_int_equal(engine_submit(e, &c[4]->request), STATUS_INVALID);
    c[4]->request.sampling.top_p = 1.0f;
    static const int32_t bad_prompt[] = {(int32_t)VOCABULARY};
    c[4]->request.prompt = bad_prompt;
    c[4]->request.prompt_count = 1;
    assert_int_equal(engine_submit(e, &c[4]->request), STATUS_INVALID);
    engine_drain(e);
    c[4]->request.prompt = make_prompt(20, 4);
    assert_int_equal(engine_submit(e, &c[4]->request), STATUS_CLOSED);
    client_wait(c[0]); /* what runs or waits goes on */
    client_wait(c[1]);
    client_wait(c[3]);
    assert_int_equal(c[3]->sequences[0].finish, FINISH_LENGTH);
    for (uint32_t i = 0; i < 5; i++)
        client_destroy(c[i]);
    engine_close(e);
}

static void closing_ends_what_is_left(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    atomic_store(&forward_us, 1000);
    struct client *c[20];
    for (uint32_t i = 0; i < 20; i++) {
        c[i] = client_create(e, make_prompt(30, i), 30, 400);
        c[i]->request.sampling.ignore_eos = true;
        client_submit(c[i]);
    }
    usleep(10000);
    engine_close(e);
    for (uint32_t i = 0; i < 20; i++) {
        client_wait(c[i]);
        assert_int_equal(c[i]->sequences[0].finish, FINISH_ABORT);
        client_destroy(c[i]);
    }
}

static void a_failed_device_ends_every_request_with_an_error(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    atomic_store(&forward_us, 500);
    struct client *c[12];
    for (uint32_t i = 0; i < 12; i++) {
        c[i] = client_create(e, make_prompt(30, i), 30, 400);
        c[i]->request.n = 1 + i % 2;
        c[i]->request.sampling.ignore_eos = true;
        client_submit(c[i]);
    }
    usleep(5000);
    atomic_store(&forward_fails, 1);
    for (uint32_t i = 0; i < 12; i++) {
        client_wait(c[i]);
        assert_int_equal(c[i]->sequences[0].finish, FINISH_ERROR);
        assert_int_equal(c[i]->sequences[0].error, STATUS_INTERNAL);
    }
    c[0]->request.internal = NULL;
    assert_false(engine_is_alive(e, clock_now_ns(), NS_PER_SECOND));
    assert_int_equal(engine_submit(e, &c[0]->request), STATUS_CLOSED);
    for (uint32_t i = 0; i < 12; i++)
        client_destroy(c[i]);
    engine_close(e);
}

static void a_row_that_is_not_finite_ends_its_request_alone(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    atomic_store(&forward_poisons, 1);
    struct client *bad = client_create(e, make_prompt(30, 1), 30, 20);
    bad->request.n = 3;
    client_run(bad);
    for (int i = 0; i < 3; i++)
        assert_int_equal(bad->sequences[i].finish, FINISH_ERROR);
    atomic_store(&forward_poisons, 0);
    struct client *good = client_create(e, make_prompt(30, 1), 30, 20);
    good->request.sampling.ignore_eos = true;
    client_run(good);
    assert_int_equal(good->sequences[0].finish, FINISH_LENGTH);
    client_destroy(bad);
    client_destroy(good);
    assert_becomes_empty(e);
    engine_close(e);
}

static void submit_survives_the_failure_of_each_allocation(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    static const struct text_slice stop = {"zz", 2};
    status s = STATUS_NO_MEMORY;
    int nth = 1;
    for (; s == STATUS_NO_MEMORY; nth++) {
        assert_true(nth < 200);
        struct client *c = client_create(e, make_prompt(100, 1), 100, 20);
        c->request.n = 4;
        c->request.stops = &stop;
        c->request.stop_count = 1;
        c->request.sampling.repetition_penalty = 1.1f;
        fail_at = nth;
        s = engine_submit(e, &c->request);
        fail_at = 0;
        if (s == STATUS_OK)
            client_wait(c);
        client_destroy(c);
    }
    assert_int_equal(s, STATUS_OK);
    assert_true(nth > 4);
    assert_becomes_empty(e);
    engine_close(e);
}

static void open_reports_what_is_wrong(void **state)
{
    (void)state;
    struct error_note note = {""};
    engine *e = NULL;
    struct engine_options options = defaults;
    options.model_path = "missing";
    assert_int_equal(engine_open(&options, &e, &note), STATUS_IO);
    assert_non_null(strstr(note.text, "no such file"));
    options = defaults;
    options.backend = "abacus";
    assert_int_equal(engine_open(&options, &e, &note), STATUS_INVALID);
    assert_non_null(strstr(note.text, "abacus"));
    options = defaults;
    options.kv_bytes = BLOCK_BYTES;
    assert_int_equal(engine_open(&options, &e, &note), STATUS_TOO_LARGE);
    assert_non_null(strstr(note.text, "KV cache"));
    options = defaults;
    options.context_max = 513;
    assert_int_equal(engine_open(&options, &e, &note), STATUS_INVALID);
    options = defaults;
    options.batch_tokens_max = 7;
    assert_int_equal(engine_open(&options, &e, &note), STATUS_INVALID);
    assert_null(e);
}

static void metrics_count_each_request_once(void **state)
{
    (void)state;
    metrics_registry *registry;
    assert_int_equal(metrics_registry_create(&registry), STATUS_OK);
    struct engine_options options = defaults;
    options.metrics = registry;
    options.served_name = "tiny";
    engine *e = open_engine(&options);
    for (int i = 0; i < 3; i++) {
        struct client *c = client_create(e, make_prompt(48, 1), 48, 10);
        c->request.n = 2;
        c->request.sampling.ignore_eos = true;
        client_run(c);
        client_destroy(c);
    }
    assert_becomes_empty(e);
    struct buffer text;
    buffer_init(&text, 1 << 20);
    metrics_write(registry, METRICS_TEXT, &text);
    static const struct {
        const char *name;
        double value;
    } rows[] = {
        {"vllm:prompt_tokens_total{model_name=\"tiny\",engine=\"0\"}", 144},
        {"vllm:generation_tokens_total{", 60},
        {"vllm:request_success_total{model_name=\"tiny\",engine=\"0\",finished_reason=\"length\"}",
         3},
        {"vllm:prefix_cache_queries_total{", 144},
        {"vllm:prefix_cache_hits_total{", 64},
        {"vllm:prompt_tokens_recomputed_total{", 32},
        {"vllm:time_to_first_token_seconds_count{", 3},
        {"vllm:inter_token_latency_seconds_count{", 54},
        {"vllm:e2e_request_latency_seconds_count{", 3},
        {"vllm:request_params_n_sum{", 6},
        {"vllm:request_max_num_generation_tokens_sum{", 30},
        {"vllm:request_generation_tokens_sum{", 60},
        {"vllm:request_prompt_tokens_sum{", 144},
        {"vllm:kv_cache_usage_perc{", 0},
        {"vllm:num_requests_running{", 0},
        {"vllm:num_requests_waiting_by_reason{", 0},
        {"vllm:cache_config_info{", 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        double value = metric_of(&text, rows[i].name);
        if (value != rows[i].value)
            fail_msg("%s is %g, not %g", rows[i].name, value, rows[i].value);
    }
    buffer_deinit(&text);
    engine_close(e);
    metrics_registry_destroy(registry);
}

int main(void)
{
    spell_bytes();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_answered_with_text_usage_and_times),
        cmocka_unit_test(a_scored_prompt_has_the_logprobs_that_its_tokens_would_have_as_answers),
        cmocka_unit_test(a_prompt_that_cannot_be_scored_ends_in_an_error),
        cmocka_unit_test(control_tokens_are_shown_where_the_client_wants_them),
        cmocka_unit_test(stop_strings_end_the_text_and_what_was_sampled_after_them_is_not_sent),
        cmocka_unit_test(stops_wait_for_min_tokens),
        cmocka_unit_test(end_tokens_and_stop_tokens_end_a_sequence),
        cmocka_unit_test(broken_characters_are_held_back_until_they_are_whole),
        cmocka_unit_test(outputs_do_not_depend_on_company_memory_or_cache),
        cmocka_unit_test(a_cancelled_request_ends_with_abort_and_frees_its_blocks),
        cmocka_unit_test(a_storm_of_cancels_and_stops_leaks_nothing_and_tells_all_time),
        cmocka_unit_test(a_slow_reader_makes_the_engine_wait_and_loses_nothing),
        cmocka_unit_test(limits_are_answered_at_once),
        cmocka_unit_test(closing_ends_what_is_left),
        cmocka_unit_test(a_failed_device_ends_every_request_with_an_error),
        cmocka_unit_test(a_row_that_is_not_finite_ends_its_request_alone),
        cmocka_unit_test(submit_survives_the_failure_of_each_allocation),
        cmocka_unit_test(open_reports_what_is_wrong),
        cmocka_unit_test(metrics_count_each_request_once),
    };
    return run_all_ways(tests, ARRAY_COUNT(tests));
}
