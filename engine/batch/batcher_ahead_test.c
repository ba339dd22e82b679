#include "batcher_testing.h"

/* Steps that are planned before the tokens of the step before them are known. The machine is that of batcher_testing.h, but lazy
 * like a device with a queue: what is asked of it, it does when somebody waits for a result, and until then nothing of it
 * has happened. So whatever the batcher hands out too early, or takes for known too early, changes an output. */

#define SLOTS_MAX 12u
#define ROWS_MAX  (SLOTS_MAX + 100u)

struct lazy_sample {
    struct sequence *sequence;
    uint32_t logit_row;
    uint32_t output; /* its number among the sequence's outputs */
};

/* A step as a device has it: all that it needs is copied, and tokens that are not known are told by number. */
struct lazy_step {
    struct step_plan plan; /* its arrays are those below */
    uint32_t copy_from[SLOTS_MAX], copy_to[SLOTS_MAX];
    uint32_t save_from[BLOCKS_MAX], save_to[BLOCKS_MAX], load_from[BLOCKS_MAX], load_to[BLOCKS_MAX];
    struct lazy_row {
        int32_t token;
        uint32_t entry, position;
        bool gives_logits;
    } rows[ROWS_MAX];
    uint32_t tables[SLOTS_MAX][TOKENS_MAX / BLOCK_TOKENS + 1];
    struct lazy_sample samples[SLOTS_MAX];
    struct step_sample own_samples[SLOTS_MAX];
    uint32_t sample_count;
    bool may_wait;
};

struct lazy_world {
    struct world w; /* first */
    struct lazy_step steps[2];
    uint32_t oldest, step_count;
    int32_t tokens[SLOTS_MAX]; /* what the samples of the step that ran last gave */
    uint64_t ahead_total, unread_total;
};

static void note_rows(struct lazy_step *step)
{
    uint32_t next = 0;
    for (uint32_t e = 0; e < step->plan.entry_count; e++) {
        const struct step_entry *entry = &step->plan.entries[e];
        const struct sequence *s = entry->sequence;
        memcpy(step->tables[e], s->table.blocks, s->table.count * sizeof *s->table.blocks);
        for (uint32_t i = 0; i < entry->count; i++) {
            bool is_sampled =
                entry->logit_row != UINT32_MAX && i + 1 + entry->draft_count >= entry->count;
            step->rows[next++] = (struct lazy_row){
                .token = step_entry_token(entry, i),
                .entry = e,
                .position = entry->first + i,
                .gives_logits = is_sampled || i < entry->score_count,
            };
            if (i < entry->score_count) /* only that each is asked for once */
                score_prompt(entry, i, 1);
        }
    }
    assert_int_equal(next, step->plan.row_count);
}

static void note_samples(struct lazy_world *l, struct lazy_step *step)
{
    const struct step_sample *samples = batcher_complete(l->w.b, &step->sample_count);
    for (uint32_t i = 0; i < step->sample_count; i++) {
        struct sequence *s = samples[i].sequence;
        step->own_samples[i] = samples[i];
        step->samples[i] = (struct lazy_sample){
            .sequence = s,
            .logit_row = samples[i].logit_row,
            .output = s->output_count + s->unknown_count,
        };
        if (step->may_wait)
            batcher_extend(l->w.b, s, i);
    }
}

static const uint32_t *note_list(uint32_t *to, const uint32_t *from, uint32_t count)
{
    assert_true(count <= BLOCKS_MAX);
    for (uint32_t i = 0; i < count; i++)
        to[i] = from[i];
    return to;
}

static void note_copies(struct lazy_step *step, const struct step_plan *plan)
{
    step->plan.save_from = note_list(step->save_from, plan->save_from, plan->save_count);
    step->plan.save_to = note_list(step->save_to, plan->save_to, plan->save_count);
    step->plan.load_from = note_list(step->load_from, plan->load_from, plan->load_count);
    step->plan.load_to = note_list(step->load_to, plan->load_to, plan->load_count);
    step->plan.copy_from = note_list(step->copy_from, plan->copy_from, plan->copy_count);
    step->plan.copy_to = note_list(step->copy_to, plan->copy_to, plan->copy_count);
}

/* Plans a step and puts it into the queue; false: nothing can run now. */
static bool queue_step(struct lazy_world *l)
{
    struct world *w = &l->w;
    batcher_set_now(w->b, w->step);
    const struct step_plan *plan = batcher_plan(w->b);
    if (plan == NULL)
        return false;
    assert_true(plan->preempted_count == 0 || l->step_count == 0);
    struct lazy_step *step = &l->steps[(l->oldest + l->step_count) % 2];
    assert_true(l->step_count < 2);
    l->ahead_total += l->step_count;
    l->step_count++;
    step->plan = *plan;
    note_copies(step, plan);
    step->may_wait = plan->draft_count == 0 && plan->score_count == 0 && !plan->awaits_drafts;
    w->preempted_total += plan->preempted_count;
    w->drafted_total += plan->draft_count;
    note_rows(step);
    note_samples(l, step);
    return true;
}

