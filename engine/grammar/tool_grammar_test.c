#include "tool_grammar.h"

#include <stdio.h>

#include "byte_tokenizer.h"
#include "grammar.h"
#include "unit_test.h"

/* Texts written by hand, as the families' templates and model cards have them: the grammar of a form takes them, and what it
 * takes the form's parser reads as calls. Here and not beside tool_grammar.c, because texts are compiled and matched here. */

static const struct grammar_limits limits = {.states_max = 50000,
                                             .compile_timeout_ns = 20000000000ull,
                                             .memory_bytes_max = 256u << 20,
                                             .mask_bytes_max = 1u << 20,
                                             .depth_max = 64};

static const char tools_text[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"weather\",\"strict\":true,\"parameters\":{"
    "\"type\":\"object\",\"properties\":{\"town\":{\"type\":\"string\"},\"days\":{\"type\":"
    "\"integer\"},\"unit\":{\"type\":\"string\",\"enum\":[\"C\",\"F\"]},\"tags\":{\"type\":"
    "\"array\",\"items\":{\"type\":\"boolean\"}}},\"required\":[\"town\"],"
    "\"additionalProperties\":false}}},"
    "{\"type\":\"function\",\"function\":{\"name\":\"now\"}}]";

struct fixture {
    tokenizer *tokens;
    grammar_vocabulary *vocabulary;
    json_t *tools;
};

static struct fixture fixture_create(void)
{
    struct fixture f;
    f.tokens = byte_tokenizer_create(NULL, 0);
    int32_t end = (int32_t)byte_tokenizer_end(0);
    assert_int_equal(grammar_vocabulary_create(f.tokens, (uint32_t)end + 1, &end, 1, &f.vocabulary),
                     STATUS_OK);
    f.tools = json_loads(tools_text, 0, NULL);
    assert_non_null(f.tools);
    return f;
}

static void fixture_destroy(struct fixture *f)
{
    json_decref(f->tools);
    grammar_vocabulary_destroy(f->vocabulary);
    tokenizer_destroy(f->tokens);
}

static grammar *compile(const struct fixture *f, const struct tool_grammar_options *options)
{
    struct buffer text;
    buffer_init(&text, 1u << 20);
    tool_grammar_write(options, &text);
    assert_int_equal(text.failed, STATUS_OK);
    struct grammar_source source = {
        .kind = GRAMMAR_EBNF, .text = buffer_slice(&text), .with_control = true};
    struct error_note note = {""};
    grammar *g = NULL;
    status s = grammar_compile(&source, f->vocabulary, &limits, &g, &note);
    if (s != STATUS_OK)
        fail_msg("%s: %s\n%s", tool_form_name(options->form), note.text, text.data);
    buffer_deinit(&text);
    return g;
}

static bool is_taken(grammar *g, const char *text)
{
    arena *memory = NULL;
    grammar_matcher *m = NULL;
    bool is_allowed = true;
    assert_int_equal(arena_create(64u << 20, &memory), STATUS_OK);
    assert_int_equal(grammar_matcher_create(g, memory, &m), STATUS_OK);
    for (size_t i = 0; text[i] != '\0' && is_allowed; i++)
        is_allowed = grammar_matcher_accept(m, (uint8_t)text[i]) == STATUS_OK;
    is_allowed = is_allowed && grammar_matcher_is_complete(m);
    arena_destroy(memory);
    return is_allowed;
}

static void count_call(void *context, const struct output_delta *delta)
{
    *(uint32_t *)context += delta->kind == OUTPUT_TOOL_BEGIN;
}

/* How many calls the parser of these forms finds. */
static uint32_t calls_in(const struct tool_grammar_options *options, const char *text)
{
    uint32_t count = 0;
    output_parser *p = NULL;
    struct output_parser_options parsing = {.tools = options->form,
                                            .reasoning = options->reasoning,
                                            .starts_in_reasoning = options->starts_in_reasoning,
                                            .tool_list = options->tools,
                                            .held_bytes_max = 65536,
                                            .on_delta = count_call,
                                            .context = &count};
    assert_int_equal(output_parser_create(&parsing, &p), STATUS_OK);
    assert_int_equal(output_parser_feed(p, text_slice_of(text)), STATUS_OK);
    assert_int_equal(output_parser_finish(p), STATUS_OK);
    output_parser_destroy(p);
    return count;
}

/* One form: a call, two calls ("" : the form has one), a call of what is no function, one with wrong arguments. */
struct form_case {
    enum tool_form form;
    const char *one, *two, *stranger, *wrong;
};

static const struct form_case cases[] = {
    {TOOL_FORM_HERMES,
     "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"town\": \"Ulm \\\"x\\\"\", \"days\": "
     "3}}\n</tool_call>",
     "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>\n"
     "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"town\": \"Ulm\"}}\n</tool_call>",
     "<tool_call>\n{\"name\": \"later\", \"arguments\": {}}\n</tool_call>",
     "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"days\": 3}}\n</tool_call>"},
    {TOOL_FORM_QWEN3_CODER,
     "<tool_call>\n<function=weather>\n<parameter=town>\nUlm\n<b></parameter>\n</"
     "parameter>\n<parameter=days>\n3\n"
     "</parameter>\n<parameter=unit>\nC\n</parameter>\n</function>\n</tool_call>",
     "<tool_call>\n<function=now>\n</function>\n</tool_call>\n<tool_call>\n<function=now>\n</"
     "function>\n</tool_call>",
     "<tool_call>\n<function=later>\n</function>\n</tool_call>",
     "<tool_call>\n<function=weather>\n<parameter=town>\nUlm\n</"
     "parameter>\n<parameter=days>\nthree\n</parameter>\n"
     "</function>\n</tool_call>"},
    {TOOL_FORM_LLAMA3_JSON, "{\"name\": \"weather\", \"parameters\": {\"town\": \"Ulm\"}}",
     "{\"name\": \"now\", \"parameters\": {}}; {\"name\": \"now\", \"parameters\": {}}",
     "{\"name\": \"later\", \"parameters\": {}}",
     "{\"name\": \"weather\", \"parameters\": {\"town\": 1}}"},
    {TOOL_FORM_PYTHONIC, "[weather(town=\"Ulm\", days=3, unit=\"C\", tags=[True, False])]",
     "[now(), weather(town=\"Ulm\", unit=\"F\")]", "[later()]", "[weather(days=3)]"},
    {TOOL_FORM_MISTRAL, "[TOOL_CALLS][{\"name\": \"weather\", \"arguments\": {\"town\": \"Ulm\"}}]",
     "[TOOL_CALLS]now[ARGS]{}[TOOL_CALLS]weather{\"town\": \"Ulm\"}", "[TOOL_CALLS]later[ARGS]{}",
     "[TOOL_CALLS]weather[ARGS]{}"},
    {TOOL_FORM_DEEPSEEK,
     "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>{\"town\": "
     "\"Ulm\"}<｜tool▁call▁end｜>"
     "<｜tool▁calls▁end｜>",
     "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n```json\n{}\n```<"
     "｜tool▁call▁end｜>"
     "<｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
     "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>later<｜tool▁sep｜>{}<｜tool▁call▁end｜><"
     "｜tool▁calls▁end｜>",
     "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>{}<｜tool▁call▁end｜><"
     "｜tool▁calls▁end｜>"},
    {TOOL_FORM_HARMONY,
     "<|channel|>analysis<|message|>Let me see.<|end|><|start|>assistant<|channel|>commentary "
     "to=functions.weather "
     "<|constrain|>json<|message|>{\"town\": \"Ulm\"}<|call|>",
     "", "<|channel|>commentary to=functions.later <|constrain|>json<|message|>{}",
     "<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{}"},
    {TOOL_FORM_GRANITE,
     "<|tool_call|>[{\"name\": \"weather\", \"arguments\": {\"town\": \"Ulm\"}}]",
     "<|tool_call|>[{\"name\": \"now\", \"arguments\": {}}, {\"name\": \"now\", \"arguments\": "
     "{}}]",
     "<|tool_call|>[{\"name\": \"later\", \"arguments\": {}}]",
     "<|tool_call|>[{\"name\": \"weather\", \"arguments\": {}}]"},
    {TOOL_FORM_PHI4_MINI,
     "<|tool_call|>[{\"name\": \"weather\", \"arguments\": {\"town\": \"Ulm\"}}]<|/tool_call|>",
     "<|tool_call|>[{\"name\": \"now\", \"arguments\": {}}, {\"name\": \"now\", \"arguments\": "
     "{}}]<|/tool_call|>",
     "<|tool_call|>[{\"name\": \"later\", \"arguments\": {}}]<|/tool_call|>",
     "<|tool_call|>[{\"name\": \"weather\", \"arguments\": {}}]<|/tool_call|>"},
    {TOOL_FORM_GEMMA, "{\"name\": \"weather\", \"parameters\": {\"town\": \"Ulm\"}}", "",
     "{\"name\": \"later\", \"parameters\": {}}", "{\"name\": \"weather\", \"parameters\": {}}"},
    {TOOL_FORM_KIMI_K2,
     "<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:0<|tool_call_argument_begin|"
     ">{\"town\": "
     "\"Ulm\"}<|tool_call_end|><|tool_calls_section_end|>",
     "<|tool_calls_section_begin|><|tool_call_begin|>functions.now:0<|tool_call_argument_begin|>{}<"
     "|tool_call_end|>"
     "<|tool_call_begin|>functions.now:1<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_"
     "calls_section_end|>",
     "<|tool_calls_section_begin|><|tool_call_begin|>functions.later:0<|tool_call_argument_begin|>{"
     "}"
     "<|tool_call_end|><|tool_calls_section_end|>",
     "<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:0<|tool_call_argument_begin|"
     ">{}"
     "<|tool_call_end|><|tool_calls_section_end|>"},
    {TOOL_FORM_GLM45,
     "<tool_call>weather\n<arg_key>town</arg_key>\n<arg_value>Ulm</arg_value>\n<arg_key>days</"
     "arg_key>\n"
     "<arg_value>3</arg_value>\n</tool_call>",
     "<tool_call>now\n</tool_call>\n<tool_call>now\n</tool_call>", "<tool_call>later\n</tool_call>",
     "<tool_call>weather\n</tool_call>"},
};

static void every_form_takes_its_calls_and_no_others(void **state)
{
    (void)state;
    struct fixture f = fixture_create();
    bool is_there[TOOL_FORM_COUNT] = {[TOOL_FORM_NONE] = true};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct form_case *c = &cases[i];
        struct tool_grammar_options options = {.form = c->form,
                                               .reasoning = c->form == TOOL_FORM_HARMONY
                                                                ? REASONING_FORM_HARMONY
                                                                : REASONING_FORM_NONE,
                                               .tools = f.tools,
                                               .is_required = true};
        is_there[c->form] = true;
        print_message("%s\n", tool_form_name(c->form));
        grammar *g = compile(&f, &options);
        assert_true(is_taken(g, c->one));
        assert_int_equal(calls_in(&options, c->one), 1);
        if (c->two[0] != '\0') {
            assert_true(is_taken(g, c->two));
            assert_int_equal(calls_in(&options, c->two), 2);
        }
        assert_false(is_taken(g, c->stranger));
        assert_false(is_taken(g, c->wrong));
        assert_false(is_taken(g, "It is sunny."));
        assert_false(is_taken(g, ""));
        grammar_release(g);

        options.is_single = true;
        g = compile(&f, &options);
        assert_true(is_taken(g, c->one));
        assert_false(c->two[0] != '\0' && is_taken(g, c->two));
        grammar_release(g);
    }
    for (unsigned i = 0; i < TOOL_FORM_COUNT; i++)
        assert_true(is_there[i]);
    fixture_destroy(&f);
}

