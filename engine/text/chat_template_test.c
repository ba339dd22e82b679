#include <stdlib.h>

#include "chat_template.h"
#include "unit_test.h"

/* What the comparison with jinja2 (tests/parity) cannot see: trust, budgets, limits. */

struct outcome {
    status result;
    struct buffer out;
    struct text_span_list trusted;
    struct error_note note;
};

static struct outcome render(const char *source, const char *messages, uint64_t steps_max)
{
    struct outcome o = {0};
    chat_template *t = NULL;
    buffer_init(&o.out, 1u << 26);
    o.result = chat_template_create(text_slice_of(source), &t, &o.note);
    if (o.result != STATUS_OK)
        return o;
    json_t *list = json_loads(messages, 0, NULL);
    assert_non_null(list);
    struct chat_template_input input = {
        .messages = list, .bos_token = "<s>", .steps_max = steps_max};
    o.result = chat_template_render(t, &input, &o.out, &o.trusted, &o.note);
    json_decref(list);
    chat_template_destroy(t);
    return o;
}

static void outcome_deinit(struct outcome *o)
{
    buffer_deinit(&o->out);
    text_span_list_deinit(&o->trusted);
}

/* `marks`: as long as the prompt, 't' where a byte must be trusted. */
static void expect(const char *source, const char *messages, const char *prompt, const char *marks)
{
    struct outcome o = render(source, messages, 0);
    assert_int_equal(o.result, STATUS_OK);
    assert_string_equal(o.out.data, prompt);
    char got[200];
    assert_true(o.out.bytes < sizeof(got));
    memset(got, '.', sizeof(got));
    for (size_t i = 0; i < o.trusted.count; i++)
        memset(got + o.trusted.spans[i].start, 't',
               o.trusted.spans[i].end - o.trusted.spans[i].start);
    got[o.out.bytes] = '\0';
    assert_string_equal(got, marks);
    outcome_deinit(&o);
}

#define ONE "[{\"role\":\"user\",\"content\":\"ab\"}]"

static void bytes_of_the_request_are_not_trusted_whatever_is_done_to_them(void **unused)
{
    (void)unused;
    expect("<{{ messages[0].content }}>", ONE, "<ab>", "t..t");
    expect("{{ '<' + messages[0].content|upper + '>' }}", ONE, "<AB>", "t..t");
    expect("{{ '<%s>' % messages[0].content }}", ONE, "<ab>", "t..t");
    expect("{{ '<{}>'.format(messages[0].content) }}", ONE, "<ab>", "t..t");
    expect("{{ ['x', messages[0].content]|join('-') }}", ONE, "x-ab", "tt..");
    expect("{{ 'xyx'.replace('y', messages[0].content) }}", ONE, "xabx", "t..t");
    expect("{{ ('x' + messages[0].content)[1:] ~ 'y' }}", ONE, "aby", "..t");
    expect("{{ messages[0].content * 2 }}", ONE, "abab", "....");
    expect("{{ messages[0]|tojson }}", ONE, "{\"role\": \"user\", \"content\": \"ab\"}",
           ".................................");
    expect("{% set x %}<{{ messages[0].content }}{% endset %}{{ x }}", ONE, "<ab", "t..");
    expect("{% macro m(a) %}<{{ a }}{% endmacro %}{{ m(messages[0].content) }}", ONE, "<ab", "t..");
    expect("{% for c in messages[0].content %}{{ c }},{% endfor %}", ONE, "a,b,", ".t.t");
    expect("{{ ('x' ~ messages[0].content)|reverse }}", ONE, "bax", "..t");
    expect("{{ ' x\n' ~ messages[0].content|indent(2, true) }}", ONE, " x\n  ab", "ttttt..");
    expect("{{ bos_token ~ 12 ~ true }}", ONE, "<s>12True", "ttttttttt");
}

static void a_known_role_is_trusted_and_any_other_is_not(void **unused)
{
    (void)unused;
    expect("<|{{ messages[0].role }}|>", ONE, "<|user|>", "tttttttt");
    expect("<|{{ messages[0].role }}|>", "[{\"role\":\"end\",\"content\":\"\"}]", "<|end|>",
           "tt...tt");
}

