#include "json_scan.h"

#include <pthread.h>
#include <string.h>

#include "check.h"
#include "hash.h"
#include "json_string.h"

/* One pass over the text. The only memory is one bit a level (object or array) and, for the
 * top-level names, one hash each, so a body cannot make it recurse or allocate. The states follow
 * the grammar: what may stand at this place?
 *
 *   VALUE        a value                          (after ':' or ',' in an array, or at the start)
 *   VALUE_OR_END a value or ']'                   (after '[')
 *   NAME         a member's name                  (after ',' in an object)
 *   NAME_OR_END  a member's name or '}'           (after '{')
 *   AFTER        ',' or the end of the container  (after a value); at depth 0 nothing at all
 *
 * Names that repeat are refused at the top level, since there two readers of one body (the
 * gateway's scan and the replica's tree) could disagree about the model or the tenant. They are
 * compared after their escapes are resolved, by a keyed 64-bit hash: among 256 names a false alarm
 * has odds of 2^-49, and nobody outside can provoke one. */

#define JSON_DEPTH_LIMIT                                                                           \
    1024u /* what the bit stack holds; a caller's depth_max may not be above it */
#define JSON_TOP_NAME_COUNT_MAX 256u /* the API knows about 60 */
#define JSON_TOP_NAME_BYTES_MAX 256u /* raw, with escapes */

enum scan_state { VALUE, VALUE_OR_END, NAME, NAME_OR_END, AFTER };

struct scanner {
    const char *start, *at, *end; /* borrowed: the body */
    const struct json_limits *limits;
    enum scan_state state;
    uint32_t depth;
    uint32_t value_count;
    uint64_t is_object[JSON_DEPTH_LIMIT / 64]; /* bit d: the container at depth d+1 is an object */

    bool checks_names;
    uint32_t name_count;
    uint64_t name_hashes[JSON_TOP_NAME_COUNT_MAX];
    struct json_field *fields;
    size_t field_count;
    struct json_field *open; /* field whose value is being read */

    struct error_note *note;
};

static struct hash_key name_key;

static void name_key_create(void)
{
    random_bytes(&name_key, sizeof name_key);
}

static status fail(struct scanner *s, status code, const char *at, const char *what)
{
    error_note_set(s->note, "%s at byte %zu", what, (size_t)(at - s->start));
    return code;
}

static bool in_object(const struct scanner *s)
{
    uint32_t level = s->depth - 1;
    return (s->is_object[level / 64] >> (level % 64) & 1) != 0;
}

static void skip_space(struct scanner *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r'))
        s->at++;
}

/* A value has ended at s->at. */
static void value_end(struct scanner *s)
{
    s->state = AFTER;
    if (s->depth == 1 && s->open != NULL) {
        s->open->value.bytes = (size_t)(s->at - s->open->value.data);
        s->open = NULL;
    }
}

static status container_open(struct scanner *s, bool is_object)
{
    if (s->depth >= s->limits->depth_max) {
        error_note_set(s->note, "nesting deeper than %u at byte %zu", s->limits->depth_max,
                       (size_t)(s->at - s->start));
        return STATUS_TOO_LARGE;
    }
    uint64_t bit = 1ull << (s->depth % 64);
    uint64_t *word = &s->is_object[s->depth / 64];
    *word = is_object ? *word | bit : *word & ~bit;
    s->depth++;
    s->at++;
    s->state = is_object ? NAME_OR_END : VALUE_OR_END;
    return STATUS_OK;
}

static void container_close(struct scanner *s)
{
    s->depth--;
    s->at++;
    value_end(s);
}

static status scan_string(struct scanner *s)
{
    const char *wrong;
    const char *what;
    const char *behind = json_string_skip(s->at + 1, s->end, &wrong, &what);
    if (behind == NULL)
        return fail(s, STATUS_INVALID, wrong, what);
    s->at = behind;
    return STATUS_OK;
}

static bool skip_digits(struct scanner *s)
{
    const char *first = s->at;
    while (s->at < s->end && *s->at >= '0' && *s->at <= '9')
        s->at++;
    return s->at > first;
}

/* RFC 8259, section 6: [ minus ] int [ frac ] [ exp ]. */
static status scan_number(struct scanner *s)
{
    if (*s->at == '-')
        s->at++;
    if (s->at < s->end && *s->at == '0') {
        s->at++;
    } else if (!skip_digits(s)) {
        return fail(s, STATUS_INVALID, s->at, "digit expected");
    }
    if (s->at < s->end && *s->at == '.') {
        s->at++;
        if (!skip_digits(s))
            return fail(s, STATUS_INVALID, s->at, "digit expected after the decimal point");
    }
    if (s->at < s->end && (*s->at == 'e' || *s->at == 'E')) {
        s->at++;
        if (s->at < s->end && (*s->at == '+' || *s->at == '-'))
            s->at++;
        if (!skip_digits(s))
            return fail(s, STATUS_INVALID, s->at, "digit expected in the exponent");
    }
    return STATUS_OK;
}

static status scan_word(struct scanner *s)
{
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
        size_t bytes = strlen(words[i]);
        if ((size_t)(s->end - s->at) >= bytes && memcmp(s->at, words[i], bytes) == 0) {
            s->at += bytes;
            return STATUS_OK;
        }
    }
    return fail(s, STATUS_INVALID, s->at, "value expected");
}

