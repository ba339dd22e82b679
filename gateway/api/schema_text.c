#include "schema_text.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "json.h"

/* Our tables nest lists of lists of objects, no deeper. */
#define DEPTH_MAX 6u

static const char *alternatives_write(const char *at, struct buffer *out, unsigned depth);

static bool skip(const char **at, const char *word)
{
    size_t bytes = strlen(word);
    if (strncmp(*at, word, bytes) != 0)
        return false;
    *at += bytes;
    return true;
}

/* "(0..5)", "(..1)", "(1..)" after a number's type. */
static const char *range_write(const char *at, struct buffer *out)
{
    char *end;
    if (*at != '(')
        return at;
    at++;
    if (*at != '.') {
        json_write_key(out, "minimum");
        json_write_double(out, strtod(at, &end));
        at = end;
        /* "0..": strtod has taken the first point of the two as the number's own */
        if (at[-1] == '.')
            at--;
    }
    CHECK(strncmp(at, "..", 2) == 0);
    at += 2;
    if (*at != ')') {
        json_write_key(out, "maximum");
        json_write_double(out, strtod(at, &end));
        at = end;
    }
    CHECK(*at == ')');
    return at + 1;
}

static const char *type_write(const char *at, struct buffer *out)
{
    static const char *const types[] = {"string", "boolean", "object", "null", "integer", "number"};
    for (size_t i = 0; i < ARRAY_COUNT(types); i++) {
        if (!skip(&at, types[i]))
            continue;
        json_write_key(out, "type");
        json_write_text(out, types[i]);
        return range_write(at, out);
    }
    CHECK(skip(&at, "any"));
    return at;
}

/* 'word' or #Name up to where it ends. */
static const char *name_write(const char *at, const char *key, const char *prefix,
                              const char *enders, struct buffer *out)
{
    size_t bytes = strcspn(at, enders);
    json_write_key(out, key);
    buffer_append_byte(out, '"');
    buffer_append_text(out, prefix);
    buffer_append_slice(out, (struct text_slice){at, bytes});
    buffer_append_byte(out, '"');
    return at + bytes;
}

static const char *one_write(const char *at, struct buffer *out, unsigned depth)
{
    buffer_append_byte(out, '{');
    if (*at == '\'') {
        at = name_write(at + 1, "const", "", "'", out) + 1;
    } else if (*at == '#') {
        at = name_write(at + 1, "$ref", "#/components/schemas/", "|]}", out);
    } else if (*at == '[') {
        buffer_append_text(out, "\"type\":\"array\",\"items\":");
        at = alternatives_write(at + 1, out, depth + 1);
        CHECK(*at == ']');
        at++;
    } else if (*at == '{') {
        buffer_append_text(out, "\"type\":\"object\",\"additionalProperties\":");
        at = alternatives_write(at + 1, out, depth + 1);
        CHECK(*at == '}');
        at++;
    } else {
        at = type_write(at, out);
    }
    buffer_append_byte(out, '}');
    return at;
}

/* Writes up to the end of the text or of what encloses it, and returns that place. */
static const char *alternatives_write(const char *at, struct buffer *out, unsigned depth)
{
    CHECK(depth < DEPTH_MAX);
    struct buffer first;
    buffer_init(&first, out->bytes_max);
    at = one_write(at, &first, depth);
    if (*at != '|') {
        buffer_append_slice(out, buffer_slice(&first));
    } else {
        buffer_append_text(out, "{\"anyOf\":[");
        buffer_append_slice(out, buffer_slice(&first));
        while (*at == '|') {
            buffer_append_byte(out, ',');
            at = one_write(at + 1, out, depth);
        }
        buffer_append_text(out, "]}");
    }
    if (first.failed != STATUS_OK && out->failed == STATUS_OK)
        out->failed = first.failed;
    buffer_deinit(&first);
    return at;
}

void schema_text_write(const char *text, struct buffer *out)
{
    CHECK(*alternatives_write(text, out, 0) == '\0');
}
