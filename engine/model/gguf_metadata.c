/* Keys and values of a GGUF file: read once at open, where every length is checked down to the last
 * text of the last array, then answered from the mapping. Nothing is copied but the table of
 * entries. */

#include <inttypes.h>
#include <string.h>

#include "gguf_internal.h"
#include "memory.h"

/* The format's own limit on keys. */
#define KEY_BYTES_MAX 65535u
/* A Jinja template of a big model has about 10 KiB, embedded licences up to 100 KiB. */
#define TEXT_BYTES_MAX (UINT64_C(16) << 20)
/* Sixty times the largest vocabulary known (256 Ki tokens, 512 Ki merges). */
#define ARRAY_COUNT_MAX (UINT64_C(1) << 25)
/* The least a key with its value can take: two lengths or types and one byte. Bounds the table by
 * the file's size. */
#define ENTRY_BYTES_MIN 14u

/* Bytes of a value of fixed size; 0 for texts and arrays. */
static uint32_t type_bytes(enum gguf_type type)
{
    switch (type) {
    case GGUF_U8:
    case GGUF_I8:
    case GGUF_BOOL:
        return 1;
    case GGUF_U16:
    case GGUF_I16:
        return 2;
    case GGUF_U32:
    case GGUF_I32:
    case GGUF_F32:
        return 4;
    case GGUF_U64:
    case GGUF_I64:
    case GGUF_F64:
        return 8;
    case GGUF_STRING:
    case GGUF_ARRAY:
        return 0;
    }
    return 0;
}

static status take_type(struct gguf_cursor *cursor, const char *what, enum gguf_type *out)
{
    uint64_t start = cursor->offset;
    uint32_t number;
    status s = gguf_take_u32(cursor, what, &number);
    if (s != STATUS_OK)
        return s;
    if (number > GGUF_F64) {
        error_note_set(cursor->note, "byte %" PRIu64 ": %s %" PRIu32 " does not exist (0..12)",
                       start, what, number);
        return STATUS_INVALID;
    }
    *out = (enum gguf_type)number;
    return STATUS_OK;
}

static status take_bools(struct gguf_cursor *cursor, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        if (cursor->data[cursor->offset + i] > 1) {
            error_note_set(cursor->note, "byte %" PRIu64 ": a bool that is neither 0 nor 1",
                           cursor->offset + i);
            return STATUS_INVALID;
        }
    }
    return gguf_skip(cursor, "bools", count);
}

static status take_texts(struct gguf_cursor *cursor, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        struct text_slice text;
        status s = gguf_take_text(cursor, "text", TEXT_BYTES_MAX, &text);
        if (s != STATUS_OK)
            return s;
    }
    return STATUS_OK;
}

/* Checks `count` elements and moves past them. */
static status take_elements(struct gguf_cursor *cursor, enum gguf_type type, uint64_t count)
{
    uint64_t each = type_bytes(type) != 0 ? type_bytes(type) : sizeof(uint64_t);
    if (count > gguf_cursor_left(cursor) / each) {
        error_note_set(cursor->note,
                       "byte %" PRIu64 ": the file ends inside a value of %" PRIu64 " elements",
                       cursor->offset, count);
        return STATUS_INVALID;
    }
    if (type == GGUF_STRING)
        return take_texts(cursor, count);
    if (type == GGUF_BOOL)
        return take_bools(cursor, count);
    return gguf_skip(cursor, "value", count * each);
}

static status take_array_head(struct gguf_cursor *cursor, struct gguf_entry *entry)
{
    uint64_t start = cursor->offset;
    status s = take_type(cursor, "array element type", &entry->element);
    if (s == STATUS_OK)
        s = gguf_take_u64(cursor, "array length", &entry->count);
    if (s != STATUS_OK)
        return s;
    if (entry->element == GGUF_ARRAY) {
        error_note_set(cursor->note,
                       "byte %" PRIu64 ": an array of arrays, which no known key uses", start);
        return STATUS_INVALID;
    }
    if (entry->count > ARRAY_COUNT_MAX) {
        error_note_set(cursor->note,
                       "byte %" PRIu64 ": an array of %" PRIu64 " elements; the limit is %" PRIu64,
                       start, entry->count, ARRAY_COUNT_MAX);
        return STATUS_TOO_LARGE;
    }
    return STATUS_OK;
}

