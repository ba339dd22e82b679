#include "upstream_usage.h"

#include "check.h"
#include "decimal.h"
#include "json.h"
#include "text_slice_find.h"

#define MEMBER     "\"include_usage\":true"
#define WHOLE      "{" MEMBER "}"
#define WHOLE_NAME "\"stream_options\":" WHOLE ","
_Static_assert(sizeof(WHOLE_NAME) <= UPSTREAM_USAGE_ASK_BYTES, "the longest that is added");

/* Answers are bounded by whoever holds them; these only keep the scan from being asked for the impossible. */
static const struct json_limits limits = {.depth_max = 1024, .value_count_max = UINT32_MAX};

static bool scan(struct text_slice object, struct json_field *fields, size_t count)
{
    struct error_note note;

    return object.bytes > 0 && json_scan(object, &limits, fields, count, &note) == STATUS_OK;
}

/* --- asking --- */

static size_t splice(struct text_slice body, struct text_slice old, const char *text, char *out)
{
    size_t before = (size_t)(old.data - body.data), bytes = strlen(text);

    memcpy(out, body.data, before);
    memcpy(out + before, text, bytes);
    memcpy(out + before + bytes, old.data + old.bytes, body.bytes - before - old.bytes);
    return body.bytes - old.bytes + bytes;
}

static bool is_blank_object(struct text_slice object)
{
    for (size_t i = 1; i + 1 < object.bytes; i++) {
        if (strchr(" \t\r\n", object.data[i]) == NULL)
            return false;
    }
    return true;
}

size_t upstream_usage_ask(struct text_slice body, struct text_slice options, char *out)
{
    struct json_field field = {.name = "include_usage"};
    const char *brace;

    if (options.data == NULL) {
        brace = memchr(body.data, '{', body.bytes);
        CHECK(brace != NULL);
        return splice(body, (struct text_slice){brace + 1, 0}, WHOLE_NAME, out);
    }
    if (text_slice_is(options, "null"))
        return splice(body, options, WHOLE, out);
    if (!scan(options, &field, 1) || text_slice_is(field.value, "true"))
        return 0;
    if (field.value.data != NULL)
        return splice(body, field.value, "true", out);
    return splice(body, (struct text_slice){options.data + 1, 0},
                  is_blank_object(options) ? MEMBER : MEMBER ",", out);
}

/* --- reading --- */

static bool number_read(struct text_slice raw, uint32_t *out)
{
    uint64_t number;

    if (!decimal_read(raw, UINT32_MAX, &number))
        return false;
    *out = (uint32_t)number;
    return true;
}

/* A number inside an object. */
static bool inner_read(struct text_slice object, const char *name, uint32_t *out)
{
    struct json_field field = {.name = name};

    return scan(object, &field, 1) && number_read(field.value, out);
}

static uint32_t sum(uint32_t a, uint32_t b)
{
    return a < UINT32_MAX - b ? a + b : UINT32_MAX;
}

enum {
    PROMPT,
    COMPLETION,
    INPUT,
    OUTPUT,
    CACHE_READ,
    CACHE_WRITE,
    PROMPT_DETAILS,
    INPUT_DETAILS,
    COMPLETION_DETAILS,
    OUTPUT_DETAILS,
    FIELD_COUNT
};

/* Anthropic's input tokens are those beside the cached ones, OpenAI's are all. */
static bool input_read(const struct json_field *fields, struct request_usage *usage)
{
    uint32_t read = 0, written = 0, input;
    bool is_apart = number_read(fields[CACHE_READ].value, &read);

    is_apart |= number_read(fields[CACHE_WRITE].value, &written);
    if (!number_read(fields[INPUT].value, &input))
        return false;
    usage->prompt_tokens = sum(input, sum(read, written));
    if (is_apart)
        usage->cached_tokens = read;
    return true;
}

