#include "audit_line.h"

#include <inttypes.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#include "decimal.h"
#include "json.h"
#include "record_text.h"

#define TEXT_BYTES_MAX                                                                             \
    1000u /* of each of four: escaped sixfold they may be cut by the line's limit */
#define PREVIOUS_MARK  ",\"previous\":\""
#define HASH_MARK      ",\"hash\":\""
#define SEQ_MARK       "{\"seq\":"
#define SEQ_DIGITS_MAX 18

void audit_link_first(struct audit_link *link)
{
    link->seq = 0;
    memset(link->hash, '0', AUDIT_HASH_DIGITS);
    link->hash[AUDIT_HASH_DIGITS] = '\0';
}

static void hash_make(const char *data, size_t bytes, char out[AUDIT_HASH_DIGITS + 1])
{
    unsigned char hash[SHA256_DIGEST_LENGTH];

    (void)SHA256((const unsigned char *)data, bytes, hash);
    for (unsigned i = 0; i < SHA256_DIGEST_LENGTH; i++)
        (void)snprintf(out + 2u * i, 3, "%02x", hash[i]);
}

/* The longest beginning of the text that, escaped, has room. */
static void text_write(struct buffer *out, const char *name, const char *text)
{
    size_t bytes = strnlen(text, TEXT_BYTES_MAX);
    size_t begin, room = TEXT_BYTES_MAX * 3 / 2;

    json_write_key(out, name);
    begin = out->bytes;
    for (;;) {
        json_write_string(out, (struct text_slice){text, bytes});
        if (out->bytes - begin <= room || out->failed != STATUS_OK)
            return;
        out->bytes = begin;
        bytes /= 2;
    }
}

void audit_line_write(struct buffer *out, const struct audit_event *event, uint64_t wall_ms,
                      struct audit_link *last)
{
    size_t begin = out->bytes;

    buffer_append_format(out, SEQ_MARK "%" PRIu64 ",\"time\":\"", last->seq + 1);
    record_time_write(out, wall_ms);
    buffer_append_byte(out, '"');
    text_write(out, "actor", event->actor);
    text_write(out, "action", event->action);
    text_write(out, "object", event->object);
    text_write(out, "detail", event->detail);
    buffer_append_format(out, PREVIOUS_MARK "%s\"", last->hash);
    if (out->failed != STATUS_OK)
        return;
    hash_make(out->data + begin, out->bytes - begin, last->hash);
    last->seq++;
    buffer_append_format(out, HASH_MARK "%s\"}\n", last->hash);
}

/* The mark and 64 hex digits at `at`. */
static bool hash_read(struct text_slice line, size_t at, const char *mark, char *out)
{
    size_t mark_bytes = strlen(mark);

    if (memcmp(line.data + at, mark, mark_bytes) != 0)
        return false;
    memcpy(out, line.data + at + mark_bytes, AUDIT_HASH_DIGITS);
    out[AUDIT_HASH_DIGITS] = '\0';
    return strspn(out, "0123456789abcdef") == AUDIT_HASH_DIGITS;
}

static bool seq_read(struct text_slice line, uint64_t *seq)
{
    const char *digits;

    if (!text_slice_skip(&line, SEQ_MARK))
        return false;
    digits = line.data;
    return decimal_take(&line, UINT64_MAX, seq) && line.data - digits <= SEQ_DIGITS_MAX &&
           text_slice_starts_with(line, ",");
}

bool audit_line_read(struct text_slice line, struct audit_link *link, char *previous)
{
    const size_t hash_bytes = strlen(HASH_MARK) + AUDIT_HASH_DIGITS + 2; /* with "} */
    const size_t previous_bytes = strlen(PREVIOUS_MARK) + AUDIT_HASH_DIGITS + 1;
    char own[AUDIT_HASH_DIGITS + 1];
    size_t hash_at;

    if (line.bytes < strlen(SEQ_MARK) + 24 + previous_bytes + hash_bytes)
        return false;
    hash_at = line.bytes - hash_bytes;
    if (memcmp(line.data + line.bytes - 2, "\"}", 2) != 0 || !seq_read(line, &link->seq) ||
        !hash_read(line, hash_at, HASH_MARK, link->hash) ||
        !hash_read(line, hash_at - previous_bytes, PREVIOUS_MARK, previous))
        return false;
    hash_make(line.data, hash_at, own);
    return strcmp(own, link->hash) == 0;
}