static status take_entry(struct gguf_cursor *cursor, struct gguf_entry *entry)
{
    status s = gguf_take_name(cursor, "key", KEY_BYTES_MAX, &entry->key);
    if (s != STATUS_OK)
        return s;
    s = take_type(cursor, "value type", &entry->type);
    entry->element = entry->type;
    entry->count = 1;
    if (s == STATUS_OK && entry->type == GGUF_ARRAY)
        s = take_array_head(cursor, entry);
    if (s == STATUS_OK) {
        entry->data = cursor->data + cursor->offset;
        s = take_elements(cursor, entry->element, entry->count);
    }
    if (s != STATUS_OK)
        error_note_prefix(cursor->note, "key '%.*s'", gguf_shown_bytes(entry->key),
                          entry->key.data);
    return s;
}

status gguf_read_metadata(struct gguf *file, struct gguf_cursor *cursor, uint64_t count)
{
    if (count > gguf_cursor_left(cursor) / ENTRY_BYTES_MIN) {
        error_note_set(cursor->note, "byte %" PRIu64 ": %" PRIu64 " keys cannot fit into the file",
                       cursor->offset, count);
        return STATUS_INVALID;
    }
    file->entries = memory_allocate_array(count, sizeof *file->entries);
    if (file->entries == NULL)
        return STATUS_NO_MEMORY;
    status s = gguf_names_init(&file->entry_names, file->entries, sizeof *file->entries, count);
    for (uint64_t i = 0; i < count && s == STATUS_OK; i++) {
        uint64_t start = cursor->offset;
        uint32_t other;
        s = take_entry(cursor, &file->entries[i]);
        if (s != STATUS_OK)
            break;
        file->entry_count = i + 1;
        if (!gguf_names_add(&file->entry_names, (uint32_t)i, &other)) {
            struct text_slice key = file->entries[i].key;
            error_note_set(cursor->note, "byte %" PRIu64 ": the key '%.*s' appears twice", start,
                           gguf_shown_bytes(key), key.data);
            s = STATUS_INVALID;
        }
    }
    return s;
}

/* --- getters --- */

static const struct gguf_entry *entry_find(const gguf *file, const char *key)
{
    uint32_t index;
    return gguf_names_find(&file->entry_names, text_slice_of(key), &index) ? &file->entries[index]
                                                                           : NULL;
}

static const struct gguf_entry *scalar_find(const gguf *file, const char *key)
{
    const struct gguf_entry *entry = entry_find(file, key);
    return entry != NULL && entry->type != GGUF_ARRAY ? entry : NULL;
}

/* An integer of any width as sign and magnitude of 64 bits; false for other types. */
static bool read_integer(const uint8_t *data, enum gguf_type type, bool *is_negative,
                         uint64_t *bits)
{
    uint32_t bytes = type_bytes(type);
    bool is_signed = type == GGUF_I8 || type == GGUF_I16 || type == GGUF_I32 || type == GGUF_I64;
    if (!is_signed && type != GGUF_U8 && type != GGUF_U16 && type != GGUF_U32 && type != GGUF_U64)
        return false;
    *bits = 0;
    memcpy(bits, data, bytes);
    uint64_t sign = UINT64_C(1) << (8 * bytes - 1);
    *is_negative = is_signed && (*bits & sign) != 0;
    if (*is_negative)
        *bits |= ~(sign - 1); /* extends the sign to two's complement of 64 bits */
    return true;
}

static bool read_number(const uint8_t *data, enum gguf_type type, double *out)
{
    bool is_negative;
    uint64_t bits;
    float single;
    if (type == GGUF_F32) {
        memcpy(&single, data, sizeof single);
        *out = (double)single;
        return true;
    }
    if (type == GGUF_F64) {
        memcpy(out, data, sizeof *out);
        return true;
    }
    if (!read_integer(data, type, &is_negative, &bits))
        return false;
    *out = is_negative ? (double)(int64_t)bits : (double)bits;
    return true;
}

