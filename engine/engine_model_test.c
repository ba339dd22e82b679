#include "engine_testing.h"

#include "adapter_builder.h"
#include "batcher.h"

/* The whole engine on a real model, named by PENSTOCK_TEST_MODEL (a GGUF file of the Llama family). Without it these
 * tests are skipped. Greedy outputs must be equal token by token whatever surrounds them: alone, in a full batch, with
 * preemptions, after a prefix hit, in chunks. */

enum { COUNT = 16, OUTPUT = 24 };

static const char *model_path(void)
{
    const char *path = getenv("PENSTOCK_TEST_MODEL");
    if (path == NULL || *path == '\0') {
        print_message("PENSTOCK_TEST_MODEL is not set: skipped\n");
        skip();
    }
    return path;
}

static struct engine_options options_with(uint64_t kv_bytes, uint32_t batch_tokens_max,
                                          uint32_t context_max)
{
    return (struct engine_options){.model_path = model_path(),
                                   .threads = 2,
                                   .context_max = context_max,
                                   .sequence_count_max = 16,
                                   .batch_tokens_max = batch_tokens_max,
                                   .kv_bytes = kv_bytes,
                                   .queue_requests_max = 400,
                                   .queue_tokens_max = 1000000,
                                   .prefix_cache = true};
}

static engine *open_engine(struct engine_options options)
{
    struct error_note note = {""};
    engine *e = NULL;
    status s = engine_open(&options, &e, &note);
    if (s != STATUS_OK)
        fail_msg("%s: %s", status_name(s), note.text);
    return e;
}

static engine *open_with(uint64_t kv_bytes, uint32_t batch_tokens_max, uint32_t context_max)
{
    return open_engine(options_with(kv_bytes, batch_tokens_max, context_max));
}

static struct token_list prompts[COUNT];

static void make_prompts(const engine *e)
{
    static const char *const texts[] = {
        "Once upon a time, in a small village by the sea, there lived",
        "The capital of France is",
        "def fibonacci(n):\n    \"\"\"Return the n-th Fibonacci number.\"\"\"\n",
        "Water boils at a temperature of",
    };
    char text[4096];
    for (uint32_t i = 0; i < COUNT; i++) {
        int bytes = snprintf(text, sizeof text, "Question %u. ", i);
        for (uint32_t repeat = 0; repeat <= i / 4; repeat++)
            bytes +=
                snprintf(text + bytes, sizeof text - (size_t)bytes, "%s ", texts[(i + repeat) % 4]);
        token_list_deinit(&prompts[i]);
        token_list_init(&prompts[i], 4096);
        struct text_slice slice = {text, (size_t)bytes};
        assert_int_equal(
            tokenizer_encode(engine_get_tokenizer(e), slice, NULL, 0, false, &prompts[i]),
            STATUS_OK);
    }
}

static struct client *start(engine *e, uint32_t i)
{
    struct client *c = client_create(e, prompts[i].ids, (uint32_t)prompts[i].count, OUTPUT);
    c->request.sampling.ignore_eos = true;
    c->request.sampling.logprobs = 0;
    client_submit(c);
    return c;
}

static struct client *alone[COUNT];

static void assert_equals_alone(struct client *c, uint32_t i, const char *where)
{
    client_wait(c);
    const struct client_sequence *got = &c->sequences[0];
    const struct client_sequence *want = &alone[i]->sequences[0];
    assert_int_equal(got->token_count, OUTPUT);
    for (uint32_t t = 0; t < OUTPUT; t++) {
        if (got->tokens[t] != want->tokens[t])
            fail_msg("%s: prompt %u, token %u is %d (%f), alone %d (%f)", where, i, t,
                     got->tokens[t], (double)got->logprobs[t], want->tokens[t],
                     (double)want->logprobs[t]);
    }
    assert_int_equal(got->text_bytes, want->text_bytes);
    assert_memory_equal(got->text, want->text, got->text_bytes);
    client_destroy(c);
}

static void run_all_together(engine *e, const char *where)
{
    struct client *clients[COUNT];
    for (uint32_t i = 0; i < COUNT; i++)
        clients[i] = start(e, i);
    for (uint32_t i = 0; i < COUNT; i++)
        assert_equals_alone(clients[i], i, where);
    assert_becomes_empty(e);
}

