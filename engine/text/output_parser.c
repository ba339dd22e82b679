/* The text goes through one character at a time, and each decision looks only at what came before it: how the text was cut
 * into pieces cannot matter. Characters that may be the start of a mark wait in `held`; those of a call that has not shown
 * itself to be one wait in `raw`, and go back to the front of the input, as text, when it was none. */

#include "output_parser.h"

#include <string.h>

#include "memory.h"
#include "output_parser_private.h"

/* --- marks --- */

void parser_add_mark(output_parser *p, const char *text, enum mark_action action,
                     const struct call_mark *call)
{
    if (text != NULL)
        p->marks[p->mark_count++] = (struct mark){text, strlen(text), action, call};
}

/* The marks of the mode. */
void parser_set_marks(output_parser *p)
{
    p->mark_count = 0;
    const struct reasoning_marks *block = &reasoning_marks[p->options.reasoning];
    if (p->is_harmony) {
        harmony_add_marks(p);
    } else if (p->mode == MODE_REASONING) {
        parser_add_mark(p, block->close, MARK_REASONING_END, NULL);
    } else if (p->mode == MODE_TEXT) {
        parser_add_mark(p, block->open, MARK_REASONING_BEGIN, NULL);
        if (p->last_call != NULL)
            parser_add_mark(p, p->last_call->close, MARK_CLOSE, NULL);
        if (p->calls > 0 && !p->has_text)
            parser_add_mark(p, p->form->separator, MARK_SKIP, NULL);
        for (size_t i = 0; i < FORM_MARKS; i++) {
            parser_add_mark(p, p->form->marks[i].open, MARK_CALL, &p->form->marks[i]);
            parser_add_mark(p, p->form->skipped[i], MARK_SKIP, NULL);
        }
    }
}

void parser_enter(output_parser *p, enum mode mode)
{
    p->mode = mode;
    parser_set_marks(p);
}

/* --- out --- */

static void send(output_parser *p, struct output_delta delta)
{
    p->options.on_delta(p->options.context, &delta);
}

static void flush_run(output_parser *p)
{
    if (p->run.bytes > 0)
        send(p, (struct output_delta){.kind = p->run_kind,
                                      .text = buffer_slice(&p->run),
                                      .tool_index = p->calls > 0 ? p->calls - 1 : 0});
    buffer_clear(&p->run);
}

static void put(output_parser *p, enum output_kind kind, const char *data, size_t bytes)
{
    if (kind != p->run_kind)
        flush_run(p);
    p->run_kind = kind;
    buffer_append(&p->run, data, bytes);
}

/* A character of text or reasoning; white space waits for what follows. */
void parser_put_character(output_parser *p, char c)
{
    enum output_kind kind = p->mode == MODE_REASONING ? OUTPUT_REASONING : OUTPUT_TEXT;
    if (is_blank(c)) {
        if (!p->trims)
            buffer_append_byte(&p->space, c);
        return;
    }
    put(p, kind, p->space.data, p->space.bytes);
    buffer_clear(&p->space);
    put(p, kind, &c, 1);
    p->trims = false;
    if (kind == OUTPUT_TEXT && !p->has_text) {
        p->has_text = true;
        p->last_call = NULL;
        parser_set_marks(p);
    }
}

void parser_begin_call(void *context, struct text_slice name)
{
    output_parser *p = context;
    flush_run(p);
    buffer_clear(&p->raw);
    buffer_clear(&p->space);
    p->calls++;
    send(p, (struct output_delta){
                .kind = OUTPUT_TOOL_BEGIN, .tool_index = p->calls - 1, .tool_name = name});
}

void parser_add_arguments(void *context, struct text_slice json)
{
    put(context, OUTPUT_TOOL_ARGUMENTS, json.data, json.bytes);
}

void parser_end_call(void *context)
{
    output_parser *p = context;
    flush_run(p);
    buffer_clear(&p->raw);
    p->has_text = false;
    send(p, (struct output_delta){.kind = OUTPUT_TOOL_END, .tool_index = p->calls - 1});
}

/* --- calls --- */

static void begin_call(output_parser *p, const struct call_mark *mark, enum call_body body)
{
    p->last_call = mark;
    call_reader_start(&p->reader, body, p->form->head_name,
                      mark != NULL ? mark->needs_known : true);
    parser_enter(p, MODE_CALL);
}

