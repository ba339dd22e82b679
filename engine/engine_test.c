/* WRAP: calloc malloc */
#include "engine_testing.h"

#include "check.h"
#include "metrics.h"
#include "model.h"
#include "model_adapter.h"

/* The engine with a made-up model: threads, rings, text and ends are the real ones; the tokens come from a function of all
 * tokens before them, kept in a made-up cache through the block tables. The vocabulary is the bytes, so that every
 * prompt and output can be written as text.
 *
 * Every test runs twice, without and with drafts: no client can tell. */

#define VOCABULARY  260u
#define END_TOKEN   256
#define CONTROL     257
#define FEATURES    3u
#define BLOCKS_MAX  4096u
#define BLOCK_BYTES 1024u

/* --- the N-th allocation on this thread fails --- */

void *__real_calloc(size_t count, size_t bytes);
void *__real_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_malloc(size_t bytes);

static _Thread_local int fail_at; /* 0: never; counts down */

void *__wrap_calloc(size_t count, size_t bytes)
{
    return fail_at > 0 && --fail_at == 0 ? NULL : __real_calloc(count, bytes);
}

void *__wrap_malloc(size_t bytes)
{
    return fail_at > 0 && --fail_at == 0 ? NULL : __real_malloc(bytes);
}

/* --- the made-up model --- */

struct model_source {
    int unused;
};
static struct model_source fake_source;
static char fake_memory[64];
static uint64_t fake_kv[BLOCKS_MAX][KV_BLOCK_TOKENS];
#define LOGIT_ROWS_MAX 128u
static float fake_logits[LOGIT_ROWS_MAX][VOCABULARY];
static const struct model_info fake_info = {.architecture = "fake",
                                            .name = "fake",
                                            .vocabulary = VOCABULARY,
                                            .n_layers = 1,
                                            .d = FEATURES,
                                            .context_trained = 512,
                                            .kv_block_bytes = BLOCK_BYTES};
static _Atomic int forward_fails;        /* the next step fails */
static _Atomic uint32_t forward_poisons; /* 0: none; N: the N-th row of each step is not finite */
static _Atomic int hidden_fails;         /* the next hidden state is no number */
static _Atomic uint32_t forward_us;      /* each step takes this long */
static const char *_Atomic script; /* outputs spell this text over and over; NULL: by digest */

status model_source_open(const char *path, model_source **out, struct error_note *note)
{
    if (strcmp(path, "missing") == 0) {
        error_note_set(note, "missing: no such file");
        return STATUS_IO;
    }
    *out = &fake_source;
    return STATUS_OK;
}

void model_source_close(model_source *source)
{
    assert_true(source == NULL || source == &fake_source);
}

status model_file_info(const model_source *source, enum kv_type kv_type, struct model_info *out,
                       struct error_note *note)
{
    (void)source;
    (void)kv_type;
    (void)note;
    *out = fake_info;
    return STATUS_OK;
}

status model_file_text(const model_source *source, struct tokenizer_folder *out,
                       struct error_note *note)
{
    (void)source;
    (void)note;
    *out = (struct tokenizer_folder){.tokenizer = (tokenizer *)fake_memory};
    return STATUS_OK;
}

void tokenizer_folder_deinit(struct tokenizer_folder *folder)
{
    assert_null(folder->tokenizer);
}

bool model_file_fim_tokens(const model_source *source, const tokenizer *t, struct fim_tokens *out)
{
    (void)source;
    (void)t;
    (void)out;
    return false;
}

void tokenizer_destroy(tokenizer *t)
{
    (void)t;
}

uint32_t tokenizer_token_count(const tokenizer *t)
{
    (void)t;
    return VOCABULARY;
}

bool tokenizer_is_end(const tokenizer *t, int32_t id)
{
    (void)t;
    return id == END_TOKEN;
}

bool tokenizer_is_control(const tokenizer *t, int32_t id)
{
    (void)t;
    return id == CONTROL || id == END_TOKEN;
}

static char all_bytes[256]; /* each is its own text; filled before the threads start */

struct text_slice tokenizer_piece(const tokenizer *t, int32_t id, bool with_control)
{
    (void)t;
    if (id == CONTROL && with_control)
        return (struct text_slice){"<c>", 3};
    if (id < 0 || id > 255)
        return (struct text_slice){"", 0};
    return (struct text_slice){&all_bytes[id], 1};
}

status model_open(const model_source *source, backend *b, const struct model_options *options,
                  model **out, struct error_note *note)
{
    (void)source;
    (void)b;
    (void)note;
    assert_true(options->kv_blocks <= BLOCKS_MAX && options->logit_rows_max <= LOGIT_ROWS_MAX);
    *out = (model *)fake_memory;
    return STATUS_OK;
}

void model_close(model *m)
{
    (void)m;
}

const struct model_info *model_get_info(const model *m)
{
    (void)m;
    return &fake_info;
}

/* An adapter is a number that goes into the digests; its folder names it. */
struct model_adapter {
    uint64_t number;
};
static _Atomic int adapters_open;

