#include "unit_test.h"

#include "prompt_chunks.h"

#define FIELD_TOOLS    3
#define FIELD_MESSAGES 7

static char long_text[4096];

static struct prompt_text messages_of(size_t bytes)
{
    struct prompt_text text = {0};

    text.fields[FIELD_MESSAGES] = (struct text_slice){long_text, bytes};
    return text;
}

static void equal_beginnings_have_equal_names(void **state)
{
    struct prompt_text shorter = messages_of(4 * PROMPT_CHUNK_BYTES - 20),
                       longer = messages_of(16 * PROMPT_CHUNK_BYTES - 20);
    uint64_t names[2][PROMPT_CHUNKS_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(long_text); i++)
        long_text[i] = (char)('a' + i * i % 23);
    assert_int_equal(prompt_chunk_count(&shorter), 3);
    assert_int_equal(prompt_chunk_count(&longer), 15);
    prompt_chunks_name(&shorter, 1, names[0]);
    prompt_chunks_name(&longer, 1, names[1]);
    assert_memory_equal(names[0], names[1], 3 * sizeof(names[0][0]));
    for (uint32_t i = 0; i < 15; i++) {
        assert_true(names[1][i] != 0);
        for (uint32_t j = 0; j < i; j++)
            assert_true(names[1][i] != names[1][j]);
    }
    long_text[2 * PROMPT_CHUNK_BYTES + 30] ^=
        1; /* in the third chunk: it and all after it have other names */
    prompt_chunks_name(&longer, 1, names[0]);
    assert_memory_equal(names[0], names[1], 2 * sizeof(names[0][0]));
    for (uint32_t i = 2; i < 15; i++)
        assert_true(names[0][i] != names[1][i]);
}

static void tenants_and_salts_have_names_of_their_own(void **state)
{
    const struct text_slice none = {"", 0}, a = {"a", 1}, b = {"b", 1};
    const uint64_t nobody = prompt_chunks_tenant(none), one = prompt_chunks_tenant(a),
                   other = prompt_chunks_tenant(b);
    const uint64_t roots[] = {
        prompt_chunks_root(nobody, none, none), prompt_chunks_root(one, none, none),
        prompt_chunks_root(other, none, none),  prompt_chunks_root(nobody, none, a),
        prompt_chunks_root(one, none, b),       prompt_chunks_root(other, none, a),
        prompt_chunks_root(nobody, a, none),    prompt_chunks_root(nobody, b, none)};

    (void)state;
    for (int i = 0; i < 8; i++) {
        for (int j = 0; j < i; j++)
            assert_true(roots[i] != roots[j]);
    }
}

static void what_stands_in_one_field_is_no_beginning_of_another(void **state)
{
    struct prompt_text in_messages = messages_of(600), in_tools = {0}, in_both = messages_of(600);
    uint64_t names[3][PROMPT_CHUNKS_MAX];

    (void)state;
    in_tools.fields[FIELD_TOOLS] = in_messages.fields[FIELD_MESSAGES];
    in_both.fields[FIELD_TOOLS] = (struct text_slice){"[]", 2};
    prompt_chunks_name(&in_messages, 1, names[0]);
    prompt_chunks_name(&in_tools, 1, names[1]);
    prompt_chunks_name(&in_both, 1, names[2]);
    assert_true(names[0][0] != names[1][0] && names[0][0] != names[2][0]);
    assert_int_equal(prompt_text_bytes(&in_both), 604);
}

static void the_count_is_bounded(void **state)
{
    static char text[(PROMPT_CHUNKS_MAX + 2) * PROMPT_CHUNK_BYTES];
    static uint64_t names[PROMPT_CHUNKS_MAX + 1];
    struct prompt_text prompt = {0};

    (void)state;
    prompt.fields[0] = (struct text_slice){text, sizeof(text)};
    assert_int_equal(prompt_chunk_count(&prompt), PROMPT_CHUNKS_MAX);
    prompt_chunks_name(&prompt, 1, names);
    assert_true(names[PROMPT_CHUNKS_MAX - 1] != 0);
    assert_true(names[PROMPT_CHUNKS_MAX] == 0);
    prompt.fields[0].bytes = PROMPT_CHUNK_BYTES - 2;
    assert_int_equal(prompt_chunk_count(&prompt), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_beginnings_have_equal_names),
        cmocka_unit_test(tenants_and_salts_have_names_of_their_own),
        cmocka_unit_test(what_stands_in_one_field_is_no_beginning_of_another),
        cmocka_unit_test(the_count_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
