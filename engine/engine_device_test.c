#include "adapter_builder.h"
#include "device_engine_testing.h"

/* The whole engine over the kernels of the CUDA backend, which the emulator runs on the host. Whoever takes the likeliest token
 * says what it says on the CPU, alone and together, preempted and cancelled. Draws depend on the last digits of probabilities,
 * in which the two differ by rounding: the device's are compared with those of the host's sampler over the same device's
 * logits. A random model of two layers in floats, whose vocabulary is the bytes; and a few tokens of a real model, named by
 * PENSTOCK_TEST_MODEL. */

/* --- requests with all that a device samples, and some that it does not --- */

enum { ASKED = 10, OUTPUT = 6 };

struct asked {
    struct client *clients[ASKED];
    grammar *digits;
};

/* How they are asked. */
struct way {
    const char *device;
    uint64_t blocks;
    bool are_together;
    bool draws; /* else the likeliest tokens */
    /* A wish that changes nothing, and that only the host's sampler knows */
    bool is_for_host;
};

static struct client *ask(engine *e, const struct asked *asked, const struct way *way, uint32_t i)
{
    static const int32_t never[] = {256, 256, 256};
    static const struct token_run ban = {never, 3};
    static int32_t prompts[ASKED][CONTEXT];
    static const struct logit_bias biases[] = {{'a', 2.0f}, {'b', -100.0f}};
    static const int32_t ends[] = {'e', 't', 17, 99, 140};
    static const struct text_slice stops[] = {{"never said at all", 17}};
    uint32_t count = 3 + 9 * i;
    for (uint32_t j = 0; j < count; j++)
        prompts[i][j] = (int32_t)((j < 16 ? j * 5 : j * 11 + i * 37) % 256);
    struct client *c = client_create(e, prompts[i], count, OUTPUT);
    struct sampling_params *p = &c->request.sampling;
    c->request.n = i == 3 ? 3 : 1;
    c->request.priority = (int32_t)(i % 2);
    c->request.grammar = i == 9 ? asked->digits : NULL;
    c->request.stops = stops;
    c->request.stop_count = i == 1 ? 1 : 0;
    p->ignore_eos = true;
    p->seed = 40 + i;
    p->temperature = way->draws && i % 3 != 0 ? 0.6f : 0.0f;
    p->temperature = way->draws && i == 3 ? 0.8f : p->temperature;
    p->top_k = i == 2 ? 7 : 0;
    p->top_p = i == 4 ? 0.85f : 1.0f;
    p->min_p = i == 5 ? 0.02f : 0.0f;
    p->repetition_penalty = i == 6 ? 1.4f : 1.0f;
    p->frequency_penalty = i == 7 ? 0.7f : 0.0f;
    p->presence_penalty = i == 7 ? 0.4f : 0.0f;
    p->biases = biases;
    p->bias_count = i == 8 ? 2 : 0;
    p->stop_tokens = ends;
    p->stop_token_count = i == 8 ? 5 : 0;
    p->min_tokens = i == 8 ? 4 : 0;
    p->logprobs = i % 2 == 0 ? 3 : -1;
    p->bans = &ban;
    p->ban_count = way->is_for_host || i == 5 ? 1 : 0;
    return c;
}

static void run_asked(const struct way *way, struct asked *asked)
{
    struct error_note note = {""};
    engine *e = open_on(model_file, way->device, way->blocks * BLOCK_BYTES);
    struct grammar_source source = {.kind = GRAMMAR_REGEX, .text = {"[0-9]+[a-f]{2}[0-9]*", 20}};
    assert_int_equal(engine_compile_grammar(e, &source, &asked->digits, &note), STATUS_OK);
    for (uint32_t i = 0; i < ASKED; i++) {
        asked->clients[i] = ask(e, asked, way, i);
        client_submit(asked->clients[i]);
        if (!way->are_together)
            client_wait(asked->clients[i]);
    }
    for (uint32_t i = 0; way->are_together && i < ASKED; i++)
        client_wait(asked->clients[i]);
    assert_becomes_empty(e);
    grammar_release(asked->digits);
    engine_close(e);
}

static void free_asked(struct asked *asked)
{
    for (uint32_t i = 0; i < ASKED; i++)
        client_destroy(asked->clients[i]);
}

