#include "output_forms.h"

#include <string.h>

#define DEEPSEEK_SEPARATOR "<｜tool▁sep｜>"

/* Where `part` begins in `text`, or its end. */
static size_t find(struct text_slice text, const char *part)
{
    const char *at = text.bytes > 0 ? memmem(text.data, text.bytes, part, strlen(part)) : NULL;
    return at != NULL ? (size_t)(at - text.data) : text.bytes;
}

static bool contains(struct text_slice text, const char *part)
{
    return find(text, part) < text.bytes;
}

static struct text_slice before(struct text_slice text, const char *part)
{
    return (struct text_slice){text.data, find(text, part)};
}

/* All of it when there is no such part. */
static struct text_slice behind(struct text_slice text, const char *part)
{
    size_t at = find(text, part);
    if (at == text.bytes)
        return text;
    at += strlen(part);
    return (struct text_slice){text.data + at, text.bytes - at};
}

/* f, f[ARGS] or f[CALL_ID]123[ARGS] */
static struct text_slice mistral_name(struct text_slice head)
{
    return call_trim(before(before(head, "[ARGS]"), "[CALL_ID]"));
}

/* V3: the type, a separator, the name, a line break and a fence. V3.1: the name and a separator. */
static struct text_slice deepseek_name(struct text_slice head)
{
    struct text_slice rest = call_trim(behind(head, DEEPSEEK_SEPARATOR));
    if (!contains(head, DEEPSEEK_SEPARATOR) || rest.bytes == 0)
        return call_trim(before(head, DEEPSEEK_SEPARATOR));
    return call_trim(before(before(rest, "\n"), "```"));
}

/* functions.f:0 */
static struct text_slice kimi_name(struct text_slice head)
{
    struct text_slice name = call_trim(before(head, "<|tool_call_argument_begin|>"));
    return before(behind(name, "functions."), ":");
}

#define HARMONY_TOKENS                                                                             \
    {                                                                                              \
        HARMONY_START, HARMONY_CHANNEL, HARMONY_MESSAGE, HARMONY_END, HARMONY_RETURN,              \
            HARMONY_CALL, HARMONY_TYPE                                                             \
    }

const struct tool_marks tool_marks[TOOL_FORM_COUNT] = {
    [TOOL_FORM_NONE] = {.name = "none"},
    [TOOL_FORM_HERMES] = {.name = "hermes",
                          .marks = {{"<tool_call>", CALL_BODY_JSON, "</tool_call>", false}}},
    [TOOL_FORM_QWEN3_CODER] = {.name = "qwen3_coder",
                               .marks = {{"<tool_call>", CALL_BODY_QWEN_XML, "</tool_call>", false},
                                         {"<function=", CALL_BODY_QWEN_FUNCTION, "</tool_call>",
                                          false}}},
    [TOOL_FORM_LLAMA3_JSON] = {.name = "llama3_json",
                               .marks = {{"<|python_tag|>", CALL_BODY_JSON, NULL, false}},
                               .anchor = '{',
                               .anchor_body = CALL_BODY_JSON,
                               .separator = ";"},
    [TOOL_FORM_PYTHONIC] = {.name = "pythonic",
                            .marks = {{"<|python_start|>", CALL_BODY_PYTHON_LIST, "<|python_end|>",
                                       false}},
                            .anchor = '[',
                            .anchor_body = CALL_BODY_PYTHON_LIST},
    [TOOL_FORM_MISTRAL] = {.name = "mistral",
                           .marks = {{"[TOOL_CALLS]", CALL_BODY_LIST_OR_NAMED, NULL, false}},
                           .inner_tokens = {"[ARGS]", "[CALL_ID]"},
                           .head_name = mistral_name},
    [TOOL_FORM_DEEPSEEK] = {.name = "deepseek_v3",
                            .marks = {{"<｜tool▁call▁begin｜>", CALL_BODY_NAMED_JSON,
                                       "<｜tool▁call▁end｜>", false}},
                            .skipped = {"<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"},
                            .inner_tokens = {DEEPSEEK_SEPARATOR},
                            .head_name = deepseek_name,
                            .separator = "```"},
    [TOOL_FORM_HARMONY] = {.name = "openai", .inner_tokens = HARMONY_TOKENS},
    [TOOL_FORM_GRANITE] = {.name = "granite",
                           .marks = {{"<|tool_call|>", CALL_BODY_JSON, NULL, false},
                                     {"<tool_call>", CALL_BODY_JSON, "</tool_call>", false}}},
    [TOOL_FORM_PHI4_MINI] = {.name = "phi4_mini_json",
                             .marks = {{"<|tool_call|>", CALL_BODY_JSON, "<|/tool_call|>", false},
                                       {"functools", CALL_BODY_JSON, NULL, false}}},
    [TOOL_FORM_GEMMA] = {.name = "gemma",
                         .marks = {{"```tool_code", CALL_BODY_PYTHON, "```", true},
                                   {"```json", CALL_BODY_JSON, "```", true}},
                         .anchor = '{',
                         .anchor_body = CALL_BODY_JSON},
    [TOOL_FORM_KIMI_K2] = {.name = "kimi_k2",
                           .marks = {{"<|tool_call_begin|>", CALL_BODY_NAMED_JSON,
                                      "<|tool_call_end|>", false}},
                           .skipped = {"<|tool_calls_section_begin|>",
                                       "<|tool_calls_section_end|>"},
                           .inner_tokens = {"<|tool_call_argument_begin|>"},
                           .head_name = kimi_name},
    [TOOL_FORM_GLM45] = {.name = "glm45",
                         .marks = {{"<tool_call>", CALL_BODY_GLM, NULL, false}},
                         .inner_tokens = {"</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>",
                                          "</arg_value>"}},
};

