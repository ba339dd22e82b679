/* What the forms of calls are, as EBNF.
 *
 *     root   ::= thought? answer
 *     answer ::= calls                     where a call is required
 *              | (text call)* text         text in which no call begins, for forms that mark a call
 *              | calls | other             for forms whose calls are all of an answer and known by their first character
 */

#include "tool_grammar.h"

#include <stdio.h>

#include "check.h"
#include "output_forms.h"
#include "tool_arguments.h"
#include "tool_text.h"

/* --- calls --- */

/* What stands around a call, its name and its arguments. */
struct call_frame {
    const char *
        mark; /* begins a call, or the list of them, and stands nowhere else; NULL: there is none */
    const char *list, *list_end;          /* after the mark, around all calls */
    const char *before, *between, *after; /* name, arguments */
    const char *separator;                /* of calls; NULL: an answer has one */
    const char
        *first; /* without a mark: no other text may begin with one of these, as inside a class */
    enum tool_arguments arguments;
    bool is_repeated; /* the mark comes again for each call */
};

static const struct call_frame frames[TOOL_FORM_COUNT] = {
    [TOOL_FORM_HERMES] = {.mark = "<tool_call>",
                          .before = "\n{\"name\": \"",
                          .between = "\", \"arguments\": ",
                          .after = "}\n</tool_call>",
                          .separator = "\n",
                          .is_repeated = true},
    [TOOL_FORM_QWEN3_CODER] = {.mark = "<tool_call>",
                               .before = "\n<function=",
                               .between = ">\n",
                               .after = "</function>\n</tool_call>",
                               .separator = "\n",
                               .arguments = TOOL_ARGUMENTS_QWEN,
                               .is_repeated = true},
    [TOOL_FORM_LLAMA3_JSON] = {.before = "{\"name\": \"",
                               .between = "\", \"parameters\": ",
                               .after = "}",
                               .separator = "; ",
                               .first = "{<"},
    [TOOL_FORM_PYTHONIC] = {.list = "[",
                            .list_end = "]",
                            .before = "",
                            .between = "(",
                            .after = ")",
                            .separator = ", ",
                            .first = "\\[<",
                            .arguments = TOOL_ARGUMENTS_PYTHON},
    [TOOL_FORM_MISTRAL] = {.mark = "[TOOL_CALLS]",
                           .list = "[",
                           .list_end = "]",
                           .before = "{\"name\": \"",
                           .between = "\", \"arguments\": ",
                           .after = "}",
                           .separator = ", "},
    [TOOL_FORM_DEEPSEEK] = {.mark = "<｜tool▁calls▁begin｜>",
                            .list = "",
                            .list_end = "<｜tool▁calls▁end｜>",
                            .before = "<｜tool▁call▁begin｜>",
                            .between = "<｜tool▁sep｜>",
                            .after = "<｜tool▁call▁end｜>",
                            .separator = ""},
    [TOOL_FORM_HARMONY] = {.before = "<|channel|>commentary to=functions.",
                           .between = " <|constrain|>json<|message|>",
                           .after = ""},
    [TOOL_FORM_GRANITE] = {.mark = "<|tool_call|>",
                           .list = "[",
                           .list_end = "]",
                           .before = "{\"name\": \"",
                           .between = "\", \"arguments\": ",
                           .after = "}",
                           .separator = ", "},
    [TOOL_FORM_PHI4_MINI] = {.mark = "<|tool_call|>",
                             .list = "[",
                             .list_end = "]<|/tool_call|>",
                             .before = "{\"name\": \"",
                             .between = "\", \"arguments\": ",
                             .after = "}",
                             .separator = ", "},
    [TOOL_FORM_GEMMA] =
        {.before = "{\"name\": \"", .between = "\", \"parameters\": ", .after = "}", .first = "{`"},
    [TOOL_FORM_KIMI_K2] = {.mark = "<|tool_calls_section_begin|>",
                           .list = "",
                           .list_end = "<|tool_calls_section_end|>",
                           .before = "<|tool_call_begin|>functions.",
                           .between = "<|tool_call_argument_begin|>",
                           .after = "<|tool_call_end|>",
                           .separator = ""},
    [TOOL_FORM_GLM45] = {.mark = "<tool_call>",
                         .before = "",
                         .between = "\n",
                         .after = "</tool_call>",
                         .separator = "\n",
                         .arguments = TOOL_ARGUMENTS_GLM,
                         .is_repeated = true},
};

/* Another way in which a form's models write a call. */
struct call_variant {
    enum tool_form form;
    const char *before, *between, *after;
};