status model_adapter_open(const model *m, const char *folder, model_adapter **out,
                          struct error_note *note)
{
    assert_ptr_equal(m, fake_memory);
    if (strcmp(folder, "missing") == 0) {
        error_note_set(note, "missing: no such folder");
        return STATUS_NOT_FOUND;
    }
    *out = malloc(sizeof **out);
    if (*out == NULL)
        return STATUS_NO_MEMORY;
    (*out)->number = strtoull(folder, NULL, 10);
    atomic_fetch_add(&adapters_open, 1);
    return STATUS_OK;
}

void model_adapter_close(const model *m, model_adapter *adapter)
{
    assert_ptr_equal(m, fake_memory);
    adapter->number = 0; /* whoever still computes with it says something else */
    free(adapter);
    atomic_fetch_sub(&adapters_open, 1);
}

uint64_t model_adapter_bytes(const model_adapter *adapter)
{
    return sizeof *adapter;
}

void model_kv_touch_block(model *m, uint32_t block)
{
    (void)m;
    CHECK(block < ARRAY_COUNT(fake_kv));
}

void model_kv_copy_blocks(model *m, const uint32_t *from, const uint32_t *to, uint32_t count)
{
    (void)m;
    for (uint32_t i = count; i-- > 0;)
        memcpy(fake_kv[to[i]], fake_kv[from[i]], sizeof fake_kv[0]);
}

static uint64_t mix(uint64_t digest, uint64_t value)
{
    digest = (digest ^ value) * 0x9E3779B97F4A7C15ull;
    return digest ^ digest >> 29;
}

/* A peak at one token and a little noise, so that sampling has a choice too. */
static void fill_logits(float *logits, uint64_t digest, uint32_t position)
{
    for (uint32_t i = 0; i < VOCABULARY; i++)
        logits[i] = (float)(mix(digest, i) % 1000) / 250.0f;
    const char *text = atomic_load(&script);
    uint32_t peak = (uint32_t)(mix(digest, 77) % 26) + 'a';
    if (text != NULL)
        peak = (unsigned char)text[position % strlen(text)];
    logits[peak] = 9.0f;
    logits[END_TOKEN] = text == NULL && mix(digest, 99) % 40 == 0 ? 12.0f : -9.0f;
    logits[CONTROL] = logits[258] = logits[259] = -9.0f;
}

/* The hidden state of a row. */
static double hidden_of(uint64_t digest, uint32_t c)
{
    return (double)(mix(digest, 1000 + c) % 2001) / 1000.0 - 1.0;
}

status model_forward(model *m, const struct model_step *step, const float **logits)
{
    (void)m;
    if (atomic_exchange(&forward_fails, 0) != 0)
        return STATUS_INTERNAL;
    if (atomic_load(&forward_us) > 0)
        usleep(atomic_load(&forward_us));
    const struct step_batch *b = &step->batch;
    uint32_t next_logits = 0, next_hidden = 0;
    for (uint32_t row = 0; row < b->n_rows; row++) {
        const uint32_t *table =
            b->block_tables + (size_t)b->row_sequence[row] * b->block_table_stride;
        uint32_t p = b->row_position[row];
        uint64_t before = 0;
        if (p > 0)
            before = fake_kv[table[(p - 1) / KV_BLOCK_TOKENS]][(p - 1) % KV_BLOCK_TOKENS];
        uint64_t digest = mix(before, (uint64_t)step->tokens[row] + 1);
        const model_adapter *adapter =
            step->adapters != NULL ? step->adapters[b->row_sequence[row]] : NULL;
        if (adapter != NULL)
            digest = mix(digest, adapter->number);
        fake_kv[table[p / KV_BLOCK_TOKENS]][p % KV_BLOCK_TOKENS] = digest;
        if (next_logits < step->logit_row_count && step->logit_rows[next_logits] == row)
            fill_logits(fake_logits[next_logits++], digest, p + 1);
        if (next_hidden < step->hidden_row_count && step->hidden_rows[next_hidden] == row) {
            for (uint32_t c = 0; c < FEATURES; c++)
                step->hidden_sums[next_hidden][c] += hidden_of(digest, c);
            next_hidden++;
        }
    }
    assert_int_equal(next_hidden, step->hidden_row_count);
    if (next_hidden > 0 && atomic_exchange(&hidden_fails, 0) != 0)
        step->hidden_sums[0][1] = NAN;
    assert_int_equal(next_logits, step->logit_row_count);
    uint32_t poisoned = atomic_load(&forward_poisons);
    if (poisoned > 0 && poisoned <= next_logits)
        fake_logits[poisoned - 1][5] = NAN;
    *logits = fake_logits[0];
    return STATUS_OK;
}

static void serial_for(backend *b, uint32_t count, void (*body)(void *context, uint32_t index),
                       void *context)
{
    (void)b;
    for (uint32_t i = 0; i < count; i++)
        body(context, i);
}

status backend_open(const struct backend_options *options, backend **out, struct error_note *note)
{
    static const struct backend_operations operations = {.name = "fake",
                                                         .parallel_for = serial_for};
    static backend fake = {&operations};
    (void)options;
    (void)note;
    *out = &fake;
    return STATUS_OK;
}

