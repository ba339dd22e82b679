/* Harmony, gpt-oss's form: the output is a row of messages, each with a head that names its channel and recipient. */

#include <string.h>

#include "output_parser_private.h"

void harmony_add_marks(output_parser *p)
{
    if (p->mode == MODE_HEADER) {
        parser_add_mark(p, HARMONY_MESSAGE, MARK_MESSAGE, NULL);
        return;
    }
    parser_add_mark(p, HARMONY_END, MARK_MESSAGE_END, NULL);
    parser_add_mark(p, HARMONY_RETURN, MARK_MESSAGE_END, NULL);
    parser_add_mark(p, HARMONY_CALL, MARK_MESSAGE_END, NULL);
    parser_add_mark(p, HARMONY_START, MARK_HEADER, NULL);
    parser_add_mark(p, HARMONY_CHANNEL, MARK_HEADER, NULL);
}

/* The recipient in a head such as "commentary to=functions.f json"; empty: none. */
static struct text_slice recipient_of(struct text_slice head)
{
    static const char to[] = "to=functions.";
    const char *at = head.bytes > 0 ? memmem(head.data, head.bytes, to, sizeof to - 1) : NULL;
    if (at == NULL)
        return (struct text_slice){NULL, 0};
    struct text_slice name = {at + sizeof to - 1, 0};
    size_t rest = head.bytes - (size_t)(name.data - head.data);
    while (name.bytes < rest && !is_blank(name.data[name.bytes]) && name.data[name.bytes] != '<')
        name.bytes++;
    return name;
}

void harmony_begin_message(output_parser *p)
{
    struct text_slice head = buffer_slice(&p->header), name = recipient_of(head);
    bool is_analysis = head.bytes > 0 && memmem(head.data, head.bytes, "analysis", 8) != NULL;
    bool is_call = name.bytes > 0 && p->options.tools == TOOL_FORM_HARMONY;
    p->trims = true;
    if (is_call) {
        parser_begin_call(p, name);
        p->has_open_call = true;
    }
    bool is_reasoning = is_analysis && p->options.reasoning == REASONING_FORM_HARMONY;
    parser_enter(p, is_call ? MODE_ARGUMENTS : is_reasoning ? MODE_REASONING : MODE_TEXT);
    buffer_clear(&p->header);
}

void harmony_end_message(output_parser *p)
{
    buffer_clear(&p->space);
    if (p->has_open_call)
        parser_end_call(p);
    p->has_open_call = false;
    parser_enter(p, MODE_HEADER);
}

/* It was none, but text. */
static void put_header(output_parser *p)
{
    parser_enter(p, MODE_TEXT);
    for (size_t i = 0; i < p->header.bytes; i++)
        parser_put_character(p, p->header.data[i]);
    buffer_clear(&p->header);
}

/* A head begins with a control token, a role or a recipient; anything else is text without a head. */
void harmony_step_header(output_parser *p, char c)
{
    static const char *const starts[] = {
        "<|", "assistant", "to=", "commentary", "analysis", "final"};
    buffer_append_byte(&p->header, c);
    struct text_slice head = buffer_slice(&p->header);
    while (head.bytes > 0 && is_blank(head.data[0]))
        head.data++, head.bytes--;
    bool may_be = head.bytes == 0;
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++) {
        size_t bytes = strlen(starts[i]);
        bytes = bytes < head.bytes ? bytes : head.bytes;
        may_be = may_be || memcmp(head.data, starts[i], bytes) == 0;
    }
    if (may_be && p->header.failed == STATUS_OK)
        return;
    bool is_full = p->header.failed != STATUS_OK;
    put_header(p);
    if (is_full)
        parser_put_character(p, c);
}

void harmony_finish_header(output_parser *p)
{
    if (p->header.bytes > 0 && p->header.data[0] != '<')
        put_header(p);
}
