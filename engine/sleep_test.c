/* WRAP: calloc malloc */
/* Sleep and wake: what is refused, what is forgotten, what stays, and that no request is lost on the way. */
#include "fake_model_testing.h"

#include <pthread.h>

#include "prefix_marks.h"

enum { PROMPT = 64, OUTPUT = 20 };

static struct client *ask(engine *e, uint32_t seed)
{
    struct client *c = client_create(e, make_prompt(PROMPT, seed), PROMPT, OUTPUT);
    c->request.sampling.ignore_eos = true;
    return c;
}

static void an_engine_asleep_refuses_and_awake_says_the_same(void **state)
{
    (void)state;
    struct engine_options options = defaults;
    metrics_registry *metrics = NULL;
    assert_int_equal(metrics_registry_create(&metrics), STATUS_OK);
    options.metrics = metrics;
    engine *e = open_engine(&options);
    struct engine_stats stats;
    struct client *before = ask(e, 1), *after = ask(e, 1);
    client_run(before);
    assert_becomes_empty(e);
    engine_get_stats(e, &stats);
    assert_true(stats.blocks_cached > 0);
    for (uint32_t level = 1; level <= ENGINE_SLEEP_LEVEL_MAX; level++) {
        assert_int_equal(engine_sleep(e, level), STATUS_OK);
        assert_int_equal(engine_sleep_level(e), level);
        assert_int_equal(atomic_load(&fake_sleep_level), level);
        assert_int_equal(engine_submit(e, &after->request), STATUS_AGAIN);
        engine_get_stats(e, &stats);
        assert_true(stats.blocks_cached == 0 && stats.blocks_free == stats.blocks_total &&
                    stats.waiting == 0);
    }
    assert_int_equal(engine_sleep(e, 1), STATUS_OK); /* it sleeps deeper than that */
    assert_int_equal(engine_sleep_level(e), 2);
    struct buffer text;
    buffer_init(&text, 1 << 20);
    metrics_write(metrics, METRICS_TEXT, &text);
    assert_true(metric_of(&text, "sleep_state=\"awake\"") == 0);
    assert_true(metric_of(&text, "sleep_state=\"discard_all\"") == 1);
    buffer_deinit(&text);
    assert_int_equal(engine_wake(e, NULL), STATUS_OK);
    assert_int_equal(engine_sleep_level(e), 0);
    assert_int_equal(engine_wake(e, NULL), STATUS_OK); /* it is awake */
    client_run(after);
    assert_int_equal(after->sequences[0].usage.cached_tokens, 0);
    assert_same_output(&before->sequences[0], &after->sequences[0]);
    client_destroy(before);
    client_destroy(after);
    engine_close(e);
    metrics_registry_destroy(metrics);
}

static void an_engine_with_requests_does_not_fall_asleep(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    atomic_store(&forward_us, 20000); /* it is there for seconds, unless it is cancelled */
    struct client *c = client_create(e, make_prompt(PROMPT, 1), PROMPT, 400);
    c->request.sampling.ignore_eos = true;
    client_submit(c);
    assert_int_equal(engine_sleep(e, 0), STATUS_INVALID);
    assert_int_equal(engine_sleep(e, ENGINE_SLEEP_LEVEL_MAX + 1), STATUS_INVALID);
    assert_int_equal(engine_sleep(e, 1), STATUS_AGAIN); /* it waits, or runs */
    while (atomic_load(&c->event_count) == 0)
        usleep(200);
    assert_int_equal(engine_sleep(e, 1), STATUS_AGAIN);
    engine_cancel(e, &c->request);
    client_wait(c);
    client_destroy(c);
    assert_becomes_empty(e);
    assert_int_equal(engine_sleep(e, 1), STATUS_OK);
    engine_close(e); /* asleep */
    atomic_store(&fake_sleep_level, 0);
}