bool gguf_get_u64(const gguf *file, const char *key, uint64_t *out)
{
    const struct gguf_entry *entry = scalar_find(file, key);
    bool is_negative;
    uint64_t bits;
    if (entry == NULL || !read_integer(entry->data, entry->type, &is_negative, &bits) ||
        is_negative)
        return false;
    *out = bits;
    return true;
}

bool gguf_get_i64(const gguf *file, const char *key, int64_t *out)
{
    const struct gguf_entry *entry = scalar_find(file, key);
    bool is_negative;
    uint64_t bits;
    if (entry == NULL || !read_integer(entry->data, entry->type, &is_negative, &bits) ||
        (!is_negative && bits > INT64_MAX))
        return false;
    *out = (int64_t)bits;
    return true;
}

bool gguf_get_f64(const gguf *file, const char *key, double *out)
{
    const struct gguf_entry *entry = scalar_find(file, key);
    return entry != NULL && read_number(entry->data, entry->type, out);
}

bool gguf_get_bool(const gguf *file, const char *key, bool *out)
{
    const struct gguf_entry *entry = scalar_find(file, key);
    if (entry == NULL || entry->type != GGUF_BOOL)
        return false;
    *out = entry->data[0] != 0;
    return true;
}

/* A text at `data`, which is its length followed by its bytes; moves past it. */
static struct text_slice read_text(const uint8_t **data)
{
    uint64_t bytes;
    memcpy(&bytes, *data, sizeof bytes);
    struct text_slice text = {(const char *)*data + sizeof bytes, bytes};
    *data += sizeof bytes + bytes;
    return text;
}

bool gguf_get_text(const gguf *file, const char *key, struct text_slice *out)
{
    const struct gguf_entry *entry = scalar_find(file, key);
    if (entry == NULL || entry->type != GGUF_STRING)
        return false;
    const uint8_t *data = entry->data;
    *out = read_text(&data);
    return true;
}

bool gguf_get_array(const gguf *file, const char *key, enum gguf_type *element, uint64_t *count)
{
    const struct gguf_entry *entry = entry_find(file, key);
    if (entry == NULL || entry->type != GGUF_ARRAY)
        return false;
    *element = entry->element;
    *count = entry->count;
    return true;
}

static const struct gguf_entry *array_find(const gguf *file, const char *key, uint64_t count)
{
    const struct gguf_entry *entry = entry_find(file, key);
    return entry != NULL && entry->type == GGUF_ARRAY && entry->count == count ? entry : NULL;
}

bool gguf_read_texts(const gguf *file, const char *key, struct text_slice *out, uint64_t count)
{
    const struct gguf_entry *entry = array_find(file, key, count);
    if (entry == NULL || entry->element != GGUF_STRING)
        return false;
    const uint8_t *data = entry->data;
    for (uint64_t i = 0; i < count; i++)
        out[i] = read_text(&data);
    return true;
}

bool gguf_read_i32(const gguf *file, const char *key, int32_t *out, uint64_t count)
{
    const struct gguf_entry *entry = array_find(file, key, count);
    if (entry == NULL)
        return false;
    const uint8_t *data = entry->data;
    for (uint64_t i = 0; i < count; i++, data += type_bytes(entry->element)) {
        bool is_negative;
        uint64_t bits;
        if (!read_integer(data, entry->element, &is_negative, &bits))
            return false;
        int64_t value = (int64_t)bits;
        if ((!is_negative && bits > INT32_MAX) || value < INT32_MIN)
            return false;
        out[i] = (int32_t)value;
    }
    return true;
}

bool gguf_read_f32(const gguf *file, const char *key, float *out, uint64_t count)
{
    const struct gguf_entry *entry = array_find(file, key, count);
    if (entry == NULL)
        return false;
    const uint8_t *data = entry->data;
    for (uint64_t i = 0; i < count; i++, data += type_bytes(entry->element)) {
        double value;
        if (!read_number(data, entry->element, &value))
            return false;
        out[i] = (float)value;
    }
    return true;
}

uint64_t gguf_metadata_count(const gguf *file)
{
    return file->entry_count;
}

struct text_slice gguf_metadata_key(const gguf *file, uint64_t index)
{
    return index < file->entry_count ? file->entries[index].key : (struct text_slice){NULL, 0};
}
