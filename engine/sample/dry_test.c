#include "unit_test.h"

#include <math.h>

#include "dry.h"

/* Tokens are letters here: 0 is 'a'. */
#define VOCABULARY 27u
#define TEXT_MAX   2000u

static struct text_slice letter(const void *context, int32_t token)
{
    return (struct text_slice){(const char *)context + token, 1};
}

struct rig {
    arena *memory;
    struct token_history history;
    struct dry dry;
};

static void rig_open(struct rig *rig, const struct dry_params *params, uint32_t max)
{
    assert_int_equal(arena_create(1 << 20, &rig->memory), STATUS_OK);
    assert_int_equal(token_history_init(&rig->history, max, rig->memory), STATUS_OK);
    rig->dry = (struct dry){.piece = letter, .context = "abcdefghijklmnopqrstuvwxyz."};
    assert_int_equal(dry_init(&rig->dry, params, max, VOCABULARY, rig->memory), STATUS_OK);
}

static void add(struct rig *rig, int32_t token)
{
    token_history_add(&rig->history, token, true);
    dry_accept(&rig->dry, token);
}

static void say(struct rig *rig, const char *text)
{
    for (; *text != '\0'; text++)
        add(rig, *text == '.' ? 26 : *text - 'a');
}

static uint32_t length_of(struct rig *rig, char next)
{
    uint32_t found = dry_find(&rig->dry, &rig->history);
    for (uint32_t i = 0; i < found; i++)
        if (rig->dry.repeats[i].token == (next == '.' ? 26 : next - 'a'))
            return rig->dry.repeats[i].length;
    return 0;
}

static void the_longest_repetition_of_each_token_is_found(void **state)
{
    (void)state;
    const struct dry_params params = {
        .multiplier = 1, .base = 2, .allowed_length = 2, .last_n = -1};
    struct rig rig;
    rig_open(&rig, &params, 100);
    say(&rig, "abcdxbcezzabc");
    assert_int_equal(length_of(&rig, 'd'), 3); /* abc */
    assert_int_equal(length_of(&rig, 'e'), 2); /* bc */
    assert_int_equal(length_of(&rig, 'z'), 0);
    arena_destroy(rig.memory);
    rig_open(&rig, &params, 100);
    say(&rig, "aaaaa");
    assert_int_equal(length_of(&rig, 'a'), 4);
    arena_destroy(rig.memory);
}

static void nothing_is_found_before_the_allowed_length(void **state)
{
    (void)state;
    const struct dry_params params = {
        .multiplier = 1, .base = 2, .allowed_length = 4, .last_n = -1};
    struct rig rig;
    rig_open(&rig, &params, 100);
    assert_int_equal(dry_find(&rig.dry, &rig.history), 0);
    say(&rig, "abcdeabc");
    assert_int_equal(dry_find(&rig.dry, &rig.history), 0);
    say(&rig, "d");
    assert_int_equal(length_of(&rig, 'e'), 4);
    arena_destroy(rig.memory);
}

static void breakers_end_repetitions_in_whatever_tokens_they_are_written(void **state)
{
    (void)state;
    static const struct text_slice breakers[] = {{".", 1}, {"xyx", 3}};
    const struct dry_params params = {.multiplier = 1,
                                      .base = 2,
                                      .allowed_length = 1,
                                      .last_n = -1,
                                      .breakers = breakers,
                                      .breaker_count = 2};
    struct rig rig;
    rig_open(&rig, &params, 100);
    say(&rig, "abc.defgabc.de");
    assert_int_equal(length_of(&rig, 'f'), 2);
    say(&rig, "xyx");
    assert_int_equal(dry_find(&rig.dry, &rig.history), 0);
    say(&rig, "fgabc");
    assert_int_equal(length_of(&rig, '.'), 0); /* a breaker itself loses nothing */
    say(&rig, "xyxabczxyxa");
    assert_int_equal(length_of(&rig, 'b'), 1);
    arena_destroy(rig.memory);
}

static void only_the_last_tokens_are_looked_at(void **state)
{
    (void)state;
    struct dry_params params = {.multiplier = 1, .base = 2, .allowed_length = 1, .last_n = 7};
    struct rig rig;
    rig_open(&rig, &params, 100);
    say(&rig, "abcdqrabc");
    assert_int_equal(length_of(&rig, 'd'), 1); /* "cd" and "c" are in the last seven */
    params.last_n = 6;
    assert_int_equal(length_of(&rig, 'd'), 0);
    arena_destroy(rig.memory);
    params.last_n = -1; /* a history that forgets is the same */
    rig_open(&rig, &params, 7);
    say(&rig, "abcdqrabc");
    assert_int_equal(length_of(&rig, 'd'), 1);
    arena_destroy(rig.memory);
}

/* The definition, compared for every earlier place. */
static void every_text_has_the_lengths_of_the_definition(void **state)
{
    (void)state;
    static int32_t text[TEXT_MAX];
    uint32_t random = 7;
    const struct dry_params params = {
        .multiplier = 1, .base = 2, .allowed_length = 3, .last_n = -1};
    struct rig rig;
    rig_open(&rig, &params, TEXT_MAX);
    for (uint32_t count = 0; count < TEXT_MAX; count++) {
        uint32_t expected[VOCABULARY] = {0}, got[VOCABULARY] = {0};
        for (uint32_t at = 1; at < count; at++) {
            uint32_t length = 0;
            while (length < at && text[at - 1 - length] == text[count - 1 - length])
                length++;
            if (length >= 3 && length > expected[text[at]])
                expected[text[at]] = length;
        }
        uint32_t found = dry_find(&rig.dry, &rig.history);
        for (uint32_t i = 0; i < found; i++)
            got[rig.dry.repeats[i].token] = rig.dry.repeats[i].length;
        assert_memory_equal(got, expected, sizeof got);
        random = random * 1664525 + 1013904223;
        /* Mostly what was said 40 tokens ago, so that repetitions are long. */
        text[count] =
            count > 60 && random >> 28 != 0 ? text[count - 40] : (int32_t)(random >> 20) % 5;
        add(&rig, text[count]);
    }
    arena_destroy(rig.memory);
}

static void the_penalty_grows_with_the_length_and_stays_finite(void **state)
{
    (void)state;
    const struct dry_params params = {.multiplier = 0.8f, .base = 1.75f, .allowed_length = 2};
    assert_float_equal(dry_penalty(&params, 2), 0.8, 1e-6);
    assert_float_equal(dry_penalty(&params, 5), 4.2875f, 1e-5);
    assert_true(isfinite(dry_penalty(&params, 4000000000u)));
    assert_true(dry_penalty(&params, 4000000000u) > 1e20f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_repetition_of_each_token_is_found),
        cmocka_unit_test(nothing_is_found_before_the_allowed_length),
        cmocka_unit_test(breakers_end_repetitions_in_whatever_tokens_they_are_written),
        cmocka_unit_test(only_the_last_tokens_are_looked_at),
        cmocka_unit_test(every_text_has_the_lengths_of_the_definition),
        cmocka_unit_test(the_penalty_grows_with_the_length_and_stays_finite),
    };
    return cmocka_run_group_tests_name("DRY", tests, NULL, NULL);
}
