/* WRAP: calloc malloc */
/* Drafts and predictions: fewer steps for the same output. */
#include "fake_model_testing.h"

static void drafts_are_counted_and_save_steps(void **state)
{
    (void)state;
    metrics_registry *registry;
    assert_int_equal(metrics_registry_create(&registry), STATUS_OK);
    struct engine_options options = defaults;
    options.metrics = registry;
    engine *e = open_engine(&options);
    atomic_store(&script, "a rose is a rose is a rose; ");
    struct engine_stats stats = {0};
    uint32_t count = 0, traced_drafts = 0, traced_accepted = 0, traced_steps = 0;
    while (count < DRAFTING_TRIES && stats.accepted_tokens == 0) {
        struct client *c = client_create(e, make_prompt(28, count++), 28, 450);
        client_run(c);
        assert_int_equal(c->sequences[0].token_count, 450);
        for (uint32_t i = 0; i < 450; i++)
            assert_int_equal(c->sequences[0].text[i], atomic_load(&script)[i % 28]);
        traced_drafts += c->trace.draft_tokens;
        traced_accepted += c->trace.accepted_tokens;
        traced_steps += c->trace.decode_steps + c->trace.chunk_count;
        client_destroy(c);
        assert_becomes_empty(e);
        engine_get_stats(e, &stats);
    }
    assert_true(stats.accepted_tokens > 0);
    assert_true(stats.accepted_tokens <= stats.draft_tokens);
    assert_int_equal(traced_drafts, stats.draft_tokens);
    assert_int_equal(traced_accepted, stats.accepted_tokens);
    assert_int_equal(traced_steps, stats.steps);
    assert_int_equal(stats.steps, 450 * count - stats.accepted_tokens);
    struct buffer text;
    buffer_init(&text, 1 << 20);
    metrics_write(registry, METRICS_TEXT, &text);
    double by_place = 0.0;
    for (uint32_t i = 0; i < options.draft_tokens_max; i++) {
        char name[128];
        (void)snprintf(name, sizeof name,
                       "vllm:spec_decode_num_accepted_tokens_per_pos_total{model_name=\"fake\","
                       "engine=\"0\",position=\"%u\"}",
                       i);
        by_place += metric_of(&text, name);
    }
    assert_true(by_place == (double)stats.accepted_tokens);
    assert_true(metric_of(&text, "vllm:spec_decode_num_accepted_tokens_total{") == by_place);
    assert_true(metric_of(&text, "vllm:spec_decode_num_draft_tokens_total{") ==
                (double)stats.draft_tokens);
    double drafts = metric_of(&text, "vllm:spec_decode_num_drafts_total{");
    assert_true(drafts > 0 && drafts <= (double)stats.draft_tokens);
    assert_int_equal(metric_of(&text, "vllm:iteration_tokens_total_sum{"),
                     (28 + 449) * count - stats.accepted_tokens + stats.draft_tokens);
    buffer_deinit(&text);
    engine_close(e);
    metrics_registry_destroy(registry);
}