static void without_a_duty_to_call_text_is_free_and_calls_are_not(void **state)
{
    (void)state;
    struct fixture f = fixture_create();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct form_case *c = &cases[i];
        bool is_harmony = c->form == TOOL_FORM_HARMONY;
        struct tool_grammar_options options = {.form = c->form,
                                               .reasoning = is_harmony ? REASONING_FORM_HARMONY
                                                                       : REASONING_FORM_NONE,
                                               .tools = f.tools};
        print_message("%s\n", tool_form_name(c->form));
        grammar *g = compile(&f, &options);
        assert_true(is_taken(g, is_harmony ? "<|channel|>final<|message|>It is sunny: a < b."
                                           : "It is sunny: a < b, <<, <tool, [TOOL_CALL, é."));
        assert_true(is_taken(g, c->one));
        assert_false(is_taken(g, c->stranger));
        assert_false(is_taken(g, c->wrong));
        grammar_release(g);
    }
    fixture_destroy(&f);
}

static void calls_stand_among_text_where_the_form_marks_them(void **state)
{
    (void)state;
    struct fixture f = fixture_create();
    struct tool_grammar_options options = {.form = TOOL_FORM_HERMES, .tools = f.tools};
    char text[1024];
    grammar *g = compile(&f, &options);
    snprintf(text, sizeof text, "I <<tool_ look.\n%s\nAnd <%s done <tool_call", cases[0].one,
             cases[0].two);
    assert_true(is_taken(g, text));
    assert_int_equal(calls_in(&options, text), 3);
    snprintf(text, sizeof text, "%s then %s", cases[0].one, cases[0].stranger);
    assert_false(is_taken(g, text));
    grammar_release(g);
    options.is_single = true;
    g = compile(&f, &options);
    snprintf(text, sizeof text, "Look: %s so.", cases[0].one);
    assert_true(is_taken(g, text));
    snprintf(text, sizeof text, "%s and %s", cases[0].one, cases[0].one);
    assert_false(is_taken(g, text));
    grammar_release(g);
    fixture_destroy(&f);
}

