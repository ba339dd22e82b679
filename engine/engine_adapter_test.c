/* WRAP: calloc malloc */
/* LoRA adapters by name, loaded and unloaded beside requests. */
#include "fake_model_testing.h"

/* --- adapters --- */

static void load(engine *e, const char *name, const char *folder)
{
    struct error_note note = {""};
    status s = engine_load_adapter(e, name, folder, &note);
    if (s != STATUS_OK)
        fail_msg("%s: %s", status_name(s), note.text);
}

/* Prompts of which several begin alike, with one of three adapters or none. */
static struct client *start_adapted(engine *e, uint32_t i, struct token_score *scores)
{
    static const char *const names[] = {NULL, "one", "two", "three"};
    engine_adapter *adapter = i % 4 > 0 ? engine_find_adapter(e, names[i % 4]) : NULL;
    struct client *c = client_create(e, make_prompt(60, i / 4), 60, 50);
    c->request.sampling.temperature = i % 3 == 0 ? 0.0f : 1.2f;
    c->request.sampling.seed = i;
    c->request.n = i % 8 == 5 ? 3 : 1;
    c->request.prompt_scores = i % 5 == 2 ? scores : NULL; /* [60] */
    c->request.adapter = adapter;
    client_submit(c);
    engine_release_adapter(adapter);
    return c;
}

static void each_request_keeps_to_its_own_adapter_in_any_company(void **state)
{
    (void)state;
    enum { COUNT = 24 };
    static struct client *alone[COUNT];
    static struct token_score scores[2][COUNT][64];
    struct engine_options variants[3] = {defaults, defaults, defaults};
    variants[0].draft_tokens_max = 0;
    variants[0].prefix_cache = false;
    variants[2].kv_bytes = 12 * BLOCK_BYTES;
    for (int v = 0; v < 3; v++) {
        variants[v].adapters_max = 3;
        variants[v].adapter_rank_max = 8;
        engine *e = open_engine(&variants[v]);
        struct client *clients[COUNT];
        load(e, "one", "1");
        load(e, "two", "2");
        load(e, "three", "3");
        for (uint32_t i = 0; i < COUNT; i++) {
            clients[i] = start_adapted(e, i, scores[v > 0][i]);
            if (v == 0)
                client_wait(alone[i] = clients[i]);
        }
        for (uint32_t i = 0; v > 0 && i < COUNT; i++) {
            client_wait(clients[i]);
            for (uint32_t j = 0; j < clients[i]->request.n; j++)
                assert_same_output(&clients[i]->sequences[j], &alone[i]->sequences[j]);
            for (uint32_t j = 1; clients[i]->request.prompt_scores != NULL && j < 60; j++)
                assert_memory_equal(&scores[1][i][j], &scores[0][i][j], sizeof scores[0][0][0]);
            client_destroy(clients[i]);
        }
        struct engine_stats stats;
        assert_becomes_empty(e);
        engine_get_stats(e, &stats);
        assert_true(v != 2 || stats.preemptions > 0);
        assert_true(v == 0 || stats.prefix_hit_tokens > 0);
        engine_close(e);
        assert_int_equal(atomic_load(&adapters_open), 0);
    }
    for (uint32_t i = 0; i < COUNT; i++)
        client_destroy(alone[i]);
}

static void an_unloaded_adapter_is_not_found_and_goes_with_its_last_request(void **state)
{
    (void)state;
    struct engine_options options = defaults;
    options.adapters_max = 1;
    options.adapter_rank_max = 8;
    engine *e = open_engine(&options);
    load(e, "one", "1");
    atomic_store(&forward_us, 2000);
    struct client *clients[2]; /* the second finds the first one's prompt in the cache */
    for (int i = 0; i < 2; i++) {
        clients[i] = client_create(e, make_prompt(64, 1), 64, 30 + 30 * (uint32_t)i);
        clients[i]->request.sampling.ignore_eos = true;
        clients[i]->request.adapter = engine_find_adapter(e, "one");
        client_submit(clients[i]);
        engine_release_adapter(clients[i]->request.adapter);
        while (atomic_load(&clients[i]->event_count) < 3)
            usleep(100);
    }
    assert_int_equal(engine_unload_adapter(e, "one"), STATUS_OK);
    assert_int_equal(engine_unload_adapter(e, "one"), STATUS_NOT_FOUND);
    assert_null(engine_find_adapter(e, "one"));
    assert_int_equal(atomic_load(&adapters_open), 1);
    assert_int_equal(engine_load_adapter(e, "one", "2", NULL), STATUS_FULL); /* it is still there */
    atomic_store(&forward_us, 0);
    for (int i = 0; i < 2; i++) {
        client_wait(clients[i]);
        assert_int_equal(clients[i]->sequences[0].finish, FINISH_LENGTH);
    }
    assert_memory_equal(clients[0]->sequences[0].tokens, clients[1]->sequences[0].tokens,
                        30 * sizeof(int32_t));
    assert_int_equal(clients[1]->sequences[0].usage.cached_tokens, 48);
    assert_becomes_empty(e);
    assert_int_equal(atomic_load(&adapters_open), 0);

    load(e, "one", "2"); /* another one of that name finds nothing of the first */
    struct client *c = client_create(e, make_prompt(64, 1), 64, 30);
    c->request.sampling.ignore_eos = true;
    c->request.adapter = engine_find_adapter(e, "one");
    client_run(c);
    engine_release_adapter(c->request.adapter);
    assert_int_equal(c->sequences[0].usage.cached_tokens, 0);
    assert_memory_not_equal(c->sequences[0].tokens, clients[0]->sequences[0].tokens,
                            30 * sizeof(int32_t));
    client_destroy(c);
    for (int i = 0; i < 2; i++)
        client_destroy(clients[i]);
    engine_close(e);
    assert_int_equal(atomic_load(&adapters_open), 0);
}

