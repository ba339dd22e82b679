#ifndef PENSTOCK_ENGINE_BATCH_BATCHER_TESTING_H
#define PENSTOCK_ENGINE_BATCH_BATCHER_TESTING_H

#include "unit_test.h"

#include <stdlib.h>

#include "batcher.h"
#include "prefix_cache.h"

/* A machine that stores for each KV position the token, its position and a digest of all before it,
 * as a real cache does in effect; the next token is a function of the digest that it finds through
 * the block table. Any block that is stale, shared too long, or copied wrongly changes an output,
 * and outputs are compared with a plain recomputation. */

#ifndef BLOCKS_MAX /* a test may want larger ones */
#define BLOCKS_MAX 64u
#define PROMPT_MAX 96u
#endif
#define REQUESTS_MAX 48u
#define N_MAX        4u
#define OUTPUT_MAX   40u
#define TOKENS_MAX   (PROMPT_MAX + OUTPUT_MAX)
#define VOCABULARY   50u
#define END_TOKEN    49
#define TENANTS      3u

static uint64_t random_state;

static inline uint32_t next_random(uint32_t bound)
{
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(random_state >> 33) % bound;
}

static inline uint64_t mix(uint64_t digest, uint64_t value)
{
    digest = (digest ^ value) * 0x9E3779B97F4A7C15ull;
    return digest ^ digest >> 29;
}

static uint64_t seed_in_hand; /* cmocka leaves a test by longjmp; this names the seed */

static inline int print_seed(void **state)
{
    (void)state;
    print_message("last seed: %llu\n", (unsigned long long)seed_in_hand);
    return 0;
}

struct fake_request {
    struct batch_request request; /* first */
    struct sequence sequences[N_MAX];
    int32_t prompt[PROMPT_MAX];
    struct hash128 prompt_hashes[PROMPT_MAX / BLOCK_TOKENS];
    int32_t outputs[N_MAX][OUTPUT_MAX];
    struct hash128 output_hashes[N_MAX][TOKENS_MAX / BLOCK_TOKENS + 1];
    uint32_t tables[N_MAX][TOKENS_MAX / BLOCK_TOKENS + 1];
    uint64_t seed;
    uint64_t arrives_at;
    uint64_t cancel_at; /* UINT64_MAX: never */
    uint32_t end_count;
    bool was_submitted, was_admitted;
    bool ignores_end; /* only its length ends it */
    uint32_t
        period; /* its outputs recite their own number over and over, with a slip now and then; 0: anything */
    arena *memory; /* of the lookups */
    uint64_t scored
        [PROMPT_MAX]; /* with scores_prompt: the digest that each row has given; 0: none yet */
    struct block_pin pins[2];
};

/* The sampler: a pure function of what came before, the request's seed, the index and the number of the output. */
static inline int32_t next_token(uint64_t digest, const struct fake_request *r, uint32_t index,
                                 uint32_t output)
{
    uint64_t value = mix(mix(digest, r->seed), index);
    if (r->period > 0 && value % 8 != 0)
        return (int32_t)(output % r->period);
    return (int32_t)(value / 8 % VOCABULARY);
}

struct world {
    batcher *b;
    struct queue_gate gate;
    struct batcher_options options;
    uint64_t kv[BLOCKS_MAX][BLOCK_TOKENS];
    uint64_t host[BLOCKS_MAX][BLOCK_TOKENS]; /* the tier below, by slot */
    struct fake_request *requests;
    uint32_t request_count;
    uint64_t step;
    uint32_t preempted_total;
    uint64_t drafted_total, accepted_total;
    uint64_t loaded_total; /* once it is closed */
};

static const struct hash_key key = {11, 22};

