#include "unit_test.h"

#include <stdlib.h>

#include "batcher.h"
#include "prefix_cache.h"

/* A machine that stores for each KV position the token, its position and a digest of all before it,
 * as a real cache does in effect; the next token is a function of the digest that it finds through
 * the block table. Any block that is stale, shared too long, or copied wrongly changes an output,
 * and outputs are compared with a plain recomputation. */

#define BLOCKS_MAX   64u
#define REQUESTS_MAX 48u
#define N_MAX        4u
#define PROMPT_MAX   96u
#define OUTPUT_MAX   40u
#define TOKENS_MAX   (PROMPT_MAX + OUTPUT_MAX)
#define VOCABULARY   50u
#define END_TOKEN    49
#define TENANTS      3u

static uint64_t random_state;

static uint32_t next_random(uint32_t bound)
{
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(random_state >> 33) % bound;
}

static uint64_t mix(uint64_t digest, uint64_t value)
{
    digest = (digest ^ value) * 0x9E3779B97F4A7C15ull;
    return digest ^ digest >> 29;
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
static int32_t next_token(uint64_t digest, const struct fake_request *r, uint32_t index,
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
    struct fake_request *requests;
    uint32_t request_count;
    uint64_t step;
    uint32_t preempted_total;
    uint64_t drafted_total, accepted_total;
};

static const struct hash_key key = {11, 22};

/* What drafts come from, once the prompt and the sequences are there. */
static void make_lookups(struct world *w, struct fake_request *r)
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

static void request_make(struct world *w, struct fake_request *r, uint64_t arrival)
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
    struct hash128 parent = r->request.hash_root;
    for (uint32_t i = 0; i < prompt_count / BLOCK_TOKENS; i++)
        r->prompt_hashes[i] = parent =
            prefix_hash_next(&key, parent, i, r->prompt + i * BLOCK_TOKENS);
    for (uint32_t i = 0; i < r->request.sequence_count; i++) {
        r->sequences[i] = (struct sequence){.request = &r->request,
                                            .index = i,
                                            .outputs = r->outputs[i],
                                            .output_count_max = output_max,
                                            .output_hashes = r->output_hashes[i]};
        block_table_init(&r->sequences[i].table, r->tables[i],
                         sequence_blocks_max(prompt_count, output_max));
    }
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

static bool sequence_is_done(const struct sequence *s)
{
    if (s->output_count == s->output_count_max)
        return true;
    bool ignores_end = ((const struct fake_request *)s->request)->ignores_end;
    return !ignores_end && s->output_count > 0 && s->outputs[s->output_count - 1] == END_TOKEN;
}

/* What the sequence must say, alone and without any cache. */
static void assert_outputs(const struct fake_request *r, const struct sequence *s, bool is_whole)
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

static uint64_t *kv_at(struct world *w, const struct sequence *s, uint32_t position)
{
    return &w->kv[s->table.blocks[position / BLOCK_TOKENS]][position % BLOCK_TOKENS];
}

static void run_copies(struct world *w, const struct step_plan *plan)
{
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
static void score_prompt(const struct step_entry *entry, uint32_t row, uint64_t digest)
{
    struct fake_request *r = (struct fake_request *)entry->sequence->request;
    assert_true(r->request.scores_prompt && entry->sequence->index == 0);
    assert_true(entry->first + row + 1 < r->request.prompt_count);
    assert_int_equal(r->scored[entry->first + row], 0);
    r->scored[entry->first + row] = digest;
}

static void assert_prompt_scored(const struct fake_request *r)
{
    uint64_t digest = 0;
    for (uint32_t i = 0; i + 1 < r->request.prompt_count; i++) {
        digest = mix(digest, (uint64_t)r->prompt[i] + 1);
        assert_true(r->scored[i] == (r->request.scores_prompt ? digest : 0));
    }
}

/* Returns the digest at each logit row in `digests`. */
static void run_forward(struct world *w, const struct step_plan *plan, uint64_t *digests)
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
static void assert_order_of_starts(struct world *w)
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
static void assert_decodes_first(const struct world *w, const struct step_plan *plan)
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

static void end_request(struct world *w, struct fake_request *r)
{
    for (uint32_t i = 0; i < r->request.sequence_count; i++)
        r->end_count += r->sequences[i].state != SEQUENCE_ENDED;
    batcher_end_request(w->b, &r->request);
}

/* Samples as long as the tokens are the drafts. */
static void take_sample(struct world *w, const struct step_sample *sample, const uint64_t *digests)
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

static void run_step(struct world *w)
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
    batcher_note_time(w->b, elapsed_ns);
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

static void world_open(struct world *w, const struct batcher_options *options)
{
    memset(w, 0, sizeof *w);
    w->options = *options;
    w->options.hash_key = key;
    w->options.gate = &w->gate;
    queue_gate_init(&w->gate, REQUESTS_MAX, UINT64_MAX / 2, options->sequence_count_max);
    assert_int_equal(batcher_create(&w->options, &w->b), STATUS_OK);
    w->requests = calloc(REQUESTS_MAX, sizeof *w->requests);
    assert_non_null(w->requests);
}

static void world_close(struct world *w)
{
    struct batcher_stats stats;
    batcher_get_stats(w->b, &stats);
    assert_int_equal(stats.blocks.referenced, 0);
    assert_int_equal(stats.blocks.tokens_used, 0);
    assert_int_equal(stats.running_sequences, 0);
    assert_int_equal(stats.waiting_requests, 0);
    assert_int_equal(atomic_load(&w->gate.requests), 0);
    assert_int_equal(atomic_load(&w->gate.tokens), 0);
    assert_true(batcher_is_consistent(w->b));
    batcher_destroy(w->b);
    for (uint32_t i = 0; i < w->request_count; i++)
        arena_destroy(w->requests[i].memory);
    free(w->requests);
}

static void submit(struct world *w, struct fake_request *r)
{
    assert_int_equal(queue_gate_enter(&w->gate, r->request.prompt_count), STATUS_OK);
    batcher_submit(w->b, &r->request);
    r->was_submitted = true;
}

/* Tokens of prompts of the tenant and of the priority of `r` that came later than r and were run before it. */
static uint64_t passing_tokens(const struct world *w, const struct batch_request *r,
                               uint64_t tenant)
{
    uint64_t passing = 0;
    for (uint32_t i = 0; i < w->request_count; i++) {
        const struct batch_request *other = &w->requests[i].request;
        if (other->arrival > r->arrival && other->priority == r->priority &&
            other->tenant == tenant && other->was_admitted &&
            sequence_is_before(other->sequences, r->sequences))
            passing += other->prompt_count;
    }
    return passing;
}

/* Its own tenant's hold at most three times its tokens, another's also what its own tenant had submitted before (with the
 * prefix cache only what it lacks counts, which is not known here). */
static void assert_nobody_is_passed_by_too_much(const struct world *w)
{
    for (uint32_t i = 0; !w->options.prefix_cache && i < w->request_count; i++) {
        const struct batch_request *r = &w->requests[i].request;
        uint64_t before = 0;
        for (uint32_t j = 0; j < w->request_count; j++) {
            const struct batch_request *other = &w->requests[j].request;
            if (other->arrival < r->arrival && other->tenant == r->tenant)
                before += other->prompt_count;
        }
        for (uint64_t tenant = 0; tenant < TENANTS; tenant++) {
            uint64_t passing = passing_tokens(w, r, tenant);
            assert_true(tenant == r->tenant ? passing <= 3ull * r->prompt_count
                                            : passing <= before + 4ull * r->prompt_count);
        }
    }
}

static uint64_t drafted_in_all_worlds, accepted_in_all_worlds;

static void run_world(uint64_t seed)
{
    random_state = seed;
    struct batcher_options options = {
        .block_count = 2 + next_random(BLOCKS_MAX - 1),
        .sequence_count_max = 1 + next_random(12),
        .prefix_cache = next_random(4) != 0,
        .pinned_blocks_max = next_random(BLOCKS_MAX),
        .inter_token_target_ns = next_random(2) * (1000000 + next_random(1000000)),
        .inter_token_factor = next_random(2) * (1.1 + 0.01 * next_random(200)),
        .draft_tokens_max = next_random(3) * next_random(7),
    };
    options.batch_tokens_max = options.sequence_count_max + next_random(100);
    struct world w;
    world_open(&w, &options);
    w.request_count = 1 + next_random(REQUESTS_MAX);
    for (uint32_t i = 0; i < w.request_count; i++) {
        request_make(&w, &w.requests[i], i);
        w.requests[i].arrives_at = next_random(60);
        if (next_random(6) == 0)
            w.requests[i].cancel_at = w.requests[i].arrives_at + next_random(60);
    }
    uint32_t left = w.request_count;
    uint64_t arrivals = 0;
    for (w.step = 0; left > 0; w.step++) {
        assert_true(w.step < 20000); /* somebody starves */
        left = 0;
        for (uint32_t i = 0; i < w.request_count; i++) {
            struct fake_request *r = &w.requests[i];
            if (r->arrives_at == w.step) {
                r->request.arrival = arrivals++;
                submit(&w, r);
            }
            if (r->cancel_at == w.step && r->request.live_count > 0)
                end_request(&w, r);
            left += !r->was_submitted || r->request.live_count > 0;
        }
        run_step(&w);
        if (w.step % 4 == 0)
            assert_true(batcher_is_consistent(w.b));
    }
    assert_nobody_is_passed_by_too_much(&w);
    for (uint32_t i = 0; i < w.request_count; i++) {
        struct fake_request *r = &w.requests[i];
        assert_int_equal(r->end_count, r->request.sequence_count);
        if (r->sequences[0].output_count > 0)
            assert_prompt_scored(r);
        for (uint32_t j = 0; j < r->request.sequence_count; j++)
            assert_outputs(r, &r->sequences[j], r->cancel_at == UINT64_MAX);
    }
    drafted_in_all_worlds += w.drafted_total;
    accepted_in_all_worlds += w.accepted_total;
    world_close(&w);
}

static uint64_t seed_in_hand; /* cmocka leaves a test by longjmp; this names the seed */

static int print_seed(void **state)
{
    (void)state;
    print_message("last seed: %llu\n", (unsigned long long)seed_in_hand);
    return 0;
}

static void thousands_of_random_worlds_end_with_the_right_tokens_and_no_leak(void **state)
{
    (void)state;
    for (seed_in_hand = 1; seed_in_hand <= 3000; seed_in_hand++)
        run_world(seed_in_hand);
    assert_true(accepted_in_all_worlds > 10000);
    assert_true(drafted_in_all_worlds > accepted_in_all_worlds + 10000);
}

static const struct batcher_options small = {
    .block_count = 8, .sequence_count_max = 4, .batch_tokens_max = 32, .prefix_cache = true};

static void hash_prompt(struct fake_request *r)
{
    struct hash128 parent = r->request.hash_root;
    for (uint32_t i = 0; i < r->request.prompt_count / BLOCK_TOKENS; i++)
        r->prompt_hashes[i] = parent =
            prefix_hash_next(&key, parent, i, r->prompt + i * BLOCK_TOKENS);
}

/* A request with prompt tokens 0, 1, 2, ...; only its length ends it. */
static struct fake_request *make(struct world *w, uint32_t prompt_count, uint32_t output_count,
                                 uint32_t n, int32_t priority)
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
    for (uint32_t i = 0; i < n; i++) {
        r->sequences[i] = (struct sequence){.request = &r->request,
                                            .index = i,
                                            .outputs = r->outputs[i],
                                            .output_count_max = output_count,
                                            .output_hashes = r->output_hashes[i]};
        block_table_init(&r->sequences[i].table, r->tables[i],
                         sequence_blocks_max(prompt_count, output_count));
    }
    r->period = 0;
    make_lookups(w, r);
    return r;
}

static struct fake_request *add(struct world *w, uint32_t prompt_count, uint32_t output_count,
                                uint32_t n, int32_t priority)
{
    struct fake_request *r = make(w, prompt_count, output_count, n, priority);
    submit(w, r);
    return r;
}

static void run_until_idle(struct world *w)
{
    for (int i = 0; i < 1000 && batcher_any_request(w->b) != NULL; i++)
        run_step(w);
    assert_null(batcher_any_request(w->b));
}

static void sequences_of_one_request_share_the_prompt_and_copy_its_last_block(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, &small);
    struct fake_request *r = add(&w, 24, 4, 3, 0);
    run_step(&w); /* prompt, and the first token of all three */
    struct batcher_stats stats;
    batcher_get_stats(w.b, &stats);
    assert_int_equal(stats.running_sequences, 3);
    assert_int_equal(stats.blocks.referenced, 2);
    assert_int_equal(stats.blocks.tokens_used, 24);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(r->sequences[i].output_count, 1);
    const struct step_plan *plan = batcher_plan(w.b);
    assert_int_equal(plan->copy_count, 2); /* the third writes in place */
    run_copies(&w, plan);
    uint64_t digests[8];
    run_forward(&w, plan, digests);
    uint32_t count;
    const struct step_sample *samples = batcher_complete(w.b, &count);
    assert_int_equal(count, 3);
    for (uint32_t i = 0; i < 3; i++)
        take_sample(&w, &samples[i], digests);
    batcher_get_stats(w.b, &stats);
    assert_int_equal(stats.blocks.referenced, 4);
    assert_true(batcher_is_consistent(w.b));
    end_request(&w, r);
    world_close(&w);
}