static void count_visit(void *context, const struct engine_adapter_info *info)
{
    struct buffer *names = context;
    buffer_append_format(names, "%s=%s;", info->name, info->folder);
}

static void loading_answers_what_is_wrong_and_listing_what_is_there(void **state)
{
    (void)state;
    struct engine_options options = defaults;
    struct error_note note = {""};
    engine *e = open_engine(&options);
    assert_int_equal(engine_load_adapter(e, "a", "1", &note), STATUS_UNSUPPORTED);
    assert_null(engine_find_adapter(e, "a"));
    engine_close(e);
    options.adapters_max = 2;
    options.adapter_rank_max = 0;
    assert_int_equal(engine_open(&options, &e, &note), STATUS_INVALID);
    options.adapter_rank_max = 8;
    e = open_engine(&options);
    assert_int_equal(engine_load_adapter(e, "a", "missing", &note), STATUS_NOT_FOUND);
    load(e, "a", "1");
    assert_int_equal(engine_load_adapter(e, "a", "2", &note), STATUS_INVALID);
    assert_non_null(strstr(note.text, "'a' already"));
    load(e, "b", "2");
    assert_int_equal(engine_load_adapter(e, "c", "3", &note), STATUS_FULL);
    assert_int_equal(engine_unload_adapter(e, "a"), STATUS_OK);
    load(e, "c", "3");
    struct buffer names;
    buffer_init(&names, 1000);
    engine_list_adapters(e, count_visit, &names);
    assert_string_equal(names.data, "b=2;c=3;");
    buffer_deinit(&names);
    for (int i = 1; i < 10; i++) { /* out of memory at each place */
        status s = STATUS_OK;
        assert_int_equal(engine_unload_adapter(e, "b"), STATUS_OK);
        fail_at = i;
        s = engine_load_adapter(e, "b", "2", &note);
        fail_at = 0;
        if (s != STATUS_OK)
            load(e, "b", "2");
        assert_int_equal(atomic_load(&adapters_open), 2);
    }
    engine_close(e);
    assert_int_equal(atomic_load(&adapters_open), 0);
}

static void metrics_name_the_adapters_that_are_at_work(void **state)
{
    (void)state;
    metrics_registry *registry;
    assert_int_equal(metrics_registry_create(&registry), STATUS_OK);
    struct engine_options options = defaults;
    options.metrics = registry;
    options.adapters_max = 4;
    options.adapter_rank_max = 8;
    options.sequence_count_max = 2;
    engine *e = open_engine(&options);
    load(e, "one", "1");
    load(e, "two", "2");
    atomic_store(&forward_us, 1000);
    struct client *clients[3];
    for (uint32_t i = 0; i < 3; i++) { /* two run, and one waits */
        clients[i] = client_create(e, make_prompt(10, 1), 10, 400);
        clients[i]->request.sampling.ignore_eos = true;
        clients[i]->request.adapter = engine_find_adapter(e, i < 2 ? "one" : "two");
        client_submit(clients[i]);
        engine_release_adapter(clients[i]->request.adapter);
        while (i < 2 && atomic_load(&clients[i]->event_count) < 1)
            usleep(100);
    }
    struct buffer text;
    buffer_init(&text, 1 << 20);
    metrics_write(registry, METRICS_TEXT, &text);
    assert_true(metric_of(&text,
                          "vllm:lora_requests_info{max_lora=\"4\","
                          "waiting_lora_adapters=\"two\",running_lora_adapters=\"one\"}") > 1.6e9);
    for (uint32_t i = 0; i < 3; i++) {
        engine_cancel(e, &clients[i]->request);
        client_wait(clients[i]);
        client_destroy(clients[i]);
    }
    assert_becomes_empty(e);
    buffer_clear(&text);
    metrics_write(registry, METRICS_TEXT, &text);
    assert_true(metric_of(&text, "vllm:lora_requests_info{max_lora=\"4\","
                                 "waiting_lora_adapters=\"\",running_lora_adapters=\"\"}") > 1.6e9);
    assert_null(strstr(text.data, "\"one\""));
    buffer_deinit(&text);
    engine_close(e);
    metrics_registry_destroy(registry);
}

int main(void)
{
    spell_bytes();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_request_keeps_to_its_own_adapter_in_any_company),
        cmocka_unit_test(an_unloaded_adapter_is_not_found_and_goes_with_its_last_request),
        cmocka_unit_test(loading_answers_what_is_wrong_and_listing_what_is_there),
        cmocka_unit_test(metrics_name_the_adapters_that_are_at_work),
    };
    return run_all_ways(tests, ARRAY_COUNT(tests));
}