static void
greedy_output_is_the_same_alone_in_a_batch_preempted_and_from_the_prefix_cache(void **state)
{
    (void)state;
    engine *e = open_with(0, 256, 512);
    make_prompts(e);
    uint64_t block_bytes = engine_get_info(e)->kv_bytes_per_token * 16;
    for (uint32_t i = 0; i < COUNT; i++) {
        alone[i] = start(e, i);
        client_wait(alone[i]);
        print_message("%u: %.*s\n", i, (int)alone[i]->sequences[0].text_bytes,
                      alone[i]->sequences[0].text);
    }
    struct engine_stats before, after;
    engine_get_stats(e, &before);
    run_all_together(e, "prefix hits");
    engine_get_stats(e, &after);
    assert_true(after.prefix_hit_tokens > before.prefix_hit_tokens);
    engine_close(e);

    e = open_with(0, 256, 512);
    run_all_together(e, "batch of 16");
    engine_close(e);

    e = open_with(0, 16, 512);
    run_all_together(e, "chunks of 16");
    engine_close(e);

    /* Room for two or three sequences, which must grow: whoever runs beside another is preempted, however
     * slowly they arrive. */
    e = open_with(12 * block_bytes, 64, 128);
    run_all_together(e, "tiny cache");
    engine_get_stats(e, &after);
    assert_true(after.preemptions > 0);
    engine_close(e);
    for (uint32_t i = 0; i < COUNT; i++)
        client_destroy(alone[i]);
}

static void two_hundred_requests_at_once_all_end(void **state)
{
    (void)state;
    engine *e = open_with(0, 256, 512);
    make_prompts(e);
    static struct client *clients[200];
    for (uint32_t i = 0; i < 200; i++) {
        clients[i] =
            client_create(e, prompts[i % COUNT].ids, (uint32_t)prompts[i % COUNT].count, 6);
        clients[i]->request.sampling.temperature = 1.0f;
        clients[i]->request.sampling.seed = i / 2;
        clients[i]->cancel_after = i % 10 == 9 ? 2 : 0;
        client_submit(clients[i]);
    }
    for (uint32_t i = 0; i < 200; i++) {
        client_wait(clients[i]);
        client_destroy(clients[i]);
    }
    assert_becomes_empty(e);
    engine_close(e);
}

static void the_same_seed_gives_the_same_tokens_in_any_company(void **state)
{
    (void)state;
    engine *e = open_with(0, 256, 512);
    make_prompts(e);
    struct client *c[COUNT + 1];
    for (uint32_t i = 0; i <= COUNT; i++) {
        uint32_t prompt = i == COUNT ? 3 : i;
        c[i] = client_create(e, prompts[prompt].ids, (uint32_t)prompts[prompt].count, OUTPUT);
        c[i]->request.sampling.temperature = 0.9f;
        c[i]->request.sampling.top_p = 0.95f;
        c[i]->request.sampling.seed = 1234;
        c[i]->request.sampling.ignore_eos = true;
        client_submit(c[i]);
        if (i == COUNT - 1) {
            for (uint32_t j = 0; j < COUNT; j++)
                client_wait(c[j]);
        }
    }
    client_wait(c[COUNT]);
    assert_memory_equal(c[3]->sequences[0].tokens, c[COUNT]->sequences[0].tokens,
                        OUTPUT * sizeof(int32_t));
    for (uint32_t i = 0; i <= COUNT; i++)
        client_destroy(c[i]);
    engine_close(e);
}