static const struct call_variant variants[] = {
    {TOOL_FORM_DEEPSEEK, "<｜tool▁call▁begin｜>function<｜tool▁sep｜>", "\n```json\n",
     "\n```<｜tool▁call▁end｜>"},
    {TOOL_FORM_HARMONY, " to=functions.", "<|channel|>commentary json<|message|>", ""},
    {TOOL_FORM_HARMONY, " to=functions.", "<|channel|>commentary <|constrain|>json<|message|>", ""},
};

static void write_call(struct buffer *out, enum tool_form form, const char *const parts[3],
                       struct text_slice name, size_t index)
{
    tool_literal_write(out, text_slice_of(parts[0]));
    buffer_append_byte(out, ' ');
    tool_literal_write(out, name);
    if (form == TOOL_FORM_KIMI_K2)
        buffer_append_text(out, " \":\" [0-9]{1,3}");
    buffer_append_byte(out, ' ');
    tool_literal_write(out, text_slice_of(parts[1]));
    buffer_append_format(out, " arguments-%zu ", index);
    tool_literal_write(out, text_slice_of(parts[2]));
}

/* call ::= one alternative a tool, and the rules of their arguments. */
static void write_call_rules(const struct tool_grammar_options *options, struct buffer *out)
{
    const struct call_frame *frame = &frames[options->form];
    size_t index;
    json_t *tool;
    json_array_foreach(options->tools, index, tool)
    {
        const json_t *function = json_object_get(tool, "function");
        const json_t *name = json_object_get(function, "name");
        struct text_slice text = {json_string_value(name), json_string_length(name)};
        const char *const parts[3] = {frame->before, frame->between, frame->after};
        buffer_append_format(out, "call-%zu ::= ", index);
        write_call(out, options->form, parts, text, index);
        for (size_t i = 0; i < ARRAY_COUNT(variants); i++) {
            const char *const others[3] = {variants[i].before, variants[i].between,
                                           variants[i].after};
            if (variants[i].form != options->form)
                continue;
            buffer_append_text(out, " | ");
            write_call(out, options->form, others, text, index);
        }
        buffer_append_byte(out, '\n');
        char rule[32];
        snprintf(rule, sizeof rule, "arguments-%zu", index);
        bool is_loose = options->is_loose && !json_is_true(json_object_get(function, "strict"));
        tool_arguments_write(out, frame->arguments, rule, json_object_get(function, "parameters"),
                             is_loose);
    }
    buffer_append_text(out, "call ::= ");
    for (size_t i = 0; i < json_array_size(options->tools); i++)
        buffer_append_format(out, "%scall-%zu", i > 0 ? " | " : "", i);
    buffer_append_byte(out, '\n');
}

/* Mistral's later models: [TOOL_CALLS]f[ARGS]{...}[TOOL_CALLS]g[ARGS]{...}, with or without [ARGS]. */
static void write_named_rules(const struct tool_grammar_options *options, struct buffer *out)
{
    size_t index;
    json_t *tool;
    buffer_append_text(out, "named ::= ");
    json_array_foreach(options->tools, index, tool)
    {
        const json_t *name = json_object_get(json_object_get(tool, "function"), "name");
        buffer_append_text(out, index > 0 ? " | " : "");
        tool_literal_write(out,
                           (struct text_slice){json_string_value(name), json_string_length(name)});
        buffer_append_format(out, " \"[ARGS]\"? arguments-%zu", index);
    }
    buffer_append_byte(out, '\n');
}

/* section ::= what follows the mark: one call, or the list of them; calls ::= all of an answer's, marks and all. */
static void write_section_rules(const struct tool_grammar_options *options, struct buffer *out)
{
    const struct call_frame *frame = &frames[options->form];
    bool is_one = options->is_single || frame->separator == NULL;
    bool has_list = frame->list != NULL;
    const char *separator = frame->separator != NULL ? frame->separator : "";
    buffer_append_text(out, "section ::= ");
    if (has_list)
        tool_literal_write(out, text_slice_of(frame->list));
    buffer_append_text(out, " call");
    if (!is_one && !frame->is_repeated) {
        buffer_append_text(out, " (");
        tool_literal_write(out, text_slice_of(separator));
        buffer_append_text(out, " call)*");
    }
    buffer_append_byte(out, ' ');
    if (has_list)
        tool_literal_write(out, text_slice_of(frame->list_end));
    if (options->form == TOOL_FORM_MISTRAL)
        buffer_append_text(out, is_one ? " | named" : " | named (\"[TOOL_CALLS]\" named)*");
    buffer_append_text(out, "\ncalls ::= ");
    if (frame->mark != NULL)
        tool_literal_write(out, text_slice_of(frame->mark));
    buffer_append_text(out, " section");
    if (!is_one && frame->is_repeated) {
        buffer_append_text(out, " (");
        tool_literal_write(out, text_slice_of(separator));
        buffer_append_byte(out, ' ');
        tool_literal_write(out, text_slice_of(frame->mark));
        buffer_append_text(out, " section)*");
    }
    buffer_append_byte(out, '\n');
}