static void assert_same(const struct asked *a, const struct asked *b)
{
    for (uint32_t i = 0; i < ASKED; i++) {
        for (uint32_t j = 0; j < a->clients[i]->request.n; j++) {
            const struct client_sequence *x = &a->clients[i]->sequences[j];
            const struct client_sequence *y = &b->clients[i]->sequences[j];
            assert_true(x->token_count > 0);
            assert_int_equal(x->token_count, y->token_count);
            assert_int_equal(x->finish, y->finish);
            for (uint32_t t = 0; t < x->token_count; t++) {
                if (x->tokens[t] != y->tokens[t])
                    fail_msg("request %u, sequence %u, token %u: %d and %d", i, j, t, x->tokens[t],
                             y->tokens[t]);
                if (a->clients[i]->request.sampling.logprobs >= 0)
                    assert_true(fabsf(x->logprobs[t] - y->logprobs[t]) < 0.01f);
            }
        }
    }
}

static void the_likeliest_tokens_are_the_cpus(void **state)
{
    (void)state;
    struct asked cpu, device;
    const struct way ways[] = {{"cuda-emulated", 200, true, false, false},
                               {"cuda-emulated", 200, false, false, false},
                               {"cuda-emulated", 12, true, false, false}};
    run_asked(&(struct way){"cpu", 200, true, false, false}, &cpu);
    for (size_t i = 0; i < ARRAY_COUNT(ways); i++) {
        run_asked(&ways[i], &device);
        assert_same(&cpu, &device);
        free_asked(&device);
    }
    free_asked(&cpu);
}

static void the_device_draws_what_the_host_draws_of_its_logits(void **state)
{
    (void)state;
    struct asked host, device;
    run_asked(&(struct way){"cuda-emulated", 200, false, true, true}, &host);
    run_asked(&(struct way){"cuda-emulated", 200, false, true, false}, &device);
    assert_same(&host, &device);
    free_asked(&host);
    free_asked(&device);
}

static void who_leaves_in_the_middle_disturbs_nobody(void **state)
{
    (void)state;
    const struct asked none = {.digits = NULL};
    const struct way way = {"cuda-emulated", 40, true, false, false};
    engine *e = open_on(model_file, "cuda-emulated", 40 * BLOCK_BYTES);
    struct client *alone = ask(e, &none, &way, 6), *beside = ask(e, &none, &way, 6), *leaving[3];
    client_run(alone);
    for (uint32_t i = 0; i < 3; i++) {
        leaving[i] = ask(e, &none, &way, i);
        leaving[i]->request.max_tokens = 100;
        leaving[i]->cancel_after = 2 + i;
        client_submit(leaving[i]);
    }
    client_run(beside);
    for (uint32_t i = 0; i < 3; i++)
        client_wait(leaving[i]);
    assert_memory_equal(alone->sequences[0].tokens, beside->sequences[0].tokens,
                        OUTPUT * sizeof(int32_t));
    assert_becomes_empty(e);
    for (uint32_t i = 0; i < 3; i++)
        client_destroy(leaving[i]);
    client_destroy(alone);
    client_destroy(beside);
    engine_close(e);
}

/* --- adapters --- */

enum { VOICES = 3, ADAPTED = 9 };
static const char *const voice_names[VOICES] = {NULL, "one", "two"};

static void load_adapter(engine *e, const char *name, const char *folder)
{
    struct error_note note = {""};
    status s = engine_load_adapter(e, name, folder, &note);
    if (s != STATUS_OK)
        fail_msg("%s: %s: %s", name, status_name(s), note.text);
}

static struct client *ask_adapted(engine *e, const struct way *way, uint32_t i)
{
    static const struct asked none = {.digits = NULL};
    const char *name = voice_names[i % VOICES];
    engine_adapter *adapter = name != NULL ? engine_find_adapter(e, name) : NULL;
    assert_true((name == NULL) == (adapter == NULL));
    struct client *c = ask(e, &none, way, i / VOICES);
    c->request.adapter = adapter;
    client_submit(c);
    engine_release_adapter(adapter);
    return c;
}

/* Three voices with three prompts each; while they speak one of the voices goes, and another of its name comes. */
static void run_adapted(const struct way *way, char folders[VOICES][64],
                        struct client *out[ADAPTED + 1])
{
    struct engine_options options = options_on(model_file, way->device, way->blocks * BLOCK_BYTES);
    struct error_note note = {""};
    engine *e = NULL;
    options.adapters_max = VOICES;
    options.adapter_rank_max = 2 * ADAPTER_RANK;
    if (engine_open(&options, &e, &note) != STATUS_OK)
        fail_msg("%s", note.text);
    load_adapter(e, "one", folders[0]);
    load_adapter(e, "two", folders[1]);
    for (uint32_t i = 0; i < ADAPTED; i++) {
        out[i] = ask_adapted(e, way, i);
        if (!way->are_together)
            client_wait(out[i]);
    }
    assert_int_equal(engine_unload_adapter(e, "one"), STATUS_OK);
    load_adapter(e, "one", folders[2]);
    out[ADAPTED] = ask_adapted(e, way, 1);
    for (uint32_t i = way->are_together ? 0 : ADAPTED; i <= ADAPTED; i++)
        client_wait(out[i]);
    assert_becomes_empty(e);
    engine_close(e);
}

