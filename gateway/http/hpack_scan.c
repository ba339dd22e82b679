#include "hpack_scan.h"

#include <string.h>

#include "memory.h"

#define ENTRY_COUNT_FIRST  8u /* of the table's first memory */
#define STATIC_ENTRY_COUNT 61u
#define STATIC_ENTRY_BYTES                                                                         \
    48u /* "accept-encoding: gzip, deflate" and the longer names stay below */
#define STATIC_CONTENT_LENGTH 28u
#define FIELD_OVERHEAD_BYTES  32u
#define STRING_BYTES_MAX      (1u << 20)

struct cursor {
    const uint8_t *at, *end;
};

/* RFC 7541, 5.1. At most four octets after the prefix, like the library. */
static bool read_integer(struct cursor *c, unsigned prefix_bits, uint32_t *out)
{
    if (c->at == c->end)
        return false;
    uint32_t mask = (1u << prefix_bits) - 1, value = *c->at++ & mask;
    if (value == mask) {
        for (unsigned shift = 0;; shift += 7) {
            if (c->at == c->end || shift > 21)
                return false;
            uint8_t octet = *c->at++;
            value += (uint32_t)(octet & 0x7f) << shift;
            if ((octet & 0x80) == 0)
                break;
        }
    }
    *out = value;
    return true;
}

struct string {
    const uint8_t *bytes;
    uint32_t count;
    bool is_huffman;
};

static bool read_string(struct cursor *c, struct string *out)
{
    if (c->at == c->end)
        return false;
    out->is_huffman = (*c->at & 0x80) != 0;
    if (!read_integer(c, 7, &out->count) || out->count > STRING_BYTES_MAX ||
        out->count > (size_t)(c->end - c->at))
        return false;
    out->bytes = c->at;
    c->at += out->count;
    return true;
}

static uint32_t string_bytes_max(struct string string)
{
    return string.is_huffman ? string.count * 8u / 5u : string.count;
}

static uint64_t append_digit(uint64_t number, unsigned digit)
{
    return number > (UINT64_MAX - 1 - digit) / 10 ? UINT64_MAX - 1 : number * 10 + digit;
}

/* The digits' codes (RFC 7541, appendix B): 0..2 are 5 bits 00000..00010, 3..9 are 6 bits
 * 011001..011111. Anything else gives "unknown": then only the running count of the body's bytes
 * limits it. */
static uint64_t read_huffman_number(struct string value)
{
    uint64_t number = 0, bits = 0;
    unsigned bit_count = 0, digits = 0;
    for (uint32_t i = 0; i < value.count; i++) {
        bits = (bits << 8 | value.bytes[i]) & 0xffffffu;
        bit_count += 8;
        while (bit_count >= 5) {
            unsigned five = (unsigned)(bits >> (bit_count - 5)) & 31u;
            if (five <= 2) {
                number = append_digit(number, five);
                bit_count -= 5;
            } else if (bit_count >= 6 && ((bits >> (bit_count - 6)) & 63u) - 25u <= 6u) {
                number = append_digit(number, (unsigned)((bits >> (bit_count - 6)) & 63u) - 22u);
                bit_count -= 6;
            } else if (bit_count < 8) {
                break; /* needs the next octet, or is the padding of ones */
            } else {
                return HPACK_LENGTH_UNKNOWN;
            }
            digits++;
        }
    }
    return digits > 0 ? number : HPACK_LENGTH_UNKNOWN;
}

static uint64_t read_number(struct string value)
{
    if (value.is_huffman)
        return read_huffman_number(value);
    uint64_t number = 0;
    for (uint32_t i = 0; i < value.count; i++) {
        if (value.bytes[i] < '0' || value.bytes[i] > '9')
            return HPACK_LENGTH_UNKNOWN;
        number = append_digit(number, value.bytes[i] - '0');
    }
    return value.count > 0 ? number : HPACK_LENGTH_UNKNOWN;
}