static status scan_value(struct scanner *s)
{
    if (++s->value_count > s->limits->value_count_max) {
        error_note_set(s->note, "more than %u values at byte %zu", s->limits->value_count_max,
                       (size_t)(s->at - s->start));
        return STATUS_TOO_LARGE;
    }
    if (*s->at == '{' || *s->at == '[')
        return container_open(s, *s->at == '{');
    status result;
    if (*s->at == '"')
        result = scan_string(s);
    else if (*s->at == '-' || (*s->at >= '0' && *s->at <= '9'))
        result = scan_number(s);
    else
        result = scan_word(s);
    if (result == STATUS_OK)
        value_end(s);
    return result;
}

/* `raw` is a top-level name without its quotes. */
static status name_remember(struct scanner *s, struct text_slice raw)
{
    if (raw.bytes > JSON_TOP_NAME_BYTES_MAX)
        return fail(s, STATUS_TOO_LARGE, raw.data, "top-level name longer than 256 bytes");
    if (s->name_count == JSON_TOP_NAME_COUNT_MAX)
        return fail(s, STATUS_TOO_LARGE, raw.data, "more than 256 top-level names");
    char name[JSON_TOP_NAME_BYTES_MAX]; /* no escape is shorter than what it stands for */
    size_t bytes = 0;
    for (const char *at = raw.data; at < raw.data + raw.bytes;) {
        char character[4];
        size_t length = json_string_next(&at, character);
        memcpy(name + bytes, character, length);
        bytes += length;
    }
    uint64_t hash = hash64(&name_key, name, bytes);
    for (uint32_t i = 0; i < s->name_count; i++) {
        if (s->name_hashes[i] == hash) {
            error_note_set(s->note, "name \"%.*s\" twice, again at byte %zu", (int)bytes, name,
                           (size_t)(raw.data - s->start));
            return STATUS_INVALID;
        }
    }
    s->name_hashes[s->name_count++] = hash;
    for (size_t i = 0; i < s->field_count; i++) {
        if (text_slice_is((struct text_slice){name, bytes}, s->fields[i].name))
            s->open = &s->fields[i];
    }
    return STATUS_OK;
}

static status scan_name(struct scanner *s)
{
    if (*s->at != '"')
        return fail(s, STATUS_INVALID, s->at, "name in quotes expected");
    const char *quote = s->at;
    status result = scan_string(s);
    if (result != STATUS_OK)
        return result;
    if (s->depth == 1 && s->checks_names) {
        result = name_remember(s, (struct text_slice){quote + 1, (size_t)(s->at - quote) - 2});
        if (result != STATUS_OK)
            return result;
    }
    skip_space(s);
    if (s->at == s->end || *s->at != ':')
        return fail(s, STATUS_INVALID, s->at, "':' expected");
    s->at++;
    skip_space(s);
    if (s->depth == 1 && s->open != NULL)
        s->open->value.data = s->at;
    s->state = VALUE;
    return STATUS_OK;
}

static status scan_after(struct scanner *s)
{
    char closing = in_object(s) ? '}' : ']';
    if (*s->at == closing) {
        container_close(s);
        return STATUS_OK;
    }
    if (*s->at != ',')
        return fail(s, STATUS_INVALID, s->at,
                    in_object(s) ? "',' or '}' expected" : "',' or ']' expected");
    s->at++;
    s->state = in_object(s) ? NAME : VALUE;
    return STATUS_OK;
}

static status scan_next(struct scanner *s)
{
    switch (s->state) {
    case VALUE:
        return scan_value(s);
    case VALUE_OR_END:
        if (*s->at == ']') {
            container_close(s);
            return STATUS_OK;
        }
        return scan_value(s);
    case NAME:
        return scan_name(s);
    case NAME_OR_END:
        if (*s->at == '}') {
            container_close(s);
            return STATUS_OK;
        }
        return scan_name(s);
    case AFTER:
        return scan_after(s);
    }
    return STATUS_INTERNAL;
}

status json_scan_value(struct text_slice body, const struct json_limits *limits,
                       bool must_be_object, struct json_field *fields, size_t field_count,
                       struct error_note *note)
{
    CHECK(limits->depth_max <= JSON_DEPTH_LIMIT);
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    int rc = pthread_once(&once, name_key_create);
    CHECK(rc == 0);
    struct scanner s;
    s.start = s.at = body.data;
    s.end = body.data + body.bytes;
    s.limits = limits;
    s.state = VALUE;
    s.depth = s.value_count = s.name_count = 0;
    memset(s.is_object, 0, sizeof s.is_object);
    s.checks_names = must_be_object;
    s.fields = fields;
    s.field_count = field_count;
    s.open = NULL;
    s.note = note;
    for (size_t i = 0; i < field_count; i++)
        fields[i].value = (struct text_slice){NULL, 0};
    skip_space(&s);
    if (s.at == s.end)
        return fail(&s, STATUS_INVALID, s.at, "no JSON value");
    if (must_be_object && *s.at != '{')
        return fail(&s, STATUS_INVALID, s.at, "JSON object expected");
    do {
        status result = scan_next(&s);
        if (result != STATUS_OK)
            return result;
        skip_space(&s);
        if (s.state == AFTER && s.depth == 0)
            return s.at == s.end ? STATUS_OK
                                 : fail(&s, STATUS_INVALID, s.at, "text after the JSON value");
    } while (s.at < s.end);
    return fail(&s, STATUS_INVALID, s.at, "JSON value without an end");
}