static void adapters_and_none_in_one_batch_are_the_cpus(void **state)
{
    (void)state;
    char folders[VOICES][64];
    struct client *cpu[ADAPTED + 1], *device[ADAPTED + 1];
    const struct way ways[] = {{"cuda-emulated", 200, true, false, false},
                               {"cuda-emulated", 200, false, false, false}};
    for (uint32_t i = 0; i < VOICES; i++)
        adapter_build(LAYERS, WIDTH, i + 1, folders[i]);
    run_adapted(&(struct way){"cpu", 200, false, false, false}, folders, cpu);
    for (size_t w = 0; w < ARRAY_COUNT(ways); w++) {
        run_adapted(&ways[w], folders, device);
        for (uint32_t i = 0; i <= ADAPTED; i++) {
            assert_int_equal(device[i]->sequences[0].token_count, OUTPUT);
            assert_memory_equal(device[i]->sequences[0].tokens, cpu[i]->sequences[0].tokens,
                                OUTPUT * sizeof(int32_t));
            client_destroy(device[i]);
        }
    }
    for (uint32_t i = 0; i < ADAPTED; i++) /* each voice says something else, also the new one */
        assert_memory_not_equal(
            cpu[i]->sequences[0].tokens,
            cpu[i % VOICES == 1 ? ADAPTED : i - i % VOICES + 1]->sequences[0].tokens,
            OUTPUT * sizeof(int32_t));
    for (uint32_t i = 0; i <= ADAPTED; i++)
        client_destroy(cpu[i]);
    for (uint32_t i = 0; i < VOICES; i++)
        adapter_remove(folders[i]);
}

static void adapters_do_not_outnumber_their_places(void **state)
{
    (void)state;
    char folder[64];
    struct engine_options options = options_on(model_file, "cuda-emulated", 40 * BLOCK_BYTES);
    struct error_note note = {""};
    engine *e = NULL;
    options.adapters_max = 1;
    options.adapter_rank_max = ADAPTER_RANK;
    adapter_build(LAYERS, WIDTH, 7, folder);
    assert_int_equal(engine_open(&options, &e, &note), STATUS_OK);
    for (int turn = 0; turn < 3; turn++) {
        load_adapter(e, "one", folder);
        assert_int_equal(engine_load_adapter(e, "two", folder, &note), STATUS_FULL);
        assert_int_equal(engine_unload_adapter(e, "one"), STATUS_OK);
    }
    engine_close(e);
    adapter_remove(folder);
}

static void a_real_model_says_what_it_says_on_the_cpu(void **state)
{
    (void)state;
    static const int32_t prompt[] = {504, 3575, 282, 4649, 314};
    const char *path = getenv("PENSTOCK_TEST_MODEL"), *backends[] = {"cpu", "cuda-emulated"};
    struct client *clients[2];
    if (path == NULL || *path == '\0') {
        print_message("PENSTOCK_TEST_MODEL is not set: skipped\n");
        skip();
    }
    for (int i = 0; i < 2; i++) {
        engine *e = open_on(path, backends[i], 8u << 20);
        clients[i] = client_create(e, prompt, ARRAY_COUNT(prompt), 4);
        client_run(clients[i]);
        engine_close(e);
    }
    assert_int_equal(clients[0]->sequences[0].token_count, 4);
    assert_memory_equal(clients[0]->sequences[0].tokens, clients[1]->sequences[0].tokens,
                        4 * sizeof(int32_t));
    client_destroy(clients[0]);
    client_destroy(clients[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_likeliest_tokens_are_the_cpus),
        cmocka_unit_test(the_device_draws_what_the_host_draws_of_its_logits),
        cmocka_unit_test(who_leaves_in_the_middle_disturbs_nobody),
        cmocka_unit_test(adapters_and_none_in_one_batch_are_the_cpus),
        cmocka_unit_test(adapters_do_not_outnumber_their_places),
        cmocka_unit_test(a_real_model_says_what_it_says_on_the_cpu),
    };
    return cmocka_run_group_tests(tests, build_model, remove_model);
}
