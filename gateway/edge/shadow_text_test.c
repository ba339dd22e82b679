#include "unit_test.h"

#include "shadow_text.h"

static void assert_text(const char *answer, const char *expected)
{
    struct buffer out;

    buffer_init(&out, 1000);
    if (shadow_text_read(text_slice_of(answer), &out) != (expected != NULL))
        fail_msg("%s", answer);
    if (expected != NULL)
        assert_true(text_slice_is(buffer_slice(&out), expected));
    buffer_deinit(&out);
}

static void answers_of_every_kind_give_their_text(void **state)
{
    (void)state;
    assert_text("{\"choices\":[{\"message\":{\"content\":\"Hi "
                "\\u00e9\"}},{\"message\":{\"content\":\"no\"}}]}",
                "Hi \xc3\xa9");
    assert_text(" {\"choices\":[{\"text\":\"Hi\"}]}", "Hi");
    assert_text("{\"choices\":[{\"message\":{\"content\":null}}]}", "");
    assert_text(": waiting\n\ndata: "
                "{\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n"
                "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\r\n\r\n"
                "data: {\"choices\":[{\"delta\":{\"content\":\" you\"}}]}\n\ndata: "
                "{\"choices\":[],\"usage\":{}}\n\n"
                "data: [DONE]\n\n",
                "Hi you");
    assert_text("data: {\"choices\":[{\"text\":\"Hi\"}]}\n\ndata: [DONE]", "Hi");
}

static void what_is_no_whole_answer_is_told(void **state)
{
    (void)state;
    assert_text("", NULL);
    assert_text("nonsense", NULL);
    assert_text("{\"choices\":[{\"text\":\"Hi", NULL);
    assert_text("{\"error\":{\"message\":\"no\"}}", NULL);
    assert_text("data: {\"choices\":[{\"text\":\"Hi\"}]}\n\n", NULL); /* cut off */
    assert_text("data: {\"choices\":[{\"text\":\"Hi\"}]}\n\ndata: {\"error\":{}}\n\n", NULL);
}

static void the_first_difference_is_found(void **state)
{
    static const struct {
        const char *a, *b;
        uint32_t tokens[2], equal;
    } rows[] = {
        {"", "", {0, 0}, 0},
        {"The mill stands.", "The mill stands.", {4, 4}, 4},
        {"The mill stands.", "The mill stood.", {4, 4}, 2},
        {"The mill", "The mill stands.", {2, 4}, 2},
        {"a  b", "a b", {2, 2}, 1},
        {"((", "()", {2, 2}, 1},
        {"\xc3\xa9t\xc3\xa9 ", "\xc3\xa9t\xc3\xa9", {2, 1}, 1},
        {"x", "", {1, 0}, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct shadow_difference found =
            shadow_text_compare(text_slice_of(rows[i].a), text_slice_of(rows[i].b));

        if (found.tokens[0] != rows[i].tokens[0] || found.tokens[1] != rows[i].tokens[1] ||
            found.equal_tokens != rows[i].equal)
            fail_msg("%s | %s: %u %u %u", rows[i].a, rows[i].b, found.tokens[0], found.tokens[1],
                     found.equal_tokens);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_of_every_kind_give_their_text),
        cmocka_unit_test(what_is_no_whole_answer_is_told),
        cmocka_unit_test(the_first_difference_is_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
