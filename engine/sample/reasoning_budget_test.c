#include "unit_test.h"

#include "reasoning_budget.h"

/* Tokens are the bytes here, but for the ids that a test gives pieces of its own. */

static const int32_t end_tokens[] = {'\n', '<', '/', 't', '>', '\n'};

static const struct reasoning_budget model = {
    .tokens_max = 4,
    .open = {"<t>", 3},
    .close = {"</t>", 4},
    .end_tokens = end_tokens,
    .end_token_count = 6,
};

/* The output of a model that says `said`, and goes on with it where it was interrupted. */
static void run(const struct reasoning_budget *budget, const char *said, char out[64])
{
    struct reasoning_watch watch;
    reasoning_watch_init(&watch, budget);
    size_t bytes = 0;
    while (*said != '\0' || reasoning_watch_forced(&watch) >= 0) {
        int32_t forced = reasoning_watch_forced(&watch);
        out[bytes] = forced >= 0 ? (char)forced : *said++;
        reasoning_watch_accept(&watch, (struct text_slice){&out[bytes], 1});
        bytes++;
        assert_true(bytes < 64);
    }
    out[bytes] = '\0';
}

static void reasoning_ends_where_its_tokens_are_spent(void **state)
{
    (void)state;
    static const struct {
        uint32_t tokens_max;
        bool starts_inside;
        const char *said, *out;
    } rows[] = {
        {4, false, "<t>abcdefg", "<t>abcd\n</t>\nefg"},
        {4, true, "abcdefg", "abcd\n</t>\nefg"},
        {0, true, "abc", "\n</t>\nabc"},
        {0, false, "<t>abc", "<t>\n</t>\nabc"},
        {4, false, "abcdefg", "abcdefg"},
        {9, false, "<t>ab</t>cdefghijkl", "<t>ab</t>cdefghijkl"},
        {9, true, "ab</t>cdefghijkl", "ab</t>cdefghijkl"},
        /* its own mark's first bytes are reasoning until they are a mark */
        {6, false, "<t>ab</t>cd", "<t>ab</t>cd"},
        {4, false, "<t>ab</t>cd", "<t>ab</\n</t>\nt>cd"},
        /* all reasoning counts together */
        {8, false, "<t>ab</t>c<t>defgh", "<t>ab</t>c<t>def\n</t>\ngh"},
        /* a start that is none, and one inside it */
        {2, false, "<<t<t>abc", "<<t<t>ab\n</t>\nc"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct reasoning_budget budget = model;
        budget.tokens_max = rows[i].tokens_max;
        budget.starts_inside = rows[i].starts_inside;
        char out[64];
        run(&budget, rows[i].said, out);
        assert_string_equal(out, rows[i].out);
    }
}

static void a_mark_may_lie_anyhow_in_tokens(void **state)
{
    (void)state;
    struct reasoning_watch watch;
    reasoning_watch_init(&watch, &model);
    reasoning_watch_accept(&watch, (struct text_slice){"so <", 4});
    reasoning_watch_accept(&watch, (struct text_slice){"t>well", 6});
    assert_true(watch.is_inside);
    assert_int_equal(watch.spent, 0);
    reasoning_watch_accept(&watch, (struct text_slice){"", 0}); /* a control token without text */
    reasoning_watch_accept(&watch, (struct text_slice){"now</", 5});
    assert_int_equal(watch.spent, 2);
    reasoning_watch_accept(&watch, (struct text_slice){"t> yes<t", 8});
    assert_false(watch.is_inside);
    reasoning_watch_accept(&watch, (struct text_slice){">", 1});
    assert_true(watch.is_inside);
    assert_int_equal(watch.spent, 2);
    assert_int_equal(reasoning_watch_forced(&watch), -1);
}

static void what_a_form_refuses_is_not_forced(void **state)
{
    (void)state;
    struct reasoning_budget budget = model;
    budget.tokens_max = 0;
    budget.starts_inside = true;
    struct reasoning_watch watch;
    reasoning_watch_init(&watch, &budget);
    assert_int_equal(reasoning_watch_forced(&watch), '\n');
    reasoning_watch_refuse(&watch);
    reasoning_watch_accept(&watch, (struct text_slice){"a", 1});
    assert_int_equal(reasoning_watch_forced(&watch), -1); /* given up */

    /* The line break behind the mark is all that could not come: the next reasoning ends too. */
    reasoning_watch_init(&watch, &budget);
    for (int i = 0; i < 5; i++)
        reasoning_watch_accept(&watch, (struct text_slice){&"\n</t>"[i], 1});
    assert_int_equal(reasoning_watch_forced(&watch), '\n');
    reasoning_watch_refuse(&watch);
    assert_int_equal(reasoning_watch_forced(&watch), -1);
    reasoning_watch_accept(&watch, (struct text_slice){"yes<t>", 6});
    assert_int_equal(reasoning_watch_forced(&watch), '\n');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reasoning_ends_where_its_tokens_are_spent),
        cmocka_unit_test(a_mark_may_lie_anyhow_in_tokens),
        cmocka_unit_test(what_a_form_refuses_is_not_forced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
