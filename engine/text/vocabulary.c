/* The byte alphabet: GPT-2 writes the 188 printable bytes of Latin-1 as themselves and the other
 * 68, in order, as the characters from U+0100 on (bytes_to_unicode in OpenAI's encoder.py).
 * Ordinary tokens are turned back into bytes once, at load; control and user-defined tokens are
 * written in the file as they are, but that SentencePiece writes spaces as U+2581 in the latter too. */
#include "vocabulary.h"

#include <stdio.h>
#include <string.h>

#include "memory.h"
#include "utf8.h"

#define ALPHABET_END 0x144u /* one past the last character of the alphabet */

static bool byte_is_itself(uint32_t byte)
{
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

/* [ALPHABET_END] character -> byte, -1: not of the alphabet; and [256] byte -> character. */
static void alphabet_fill(int16_t byte_of[ALPHABET_END], uint16_t character_of[256])
{
    memset(byte_of, 0xFF, ALPHABET_END * sizeof(byte_of[0]));
    uint32_t next = 0x100;
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t character = byte_is_itself(byte) ? byte : next++;
        character_of[byte] = (uint16_t)character;
        byte_of[character] = (int16_t)byte;
    }
}

/* Appends the bytes that `text` stands for at `out` (room for text.bytes); a character outside the
 * alphabet stands for itself. Returns how many. */
static uint32_t decode_text(const int16_t *byte_of, struct text_slice text, char *out)
{
    uint32_t written = 0;
    for (size_t at = 0; at < text.bytes;) {
        uint32_t character = 0;
        size_t bytes = utf8_decode(text.data + at, text.bytes - at, &character);
        if (bytes > 0 && character < ALPHABET_END && byte_of[character] >= 0) {
            out[written++] = (char)byte_of[character];
        } else {
            bytes = bytes > 0 ? bytes : 1;
            memcpy(out + written, text.data + at, bytes);
            written += (uint32_t)bytes;
        }
        at += bytes;
    }
    return written;
}

static const char metaspace[] = "\xE2\x96\x81"; /* U+2581 */
#define METASPACE_BYTES (sizeof metaspace - 1)

/* The byte that "<0x0A>" names; -1: another text. */
static int byte_of_name(struct text_slice text)
{
    if (text.bytes != 6 || memcmp(text.data, "<0x", 3) != 0 || text.data[5] != '>')
        return -1;
    int value = 0;
    for (size_t i = 3; i < 5; i++) {
        char c = text.data[i];
        if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'F')))
            return -1;
        value = value * 16 + (c <= '9' ? c - '0' : c - 'A' + 10);
    }
    return value;
}

static uint32_t decode_metaspace(struct text_slice text, char *out)
{
    int byte = byte_of_name(text);
    if (byte >= 0) {
        out[0] = (char)byte;
        return 1;
    }
    uint32_t written = 0;
    for (size_t at = 0; at < text.bytes;) {
        bool is_space = text.bytes - at >= METASPACE_BYTES &&
                        memcmp(text.data + at, metaspace, METASPACE_BYTES) == 0;
        out[written++] = is_space ? ' ' : text.data[at];
        at += is_space ? METASPACE_BYTES : 1;
    }
    return written;
}

static uint32_t decode_wordpiece(struct text_slice text, char *out)
{
    bool goes_on = text.bytes > 2 && text.data[0] == '#' && text.data[1] == '#';
    if (goes_on) {
        memcpy(out, text.data + 2, text.bytes - 2);
        return (uint32_t)text.bytes - 2;
    }
    out[0] = ' ';
    memcpy(out + 1, text.data, text.bytes);
    return (uint32_t)text.bytes + 1;
}

static uint32_t decode_piece(enum piece_kind kind, const int16_t *byte_of, struct text_slice text,
                             char *out)
{
    if (text.bytes == 0)
        return 0;
    switch (kind) {
    case PIECE_ALPHABET:
        return decode_text(byte_of, text, out);
    case PIECE_METASPACE:
        return decode_metaspace(text, out);
    case PIECE_WORDPIECE:
        return decode_wordpiece(text, out);
    case PIECE_PLAIN:
        break;
    }
    memcpy(out, text.data, text.bytes);
    return (uint32_t)text.bytes;
}

static status check_source(const struct vocabulary_source *source, size_t *total,
                           struct error_note *note)
{
    *total = 0;
    if (source->token_count == 0) {
        error_note_set(note, "the vocabulary is empty");
        return STATUS_INVALID;
    }
    if (source->token_count > VOCABULARY_TOKENS_MAX) {
        error_note_set(note, "%u tokens, more than %u", source->token_count, VOCABULARY_TOKENS_MAX);
        return STATUS_TOO_LARGE;
    }
    for (uint32_t i = 0; i < source->token_count; i++) {
        if (source->tokens[i].bytes > VOCABULARY_TEXT_BYTES_MAX - *total) {
            error_note_set(note, "the tokens' texts take more than %u bytes",
                           VOCABULARY_TEXT_BYTES_MAX);
            return STATUS_TOO_LARGE;
        }
        *total += source->tokens[i].bytes;
    }
    return STATUS_OK;
}