/* What drafts come from, once the prompt and the sequences are there. */
static inline void make_lookups(struct world *w, struct fake_request *r)
{
    arena_destroy(r->memory);
    r->memory = NULL;
    if (w->options.draft_tokens_max == 0)
        return;
    assert_int_equal(arena_create(1 << 20, &r->memory), STATUS_OK);
    struct prompt_index_options options = {.prompt = r->prompt,
                                           .prompt_count = r->request.prompt_count,
                                           .length_min = 2,
                                           .length_max = 4};
    prompt_index *index = NULL;
    assert_int_equal(prompt_index_create(&options, r->memory, &index), STATUS_OK);
    for (uint32_t i = 0; i < r->request.sequence_count; i++) {
        struct sequence *s = &r->sequences[i];
        status made =
            prompt_lookup_create(index, s->outputs, s->output_count_max, r->memory, &s->lookup);
        assert_int_equal(made, STATUS_OK);
    }
}

static inline void hash_prompt(struct fake_request *r)
{
    struct hash128 parent = r->request.hash_root;
    for (uint32_t i = 0; i < r->request.prompt_count / BLOCK_TOKENS; i++)
        r->prompt_hashes[i] = parent =
            prefix_hash_next(&key, parent, i, r->prompt + i * BLOCK_TOKENS);
}

/* Of a request whose prompt and number of sequences are there. */
static inline void make_sequences(struct fake_request *r, uint32_t output_max)
{
    for (uint32_t i = 0; i < r->request.sequence_count; i++) {
        r->sequences[i] = (struct sequence){.request = &r->request,
                                            .index = i,
                                            .outputs = r->outputs[i],
                                            .output_count_max = output_max,
                                            .output_hashes = r->output_hashes[i]};
        block_table_init(&r->sequences[i].table, r->tables[i],
                         sequence_blocks_max(r->request.prompt_count, output_max));
    }
}

static inline void request_make(struct world *w, struct fake_request *r, uint64_t arrival)
{
    memset(r, 0, sizeof *r);
    uint32_t prompt_max = batcher_tokens_max(w->b) - 1;
    prompt_max = prompt_max < PROMPT_MAX ? prompt_max : PROMPT_MAX;
    uint32_t prompt_count = 1 + next_random(prompt_max);
    uint32_t family = next_random(3); /* shared prefixes */
    uint32_t shared = next_random(prompt_count + 1);
    for (uint32_t i = 0; i < prompt_count; i++)
        r->prompt[i] = i < shared ? (int32_t)((family * 7 + i) % VOCABULARY)
                                  : (int32_t)next_random(VOCABULARY);
    uint32_t output_max = 1 + next_random(OUTPUT_MAX);
    uint32_t room = batcher_tokens_max(w->b) - prompt_count;
    output_max = output_max < room ? output_max : room;
    uint64_t salt[2] = {next_random(2), 0};
    r->request = (struct batch_request){
        .prompt = r->prompt,
        .prompt_count = prompt_count,
        .prompt_hashes = r->prompt_hashes,
        .hash_root = prefix_hash_root(salt),
        .priority = (int32_t)next_random(3),
        .tenant = next_random(TENANTS),
        .arrival = arrival,
        .sequences = r->sequences,
        .sequence_count = next_random(3) == 0 ? 1 + next_random(N_MAX) : 1,
    };
    hash_prompt(r);
    make_sequences(r, output_max);
    r->request.scores_prompt = next_random(4) == 0;
    r->request.pins = r->pins;
    r->request.pin_count = next_random(3);
    for (uint32_t i = 0; i < 2; i++)
        r->pins[i] = (struct block_pin){next_random(prompt_count / BLOCK_TOKENS + 2),
                                        w->step + 1 + next_random(100)};
    r->seed = next_random(1000);
    r->period = next_random(2) * (2 + next_random(8));
    make_lookups(w, r);
    r->cancel_at = UINT64_MAX;
}

static inline bool sequence_is_done(const struct sequence *s)
{
    if (s->output_count == s->output_count_max)
        return true;
    bool ignores_end = ((const struct fake_request *)s->request)->ignores_end;
    return !ignores_end && s->output_count > 0 && s->outputs[s->output_count - 1] == END_TOKEN;
}

