/* WRAP: calloc malloc */
/* Hidden states instead of text. */
#include "fake_model_testing.h"

static struct client *client_of_embedding(engine *e, uint32_t prompt_count, uint32_t seed,
                                          enum embedding_pooling pooling, float *out)
{
    struct client *c = client_create(e, make_prompt(prompt_count, seed), prompt_count, 1);
    c->request.embedding = out;
    c->request.pooling = pooling;
    return c;
}

/* What the made-up model says of a prompt, in one go. */
static void assert_embedding(const struct client *c)
{
    double sum[FEATURES] = {0}, squares = 0.0;
    uint64_t digest = 0;
    for (uint32_t p = 0; p < c->request.prompt_count; p++) {
        bool is_last = p + 1 == c->request.prompt_count;
        digest = mix(digest, (uint64_t)c->request.prompt[p] + 1);
        for (uint32_t i = 0; i < FEATURES && (is_last || c->request.pooling == EMBEDDING_MEAN); i++)
            sum[i] += hidden_of(digest, i);
    }
    for (uint32_t i = 0; i < FEATURES; i++)
        squares += sum[i] * sum[i];
    for (uint32_t i = 0; i < FEATURES; i++)
        assert_true(c->request.embedding[i] == (float)(sum[i] / sqrt(squares)));
    const struct client_sequence *s = &c->sequences[0];
    assert_int_equal(s->finish, FINISH_STOP);
    assert_int_equal(s->token_count, 0);
    assert_int_equal(s->usage.prompt_tokens, c->request.prompt_count);
    assert_true(c->request.pooling == EMBEDDING_LAST || s->usage.cached_tokens == 0);
}

/* Beside requests that generate, on a cache that makes them preempt each other, without prefix cache, in small steps. */
static void embeddings_do_not_depend_on_company_memory_or_cache(void **state)
{
    (void)state;
    enum { COUNT = 40 };
    struct engine_options variants[4] = {defaults, defaults, defaults, defaults};
    variants[1].kv_bytes = 12 * BLOCK_BYTES;
    variants[2].prefix_cache = false;
    variants[3].batch_tokens_max = 8;
    for (int v = 0; v < 4; v++) {
        engine *e = open_engine(&variants[v]);
        struct client *clients[COUNT];
        float vectors[COUNT][FEATURES];
        for (uint32_t i = 0; i < COUNT; i++) {
            uint32_t prompt_count = 1 + i * 3;
            if (i % 4 == 3)
                clients[i] = client_create(e, make_prompt(prompt_count, i), prompt_count, 40);
            else
                clients[i] = client_of_embedding(
                    e, prompt_count, i, i % 4 == 1 ? EMBEDDING_MEAN : EMBEDDING_LAST, vectors[i]);
            client_submit(clients[i]);
        }
        for (uint32_t i = 0; i < COUNT; i++) {
            client_wait(clients[i]);
            if (clients[i]->request.embedding != NULL)
                assert_embedding(clients[i]);
            client_destroy(clients[i]);
        }
        struct engine_stats stats;
        assert_becomes_empty(e);
        engine_get_stats(e, &stats);
        assert_true(v == 2 || stats.prefix_hit_tokens > 0);
        engine_close(e);
    }
}

static void an_embedding_that_is_no_number_ends_in_an_error(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    float vector[FEATURES] = {7, 7, 7};
    atomic_store(&hidden_fails, 1);
    struct client *c = client_of_embedding(e, 20, 1, EMBEDDING_MEAN, vector);
    client_run(c);
    assert_int_equal(c->sequences[0].finish, FINISH_ERROR);
    assert_int_equal(c->sequences[0].error, STATUS_INTERNAL);
    assert_true(vector[0] == 7.0f && vector[1] == 7.0f);
    client_destroy(c);
    c = client_of_embedding(e, 20, 1, EMBEDDING_MEAN, vector); /* the engine goes on */
    client_run(c);
    assert_embedding(c);
    c->request.internal = NULL;
    c->request.n = 2;
    assert_int_equal(engine_submit(e, &c->request), STATUS_INVALID);
    c->request.n = 1;
    c->request.max_tokens = 2;
    assert_int_equal(engine_submit(e, &c->request), STATUS_INVALID);
    client_destroy(c);
    engine_close(e);
}

int main(void)
{
    spell_bytes();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(embeddings_do_not_depend_on_company_memory_or_cache),
        cmocka_unit_test(an_embedding_that_is_no_number_ends_in_an_error),
    };
    return run_all_ways(tests, ARRAY_COUNT(tests));
}
