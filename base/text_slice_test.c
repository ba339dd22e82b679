#include "unit_test.h"

#include "text_slice.h"

static void prefixes_and_suffixes_are_found_in_texts_as_long_as_they_are(void **state)
{
    (void)state;
    struct text_slice text = text_slice_of("model.layers"), none = {NULL, 0};
    assert_true(text_slice_starts_with(text, "model."));
    assert_true(text_slice_starts_with(text, "model.layers"));
    assert_false(text_slice_starts_with(text, "model.layers."));
    assert_false(text_slice_starts_with(text, "layers"));
    assert_true(text_slice_ends_with(text, "layers"));
    assert_true(text_slice_ends_with(text, "model.layers"));
    assert_false(text_slice_ends_with(text, "xmodel.layers"));
    assert_false(text_slice_ends_with(text, "model"));
    assert_true(text_slice_starts_with(none, ""));
    assert_true(text_slice_ends_with(none, ""));
    assert_false(text_slice_starts_with(none, "m"));
    assert_false(text_slice_ends_with(none, "m"));
}

static void what_is_skipped_is_gone_and_the_rest_untouched(void **state)
{
    (void)state;
    struct text_slice text = text_slice_of("model.layers");
    assert_false(text_slice_skip(&text, "layers"));
    assert_true(text_slice_is(text, "model.layers"));
    assert_true(text_slice_skip(&text, "model."));
    assert_true(text_slice_is(text, "layers"));
    assert_true(text_slice_skip(&text, "layers"));
    assert_int_equal(text.bytes, 0);
    assert_false(text_slice_skip(&text, "l"));
}

static void blanks_are_trimmed_at_both_ends_alone(void **state)
{
    (void)state;
    assert_true(text_slice_is(text_slice_trim(text_slice_of(" \t a b\t ")), "a b"));
    assert_true(text_slice_is(text_slice_trim(text_slice_of("a\r")), "a\r"));
    assert_int_equal(text_slice_trim(text_slice_of(" \t ")).bytes, 0);
    assert_int_equal(text_slice_trim((struct text_slice){NULL, 0}).bytes, 0);
}

static void a_copy_is_cut_at_its_size(void **state)
{
    char out[4] = "xyz";

    (void)state;
    text_slice_copy(out, sizeof(out), text_slice_of("abc"));
    assert_string_equal(out, "abc");
    text_slice_copy(out, sizeof(out), text_slice_of("abcd"));
    assert_string_equal(out, "abc");
    text_slice_copy(out, 1, text_slice_of("abcd"));
    assert_string_equal(out, "");
    text_slice_copy(out, sizeof(out), (struct text_slice){NULL, 0});
    assert_string_equal(out, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prefixes_and_suffixes_are_found_in_texts_as_long_as_they_are),
        cmocka_unit_test(what_is_skipped_is_gone_and_the_rest_untouched),
        cmocka_unit_test(blanks_are_trimmed_at_both_ends_alone),
        cmocka_unit_test(a_copy_is_cut_at_its_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