static status allocate(struct vocabulary *v, uint32_t count, size_t total)
{
    size_t slots = 16;
    while (slots < 2 * (size_t)count)
        slots *= 2;
    *v = (struct vocabulary){.count = count, .slot_mask = (uint32_t)(slots - 1)};
    v->texts = memory_allocate(total);
    v->pieces = memory_allocate(total + count); /* a word piece has a space more than its text */
    v->text_starts = memory_allocate_array((size_t)count + 1, sizeof(uint32_t));
    v->piece_starts = memory_allocate_array((size_t)count + 1, sizeof(uint32_t));
    v->attributes = memory_allocate_array(count, 1);
    v->slots = memory_allocate_array(slots, sizeof(uint32_t));
    if (v->texts != NULL && v->pieces != NULL && v->text_starts != NULL &&
        v->piece_starts != NULL && v->attributes != NULL && v->slots != NULL)
        return STATUS_OK;
    vocabulary_deinit(v);
    return STATUS_NO_MEMORY;
}

/* The slot that holds `text`, or the free one where it belongs. */
static uint32_t *slot_of(const struct vocabulary *v, struct text_slice text)
{
    uint32_t at = (uint32_t)hash64(&v->key, text.data, text.bytes) & v->slot_mask;
    while (v->slots[at] != 0 &&
           !text_slice_equals(vocabulary_text(v, (int32_t)(v->slots[at] - 1)), text))
        at = (at + 1) & v->slot_mask;
    return &v->slots[at];
}

static void fill_tokens(struct vocabulary *v, const struct vocabulary_source *source,
                        const int16_t *byte_of)
{
    for (uint32_t i = 0; i < v->count; i++) {
        struct text_slice text = source->tokens[i];
        int32_t attribute = source->attributes != NULL ? source->attributes[i] : TOKEN_NORMAL;
        bool is_known = attribute >= TOKEN_NORMAL && attribute <= TOKEN_BYTE;
        v->attributes[i] = (uint8_t)(is_known ? attribute : TOKEN_NORMAL);
        uint32_t start = v->text_starts[i], piece = v->piece_starts[i];
        if (text.bytes > 0)
            memcpy(v->texts + start, text.data, text.bytes);
        v->text_starts[i + 1] = start + (uint32_t)text.bytes;
        if (text.bytes > v->longest_text)
            v->longest_text = (uint32_t)text.bytes;
        bool is_itself = vocabulary_is_control(v, (int32_t)i) ||
                         (attribute == TOKEN_USER_DEFINED && source->pieces != PIECE_METASPACE);
        if (is_itself) {
            if (text.bytes > 0)
                memcpy(v->pieces + piece, text.data, text.bytes);
            piece += (uint32_t)text.bytes;
        } else {
            piece += decode_piece(source->pieces, byte_of, text, v->pieces + piece);
        }
        v->piece_starts[i + 1] = piece;
        if (text.bytes > 0)
            *slot_of(v, text) = i + 1;
    }
}

status vocabulary_init(struct vocabulary *v, const struct vocabulary_source *source,
                       struct error_note *note)
{
    size_t total = 0;
    status result = check_source(source, &total, note);
    if (result == STATUS_OK)
        result = allocate(v, source->token_count, total);
    if (result != STATUS_OK)
        return result;
    random_bytes(&v->key, sizeof(v->key));
    int16_t byte_of[ALPHABET_END];
    uint16_t character_of[256];
    alphabet_fill(byte_of, character_of);
    fill_tokens(v, source, byte_of);
    for (uint32_t byte = 0; byte < 256; byte++) {
        char text[8];
        size_t bytes = 0;
        if (source->pieces == PIECE_ALPHABET)
            bytes = utf8_encode(character_of[byte], text);
        else if (source->pieces == PIECE_METASPACE)
            bytes = (size_t)snprintf(text, sizeof text, "<0x%02X>", byte);
        v->byte_ids[byte] = bytes > 0 ? vocabulary_find(v, (struct text_slice){text, bytes}) : -1;
    }
    return STATUS_OK;
}

void vocabulary_deinit(struct vocabulary *v)
{
    memory_release(v->texts);
    memory_release(v->pieces);
    memory_release(v->text_starts);
    memory_release(v->piece_starts);
    memory_release(v->attributes);
    memory_release(v->slots);
    *v = (struct vocabulary){0};
}

struct text_slice vocabulary_text(const struct vocabulary *v, int32_t id)
{
    uint32_t start = v->text_starts[id];
    return (struct text_slice){v->texts + start, v->text_starts[id + 1] - start};
}

struct text_slice vocabulary_piece(const struct vocabulary *v, int32_t id)
{
    uint32_t start = v->piece_starts[id];
    return (struct text_slice){v->pieces + start, v->piece_starts[id + 1] - start};
}

int32_t vocabulary_find(const struct vocabulary *v, struct text_slice text)
{
    return (int32_t)*slot_of(v, text) - 1;
}

#define WORD_BYTES_MAX                                                                             \
    256u /* longer words are left to the merges; no known vocabulary has a longer token */

int32_t vocabulary_find_word(const struct vocabulary *v, struct text_slice bytes)
{
    if (bytes.bytes > WORD_BYTES_MAX || bytes.bytes > v->longest_text)
        return -1;
    char text[2 * WORD_BYTES_MAX];
    size_t written = 0;
    for (size_t i = 0; i < bytes.bytes; i++) {
        /* Each byte's own token has the byte's character as its text. */
        int32_t id = v->byte_ids[(uint8_t)bytes.data[i]];
        if (id < 0)
            return -1;
        struct text_slice character = vocabulary_text(v, id);
        memcpy(text + written, character.data, character.bytes);
        written += character.bytes;
    }
    int32_t id = vocabulary_find(v, (struct text_slice){text, written});
    return id >= 0 && !vocabulary_is_control(v, id) ? id : -1;
}
