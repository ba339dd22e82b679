/* Compiling keeps one arena with the source, its nodes and constants. Rendering has an arena of its
 * own, in which every value lives until the prompt has been copied out; so a render leaves nothing
 * behind and needs no other clean-up.
 *
 * Trust is carried by the values (jinja_value.h) and becomes spans here. */
#include "chat_template.h"

#include "jinja_render.h"
#include "memory.h"
#include "utf8.h"

#define COMPILE_BYTES_MAX (64u << 20) /* nodes of 256 KiB of source */
#define RENDER_BYTES_MAX  (256u << 20)
#define STEPS_DEFAULT     1000000u
#define SPAN_COUNT_MAX    (1u << 20)

struct chat_template {
    arena *memory; /* owned: all below */
    struct node *root;
    bool has_content; /* the source speaks of "content" */
    enum tool_form tool_form;
    enum reasoning_form reasoning_form;
};

status chat_template_create(struct text_slice source, chat_template **out, struct error_note *note)
{
    if (source.bytes > CHAT_TEMPLATE_SOURCE_BYTES_MAX) {
        error_note_set(note, "the chat template has more than %u bytes",
                       CHAT_TEMPLATE_SOURCE_BYTES_MAX);
        return STATUS_TOO_LARGE;
    }
    if (!utf8_is_valid(source.data, source.bytes)) {
        error_note_set(note, "the chat template is not UTF-8");
        return STATUS_INVALID;
    }
    struct jinja_state state = {
        .memory_max = COMPILE_BYTES_MAX, .steps_max = UINT64_MAX, .note = note, .line = 1};
    status result = arena_create(COMPILE_BYTES_MAX, &state.memory);
    if (result != STATUS_OK)
        return result;
    chat_template *t = arena_allocate(state.memory, sizeof(*t));
    if (t != NULL)
        t->root = jinja_parse(&state, source);
    if (t == NULL || t->root == NULL) {
        arena_destroy(state.memory);
        return t == NULL ? STATUS_NO_MEMORY : state.failed;
    }
    t->memory = state.memory;
    t->has_content = text_find(source, text_slice_of("content"), 0) != SIZE_MAX;
    t->tool_form = tool_form_detect(source);
    t->reasoning_form = reasoning_form_detect(source);
    *out = t;
    return STATUS_OK;
}

void chat_template_destroy(chat_template *t)
{
    if (t != NULL)
        arena_destroy(t->memory);
}

enum tool_form chat_template_tool_form(const chat_template *t)
{
    return t->tool_form;
}

enum reasoning_form chat_template_reasoning_form(const chat_template *t)
{
    return t->reasoning_form;
}

void text_span_list_deinit(struct text_span_list *list)
{
    memory_release(list->spans);
    *list = (struct text_span_list){0};
}

static status add_span(struct text_span_list *list, size_t start, size_t end)
{
    if (list->count > 0 && list->spans[list->count - 1].end == start) {
        list->spans[list->count - 1].end = end;
        return STATUS_OK;
    }
    if (list->count == list->capacity) {
        size_t capacity = list->capacity * 2 + 16;
        if (capacity > SPAN_COUNT_MAX)
            return STATUS_TOO_LARGE;
        void *grown = memory_resize(list->spans, capacity * sizeof(list->spans[0]));
        if (grown == NULL)
            return STATUS_NO_MEMORY;
        list->spans = grown;
        list->capacity = capacity;
    }
    list->spans[list->count++] = (struct text_span){start, end};
    return STATUS_OK;
}

/* transformers gives a message's reasoning under all the names that templates read. */
static void alias_reasoning(struct jinja_state *s, struct value message)
{
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    for (size_t i = 0; i < 3 && message.kind == VALUE_DICT; i++) {
        const struct value *found = dict_find_text(s, message.dict, names[i]);
        if (found == NULL || found->kind == VALUE_NONE)
            continue;
        struct value reasoning = *found;
        dict_put(s, message.dict, value_string(s, text_slice_of(names[0]), false), reasoning);
        if (dict_find_text(s, message.dict, names[1]) == NULL)
            dict_put(s, message.dict, value_string(s, text_slice_of(names[1]), false), reasoning);
        return;
    }
}

/* The text that marks where a message that is to be continued ends; found again in the output and
 * cut off there. */
static const char continue_tag[] = "CONTINUE_FINAL_MESSAGE_TAG ";

static struct value tagged(struct jinja_state *s, struct value text)
{
    struct value tag = value_string(s, text_slice_of(continue_tag), false);
    return s->failed == STATUS_OK ? text_concat(s, text.text, tag.text) : text;
}

/* Puts the tag behind the last message's text. *final: that text. */
static void tag_final_message(struct jinja_state *s, struct value messages, struct value *final)
{
    struct value last =
        messages.list->count > 0 ? messages.list->items[messages.list->count - 1] : value_none();
    const struct value *content =
        last.kind == VALUE_DICT ? dict_find_text(s, last.dict, "content") : NULL;
    struct value key = value_string(s, text_slice_of("content"), false);
    if (content != NULL && value_is_string(*content)) {
        *final = *content;
        dict_put(s, last.dict, key, tagged(s, *content));
        return;
    }
    for (uint32_t i = content != NULL && content->kind == VALUE_LIST ? content->list->count : 0;
         i-- > 0;) {
        struct value part = content->list->items[i];
        const struct value *text =
            part.kind == VALUE_DICT ? dict_find_text(s, part.dict, "text") : NULL;
        if (text == NULL || !value_is_string(*text))
            continue;
        *final = *text;
        dict_put(s, part.dict, value_string(s, text_slice_of("text"), false), tagged(s, *text));
        return;
    }
    jinja_fail(s, "continue_final_message is set, but the final message has no text to continue");
}

