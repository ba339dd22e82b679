/* The text goes through one character at a time, and each decision looks only at what came before it: how the text was cut
 * into pieces cannot matter. Characters that may be the start of a mark wait in `held`; those of a call that has not shown
 * itself to be one wait in `raw`, and go back to the front of the input, as text, when it was none. */

#include "output_parser.h"

#include <string.h>

#include "memory.h"
#include "output_forms.h"

#define MARKS_MAX      12u
#define MARK_BYTES_MAX 64u
/* Longest head of a message of harmony. */
#define HEADER_BYTES_MAX 512u

enum mode { MODE_TEXT, MODE_REASONING, MODE_CALL, MODE_HEADER, MODE_ARGUMENTS };

enum mark_action {
    MARK_REASONING_BEGIN,
    MARK_REASONING_END,
    MARK_CALL,
    MARK_SKIP,
    MARK_CLOSE, /* of the call that has just ended */
    MARK_HEADER,
    MARK_MESSAGE,
    MARK_MESSAGE_END
};

struct mark {
    const char *text;
    size_t bytes;
    enum mark_action action;
    const struct call_mark *call;
};

struct output_parser {
    struct output_parser_options options;
    const struct tool_marks *form;
    bool is_harmony;
    enum mode mode;
    struct mark marks[MARKS_MAX]; /* those that mean something now */
    size_t mark_count;
    const struct call_mark *last_call; /* whose close mark may come; NULL: none */
    struct buffer input;               /* what is to be looked at */
    size_t input_at;
    char held[MARK_BYTES_MAX];
    size_t held_bytes;
    struct buffer raw, space, header;
    struct buffer run; /* of one kind, on its way out */
    enum output_kind run_kind;
    bool trims;         /* white space at the start of what comes is dropped */
    bool has_text;      /* some came, and no call since */
    uint32_t calls;     /* begun so far */
    bool has_open_call; /* harmony's */
    struct call_reader reader;
    struct call_types types;
    struct call_sink sink;
};

/* --- marks --- */

static void add_mark(output_parser *p, const char *text, enum mark_action action,
                     const struct call_mark *call)
{
    if (text != NULL)
        p->marks[p->mark_count++] = (struct mark){text, strlen(text), action, call};
}

static void add_harmony_marks(output_parser *p)
{
    if (p->mode == MODE_HEADER) {
        add_mark(p, HARMONY_MESSAGE, MARK_MESSAGE, NULL);
        return;
    }
    add_mark(p, HARMONY_END, MARK_MESSAGE_END, NULL);
    add_mark(p, HARMONY_RETURN, MARK_MESSAGE_END, NULL);
    add_mark(p, HARMONY_CALL, MARK_MESSAGE_END, NULL);
    add_mark(p, HARMONY_START, MARK_HEADER, NULL);
    add_mark(p, HARMONY_CHANNEL, MARK_HEADER, NULL);
}

/* The marks of the mode. */
static void set_marks(output_parser *p)
{
    p->mark_count = 0;
    const struct reasoning_marks *block = &reasoning_marks[p->options.reasoning];
    if (p->is_harmony) {
        add_harmony_marks(p);
    } else if (p->mode == MODE_REASONING) {
        add_mark(p, block->close, MARK_REASONING_END, NULL);
    } else if (p->mode == MODE_TEXT) {
        add_mark(p, block->open, MARK_REASONING_BEGIN, NULL);
        if (p->last_call != NULL)
            add_mark(p, p->last_call->close, MARK_CLOSE, NULL);
        if (p->calls > 0 && !p->has_text)
            add_mark(p, p->form->separator, MARK_SKIP, NULL);
        for (size_t i = 0; i < FORM_MARKS; i++) {
            add_mark(p, p->form->marks[i].open, MARK_CALL, &p->form->marks[i]);
            add_mark(p, p->form->skipped[i], MARK_SKIP, NULL);
        }
    }
}

static void enter(output_parser *p, enum mode mode)
{
    p->mode = mode;
    set_marks(p);
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
static void put_character(output_parser *p, char c)
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
        set_marks(p);
    }
}

static void sink_begin(void *context, struct text_slice name)
{
    output_parser *p = context;
    flush_run(p);
    buffer_clear(&p->raw);
    buffer_clear(&p->space);
    p->calls++;
    send(p, (struct output_delta){
                .kind = OUTPUT_TOOL_BEGIN, .tool_index = p->calls - 1, .tool_name = name});
}

