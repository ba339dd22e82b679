/* Recorded outputs of every form (tests/data/tool_calls.json): what they mean, and that they mean it however the text is cut. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "buffer.h"
#include "output_parser.h"

#define CALLS_MAX 8u

struct outcome {
    struct buffer text, reasoning;
    struct {
        struct buffer name, arguments;
        bool has_ended;
    } calls[CALLS_MAX];
    uint32_t call_count;
};

static void outcome_init(struct outcome *o)
{
    *o = (struct outcome){.call_count = 0};
    buffer_init(&o->text, 1 << 20);
    buffer_init(&o->reasoning, 1 << 20);
    for (uint32_t i = 0; i < CALLS_MAX; i++) {
        buffer_init(&o->calls[i].name, 1 << 20);
        buffer_init(&o->calls[i].arguments, 1 << 20);
    }
}

static void outcome_deinit(struct outcome *o)
{
    buffer_deinit(&o->text);
    buffer_deinit(&o->reasoning);
    for (uint32_t i = 0; i < CALLS_MAX; i++) {
        buffer_deinit(&o->calls[i].name);
        buffer_deinit(&o->calls[i].arguments);
    }
}

static void add_delta(void *context, const struct output_delta *delta)
{
    struct outcome *o = context;
    uint32_t i = delta->tool_index;
    switch (delta->kind) {
    case OUTPUT_TEXT:
        buffer_append_slice(&o->text, delta->text);
        return;
    case OUTPUT_REASONING:
        buffer_append_slice(&o->reasoning, delta->text);
        return;
    case OUTPUT_TOOL_BEGIN:
        assert_int_equal(i, o->call_count);
        assert_true(i < CALLS_MAX);
        o->call_count++;
        buffer_append_slice(&o->calls[i].name, delta->tool_name);
        return;
    case OUTPUT_TOOL_ARGUMENTS:
        assert_int_equal(i + 1, o->call_count);
        assert_false(o->calls[i].has_ended);
        buffer_append_slice(&o->calls[i].arguments, delta->text);
        return;
    case OUTPUT_TOOL_END:
        assert_int_equal(i + 1, o->call_count);
        assert_false(o->calls[i].has_ended);
        o->calls[i].has_ended = true;
        return;
    }
}

static const char *text_of(const json_t *recorded, const char *key)
{
    return json_string_value(json_object_get(recorded, key));
}

/* Runs a recorded output that is cut before bytes `first` and `second`. */
static void run_cut(const json_t *recorded, const json_t *tools, size_t first, size_t second,
                    struct outcome *o)
{
    struct output_parser_options options = {
        .starts_in_reasoning = json_is_true(json_object_get(recorded, "is_open")),
        .tool_list = tools,
        .held_bytes_max = 4096,
        .on_delta = add_delta,
        .context = o,
    };
    assert_true(tool_form_find(text_of(recorded, "tools"), &options.tools));
    assert_true(reasoning_form_find(text_of(recorded, "reasoning"), &options.reasoning));
    output_parser *p = NULL;
    assert_int_equal(output_parser_create(&options, &p), STATUS_OK);
    const char *output = text_of(recorded, "output");
    size_t cuts[4] = {0, first, second, strlen(output)};
    for (size_t i = 0; i < 3; i++) {
        struct text_slice piece = {output + cuts[i], cuts[i + 1] - cuts[i]};
        assert_int_equal(output_parser_feed(p, piece), STATUS_OK);
    }
    assert_int_equal(output_parser_finish(p), STATUS_OK);
    output_parser_destroy(p);
}

static void check_text(const json_t *recorded, const char *key, const struct buffer *got)
{
    const char *expected = text_of(recorded, key);
    if (strlen(expected) != got->bytes ||
        (got->bytes > 0 && memcmp(expected, got->data, got->bytes) != 0))
        fail_msg("%s, %s: %s is '%s' and not '%s'", text_of(recorded, "tools"),
                 text_of(recorded, "name"), key, got->data != NULL ? got->data : "", expected);
}