static bool object_read(struct text_slice object, struct request_usage *usage)
{
    struct json_field fields[FIELD_COUNT] = {{.name = "prompt_tokens"},
                                             {.name = "completion_tokens"},
                                             {.name = "input_tokens"},
                                             {.name = "output_tokens"},
                                             {.name = "cache_read_input_tokens"},
                                             {.name = "cache_creation_input_tokens"},
                                             {.name = "prompt_tokens_details"},
                                             {.name = "input_tokens_details"},
                                             {.name = "completion_tokens_details"},
                                             {.name = "output_tokens_details"}};

    bool is_told;

    if (!scan(object, fields, FIELD_COUNT))
        return false;
    is_told = input_read(fields, usage);
    is_told |= number_read(fields[PROMPT].value, &usage->prompt_tokens);
    is_told |= number_read(fields[COMPLETION].value, &usage->completion_tokens);
    is_told |= number_read(fields[OUTPUT].value, &usage->completion_tokens);
    for (int i = PROMPT_DETAILS; i <= INPUT_DETAILS; i++)
        (void)inner_read(fields[i].value, "cached_tokens", &usage->cached_tokens);
    for (int i = COMPLETION_DETAILS; i <= OUTPUT_DETAILS; i++)
        (void)inner_read(fields[i].value, "reasoning_tokens", &usage->reasoning_tokens);
    usage->is_known |= is_told;
    return is_told;
}

/* Where it is: {"usage"}; {"response": {"usage"}}, the last event of OpenAI's responses; {"message": {"usage"}}, the first of
 * Anthropic's messages. `has_choices`: not "choices": [] beside it. */
static bool read(struct text_slice answer, struct request_usage *usage, bool *has_choices)
{
    struct json_field fields[] = {
        {.name = "usage"}, {.name = "response"}, {.name = "message"}, {.name = "choices"}};
    bool is_last;

    if (!scan(answer, fields, ARRAY_COUNT(fields)))
        return false;
    *has_choices = fields[3].value.data == NULL || !is_blank_object(fields[3].value);
    is_last = object_read(fields[0].value, usage);
    for (size_t i = 1; i <= 2 && !is_last; i++) {
        struct json_field inner = {.name = "usage"};

        if (!scan(fields[i].value, &inner, 1) || !object_read(inner.value, usage))
            continue;
        usage->is_estimated = i == 2;
        return true;
    }
    if (is_last)
        usage->is_estimated = false;
    return is_last;
}

bool upstream_usage_read(struct text_slice answer, struct request_usage *usage)
{
    bool has_choices;

    return read(answer, usage, &has_choices);
}

/* --- streams --- */

/* The line around `at`, its LF included where it has one. */
static struct text_slice line_around(struct text_slice text, const char *at)
{
    const char *begin = at, *end = text.data + text.bytes, *next;

    while (begin > text.data && begin[-1] != '\n')
        begin--;
    next = memchr(at, '\n', (size_t)(end - at));
    return (struct text_slice){begin, (size_t)((next != NULL ? next + 1 : end) - begin)};
}

static bool is_blank_line(struct text_slice line)
{
    return text_slice_is(line, "\n") || text_slice_is(line, "\r\n");
}

/* The event that has the line: from behind the blank line before it to the one after it. */
static struct text_slice event_around(struct text_slice text, struct text_slice line)
{
    const char *begin = line.data, *end = text.data + text.bytes, *at = line.data + line.bytes;

    while (begin > text.data) {
        struct text_slice before = line_around(text, begin - 1);

        if (is_blank_line(before))
            break;
        begin = before.data;
    }
    while (at < end) {
        struct text_slice next = line_around(text, at);

        at = next.data + next.bytes;
        if (is_blank_line(next))
            break;
    }
    return (struct text_slice){begin, (size_t)(at - begin)};
}

/* What stands behind "data:". */
static bool data_of(struct text_slice line, struct text_slice *data)
{
    *data = line;
    if (!text_slice_skip(data, "data:"))
        return false;
    (void)text_slice_skip(data, " ");
    while (data->bytes > 0 && strchr("\r\n", data->data[data->bytes - 1]) != NULL)
        data->bytes--;
    return true;
}

struct text_slice upstream_usage_skip(struct text_slice *events, bool takes_out,
                                      struct request_usage *usage)
{
    static const char mark[] = "\"usage\"";
    struct text_slice text = *events, rest = text;
    const char *at;

    while ((at = text_slice_find(rest, mark, sizeof(mark) - 1)) != NULL) {
        struct text_slice line = line_around(text, at), data, event;
        bool has_choices = true;

        rest.data = line.data + line.bytes;
        rest.bytes = (size_t)(text.data + text.bytes - rest.data);
        if (!data_of(line, &data) || !read(data, usage, &has_choices) || !takes_out || has_choices)
            continue;
        event = event_around(text, line);
        *events = (struct text_slice){
            event.data + event.bytes,
            (size_t)(text.data + text.bytes - event.data) - event.bytes,
        };
        return (struct text_slice){text.data, (size_t)(event.data - text.data)};
    }
    *events = (struct text_slice){text.data + text.bytes, 0};
    return text;
}