const struct reasoning_marks reasoning_marks[REASONING_FORM_COUNT] = {
    [REASONING_FORM_NONE] = {.name = "none"},
    [REASONING_FORM_THINK] = {.name = "think", .open = "<think>", .close = "</think>"},
    [REASONING_FORM_MISTRAL] = {.name = "mistral", .open = "[THINK]", .close = "[/THINK]"},
    [REASONING_FORM_HARMONY] = {.name = "openai_gptoss", .inner_tokens = HARMONY_TOKENS},
};

const char *tool_form_name(enum tool_form form)
{
    return tool_marks[form].name;
}

const char *reasoning_form_name(enum reasoning_form form)
{
    return reasoning_marks[form].name;
}

bool tool_form_find(const char *name, enum tool_form *out)
{
    for (unsigned i = 0; i < TOOL_FORM_COUNT; i++) {
        if (strcmp(tool_marks[i].name, name) == 0) {
            *out = (enum tool_form)i;
            return true;
        }
    }
    return false;
}

bool reasoning_form_find(const char *name, enum reasoning_form *out)
{
    for (unsigned i = 0; i < REASONING_FORM_COUNT; i++) {
        if (strcmp(reasoning_marks[i].name, name) == 0) {
            *out = (enum reasoning_form)i;
            return true;
        }
    }
    return false;
}

enum tool_form tool_form_detect(struct text_slice chat_template)
{
    /* The more special first: families share marks. */
    static const struct {
        const char *text;
        enum tool_form form;
    } signs[] = {
        {HARMONY_CHANNEL, TOOL_FORM_HARMONY},
        {"<|tool_calls_section_begin|>", TOOL_FORM_KIMI_K2},
        {"<｜tool▁calls▁begin｜>", TOOL_FORM_DEEPSEEK},
        {"<function=", TOOL_FORM_QWEN3_CODER},
        {"<arg_key>", TOOL_FORM_GLM45},
        {"[TOOL_CALLS]", TOOL_FORM_MISTRAL},
        {"<|/tool_call|>", TOOL_FORM_PHI4_MINI},
        {"functools", TOOL_FORM_PHI4_MINI},
        {"<|tool_call|>", TOOL_FORM_GRANITE},
        {"<tool_call>", TOOL_FORM_HERMES},
        {"<|python_start|>", TOOL_FORM_PYTHONIC},
        {"[func_name1(", TOOL_FORM_PYTHONIC},
        {"<|python_tag|>", TOOL_FORM_LLAMA3_JSON},
        {"\"parameters\": dictionary of argument name", TOOL_FORM_LLAMA3_JSON},
        {"tool_code", TOOL_FORM_GEMMA},
    };
    for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++) {
        if (contains(chat_template, signs[i].text))
            return signs[i].form;
    }
    return TOOL_FORM_NONE;
}

enum reasoning_form reasoning_form_detect(struct text_slice chat_template)
{
    if (contains(chat_template, HARMONY_CHANNEL))
        return REASONING_FORM_HARMONY;
    if (contains(chat_template, "[THINK]"))
        return REASONING_FORM_MISTRAL;
    return contains(chat_template, "</think>") || contains(chat_template, "<think>")
               ? REASONING_FORM_THINK
               : REASONING_FORM_NONE;
}

struct reasoning_texts reasoning_form_texts(enum reasoning_form form)
{
    static const struct {
        const char *open, *close, *end;
    } texts[REASONING_FORM_COUNT] = {
        [REASONING_FORM_NONE] = {"", "", ""},
        [REASONING_FORM_THINK] = {"<think>", "</think>", "\n</think>\n\n"},
        [REASONING_FORM_MISTRAL] = {"[THINK]", "[/THINK]", "[/THINK]"},
        [REASONING_FORM_HARMONY] = {HARMONY_CHANNEL "analysis" HARMONY_MESSAGE, HARMONY_END,
                                    HARMONY_END HARMONY_START "assistant" HARMONY_CHANNEL
                                                              "final" HARMONY_MESSAGE},
    };
    return (struct reasoning_texts){text_slice_of(texts[form].open),
                                    text_slice_of(texts[form].close),
                                    text_slice_of(texts[form].end)};
}

bool reasoning_form_is_open(enum reasoning_form form, struct text_slice prompt)
{
    const char *open = reasoning_marks[form].open;
    return open != NULL && text_slice_ends_with(call_trim(prompt), open);
}

static bool is_same(const char *text, struct text_slice token)
{
    return text != NULL && token.bytes > 0 && text_slice_is(token, text);
}

/* A mark may be more than a token ("<function=" is ordinary text), and a token a part of a mark. */
static bool is_part(const char *text, struct text_slice token)
{
    return text != NULL && token.bytes > 1 &&
           memmem(text, strlen(text), token.data, token.bytes) != NULL;
}

bool output_forms_need_token(enum tool_form tools, enum reasoning_form reasoning,
                             struct text_slice token)
{
    const struct tool_marks *marks = &tool_marks[tools];
    const struct reasoning_marks *block = &reasoning_marks[reasoning];
    for (size_t i = 0; i < FORM_MARKS; i++) {
        if (is_part(marks->marks[i].open, token) || is_part(marks->marks[i].close, token) ||
            is_same(marks->skipped[i], token))
            return true;
    }
    for (size_t i = 0; i < FORM_INNER_TOKENS; i++) {
        if (is_same(marks->inner_tokens[i], token) || is_same(block->inner_tokens[i], token))
            return true;
    }
    return is_same(block->open, token) || is_same(block->close, token);
}