/* `arguments` of null: the output ended within them. */
static void check_outcome(const json_t *recorded, const struct outcome *o)
{
    check_text(recorded, "content", &o->text);
    check_text(recorded, "thought", &o->reasoning);
    const json_t *calls = json_object_get(recorded, "calls");
    if (json_array_size(calls) != o->call_count)
        fail_msg("%s, %s: %u calls", text_of(recorded, "tools"), text_of(recorded, "name"),
                 o->call_count);
    for (uint32_t i = 0; i < o->call_count; i++) {
        const json_t *call = json_array_get(calls, i),
                     *expected = json_object_get(call, "arguments");
        assert_string_equal(o->calls[i].name.data, text_of(call, "name"));
        assert_true(o->calls[i].has_ended);
        json_t *arguments = json_loadb(o->calls[i].arguments.data, o->calls[i].arguments.bytes,
                                       JSON_REJECT_DUPLICATES, NULL);
        if (json_is_null(expected) ? arguments != NULL : !json_equal(arguments, expected))
            fail_msg("%s, %s: arguments are '%s'", text_of(recorded, "tools"),
                     text_of(recorded, "name"), o->calls[i].arguments.data);
        json_decref(arguments);
    }
}

static bool buffers_are_equal(const struct buffer *a, const struct buffer *b)
{
    return a->bytes == b->bytes && (a->bytes == 0 || memcmp(a->data, b->data, a->bytes) == 0);
}

static bool outcomes_are_equal(const struct outcome *a, const struct outcome *b)
{
    bool are_equal = a->call_count == b->call_count && buffers_are_equal(&a->text, &b->text) &&
                     buffers_are_equal(&a->reasoning, &b->reasoning);
    for (uint32_t i = 0; are_equal && i < a->call_count; i++)
        are_equal = buffers_are_equal(&a->calls[i].name, &b->calls[i].name) &&
                    buffers_are_equal(&a->calls[i].arguments, &b->calls[i].arguments);
    return are_equal;
}

static json_t *load_recorded(void)
{
    json_error_t error;
    json_t *recorded = json_load_file("tests/data/tool_calls.json", 0, &error);
    if (recorded == NULL)
        fail_msg("tests/data/tool_calls.json: %s", error.text);
    return recorded;
}

static void recorded_outputs_give_their_text_reasoning_and_calls(void **state)
{
    (void)state;
    json_t *all = load_recorded();
    size_t index;
    json_t *recorded;
    json_array_foreach(json_object_get(all, "outputs"), index, recorded)
    {
        struct outcome o;
        outcome_init(&o);
        run_cut(recorded, json_object_get(all, "tools"), 0, 0, &o);
        check_outcome(recorded, &o);
        outcome_deinit(&o);
    }
    json_decref(all);
}

static void check_cut(const json_t *recorded, const json_t *tools, size_t first, size_t second,
                      const struct outcome *whole)
{
    struct outcome cut;
    outcome_init(&cut);
    run_cut(recorded, tools, first, second, &cut);
    if (!outcomes_are_equal(whole, &cut))
        fail_msg("%s, %s: cut at %zu and %zu it means something else", text_of(recorded, "tools"),
                 text_of(recorded, "name"), first, second);
    outcome_deinit(&cut);
}

/* All cuts in two and in three. */
static void the_cut_of_the_text_does_not_matter(void **state)
{
    (void)state;
    json_t *all = load_recorded();
    const json_t *tools = json_object_get(all, "tools");
    size_t index;
    json_t *recorded;
    json_array_foreach(json_object_get(all, "outputs"), index, recorded)
    {
        struct outcome whole;
        outcome_init(&whole);
        run_cut(recorded, tools, 0, 0, &whole);
        size_t bytes = strlen(text_of(recorded, "output"));
        for (size_t first = 0; first < bytes; first++)
            for (size_t second = first; second < bytes; second++)
                check_cut(recorded, tools, first, second, &whole);
        outcome_deinit(&whole);
    }
    json_decref(all);
}

static void every_form_has_recorded_outputs(void **state)
{
    (void)state;
    json_t *all = load_recorded();
    for (unsigned form = 0; form < TOOL_FORM_COUNT; form++) {
        size_t index, count = 0;
        json_t *recorded;
        json_array_foreach(json_object_get(all, "outputs"), index, recorded)
        {
            if (strcmp(text_of(recorded, "tools"), tool_form_name((enum tool_form)form)) == 0)
                count++;
        }
        assert_true(count > 0);
    }
    json_decref(all);
}

static void text_that_waits_for_too_long_is_text(void **state)
{
    (void)state;
    struct outcome o;
    outcome_init(&o);
    struct output_parser_options options = {
        .tools = TOOL_FORM_HERMES, .held_bytes_max = 64, .on_delta = add_delta, .context = &o};
    output_parser *p = NULL;
    assert_int_equal(output_parser_create(&options, &p), STATUS_OK);
    struct buffer output;
    buffer_init(&output, 1000);
    buffer_append_text(&output, "<tool_call>{\"a\": \"");
    while (output.bytes < 300)
        buffer_append_byte(&output, 'x');
    assert_int_equal(output_parser_feed(p, buffer_slice(&output)), STATUS_OK);
    assert_int_equal(o.text.bytes, output.bytes);
    assert_memory_equal(o.text.data, output.data, output.bytes);
    buffer_deinit(&output);
    output_parser_destroy(p);
    outcome_deinit(&o);
}