static void a_repeated_prompt_computes_only_what_the_cache_lacks(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, &small);
    add(&w, 40, 1, 1, 0);
    run_until_idle(&w);
    struct fake_request *again = add(&w, 40, 1, 1, 0);
    const struct step_plan *plan = batcher_plan(w.b);
    assert_int_equal(plan->row_count, 8);
    assert_int_equal(again->request.cached_tokens, 32);
    batcher_abandon(w.b);
    end_request(&w, again);

    /* A prompt of whole blocks: one block is computed again, for some row must give logits. */
    struct fake_request *whole = add(&w, 32, 1, 1, 0);
    plan = batcher_plan(w.b);
    assert_int_equal(plan->row_count, 16);
    assert_int_equal(whole->request.cached_tokens, 16);
    struct batcher_stats stats;
    batcher_get_stats(w.b, &stats);
    assert_int_equal(stats.recomputed_tokens, 16);
    assert_int_equal(stats.prefix_query_tokens, 40 + 40 + 32);
    assert_int_equal(stats.prefix_hit_tokens, 32 + 16);
    batcher_abandon(w.b);
    end_request(&w, whole);
    world_close(&w);
}

/* Runs a prompt of two blocks and a token, all of them `token`; returns how many the cache held. */
static uint32_t run_alike(struct world *w, int32_t token, const struct block_pin *pin)
{
    w->request_count = 0; /* one slot for all of them */
    struct fake_request *r = make(w, 2 * BLOCK_TOKENS + 1, 1, 1, 0);
    for (uint32_t i = 0; i < r->request.prompt_count; i++)
        r->prompt[i] = token;
    hash_prompt(r);
    if (pin != NULL)
        r->pins[r->request.pin_count++] = *pin;
    submit(w, r);
    run_until_idle(w);
    return r->request.cached_tokens;
}

