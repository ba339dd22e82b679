/* Renders chat templates on stdin and stdout, for tests that compare with another implementation.
 *
 *   request   u32 byte count, JSON {"template", "messages", "tools", "documents", "variables", "bos_token", "eos_token",
 *             "add_generation_prompt", "continue_final_message", "wall_ms"}
 *   answer    u32 status, u32 byte count, the prompt or the error's text, u32 span count, u32 start and end of each */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "chat_template.h"

static void fail(const char *what)
{
    fprintf(stderr, "template_tool: %s\n", what);
    exit(1);
}

static const json_t *member(const json_t *request, const char *name)
{
    const json_t *value = json_object_get(request, name);
    return json_is_null(value) ? NULL : value;
}

static status render(const json_t *request, struct buffer *out, struct text_span_list *trusted,
                     struct error_note *note)
{
    const json_t *source = json_object_get(request, "template");
    chat_template *template = NULL;
    struct text_slice text = {json_string_value(source), json_string_length(source)};
    status result = chat_template_create(text, &template, note);
    if (result != STATUS_OK)
        return result;
    struct chat_template_input input = {
        .messages = json_object_get(request, "messages"),
        .tools = member(request, "tools"),
        .documents = member(request, "documents"),
        .variables = member(request, "variables"),
        .bos_token = json_string_value(json_object_get(request, "bos_token")),
        .eos_token = json_string_value(json_object_get(request, "eos_token")),
        .add_generation_prompt = json_is_true(json_object_get(request, "add_generation_prompt")),
        .continue_final_message = json_is_true(json_object_get(request, "continue_final_message")),
        .wall_ms = (uint64_t)json_integer_value(json_object_get(request, "wall_ms")),
    };
    result = chat_template_render(template, &input, out, trusted, note);
    chat_template_destroy(template);
    return result;
}

static void put_u32(size_t value)
{
    uint32_t narrow = (uint32_t)value;
    fwrite(&narrow, sizeof(narrow), 1, stdout);
}

static void answer(const char *body, size_t bytes)
{
    json_error_t error;
    json_t *request = json_loadb(body, bytes, JSON_ALLOW_NUL, &error);
    if (request == NULL)
        fail(error.text);
    struct buffer out;
    struct text_span_list trusted = {0};
    struct error_note note = {{0}};
    buffer_init(&out, 1u << 30);
    status result = render(request, &out, &trusted, &note);
    put_u32((size_t)result);
    if (result == STATUS_OK) {
        put_u32(out.bytes);
        fwrite(out.data, 1, out.bytes, stdout);
    } else {
        put_u32(strlen(note.text));
        fwrite(note.text, 1, strlen(note.text), stdout);
    }
    put_u32(trusted.count);
    for (size_t i = 0; i < trusted.count; i++) {
        put_u32(trusted.spans[i].start);
        put_u32(trusted.spans[i].end);
    }
    fflush(stdout);
    text_span_list_deinit(&trusted);
    buffer_deinit(&out);
    json_decref(request);
}

int main(void)
{
    uint32_t bytes;
    while (fread(&bytes, sizeof(bytes), 1, stdin) == 1) {
        char *body = malloc(bytes + (size_t)1);
        if (body == NULL || fread(body, 1, bytes, stdin) != bytes)
            fail("a request was cut");
        answer(body, bytes);
        free(body);
    }
    return 0;
}
