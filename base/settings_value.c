#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "check.h"
#include "clock.h"
#include "number.h"
#include "settings_private.h"

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit byte_units[] = {
    {"TiB", 1ull << 40}, {"TB", 1000000000000ull},
    {"GiB", 1ull << 30}, {"GB", 1000000000ull},
    {"MiB", 1ull << 20}, {"MB", 1000000ull},
    {"KiB", 1ull << 10}, {"kB", 1000ull},
    {"KB", 1000ull},     {"B", 1},
};

static const struct unit duration_units[] = {
    {"d", 86400 * NS_PER_SECOND},
    {"h", 3600 * NS_PER_SECOND},
    {"m", 60 * NS_PER_SECOND},
    {"s", NS_PER_SECOND},
    {"ms", NS_PER_MS},
    {"us", NS_PER_US},
    {"ns", 1},
};

static size_t digits_count(const char *text)
{
    return strspn(text, "0123456789");
}

/* "12", "1.5" -> count of characters; 0 when there is no number at the start. */
static size_t decimal_span(const char *text)
{
    size_t whole = digits_count(text);
    if (whole == 0 || text[whole] != '.')
        return whole;
    size_t fraction = digits_count(text + whole + 1);
    return fraction > 0 ? whole + 1 + fraction : 0;
}

/* Number and unit -> value. A whole number is exact; a fraction goes through double and is rounded.
 */
static bool quantity_parse(const char *text, const struct unit *units, size_t unit_count,
                           bool allows_bare, uint64_t *out)
{
    size_t span = decimal_span(text);
    if (span == 0)
        return false;
    const char *name = text + span + strspn(text + span, " ");
    uint64_t factor = 0;
    if (*name == '\0' && (allows_bare || strspn(text, "0") == span))
        factor = 1;
    for (size_t i = 0; i < unit_count; i++) {
        if (strcmp(name, units[i].name) == 0)
            factor = units[i].factor;
    }
    if (factor == 0)
        return false;
    if (memchr(text, '.', span) != NULL) {
        double value = strtod(text, NULL) * (double)factor;
        if (!(value < 9e18)) /* what llround can hold */
            return false;
        *out = (uint64_t)llround(value);
        return true;
    }
    errno = 0;
    uint64_t count = strtoull(text, NULL, 10);
    return errno == 0 && !__builtin_mul_overflow(count, factor, out);
}

/* The value with the largest unit that divides it. */
static void quantity_write(uint64_t value, const struct unit *units, size_t unit_count,
                           struct buffer *out)
{
    for (size_t i = 0; i < unit_count; i++) {
        bool is_power_of_ten = units == byte_units && units[i].factor % 1000 == 0;
        if (value >= units[i].factor && value % units[i].factor == 0 && !is_power_of_ten) {
            buffer_append_u64(out, value / units[i].factor);
            buffer_append_text(out, units[i].name);
            return;
        }
    }
    buffer_append_u64(out, value); /* zero */
}

static void bound_write(const struct setting *row, double bound, struct buffer *out)
{
    /* Doubles above 2^64 stand for "no limit" in a table of u64. */
    uint64_t value =
        bound < 18446744073709549568.0 ? (uint64_t)(bound > 0 ? bound : 0) : UINT64_MAX;
    if (row->kind == SETTING_BYTES)
        quantity_write(value, byte_units, ARRAY_COUNT(byte_units), out);
    else if (row->kind == SETTING_DURATION)
        quantity_write(value, duration_units, ARRAY_COUNT(duration_units), out);
    else
        number_write_shortest(out, bound);
}

void settings_value_write_range(const struct setting *row, struct buffer *out)
{
    switch (row->kind) {
    case SETTING_INT:
    case SETTING_FLOAT:
    case SETTING_BYTES:
    case SETTING_DURATION:
        buffer_append_text(out, "between ");
        bound_write(row, row->min, out);
        buffer_append_text(out, " and ");
        bound_write(row, row->max, out);
        if (row->unit != NULL && row->kind != SETTING_BYTES && row->kind != SETTING_DURATION)
            buffer_append_format(out, " %s", row->unit);
        break;
    default:
        break;
    }
}

static status complain_range(const struct setting *row, struct buffer *complaint)
{
    buffer_append_text(complaint, "must be ");
    settings_value_write_range(row, complaint);
    return STATUS_INVALID;
}

static status parse_bool(const char *text, void *address, struct buffer *complaint)
{
    static const char *const words[] = {"false", "true", "False", "True", "FALSE", "TRUE"};
    for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
        if (strcmp(text, words[i]) == 0) {
            *(bool *)address = i % 2 == 1;
            return STATUS_OK;
        }
    }
    buffer_append_format(complaint, "\"%s\" is neither true nor false", text);
    return STATUS_INVALID;
}

static status parse_int(const struct setting *row, const char *text, void *address,
                        struct buffer *complaint)
{
    const char *digits = text + (*text == '-' || *text == '+');
    size_t span = digits_count(digits);
    bool is_octal_looking = span > 1 && digits[0] == '0';
    if (span == 0 || digits[span] != '\0' || is_octal_looking) {
        buffer_append_format(complaint, "\"%s\" is no whole number; it ", text);
        return complain_range(row, complaint);
    }
    errno = 0;
    long long value = strtoll(text, NULL, 10);
    if (errno != 0 || (double)value < row->min || (double)value > row->max)
        return complain_range(row, complaint);
    *(int64_t *)address = value;
    return STATUS_OK;
}

