#ifndef PENSTOCK_ENGINE_OUTPUT_PARSER_H
#define PENSTOCK_ENGINE_OUTPUT_PARSER_H

#include <stdbool.h>
#include <stddef.h>

#include "json.h"
#include "output_delta.h"
#include "status.h"
#include "text_slice.h"

/* Tells apart what a model writes: text for the user, reasoning, and calls of tools, each in the form that its family
 * was trained to write. Works on the text as it comes, character by character, so however it is cut into pieces the
 * deltas join to the same text, reasoning and calls.
 *
 * Nothing is lost: what looks like a call and turns out not to be one comes out as text, a call that ends early is
 * ended. White space between calls, after the last one, and around reasoning is dropped.
 *
 * Forms as their makers' chat templates and model cards write them, names as vLLM's --tool-call-parser and
 * --reasoning-parser where it has them. */

enum tool_form {
    TOOL_FORM_NONE, /* calls are not looked for */
    TOOL_FORM_HERMES, /* <tool_call>{"name": ..., "arguments": {...}}</tool_call>: Hermes, Qwen2.5, Qwen3, SmolLM3 */
    /* <tool_call><function=f><parameter=a>1</parameter></function></tool_call>, <function=f>{...}</function> */
    TOOL_FORM_QWEN3_CODER,
    TOOL_FORM_LLAMA3_JSON, /* {"name": ..., "parameters": {...}}, perhaps behind <|python_tag|> */
    TOOL_FORM_PYTHONIC,    /* [f(a=1), g(b="x")]: Llama 3.2 and 4 */
    TOOL_FORM_MISTRAL,   /* [TOOL_CALLS][{...}], [TOOL_CALLS]f{...} and [TOOL_CALLS]f[ARGS]{...} */
    TOOL_FORM_DEEPSEEK,  /* V3, R1 and V3.1, between control tokens */
    TOOL_FORM_HARMONY,   /* gpt-oss: channels and recipients; also its reasoning */
    TOOL_FORM_GRANITE,   /* <|tool_call|>[{...}], <tool_call>... */
    TOOL_FORM_PHI4_MINI, /* <|tool_call|>[{...}]<|/tool_call|>, functools[{...}] */
    TOOL_FORM_GEMMA,     /* Python or JSON in a fenced block, or JSON alone */
    TOOL_FORM_KIMI_K2,   /* between control tokens, functions.f:0 */
    TOOL_FORM_GLM45,     /* <tool_call>f<arg_key>a</arg_key><arg_value>1</arg_value></tool_call> */
    TOOL_FORM_COUNT
};

enum reasoning_form {
    REASONING_FORM_NONE,
    REASONING_FORM_THINK,   /* <think> ... </think> */
    REASONING_FORM_MISTRAL, /* [THINK] ... [/THINK] */
    REASONING_FORM_HARMONY, /* the channel "analysis"; goes with TOOL_FORM_HARMONY */
    REASONING_FORM_COUNT
};

/* "hermes", ...; "none". */
const char *tool_form_name(enum tool_form form);
const char *reasoning_form_name(enum reasoning_form form);
/* False: there is none of this name. */
bool tool_form_find(const char *name, enum tool_form *out);
bool reasoning_form_find(const char *name, enum reasoning_form *out);

/* The form that a chat template (its Jinja source) speaks; NONE when it speaks of no tools, or of no reasoning. */
enum tool_form tool_form_detect(struct text_slice chat_template);
enum reasoning_form reasoning_form_detect(struct text_slice chat_template);

/* The marks around a form's reasoning, and what has to be written to end it before its time: the closing mark with what the
 * makers' chat templates put around it. Empty texts: the form has none. */
struct reasoning_texts {
    struct text_slice open, close, end;
};
struct reasoning_texts reasoning_form_texts(enum reasoning_form form);

/* Does a rendered prompt end inside reasoning, so that the output begins there? */
bool reasoning_form_is_open(enum reasoning_form form, struct text_slice prompt);

/* Is this the text of a control token that the parser of these forms needs to see in the output? */
bool output_forms_need_token(enum tool_form tools, enum reasoning_form reasoning,
                             struct text_slice token);

struct output_parser_options {
    enum tool_form tools;
    enum reasoning_form reasoning;
    bool starts_in_reasoning;
    /* The request's tools as an array of {"type": "function", "function": {...}}; read during creation only: names tell calls
     * from other JSON, types say what an untyped argument means. NULL: none */
    const json_t *tool_list;
    size_t
        held_bytes_max; /* of text that may still become a call, or of one argument; longer is text */
    /* A delta is ready; its texts are valid during the call. */
    void (*on_delta)(void *context, const struct output_delta *delta);
    void *context;
};

/* One a choice; one thread at a time. */
typedef struct output_parser output_parser;
NODISCARD status output_parser_create(const struct output_parser_options *options,
                                      output_parser **out);
void output_parser_destroy(output_parser *p); /* accepts NULL */

/* The next piece of the output: any bytes. STATUS_OK or STATUS_NO_MEMORY. */
NODISCARD status output_parser_feed(output_parser *p, struct text_slice text);
/* The output is over: what was held comes out. */
NODISCARD status output_parser_finish(output_parser *p);

/* The output stands inside reasoning (for counting reasoning tokens). */
bool output_parser_is_reasoning(const output_parser *p);

#endif