static void sink_arguments(void *context, struct text_slice json)
{
    put(context, OUTPUT_TOOL_ARGUMENTS, json.data, json.bytes);
}

static void sink_end(void *context)
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
    enter(p, MODE_CALL);
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
    enter(p, MODE_TEXT);
    if (p->raw.bytes == 0)
        return;
    put_character(p, p->raw.data[0]);
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
        enter(p, MODE_TEXT);
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

/* --- harmony --- */

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

static void begin_message(output_parser *p)
{
    struct text_slice head = buffer_slice(&p->header), name = recipient_of(head);
    bool is_analysis = head.bytes > 0 && memmem(head.data, head.bytes, "analysis", 8) != NULL;
    bool is_call = name.bytes > 0 && p->options.tools == TOOL_FORM_HARMONY;
    p->trims = true;
    if (is_call) {
        sink_begin(p, name);
        p->has_open_call = true;
    }
    bool is_reasoning = is_analysis && p->options.reasoning == REASONING_FORM_HARMONY;
    enter(p, is_call ? MODE_ARGUMENTS : is_reasoning ? MODE_REASONING : MODE_TEXT);
    buffer_clear(&p->header);
}

static void end_message(output_parser *p)
{
    buffer_clear(&p->space);
    if (p->has_open_call)
        sink_end(p);
    p->has_open_call = false;
    enter(p, MODE_HEADER);
}

/* A head begins with a control token, a role or a recipient; anything else is text without a head. */
static void step_header(output_parser *p, char c)
{
    static const char *const starts[] = {"<|", "assistant", "to=", "commentary", "analysis",
                                         "final"};
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
    enter(p, MODE_TEXT);
    for (size_t i = 0; i < p->header.bytes; i++)
        put_character(p, p->header.data[i]);
    if (p->header.failed != STATUS_OK)
        put_character(p, c);
    buffer_clear(&p->header);
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
    put_character(p, c);
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
        step_header(p, c);
        break;
    case MODE_ARGUMENTS:
        sink_arguments(p, (struct text_slice){&c, 1});
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
        enter(p, mark->action == MARK_REASONING_BEGIN ? MODE_REASONING : MODE_TEXT);
        break;
    case MARK_CALL:
        buffer_append_text(&p->raw, mark->text);
        begin_call(p, mark->call, mark->call->body);
        break;
    case MARK_CLOSE:
        p->last_call = NULL;
        set_marks(p);
        break;
    case MARK_SKIP:
        break;
    case MARK_HEADER:
        end_message(p);
        if (mark->text[2] == HARMONY_CHANNEL[2])
            buffer_append_text(&p->header, mark->text);
        break;
    case MARK_MESSAGE:
        begin_message(p);
        break;
    case MARK_MESSAGE_END:
        end_message(p);
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
    while (p->held_bytes > 0 || (p->mode == MODE_CALL && !p->reader.has_begun && p->raw.bytes > 0)) {
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
    if (p->mode == MODE_HEADER && p->header.bytes > 0 && p->header.data[0] != '<') {
        enter(p, MODE_TEXT);
        for (size_t i = 0; i < p->header.bytes; i++)
            put_character(p, p->header.data[i]);
    }
    if (p->mode == MODE_TEXT && !p->is_harmony && p->calls == 0 && p->space.bytes > 0)
        put(p, OUTPUT_TEXT, p->space.data, p->space.bytes);
    if (p->has_open_call)
        sink_end(p);
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
    p->is_harmony = options->tools == TOOL_FORM_HARMONY ||
                    options->reasoning == REASONING_FORM_HARMONY;
    buffer_init(&p->input, SIZE_MAX / 2);
    buffer_init(&p->raw, options->held_bytes_max);
    buffer_init(&p->space, SIZE_MAX / 2);
    buffer_init(&p->run, SIZE_MAX / 2);
    buffer_init(&p->header, HEADER_BYTES_MAX);
    call_reader_init(&p->reader, options->held_bytes_max);
    p->sink = (struct call_sink){sink_begin, sink_arguments, sink_end, p};
    p->reader.sink = &p->sink;
    p->reader.types = &p->types;
    p->trims = options->starts_in_reasoning;
    enter(p, p->is_harmony                   ? MODE_HEADER
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
