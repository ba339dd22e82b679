/* WRAP: calloc malloc */
/* Requests that another engine has begun: wherever it was left, what is said in all is what would have been said there. */
#include "fake_model_testing.h"

enum { PROMPT = 40, TOKENS = 60, SEQUENCES = 2 };

/* A request's wishes, on both engines. */
typedef void wishes_fn(struct engine_request *request);

static void wish_nothing(struct engine_request *request)
{
    (void)request;
}

static void wish_chance(struct engine_request *request)
{
    request->sampling.temperature = 1.0f;
    request->sampling.seed = 4711;
    request->sampling.top_p = 0.9f;
    request->sampling.xtc_probability = 0.5f;
    request->sampling.xtc_threshold = 0.1f;
}

static void wish_memory(struct engine_request *request)
{
    wish_chance(request);
    request->sampling.repetition_penalty = 1.3f;
    request->sampling.presence_penalty = 0.5f;
    request->sampling.frequency_penalty = 0.5f;
    request->sampling.dry =
        (struct dry_params){.multiplier = 1.0f, .base = 1.75f, .allowed_length = 1, .last_n = -1};
    request->sampling.min_tokens = 20;
}

static void wish_stop(struct engine_request *request)
{
    static const struct text_slice stops[] = {{"rose; x", 7}, {"arise", 5}, {"\xc3\xab!", 3}};
    request->stops = stops;
    request->stop_count = ARRAY_COUNT(stops);
}

static void wish_reasoning(struct engine_request *request)
{
    static const int32_t end[] = {'\n', '<', '/', 't', '>', '\n'};
    static const struct reasoning_budget budget = {.tokens_max = 15,
                                                   .starts_inside = true,
                                                   .open = {"<t>", 3},
                                                   .close = {"</t>", 4},
                                                   .end_tokens = end,
                                                   .end_token_count = 6};
    wish_chance(request);
    request->reasoning = &budget;
}

static void wish_prediction(struct engine_request *request)
{
    static const int32_t said[] = {'a', ' ', 'r', 'o', 's', 'e', ' ', 'i', 's'};
    request->prediction = said;
    request->prediction_count = ARRAY_COUNT(said);
}

struct variant {
    wishes_fn *wishes;
    const char *script;
    const char *regex; /* NULL: no grammar */
};

static const struct variant variants[] = {
    {wish_nothing, NULL, NULL},
    {wish_chance, NULL, NULL},
    {wish_memory, NULL, NULL},
    {wish_stop, "a rose is a rose; Zo\xc3\xab says: \xf0\x9f\x8c\xb9; arise! ", NULL},
    {wish_reasoning, NULL, NULL},
    {wish_reasoning, NULL, "[a-z]*\\n</t>[0-9]{30}"},
    {wish_chance, NULL, "([a-f][0-9]){25}"},
    {wish_prediction, "a rose is a rose is a rose; ", NULL},
};

static struct client *begin(engine *e, const struct variant *variant, grammar *g)
{
    struct client *c = client_create(e, make_prompt(PROMPT, 3), PROMPT, TOKENS);
    c->request.n = SEQUENCES;
    c->request.grammar = g;
    variant->wishes(&c->request);
    return c;
}

static grammar *compile(engine *e, const char *regex)
{
    struct grammar_source source = {.kind = GRAMMAR_REGEX};
    grammar *g = NULL;
    if (regex == NULL)
        return NULL;
    source.text = text_slice_of(regex);
    assert_int_equal(engine_compile_grammar(e, &source, &g, NULL), STATUS_OK);
    return g;
}

/* The sequences had come to different places: the second one to half of the first one's. */
static void go_on(engine *e, const struct variant *variant, grammar *g, const struct client *whole,
                  uint32_t count)
{
    struct engine_past past[SEQUENCES];
    struct client *c = begin(e, variant, g);
    for (uint32_t i = 0; i < SEQUENCES; i++) {
        uint32_t most = whole->sequences[i].token_count - 1;
        uint32_t wanted = i == 0 ? count : count / 2;
        past[i] = (struct engine_past){whole->sequences[i].tokens, wanted < most ? wanted : most};
    }
    c->request.past = past;
    c->request.on_past = client_on_event;
    client_run(c);
    for (uint32_t i = 0; i < SEQUENCES; i++) {
        assert_same_output(&whole->sequences[i], &c->sequences[i]);
        assert_string_equal(whole->sequences[i].stop_text, c->sequences[i].stop_text);
        assert_int_equal(whole->sequences[i].usage.completion_tokens,
                         c->sequences[i].usage.completion_tokens);
        assert_int_equal(whole->sequences[i].usage.accepted_prediction_tokens,
                         c->sequences[i].usage.accepted_prediction_tokens);
    }
    client_destroy(c);
}