/* Puts text back before what is still to be looked at. */
static void push_back(output_parser *p, const char *data, size_t bytes)
{
    if (bytes == 0)
        return;
    buffer_consume(&p->input, p->input_at);
    p->input_at = 0;
    size_t rest = p->input.bytes;
    buffer_append(&p->input, data, bytes); /* for the room */
    if (p->input.failed != STATUS_OK)
        return;
    memmove(p->input.data + bytes, p->input.data, rest);
    memcpy(p->input.data, data, bytes);
}

/* It was none: its first character is text, the others are looked at again. */
static void give_up_call(output_parser *p)
{
    p->last_call = NULL;
    parser_enter(p, MODE_TEXT);
    if (p->raw.bytes == 0)
        return;
    parser_put_character(p, p->raw.data[0]);
    push_back(p, p->raw.data + 1, p->raw.bytes - 1);
    buffer_clear(&p->raw);
}

static void step_call(output_parser *p, char c)
{
    bool was_begun = p->reader.has_begun;
    if (!was_begun)
        buffer_append_byte(&p->raw, c);
    enum call_step step = call_reader_step(&p->reader, c);
    if (step == CALL_MORE && p->raw.failed == STATUS_OK)
        return;
    if (step == CALL_DONE || step == CALL_UNREAD) {
        parser_enter(p, MODE_TEXT);
        buffer_clear(&p->raw);
        if (step == CALL_UNREAD)
            push_back(p, &c, 1);
        return;
    }
    bool is_kept = !p->reader.has_begun && p->raw.failed == STATUS_OK;
    if (!is_kept) /* a call that has begun, or too long to wait for */
        push_back(p, &c, 1);
    p->raw.failed = STATUS_OK;
    call_reader_finish(&p->reader);
    give_up_call(p);
}

/* --- the modes --- */

static void step_text(output_parser *p, char c)
{
    if (p->mode == MODE_TEXT && c == p->form->anchor && c != 0 && !p->has_text) {
        buffer_append_byte(&p->raw, c);
        begin_call(p, NULL, p->form->anchor_body);
        (void)call_reader_step(&p->reader, c);
        return;
    }
    parser_put_character(p, c);
}

static void step(output_parser *p, char c)
{
    switch (p->mode) {
    case MODE_TEXT:
    case MODE_REASONING:
        step_text(p, c);
        break;
    case MODE_CALL:
        step_call(p, c);
        break;
    case MODE_HEADER:
        harmony_step_header(p, c);
        break;
    case MODE_ARGUMENTS:
        parser_add_arguments(p, (struct text_slice){&c, 1});
        break;
    }
}

static void apply_mark(output_parser *p, const struct mark *mark)
{
    switch (mark->action) {
    case MARK_REASONING_BEGIN:
    case MARK_REASONING_END:
        buffer_clear(&p->space);
        p->trims = true;
        parser_enter(p, mark->action == MARK_REASONING_BEGIN ? MODE_REASONING : MODE_TEXT);
        break;
    case MARK_CALL:
        buffer_append_text(&p->raw, mark->text);
        begin_call(p, mark->call, mark->call->body);
        break;
    case MARK_CLOSE:
        p->last_call = NULL;
        parser_set_marks(p);
        break;
    case MARK_SKIP:
        break;
    case MARK_HEADER:
        harmony_end_message(p);
        if (mark->text[2] == HARMONY_CHANNEL[2])
            buffer_append_text(&p->header, mark->text);
        break;
    case MARK_MESSAGE:
        harmony_begin_message(p);
        break;
    case MARK_MESSAGE_END:
        harmony_end_message(p);
        break;
    }
}

/* The mark that `held` is, and whether it may still become one. */
static const struct mark *match_held(const output_parser *p, bool *may_be)
{
    *may_be = false;
    for (size_t i = 0; i < p->mark_count; i++) {
        const struct mark *mark = &p->marks[i];
        if (p->held_bytes <= mark->bytes && memcmp(mark->text, p->held, p->held_bytes) == 0) {
            if (p->held_bytes == mark->bytes)
                return mark;
            *may_be = true;
        }
    }
    return NULL;
}

/* Takes a character through the marks. A first character that begins none goes on, and what waited behind it is looked
 * at anew, since the mode may have changed. */
