/* WRAP: calloc malloc */
/* What the engine tells of its load: sums against what the requests themselves were told. */
#include "fake_model_testing.h"

enum { REQUESTS = 6, PROMPT = 40 };

/* Without a cache hit a request of P prompt tokens and O outputs, alone, has its prompt read in chunks, and then holds one token
 * more in each of O - 1 steps. */
static void the_sums_are_those_of_the_steps_and_the_requests(void **state)
{
    (void)state;
    struct engine_options options = defaults;
    options.prefix_cache = false;
    engine *e = open_engine(&options);
    struct engine_stats stats;
    engine_get_stats(e, &stats);
    assert_true(stats.first_token_ns == 0 && stats.totals.requests == 0);
    uint64_t outputs = 0, squares = 0, kv = 0;
    for (uint32_t i = 0; i < REQUESTS; i++) {
        struct client *c = client_create(e, make_prompt(PROMPT, i), PROMPT, 3 + i);
        c->request.sampling.ignore_eos = true;
        client_run(c);
        client_destroy(c);
        outputs += 3 + i;
        squares += (uint64_t)(3 + i) * (3 + i);
        for (uint32_t step = 0; step < 3 + i; step++)
            kv += PROMPT + step;
    }
    assert_becomes_empty(e);
    engine_get_stats(e, &stats);
    assert_int_equal(stats.totals.requests, REQUESTS);
    assert_int_equal(stats.totals.prompt_tokens, REQUESTS * PROMPT);
    assert_int_equal(stats.totals.cached_tokens, 0);
    assert_int_equal(stats.totals.output_tokens, outputs);
    assert_int_equal(stats.totals.output_squares, squares);
    assert_int_equal(stats.totals.prefill_tokens, REQUESTS * PROMPT);
    if (options.draft_tokens_max == 0) {
        assert_int_equal(stats.totals.kv_tokens, kv); /* a prompt is one chunk: batch_tokens_max */
        assert_int_equal(stats.steps, outputs);
    } else {
        assert_true(stats.totals.kv_tokens > stats.steps * PROMPT && stats.steps <= outputs);
    }
    assert_true(stats.first_submitted_ns != 0 && stats.first_submitted_ns <= stats.first_token_ns);
    engine_close(e);
}

static void what_the_cache_had_and_sequences_of_one_request_are_counted(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    struct engine_stats stats;
    uint64_t cached = 0, first_ns = 0;
    for (uint32_t i = 0; i < 2; i++) {
        struct client *c = client_create(e, make_prompt(PROMPT, 1), PROMPT, 5);
        c->request.sampling.ignore_eos = true;
        c->request.n = 1 + i * 2;
        client_run(c);
        cached += c->sequences[0].usage.cached_tokens;
        client_destroy(c);
        engine_get_stats(e, &stats);
        first_ns = first_ns != 0 ? first_ns : stats.first_token_ns;
    }
    assert_becomes_empty(e);
    engine_get_stats(e, &stats);
    assert_true(cached > 0);
    assert_int_equal(stats.totals.cached_tokens, cached);
    assert_int_equal(stats.totals.prefill_tokens, 2 * PROMPT - cached);
    assert_int_equal(stats.totals.output_tokens, 5 + 3 * 5);
    assert_int_equal(stats.totals.output_squares, 5 * 5 + 15 * 15);
    assert_true(stats.first_token_ns == first_ns); /* the second request is not the first */
    engine_close(e);
}

static void a_request_that_never_started_is_in_no_mean(void **state)
{
    (void)state;
    struct engine_options options = defaults;
    options.sequence_count_max = 1;
    engine *e = open_engine(&options);
    atomic_store(&forward_us, 20000); /* it is there for seconds, unless it is cancelled */
    struct client *runs = client_create(e, make_prompt(PROMPT, 1), PROMPT, 400);
    struct client *waits = client_create(e, make_prompt(PROMPT, 2), PROMPT, 400);
    runs->request.sampling.ignore_eos = waits->request.sampling.ignore_eos = true;
    client_submit(runs);
    while (atomic_load(&runs->event_count) == 0)
        usleep(200);
    client_submit(waits);
    engine_cancel(e, &waits->request);
    client_wait(waits);
    engine_cancel(e, &runs->request);
    client_wait(runs);
    assert_becomes_empty(e);
    struct engine_stats stats;
    engine_get_stats(e, &stats);
    assert_int_equal(stats.totals.requests, 1);
    assert_int_equal(stats.totals.prompt_tokens, PROMPT);
    assert_true(stats.totals.output_tokens > 0 && stats.totals.output_tokens <= 400);
    client_destroy(runs);
    client_destroy(waits);
    engine_close(e);
}

int main(void)
{
    spell_bytes();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sums_are_those_of_the_steps_and_the_requests),
        cmocka_unit_test(what_the_cache_had_and_sequences_of_one_request_are_counted),
        cmocka_unit_test(a_request_that_never_started_is_in_no_mean),
    };
    return run_all_ways(tests, ARRAY_COUNT(tests));
}
