#include "utf8.h"

#include <string.h>

#include "check.h"

/* Unicode 15, table 3-7: the lead byte gives the length, and for four leads a narrower range of the
 * second byte. */
struct utf8_lead {
    size_t bytes; /* of the whole sequence; 0: no lead */
    unsigned char second_min, second_max;
};

static struct utf8_lead lead_of(unsigned char byte)
{
    if (byte < 0x80)
        return (struct utf8_lead){1, 0, 0};
    if (byte < 0xC2 || byte > 0xF4)
        return (struct utf8_lead){0, 0, 0};
    if (byte < 0xE0)
        return (struct utf8_lead){2, 0x80, 0xBF};
    if (byte < 0xF0) {
        unsigned char low = byte == 0xE0 ? 0xA0 : 0x80;
        unsigned char high = byte == 0xED ? 0x9F : 0xBF;
        return (struct utf8_lead){3, low, high};
    }
    unsigned char low = byte == 0xF0 ? 0x90 : 0x80;
    unsigned char high = byte == 0xF4 ? 0x8F : 0xBF;
    return (struct utf8_lead){4, low, high};
}

/* Are the `count` bytes after the lead, as far as they are there, right? */
static bool tail_is_valid(struct utf8_lead lead, const unsigned char *tail, size_t count)
{
    if (count > 0 && (tail[0] < lead.second_min || tail[0] > lead.second_max))
        return false;
    for (size_t i = 1; i < count; i++) {
        if ((tail[i] & 0xC0) != 0x80)
            return false;
    }
    return true;
}

size_t utf8_decode(const char *text, size_t bytes, uint32_t *code_point)
{
    const unsigned char *at = (const unsigned char *)text;
    if (at[0] < 0x80) {
        *code_point = at[0];
        return 1;
    }
    struct utf8_lead lead = lead_of(at[0]);
    if (lead.bytes == 0 || lead.bytes > bytes || !tail_is_valid(lead, at + 1, lead.bytes - 1))
        return 0;
    uint32_t value = at[0] & (0x7Fu >> lead.bytes);
    for (size_t i = 1; i < lead.bytes; i++)
        value = value << 6 | (at[i] & 0x3Fu);
    *code_point = value;
    return lead.bytes;
}

size_t utf8_broken_length(const char *text, size_t bytes)
{
    const unsigned char *at = (const unsigned char *)text;
    struct utf8_lead lead = lead_of(at[0]);
    size_t length = 1;
    while (length < lead.bytes && length < bytes && tail_is_valid(lead, at + 1, length))
        length++;
    return length;
}

size_t utf8_encode(uint32_t code_point, char out[4])
{
    CHECK(code_point <= 0x10FFFF && (code_point < 0xD800 || code_point > 0xDFFF));
    if (code_point < 0x80) {
        out[0] = (char)code_point;
        return 1;
    }
    size_t bytes = code_point < 0x800 ? 2 : code_point < 0x10000 ? 3 : 4;
    for (size_t i = bytes; i-- > 1; code_point >>= 6)
        out[i] = (char)(0x80 | (code_point & 0x3F));
    static const unsigned char marks[5] = {0, 0, 0xC0, 0xE0, 0xF0};
    out[0] = (char)(marks[bytes] | code_point);
    return bytes;
}

bool utf8_is_valid(const char *text, size_t bytes)
{
    size_t at = 0;
    while (at < bytes) {
        uint64_t word;
        if (bytes - at >= sizeof word) { /* most text is ASCII: eight bytes a turn */
            memcpy(&word, text + at, sizeof word);
            if ((word & 0x8080808080808080ull) == 0) {
                at += sizeof word;
                continue;
            }
        }
        uint32_t code_point;
        size_t length = utf8_decode(text + at, bytes - at, &code_point);
        if (length == 0)
            return false;
        at += length;
    }
    return true;
}

size_t utf8_complete_prefix(const char *text, size_t bytes)
{
    const unsigned char *end = (const unsigned char *)text + bytes;
    for (size_t back = 1; back <= 3 && back <= bytes; back++) {
        unsigned char byte = *(end - back);
        if ((byte & 0xC0) == 0x80)
            continue; /* inside a sequence, or a stray byte */
        struct utf8_lead lead = lead_of(byte);
        bool is_open = lead.bytes > back && tail_is_valid(lead, end - back + 1, back - 1);
        return is_open ? bytes - back : bytes;
    }
    return bytes;
}
