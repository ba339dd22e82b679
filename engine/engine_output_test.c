/* WRAP: calloc malloc */
/* Grammars and budgets of reasoning: what an output is held to. */
#include "fake_model_testing.h"

static grammar *compile(engine *e, const char *regex)
{
    struct grammar_source source = {.kind = GRAMMAR_REGEX, .text = text_slice_of(regex)};
    grammar *g = NULL;
    assert_int_equal(engine_compile_grammar(e, &source, &g, NULL), STATUS_OK);
    return g;
}

static bool is_alternating(const struct client_sequence *s, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        bool is_letter = s->text[i] >= 'a' && s->text[i] <= 'f';
        bool is_digit = s->text[i] >= '0' && s->text[i] <= '9';
        if (i % 2 == 0 ? !is_letter : !is_digit)
            return false;
    }
    return s->text_bytes == bytes;
}

/* Alone and together, on a cache that makes them preempt each other, and with drafts: the same texts, each of the grammar. */
static void a_grammar_is_kept_whatever_the_batch(void **state)
{
    (void)state;
    enum { CLIENTS = 6, PAIRS = 40 };
    static char alone[CLIENTS][2][2 * PAIRS];
    for (uint32_t variant = 0; variant < 4; variant++) {
        struct engine_options options = defaults;
        options.kv_bytes = variant == 2 ? 24 * BLOCK_BYTES : options.kv_bytes;
        options.draft_tokens_max = variant == 3 ? 4 : 0;
        options.lookup_min = 1;
        options.lookup_max = 3;
        engine *e = open_engine(&options);
        grammar *g = compile(e, "([a-f][0-9]){40}");
        struct client *clients[CLIENTS];
        for (uint32_t i = 0; i < CLIENTS; i++) {
            clients[i] = client_create(e, make_prompt(40, i), 40, 200);
            clients[i]->request.n = 2;
            clients[i]->request.grammar = g;
            clients[i]->request.sampling.temperature = 1.0f;
            clients[i]->request.sampling.seed = i;
            client_submit(clients[i]);
            if (variant == 0)
                client_wait(clients[i]);
        }
        grammar_release(g);
        for (uint32_t i = 0; i < CLIENTS; i++) {
            if (variant != 0)
                client_wait(clients[i]);
            for (uint32_t j = 0; j < 2; j++) {
                const struct client_sequence *s = &clients[i]->sequences[j];
                assert_int_equal(s->finish, FINISH_STOP);
                assert_int_equal(s->stop_token, -1);
                assert_true(is_alternating(s, (size_t)2 * PAIRS));
                if (variant == 0)
                    memcpy(alone[i][j], s->text, sizeof alone[i][j]);
                assert_memory_equal(s->text, alone[i][j], sizeof alone[i][j]);
            }
            client_destroy(clients[i]);
        }
        assert_becomes_empty(e);
        engine_close(e);
    }
}

enum { REASONING_END = 6 };

static const int32_t reasoning_end[] = {'\n', '<', '/', 't', '>', '\n'};

static const struct reasoning_budget reasoning_model = {.starts_inside = true,
                                                        .open = {"<t>", 3},
                                                        .close = {"</t>", 4},
                                                        .end_tokens = reasoning_end,
                                                        .end_token_count = REASONING_END};

/* Alone and together, on a cache that makes them preempt each other, and with drafts. */
static void reasoning_ends_at_its_budget_whatever_the_batch(void **state)
{
    (void)state;
    enum { CLIENTS = 6, TOKENS = 90 };
    static int32_t alone[CLIENTS][2][TOKENS];
    static const struct logit_bias no_end = {END_TOKEN, -100};
    for (uint32_t variant = 0; variant < 4; variant++) {
        struct engine_options options = defaults;
        options.kv_bytes = variant == 2 ? 24 * BLOCK_BYTES : options.kv_bytes;
        options.draft_tokens_max = variant == 3 ? 4 : 0;
        options.lookup_min = 1;
        options.lookup_max = 3;
        engine *e = open_engine(&options);
        struct client *clients[CLIENTS];
        struct reasoning_budget budgets[CLIENTS];
        for (uint32_t i = 0; i < CLIENTS; i++) {
            budgets[i] = reasoning_model;
            budgets[i].tokens_max = i * 14;
            clients[i] = client_create(e, make_prompt(40, i), 40, TOKENS);
            clients[i]->request.n = 2;
            clients[i]->request.reasoning = &budgets[i];
            clients[i]->request.sampling.temperature = 1.0f;
            clients[i]->request.sampling.seed = i;
            clients[i]->request.sampling.biases = &no_end;
            clients[i]->request.sampling.bias_count = 1;
            client_submit(clients[i]);
            if (variant == 0)
                client_wait(clients[i]);
        }
        for (uint32_t i = 0; i < CLIENTS; i++) {
            if (variant != 0)
                client_wait(clients[i]);
            for (uint32_t j = 0; j < 2; j++) {
                const struct client_sequence *s = &clients[i]->sequences[j];
                assert_int_equal(s->token_count, TOKENS);
                assert_memory_equal(s->tokens + budgets[i].tokens_max, reasoning_end,
                                    sizeof reasoning_end);
                if (variant == 0)
                    memcpy(alone[i][j], s->tokens, sizeof alone[i][j]);
                assert_memory_equal(s->tokens, alone[i][j], sizeof alone[i][j]);
            }
            client_destroy(clients[i]);
        }
        assert_becomes_empty(e);
        engine_close(e);
    }
}

