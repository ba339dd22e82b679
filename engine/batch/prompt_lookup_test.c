#include "unit_test.h"

#include "prompt_lookup.h"

/* Random texts over small alphabets, compared with a search from the start at every token. */

#define TOKENS_MAX 200u

static uint64_t random_state;

static uint32_t next_random(uint32_t bound)
{
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(random_state >> 33) % bound;
}

static uint32_t run_before(const int32_t *tokens, uint32_t a, uint32_t b)
{
    uint32_t length = 0;
    while (length < a && length < b && tokens[a - 1 - length] == tokens[b - 1 - length])
        length++;
    return length;
}

/* The latest place before `end` with the longest run, as far as length_max counts; 0: none of length_min. */
static uint32_t naive_search(const int32_t *tokens, uint32_t end, uint32_t length_min,
                             uint32_t length_max, uint32_t *length)
{
    uint32_t best = 0;
    *length = length_min - 1;
    for (uint32_t place = 1; place < end; place++) {
        uint32_t n = run_before(tokens, place, end);
        n = n < length_max ? n : length_max;
        if (n >= length_min && n >= *length) {
            *length = n;
            best = place;
        }
    }
    return best;
}

struct text {
    int32_t tokens[TOKENS_MAX]; /* the prompt, and right behind it the outputs */
    uint32_t prompt_count, count, length_min, length_max;
};

static prompt_lookup *open_lookup(const struct text *text, arena *memory)
{
    struct prompt_index_options options = {.prompt = text->tokens,
                                           .prompt_count = text->prompt_count,
                                           .length_min = text->length_min,
                                           .length_max = text->length_max};
    prompt_index *index = NULL;
    prompt_lookup *l = NULL;
    assert_int_equal(prompt_index_create(&options, memory, &index), STATUS_OK);
    assert_int_equal(prompt_lookup_create(index, text->tokens + text->prompt_count,
                                          text->count - text->prompt_count, memory, &l),
                     STATUS_OK);
    return l;
}

static void text_make(struct text *text)
{
    uint32_t alphabet = 1 + next_random(6);
    text->count = 2 + next_random(TOKENS_MAX - 1);
    text->prompt_count = 1 + next_random(text->count - 1);
    text->length_min = 1 + next_random(4);
    text->length_max = text->length_min + next_random(4);
    for (uint32_t i = 0; i < text->count; i++) {
        bool quotes = i > 20 && next_random(20) > 0;
        text->tokens[i] = quotes ? text->tokens[i - 19] : (int32_t)next_random(alphabet);
    }
}

/* After each token the match is as long as the longest one, the one that was right goes on, and a new one is the latest. */
static void check_text(const struct text *text, arena *memory)
{
    prompt_lookup *l = open_lookup(text, memory);
    uint32_t followed = 0; /* the place that the match before would go on at */
    for (uint32_t end = text->prompt_count; end < text->count; end++) {
        uint32_t length;
        uint32_t place =
            naive_search(text->tokens, end, text->length_min, text->length_max, &length);
        place = followed != 0 ? followed : place;
        if (place == 0) {
            assert_int_equal(prompt_lookup_length(l), 0);
            assert_int_equal(prompt_lookup_next(l), -1);
        } else {
            uint32_t run = run_before(text->tokens, place, end);
            assert_true(run >= length);
            run = run < PROMPT_LOOKUP_RUN_MAX ? run : PROMPT_LOOKUP_RUN_MAX;
            assert_int_equal(prompt_lookup_length(l), run);
            assert_int_equal(prompt_lookup_next(l), text->tokens[place]);
        }
        bool is_right = place != 0 && text->tokens[place] == text->tokens[end];
        followed = is_right ? place + 1 : 0;
        assert_true(prompt_lookup_append(l) == is_right);
    }
}

static void matches_are_those_of_a_search_from_the_start(void **state)
{
    (void)state;
    arena *memory;
    assert_int_equal(arena_create(1 << 20, &memory), STATUS_OK);
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        random_state = seed;
        struct text text;
        text_make(&text);
        check_text(&text, memory);
        arena_reset(memory);
    }
    arena_destroy(memory);
}

static void a_draft_goes_on_as_the_match_did_and_repeats_a_period(void **state)
{
    (void)state;
    arena *memory;
    assert_int_equal(arena_create(1 << 20, &memory), STATUS_OK);
    struct text text = {.tokens = {7, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5},
                        .prompt_count = 8,
                        .count = 11,
                        .length_min = 2,
                        .length_max = 3};
    prompt_lookup *l = open_lookup(&text, memory);
    assert_int_equal(prompt_lookup_length(l), 2);
    int32_t draft[12];
    prompt_lookup_draft(l, 12, draft);
    static const int32_t want[12] = {3, 4, 5, 1, 2, 3, 4, 5, 1, 2, 3, 4};
    assert_memory_equal(draft, want, sizeof want);
    for (uint32_t i = 0; i < 3; i++)
        assert_true(prompt_lookup_append(l));
    assert_int_equal(prompt_lookup_length(l), 5);
    prompt_lookup_draft(l, 1, draft);
    assert_int_equal(draft[0], 1);
    arena_destroy(memory);
}