/* Requests that quote: greedy and sampled, with penalties, log-probabilities, a stop string inside what repeats. */
static struct client *start_quoting(engine *e, uint32_t i, const struct client_sequence *prediction)
{
    static const struct text_slice stop = {"village by the", 14};
    struct client *c = client_create(e, prompts[i].ids, (uint32_t)prompts[i].count, 2 * OUTPUT);
    struct sampling_params *p = &c->request.sampling;
    p->logprobs = i % 3 == 0 ? 5 : 0;
    p->ignore_eos = i % 5 != 4;
    p->temperature = i % 2 == 0 ? 0.0f : 0.3f + 0.1f * (float)i;
    p->seed = i;
    p->frequency_penalty = i % 4 == 1 ? 0.2f : 0.0f;
    p->repetition_penalty = i % 8 == 6 ? 1.05f : 1.0f;
    p->min_tokens = i % 4 == 2 ? 10 : 0;
    c->request.n = i % 8 == 7 ? 3 : 1;
    c->request.stops = &stop;
    c->request.stop_count = i % 4 == 0 ? 1 : 0;
    c->request.prediction = prediction != NULL ? prediction->tokens : NULL;
    c->request.prediction_count = prediction != NULL ? prediction->token_count : 0;
    client_submit(c);
    return c;
}

/* Of a client that has been waited for; ends it. */
static void assert_same_answer(struct client *c, uint32_t i, const char *where)
{
    for (uint32_t j = 0; j < c->request.n; j++) {
        const struct client_sequence *got = &c->sequences[j];
        const struct client_sequence *want = &alone[i]->sequences[j];
        assert_int_equal(got->token_count, want->token_count);
        size_t bytes = got->token_count * sizeof got->tokens[0];
        if (memcmp(got->tokens, want->tokens, bytes) != 0 ||
            memcmp(got->logprobs, want->logprobs, bytes) != 0)
            fail_msg("%s: prompt %u, sequence %u says something else", where, i, j);
        assert_int_equal(got->text_bytes, want->text_bytes);
        assert_memory_equal(got->text, want->text, got->text_bytes);
        assert_int_equal(got->finish, want->finish);
        assert_int_equal(got->stop_token, want->stop_token);
        assert_string_equal(got->stop_text, want->stop_text);
        assert_int_equal(got->usage.completion_tokens, want->usage.completion_tokens);
    }
    client_destroy(c);
}

static void quote_together(const struct engine_options *options, const char *where)
{
    engine *e = open_engine(*options);
    struct client *clients[COUNT];
    for (uint32_t i = 0; i < COUNT; i++) {
        usleep(i * 7919 % 5 * 3000); /* some come while others answer */
        clients[i] = start_quoting(e, i, NULL);
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        client_wait(clients[i]);
        assert_same_answer(clients[i], i, where);
    }
    assert_becomes_empty(e);
    struct engine_stats stats;
    engine_get_stats(e, &stats);
    print_message("%s: %llu of %llu drafts were right, %llu steps\n", where,
                  (unsigned long long)stats.accepted_tokens, (unsigned long long)stats.draft_tokens,
                  (unsigned long long)stats.steps);
    engine_close(e);
}

/* Predictions that are the answer, and that are another's. */
static void predict(struct engine_options options)
{
    options.drafts_predictions_only = true;
    engine *e = open_engine(options);
    struct engine_stats stats[3];
    for (uint32_t wrong = 0; wrong < 2; wrong++) {
        engine_get_stats(e, &stats[wrong]);
        for (uint32_t i = 0; i < COUNT; i++) {
            const struct client_sequence *said = &alone[(i + wrong) % COUNT]->sequences[0];
            struct client *c = start_quoting(e, i, said);
            client_wait(c);
            if (wrong == 0) /* all but what its stop string cut off, which is in no answer */
                assert_int_equal(c->sequences[0].usage.accepted_prediction_tokens,
                                 said->token_count);
            assert_same_answer(c, i, "predicted");
        }
    }
    engine_get_stats(e, &stats[2]);
    uint64_t right = stats[1].accepted_tokens - stats[0].accepted_tokens;
    uint64_t wrong = stats[2].accepted_tokens - stats[1].accepted_tokens;
    print_message("predicted: %llu of %llu drafts were right; another's: %llu of %llu\n",
                  (unsigned long long)right, (unsigned long long)stats[1].draft_tokens,
                  (unsigned long long)wrong,
                  (unsigned long long)(stats[2].draft_tokens - stats[1].draft_tokens));
    assert_true(right > wrong);
    engine_close(e);
}