/* --- answers --- */

/* A rule `free`: text with calls in it, or all text that is no call. */
static void write_free_rule(const struct tool_grammar_options *options, struct buffer *out)
{
    const struct call_frame *frame = &frames[options->form];
    if (frame->mark == NULL) {
        buffer_append_format(out, "free ::= calls | ([^%s \\t\\r\\n] [^]*)?\n", frame->first);
        return;
    }
    tool_text_write(out, "text", frame->mark);
    buffer_append_format(out, "free ::= (text section)%s text-none\n",
                         frame->is_repeated && !options->is_single ? "*" : "?");
}

static void write_answer_rule(const struct tool_grammar_options *options, struct buffer *out)
{
    bool has_tools = options->form != TOOL_FORM_NONE;
    bool has_content = options->content.bytes > 0;
    if (has_content) {
        buffer_append_text(out, "content ::= ");
        buffer_append_slice(out, options->content);
        buffer_append_byte(out, '\n');
    }
    if (!has_tools)
        buffer_append_text(out, "answer ::= content\n");
    else if (options->is_required)
        buffer_append_text(out, "answer ::= calls\n");
    else if (has_content)
        buffer_append_text(out, "answer ::= calls | content\n");
    else
        write_free_rule(options, out);
    if (has_tools && !options->is_required && !has_content)
        buffer_append_text(out, "answer ::= free\n");
}

/* An answer of harmony is messages: reasoning, perhaps words on what is about to be done, then a call or the final one. */
static void write_harmony_root(const struct tool_grammar_options *options, struct buffer *out)
{
    bool has_tools = options->form == TOOL_FORM_HARMONY;
    tool_text_write(out, "message", HARMONY_END);
    buffer_append_text(out, "before ::= \"" HARMONY_CHANNEL
                            "\" (\"analysis\" | \"commentary\") \"" HARMONY_MESSAGE
                            "\" message \"" HARMONY_START "assistant\"\n"
                            "final ::= \"" HARMONY_CHANNEL "final\" \" " HARMONY_TYPE
                            "json\"? \"" HARMONY_MESSAGE "\" ");
    if (options->content.bytes > 0)
        buffer_append_slice(out, options->content);
    else
        buffer_append_text(out, "message-none");
    buffer_append_byte(out, '\n');
    buffer_append_text(out, !has_tools ? "root ::= before* final\n"
                            : options->is_required
                                ? "root ::= before* calls \"" HARMONY_CALL "\"?\n"
                                : "root ::= before* (calls \"" HARMONY_CALL "\"? | final)\n");
}

static void write_root(const struct tool_grammar_options *options, struct buffer *out)
{
    const struct reasoning_marks *block = &reasoning_marks[options->reasoning];
    write_answer_rule(options, out);
    if (block->open == NULL) {
        buffer_append_text(out, "root ::= answer\n");
        return;
    }
    tool_text_write(out, "thought", block->close);
    buffer_append_text(out, "root ::= ");
    if (options->starts_in_reasoning) {
        buffer_append_text(out, "thought [ \\n]{0,2} answer\n");
        return;
    }
    buffer_append_byte(out, '(');
    tool_literal_write(out, text_slice_of(block->open));
    buffer_append_text(out, " thought [ \\n]{0,2})? answer\n");
}

void tool_grammar_write(const struct tool_grammar_options *options, struct buffer *out)
{
    bool has_tools = options->form != TOOL_FORM_NONE;
    DCHECK(has_tools || options->content.bytes > 0);
    if (has_tools) {
        write_call_rules(options, out);
        if (options->form == TOOL_FORM_MISTRAL)
            write_named_rules(options, out);
        write_section_rules(options, out);
    }
    if (options->form == TOOL_FORM_HARMONY || options->reasoning == REASONING_FORM_HARMONY)
        write_harmony_root(options, out);
    else
        write_root(options, out);
}
