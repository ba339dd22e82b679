#include "device_engine_testing.h"

/* Host memory below the cache of a device (the emulated one): conversations that do not fit into the cache together come and go,
 * and say what they say with room for all. */

enum { TALKS = 4, PROMPT = 68, OUTPUT = 5, ROUNDS = 2, TIGHT_BLOCKS = 11 };

static struct said {
    int32_t tokens[OUTPUT];
} said[TALKS]; /* with room for all, one after the other */

static engine *open_with(const char *device, uint64_t blocks, uint64_t host_blocks)
{
    struct engine_options options = options_on(model_file, device, blocks * BLOCK_BYTES);
    struct error_note note = {""};
    engine *e = NULL;
    options.host_bytes = host_blocks * BLOCK_BYTES;
    status s = engine_open(&options, &e, &note);
    if (s != STATUS_OK)
        fail_msg("%s", note.text);
    return e;
}

static struct client *ask(engine *e, uint32_t talk)
{
    static int32_t prompts[TALKS][PROMPT];
    for (uint32_t j = 0; j < PROMPT; j++)
        prompts[talk][j] = (int32_t)((j * 13 + talk * 41) % 256);
    struct client *c = client_create(e, prompts[talk], PROMPT, OUTPUT);
    c->request.sampling.ignore_eos = true;
    return c;
}

static void take(const struct client *c, struct said *out)
{
    assert_int_equal(c->sequences[0].token_count, OUTPUT);
    memcpy(out->tokens, c->sequences[0].tokens, sizeof out->tokens);
}

static int say_all(void **state)
{
    if (build_model(state) != 0)
        return -1;
    engine *e = open_with("cuda-emulated", 200, 0);
    for (uint32_t i = 0; i < TALKS; i++) {
        struct client *c = ask(e, i);
        client_run(c);
        take(c, &said[i]);
        client_destroy(c);
    }
    engine_close(e);
    return 0;
}

static void assert_says(const struct client *c, const struct said *wanted)
{
    struct said now;
    take(c, &now);
    assert_memory_equal(&now, wanted, sizeof now);
}

static void what_left_the_cache_comes_back_from_the_host(void **state)
{
    (void)state;
    struct engine_stats stats;
    uint32_t cached = 0;
    engine *e = open_with("cuda-emulated", TIGHT_BLOCKS, 200);
    assert_int_equal(engine_get_info(e)->host_bytes, 200 * BLOCK_BYTES);
    for (uint32_t i = 0; i < ROUNDS * TALKS; i++) {
        struct client *c = ask(e, i % TALKS);
        client_run(c);
        assert_says(c, &said[i % TALKS]);
        if (i < TALKS)
            assert_int_equal(c->sequences[0].usage.cached_tokens, 0);
        cached += c->sequences[0].usage.cached_tokens;
        client_destroy(c);
    }
    assert_true(cached > 0);
    engine_get_stats(e, &stats);
    assert_true(stats.host_saved_blocks > 0 && stats.host_loaded_blocks > 0);
    assert_true(cached <=
                stats.host_loaded_blocks * ENGINE_BLOCK_TOKENS); /* none were left above */
    assert_becomes_empty(e);
    engine_close(e);
}

/* All at once: they lose their blocks to one another in the middle. */
static void who_is_preempted_goes_on_from_the_hosts_copies(void **state)
{
    (void)state;
    struct client *clients[TALKS];
    struct engine_stats stats;
    engine *e = open_with("cuda-emulated", TIGHT_BLOCKS, 9); /* below, too, not all have room */
    for (uint32_t round = 0; round < ROUNDS; round++) {
        for (uint32_t i = 0; i < TALKS; i++) {
            clients[i] = ask(e, i);
            client_submit(clients[i]);
        }
        for (uint32_t i = 0; i < TALKS; i++) {
            client_wait(clients[i]);
            assert_says(clients[i], &said[i]);
            client_destroy(clients[i]);
        }
    }
    engine_get_stats(e, &stats);
    assert_true(stats.host_saved_blocks > 0);
    assert_becomes_empty(e);
    engine_close(e);
}

static void an_engine_that_slept_has_forgotten_them(void **state)
{
    (void)state;
    engine *e = open_with("cuda-emulated", TIGHT_BLOCKS, 200);
    for (uint32_t i = 0; i < 2 * TALKS; i++) {
        struct client *c = ask(e, i % TALKS);
        client_run(c);
        assert_says(c, &said[i % TALKS]);
        assert_int_equal(c->sequences[0].usage.cached_tokens, 0);
        client_destroy(c);
        assert_becomes_empty(e);
        if (i + 1 != TALKS)
            continue;
        assert_int_equal(engine_sleep(e, 1), STATUS_OK);
        assert_int_equal(engine_wake(e, NULL), STATUS_OK);
    }
    engine_close(e);
}

static void a_cache_in_the_hosts_memory_has_nothing_below_it(void **state)
{
    (void)state;
    struct engine_options options = options_on(model_file, "cpu", 20 * BLOCK_BYTES);
    struct error_note note = {""};
    engine *e = NULL;
    options.host_bytes = 20 * BLOCK_BYTES;
    assert_int_equal(engine_open(&options, &e, &note), STATUS_UNSUPPORTED);
    assert_non_null(strstr(note.text, "make it larger instead"));
    options.backend = "cuda-emulated";
    options.prefix_cache = false;
    assert_int_equal(engine_open(&options, &e, &note), STATUS_INVALID);
    assert_non_null(strstr(note.text, "needs the prefix cache"));
    options.prefix_cache = true;
    options.host_bytes = BLOCK_BYTES - 1;
    assert_int_equal(engine_open(&options, &e, &note), STATUS_INVALID);
    assert_non_null(strstr(note.text, "holds not one block"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_left_the_cache_comes_back_from_the_host),
        cmocka_unit_test(who_is_preempted_goes_on_from_the_hosts_copies),
        cmocka_unit_test(an_engine_that_slept_has_forgotten_them),
        cmocka_unit_test(a_cache_in_the_hosts_memory_has_nothing_below_it),
    };
    return cmocka_run_group_tests(tests, say_all, remove_model);
}