void backend_close(backend *b)
{
    (void)b;
}

const char *backend_path_name(enum backend_path path)
{
    return path == BACKEND_AUTO ? "auto" : "other";
}

/* --- tests --- */

static struct engine_options defaults = {.model_path = "fake",
                                         .sequence_count_max = 8,
                                         .batch_tokens_max = 64,
                                         .kv_bytes = 256 * BLOCK_BYTES,
                                         .queue_requests_max = 1000,
                                         .queue_tokens_max = 100000,
                                         .prefix_cache = true,
                                         .grammar_limits = {.states_max = 1000,
                                                            .memory_bytes_max = 16u << 20,
                                                            .mask_bytes_max = 1u << 20,
                                                            .depth_max = 64},
                                         .grammar_cache_bytes = 16u << 20};

static engine *open_engine(const struct engine_options *options)
{
    struct error_note note = {""};
    engine *e = NULL;
    assert_int_equal(engine_open(options, &e, &note), STATUS_OK);
    /* Drafts are for machines on which a step costs more than its rows. */
    atomic_store(&forward_us, options->draft_tokens_max > 0 ? 200 : 0);
    atomic_store(&script, NULL);
    return e;
}

/* A prompt of `count` letters, of which the first half is the same for all seeds. */
static const int32_t *make_prompt(uint32_t count, uint32_t seed)
{
    static int32_t prompts[256][512];
    int32_t *prompt = prompts[seed % 256];
    for (uint32_t i = 0; i < count; i++)
        prompt[i] = 'a' + (int32_t)((i < count / 2 ? i * 7 : i * 3 + seed * 5 + 1) % 26);
    return prompt;
}

static void assert_same_output(const struct client_sequence *a, const struct client_sequence *b)
{
    assert_int_equal(a->token_count, b->token_count);
    assert_memory_equal(a->tokens, b->tokens, a->token_count * sizeof a->tokens[0]);
    assert_int_equal(a->text_bytes, b->text_bytes);
    assert_memory_equal(a->text, b->text, a->text_bytes);
    assert_int_equal(a->finish, b->finish);
}

static void a_request_is_answered_with_text_usage_and_times(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    struct client *c = client_create(e, make_prompt(40, 1), 40, 12);
    c->request.sampling.logprobs = 3;
    c->request.sampling.ignore_eos = true;
    client_run(c);
    struct client_sequence *s = &c->sequences[0];
    assert_int_equal(s->finish, FINISH_LENGTH);
    assert_int_equal(s->token_count, 12);
    assert_int_equal(s->text_bytes, 12);
    for (uint32_t i = 0; i < 12; i++) {
        assert_int_equal(s->text[i], s->tokens[i]);
        assert_true(s->logprobs[i] < 0.0f);
    }
    assert_int_equal(s->usage.prompt_tokens, 40);
    assert_int_equal(s->usage.completion_tokens, 12);
    assert_true(s->timing.submitted_ns <= s->timing.admitted_ns &&
                s->timing.admitted_ns <= s->timing.first_token_ns &&
                s->timing.first_token_ns <= s->timing.last_token_ns);
    client_destroy(c);
    assert_becomes_empty(e);
    /* Idle counts as alive for ever; the threads need a moment to get there. */
    bool is_alive = false;
    for (int i = 0; i < 5000 && !is_alive; i++) {
        is_alive = engine_is_alive(e, clock_now_ns() + NS_PER_SECOND * 100, NS_PER_SECOND);
        usleep(1000);
    }
    assert_true(is_alive);
    engine_close(e);
}

/* The logprob of prompt[at], by a request that is made to say it. */
static float forced_logprob(engine *e, const int32_t *prompt, uint32_t at)
{
    struct logit_bias bias = {prompt[at], 100.0f};
    struct client *c = client_create(e, prompt, at, 1);
    c->request.sampling.biases = &bias;
    c->request.sampling.bias_count = 1;
    c->request.sampling.logprobs = 0;
    client_run(c);
    assert_int_equal(c->sequences[0].tokens[0], prompt[at]);
    float logprob = c->sequences[0].logprobs[0];
    client_destroy(c);
    return logprob;
}