/* What the sequence must say, alone and without any cache. */
static inline void assert_outputs(const struct fake_request *r, const struct sequence *s,
                                  bool is_whole)
{
    uint64_t digest = 0;
    for (uint32_t i = 0; i < r->request.prompt_count; i++)
        digest = mix(digest, (uint64_t)r->prompt[i] + 1);
    for (uint32_t i = 0; i < s->output_count; i++) {
        int32_t token = next_token(digest, r, s->index, i);
        assert_int_equal(s->outputs[i], token);
        digest = mix(digest, (uint64_t)token + 1);
    }
    if (is_whole)
        assert_true(sequence_is_done(s));
}

static inline uint64_t *kv_at(struct world *w, const struct sequence *s, uint32_t position)
{
    return &w->kv[s->table.blocks[position / BLOCK_TOKENS]][position % BLOCK_TOKENS];
}

static inline void run_copies(struct world *w, const struct step_plan *plan)
{
    for (uint32_t i = 0; i < plan->save_count; i++)
        memcpy(w->host[plan->save_to[i]], w->kv[plan->save_from[i]], sizeof w->kv[0]);
    for (uint32_t i = 0; i < plan->load_count; i++)
        memcpy(w->kv[plan->load_to[i]], w->host[plan->load_from[i]], sizeof w->kv[0]);
    for (uint32_t at = 0; at < plan->copy_count;) {
        uint32_t run = step_plan_copy_run(plan, at);
        assert_true(run > 0);
        /* Backwards, as a device might: within a run the order must not matter. */
        for (uint32_t i = at + run; i-- > at;)
            memcpy(w->kv[plan->copy_to[i]], w->kv[plan->copy_from[i]], sizeof w->kv[0]);
        at += run;
    }
}

/* Each row of a prompt is scored once, whatever becomes of its blocks. */
static inline void score_prompt(const struct step_entry *entry, uint32_t row, uint64_t digest)
{
    struct fake_request *r = (struct fake_request *)entry->sequence->request;
    assert_true(r->request.scores_prompt && entry->sequence->index == 0);
    assert_true(entry->first + row + 1 < r->request.prompt_count);
    assert_int_equal(r->scored[entry->first + row], 0);
    r->scored[entry->first + row] = digest;
}

static inline void assert_prompt_scored(const struct fake_request *r)
{
    uint64_t digest = 0;
    for (uint32_t i = 0; i + 1 < r->request.prompt_count; i++) {
        digest = mix(digest, (uint64_t)r->prompt[i] + 1);
        assert_true(r->scored[i] == (r->request.scores_prompt ? digest : 0));
    }
}

/* Returns the digest at each logit row in `digests`. */
static inline void run_forward(struct world *w, const struct step_plan *plan, uint64_t *digests)
{
    uint32_t rows = 0;
    uint32_t logit_rows = 0;
    uint32_t drafts = 0;
    uint32_t scores = 0;
    for (uint32_t e = 0; e < plan->entry_count; e++) {
        const struct step_entry *entry = &plan->entries[e];
        assert_true(entry->count > 0);
        assert_int_equal(entry->sequence->state, SEQUENCE_RUNNING);
        assert_int_equal(entry->first, entry->sequence->computed_count);
        uint64_t digest = entry->first > 0 ? *kv_at(w, entry->sequence, entry->first - 1) : 0;
        for (uint32_t i = 0; i < entry->count; i++) {
            uint32_t position = entry->first + i;
            digest = mix(digest, (uint64_t)step_entry_token(entry, i) + 1);
            *kv_at(w, entry->sequence, position) = digest;
            if (i < entry->score_count) {
                assert_int_equal(entry->score_row + i, logit_rows);
                score_prompt(entry, i, digest);
                digests[logit_rows++] = digest;
                scores++;
            }
            if (entry->logit_row == UINT32_MAX || i + 1 + entry->draft_count < entry->count)
                continue;
            if (i + 1 + entry->draft_count == entry->count)
                assert_int_equal(entry->logit_row, logit_rows);
            digests[logit_rows++] = digest;
        }
        rows += entry->count;
        drafts += entry->draft_count;
        uint32_t end = entry->first + entry->count - entry->draft_count;
        bool is_last = end == sequence_token_count(entry->sequence);
        assert_true(is_last == (entry->logit_row != UINT32_MAX));
    }
    assert_int_equal(scores, plan->score_count);
    assert_true(scores <= STEP_SCORES_MAX);
    assert_int_equal(drafts, plan->draft_count);
    assert_true(drafts <= STEP_DRAFTS_MAX);
    w->drafted_total += drafts;
    assert_int_equal(rows, plan->row_count);
    assert_int_equal(logit_rows, plan->logit_row_count);
    assert_true(rows <= w->options.batch_tokens_max);
}