static void pinned_prompts_outlast_others_until_their_time_and_never_stand_in_the_way(void **state)
{
    (void)state;
    struct world w;
    struct batcher_options options =
        small; /* 8 blocks; a prompt holds 3, and leaves 2 in the cache */
    options.pinned_blocks_max = 4;
    world_open(&w, &options);
    const struct block_pin both = {2, 100}, first = {1, 100};
    run_alike(&w, 1, &both);
    for (int32_t other = 10; other < 20; other++)
        run_alike(&w, other, NULL);
    assert_int_equal(run_alike(&w, 1, NULL), 32);
    run_alike(&w, 2, &first);
    for (int32_t other = 20; other < 30; other++)
        run_alike(&w, other, NULL);
    assert_int_equal(run_alike(&w, 2, NULL), 16);
    struct batcher_stats stats;
    batcher_get_stats(w.b, &stats);
    assert_int_equal(stats.blocks.pinned, 3);
    run_alike(&w, 3, &both); /* only one more may be pinned: the first of the prompt */
    batcher_get_stats(w.b, &stats);
    assert_int_equal(stats.blocks.pinned, 4);
    /* Who needs all blocks gets them. */
    struct fake_request *large = add(&w, 88, 40, 1, 0);
    run_until_idle(&w);
    assert_outputs(large, &large->sequences[0], true);
    batcher_get_stats(w.b, &stats);
    assert_int_equal(stats.blocks.pinned, 0);
    run_alike(&w, 1, &both);
    w.step = 100;
    for (int32_t other = 30; other < 40; other++)
        run_alike(&w, other, NULL);
    assert_int_equal(run_alike(&w, 1, NULL), 0);
    world_close(&w);
}