static void a_scored_prompt_has_the_logprobs_that_its_tokens_would_have_as_answers(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    enum { COUNT = 150, WIDTH = 2 };
    const int32_t *prompt = make_prompt(COUNT, 3);
    static struct token_score scores[CLIENT_N_MAX][COUNT];
    static struct token_logprob best[CLIENT_N_MAX][COUNT * WIDTH];
    struct client *clients[CLIENT_N_MAX];
    client_run(clients[0] = client_create(e, prompt, COUNT, 1)); /* the prefix cache has it all */
    client_destroy(clients[0]);
    for (uint32_t i = 0; i < CLIENT_N_MAX; i++) {
        clients[i] = client_create(e, prompt, COUNT, 4);
        clients[i]->request.n = 1 + i % 3;
        clients[i]->request.prompt_scores = scores[i];
        clients[i]->request.prompt_alternatives = best[i];
        clients[i]->request.prompt_alternative_count = WIDTH;
        client_submit(clients[i]);
    }
    for (uint32_t i = 0; i < CLIENT_N_MAX; i++) {
        client_wait(clients[i]);
        assert_int_equal(clients[i]->sequences[0].usage.cached_tokens, 0);
        client_destroy(clients[i]);
        assert_memory_equal(scores[i] + 1, scores[0] + 1, sizeof scores[0] - sizeof scores[0][0]);
        assert_memory_equal(best[i] + WIDTH, best[0] + WIDTH,
                            sizeof best[0] - WIDTH * sizeof best[0][0]);
    }
    for (uint32_t at = 1; at < COUNT; at++) {
        assert_true(scores[0][at].logprob == forced_logprob(e, prompt, at));
        assert_true(best[0][at * WIDTH].logprob >= scores[0][at].logprob);
        assert_true((scores[0][at].rank == 1) ==
                    (best[0][at * WIDTH].logprob == scores[0][at].logprob));
    }
    engine_close(e);
}

static void a_prompt_that_cannot_be_scored_ends_in_an_error(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    static struct token_score scores[40];
    struct client *c = client_create(e, make_prompt(40, 3), 40, 4);
    c->request.prompt_scores = scores;
    atomic_store(&forward_poisons, 7);
    client_run(c);
    atomic_store(&forward_poisons, 0);
    assert_int_equal(c->sequences[0].finish, FINISH_ERROR);
    assert_int_equal(c->sequences[0].error, STATUS_INTERNAL);
    client_destroy(c);
    assert_becomes_empty(e);
    engine_close(e);
}

static void control_tokens_are_shown_where_the_client_wants_them(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    struct logit_bias bias = {CONTROL, 100.0f};
    for (int shows = 0; shows <= 1; shows++) {
        struct client *c = client_create(e, make_prompt(20, 1), 20, 2);
        c->request.sampling.biases = &bias;
        c->request.sampling.bias_count = 1;
        c->request.shows_special = shows != 0;
        client_run(c);
        assert_int_equal(c->sequences[0].tokens[0], CONTROL);
        assert_string_equal(c->sequences[0].text, shows ? "<c><c>" : "");
        client_destroy(c);
    }
    engine_close(e);
}

static void stop_strings_end_the_text_and_what_was_sampled_after_them_is_not_sent(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    atomic_store(&script, "The end is near. ");
    static const struct text_slice stops[] = {{"nearer", 6}, {"is n", 4}};
    for (int include = 0; include <= 1; include++) {
        struct client *c =
            client_create(e, make_prompt(17, 1), 17, 100); /* 17 is the script's length */
        c->request.stops = stops;
        c->request.stop_count = 2;
        c->request.include_stop = include != 0;
        client_run(c);
        struct client_sequence *s = &c->sequences[0];
        assert_int_equal(s->finish, FINISH_STOP);
        assert_string_equal(s->stop_text, "is n");
        assert_int_equal(s->stop_token, -1);
        const char *text = include ? "The end is n" : "The end ";
        assert_int_equal(s->text_bytes, strlen(text));
        assert_memory_equal(s->text, text, s->text_bytes);
        assert_int_equal(s->usage.completion_tokens, 12); /* up to the n, not beyond */
        client_destroy(c);
    }
    assert_becomes_empty(e);
    engine_close(e);
}

static void stops_wait_for_min_tokens(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    atomic_store(&script, "abc");
    static const struct text_slice stop = {"b", 1};
    struct client *c = client_create(e, make_prompt(15, 1), 15, 100);
    c->request.stops = &stop;
    c->request.stop_count = 1;
    c->request.sampling.min_tokens = 4;
    client_run(c);
    assert_int_equal(c->sequences[0].text_bytes, 4);
    assert_memory_equal(c->sequences[0].text, "abca", 4);
    client_destroy(c);
    engine_close(e);
}

static void end_tokens_and_stop_tokens_end_a_sequence(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    uint32_t ended_by_end_token = 0;
    for (uint32_t seed = 0; seed < 20; seed++) {
        struct client *c = client_create(e, make_prompt(20, seed), 20, 200);
        client_run(c);
        struct client_sequence *s = &c->sequences[0];
        if (s->finish == FINISH_STOP) {
            ended_by_end_token++;
            assert_int_equal(s->stop_token, END_TOKEN);
            assert_int_equal(s->tokens[s->token_count - 1], END_TOKEN);
            assert_int_equal(s->text_bytes, s->token_count - 1);
        }
        client_destroy(c);
    }
    assert_true(ended_by_end_token > 10);
    atomic_store(&script, "xyz");
    static const int32_t stop_token = 'y';
    struct client *c = client_create(e, make_prompt(15, 1), 15, 100);
    c->request.sampling.stop_tokens = &stop_token;
    c->request.sampling.stop_token_count = 1;
    client_run(c);
    assert_int_equal(c->sequences[0].stop_token, 'y');
    assert_int_equal(c->sequences[0].text_bytes, 1);
    client_destroy(c);
    engine_close(e);
}