static void weights_that_cannot_be_had_again_leave_it_asleep(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    struct error_note note = {""};
    assert_int_equal(engine_sleep(e, 2), STATUS_OK);
    atomic_store(&wake_fails, 1);
    assert_int_equal(engine_wake(e, &note), STATUS_INVALID);
    assert_string_equal(note.text, "the weights are gone");
    assert_int_equal(engine_sleep_level(e), 2);
    assert_int_equal(engine_wake(e, &note), STATUS_OK);
    struct client *c = ask(e, 3);
    client_run(c);
    assert_int_equal(c->sequences[0].token_count, OUTPUT);
    client_destroy(c);
    engine_close(e);
}

/* --- names of prompts --- */

static _Atomic int names_resident;

static void note_name(void *context, uint64_t hash, bool is_resident)
{
    (void)context;
    (void)hash;
    atomic_fetch_add(&names_resident, is_resident ? 1 : -1);
}

static void the_names_of_what_was_cached_are_taken_back(void **state)
{
    (void)state;
    struct engine_options options = defaults;
    options.on_mark = note_name;
    engine *e = open_engine(&options);
    static const struct prefix_mark marks[] = {{11, 0}, {12, 1}, {13, 2}};
    struct client *c = ask(e, 1);
    c->request.marks = marks;
    c->request.mark_count = 3;
    client_run(c);
    assert_becomes_empty(e);
    assert_int_equal(atomic_load(&names_resident), 3);
    assert_int_equal(engine_sleep(e, 1), STATUS_OK);
    assert_int_equal(atomic_load(&names_resident), 0);
    assert_int_equal(engine_wake(e, NULL), STATUS_OK);
    client_destroy(c);
    engine_close(e);
}

/* --- a crowd at the door --- */

enum { CROWD = 4, ROUNDS = 60 };

struct visitor {
    engine *e;
    uint32_t number, answered, refused;
};

static void *visit(void *context)
{
    struct visitor *v = context;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        struct client *c = ask(v->e, v->number * ROUNDS + i);
        status s = engine_submit(v->e, &c->request);
        if (s == STATUS_OK) {
            client_wait(c);
            assert_int_equal(c->sequences[0].token_count, OUTPUT);
            v->answered++;
        } else {
            assert_int_equal(s, STATUS_AGAIN);
            v->refused++;
        }
        client_destroy(c);
    }
    return NULL;
}

/* model_forward of the fake model fails the test when it runs in a sleeping engine. */
static void requests_that_come_while_it_falls_asleep_are_answered_or_refused(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    struct visitor visitors[CROWD];
    pthread_t threads[CROWD];
    uint32_t answered = 0, refused = 0, slept = 0;
    for (uint32_t i = 0; i < CROWD; i++) {
        visitors[i] = (struct visitor){.e = e, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, visit, &visitors[i]), 0);
    }
    for (uint32_t i = 0; i < 2000; i++) {
        status s = engine_sleep(e, 1 + i % 2);
        assert_true(s == STATUS_OK || s == STATUS_AGAIN);
        slept += s == STATUS_OK;
        assert_int_equal(engine_wake(e, NULL), STATUS_OK);
    }
    for (uint32_t i = 0; i < CROWD; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        answered += visitors[i].answered;
        refused += visitors[i].refused;
    }
    assert_int_equal(answered + refused, CROWD * ROUNDS);
    assert_becomes_empty(e);
    assert_int_equal(engine_sleep(e, 1), STATUS_OK); /* once nobody is there it does */
    assert_int_equal(engine_wake(e, NULL), STATUS_OK);
    print_message("%u answered, %u refused, asleep %u times\n", answered, refused, slept);
    engine_close(e);
}

int main(void)
{
    spell_bytes();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_engine_asleep_refuses_and_awake_says_the_same),
        cmocka_unit_test(an_engine_with_requests_does_not_fall_asleep),
        cmocka_unit_test(weights_that_cannot_be_had_again_leave_it_asleep),
        cmocka_unit_test(the_names_of_what_was_cached_are_taken_back),
        cmocka_unit_test(requests_that_come_while_it_falls_asleep_are_answered_or_refused),
    };
    return run_all_ways(tests, ARRAY_COUNT(tests));
}