static void the_worst_running_sequence_gives_way_and_loses_nothing(void **state)
{
    (void)state;
    struct world w;
    struct batcher_options options = small;
    options.block_count = 6;
    options.prefix_cache = false;
    world_open(&w, &options);
    struct fake_request *good = add(&w, 30, 40, 1, 0);
    struct fake_request *bad = add(&w, 15, 40, 1, 5);
    run_until_idle(&w);
    assert_true(w.preempted_total > 0);
    assert_int_equal(good->request.preemption_count, 0);
    assert_int_equal(bad->request.preemption_count, w.preempted_total);
    assert_outputs(good, &good->sequences[0], true);
    assert_outputs(bad, &bad->sequences[0], true);
    world_close(&w);
}

static void a_long_prompt_beside_decodes_stays_inside_the_target(void **state)
{
    (void)state;
    struct world w;
    struct batcher_options options = small;
    options.block_count = 32;
    options.batch_tokens_max = 96;
    options.prefix_cache = false; /* the prompts are alike */
    /* run_step's machine: 1 ms and 10 us a row, so about 40 rows */
    options.inter_token_target_ns = 1400000;
    world_open(&w, &options);
    struct fake_request *talker = add(&w, 4, 40, 1, 0);
    while (talker->sequences[0].output_count < 6)
        run_step(&w);
    struct fake_request *teacher = add(&w, 90, 1, 1, 0); /* teaches the price of a row */
    while (teacher->request.live_count > 0)
        run_step(&w);
    struct fake_request *reader = add(&w, 96, 2, 1, 0);
    reader->request.priority = 1;
    uint32_t steps = 0;
    while (reader->sequences[0].output_count == 0 && talker->request.live_count > 0) {
        uint32_t before = reader->sequences[0].computed_count;
        run_step(&w);
        assert_true(reader->sequences[0].computed_count - before <= 48);
        steps++;
    }
    assert_in_range(steps, 2, 6);
    run_until_idle(&w);
    world_close(&w);
}