static void a_request_goes_on_where_another_engine_left_it(void **state)
{
    (void)state;
    for (size_t v = 0; v < ARRAY_COUNT(variants); v++) {
        engine *e = open_engine(&defaults);
        grammar *g = compile(e, variants[v].regex);
        atomic_store(&script, variants[v].script);
        struct client *whole = begin(e, &variants[v], g);
        client_run(whole);
        for (uint32_t count = 0; count < whole->sequences[0].token_count; count++)
            go_on(e, &variants[v], g, whole, count);
        atomic_store(&script, NULL);
        client_destroy(whole);
        grammar_release(g);
        assert_becomes_empty(e);
        engine_close(e);
    }
}

/* On a cache that lets few run at a time, where each loses its blocks now and then. */
static void what_goes_on_may_be_preempted(void **state)
{
    (void)state;
    enum { CLIENTS = 6 };
    struct engine_options options = defaults;
    options.kv_bytes = 24 * BLOCK_BYTES;
    engine *e = open_engine(&options);
    struct client *whole = begin(e, &variants[2], NULL);
    client_run(whole);
    struct engine_past past[CLIENTS][SEQUENCES];
    struct client *clients[CLIENTS];
    for (uint32_t i = 0; i < CLIENTS; i++) {
        clients[i] = begin(e, &variants[2], NULL);
        for (uint32_t j = 0; j < SEQUENCES; j++) {
            uint32_t most = whole->sequences[j].token_count - 1;
            past[i][j] =
                (struct engine_past){whole->sequences[j].tokens, most < i * 7 ? most : i * 7};
        }
        clients[i]->request.past = past[i];
        clients[i]->request.on_past = client_on_event;
        client_submit(clients[i]);
    }
    for (uint32_t i = 0; i < CLIENTS; i++) {
        client_wait(clients[i]);
        for (uint32_t j = 0; j < SEQUENCES; j++)
            assert_same_output(&whole->sequences[j], &clients[i]->sequences[j]);
        client_destroy(clients[i]);
    }
    client_destroy(whole);
    assert_becomes_empty(e);
    engine_close(e);
}

static void assert_refused(struct client *c)
{
    assert_int_equal(engine_submit(c->e, &c->request), STATUS_INVALID);
    atomic_store(&c->event_count, 0);
    c->sequences[0] = (struct client_sequence){.token_count = 0};
}

static void a_past_that_cannot_have_been_is_refused(void **state)
{
    (void)state;
    static const int32_t tokens[] = {'a', 'b', END_TOKEN, VOCABULARY};
    static const struct text_slice stop = {"ab", 2};
    struct engine_past past = {tokens, 2};
    engine *e = open_engine(&defaults);
    struct client *c = client_create(e, make_prompt(PROMPT, 1), PROMPT, 10);
    c->request.past = &past;
    assert_refused(c); /* nobody is told */
    c->request.on_past = client_on_event;
    c->request.max_tokens = 2;
    assert_refused(c); /* it would have ended */
    c->request.max_tokens = 10;
    past.count = 3;
    assert_refused(c); /* here too */
    past.count = 4;
    assert_refused(c); /* no token */
    past.count = 2;
    c->request.stops = &stop;
    c->request.stop_count = 1;
    assert_refused(c);
    c->request.stop_count = 0;
    c->request.sampling.mirostat = (struct mirostat_params){.is_on = true, .tau = 5, .eta = 0.1f};
    assert_refused(c);
    c->request.sampling.mirostat.is_on = false;
    c->request.grammar = compile(e, "[a-z][0-9]+");
    assert_refused(c);
    grammar_release(c->request.grammar);
    c->request.grammar = NULL;
    client_run(c);
    assert_int_equal(c->sequences[0].usage.completion_tokens, c->sequences[0].token_count);
    client_destroy(c);
    assert_becomes_empty(e);
    engine_close(e);
}

int main(void)
{
    spell_bytes();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_goes_on_where_another_engine_left_it),
        cmocka_unit_test(what_goes_on_may_be_preempted),
        cmocka_unit_test(a_past_that_cannot_have_been_is_refused),
    };
    return run_all_ways(tests, ARRAY_COUNT(tests));
}
