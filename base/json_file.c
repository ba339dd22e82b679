#include "json_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES_MAX 4096u
#define JSON_BYTES_MAX (16u * 1024u * 1024u)

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

status folder_json_read(const char *folder, const char *name, json_t **out, struct error_note *note)
{
    static const struct json_limits limits = {.depth_max = 64, .value_count_max = 1u << 20};
    struct buffer text;
    buffer_init(&text, JSON_BYTES_MAX);
    status s = folder_file_read(folder, name, &text, note);
    if (s == STATUS_OK) {
        s = json_load_limited(buffer_slice(&text), &limits, out, note);
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
