#ifndef PENSTOCK_FAKE_MODEL_TESTING_H
#define PENSTOCK_FAKE_MODEL_TESTING_H

#include "engine_testing.h"

#include "check.h"
#include "fake_queue_testing.h"
#include "metrics.h"
#include "model.h"
#include "model_adapter.h"
#include "model_parts.h"

/* The engine with a made-up model: threads, rings, text and ends are the real ones; the tokens come from a function of all
 * tokens before them, kept in a made-up cache through the block tables. The vocabulary is the bytes, so that every
 * prompt and output can be written as text.
 *
 * Most tests run four times: without and with drafts, on the host and on a device with a queue. No client can tell. A test that includes this wraps calloc and malloc. */

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
static _Atomic bool forward_hangs;       /* steps do not end */
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

void model_parts_count(const model_source *source, const struct model_info *info,
                       struct model_parts *out)
{
    (void)source;
    (void)info;
    *out = (struct model_parts){0};
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
    fake_queue_clear();
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

bool model_adapter_upload(const model *m, model_adapter *adapter)
{
    (void)m, (void)adapter;
    return true;
}

void model_adapter_trim(model_adapter *adapter)
{
    (void)adapter;
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

static _Atomic uint32_t fake_sleep_level;
static _Atomic int wake_fails; /* the next one */

void model_sleep(model *m, uint32_t level)
{
    (void)m;
    assert_true(level > atomic_load(&fake_sleep_level));
    memset(fake_kv, 0x5a, sizeof fake_kv);
    atomic_store(&fake_sleep_level, level);
}

status model_wake(model *m, struct error_note *note)
{
    (void)m;
    if (atomic_exchange(&wake_fails, 0) != 0) {
        error_note_set(note, "the weights are gone");
        return STATUS_INVALID;
    }
    atomic_store(&fake_sleep_level, 0);
    return STATUS_OK;
}

void model_kv_touch_block(model *m, uint32_t block)
{
    (void)m;
    CHECK(block < ARRAY_COUNT(fake_kv) && atomic_load(&fake_sleep_level) == 0);
}

static void copy_kv(const uint32_t *from, const uint32_t *to, uint32_t count)
{
    for (uint32_t i = count; i-- > 0;)
        memcpy(fake_kv[to[i]], fake_kv[from[i]], sizeof fake_kv[0]);
}

void model_kv_copy_blocks(model *m, const uint32_t *from, const uint32_t *to, uint32_t count)
{
    (void)m;
    if (fake_is_queued)
        fake_ask_copy(from, to, count);
    else
        copy_kv(from, to, count);
}

/* The made-up cache lies in the host's memory: there is nothing below it. */
uint32_t model_host_slots(const model *m, uint64_t *block_ns)
{
    (void)m;
    *block_ns = 0;
    return 0;
}

void model_kv_save_blocks(model *m, const uint32_t *blocks, const uint32_t *slots, uint32_t count)
{
    (void)m, (void)blocks, (void)slots;
    CHECK(count == 0);
}

void model_kv_load_blocks(model *m, const uint32_t *slots, const uint32_t *blocks, uint32_t count)
{
    (void)m, (void)blocks, (void)slots;
    CHECK(count == 0);
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

static status compute_step(const struct model_step *step)
{
    assert_int_equal(atomic_load(&fake_sleep_level), 0);
    if (atomic_exchange(&forward_fails, 0) != 0)
        return STATUS_INTERNAL;
    if (atomic_load(&forward_us) > 0)
        usleep(atomic_load(&forward_us));
    while (atomic_load(&forward_hangs))
        usleep(1000);
    const struct step_batch *b = &step->batch;
    uint32_t next_logits = 0, next_hidden = 0;
    for (uint32_t row = 0; row < b->n_rows; row++) {
        const uint32_t *table =
            b->block_tables + (size_t)b->row_sequence[row] * b->block_table_stride;
        uint32_t p = b->row_position[row];
        uint64_t before = 0;
        if (p > 0)
            before = fake_kv[table[(p - 1) / KV_BLOCK_TOKENS]][(p - 1) % KV_BLOCK_TOKENS];
        int32_t token = step->tokens[row];
        if (token < 0)
            token = fake_queue.results[-1 - token].token;
        uint64_t digest = mix(before, (uint64_t)token + 1);
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
    return STATUS_OK;
}

#define MASK_WORDS ((VOCABULARY + 31) / 32)

/* What the device does next. STATUS_OK, or the step's. */
static status do_operation(struct fake_operation *o)
{
    status s = STATUS_OK;
    if (o->kind == FAKE_STATE) {
        fake_set_state(o); /* keeps it */
        return STATUS_OK;
    }
    if (o->kind == FAKE_COPY)
        copy_kv(o->from, o->to, o->count);
    else
        s = compute_step(&o->step);
    if (s == STATUS_OK && o->kind == FAKE_STEP)
        fake_sample(&o->step, fake_logits[0], VOCABULARY, MASK_WORDS);
    fake_operation_free(o);
    return s;
}

static status step_status; /* of a step on the host */
static uint32_t steps_open;
static _Atomic uint32_t steps_open_most; /* since it was set to 0 */

status model_launch(model *m, const struct model_step *step, uint64_t *ticket)
{
    (void)m;
    CHECK(steps_open < (fake_is_queued ? MODEL_STEPS_MAX : 1));
    if (++steps_open > atomic_load(&steps_open_most))
        atomic_store(&steps_open_most, steps_open);
    *ticket = 0;
    if (fake_is_queued)
        *ticket = fake_ask_step(step, MASK_WORDS);
    else
        step_status = compute_step(step);
    return STATUS_OK;
}

status model_collect(model *m, uint64_t ticket, struct model_result *out)
{
    (void)m;
    steps_open--;
    *out = (struct model_result){fake_logits[0], fake_queue.results};
    if (!fake_is_queued)
        return step_status;
    for (bool is_done = false; !is_done;) {
        struct fake_operation *o = fake_queue.first;
        CHECK(o != NULL);
        fake_queue.first = o->next;
        is_done = o->kind == FAKE_STEP && o->ticket == ticket;
        status s = do_operation(o);
        if (s != STATUS_OK)
            return s;
    }
    return STATUS_OK;
}

bool model_is_queued(const model *m)
{
    (void)m;
    return fake_is_queued;
}

bool model_runs_ahead(const model *m)
{
    (void)m;
    return fake_is_queued;
}

status model_set_sampling(model *m, uint32_t slot, const struct device_sampling_state *state)
{
    (void)m;
    fake_ask_state(slot, state);
    return STATUS_OK;
}

/* Never called: the model is not asked through it. It tells the engine that there is a queue. */
static status begin_nothing(backend *b, const struct step_batch *batch, const int32_t *tokens,
                            const uint32_t *logit_rows, uint32_t logit_row_count, bool is_usual,
                            struct step_extent *out)
{
    (void)b;
    (void)batch;
    (void)tokens;
    (void)logit_rows;
    (void)logit_row_count;
    (void)is_usual;
    (void)out;
    return STATUS_INTERNAL;
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
    static const struct backend_operations queue = {
        .name = "fake queue", .parallel_for = serial_for, .step_begin = begin_nothing};
    static backend fake;
    if (options->path == BACKEND_CUDA) {
        error_note_set(note, "there is no device");
        return STATUS_NOT_FOUND;
    }
    steps_open = 0;
    fake.operations = fake_is_queued ? &queue : &operations;
    *out = &fake;
    return STATUS_OK;
}

void backend_close(backend *b)
{
    (void)b;
}

bool backend_path_find(const char *name, enum backend_path *out)
{
    *out = BACKEND_AUTO;
    return name == NULL || strcmp(name, "auto") == 0;
}

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

static inline engine *open_engine(const struct engine_options *options)
{
    struct error_note note = {""};
    engine *e = NULL;
    assert_int_equal(engine_open(options, &e, &note), STATUS_OK);
    /* Drafts are for machines on which a step costs more than its rows. */
    atomic_store(&forward_us, options->draft_tokens_max > 0 ? 200 : 0);
    atomic_store(&script, NULL);
    atomic_store(&steps_open_most, 0);
    return e;
}

/* Whether drafts pay is read from the times of steps; a busy machine may have some requests go without. */
#define DRAFTING_TRIES 20u

/* A prompt of `count` letters, of which the first half is the same for all seeds. */
static inline const int32_t *make_prompt(uint32_t count, uint32_t seed)
{
    static int32_t prompts[256][512];
    int32_t *prompt = prompts[seed % 256];
    for (uint32_t i = 0; i < count; i++) {
        int32_t letter = 'a' + (int32_t)((i < count / 2 ? i * 7 : i * 3 + seed * 5 + 1) % 26);
        if (prompt[i] != letter) /* a running request may read the same one */
            prompt[i] = letter;
    }
    return prompt;
}

static inline void assert_same_output(const struct client_sequence *a,
                                      const struct client_sequence *b)
{
    assert_int_equal(a->token_count, b->token_count);
    assert_memory_equal(a->tokens, b->tokens, a->token_count * sizeof a->tokens[0]);
    assert_int_equal(a->text_bytes, b->text_bytes);
    assert_memory_equal(a->text, b->text, a->text_bytes);
    assert_int_equal(a->finish, b->finish);
}

static inline double metric_of(const struct buffer *text, const char *name)
{
    const char *line = strstr(text->data, name);
    if (line == NULL)
        fail_msg("no metric %s", name);
    const char *value = strchr(strchr(line, '}'), ' ');
    return strtod(value, NULL);
}

/* Before any engine: its threads read them. */
static inline void spell_bytes(void)
{
    for (int byte = 0; byte < 256; byte++)
        all_bytes[byte] = (char)byte;
}

static inline void use_drafts(void)
{
    defaults.draft_tokens_max = 4;
    defaults.lookup_min = 1;
    defaults.lookup_max = 3;
}

/* Runs the tests without drafts and with them, on the host and on a device. */
static inline int run_all_ways(const struct CMUnitTest *tests, size_t count)
{
    int failures = _cmocka_run_group_tests("without drafts", tests, count, NULL, NULL);
    fake_is_queued = true;
    failures += _cmocka_run_group_tests("a step ahead", tests, count, NULL, NULL);
    use_drafts();
    failures += _cmocka_run_group_tests("a step ahead, with drafts", tests, count, NULL, NULL);
    fake_is_queued = false;
    return failures + _cmocka_run_group_tests("with drafts", tests, count, NULL, NULL);
}

#endif
