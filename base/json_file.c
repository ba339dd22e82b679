#include "json_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES_MAX 4096u
/* The largest tokenizer.json published has 38 MB: 262,144 tokens and twice as many merges, three values each. */
#define JSON_BYTES_MAX  (64u * 1024u * 1024u)
#define JSON_VALUES_MAX (1u << 22)
/* Digits that any 64-bit integer may have. */
#define WHOLE_DIGITS_MAX 18u

static status read_all(int descriptor, const char *path, struct buffer *out,
                       struct error_note *note)
{
    char chunk[64 * 1024];
    for (;;) {
        ssize_t got = read(descriptor, chunk, sizeof chunk);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            error_note_set(note, "%s: cannot read it: %s", path, strerrordesc_np(errno));
            return STATUS_IO;
        }
        if (got == 0)
            break;
        buffer_append(out, chunk, (size_t)got);
        if (out->failed != STATUS_OK) {
            error_note_set(note, "%s: larger than %zu bytes, or no memory for it", path,
                           out->bytes_max);
            return out->failed;
        }
    }
    return STATUS_OK;
}

status folder_file_read(const char *folder, const char *name, struct buffer *out,
                        struct error_note *note)
{
    char path[PATH_BYTES_MAX];
    struct stat info;
    if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, name) >= sizeof path) {
        error_note_set(note, "the folder's path is too long");
        return STATUS_TOO_LARGE;
    }
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0 && (errno == ENOENT || errno == ENOTDIR))
        return STATUS_NOT_FOUND;
    if (descriptor < 0 || fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode)) {
        error_note_set(note, "%s: cannot open it, or not a regular file", path);
        if (descriptor >= 0)
            close(descriptor);
        return STATUS_IO;
    }
    status s = read_all(descriptor, path, out, note);
    close(descriptor);
    return s;
}

/* Where the number that begins at `at` ends. */
static size_t number_end(const struct buffer *text, size_t at, bool *is_whole)
{
    *is_whole = true;
    for (; at < text->bytes && strchr("0123456789+-.eE", text->data[at]) != NULL; at++)
        *is_whole = *is_whole && strchr(".eE", text->data[at]) == NULL;
    return at;
}

/* Appends `text` with ".0" behind whole numbers that no integer of 64 bits holds: transformers writes 10^30 for a length
 * without a limit, and the JSON reader takes such a number as a double only. */
static void widen_numbers(const struct buffer *text, struct buffer *out)
{
    bool in_string = false;
    for (size_t at = 0; at < text->bytes;) {
        char c = text->data[at];
        if (in_string || strchr("-0123456789", c) == NULL || c == '\0') {
            size_t bytes = in_string && c == '\\' && at + 1 < text->bytes ? 2 : 1;
            in_string = c == '"' ? !in_string : in_string;
            buffer_append(out, text->data + at, bytes);
            at += bytes;
            continue;
        }
        bool is_whole;
        size_t end = number_end(text, at, &is_whole);
        buffer_append(out, text->data + at, end - at);
        if (is_whole && end - at > WHOLE_DIGITS_MAX)
            buffer_append_text(out, ".0");
        at = end;
    }
}

/* Reads `text` again with wide numbers when that is what it takes. */
static status load(const struct buffer *text, json_t **out, struct error_note *note)
{
    static const struct json_limits limits = {.depth_max = 64, .value_count_max = JSON_VALUES_MAX};
    struct error_note own = {""};
    status s = json_load_limited(buffer_slice(text), &limits, out, &own);
    if (s != STATUS_INVALID || strstr(own.text, "too big integer") == NULL) {
        if (s != STATUS_OK)
            error_note_set(note, "%s", own.text);
        return s;
    }
    struct buffer wide;
    buffer_init(&wide, 2 * (size_t)JSON_BYTES_MAX);
    widen_numbers(text, &wide);
    s = wide.failed == STATUS_OK ? json_load_limited(buffer_slice(&wide), &limits, out, note)
                                 : wide.failed;
    buffer_deinit(&wide);
    return s;
}

status folder_json_read(const char *folder, const char *name, json_t **out, struct error_note *note)
{
    struct buffer text;
    buffer_init(&text, JSON_BYTES_MAX);
    status s = folder_file_read(folder, name, &text, note);
    if (s == STATUS_OK) {
        s = load(&text, out, note);
        if (s != STATUS_OK)
            error_note_prefix(note, "%s", name);
        if (s == STATUS_OK && !json_is_object(*out)) {
            error_note_set(note, "%s: not a JSON object", name);
            json_decref(*out);
            *out = NULL;
            s = STATUS_INVALID;
        }
    }
    buffer_deinit(&text);
    return s;
}
