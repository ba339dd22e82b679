#include "unit_test.h"

#include "batcher_private.h"

/* What is told of the names of prompts' beginnings is what a look into the prefix cache says, after any traffic through a cache
 * that is too small for it. */

enum { BLOCKS = 24, PROMPTS = 40, PROMPT_BLOCKS_MAX = 8, MARKS_MAX = 3 * PROMPT_BLOCKS_MAX };

static const struct hash_key key = {0x1234, 0x5678};
static uint64_t random_state = 1;

static uint32_t random_below(uint32_t limit)
{
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)((random_state >> 33) % limit);
}

struct prompt {
    int32_t tokens[PROMPT_BLOCKS_MAX * BLOCK_TOKENS + 5];
    uint32_t count;
    struct hash128 hashes[PROMPT_BLOCKS_MAX];
    struct prefix_mark marks[MARKS_MAX];
    uint32_t mark_count;
};

/* How often each name was given and not taken back: names are numbers below this. */
#define NAMES 100000u
static int32_t given[NAMES];

static void note(void *context, uint64_t hash, bool is_resident)
{
    (void)context;
    assert_true(hash > 0 && hash < NAMES);
    given[hash] += is_resident ? 1 : -1;
    assert_true(given[hash] >= 0);
}

/* Prompts of one family begin alike; a name is made of the family and the place, so equal beginnings have equal names. */
static void make_prompt(struct prompt *p, uint32_t number)
{
    uint32_t family = number % 5, shared = 2 + family, blocks = 1 + random_below(PROMPT_BLOCKS_MAX);
    struct hash128 parent = prefix_hash_root((uint64_t[2]){7, 7});

    p->count = blocks * BLOCK_TOKENS + random_below(5);
    p->mark_count = 0;
    for (uint32_t i = 0; i < p->count; i++)
        p->tokens[i] = (int32_t)(i < shared * BLOCK_TOKENS ? family * 1000 + i : number * 1000 + i);
    for (uint32_t i = 0; i < p->count / BLOCK_TOKENS; i++) {
        uint32_t owner = i < shared ? family : 100 + number;

        p->hashes[i] = parent = prefix_hash_next(&key, parent, i, p->tokens + i * BLOCK_TOKENS);
        if (i % 3 == 1)
            continue; /* not every block has one */
        p->marks[p->mark_count++] = (struct prefix_mark){1 + owner * 100 + i * 2, i};
        if (i % 4 == 0)
            p->marks[p->mark_count++] = (struct prefix_mark){2 + owner * 100 + i * 2, i};
    }
}

static void assert_told_as_held(const batcher *b, const struct prompt *prompts)
{
    for (uint32_t i = 0; i < PROMPTS; i++) {
        for (uint32_t j = 0; j < prompts[i].mark_count; j++) {
            const struct prefix_mark *mark = &prompts[i].marks[j];
            bool is_held = prefix_cache_has(b->prefixes, prompts[i].hashes[mark->block]);

            assert_true((given[mark->hash] > 0) == is_held);
        }
    }
}

/* Runs one prompt alone to its end. */
static void run(batcher *b, struct queue_gate *gate, const struct prompt *p, uint64_t arrival)
{
    struct sequence sequence = {0};
    uint32_t table[PROMPT_BLOCKS_MAX + 2];
    int32_t outputs[4];
    struct hash128 output_hashes[2];
    struct batch_request request = {
        .prompt = p->tokens,
        .prompt_count = p->count,
        .prompt_hashes = p->hashes,
        .hash_root = prefix_hash_root((uint64_t[2]){7, 7}),
        .marks = p->marks,
        .mark_count = p->mark_count,
        .arrival = arrival,
        .sequences = &sequence,
        .sequence_count = 1,
    };

    sequence = (struct sequence){.request = &request,
                                 .outputs = outputs,
                                 .output_count_max = 4,
                                 .output_hashes = output_hashes};
    block_table_init(&sequence.table, table, sequence_blocks_max(p->count, 4));
    assert_int_equal(queue_gate_enter(gate, p->count), STATUS_OK);
    batcher_submit(b, &request);
    while (sequence.state != SEQUENCE_ENDED) {
        uint32_t count;
        const struct step_sample *samples;

        const struct step_plan *plan = batcher_plan(b);
        assert_non_null(plan);
        samples = batcher_complete(b, &count);
        batcher_note_time(b, plan, 1000);
        if (count > 0 && samples[0].sequence->output_count + 1 == 4)
            batcher_end_sequence(b, &sequence);
        else if (count > 0)
            batcher_append(b, &sequence, 9);
    }
}

static void names_are_told_while_their_blocks_can_be_found(void **state)
{
    static struct prompt prompts[PROMPTS];
    struct queue_gate gate;
    struct batcher_options options = {.block_count = BLOCKS,
                                      .sequence_count_max = 2,
                                      .batch_tokens_max = 20,
                                      .prefix_cache = true,
                                      .hash_key = key,
                                      .mark_changed = note,
                                      .gate = &gate};
    uint32_t held = 0;
    batcher *b = NULL;

    (void)state;
    queue_gate_init(&gate, 10, 100000, 2);
    assert_int_equal(batcher_create(&options, &b), STATUS_OK);
    for (uint32_t i = 0; i < PROMPTS; i++)
        make_prompt(&prompts[i], i);
    for (uint32_t round = 0; round < 2000; round++) {
        run(b, &gate, &prompts[random_below(PROMPTS)], round);
        assert_told_as_held(b, prompts);
    }
    for (uint32_t i = 0; i < NAMES; i++)
        held += given[i] > 0;
    assert_true(held > 5 && held < 2 * BLOCKS);
    batcher_destroy(b);
}

static void a_block_keeps_its_last_names(void **state)
{
    prefix_marks *marks = NULL;

    (void)state;
    memset(given, 0, sizeof(given));
    assert_int_equal(prefix_marks_create(4, note, NULL, &marks), STATUS_OK);
    for (uint64_t name = 1; name <= PREFIX_MARKS_PER_BLOCK + 3; name++)
        prefix_marks_put(marks, 3, name);
    prefix_marks_put(marks, 3, 5); /* it has that one */
    assert_true(given[1] + given[2] + given[3] == 0 && given[4] == 1 && given[5] == 1);
    prefix_marks_put(marks, 2, 5);
    prefix_marks_forget(marks, 3);
    assert_true(given[4] == 0 && given[5] == 1);
    prefix_marks_forget(marks, 2);
    assert_int_equal(given[5], 0);
    prefix_marks_destroy(marks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_told_while_their_blocks_can_be_found),
        cmocka_unit_test(a_block_keeps_its_last_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
