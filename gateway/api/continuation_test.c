#include "unit_test.h"

#include "check.h"
#include "continuation.h"

static void a_name_is_read_as_it_was_written(void **state)
{
    const struct answer_name name = {UINT64_MAX, 1700000000, "0123456789abcdef01234567"};
    char text[ANSWER_NAME_TEXT_BYTES];
    struct answer_name read = {0};

    (void)state;
    answer_name_write(&name, text);
    assert_true(answer_name_read(text_slice_of(text), &read));
    assert_int_equal(read.seed, name.seed);
    assert_int_equal(read.created_s, name.created_s);
    assert_string_equal(read.unique, name.unique);
}

static void anything_else_is_no_name(void **state)
{
    static const char *const texts[] = {"",
                                        "1 2",
                                        "1 2 ",
                                        "1 2 0123456789abcdef0123456",
                                        "1 2 0123456789abcdef012345678",
                                        "1 2 0123456789abcdef0123456G",
                                        "18446744073709551616 2 0123456789abcdef01234567",
                                        "-1 2 0123456789abcdef01234567"};
    struct answer_name name;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        assert_false(answer_name_read(text_slice_of(texts[i]), &name));
    }
}

static void a_continuation_is_read_as_it_was_written(void **state)
{
    const struct continuation whole = {UINT64_MAX, 7, UINT32_MAX, 16};
    char text[CONTINUATION_TEXT_BYTES];
    struct continuation read;

    (void)state;
    continuation_write(&whole, text);
    assert_true(continuation_read(text_slice_of(text), &read));
    assert_memory_equal(&read, &whole, sizeof(whole));
    assert_false(continuation_read(text_slice_of("1 2 3"), &read));
    assert_false(continuation_read(text_slice_of("1 2 3 4 5"), &read));
    assert_false(continuation_read(text_slice_of("1 2 4294967296 4"), &read));
}

static void tokens_come_back_with_their_choices(void **state)
{
    static const int32_t tokens[] = {0, 63, 64, 262143, INT32_MAX, 5};
    static const uint32_t choices[] = {0, 0, 1023, 1023, 2, 0};
    struct told_tokens told;
    struct told_reader reader;
    int32_t token;

    (void)state;
    told_tokens_init(&told, ARRAY_COUNT(tokens));
    for (size_t i = 0; i < ARRAY_COUNT(tokens); i++)
        told_tokens_add(&told, choices[i], tokens[i]);
    assert_int_equal(told.bytes.failed, STATUS_OK);
    assert_int_equal(told.count, ARRAY_COUNT(tokens));
    reader = (struct told_reader){.rest = buffer_slice(&told.bytes)};
    for (size_t i = 0; i < ARRAY_COUNT(tokens); i++) {
        assert_true(told_tokens_next(&reader, &token));
        assert_int_equal(token, tokens[i]);
        assert_int_equal(reader.choice, choices[i]);
    }
    assert_false(told_tokens_next(&reader, &token));
    assert_false(reader.is_wrong);
    told_tokens_deinit(&told);
}

static void more_tokens_than_are_kept_are_noticed(void **state)
{
    struct told_tokens told;

    (void)state;
    told_tokens_init(&told, 1);
    for (uint32_t i = 0; i <= TOLD_TOKEN_BYTES_MAX; i++)
        told_tokens_add(&told, 0, 1);
    assert_int_equal(told.bytes.failed, STATUS_TOO_LARGE);
    told_tokens_deinit(&told);
}

static void bytes_that_are_no_tokens_are_noticed(void **state)
{
    static const struct text_slice texts[] = {
        {"\x80", 1}, {"\xff\xff\xff\xff\xff\x01", 6}, {"\x03", 1}, {"\x83\x10\x02", 3}};
    int32_t token;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        struct told_reader reader = {.rest = texts[i]};

        while (told_tokens_next(&reader, &token))
            ;
        assert_true(reader.is_wrong);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_is_read_as_it_was_written),
        cmocka_unit_test(anything_else_is_no_name),
        cmocka_unit_test(a_continuation_is_read_as_it_was_written),
        cmocka_unit_test(tokens_come_back_with_their_choices),
        cmocka_unit_test(more_tokens_than_are_kept_are_noticed),
        cmocka_unit_test(bytes_that_are_no_tokens_are_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