/* What the machine does when it comes to the step. */
static void compute(struct lazy_world *l, struct lazy_step *step, uint64_t *digests)
{
    uint32_t logit_rows = 0;
    run_copies(&l->w, &step->plan);
    for (uint32_t i = 0; i < step->plan.row_count; i++) {
        const struct lazy_row *row = &step->rows[i];
        const uint32_t *table = step->tables[row->entry];
        uint32_t p = row->position;
        int32_t token = row->token >= 0 ? row->token : l->tokens[-1 - row->token];
        uint64_t digest = 0;
        if (p > 0)
            digest = l->w.kv[table[(p - 1) / BLOCK_TOKENS]][(p - 1) % BLOCK_TOKENS];
        digest = mix(digest, (uint64_t)token + 1);
        l->w.kv[table[p / BLOCK_TOKENS]][p % BLOCK_TOKENS] = digest;
        if (row->gives_logits)
            digests[logit_rows++] = digest;
    }
    assert_int_equal(logit_rows, step->plan.logit_row_count);
    for (uint32_t i = 0; i < step->sample_count; i++) {
        const struct lazy_sample *sample = &step->samples[i];
        l->tokens[i] =
            next_token(digests[sample->logit_row], (struct fake_request *)sample->sequence->request,
                       sample->sequence->index, sample->output);
    }
}

/* The oldest step's tokens are told. Sequences that have ended since are not asked. */
static void read_step(struct lazy_world *l)
{
    struct world *w = &l->w;
    struct lazy_step *step = &l->steps[l->oldest];
    uint64_t digests[ROWS_MAX];
    l->oldest = (l->oldest + 1) % 2;
    l->step_count--;
    compute(l, step, digests);
    batcher_note_time(w->b, &step->plan,
                      1000000 + 10000ull * step->plan.row_count + next_random(1000));
    for (uint32_t i = 0; i < step->sample_count; i++) {
        struct sequence *s = step->samples[i].sequence;
        if (s->state == SEQUENCE_ENDED) {
            l->unread_total++;
            continue;
        }
        assert_int_equal(s->output_count, step->samples[i].output);
        if (step->may_wait)
            batcher_append(w->b, s, l->tokens[i]);
        else
            take_sample(w, &step->own_samples[i], digests);
        if (sequence_is_done(s)) {
            ((struct fake_request *)s->request)->end_count++;
            batcher_end_sequence(w->b, s);
        }
    }
}

static void turn(struct lazy_world *l)
{
    struct lazy_step *newest = &l->steps[(l->oldest + l->step_count + 1) % 2];
    bool may_queue = l->step_count == 0 || newest->may_wait;
    bool has_queued = may_queue && queue_step(l);
    newest = &l->steps[(l->oldest + l->step_count + 1) % 2];
    uint32_t keep = has_queued && newest->may_wait && next_random(8) != 0 ? 1 : 0;
    while (l->step_count > keep)
        read_step(l);
}

static uint64_t ahead_in_all_worlds, unread_in_all_worlds, preempted_in_all_worlds,
    accepted_in_all_worlds, loaded_in_all_worlds;

static void make_requests(struct world *w)
{
    w->request_count = 1 + next_random(REQUESTS_MAX);
    for (uint32_t i = 0; i < w->request_count; i++) {
        request_make(w, &w->requests[i], i);
        w->requests[i].arrives_at = next_random(60);
        if (next_random(4) == 0)
            w->requests[i].cancel_at = w->requests[i].arrives_at + next_random(60);
    }
}

/* Requests that come and those that go; false: nobody is left. */
static bool let_time_pass(struct world *w, uint64_t *arrivals)
{
    bool is_left = false;
    for (uint32_t i = 0; i < w->request_count; i++) {
        struct fake_request *r = &w->requests[i];
        if (r->arrives_at == w->step) {
            r->request.arrival = (*arrivals)++;
            submit(w, r);
        }
        if (r->cancel_at == w->step && r->request.live_count > 0)
            end_request(w, r);
        is_left |= !r->was_submitted || r->request.live_count > 0;
    }
    return is_left;
}