/* A request must not start while a better one, that came before this step, has not. */
static inline void assert_order_of_starts(struct world *w)
{
    const struct sequence *worst_started = NULL;
    for (uint32_t i = 0; i < w->request_count; i++) {
        struct fake_request *r = &w->requests[i];
        if (r->request.was_admitted && !r->was_admitted) {
            r->was_admitted = true;
            if (worst_started == NULL || sequence_is_before(worst_started, &r->sequences[0]))
                worst_started = &r->sequences[0];
        }
    }
    for (uint32_t i = 0; worst_started != NULL && i < w->request_count; i++) {
        struct fake_request *r = &w->requests[i];
        if (r->was_submitted && r->sequences[0].state == SEQUENCE_WAITING)
            assert_true(sequence_is_before(worst_started, &r->sequences[0]));
    }
}

/* Every running generation moves in every step; nobody waits behind a prompt. */
static inline void assert_decodes_first(const struct world *w, const struct step_plan *plan)
{
    uint32_t decodes = 0;
    for (uint32_t i = 0; i < w->request_count; i++) {
        const struct fake_request *r = &w->requests[i];
        for (uint32_t j = 0; r->was_submitted && j < r->request.sequence_count; j++) {
            const struct sequence *s = &r->sequences[j];
            if (s->state == SEQUENCE_RUNNING && s->output_count > 0 &&
                s->computed_count + 1 == sequence_token_count(s))
                decodes++;
        }
    }
    uint32_t planned = 0;
    for (uint32_t e = 0; e < plan->entry_count; e++) {
        const struct sequence *s = plan->entries[e].sequence;
        if (s->output_count > 0 && s->computed_count + 1 == sequence_token_count(s))
            planned++;
        const struct step_entry *entry = &plan->entries[e];
        if (e < plan->decode_count)
            assert_int_equal(entry->count - entry->draft_count, 1);
        else
            assert_int_equal(entry->draft_count, 0);
    }
    assert_int_equal(planned, decodes);
}

static inline void end_request(struct world *w, struct fake_request *r)
{
    for (uint32_t i = 0; i < r->request.sequence_count; i++)
        r->end_count += r->sequences[i].state != SEQUENCE_ENDED;
    batcher_end_request(w->b, &r->request);
}

/* Samples as long as the tokens are the drafts. */
static inline void take_sample(struct world *w, const struct step_sample *sample,
                               const uint64_t *digests)
{
    struct sequence *s = sample->sequence;
    for (uint32_t i = 0; i <= sample->draft_count && !sequence_is_done(s); i++) {
        int32_t token = next_token(digests[sample->logit_row + i],
                                   (struct fake_request *)s->request, s->index, s->output_count);
        batcher_append(w->b, s, token);
        if (i == sample->draft_count || token != sample->drafts[i])
            return;
        w->accepted_total++;
    }
}