static void a_short_or_new_text_has_no_match(void **state)
{
    (void)state;
    arena *memory;
    assert_int_equal(arena_create(1 << 20, &memory), STATUS_OK);
    struct text text = {
        .tokens = {1, 2, 3}, .prompt_count = 1, .count = 3, .length_min = 2, .length_max = 4};
    prompt_lookup *l = open_lookup(&text, memory);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(prompt_lookup_next(l), -1);
        assert_false(prompt_lookup_append(l));
    }
    assert_int_equal(prompt_lookup_length(l), 0);
    arena_destroy(memory);
}

/* The output says the prediction with one token replaced, one left out and others at the end. */
static void a_prediction_is_where_the_output_begins_and_is_found_again(void **state)
{
    (void)state;
    static const int32_t prompt[] = {9, 8, 1, 2, 3, 9, 8}, prediction[] = {1, 2, 3, 4, 5, 6, 7};
    static const int32_t outputs[] = {1, 2, 30, 4, 5, 6, 7, 9, 8};
    /* guessed: from where the prompt ends, and again after 4 5; what stands behind 7 is 2, 3, 9, 8 */
    static const bool is_hit[] = {true, true, false, false, false, true, true, false, false};
    arena *memory;
    assert_int_equal(arena_create(1 << 20, &memory), STATUS_OK);
    struct prompt_index_options options = {.prompt = prompt,
                                           .prompt_count = 7,
                                           .length_min = 2,
                                           .length_max = 4,
                                           .prediction = prediction,
                                           .prediction_count = 7};
    prompt_index *index = NULL;
    prompt_lookup *l = NULL;
    assert_int_equal(prompt_index_create(&options, memory, &index), STATUS_OK);
    assert_int_equal(prompt_lookup_create(index, outputs, 9, memory, &l), STATUS_OK);
    int32_t draft[7];
    prompt_lookup_draft(l, 7, draft);
    assert_memory_equal(draft, prediction, sizeof prediction);
    for (uint32_t i = 0; i < 9; i++) {
        bool hit = prompt_lookup_append(l);
        if (hit != is_hit[i])
            fail_msg("output %u", i);
    }
    assert_int_equal(prompt_lookup_predicted_count(l), 4);
    arena_destroy(memory);
}

static void a_prediction_comes_before_what_the_output_said_itself(void **state)
{
    (void)state;
    static const int32_t prompt[] = {9}, prediction[] = {1, 2, 3, 1, 2, 4};
    static const int32_t outputs[] = {5, 1, 2, 6, 1, 2};
    arena *memory;
    assert_int_equal(arena_create(1 << 20, &memory), STATUS_OK);
    struct prompt_index_options options = {
        .prompt = prompt, .prompt_count = 1, .length_min = 2, .length_max = 2};
    prompt_index *index = NULL;
    prompt_lookup *l = NULL;
    for (int round = 0; round < 2; round++) {
        options.prediction = round == 1 ? prediction : NULL;
        options.prediction_count = round == 1 ? 6 : 0;
        assert_int_equal(prompt_index_create(&options, memory, &index), STATUS_OK);
        assert_int_equal(prompt_lookup_create(index, outputs, 6, memory, &l), STATUS_OK);
        for (uint32_t i = 0; i < 6; i++)
            (void)prompt_lookup_append(l);
        assert_int_equal(prompt_lookup_next(l), round == 1 ? 4 : 6);
        assert_int_equal(prompt_lookup_predicted_count(l), 0);
    }
    arena_destroy(memory);
}

static void memory_that_runs_out_is_said(void **state)
{
    (void)state;
    arena *memory;
    assert_int_equal(arena_create(4096, &memory), STATUS_OK);
    static int32_t prompt[4096];
    struct prompt_index_options options = {
        .prompt = prompt, .prompt_count = 4096, .length_min = 2, .length_max = 4};
    prompt_index *index = NULL;
    assert_int_equal(prompt_index_create(&options, memory, &index), STATUS_NO_MEMORY);
    options.prediction = prompt;
    options.prompt_count = 8;
    options.prediction_count = 4096;
    assert_int_equal(prompt_index_create(&options, memory, &index), STATUS_NO_MEMORY);
    options.prediction_count = UINT32_MAX;
    assert_int_equal(prompt_index_create(&options, memory, &index), STATUS_NO_MEMORY);
    options.prediction_count = 0;
    assert_int_equal(prompt_index_create(&options, memory, &index), STATUS_OK);
    prompt_lookup *l = NULL;
    assert_int_equal(prompt_lookup_create(index, prompt, 4096, memory, &l), STATUS_NO_MEMORY);
    arena_destroy(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_are_those_of_a_search_from_the_start),
        cmocka_unit_test(a_draft_goes_on_as_the_match_did_and_repeats_a_period),
        cmocka_unit_test(a_short_or_new_text_has_no_match),
        cmocka_unit_test(a_prediction_is_where_the_output_begins_and_is_found_again),
        cmocka_unit_test(a_prediction_comes_before_what_the_output_said_itself),
        cmocka_unit_test(memory_that_runs_out_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