static void broken_characters_are_held_back_until_they_are_whole(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    atomic_store(
        &script,
        "\xE2\x82\xAC\xFFz\xF0\x9F"); /* euro sign, an invalid byte, z, an unfinished emoji */
    struct client *c = client_create(e, make_prompt(14, 1), 14, 7);
    client_run(c);
    const char *text = "\xE2\x82\xAC\xEF\xBF\xBDz\xEF\xBF\xBD";
    assert_int_equal(c->sequences[0].text_bytes, strlen(text));
    assert_memory_equal(c->sequences[0].text, text, strlen(text));
    client_destroy(c);
    engine_close(e);
}

/* The same requests alone, all together, on a cache so small that they preempt each other, and without prefix cache. */
static void outputs_do_not_depend_on_company_memory_or_cache(void **state)
{
    (void)state;
    enum { COUNT = 32 };
    static struct client *alone[COUNT];
    struct engine_options variants[4] = {defaults, defaults, defaults, defaults};
    variants[0].draft_tokens_max = 0;
    variants[2].kv_bytes = 12 * BLOCK_BYTES;
    variants[3].prefix_cache = false;
    variants[3].batch_tokens_max = 8;
    for (int v = 0; v < 4; v++) {
        engine *e = open_engine(&variants[v]);
        struct client *clients[COUNT];
        for (uint32_t i = 0; i < COUNT; i++) {
            uint32_t prompt_count = 1 + i * 3;
            clients[i] = client_create(e, make_prompt(prompt_count, i), prompt_count, 60);
            clients[i]->request.sampling.temperature = i % 2 == 0 ? 0.0f : 1.5f;
            clients[i]->request.sampling.seed = i;
            clients[i]->request.sampling.frequency_penalty = i % 4 == 3 ? 0.3f : 0.0f;
            clients[i]->request.n = i % 8 == 5 ? 3 : 1;
            clients[i]->request.priority = (int32_t)(i % 3);
            client_submit(clients[i]);
            if (v == 0)
                client_wait(clients[i]);
        }
        for (uint32_t i = 0; i < COUNT; i++) {
            if (v != 0)
                client_wait(clients[i]);
            for (uint32_t j = 0; v != 0 && j < clients[i]->request.n; j++)
                assert_same_output(&clients[i]->sequences[j], &alone[i]->sequences[j]);
            if (v != 0)
                client_destroy(clients[i]);
            else
                alone[i] = clients[i];
        }
        struct engine_stats stats;
        assert_becomes_empty(e);
        engine_get_stats(e, &stats);
        assert_true(v != 2 || stats.preemptions > 0);
        assert_true(v == 3 || stats.prefix_hit_tokens > 0);
        engine_close(e);
    }
    for (uint32_t i = 0; i < COUNT; i++)
        client_destroy(alone[i]);
}

static void a_cancelled_request_ends_with_abort_and_frees_its_blocks(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    atomic_store(&forward_us, 1000);
    struct client *c = client_create(e, make_prompt(100, 1), 100, 400);
    c->request.sampling.ignore_eos = true;
    c->request.n = 2;
    client_submit(c);
    while (atomic_load(&c->event_count) < 6)
        usleep(100);
    engine_cancel(e, &c->request);
    engine_cancel(e, &c->request);
    client_wait(c);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(c->sequences[i].finish, FINISH_ABORT);
        assert_in_range(c->sequences[i].token_count, 2, 300);
        assert_int_equal(c->sequences[i].usage.prompt_tokens, 100);
    }
    client_destroy(c);
    assert_becomes_empty(e);
    engine_close(e);
}

static void a_storm_of_cancels_and_stops_leaks_nothing(void **state)
{
    (void)state;
    enum { COUNT = 200 };
    engine *e = open_engine(&defaults);
    static const struct text_slice stop = {"e", 1};
    struct client *clients[COUNT];
    for (uint32_t i = 0; i < COUNT; i++) {
        clients[i] = client_create(e, make_prompt(1 + i % 90, i), 1 + i % 90, 30);
        clients[i]->request.n = 1 + i % 3;
        clients[i]->cancel_after = i % 5;
        clients[i]->request.stops = &stop;
        clients[i]->request.stop_count = i % 2;
        client_submit(clients[i]);
        if (i % 7 == 0 && clients[i]->cancel_after == 0 && clients[i]->request.stop_count == 0 &&
            atomic_load(&clients[i]->event_count) == 0)
            usleep(200);
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        client_wait(clients[i]);
        client_destroy(clients[i]);
    }
    assert_becomes_empty(e);
    engine_close(e);
}

static void a_slow_reader_makes_the_engine_wait_and_loses_nothing(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    struct client *slow = client_create(e, make_prompt(5, 1), 5, 400);
    slow->request.sampling.ignore_eos = true;
    slow->sleep_us = 500;
    struct client *quick = client_create(e, make_prompt(5, 2), 5, 400);
    quick->request.sampling.ignore_eos = true;
    client_submit(slow);
    client_submit(quick);
    client_wait(slow);
    client_wait(quick);
    assert_int_equal(slow->sequences[0].token_count, 400);
    assert_int_equal(quick->sequences[0].token_count, 400);
    client_destroy(slow);
    client_destroy(quick);
    engine_close(e);
}

