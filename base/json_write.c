#include <math.h>

#include "json.h"
#include "json_string.h"
#include "number.h"
#include "utf8.h"

static void write_code_point(struct buffer *out, uint32_t code_point)
{
    static const char digits[] = "0123456789abcdef";
    const char escape[6] = {'\\',
                            'u',
                            digits[code_point >> 12 & 15],
                            digits[code_point >> 8 & 15],
                            digits[code_point >> 4 & 15],
                            digits[code_point & 15]};

    buffer_append(out, escape, sizeof escape);
}

/* Appends the two-byte escape or \u00XX. */
static void write_escape(struct buffer *out, unsigned char byte)
{
    static const char codes[0x20] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    char escape[2] = {'\\', (char)byte};
    if (byte == '"' || byte == '\\') {
        buffer_append(out, escape, sizeof escape);
    } else if (codes[byte] != 0) {
        escape[1] = codes[byte];
        buffer_append(out, escape, sizeof escape);
    } else {
        write_code_point(out, byte);
    }
}

/* JSON allows them as they are, but who reads an event stream line by line may take them for a line's end (Python's
 * str.splitlines does, and with it httpx). The others of that kind are control characters, which are escaped anyway. */
static bool ends_lines(uint32_t code_point)
{
    return code_point == 0x85 || code_point == 0x2028 || code_point == 0x2029;
}

void json_write_string(struct buffer *out, struct text_slice text)
{
    buffer_append_byte(out, '"');
    size_t plain_start = 0; /* what lies between here and `at` needs no change */
    size_t at = 0;
    while ((at += json_string_plain(text.data + at, text.data + text.bytes)) < text.bytes) {
        unsigned char byte = (unsigned char)text.data[at];
        uint32_t code_point;
        size_t length = utf8_decode(text.data + at, text.bytes - at, &code_point);
        if (length > 0 && byte >= 0x20 && byte != '"' && byte != '\\' && !ends_lines(code_point)) {
            at += length;
            continue;
        }
        buffer_append(out, text.data + plain_start, at - plain_start);
        if (length == 0) {
            buffer_append(out, "\xEF\xBF\xBD", 3);
            at += utf8_broken_length(text.data + at, text.bytes - at);
        } else if (ends_lines(code_point)) {
            write_code_point(out, code_point);
            at += length;
        } else {
            write_escape(out, byte);
            at++;
        }
        plain_start = at;
    }
    buffer_append(out, text.data + plain_start, at - plain_start);
    buffer_append_byte(out, '"');
}

void json_write_text(struct buffer *out, const char *text)
{
    if (text == NULL)
        buffer_append_text(out, "null");
    else
        json_write_string(out, text_slice_of(text));
}

void json_write_double(struct buffer *out, double value)
{
    if (!isfinite(value)) {
        buffer_append_text(out, "null");
        return;
    }
    size_t before = out->bytes;
    number_write_shortest(out, value);
    if (out->failed == STATUS_OK && strpbrk(out->data + before, ".e") == NULL)
        buffer_append_text(out, ".0"); /* a reader that tells 1 from 1.0 gets a real */
}

void json_write_bool(struct buffer *out, bool value)
{
    buffer_append_text(out, value ? "true" : "false");
}

static char last_byte(const struct buffer *out)
{
    if (out->bytes == 0)
        return '\0';
    return out->data[out->bytes - 1];
}

void json_write_key(struct buffer *out, const char *name)
{
    char last = last_byte(out);
    if (last != '{' && last != '[')
        buffer_append_byte(out, ',');
    json_write_text(out, name);
    buffer_append_byte(out, ':');
}

void json_write_comma(struct buffer *out)
{
    char last = last_byte(out);
    if (last != '{' && last != '[' && last != ':' && last != ',')
        buffer_append_byte(out, ',');
}

static int append_piece(const char *piece, size_t bytes, void *context)
{
    struct buffer *out = context;
    buffer_append(out, piece, bytes);
    return out->failed == STATUS_OK ? 0 : -1;
}

void json_write_value(struct buffer *out, const json_t *value)
{
    if (json_dump_callback(value, append_piece, out, JSON_COMPACT | JSON_ENCODE_ANY) != 0 &&
        out->failed == STATUS_OK)
        out->failed =
            STATUS_NO_MEMORY; /* a value that we loaded or built has no other way to fail */
}
