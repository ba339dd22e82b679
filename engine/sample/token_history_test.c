#include "unit_test.h"

#include "token_history.h"

static struct token_history history_of(arena *memory, uint32_t max, const char *text)
{
    struct token_history h;
    assert_int_equal(token_history_init(&h, max, memory), STATUS_OK);
    for (; *text != '\0'; text++) /* capitals are the prompt's */
        token_history_add(&h, *text, *text >= 'a');
    return h;
}

static void loops_are_found_in_the_output_alone(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        struct repetition_params params;
        bool loops;
    } rows[] = {
        {"xabcabcabc", {3, 3, 3}, true},  {"xabcabcabc", {1, 5, 3}, true},
        {"xabcabcabc", {4, 5, 2}, false}, {"xabcabcabc", {3, 3, 4}, false},
        {"xabcabcabd", {1, 5, 2}, false}, {"xyzzz", {0, 1, 3}, true},
        {"xyzz", {0, 1, 3}, false},       {"abab", {2, 2, 2}, true},
        {"AAaa", {0, 4, 3}, false},       {"AAaaa", {0, 4, 3}, true},
        {"", {0, 4, 2}, false},           {"a", {0, 4, 2}, false},
        {"abcdabcd", {0, 8, 2}, true},    {"abcdabcde", {0, 8, 2}, false},
    };
    arena *memory;
    assert_int_equal(arena_create(1 << 20, &memory), STATUS_OK);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (uint32_t max = 16; max <= 64; max *= 2) {
            struct token_history h = history_of(memory, max, rows[i].text);
            if (token_history_loops(&h, &rows[i].params) != rows[i].loops)
                fail_msg("%s", rows[i].text);
        }
    arena_destroy(memory);
}

static void the_oldest_tokens_are_forgotten(void **state)
{
    (void)state;
    arena *memory;
    assert_int_equal(arena_create(1 << 20, &memory), STATUS_OK);
    struct token_history h = history_of(memory, 4, "PQabcdef");
    static const int32_t last[] = {'c', 'd', 'e', 'f'}, longer[] = {'b', 'c', 'd', 'e', 'f'};
    assert_int_equal(h.count, 4);
    assert_int_equal(h.output_count, 6);
    assert_true(token_history_ends_with(&h, last, 4));
    assert_true(token_history_ends_with(&h, last + 2, 2));
    assert_true(token_history_ends_with(&h, NULL, 0));
    assert_false(token_history_ends_with(&h, longer, 5));
    assert_false(token_history_ends_with(&h, last, 3));
    h = history_of(memory, 4, "PQa");
    static const int32_t prompt[] = {'Q', 'a'};
    assert_false(token_history_ends_with(&h, prompt, 2));
    assert_true(token_history_ends_with(&h, prompt + 1, 1));
    h = history_of(memory, 0, "abc");
    assert_int_equal(h.output_count, 3);
    assert_false(token_history_ends_with(&h, last, 1));
    arena_destroy(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loops_are_found_in_the_output_alone),
        cmocka_unit_test(the_oldest_tokens_are_forgotten),
    };
    return cmocka_run_group_tests_name("token history", tests, NULL, NULL);
}