static void limits_are_answered_at_once(void **state)
{
    (void)state;
    struct engine_options options = defaults;
    options.sequence_count_max = 1;
    options.queue_requests_max = 2;
    options.queue_tokens_max = 60;
    engine *e = open_engine(&options);
    assert_int_equal(engine_get_info(e)->context_max, 512);
    atomic_store(&forward_us, 2000);
    struct client *c[5];
    for (uint32_t i = 0; i < 5; i++) {
        c[i] = client_create(e, make_prompt(20, i), 20, 100);
        c[i]->request.sampling.ignore_eos = true;
    }
    client_submit(c[0]);
    while (atomic_load(&c[0]->event_count) == 0)
        usleep(100);
    client_submit(c[1]);
    client_submit(c[2]);
    assert_int_equal(engine_submit(e, &c[3]->request), STATUS_FULL); /* two wait */
    engine_cancel(e, &c[2]->request);
    client_wait(c[2]);
    c[3]->request.prompt = make_prompt(41, 3);
    c[3]->request.prompt_count = 41;
    assert_int_equal(engine_submit(e, &c[3]->request), STATUS_FULL); /* 20 + 41 tokens */
    c[3]->request.prompt_count = 40;
    client_submit(c[3]);
    c[4]->request.prompt_count = 512;
    assert_int_equal(engine_submit(e, &c[4]->request), STATUS_TOO_LARGE);
    c[4]->request.prompt_count = 0;
    assert_int_equal(engine_submit(e, &c[4]->request), STATUS_INVALID);
    c[4]->request.prompt_count = 20;
    c[4]->request.n = 129;
    assert_int_equal(engine_submit(e, &c[4]->request), STATUS_INVALID);
    c[4]->request.n = 1;
    c[4]->request.sampling.top_p = 2.0f;
    assert_int_equal(engine_submit(e, &c[4]->request), STATUS_INVALID);
    c[4]->request.sampling.top_p = 1.0f;
    static const int32_t bad_prompt[] = {(int32_t)VOCABULARY};
    c[4]->request.prompt = bad_prompt;
    c[4]->request.prompt_count = 1;
    assert_int_equal(engine_submit(e, &c[4]->request), STATUS_INVALID);
    engine_drain(e);
    c[4]->request.prompt = make_prompt(20, 4);
    assert_int_equal(engine_submit(e, &c[4]->request), STATUS_CLOSED);
    client_wait(c[0]); /* what runs or waits goes on */
    client_wait(c[1]);
    client_wait(c[3]);
    assert_int_equal(c[3]->sequences[0].finish, FINISH_LENGTH);
    for (uint32_t i = 0; i < 5; i++)
        client_destroy(c[i]);
    engine_close(e);
}

static void closing_ends_what_is_left(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    atomic_store(&forward_us, 1000);
    struct client *c[20];
    for (uint32_t i = 0; i < 20; i++) {
        c[i] = client_create(e, make_prompt(30, i), 30, 400);
        c[i]->request.sampling.ignore_eos = true;
        client_submit(c[i]);
    }
    usleep(10000);
    engine_close(e);
    for (uint32_t i = 0; i < 20; i++) {
        client_wait(c[i]);
        assert_int_equal(c[i]->sequences[0].finish, FINISH_ABORT);
        client_destroy(c[i]);
    }
}

static void a_failed_device_ends_every_request_with_an_error(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    atomic_store(&forward_us, 500);
    struct client *c[12];
    for (uint32_t i = 0; i < 12; i++) {
        c[i] = client_create(e, make_prompt(30, i), 30, 400);
        c[i]->request.n = 1 + i % 2;
        c[i]->request.sampling.ignore_eos = true;
        client_submit(c[i]);
    }
    usleep(5000);
    atomic_store(&forward_fails, 1);
    for (uint32_t i = 0; i < 12; i++) {
        client_wait(c[i]);
        assert_int_equal(c[i]->sequences[0].finish, FINISH_ERROR);
        assert_int_equal(c[i]->sequences[0].error, STATUS_INTERNAL);
    }
    c[0]->request.internal = NULL;
    assert_false(engine_is_alive(e, clock_now_ns(), NS_PER_SECOND));
    assert_int_equal(engine_submit(e, &c[0]->request), STATUS_CLOSED);
    for (uint32_t i = 0; i < 12; i++)
        client_destroy(c[i]);
    engine_close(e);
}

static void a_row_that_is_not_finite_ends_its_request_alone(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    atomic_store(&forward_poisons, 1);
    struct client *bad = client_create(e, make_prompt(30, 1), 30, 20);
    bad->request.n = 3;
    client_run(bad);
    for (int i = 0; i < 3; i++)
        assert_int_equal(bad->sequences[i].finish, FINISH_ERROR);
    atomic_store(&forward_poisons, 0);
    struct client *good = client_create(e, make_prompt(30, 1), 30, 20);
    good->request.sampling.ignore_eos = true;
    client_run(good);
    assert_int_equal(good->sequences[0].finish, FINISH_LENGTH);
    client_destroy(bad);
    client_destroy(good);
    assert_becomes_empty(e);
    engine_close(e);
}