/* Length of the output that is kept. */
static size_t cut_at_tag(struct jinja_state *s, const struct text *output, const struct text *final)
{
    struct value stripped = text_strip(s, final, NULL, true, true);
    size_t tag_bytes = sizeof(continue_tag) - 2, at = SIZE_MAX, from = 0, found;
    while ((found = text_find(text_slice_from(output), (struct text_slice){continue_tag, tag_bytes},
                              from)) != SIZE_MAX) {
        at = found;
        from = found + 1;
    }
    if (s->failed == STATUS_OK &&
        (at == SIZE_MAX ||
         text_find(text_slice_from(output), text_slice_from(stripped.text), 0) == SIZE_MAX))
        jinja_fail(
            s,
            "continue_final_message is set, but the final message does not appear in the prompt");
    if (s->failed != STATUS_OK)
        return 0;
    if (at + tag_bytes < output->bytes && output->data[at + tag_bytes] == ' ')
        return at;
    struct text before = {.data = output->data, .bytes = at};
    struct value kept = text_strip(s, &before, NULL, false, true);
    return s->failed == STATUS_OK ? kept.text->bytes : 0;
}

static void set_global(struct render *r, const char *name, struct value v)
{
    scope_set(r, r->scope, text_slice_of(name), v);
}

/* The template's variables; the request's own (chat_template_kwargs) come last and win. */
static struct value set_globals(struct render *r, const struct chat_template_input *input)
{
    struct jinja_state *s = &r->state;
    struct value messages = value_from_json(s, input->messages, true);
    if (messages.kind != VALUE_LIST)
        jinja_fail(s, "messages must be a list");
    for (uint32_t i = 0; s->failed == STATUS_OK && i < messages.list->count; i++) {
        if (messages.list->items[i].kind != VALUE_DICT)
            jinja_fail(s, "messages must be objects");
        else
            alias_reasoning(s, messages.list->items[i]);
    }
    set_global(r, "messages", messages);
    set_global(r, "tools", value_from_json(s, input->tools, false));
    set_global(r, "documents", value_from_json(s, input->documents, false));
    set_global(r, "add_generation_prompt", value_bool(input->add_generation_prompt));
    set_global(r, "bos_token", value_string(s, text_slice_of(input->bos_token), true));
    set_global(r, "eos_token", value_string(s, text_slice_of(input->eos_token), true));
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)input->variables, key, item)
    {
        set_global(r, key, value_from_json(s, item, false));
    }
    return messages;
}

static status write_output(struct jinja_state *s, const struct text *output, size_t bytes,
                           struct buffer *out, struct text_span_list *trusted)
{
    size_t base = out->bytes;
    buffer_append(out, output->data, bytes);
    status result = out->failed;
    for (size_t at = 0; at < bytes && result == STATUS_OK;) {
        size_t end = at + 1;
        bool is_trusted = text_trusted_at(output, at);
        while (end < bytes && text_trusted_at(output, end) == is_trusted)
            end++;
        if (is_trusted)
            result = add_span(trusted, base + at, base + end);
        at = end;
    }
    if (result != STATUS_OK)
        error_note_set(s->note, "the prompt is too long or memory is out");
    return result;
}

static status render_into(struct render *r, const chat_template *t,
                          const struct chat_template_input *input, struct buffer *out,
                          struct text_span_list *trusted)
{
    struct jinja_state *s = &r->state;
    r->scope = scope_create(r, NULL);
    if (r->scope == NULL)
        return s->failed;
    struct value messages = set_globals(r, input), final = value_undefined();
    if (input->continue_final_message && !t->has_content)
        jinja_fail(s, "continue_final_message is set, but the template does not read \"content\"");
    if (input->continue_final_message && s->failed == STATUS_OK)
        tag_final_message(s, messages, &final);
    struct value output = run_captured(r, t->root->body, r->scope);
    if (s->failed != STATUS_OK)
        return s->failed;
    size_t bytes = output.text->bytes;
    if (input->continue_final_message)
        bytes = cut_at_tag(s, output.text, final.text);
    return s->failed != STATUS_OK ? s->failed : write_output(s, output.text, bytes, out, trusted);
}

status chat_template_render(const chat_template *t, const struct chat_template_input *input,
                            struct buffer *out, struct text_span_list *trusted,
                            struct error_note *note)
{
    struct render r = {.wall_ms = input->wall_ms};
    r.state.note = note;
    r.state.memory_max = RENDER_BYTES_MAX;
    r.state.steps_max = input->steps_max != 0 ? input->steps_max : STEPS_DEFAULT;
    r.state.line = 1;
    random_bytes(&r.state.key, sizeof(r.state.key));
    status result = arena_create(RENDER_BYTES_MAX, &r.state.memory);
    if (result != STATUS_OK)
        return result;
    result = render_into(&r, t, input, out, trusted);
    arena_destroy(r.state.memory);
    return result;
}