/* 450 bytes that the script says, and a model in which nothing repeats but by the prediction. */
static void a_prediction_is_drafted_from_and_counted(void **state)
{
    (void)state;
    enum { COUNT = 200, WRONG = 100 };
    char text[COUNT + 1];
    int32_t prediction[COUNT + 1];
    uint32_t random = 1;
    for (uint32_t i = 0; i < COUNT; i++) {
        random = random * 1664525u + 1013904223u;
        text[i] = (char)('!' + (random >> 16) % 90);
        prediction[i] = (unsigned char)text[i];
    }
    text[COUNT] = 0;
    struct engine_options options = defaults;
    options.drafts_predictions_only = true;
    engine *e = open_engine(&options);
    atomic_store(&script, text);
    uint32_t tries = 0;
    for (int round = 0; round < 4;) {
        struct engine_stats before, after;
        engine_get_stats(e, &before);
        struct client *c = client_create(e, make_prompt(COUNT, 1), COUNT, COUNT);
        c->request.prediction = round > 0 ? prediction : NULL;
        c->request.prediction_count = round > 0 ? COUNT : 0;
        prediction[WRONG] = round == 2 ? ' ' : (unsigned char)text[WRONG];
        struct text_slice stop = {text + 150, 6};
        c->request.stops = round == 3 ? &stop : NULL;
        c->request.stop_count = round == 3 ? 1 : 0;
        client_run(c);
        const struct client_sequence *s = &c->sequences[0];
        assert_memory_equal(s->text, text, round == 3 ? 150 : COUNT);
        engine_get_stats(e, &after);
        uint64_t drafted = after.draft_tokens - before.draft_tokens;
        bool is_drafted = drafted > 0 && after.accepted_tokens > before.accepted_tokens;
        if (round == 0)
            assert_int_equal(drafted, 0);
        /* What was foretold counts up to the stop string's last token, whatever was sampled beyond. */
        uint32_t said = s->usage.accepted_prediction_tokens;
        if (round == 0)
            assert_int_equal(said, 0);
        else if (round == 2) /* it is found again after a token or more */
            assert_in_range(said, COUNT - 1 - options.lookup_max, COUNT - 1);
        else
            assert_int_equal(said, round == 3 ? 156 : COUNT);
        client_destroy(c);
        assert_becomes_empty(e);
        assert_true(is_drafted || tries < DRAFTING_TRIES);
        tries = is_drafted || round == 0 ? 0 : tries + 1;
        round += tries == 0;
    }
    struct client *c = client_create(e, make_prompt(8, 1), 8, 4);
    c->request.prediction = prediction;
    c->request.prediction_count = engine_get_info(e)->context_max + 1;
    assert_int_equal(engine_submit(e, &c->request), STATUS_INVALID);
    c->request.prediction_count = 1;
    prediction[0] = (int32_t)engine_get_info(e)->vocabulary;
    assert_int_equal(engine_submit(e, &c->request), STATUS_INVALID);
    client_destroy(c);
    atomic_store(&script, NULL);
    engine_close(e);
}

static void a_broken_row_behind_a_draft_ends_the_request_after_the_tokens_before_it(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    atomic_store(&script, "over and ");
    atomic_store(&forward_poisons, 3); /* a row alone is never the third */
    enum finish_reason finish = FINISH_NONE;
    for (uint32_t i = 0; i < DRAFTING_TRIES && finish != FINISH_ERROR; i++) {
        struct client *c = client_create(e, make_prompt(18, i), 18, 450);
        client_run(c);
        const struct client_sequence *s = &c->sequences[0];
        finish = s->finish;
        assert_in_range(s->token_count, 9, finish == FINISH_ERROR ? 449 : 450);
        for (uint32_t j = 0; j < s->token_count; j++)
            assert_int_equal(s->text[j], atomic_load(&script)[j % 9]);
        client_destroy(c);
    }
    atomic_store(&forward_poisons, 0);
    assert_int_equal(finish, FINISH_ERROR);
    assert_becomes_empty(e);
    engine_close(e);
}

static void options_of_drafts_are_checked(void **state)
{
    (void)state;
    static const uint32_t wrong[][3] = {{33, 2, 4}, {4, 0, 4}, {4, 5, 4}, {4, 2, 17}};
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        struct engine_options options = defaults;
        options.draft_tokens_max = wrong[i][0];
        options.lookup_min = wrong[i][1];
        options.lookup_max = wrong[i][2];
        struct error_note note = {""};
        engine *e = NULL;
        assert_int_equal(engine_open(&options, &e, &note), STATUS_INVALID);
        assert_true(note.text[0] != 0);
    }
}

int main(void)
{
    spell_bytes();
    const struct CMUnitTest draft_tests[] = {
        cmocka_unit_test(drafts_are_counted_and_save_steps),
        cmocka_unit_test(a_prediction_is_drafted_from_and_counted),
        cmocka_unit_test(a_broken_row_behind_a_draft_ends_the_request_after_the_tokens_before_it),
        cmocka_unit_test(options_of_drafts_are_checked),
    };
    use_drafts();
    return cmocka_run_group_tests(draft_tests, NULL, NULL);
}