static void submit_survives_the_failure_of_each_allocation(void **state)
{
    (void)state;
    engine *e = open_engine(&defaults);
    static const struct text_slice stop = {"zz", 2};
    status s = STATUS_NO_MEMORY;
    int nth = 1;
    for (; s == STATUS_NO_MEMORY; nth++) {
        assert_true(nth < 200);
        struct client *c = client_create(e, make_prompt(100, 1), 100, 20);
        c->request.n = 4;
        c->request.stops = &stop;
        c->request.stop_count = 1;
        c->request.sampling.repetition_penalty = 1.1f;
        fail_at = nth;
        s = engine_submit(e, &c->request);
        fail_at = 0;
        if (s == STATUS_OK)
            client_wait(c);
        client_destroy(c);
    }
    assert_int_equal(s, STATUS_OK);
    assert_true(nth > 4);
    assert_becomes_empty(e);
    engine_close(e);
}

static void open_reports_what_is_wrong(void **state)
{
    (void)state;
    struct error_note note = {""};
    engine *e = NULL;
    struct engine_options options = defaults;
    options.model_path = "missing";
    assert_int_equal(engine_open(&options, &e, &note), STATUS_IO);
    assert_non_null(strstr(note.text, "no such file"));
    options = defaults;
    options.backend = "abacus";
    assert_int_equal(engine_open(&options, &e, &note), STATUS_INVALID);
    assert_non_null(strstr(note.text, "abacus"));
    options = defaults;
    options.kv_bytes = BLOCK_BYTES;
    assert_int_equal(engine_open(&options, &e, &note), STATUS_TOO_LARGE);
    assert_non_null(strstr(note.text, "KV cache"));
    options = defaults;
    options.context_max = 513;
    assert_int_equal(engine_open(&options, &e, &note), STATUS_INVALID);
    options = defaults;
    options.batch_tokens_max = 7;
    assert_int_equal(engine_open(&options, &e, &note), STATUS_INVALID);
    assert_null(e);
}

static double metric_of(const struct buffer *text, const char *name)
{
    const char *line = strstr(text->data, name);
    if (line == NULL)
        fail_msg("no metric %s", name);
    const char *value = strchr(strchr(line, '}'), ' ');
    return strtod(value, NULL);
}