static void take(output_parser *p, char c)
{
    p->held[p->held_bytes++] = c;
    bool may_be;
    const struct mark *mark = match_held(p, &may_be);
    if (mark != NULL) {
        p->held_bytes = 0;
        apply_mark(p, mark);
        return;
    }
    if (may_be)
        return;
    char first = p->held[0];
    push_back(p, p->held + 1, p->held_bytes - 1);
    p->held_bytes = 0;
    step(p, first);
}

static status state_of(const output_parser *p)
{
    const struct buffer *buffers[] = {&p->input, &p->space, &p->run};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        if (buffers[i]->failed != STATUS_OK)
            return STATUS_NO_MEMORY;
    }
    return STATUS_OK;
}

static status run(output_parser *p)
{
    while (p->input_at < p->input.bytes && state_of(p) == STATUS_OK)
        take(p, p->input.data[p->input_at++]);
    buffer_clear(&p->input);
    p->input_at = 0;
    flush_run(p);
    return state_of(p);
}

/* --- the public side --- */

status output_parser_feed(output_parser *p, struct text_slice text)
{
    if (p->options.tools == TOOL_FORM_NONE && p->options.reasoning == REASONING_FORM_NONE) {
        if (text.bytes > 0)
            send(p, (struct output_delta){.kind = OUTPUT_TEXT, .text = text});
        return STATUS_OK;
    }
    buffer_append_slice(&p->input, text);
    return run(p);
}

status output_parser_finish(output_parser *p)
{
    /* What waits is decided: it is no mark, and no call. Each round ends one of the two. */
    while (p->held_bytes > 0 ||
           (p->mode == MODE_CALL && !p->reader.has_begun && p->raw.bytes > 0)) {
        if (p->held_bytes > 0) {
            char first = p->held[0];
            push_back(p, p->held + 1, p->held_bytes - 1);
            p->held_bytes = 0;
            step(p, first);
        } else {
            give_up_call(p);
        }
        status s = run(p);
        if (s != STATUS_OK)
            return s;
    }
    if (p->mode == MODE_CALL)
        call_reader_finish(&p->reader);
    if (p->mode == MODE_HEADER)
        harmony_finish_header(p);
    if (p->mode == MODE_TEXT && !p->is_harmony && p->calls == 0 && p->space.bytes > 0)
        put(p, OUTPUT_TEXT, p->space.data, p->space.bytes);
    if (p->has_open_call)
        parser_end_call(p);
    p->has_open_call = false;
    flush_run(p);
    return state_of(p);
}

bool output_parser_is_reasoning(const output_parser *p)
{
    return p->mode == MODE_REASONING;
}

status output_parser_create(const struct output_parser_options *options, output_parser **out)
{
    output_parser *p = memory_allocate_array(1, sizeof *p);
    if (p == NULL)
        return STATUS_NO_MEMORY;
    p->options = *options;
    p->options.tool_list = NULL;
    p->form = &tool_marks[options->tools];
    p->is_harmony =
        options->tools == TOOL_FORM_HARMONY || options->reasoning == REASONING_FORM_HARMONY;
    buffer_init(&p->input, SIZE_MAX / 2);
    buffer_init(&p->raw, options->held_bytes_max);
    buffer_init(&p->space, SIZE_MAX / 2);
    buffer_init(&p->run, SIZE_MAX / 2);
    buffer_init(&p->header, HEADER_BYTES_MAX);
    call_reader_init(&p->reader, options->held_bytes_max);
    p->sink = (struct call_sink){parser_begin_call, parser_add_arguments, parser_end_call, p};
    p->reader.sink = &p->sink;
    p->reader.types = &p->types;
    p->trims = options->starts_in_reasoning;
    parser_enter(p, p->is_harmony                  ? MODE_HEADER
                    : options->starts_in_reasoning ? MODE_REASONING
                                                   : MODE_TEXT);
    status s = call_types_init(&p->types, options->tool_list);
    if (s != STATUS_OK) {
        output_parser_destroy(p);
        return s;
    }
    *out = p;
    return STATUS_OK;
}

void output_parser_destroy(output_parser *p)
{
    if (p == NULL)
        return;
    buffer_deinit(&p->input);
    buffer_deinit(&p->raw);
    buffer_deinit(&p->space);
    buffer_deinit(&p->run);
    buffer_deinit(&p->header);
    call_reader_deinit(&p->reader);
    call_types_deinit(&p->types);
    memory_release(p);
}