/* A machine in which rows are all that costs: a fifth of the rows is a fifth of the time. */
static uint64_t rows_only_ns(const struct step_plan *plan)
{
    return 1000ull * plan->row_count;
}

/* Runs a step on that machine; returns the prompt rows beside decodes in it. */
static uint32_t run_step_of_rows(struct world *w)
{
    uint64_t digests[64 + STEP_SCORES_MAX];
    const struct step_plan *plan = batcher_plan(w->b);
    assert_non_null(plan);
    uint32_t beside = plan->decode_count > 0 ? plan->row_count - plan->decode_count : 0;
    uint64_t elapsed_ns = rows_only_ns(plan);
    run_copies(w, plan);
    run_forward(w, plan, digests);
    uint32_t count;
    const struct step_sample *samples = batcher_complete(w->b, &count);
    batcher_note_time(w->b, elapsed_ns);
    for (uint32_t i = 0; i < count; i++)
        take_sample(w, &samples[i], digests);
    for (uint32_t i = 0; i < count; i++) {
        if (sequence_is_done(samples[i].sequence))
            batcher_end_sequence(w->b, samples[i].sequence);
    }
    return beside;
}

static void a_step_with_decodes_grows_by_the_factor_and_no_more(void **state)
{
    (void)state;
    struct world w;
    struct batcher_options options = {.block_count = 64,
                                      .sequence_count_max = 24,
                                      .batch_tokens_max = 96,
                                      .inter_token_factor = 1.5};
    world_open(&w, &options);
    struct fake_request *talkers[20];
    for (uint32_t i = 0; i < 20; i++)
        talkers[i] = add(&w, 1, OUTPUT_MAX, 1, 0);
    struct fake_request *reader = add(&w, PROMPT_MAX, 2, 1, 0);
    run_step_of_rows(&w); /* nobody generates yet: 20 prompts and the reader's first 76 rows */
    assert_int_equal(reader->sequences[0].computed_count, 76);
    for (int i = 0; i < 8; i++)
        run_step_of_rows(&w); /* teaches the price of a row */
    struct fake_request *second = add(&w, PROMPT_MAX, 2, 1, 0);
    uint32_t steps = 0;
    while (second->sequences[0].output_count == 0) {
        assert_true(talkers[0]->request.live_count > 0);
        /* 21 requests at 1.5 times their pace are 31 rows, of which 20 are the talkers'. */
        uint32_t beside = run_step_of_rows(&w);
        assert_in_range(beside, 1, 13);
        steps++;
    }
    assert_in_range(steps, 8, 14);
    for (uint32_t i = 0; i < w.request_count; i++) {
        if (w.requests[i].request.live_count > 0)
            end_request(&w, &w.requests[i]);
    }
    world_close(&w);
}