static void metrics_count_each_request_once(void **state)
{
    (void)state;
    metrics_registry *registry;
    assert_int_equal(metrics_registry_create(&registry), STATUS_OK);
    struct engine_options options = defaults;
    options.metrics = registry;
    options.served_name = "tiny";
    engine *e = open_engine(&options);
    for (int i = 0; i < 3; i++) {
        struct client *c = client_create(e, make_prompt(48, 1), 48, 10);
        c->request.n = 2;
        c->request.sampling.ignore_eos = true;
        client_run(c);
        client_destroy(c);
    }
    assert_becomes_empty(e);
    struct buffer text;
    buffer_init(&text, 1 << 20);
    metrics_write(registry, &text);
    static const struct {
        const char *name;
        double value;
    } rows[] = {
        {"vllm:prompt_tokens_total{model_name=\"tiny\",engine=\"0\"}", 144},
        {"vllm:generation_tokens_total{", 60},
        {"vllm:request_success_total{model_name=\"tiny\",engine=\"0\",finished_reason=\"length\"}",
         3},
        {"vllm:prefix_cache_queries_total{", 144},
        {"vllm:prefix_cache_hits_total{", 64},
        {"vllm:prompt_tokens_recomputed_total{", 32},
        {"vllm:time_to_first_token_seconds_count{", 3},
        {"vllm:inter_token_latency_seconds_count{", 54},
        {"vllm:e2e_request_latency_seconds_count{", 3},
        {"vllm:request_params_n_sum{", 6},
        {"vllm:request_max_num_generation_tokens_sum{", 30},
        {"vllm:request_generation_tokens_sum{", 60},
        {"vllm:request_prompt_tokens_sum{", 144},
        {"vllm:kv_cache_usage_perc{", 0},
        {"vllm:num_requests_running{", 0},
        {"vllm:num_requests_waiting_by_reason{", 0},
        {"vllm:cache_config_info{", 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        double value = metric_of(&text, rows[i].name);
        if (value != rows[i].value)
            fail_msg("%s is %g, not %g", rows[i].name, value, rows[i].value);
    }
    buffer_deinit(&text);
    engine_close(e);
    metrics_registry_destroy(registry);
}

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

static const int32_t reasoning_end[] = {'\n', '<', '/', 't', '>', '\n'};
enum { REASONING_END = 6 };
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
    struct client *c = client_create(e, make_prompt(28, 1), 28, TOKENS);
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
    assert_true(defaults.draft_tokens_max == 0 || stats.accepted_tokens > 0);
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

/* Whether drafts pay is read from the times of steps; a busy machine may have some requests go without. */
#define DRAFTING_TRIES 20u

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
    uint32_t count = 0;
    while (count < DRAFTING_TRIES && stats.accepted_tokens == 0) {
        struct client *c = client_create(e, make_prompt(28, count++), 28, 450);
        client_run(c);
        assert_int_equal(c->sequences[0].token_count, 450);
        for (uint32_t i = 0; i < 450; i++)
            assert_int_equal(c->sequences[0].text[i], atomic_load(&script)[i % 28]);
        client_destroy(c);
        assert_becomes_empty(e);
        engine_get_stats(e, &stats);
    }
    assert_true(stats.accepted_tokens > 0);
    assert_true(stats.accepted_tokens <= stats.draft_tokens);
    assert_int_equal(stats.steps, 450 * count - stats.accepted_tokens);
    struct buffer text;
    buffer_init(&text, 1 << 20);
    metrics_write(registry, &text);
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
    for (int round = 0; round < 4; round++) {
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
        if (round == 0)
            assert_int_equal(drafted, 0);
        else
            assert_true(drafted > 0 && after.accepted_tokens > before.accepted_tokens);
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
    metrics_write(registry, &text);
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
    metrics_write(registry, &text);
    assert_true(metric_of(&text, "vllm:lora_requests_info{max_lora=\"4\","
                                 "waiting_lora_adapters=\"\",running_lora_adapters=\"\"}") > 1.6e9);
    assert_null(strstr(text.data, "\"one\""));
    buffer_deinit(&text);
    engine_close(e);
    metrics_registry_destroy(registry);
}

int main(void)
{
    for (int byte = 0; byte < 256; byte++)
        all_bytes[byte] = (char)byte;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_answered_with_text_usage_and_times),
        cmocka_unit_test(a_scored_prompt_has_the_logprobs_that_its_tokens_would_have_as_answers),
        cmocka_unit_test(a_prompt_that_cannot_be_scored_ends_in_an_error),
        cmocka_unit_test(control_tokens_are_shown_where_the_client_wants_them),
        cmocka_unit_test(stop_strings_end_the_text_and_what_was_sampled_after_them_is_not_sent),
        cmocka_unit_test(stops_wait_for_min_tokens),
        cmocka_unit_test(end_tokens_and_stop_tokens_end_a_sequence),
        cmocka_unit_test(broken_characters_are_held_back_until_they_are_whole),
        cmocka_unit_test(outputs_do_not_depend_on_company_memory_or_cache),
        cmocka_unit_test(a_cancelled_request_ends_with_abort_and_frees_its_blocks),
        cmocka_unit_test(a_storm_of_cancels_and_stops_leaks_nothing),
        cmocka_unit_test(a_slow_reader_makes_the_engine_wait_and_loses_nothing),
        cmocka_unit_test(limits_are_answered_at_once),
        cmocka_unit_test(closing_ends_what_is_left),
        cmocka_unit_test(a_failed_device_ends_every_request_with_an_error),
        cmocka_unit_test(a_row_that_is_not_finite_ends_its_request_alone),
        cmocka_unit_test(submit_survives_the_failure_of_each_allocation),
        cmocka_unit_test(open_reports_what_is_wrong),
        cmocka_unit_test(metrics_count_each_request_once),
        cmocka_unit_test(embeddings_do_not_depend_on_company_memory_or_cache),
        cmocka_unit_test(an_embedding_that_is_no_number_ends_in_an_error),
        cmocka_unit_test(no_draft_crosses_the_end_of_reasoning),
        cmocka_unit_test(the_end_of_reasoning_keeps_to_the_grammar),
        cmocka_unit_test(a_budget_that_is_no_budget_is_refused),
        cmocka_unit_test(each_request_keeps_to_its_own_adapter_in_any_company),
        cmocka_unit_test(an_unloaded_adapter_is_not_found_and_goes_with_its_last_request),
        cmocka_unit_test(loading_answers_what_is_wrong_and_listing_what_is_there),
        cmocka_unit_test(metrics_name_the_adapters_that_are_at_work),
    };
    const struct CMUnitTest draft_tests[] = {
        cmocka_unit_test(a_grammar_is_kept_whatever_the_batch),
        cmocka_unit_test(reasoning_ends_at_its_budget_whatever_the_batch),
        cmocka_unit_test(a_grammar_that_leaves_no_token_ends_in_an_error),
        cmocka_unit_test(drafts_are_counted_and_save_steps),
        cmocka_unit_test(a_prediction_is_drafted_from_and_counted),
        cmocka_unit_test(a_broken_row_behind_a_draft_ends_the_request_after_the_tokens_before_it),
        cmocka_unit_test(options_of_drafts_are_checked),
    };
    int failures = cmocka_run_group_tests_name("without drafts", tests, NULL, NULL);
    defaults.draft_tokens_max = 4;
    defaults.lookup_min = 1;
    defaults.lookup_max = 3;
    failures += cmocka_run_group_tests_name("with drafts", tests, NULL, NULL);
    return failures + cmocka_run_group_tests(draft_tests, NULL, NULL);
}