static status parse_float(const struct setting *row, const char *text, void *address,
                          struct buffer *complaint)
{
    char *end = NULL;
    double value = strtod(text, &end);
    /* strtod also takes "inf", "nan", hexadecimal and leading space. */
    bool is_plain = *text != '\0' && strspn(text, "+-0123456789.eE") == strlen(text);
    if (!is_plain || *end != '\0') {
        buffer_append_format(complaint, "\"%s\" is no number; it ", text);
        return complain_range(row, complaint);
    }
    if (!isfinite(value) || value < row->min || value > row->max)
        return complain_range(row, complaint);
    *(double *)address = value;
    return STATUS_OK;
}

static status parse_quantity(const struct setting *row, const char *text, void *address,
                             struct buffer *complaint)
{
    bool is_bytes = row->kind == SETTING_BYTES;
    const struct unit *units = is_bytes ? byte_units : duration_units;
    size_t unit_count = is_bytes ? ARRAY_COUNT(byte_units) : ARRAY_COUNT(duration_units);
    uint64_t value;
    if (!quantity_parse(text, units, unit_count, is_bytes, &value)) {
        buffer_append_format(complaint, "\"%s\" is no %s", text,
                             is_bytes ? "size; write it like 4096, 64KiB, 512MiB or 2GB"
                                      : "duration; write it like 250ms, 30s, 5m or 1h");
        return STATUS_INVALID;
    }
    if ((double)value < row->min || (double)value > row->max)
        return complain_range(row, complaint);
    *(uint64_t *)address = value;
    return STATUS_OK;
}

static status parse_enum(const struct setting *row, const char *text, void *address,
                         struct buffer *complaint)
{
    int count = 0;
    for (; row->words[count] != NULL; count++) {
        if (strcmp(row->words[count], text) == 0) {
            *(int *)address = count;
            return STATUS_OK;
        }
    }
    buffer_append_format(complaint, "\"%s\" is none of", text);
    for (int i = 0; i < count; i++)
        buffer_append_format(complaint, "%s %s", i > 0 ? "," : "", row->words[i]);
    const char *nearest = settings_nearest(text_slice_of(text), row->words, (size_t)count);
    if (nearest != NULL)
        buffer_append_format(complaint, "; did you mean \"%s\"?", nearest);
    return STATUS_INVALID;
}

/* "~/x" -> "$HOME/x"; "x" -> "<folder of file>/x"; "" stays. */
static status parse_path(const char *text, const char *file, arena *memory, void *address,
                         struct buffer *complaint)
{
    const char *front = "";
    size_t front_bytes = 0;
    const char *slash = strrchr(file, '/');
    if (strncmp(text, "~/", 2) == 0) {
        /* Nothing in the process changes the environment. */
        front = getenv("HOME"); // NOLINT(concurrency-mt-unsafe)
        if (front == NULL || *front == '\0') {
            buffer_append_text(complaint,
                               "\"~/\" needs the environment variable HOME, which is not set");
            return STATUS_INVALID;
        }
        front_bytes = strlen(front);
        text++;
    } else if (*text != '/' && *text != '\0' && slash != NULL) {
        front = file;
        front_bytes = (size_t)(slash - file) + 1;
    }
    size_t bytes = strlen(text);
    char *path = arena_allocate(memory, front_bytes + bytes + 1);
    if (path == NULL)
        return STATUS_NO_MEMORY;
    memcpy(path, front, front_bytes);
    memcpy(path + front_bytes, text, bytes + 1);
    *(const char **)address = path;
    return STATUS_OK;
}

static status parse_text(const char *text, size_t bytes, arena *memory, void *address)
{
    const char *copy = arena_copy_text(memory, text, bytes);
    if (copy == NULL)
        return STATUS_NO_MEMORY;
    *(const char **)address = copy;
    return STATUS_OK;
}

static bool is_null(const struct settings_node *node)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
        if (node->is_plain && text_slice_is(node->text, words[i]))
            return true;
    }
    return false;
}

status settings_value_parse(const struct setting *row, const struct settings_node *node,
                            const char *file, arena *memory, void *address,
                            struct buffer *complaint)
{
    const char *text = node->text.data; /* arena_copy_text ended it with a NUL */
    if (memchr(text, '\0', node->text.bytes) != NULL) {
        buffer_append_text(complaint, "has a NUL character: remove it");
        return STATUS_INVALID;
    }
    if (is_null(node)) {
        buffer_append_text(complaint, "has no value: give one, or remove the key");
        return STATUS_INVALID;
    }
    bool is_word =
        row->kind == SETTING_BOOL || row->kind == SETTING_INT || row->kind == SETTING_FLOAT;
    if (is_word && !node->is_plain) {
        buffer_append_text(complaint, "is a text: remove the quotes");
        return STATUS_INVALID;
    }
    switch (row->kind) {
    case SETTING_BOOL:
        return parse_bool(text, address, complaint);
    case SETTING_INT:
        return parse_int(row, text, address, complaint);
    case SETTING_FLOAT:
        return parse_float(row, text, address, complaint);
    case SETTING_BYTES:
    case SETTING_DURATION:
        return parse_quantity(row, text, address, complaint);
    case SETTING_ENUM:
        return parse_enum(row, text, address, complaint);
    case SETTING_PATH:
        return parse_path(text, file, memory, address, complaint);
    case SETTING_TEXT:
    case SETTING_TEXT_LIST: /* one of its items */
        return parse_text(text, node->text.bytes, memory, address);
    case SETTING_SECTION:
    case SETTING_LIST:
        break;
    }
    return STATUS_INTERNAL;
}