static void reasoning_goes_before_what_is_asked_for(void **state)
{
    (void)state;
    struct fixture f = fixture_create();
    struct tool_grammar_options options = {.reasoning = REASONING_FORM_THINK,
                                           .content = text_slice_of("%json{\"type\":\"integer\"}")};
    grammar *g = compile(&f, &options);
    assert_true(is_taken(g, "7"));
    assert_true(is_taken(g, "<think>\nIs a</b < 7?</think>\n\n7"));
    assert_false(is_taken(g, "<think>7"));
    assert_false(is_taken(g, "<think></think>seven"));
    grammar_release(g);
    options.starts_in_reasoning = true;
    g = compile(&f, &options);
    assert_true(is_taken(g, "I think so.\n</think>\n7"));
    assert_false(is_taken(g, "7"));
    grammar_release(g);

    options = (struct tool_grammar_options){.form = TOOL_FORM_HERMES,
                                            .reasoning = REASONING_FORM_THINK,
                                            .tools = f.tools,
                                            .content = text_slice_of("\"yes\" | \"no\"")};
    g = compile(&f, &options);
    assert_true(is_taken(g, "<think>Hm.</think>\nyes"));
    assert_true(is_taken(g, cases[0].one));
    assert_false(is_taken(g, "perhaps"));
    grammar_release(g);
    fixture_destroy(&f);
}

