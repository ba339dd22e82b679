#ifndef PENSTOCK_ENGINE_CHAT_TEMPLATE_H
#define PENSTOCK_ENGINE_CHAT_TEMPLATE_H

#include "buffer.h"
#include "json.h"
#include "output_parser.h"
#include "status.h"
#include "tokenizer.h"

/* The model's own chat template (Jinja) in a sandboxed evaluator: no attribute of anything but data, no I/O, budgets on
 * steps, output and nesting. Compiled once, then immutable: any thread may render. Oracle: jinja2 as transformers sets it up
 * (trim_blocks, lstrip_blocks, loop controls, tojson without HTML escapes, raise_exception, strftime_now). */
typedef struct chat_template chat_template;

#define CHAT_TEMPLATE_SOURCE_BYTES_MAX (256u * 1024u)

/* STATUS_INVALID with line and column in the note; STATUS_TOO_LARGE; STATUS_NO_MEMORY. */
NODISCARD status chat_template_create(struct text_slice source, chat_template **out,
                                      struct error_note *note);
void chat_template_destroy(chat_template *t);

/* How the model writes calls and reasoning, as its template has them; NONE: it speaks of none. */
enum tool_form chat_template_tool_form(const chat_template *t);
enum reasoning_form chat_template_reasoning_form(const chat_template *t);

struct chat_template_input {
    const json_t *messages;            /* array; the request's own */
    const json_t *tools;               /* array or NULL */
    const json_t *documents;           /* array or NULL */
    const json_t *variables;           /* object (chat_template_kwargs) or NULL */
    const char *bos_token, *eos_token; /* texts; NULL: "" */
    bool add_generation_prompt;
    bool continue_final_message;
    uint64_t wall_ms;   /* for strftime_now */
    uint64_t steps_max; /* 0: 1,000,000 */
};

/* Spans of the rendered text that the template itself wrote; the rest came from the input. Owned (malloc). */
struct text_span_list {
    struct text_span *spans;
    size_t count, capacity;
};
void text_span_list_deinit(struct text_span_list *list);

/* Appends the prompt to `out` and its trusted spans to `trusted`. STATUS_INVALID: the template refused the messages
 * (raise_exception's text) or met an error, in the note; STATUS_TOO_LARGE: a budget; STATUS_NO_MEMORY. */
NODISCARD status chat_template_render(const chat_template *t,
                                      const struct chat_template_input *input, struct buffer *out,
                                      struct text_span_list *trusted, struct error_note *note);

#endif