static void drafts_change_no_token_and_no_logprob(void **state)
{
    (void)state;
    struct engine_options options = options_with(0, 256, 512);
    engine *e = open_engine(options);
    make_prompts(e);
    uint64_t block_bytes = engine_get_info(e)->kv_bytes_per_token * 16;
    for (uint32_t i = 0; i < COUNT; i++) {
        alone[i] = start_quoting(e, i, NULL);
        client_wait(alone[i]);
    }
    engine_close(e);

    options.draft_tokens_max = 6;
    options.lookup_min = 1;
    options.lookup_max = 4;
    e = open_engine(options);
    for (uint32_t i = 0; i < COUNT; i++) {
        struct client *c = start_quoting(e, i, NULL);
        client_wait(c);
        assert_same_answer(c, i, "alone");
    }
    struct engine_stats stats;
    engine_get_stats(e, &stats);
    assert_true(stats.accepted_tokens > 0);
    assert_true(stats.draft_tokens > stats.accepted_tokens); /* both ways are tried */
    engine_close(e);

    predict(options);
    quote_together(&options, "batch of 16");
    options.sequence_count_max = 3; /* rows are cheap enough here to draft for all */
    quote_together(&options, "batch of 3");
    options.sequence_count_max = 16;
    options.batch_tokens_max = 16;
    quote_together(&options, "steps of 16 rows");
    options.batch_tokens_max = 64;
    options.context_max = 256;
    options.kv_bytes = 24 * block_bytes;
    quote_together(&options, "tiny cache");
    for (uint32_t i = 0; i < COUNT; i++)
        client_destroy(alone[i]);
}

/* Two adapters and none, with drafts, n and scores of prompts among them; alone, then together on a cache that is too small
 * for them. */
static struct client *start_adapted(engine *e, uint32_t i, struct token_score *scores)
{
    static const char *const names[] = {NULL, "one", "two"};
    engine_adapter *adapter = i % 3 > 0 ? engine_find_adapter(e, names[i % 3]) : NULL;
    struct client *c = client_create(e, prompts[i / 3].ids, (uint32_t)prompts[i / 3].count, OUTPUT);
    c->request.sampling.ignore_eos = true;
    c->request.sampling.logprobs = 0;
    c->request.sampling.temperature = i % 5 == 4 ? 0.8f : 0.0f;
    c->request.n = i % 4 == 2 ? 5 : 1;
    c->request.prompt_scores = i % 6 == 1 ? scores : NULL;
    c->request.adapter = adapter;
    client_submit(c);
    engine_release_adapter(adapter);
    return c;
}

static void assert_same_client(const struct client *got, const struct client *want, uint32_t i)
{
    for (uint32_t j = 0; j < got->request.n; j++) {
        const struct client_sequence *a = &got->sequences[j], *b = &want->sequences[j];
        assert_int_equal(a->token_count, OUTPUT);
        for (uint32_t t = 0; t < OUTPUT; t++)
            if (a->tokens[t] != b->tokens[t] ||
                memcmp(&a->logprobs[t], &b->logprobs[t], sizeof a->logprobs[t]) != 0)
                fail_msg("request %u.%u, token %u is %d (%.9g), alone %d (%.9g)", i, j, t,
                         a->tokens[t], (double)a->logprobs[t], b->tokens[t],
                         (double)b->logprobs[t]);
    }
}