static struct text_slice slice(const char *text)
{
    return (struct text_slice){text, strlen(text)};
}

static void templates_tell_their_form(void **state)
{
    (void)state;
    assert_int_equal(tool_form_detect(slice("{{ '<tool_call>\\n' }}")), TOOL_FORM_HERMES);
    assert_int_equal(tool_form_detect(slice("<tool_call> <function=")), TOOL_FORM_QWEN3_CODER);
    assert_int_equal(tool_form_detect(slice("<tool_call> <arg_key>")), TOOL_FORM_GLM45);
    assert_int_equal(tool_form_detect(slice("<|im_start|>")), TOOL_FORM_NONE);
    assert_int_equal(reasoning_form_detect(slice("x '</think>' y")), REASONING_FORM_THINK);
    assert_int_equal(reasoning_form_detect(slice("<|im_start|>")), REASONING_FORM_NONE);
    assert_true(reasoning_form_is_open(REASONING_FORM_THINK, slice("assistant\n<think>\n")));
    assert_false(reasoning_form_is_open(REASONING_FORM_THINK, slice("<think>\n\n</think>\n\n")));
    assert_false(reasoning_form_is_open(REASONING_FORM_NONE, slice("<think>")));
}

/* The templates of their makers, in tests/data/chat_templates. */
static void templates_of_families_tell_their_form(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        enum tool_form tools;
        enum reasoning_form reasoning;
    } families[] = {
        {"Qwen-Qwen2.5-7B-Instruct", TOOL_FORM_HERMES, REASONING_FORM_NONE},
        {"Qwen-Qwen3-0.6B", TOOL_FORM_HERMES, REASONING_FORM_THINK},
        {"NousResearch-Hermes-3-Llama-3.1-8B-tool_use", TOOL_FORM_HERMES, REASONING_FORM_NONE},
        {"ibm-granite-granite-4.0", TOOL_FORM_HERMES, REASONING_FORM_NONE},
        {"ibm-granite-granite-3.3-2B-Instruct", TOOL_FORM_GRANITE, REASONING_FORM_THINK},
        {"Qwen3-Coder", TOOL_FORM_QWEN3_CODER, REASONING_FORM_NONE},
        {"NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", TOOL_FORM_QWEN3_CODER, REASONING_FORM_THINK},
        {"meetkai-functionary-medium-v3.1", TOOL_FORM_QWEN3_CODER, REASONING_FORM_NONE},
        {"meta-llama-Llama-3.1-8B-Instruct", TOOL_FORM_LLAMA3_JSON, REASONING_FORM_NONE},
        {"meta-llama-Llama-3.2-3B-Instruct", TOOL_FORM_LLAMA3_JSON, REASONING_FORM_NONE},
        {"mistralai-Mistral-Nemo-Instruct-2407", TOOL_FORM_MISTRAL, REASONING_FORM_NONE},
        {"mistralai-Ministral-3-14B-Reasoning-2512", TOOL_FORM_MISTRAL, REASONING_FORM_MISTRAL},
        {"deepseek-ai-DeepSeek-R1-Distill-Llama-8B", TOOL_FORM_DEEPSEEK, REASONING_FORM_THINK},
        {"deepseek-ai-DeepSeek-V3.1", TOOL_FORM_DEEPSEEK, REASONING_FORM_THINK},
        {"openai-gpt-oss-120b", TOOL_FORM_HARMONY, REASONING_FORM_HARMONY},
        {"moonshotai-Kimi-K2", TOOL_FORM_KIMI_K2, REASONING_FORM_NONE},
        {"GLM-4.6", TOOL_FORM_GLM45, REASONING_FORM_THINK},
        {"fireworks-ai-llama-3-firefunction-v2", TOOL_FORM_PHI4_MINI, REASONING_FORM_NONE},
        {"HuggingFaceTB-SmolLM2-135M-Instruct", TOOL_FORM_NONE, REASONING_FORM_NONE},
        {"Llama-3", TOOL_FORM_NONE, REASONING_FORM_NONE},
    };
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        static char source[1 << 18];
        char path[256];
        snprintf(path, sizeof path, "tests/data/chat_templates/%s.jinja", families[i].file);
        FILE *file = fopen(path, "r");
        if (file == NULL)
            fail_msg("%s is missing", path);
        struct text_slice text = {source, fread(source, 1, sizeof source, file)};
        fclose(file);
        if (tool_form_detect(text) != families[i].tools ||
            reasoning_form_detect(text) != families[i].reasoning)
            fail_msg("%s: %s, %s", families[i].file, tool_form_name(tool_form_detect(text)),
                     reasoning_form_name(reasoning_form_detect(text)));
    }
    /* Phi-4-mini's wants tools inside the system message and shows none of a request's: to that it is as if it knew none. */
    assert_int_equal(tool_form_detect(slice("'<|tool|>' + message['tools'] + '<|/tool|>'")),
                     TOOL_FORM_NONE);
}

