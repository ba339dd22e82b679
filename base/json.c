#include "json.h"

#include "json_scan.h"
#include "json_string.h"

status json_scan(struct text_slice body, const struct json_limits *limits,
                 struct json_field *fields, size_t field_count, struct error_note *note)
{
    return json_scan_value(body, limits, true, fields, field_count, note);
}

status json_field_text(struct text_slice raw, struct buffer *out)
{
    if (raw.bytes < 2 || raw.data[0] != '"')
        return STATUS_INVALID;
    const char *end = raw.data + raw.bytes;
    const char *wrong;
    const char *what;
    if (json_string_skip(raw.data + 1, end, &wrong, &what) != end)
        return STATUS_INVALID;
    const char *at = raw.data + 1;
    while (at < end - 1) {
        const char *escape = memchr(at, '\\', (size_t)(end - 1 - at));
        const char *plain_end = escape != NULL ? escape : end - 1;
        buffer_append(out, at, (size_t)(plain_end - at));
        at = plain_end;
        if (escape != NULL) {
            char character[4];
            size_t bytes = json_string_next(&at, character);
            buffer_append(out, character, bytes);
        }
    }
    return out->failed;
}

status json_load_limited(struct text_slice body, const struct json_limits *limits, json_t **out,
                         struct error_note *note)
{
    status result = json_scan_value(body, limits, false, NULL, 0, note);
    if (result != STATUS_OK)
        return result;
    json_error_t error;
    json_t *value = json_loadb(body.data, body.bytes,
                               JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (value == NULL) {
        error_note_set(note, "%s at byte %d", error.text, error.position);
        return json_error_code(&error) == json_error_out_of_memory ? STATUS_NO_MEMORY
                                                                   : STATUS_INVALID;
    }
    *out = value;
    return STATUS_OK;
}