static void adapters_and_none_in_one_batch_say_to_the_bit_what_each_says_alone(void **state)
{
    (void)state;
    enum { MIXED = 15 };
    static struct token_score scores[2][MIXED][4096];
    static struct client *own[MIXED];
    struct client *mixed[MIXED];
    char folders[2][64];
    struct engine_options options = options_with(0, 256, 512);
    options.adapters_max = 2;
    options.adapter_rank_max = ADAPTER_RANK;
    for (int round = 0; round < 2; round++) {
        engine *e = open_engine(options);
        const struct engine_info *info = engine_get_info(e);
        for (uint32_t i = 0; i < 2; i++) {
            if (round == 0)
                adapter_build(info->layers, info->width, i + 1, folders[i]);
            struct error_note note = {""};
            if (engine_load_adapter(e, i == 0 ? "one" : "two", folders[i], &note) != STATUS_OK)
                fail_msg("%s", note.text);
        }
        make_prompts(e);
        for (uint32_t i = 0; i < MIXED; i++) {
            mixed[i] = start_adapted(e, i, scores[round][i]);
            if (round == 0)
                client_wait(own[i] = mixed[i]);
        }
        for (uint32_t i = 0; round == 1 && i < MIXED; i++) {
            client_wait(mixed[i]);
            assert_same_client(mixed[i], own[i], i);
            for (uint32_t t = 1;
                 mixed[i]->request.prompt_scores != NULL && t < mixed[i]->request.prompt_count; t++)
                assert_memory_equal(&scores[1][i][t], &scores[0][i][t], sizeof scores[0][0][0]);
            client_destroy(mixed[i]);
        }
        struct engine_stats stats;
        assert_becomes_empty(e);
        engine_get_stats(e, &stats);
        assert_true(round == 0 || stats.preemptions > 0);
        /* Five texts of a prompt do not fit: they preempt each other however slowly requests arrive. */
        options.kv_bytes = info->kv_bytes_per_token * 16 * 12;
        options.context_max = 128;
        options.draft_tokens_max = 4;
        options.lookup_min = 1;
        options.lookup_max = 3;
        engine_close(e);
    }
    for (uint32_t i = 0; i < MIXED; i += 3) { /* they are three voices */
        size_t bytes = sizeof own[i]->sequences[0].tokens[0] * OUTPUT;
        assert_memory_not_equal(own[i]->sequences[0].tokens, own[i + 1]->sequences[0].tokens,
                                bytes);
        assert_memory_not_equal(own[i]->sequences[0].tokens, own[i + 2]->sequences[0].tokens,
                                bytes);
        assert_memory_not_equal(own[i + 1]->sequences[0].tokens, own[i + 2]->sequences[0].tokens,
                                bytes);
    }
    for (uint32_t i = 0; i < MIXED; i++)
        client_destroy(own[i]);
    for (int i = 0; i < 2; i++)
        adapter_remove(folders[i]);
}

/* What the kernel says that the process has in memory. */
static uint64_t resident_bytes(void)
{
    unsigned long long pages = 0, resident = 0;
    FILE *statm = fopen("/proc/self/statm", "re");
    assert_non_null(statm);
    assert_int_equal(fscanf(statm, "%llu %llu", &pages, &resident), 2);
    (void)fclose(statm);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* The least that goes: the logits of a step, which are there from the beginning. */
#define LOGIT_BYTES ((uint64_t)STEP_SCORES_MAX * 49152 * sizeof(float))

static void an_engine_that_slept_says_what_it_said(void **state)
{
    (void)state;
    engine *e = open_with(64 << 20, 256, 512);
    make_prompts(e);
    for (uint32_t i = 0; i < COUNT; i++)
        client_wait(alone[i] = start(e, i));
    for (uint32_t level = 1; level <= ENGINE_SLEEP_LEVEL_MAX; level++) {
        struct error_note note = {""};
        uint64_t before = resident_bytes();
        assert_int_equal(engine_sleep(e, level), STATUS_OK);
        uint64_t asleep = resident_bytes();
        if (asleep + LOGIT_BYTES > before)
            fail_msg("%llu bytes before, %llu asleep", (unsigned long long)before,
                     (unsigned long long)asleep);
        assert_int_equal(engine_wake(e, &note), STATUS_OK);
        run_all_together(e, "after sleep");
    }
    engine_close(e);
    for (uint32_t i = 0; i < COUNT; i++)
        client_destroy(alone[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            greedy_output_is_the_same_alone_in_a_batch_preempted_and_from_the_prefix_cache),
        cmocka_unit_test(two_hundred_requests_at_once_all_end),
        cmocka_unit_test(the_same_seed_gives_the_same_tokens_in_any_company),
        cmocka_unit_test(drafts_change_no_token_and_no_logprob),
        cmocka_unit_test(an_engine_that_slept_says_what_it_said),
        cmocka_unit_test(adapters_and_none_in_one_batch_say_to_the_bit_what_each_says_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