static void control_tokens_that_a_form_is_made_of_are_named(void **state)
{
    (void)state;
    assert_true(
        output_forms_need_token(TOOL_FORM_HERMES, REASONING_FORM_NONE, slice("<tool_call>")));
    assert_true(output_forms_need_token(TOOL_FORM_NONE, REASONING_FORM_THINK, slice("</think>")));
    assert_true(output_forms_need_token(TOOL_FORM_MISTRAL, REASONING_FORM_NONE, slice("[ARGS]")));
    assert_true(
        output_forms_need_token(TOOL_FORM_HARMONY, REASONING_FORM_HARMONY, slice("<|channel|>")));
    assert_true(
        output_forms_need_token(TOOL_FORM_NONE, REASONING_FORM_HARMONY, slice("<|constrain|>")));
    assert_true(
        output_forms_need_token(TOOL_FORM_GLM45, REASONING_FORM_NONE, slice("</arg_value>")));
    assert_false(
        output_forms_need_token(TOOL_FORM_HERMES, REASONING_FORM_NONE, slice("</arg_value>")));
    assert_false(
        output_forms_need_token(TOOL_FORM_HERMES, REASONING_FORM_THINK, slice("<|im_start|>")));
    assert_false(
        output_forms_need_token(TOOL_FORM_NONE, REASONING_FORM_NONE, slice("<tool_call>")));
}

/* What is written to end reasoning is read as its end, and nothing of it is shown. */
static void the_end_that_is_written_ends_reasoning(void **state)
{
    (void)state;
    for (int form = REASONING_FORM_NONE + 1; form < REASONING_FORM_COUNT; form++) {
        struct outcome o;
        outcome_init(&o);
        struct output_parser_options options = {.reasoning = (enum reasoning_form)form,
                                                .held_bytes_max = 4096,
                                                .on_delta = add_delta,
                                                .context = &o};
        struct reasoning_texts texts = reasoning_form_texts((enum reasoning_form)form);
        const struct text_slice pieces[] = {texts.open, {"why", 3}, texts.end, {"so", 2}};
        output_parser *p = NULL;
        assert_int_equal(output_parser_create(&options, &p), STATUS_OK);
        for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++)
            assert_int_equal(output_parser_feed(p, pieces[i]), STATUS_OK);
        assert_int_equal(output_parser_finish(p), STATUS_OK);
        output_parser_destroy(p);
        assert_true(text_slice_is(buffer_slice(&o.reasoning), "why"));
        assert_true(text_slice_is(buffer_slice(&o.text), "so"));
        assert_non_null(
            memmem(texts.end.data, texts.end.bytes, texts.close.data, texts.close.bytes));
        outcome_deinit(&o);
    }
    assert_int_equal(reasoning_form_texts(REASONING_FORM_NONE).end.bytes, 0);
}

static void names_find_their_forms(void **state)
{
    (void)state;
    for (unsigned i = 0; i < TOOL_FORM_COUNT; i++) {
        enum tool_form form;
        assert_true(tool_form_find(tool_form_name((enum tool_form)i), &form));
        assert_int_equal(form, i);
    }
    enum tool_form form;
    enum reasoning_form reasoning;
    assert_false(tool_form_find("herms", &form));
    assert_false(reasoning_form_find("", &reasoning));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded_outputs_give_their_text_reasoning_and_calls),
        cmocka_unit_test(the_cut_of_the_text_does_not_matter),
        cmocka_unit_test(every_form_has_recorded_outputs),
        cmocka_unit_test(text_that_waits_for_too_long_is_text),
        cmocka_unit_test(templates_tell_their_form),
        cmocka_unit_test(templates_of_families_tell_their_form),
        cmocka_unit_test(control_tokens_that_a_form_is_made_of_are_named),
        cmocka_unit_test(the_end_that_is_written_ends_reasoning),
        cmocka_unit_test(names_find_their_forms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