static void a_short_prompt_passes_a_long_one_and_many_do_not(void **state)
{
    (void)state;
    struct world w;
    struct batcher_options options = {
        .block_count = 64, .sequence_count_max = 32, .batch_tokens_max = 32};
    world_open(&w, &options);
    struct fake_request *long_one = add(&w, PROMPT_MAX, 1, 1, 0);
    struct fake_request *other_long = add(&w, PROMPT_MAX, 1, 1, 0);
    struct fake_request *short_one = add(&w, 8, 1, 1, 0);
    run_step(&w);
    assert_int_equal(short_one->request.live_count, 0);
    assert_int_equal(long_one->request.live_count, 1);
    /* Beside a chunk of the long one fits no other long one; short ones come all the time. */
    uint32_t passed = 8;
    while (other_long->request.live_count > 0) {
        assert_true(w.request_count < REQUESTS_MAX);
        struct fake_request *next = add(&w, 24, 1, 1, 0);
        run_step(&w);
        passed += next->request.live_count == 0 ? 24 : 0;
    }
    assert_true(passed >= PROMPT_MAX);
    assert_true(passed <= 3 * PROMPT_MAX);
    run_until_idle(&w);
    world_close(&w);
}

static struct fake_request *add_of(struct world *w, uint64_t tenant, uint32_t prompt_count,
                                   uint32_t output_max)
{
    struct fake_request *r = make(w, prompt_count, output_max, 1, 0);
    r->request.tenant = tenant;
    submit(w, r);
    return r;
}

/* A machine that has learnt its price, with `count` answers, each of the tenant `first_tenant` + its number * `stride`. */
static void world_open_talking(struct world *w, uint32_t count, uint64_t stride)
{
    struct batcher_options options = {.block_count = 64,
                                      .sequence_count_max = 24,
                                      .batch_tokens_max = 192,
                                      .inter_token_factor = 1.5,
                                      .inter_token_target_ns = 90000}; /* rows_only_ns: 90 rows */
    world_open(w, &options);
    for (uint32_t i = 0; i < count; i++)
        add_of(w, 1 + i * stride, 1, OUTPUT_MAX);
    struct fake_request *teacher = add_of(w, 1, PROMPT_MAX, 1); /* of the price of a row */
    while (teacher->request.live_count > 0)
        run_step_of_rows(w);
    for (int i = 0; i < 4; i++)
        run_step_of_rows(w);
}

static void end_all(struct world *w)
{
    for (uint32_t i = 0; i < w->request_count; i++) {
        if (w->requests[i].request.live_count > 0)
            end_request(w, &w->requests[i]);
    }
}

static void a_newcomers_prompt_is_read_as_fast_as_the_target_allows(void **state)
{
    (void)state;
    struct world w;
    world_open_talking(&w, 20, 0);
    struct fake_request *own = add_of(&w, 1, PROMPT_MAX, 2);
    struct fake_request *newcomer = add_of(&w, 2, 64, 2);
    assert_true(run_step_of_rows(&w) >= 64); /* with 20 answers no more than 90 rows */
    assert_int_equal(newcomer->sequences[0].output_count, 1);
    assert_true(own->sequences[0].computed_count <= 6);
    /* Who has an answer is a newcomer no more. */
    struct fake_request *second = add_of(&w, 2, 64, 2);
    assert_in_range(run_step_of_rows(&w), 1, 14);
    assert_int_equal(second->sequences[0].output_count, 0);
    end_all(&w);
    world_close(&w);
}

static void where_everybody_has_one_answer_newcomers_are_like_everybody(void **state)
{
    (void)state;
    struct world w;
    world_open_talking(&w, 20, 1);
    struct fake_request *newcomer = add_of(&w, 100, 64, 2);
    assert_in_range(run_step_of_rows(&w), 1, 14);
    assert_int_equal(newcomer->sequences[0].output_count, 0);
    end_all(&w);
    world_close(&w);
}

