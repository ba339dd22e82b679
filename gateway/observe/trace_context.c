#include "trace_context.h"

#include <string.h>

#include "check.h"
#include "hash.h"
#include "text_out.h"

#define TRACE_AT   3u
#define SPAN_AT    36u
#define FLAGS_AT   53u
#define WHOLE      55u
#define KEY_MAX    256u
#define VALUE_MAX  256u
#define FLAGS_OURS (TRACE_FLAG_SAMPLED | TRACE_FLAG_RANDOM)

/* --- reading --- */

/* Digits in lower case only: the standard calls others invalid. */
static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool bytes_read(const char *digits, uint8_t *out, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        int high = digit_of(digits[2 * i]), low = digit_of(digits[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static bool is_zero(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] != 0)
            return false;
    }
    return true;
}

bool trace_context_read(struct text_slice traceparent, struct trace_context *out)
{
    const char *at = traceparent.data;
    struct trace_context read;
    uint8_t version;

    if (traceparent.bytes < WHOLE || !bytes_read(at, &version, 1) || version == 0xff)
        return false;
    if (at[TRACE_AT - 1] != '-' || at[SPAN_AT - 1] != '-' || at[FLAGS_AT - 1] != '-')
        return false;
    /* Later versions may have more behind it. */
    if (traceparent.bytes > WHOLE && (version == 0 || at[WHOLE] != '-'))
        return false;
    if (!bytes_read(at + TRACE_AT, read.trace_id, TRACE_ID_BYTES) ||
        !bytes_read(at + SPAN_AT, read.span_id, SPAN_ID_BYTES) ||
        !bytes_read(at + FLAGS_AT, &read.flags, 1))
        return false;
    if (is_zero(read.trace_id, TRACE_ID_BYTES) || is_zero(read.span_id, SPAN_ID_BYTES))
        return false;
    *out = read;
    return true;
}

/* --- tracestate --- */

static bool is_key_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '*' ||
           c == '/' || c == '@';
}

static bool key_is_good(struct text_slice key)
{
    if (key.bytes == 0 || key.bytes > KEY_MAX)
        return false;
    if (!(key.data[0] >= 'a' && key.data[0] <= 'z') && !(key.data[0] >= '0' && key.data[0] <= '9'))
        return false;
    for (size_t i = 0; i < key.bytes; i++) {
        if (!is_key_byte(key.data[i]))
            return false;
    }
    return true;
}

static bool value_is_good(struct text_slice value)
{
    if (value.bytes == 0 || value.bytes > VALUE_MAX || value.data[value.bytes - 1] == ' ')
        return false;
    for (size_t i = 0; i < value.bytes; i++) {
        char c = value.data[i];

        if (c < 0x20 || c > 0x7e || c == ',' || c == '=')
            return false;
    }
    return true;
}

static bool member_read(struct text_slice member, struct text_slice *key)
{
    const char *sign = memchr(member.data, '=', member.bytes);

    if (sign == NULL)
        return false;
    *key = (struct text_slice){member.data, (size_t)(sign - member.data)};
    return key_is_good(*key) &&
           value_is_good((struct text_slice){sign + 1, member.bytes - key->bytes - 1});
}

static bool has_key(const struct text_slice *keys, size_t count, struct text_slice key)
{
    for (size_t i = 0; i < count; i++) {
        if (text_slice_equals(keys[i], key))
            return true;
    }
    return false;
}

bool tracestate_is_good(struct text_slice tracestate)
{
    struct text_slice keys[TRACESTATE_MEMBERS_MAX], rest = tracestate;
    size_t count = 0;

    if (tracestate.bytes == 0 || tracestate.bytes > TRACESTATE_BYTES_MAX)
        return false;
    while (rest.bytes > 0) {
        const char *comma = memchr(rest.data, ',', rest.bytes);
        size_t bytes = comma != NULL ? (size_t)(comma - rest.data) : rest.bytes;
        struct text_slice member = text_slice_trim((struct text_slice){rest.data, bytes}), key;

        rest.data += bytes + (comma != NULL);
        rest.bytes -= bytes + (comma != NULL);
        if (member.bytes == 0) /* empty members are allowed */
            continue;
        if (count == TRACESTATE_MEMBERS_MAX || !member_read(member, &key) ||
            has_key(keys, count, key))
            return false;
        keys[count++] = key;
    }
    return count > 0;
}

/* --- writing --- */

static char *hex_out(char *at, const uint8_t *bytes, size_t count)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < count; i++) {
        *at++ = digits[bytes[i] >> 4];
        *at++ = digits[bytes[i] & 15];
    }
    return at;
}

void trace_context_write(const struct trace_context *context, char out[TRACEPARENT_BYTES])
{
    uint8_t flags = context->flags & FLAGS_OURS;
    char *at = text_out(out, "00-", 3);

    at = hex_out(at, context->trace_id, TRACE_ID_BYTES);
    *at++ = '-';
    at = hex_out(at, context->span_id, SPAN_ID_BYTES);
    *at++ = '-';
    at = hex_out(at, &flags, 1);
    *at = '\0';
}

void trace_id_hex(const uint8_t id[TRACE_ID_BYTES], char out[TRACE_ID_HEX_BYTES])
{
    *hex_out(out, id, TRACE_ID_BYTES) = '\0';
}

void span_id_hex(const uint8_t id[SPAN_ID_BYTES], char out[SPAN_ID_HEX_BYTES])
{
    *hex_out(out, id, SPAN_ID_BYTES) = '\0';
}

bool trace_id_read(const char *hex, uint8_t out[TRACE_ID_BYTES])
{
    return strlen(hex) == TRACE_ID_HEX_BYTES - 1 && bytes_read(hex, out, TRACE_ID_BYTES);
}

bool span_id_read(const char *hex, uint8_t out[SPAN_ID_BYTES])
{
    return strlen(hex) == SPAN_ID_HEX_BYTES - 1 && bytes_read(hex, out, SPAN_ID_BYTES);
}

bool span_id_is_set(const uint8_t id[SPAN_ID_BYTES])
{
    return !is_zero(id, SPAN_ID_BYTES);
}

/* --- new ids --- */

static void ids_take(struct trace_ids *ids, uint8_t *out, uint32_t bytes)
{
    do { /* again where it is all zeros, which is no id */
        if (ids->left < bytes) {
            random_bytes(ids->bytes, sizeof(ids->bytes));
            ids->left = sizeof(ids->bytes);
        }
        ids->left -= bytes;
        memcpy(out, ids->bytes + ids->left, bytes);
    } while (is_zero(out, bytes));
}

void trace_ids_make_trace(struct trace_ids *ids, uint8_t out[TRACE_ID_BYTES])
{
    ids_take(ids, out, TRACE_ID_BYTES);
}

void trace_ids_make_span(struct trace_ids *ids, uint8_t out[SPAN_ID_BYTES])
{
    ids_take(ids, out, SPAN_ID_BYTES);
}

void span_id_derive(const uint8_t of[SPAN_ID_BYTES], uint32_t number, uint8_t out[SPAN_ID_BYTES])
{
    static const struct hash_key key = {0x7370616e206f6620ull, 0x616e6f7468657220ull};
    uint8_t data[SPAN_ID_BYTES + sizeof(number)];
    uint64_t id;

    memcpy(data, of, SPAN_ID_BYTES);
    memcpy(data + SPAN_ID_BYTES, &number, sizeof(number));
    id = hash64(&key, data, sizeof(data));
    id = id != 0 ? id : 1;
    memcpy(out, &id, SPAN_ID_BYTES);
}