static void what_would_run_for_ever_or_grow_without_end_is_stopped(void **unused)
{
    (void)unused;
    static const char *const bombs[] = {
        "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' * 99999999 }}",
        "{% set ns = namespace(s='x') %}{% for i in range(99999) %}{% set ns.s = ns.s + ns.s %}{% "
        "endfor %}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(99999) %}{% set ns.s = [ns.s, ns.s] %}{% "
        "endfor %}{{ ns.s }}",
        "{{ '%99999s' % 'x' }}{{ range(99999)|list * 99999 }}",
    };
    for (size_t i = 0; i < sizeof(bombs) / sizeof(bombs[0]); i++) {
        struct outcome o = render(bombs[i], "[]", 0);
        if (i == 5)
            assert_int_equal(o.result, STATUS_INVALID);
        else
            assert_int_equal(o.result, STATUS_TOO_LARGE);
        assert_int_equal(o.out.bytes, 0);
        outcome_deinit(&o);
    }
}

static void steps_are_allowed_up_to_the_budget(void **unused)
{
    (void)unused;
    const char *source = "{% for i in range(100) %}x{% endfor %}";
    struct outcome o = render(source, "[]", 1000);
    assert_int_equal(o.result, STATUS_OK);
    outcome_deinit(&o);
    o = render(source, "[]", 100);
    assert_int_equal(o.result, STATUS_TOO_LARGE);
    outcome_deinit(&o);
}

static void deep_nesting_is_refused_and_not_a_crash(void **unused)
{
    (void)unused;
    static const struct {
        const char *open, *middle, *close;
    } nests[] = {
        {"(", "1", ")"},           {"[", "", "]"},      {"-", "1", ""},  {"not ", "1", ""},
        {"1 if 1 else ", "1", ""}, {"", "x", "|upper"}, {"", "x", ".a"}, {"{1:", "1", "}"}};
    for (size_t n = 0; n < sizeof(nests) / sizeof(nests[0]); n++) {
        struct buffer source;
        buffer_init(&source, 1u << 20);
        buffer_append_text(&source, "{{ ");
        for (int i = 0; i < 5000; i++)
            buffer_append_text(&source, nests[n].open);
        buffer_append_text(&source, nests[n].middle);
        for (int i = 0; i < 5000; i++)
            buffer_append_text(&source, nests[n].close);
        buffer_append_text(&source, " }}");
        struct outcome o = render(source.data, "[]", 0);
        assert_int_equal(o.result, STATUS_TOO_LARGE);
        outcome_deinit(&o);
        buffer_deinit(&source);
    }
}

static void the_source_has_a_limit_and_must_be_utf8(void **unused)
{
    (void)unused;
    char *source = malloc(CHAT_TEMPLATE_SOURCE_BYTES_MAX + 1);
    chat_template *t = NULL;
    assert_non_null(source);
    memset(source, 'x', CHAT_TEMPLATE_SOURCE_BYTES_MAX + 1);
    struct text_slice text = {source, CHAT_TEMPLATE_SOURCE_BYTES_MAX + 1};
    assert_int_equal(chat_template_create(text, &t, NULL), STATUS_TOO_LARGE);
    text.bytes--;
    assert_int_equal(chat_template_create(text, &t, NULL), STATUS_OK);
    chat_template_destroy(t);
    free(source);
    assert_int_equal(chat_template_create(text_slice_of("\xff"), &t, NULL), STATUS_INVALID);
    chat_template_destroy(NULL);
}

static void errors_name_the_line_and_the_refusal_its_text(void **unused)
{
    (void)unused;
    struct outcome o = render("a\nb\n{{ 1 + }}", "[]", 0);
    assert_int_equal(o.result, STATUS_INVALID);
    assert_non_null(strstr(o.note.text, "line 3"));
    outcome_deinit(&o);
    o = render("{{ raise_exception('roles must alternate') }}", "[]", 0);
    assert_int_equal(o.result, STATUS_INVALID);
    assert_non_null(strstr(o.note.text, "roles must alternate"));
    outcome_deinit(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_of_the_request_are_not_trusted_whatever_is_done_to_them),
        cmocka_unit_test(a_known_role_is_trusted_and_any_other_is_not),
        cmocka_unit_test(what_would_run_for_ever_or_grow_without_end_is_stopped),
        cmocka_unit_test(steps_are_allowed_up_to_the_budget),
        cmocka_unit_test(deep_nesting_is_refused_and_not_a_crash),
        cmocka_unit_test(the_source_has_a_limit_and_must_be_utf8),
        cmocka_unit_test(errors_name_the_line_and_the_refusal_its_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