static void functions_that_are_not_strict_may_be_loose(void **state)
{
    (void)state;
    struct fixture f = fixture_create();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct tool_grammar_options options = {.form = cases[i].form,
                                               .reasoning = cases[i].form == TOOL_FORM_HARMONY
                                                                ? REASONING_FORM_HARMONY
                                                                : REASONING_FORM_NONE,
                                               .tools = f.tools,
                                               .is_required = true,
                                               .is_loose = true};
        grammar *g = compile(&f, &options);
        assert_true(is_taken(g, cases[i].one)); /* weather is strict */
        assert_false(is_taken(g, cases[i].wrong));
        grammar_release(g);
    }
    struct tool_grammar_options options = {
        .form = TOOL_FORM_HERMES, .tools = f.tools, .is_required = true, .is_loose = true};
    grammar *g = compile(&f, &options);
    assert_true(is_taken(
        g, "<tool_call>\n{\"name\": \"now\", \"arguments\": {\"zone\": [1, null]}}\n</tool_call>"));
    grammar_release(g);
    fixture_destroy(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_takes_its_calls_and_no_others),
        cmocka_unit_test(without_a_duty_to_call_text_is_free_and_calls_are_not),
        cmocka_unit_test(calls_stand_among_text_where_the_form_marks_them),
        cmocka_unit_test(reasoning_goes_before_what_is_asked_for),
        cmocka_unit_test(functions_that_are_not_strict_may_be_loose),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