static void run_world(uint64_t seed)
{
    random_state = seed;
    struct batcher_options options = {
        .block_count = 2 + next_random(BLOCKS_MAX - 1),
        .sequence_count_max = 1 + next_random(SLOTS_MAX),
        .prefix_cache = next_random(4) != 0,
        .pinned_blocks_max = next_random(BLOCKS_MAX),
        .inter_token_factor = next_random(2) * (1.1 + 0.01 * next_random(200)),
        .draft_tokens_max = next_random(2) * next_random(7),
    };
    options.batch_tokens_max = options.sequence_count_max + next_random(100);
    options.host_slots = choose_host_slots(options.prefix_cache);
    static struct lazy_world l;
    memset(&l, 0, sizeof l);
    world_open(&l.w, &options);
    make_requests(&l.w);
    uint64_t arrivals = 0;
    for (l.w.step = 0; let_time_pass(&l.w, &arrivals) || l.step_count > 0; l.w.step++) {
        assert_true(l.w.step < 20000); /* somebody starves */
        turn(&l);
        if (l.w.step % 4 == 0)
            assert_true(batcher_is_consistent(l.w.b));
    }
    for (uint32_t i = 0; i < l.w.request_count; i++) {
        struct fake_request *r = &l.w.requests[i];
        assert_int_equal(r->end_count, r->request.sequence_count);
        for (uint32_t j = 0; j < r->request.sequence_count; j++)
            assert_outputs(r, &r->sequences[j], r->cancel_at == UINT64_MAX);
    }
    ahead_in_all_worlds += l.ahead_total;
    unread_in_all_worlds += l.unread_total;
    preempted_in_all_worlds += l.w.preempted_total;
    accepted_in_all_worlds += l.w.accepted_total;
    world_close(&l.w);
    loaded_in_all_worlds += l.w.loaded_total;
}

static void thousands_of_random_worlds_say_the_same_a_step_ahead(void **state)
{
    (void)state;
    for (seed_in_hand = 1; seed_in_hand <= 2000; seed_in_hand++)
        run_world(seed_in_hand);
    assert_true(ahead_in_all_worlds > 10000);
    assert_true(unread_in_all_worlds > 1000);
    assert_true(preempted_in_all_worlds > 1000);
    assert_true(accepted_in_all_worlds > 1000);
    assert_true(loaded_in_all_worlds > 1000);
}

static void open_small(struct lazy_world *l, uint32_t block_count)
{
    struct batcher_options options = {.block_count = block_count,
                                      .sequence_count_max = 4,
                                      .batch_tokens_max = 48,
                                      .prefix_cache = true};
    memset(l, 0, sizeof *l);
    world_open(&l->w, &options);
}

static void a_block_can_be_found_once_its_last_token_is_known(void **state)
{
    (void)state;
    static struct lazy_world l;
    open_small(&l, 8);
    struct fake_request *r = add(&l.w, 15, 8, 1, 0);
    struct batcher_stats stats;
    assert_true(queue_step(&l)); /* the prompt, and token 15 of the block */
    assert_true(queue_step(&l)); /* computes token 15: the block is full, but of what? */
    batcher_get_stats(l.w.b, &stats);
    assert_int_equal(r->sequences[0].computed_count, 16);
    assert_int_equal(r->sequences[0].unknown_count, 2);
    assert_int_equal(r->sequences[0].hash_count, 0);
    read_step(&l);
    assert_int_equal(r->sequences[0].hash_count, 1);
    assert_true(batcher_is_consistent(l.w.b));
    end_request(&l.w, r);
    batcher_get_stats(l.w.b, &stats);
    assert_int_equal(stats.blocks.kept, 1);
    read_step(&l);
    world_close(&l.w);
}

static void whose_last_token_is_on_its_way_gets_no_further_row(void **state)
{
    (void)state;
    static struct lazy_world l;
    open_small(&l, 8);
    struct fake_request *r = add(&l.w, 4, 2, 1, 0);
    assert_true(queue_step(&l));
    assert_true(queue_step(&l));
    read_step(&l);
    assert_false(queue_step(&l));
    read_step(&l);
    assert_int_equal(r->sequences[0].state, SEQUENCE_ENDED);
    world_close(&l.w);
}

static void nobody_gives_way_before_it_is_known_who_ends(void **state)
{
    (void)state;
    static struct lazy_world l;
    open_small(&l, 4);
    struct fake_request *first = add(&l.w, 30, 2, 1, 0);
    struct fake_request *second = add(&l.w, 14, 20, 1, 0);
    assert_true(queue_step(&l)); /* both prompts: three blocks, and one each to grow */
    assert_true(queue_step(&l));
    read_step(&l);
    read_step(&l); /* the first has said all */
    assert_int_equal(first->sequences[0].state, SEQUENCE_ENDED);
    while (second->request.live_count > 0)
        turn(&l);
    while (l.step_count > 0)
        read_step(&l);
    struct batcher_stats stats;
    batcher_get_stats(l.w.b, &stats);
    assert_int_equal(stats.preemptions, 0);
    world_close(&l.w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_can_be_found_once_its_last_token_is_known),
        cmocka_unit_test(whose_last_token_is_on_its_way_gets_no_further_row),
        cmocka_unit_test(nobody_gives_way_before_it_is_known_who_ends),
        cmocka_unit_test_teardown(thousands_of_random_worlds_say_the_same_a_step_ahead, print_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
