#include "answer.h"

#include <string.h>

#include "json.h"

#define DATA "data:"

static bool has_text(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    return json_is_string(value) && json_string_length(value) > 0;
}

/* Text of any kind: an answer's, reasoning's under the names it goes by, a tool call's. */
static bool is_text_event(const json_t *event)
{
    const json_t *choice = json_array_get(json_object_get(event, "choices"), 0);
    const json_t *delta = json_object_get(choice, "delta");

    return has_text(delta, "content") || has_text(delta, "reasoning_content") ||
           has_text(delta, "reasoning") ||
           json_array_size(json_object_get(delta, "tool_calls")) > 0 || has_text(choice, "text");
}

static uint32_t count_of(const json_t *object, const char *key)
{
    json_int_t value = json_integer_value(json_object_get(object, key));

    return value > 0 && value < UINT32_MAX ? (uint32_t)value : 0;
}

static void usage_read(struct answer *answer, const json_t *usage)
{
    if (!json_is_object(usage))
        return;
    answer->prompt_tokens = count_of(usage, "prompt_tokens");
    answer->output_tokens = count_of(usage, "completion_tokens");
    answer->cached_tokens =
        count_of(json_object_get(usage, "prompt_tokens_details"), "cached_tokens");
}

static status text_note(struct answer *answer, uint64_t now_ns, struct bench_samples *gaps)
{
    status result = STATUS_OK;

    if (answer->event_count++ == 0)
        answer->first_ns = now_ns;
    else
        result = bench_samples_add(gaps, (double)(now_ns - answer->last_ns) / 1e6);
    answer->last_ns = now_ns;
    return result;
}

static status event_read(struct answer *answer, struct text_slice text, uint64_t now_ns,
                         struct bench_samples *gaps)
{
    static const struct json_limits limits = {.depth_max = 32, .value_count_max = 1u << 16};
    struct error_note note;
    json_t *event = NULL;
    status result = STATUS_OK;

    while (text.bytes > 0 && text.data[0] == ' ') {
        text.data++;
        text.bytes--;
    }
    if (text_slice_is(text, "[DONE]")) {
        answer->is_complete = true;
        return STATUS_OK;
    }
    if (json_load_limited(text, &limits, &event, &note) != STATUS_OK) {
        answer->has_error = true;
        return STATUS_OK;
    }
    answer->has_error = answer->has_error || json_is_object(json_object_get(event, "error"));
    usage_read(answer, json_object_get(event, "usage"));
    if (is_text_event(event))
        result = text_note(answer, now_ns, gaps);
    json_decref(event);
    return result;
}

status answer_read(struct answer *answer, struct buffer *body, uint64_t now_ns,
                   struct bench_samples *gaps)
{
    status result = STATUS_OK;
    size_t done = 0;
    const char *end;

    while (result == STATUS_OK && done < body->bytes &&
           (end = memchr(body->data + done, '\n', body->bytes - done)) != NULL) {
        struct text_slice line = {body->data + done, (size_t)(end - body->data) - done};

        done += line.bytes + 1;
        if (line.bytes > 0 && line.data[line.bytes - 1] == '\r')
            line.bytes--;
        if (line.bytes >= sizeof(DATA) - 1 && memcmp(line.data, DATA, sizeof(DATA) - 1) == 0)
            result = event_read(
                answer,
                (struct text_slice){line.data + sizeof(DATA) - 1, line.bytes - (sizeof(DATA) - 1)},
                now_ns, gaps);
    }
    buffer_consume(body, done);
    return result;
}
