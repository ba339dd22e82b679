#include "continuation.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "report_number.h"

#define CHOICES_MAX 1024u /* more than a request can have */

void answer_name_write(const struct answer_name *name, char out[ANSWER_NAME_TEXT_BYTES])
{
    (void)snprintf(out, ANSWER_NAME_TEXT_BYTES, "%" PRIu64 " %" PRIu64 " %s", name->seed,
                   name->created_s, name->unique);
}

bool answer_name_read(struct text_slice text, struct answer_name *out)
{
    struct answer_name name;

    if (!report_number_take(&text, UINT64_MAX, &name.seed) ||
        !report_number_take(&text, UINT64_MAX, &name.created_s) ||
        text.bytes != ANSWER_UNIQUE_BYTES - 1)
        return false;
    for (size_t i = 0; i < text.bytes; i++) {
        if (memchr("0123456789abcdef", text.data[i], 16) == NULL)
            return false;
    }
    memcpy(name.unique, text.data, text.bytes);
    name.unique[text.bytes] = '\0';
    *out = name;
    return true;
}

void continuation_write(const struct continuation *continuation, char out[CONTINUATION_TEXT_BYTES])
{
    (void)snprintf(out, CONTINUATION_TEXT_BYTES, "%" PRIu64 " %" PRIu64 " %" PRIu32 " %" PRIu32,
                   continuation->told_bytes, continuation->event_count, continuation->cached_tokens,
                   continuation->cache_write_tokens);
}

bool continuation_read(struct text_slice text, struct continuation *out)
{
    uint64_t told, events, cached, written;

    if (!report_number_take(&text, UINT64_MAX, &told) ||
        !report_number_take(&text, UINT64_MAX, &events) ||
        !report_number_take(&text, UINT32_MAX, &cached) ||
        !report_number_take(&text, UINT32_MAX, &written) || text.bytes > 0)
        return false;
    *out = (struct continuation){told, events, (uint32_t)cached, (uint32_t)written};
    return true;
}

/* --- tokens --- */

void told_tokens_init(struct told_tokens *told, uint32_t count_max)
{
    *told = (struct told_tokens){.count = 0};
    buffer_init(&told->bytes, (size_t)count_max * TOLD_TOKEN_BYTES_MAX);
}

void told_tokens_deinit(struct told_tokens *told)
{
    buffer_deinit(&told->bytes);
}

static void varint_add(struct buffer *out, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        buffer_append_byte(out, (char)(value | 0x80));
    buffer_append_byte(out, (char)value);
}

void told_tokens_add(struct told_tokens *told, uint32_t choice, int32_t token)
{
    if (choice != told->last_choice)
        varint_add(&told->bytes, (uint64_t)choice << 1 | 1);
    told->last_choice = choice;
    varint_add(&told->bytes, (uint64_t)token << 1);
    told->count++;
}

static bool varint_take(struct text_slice *text, uint64_t *out)
{
    uint64_t value = 0;

    for (size_t i = 0; i < text->bytes && i < 5; i++) {
        unsigned char byte = (unsigned char)text->data[i];

        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte >= 0x80)
            continue;
        *out = value;
        *text = (struct text_slice){text->data + i + 1, text->bytes - i - 1};
        return true;
    }
    return false;
}

bool told_tokens_next(struct told_reader *reader, int32_t *token)
{
    uint64_t value = 0;

    while (reader->rest.bytes > 0 && !reader->is_wrong) {
        reader->is_wrong = !varint_take(&reader->rest, &value) ||
                           value >> 1 > ((value & 1) != 0 ? CHOICES_MAX : (uint64_t)INT32_MAX);
        if (reader->is_wrong)
            return false;
        if ((value & 1) == 0) {
            *token = (int32_t)(value >> 1);
            return true;
        }
        reader->choice = (uint32_t)(value >> 1);
        reader->is_wrong = reader->rest.bytes == 0; /* of no token */
    }
    return false;
}
