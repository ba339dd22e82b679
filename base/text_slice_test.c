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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prefixes_and_suffixes_are_found_in_texts_as_long_as_they_are),
        cmocka_unit_test(what_is_skipped_is_gone_and_the_rest_untouched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