/* What index `index` can be; the static table by its worst case. */
static struct hpack_entry entry_at(const struct hpack_scan *scan, uint32_t index)
{
    uint32_t age = index - STATIC_ENTRY_COUNT; /* 1: the newest */
    if (index <= STATIC_ENTRY_COUNT)
        return (struct hpack_entry){.bytes = STATIC_ENTRY_BYTES,
                                    .is_content_length = index == STATIC_CONTENT_LENGTH,
                                    .content_length = HPACK_LENGTH_UNKNOWN};
    if (age > HPACK_ENTRY_COUNT || age > scan->newest)
        return (struct hpack_entry){.content_length =
                                        HPACK_LENGTH_UNKNOWN}; /* the library refuses it */
    return scan->entries[(scan->newest - age) % HPACK_ENTRY_COUNT];
}

void hpack_scan_deinit(struct hpack_scan *scan)
{
    memory_release(scan->entries);
    *scan = (struct hpack_scan){.entries = NULL};
}

/* Few clients put more than a dozen fields into the table, and most connections are idle: it grows as it is used. */
static bool insert(struct hpack_scan *scan, const struct hpack_entry *entry)
{
    if (scan->newest == scan->capacity && scan->capacity < HPACK_ENTRY_COUNT) {
        uint32_t capacity = scan->capacity > 0 ? 2 * scan->capacity : ENTRY_COUNT_FIRST;
        struct hpack_entry *entries =
            memory_resize(scan->entries, capacity * sizeof(scan->entries[0]));
        if (entries == NULL)
            return false;
        scan->entries = entries;
        scan->capacity = capacity;
    }
    scan->entries[scan->newest++ % HPACK_ENTRY_COUNT] = *entry;
    return true;
}

static bool name_is_content_length(struct string name)
{
    /* Encoders use the static name; one that spells it in Huffman code only loses the early 413. */
    static const char text[] = "content-length";
    return !name.is_huffman && name.count == sizeof text - 1 &&
           memcmp(name.bytes, text, sizeof text - 1) == 0;
}

static bool scan_literal(struct hpack_scan *scan, struct cursor *c, unsigned prefix_bits,
                         struct hpack_entry *out)
{
    uint32_t index;
    struct string name, value;
    if (!read_integer(c, prefix_bits, &index))
        return false;
    *out = index != 0 ? entry_at(scan, index) : (struct hpack_entry){.bytes = 0};
    if (index == 0) {
        if (!read_string(c, &name))
            return false;
        out->bytes = string_bytes_max(name);
        out->is_content_length = name_is_content_length(name);
    }
    if (!read_string(c, &value))
        return false;
    out->bytes += string_bytes_max(value);
    out->content_length = out->is_content_length ? read_number(value) : HPACK_LENGTH_UNKNOWN;
    return prefix_bits != 6 || insert(scan, out);
}

status hpack_scan_block(struct hpack_scan *scan, const uint8_t *bytes, size_t count,
                        uint32_t field_count_max, struct hpack_block *out)
{
    struct cursor c = {bytes, bytes + count};
    *out = (struct hpack_block){.content_length = HPACK_LENGTH_UNKNOWN};
    while (c.at < c.end) {
        struct hpack_entry entry;
        uint32_t number;
        if ((*c.at & 0xe0) == 0x20) { /* table size update: only before the first field (4.2) */
            if (out->field_count != 0 || !read_integer(&c, 5, &number))
                return STATUS_INVALID;
            continue;
        }
        if ((*c.at & 0x80) != 0) {
            if (!read_integer(&c, 7, &number) || number == 0)
                return STATUS_INVALID;
            entry = entry_at(scan, number);
        } else if (!scan_literal(scan, &c, (*c.at & 0x40) != 0 ? 6 : 4, &entry)) {
            return STATUS_INVALID;
        }
        if (++out->field_count > field_count_max)
            return STATUS_TOO_LARGE;
        out->decoded_bytes += entry.bytes + FIELD_OVERHEAD_BYTES;
        if (entry.is_content_length && entry.content_length != HPACK_LENGTH_UNKNOWN)
            out->content_length = entry.content_length;
    }
    return STATUS_OK;
}