static void shorter_prompts_that_pass_a_newcomers_hold_no_more_tokens_than_it(void **state)
{
    (void)state;
    struct world w;
    struct batcher_options options = {
        .block_count = 64, .sequence_count_max = 32, .batch_tokens_max = 32};
    world_open(&w, &options);
    add_of(&w, 1, 1, OUTPUT_MAX);
    run_step(&w);
    struct fake_request *newcomer = add_of(&w, 2, PROMPT_MAX, 1);
    uint32_t passed = 0;
    while (newcomer->request.live_count > 0) {
        struct fake_request *later = add_of(&w, 1, 24, 1);
        run_step(&w);
        passed += later->request.live_count == 0 && newcomer->request.live_count > 0 ? 24 : 0;
    }
    assert_true(passed <= PROMPT_MAX);
    run_until_idle(&w);
    world_close(&w);
}

/* One of the flood's prompts is being read; the newcomer's goes before all others that came before it. */
static void a_newcomer_passes_a_queue_of_another_tenants_prompts(void **state)
{
    (void)state;
    struct world w;
    struct batcher_options options = {
        .block_count = 64, .sequence_count_max = 32, .batch_tokens_max = 32};
    world_open(&w, &options);
    struct fake_request *flood[4], *newcomer;
    for (uint32_t i = 0; i < 4; i++)
        flood[i] = add_of(&w, 1, PROMPT_MAX, 1);
    run_step(&w);
    newcomer = add_of(&w, 2, PROMPT_MAX, 1);
    while (newcomer->request.live_count > 0)
        run_step(&w);
    for (uint32_t i = 1; i < 4; i++)
        assert_int_equal(flood[i]->request.live_count, 1);
    run_until_idle(&w);
    world_close(&w);
}

static void a_cancelled_request_frees_its_blocks_at_once(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, &small);
    struct fake_request *running = add(&w, 40, 20, 2, 0);
    struct fake_request *waiting = add(&w, PROMPT_MAX, 2, 1, 0);
    run_step(&w);
    run_step(&w);
    end_request(&w, waiting);
    end_request(&w, running);
    struct batcher_stats stats;
    batcher_get_stats(w.b, &stats);
    assert_int_equal(stats.blocks.referenced, 0);
    world_close(&w);
}

static void options_that_cannot_work_are_refused(void **state)
{
    (void)state;
    batcher *b = NULL;
    struct batcher_options options = small;
    options.batch_tokens_max = options.sequence_count_max - 1;
    assert_int_equal(batcher_create(&options, &b), STATUS_INVALID);
    options = small;
    options.block_count = 0;
    assert_int_equal(batcher_create(&options, &b), STATUS_INVALID);
    options = small;
    options.sequence_count_max = 0;
    assert_int_equal(batcher_create(&options, &b), STATUS_INVALID);
    assert_null(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequences_of_one_request_share_the_prompt_and_copy_its_last_block),
        cmocka_unit_test(a_repeated_prompt_computes_only_what_the_cache_lacks),
        cmocka_unit_test(pinned_prompts_outlast_others_until_their_time_and_never_stand_in_the_way),
        cmocka_unit_test(the_worst_running_sequence_gives_way_and_loses_nothing),
        cmocka_unit_test(a_long_prompt_beside_decodes_stays_inside_the_target),
        cmocka_unit_test(a_step_with_decodes_grows_by_the_factor_and_no_more),
        cmocka_unit_test(a_short_prompt_passes_a_long_one_and_many_do_not),
        cmocka_unit_test(a_newcomers_prompt_is_read_as_fast_as_the_target_allows),
        cmocka_unit_test(where_everybody_has_one_answer_newcomers_are_like_everybody),
        cmocka_unit_test(shorter_prompts_that_pass_a_newcomers_hold_no_more_tokens_than_it),
        cmocka_unit_test(a_newcomer_passes_a_queue_of_another_tenants_prompts),
        cmocka_unit_test(a_cancelled_request_frees_its_blocks_at_once),
        cmocka_unit_test(options_that_cannot_work_are_refused),
        cmocka_unit_test_teardown(thousands_of_random_worlds_end_with_the_right_tokens_and_no_leak,
                                  print_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