static inline void run_step(struct world *w)
{
    batcher_set_now(w->b, w->step);
    const struct step_plan *plan = batcher_plan(w->b);
    if (plan == NULL)
        return;
    w->preempted_total += plan->preempted_count;
    assert_order_of_starts(w);
    assert_decodes_first(w, plan);
    uint64_t digests[64 + STEP_SCORES_MAX];
    run_copies(w, plan);
    run_forward(w, plan, digests);
    uint32_t sample_count;
    uint64_t elapsed_ns = 1000000 + 10000ull * plan->row_count + next_random(1000);
    const struct step_sample *samples = batcher_complete(w->b, &sample_count);
    batcher_note_time(w->b, plan, elapsed_ns);
    for (uint32_t i = 0; i < sample_count; i++) {
        assert_true(i == 0 || samples[i].logit_row >= samples[i - 1].logit_row);
        take_sample(w, &samples[i], digests);
    }
    for (uint32_t i = 0; i < sample_count; i++) {
        struct sequence *s = samples[i].sequence;
        if (sequence_is_done(s)) {
            ((struct fake_request *)s->request)->end_count++;
            batcher_end_sequence(w->b, s);
        }
    }
}

static uint64_t host_block_ns; /* of the tier below, for worlds that are opened from now on */

/* Slots of a tier below the cache, or none; and what its copies take: nothing, less than computing, more than that. */
static inline uint32_t choose_host_slots(bool has_cache)
{
    static const uint64_t block_ns[] = {0, 20000, 10000000};
    uint32_t slots = next_random(2) * (1 + next_random(BLOCKS_MAX));
    host_block_ns = block_ns[next_random(3)];
    return has_cache ? slots : 0;
}

static inline void world_open(struct world *w, const struct batcher_options *options)
{
    memset(w, 0, sizeof *w);
    w->options = *options;
    w->options.hash_key = key;
    w->options.gate = &w->gate;
    queue_gate_init(&w->gate, REQUESTS_MAX, UINT64_MAX / 2, options->sequence_count_max);
    assert_int_equal(batcher_create(&w->options, &w->b), STATUS_OK);
    if (options->host_slots > 0)
        batcher_open_host(w->b, host_block_ns);
    w->requests = calloc(REQUESTS_MAX, sizeof *w->requests);
    assert_non_null(w->requests);
}

static inline void world_close(struct world *w)
{
    struct batcher_stats stats;
    batcher_get_stats(w->b, &stats);
    assert_int_equal(stats.blocks.referenced, 0);
    assert_int_equal(stats.blocks.tokens_used, 0);
    assert_int_equal(stats.running_sequences, 0);
    assert_int_equal(stats.waiting_requests, 0);
    w->loaded_total = stats.host.loaded_blocks;
    assert_int_equal(atomic_load(&w->gate.requests), 0);
    assert_int_equal(atomic_load(&w->gate.tokens), 0);
    assert_true(batcher_is_consistent(w->b));
    batcher_destroy(w->b);
    for (uint32_t i = 0; i < w->request_count; i++)
        arena_destroy(w->requests[i].memory);
    free(w->requests);
}

static inline void submit(struct world *w, struct fake_request *r)
{
    assert_int_equal(queue_gate_enter(&w->gate, r->request.prompt_count), STATUS_OK);
    batcher_submit(w->b, &r->request);
    r->was_submitted = true;
}

/* A request with prompt tokens 0, 1, 2, ...; only its length ends it. */
static inline struct fake_request *make(struct world *w, uint32_t prompt_count,
                                        uint32_t output_count, uint32_t n, int32_t priority)
{
    struct fake_request *r = &w->requests[w->request_count];
    request_make(w, r, w->request_count);
    w->request_count++;
    uint64_t salt[2] = {0, 0};
    r->request.hash_root = prefix_hash_root(salt);
    r->request.prompt_count = prompt_count;
    r->request.sequence_count = n;
    r->request.priority = priority;
    r->request.tenant = 0;
    r->request.scores_prompt = false;
    r->request.pin_count = 0;
    r->ignores_end = true;
    for (uint32_t i = 0; i < prompt_count; i++)
        r->prompt[i] = (int32_t)(i % VOCABULARY);
    hash_prompt(r);
    make_sequences(r, output_count);
    r->period = 0;
    make_lookups(w, r);
    return r;
}

static inline struct fake_request *add(struct world *w, uint32_t prompt_count,
                                       uint32_t output_count, uint32_t n, int32_t priority)
{
    struct fake_request *r = make(w, prompt_count, output_count, n, priority);
    submit(w, r);
    return r;
}

#endif