/* Drafts run into the place where the reasoning ends: what follows there is not what they say. */
static void no_draft_crosses_the_end_of_reasoning(void **state)
{
    (void)state;
    enum { BUDGET = 203, TOKENS = 420 };
    struct reasoning_budget budget = reasoning_model;
    budget.tokens_max = BUDGET;
    engine *e = open_engine(&defaults);
    atomic_store(&script, "a rose is a rose is a rose; ");
    uint32_t tries = 0;
    bool is_drafted = defaults.draft_tokens_max == 0;
    do {
        struct client *c = client_create(e, make_prompt(28, tries), 28, TOKENS);
        c->request.reasoning = &budget;
        c->request.sampling.logprobs = 0;
        client_run(c);
        const struct client_sequence *s = &c->sequences[0];
        assert_int_equal(s->token_count, TOKENS);
        for (uint32_t i = 0; i < TOKENS; i++) {
            bool is_forced = i >= BUDGET && i < BUDGET + REASONING_END;
            int32_t said = (unsigned char)atomic_load(&script)[i % 28];
            assert_int_equal(s->tokens[i], is_forced ? reasoning_end[i - BUDGET] : said);
            assert_true(is_forced ? s->logprobs[i] < -4.0f : s->logprobs[i] > -2.0f);
        }
        client_destroy(c);
        struct engine_stats stats;
        engine_get_stats(e, &stats);
        is_drafted |= stats.accepted_tokens > 0;
    } while (!is_drafted && ++tries < DRAFTING_TRIES);
    assert_true(is_drafted);
    assert_becomes_empty(e);
    engine_close(e);
}

/* The grammar speaks of no line break behind the mark: the mark comes, the rest does not. */
static void the_end_of_reasoning_keeps_to_the_grammar(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    grammar *g = compile(e, "[a-z]*\\n</t>[0-9]{5}");
    struct reasoning_budget budget = reasoning_model;
    budget.tokens_max = 10;
    struct client *c = client_create(e, make_prompt(20, 1), 20, 100);
    c->request.grammar = g;
    c->request.reasoning = &budget;
    client_run(c);
    const struct client_sequence *s = &c->sequences[0];
    assert_int_equal(s->finish, FINISH_STOP);
    assert_int_equal(s->text_bytes, 10 + 5 + 5);
    assert_memory_equal(s->text + 10, "\n</t>", 5);
    client_destroy(c);
    grammar_release(g);
    assert_becomes_empty(e);
    engine_close(e);
}

static void a_budget_that_is_no_budget_is_refused(void **state)
{
    (void)state;
    static const int32_t unknown[] = {VOCABULARY};
    engine *e = open_engine(&defaults);
    struct client *c = client_create(e, make_prompt(20, 1), 20, 10);
    struct reasoning_budget budgets[4] = {reasoning_model, reasoning_model, reasoning_model,
                                          reasoning_model};
    budgets[0].open.bytes = 0;
    budgets[1].close.bytes = 0;
    budgets[2].end_token_count = 0;
    budgets[3].end_tokens = unknown;
    budgets[3].end_token_count = 1;
    for (int i = 0; i < 4; i++) {
        c->request.reasoning = &budgets[i];
        assert_int_equal(engine_submit(e, &c->request), STATUS_INVALID);
    }
    client_destroy(c);
    engine_close(e);
}

static void a_grammar_that_leaves_no_token_ends_in_an_error(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    grammar *g = compile(e, "xy");
    static const struct logit_bias ban = {'y', -100};
    struct client *c = client_create(e, make_prompt(20, 1), 20, 10);
    c->request.grammar = g;
    c->request.sampling.biases = &ban;
    c->request.sampling.bias_count = 1;
    client_run(c);
    assert_int_equal(c->sequences[0].finish, FINISH_ERROR);
    assert_int_equal(c->sequences[0].error, STATUS_UNSUPPORTED);
    assert_int_equal(c->sequences[0].token_count, 1);
    client_destroy(c);
    grammar_release(g);
    assert_becomes_empty(e);
    engine_close(e);
}

/* Three times "over and ", and not a token more, however many of them are drafted. */
static void an_output_that_repeats_itself_is_ended(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    atomic_store(&script, "over and ");
    for (uint32_t i = 0; i < 8; i++) {
        struct client *c = client_create(e, make_prompt(18, i), 18, 450);
        c->request.sampling.repetition =
            (struct repetition_params){.min_pattern = 4, .max_pattern = 20, .min_count = 3};
        c->request.sampling.min_tokens = i % 2 == 0 ? 0 : 100;
        client_run(c);
        const struct client_sequence *s = &c->sequences[0];
        assert_int_equal(s->finish, FINISH_REPETITION);
        assert_int_equal(s->token_count, i % 2 == 0 ? 27 : 100);
        client_destroy(c);
    }
    atomic_store(&script, NULL);
    assert_becomes_empty(e);
    engine_close(e);
}

int main(void)
{
    spell_bytes();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_draft_crosses_the_end_of_reasoning),
        cmocka_unit_test(the_end_of_reasoning_keeps_to_the_grammar),
        cmocka_unit_test(a_budget_that_is_no_budget_is_refused),
        cmocka_unit_test(an_output_that_repeats_itself_is_ended),
    };
    const struct CMUnitTest draft_tests[] = {
        cmocka_unit_test(a_grammar_is_kept_whatever_the_batch),
        cmocka_unit_test(reasoning_ends_at_its_budget_whatever_the_batch),
        cmocka_unit_test(a_grammar_that_leaves_no_token_ends_in_an_error),
    };
    int failures = run_all_ways(tests, ARRAY_COUNT(tests));
    return failures + cmocka_run_group_tests(draft_tests, NULL, NULL);
}
