#include "kube_text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

json_t *kube_get(const json_t *object, const char *key, ...)
{
    va_list keys;
    va_start(keys, key);
    for (; key != NULL && object != NULL; key = va_arg(keys, const char *))
        object = json_object_get(object, key);
    va_end(keys);
    return (json_t *)object;
}

const char *kube_text_of(const json_t *value)
{
    const char *text = json_string_value(value);
    return text != NULL ? text : "";
}

uint64_t kube_time_ms(const char *text)
{
    struct tm when = {0};
    const char *rest = text != NULL ? strptime(text, "%Y-%m-%dT%H:%M:%S", &when) : NULL;
    if (rest == NULL)
        return 0;
    uint64_t fraction_ms = 0;
    if (*rest == '.') {
        uint64_t unit = 100;
        for (rest++; *rest >= '0' && *rest <= '9'; rest++, unit /= 10)
            fraction_ms += (uint64_t)(*rest - '0') * unit;
    }
    int64_t offset_s = 0;
    if (*rest == '+' || *rest == '-') {
        unsigned hours, minutes;
        if (sscanf(rest + 1, "%2u:%2u", &hours, &minutes) != 2)
            return 0;
        offset_s = (int64_t)(hours * 3600 + minutes * 60) * (*rest == '-' ? -1 : 1);
    } else if (strcmp(rest, "Z") != 0) {
        return 0;
    }
    int64_t seconds = (int64_t)timegm(&when) - offset_s;
    return seconds > 0 ? (uint64_t)seconds * 1000 + fraction_ms : 0;
}

status kube_file_read(const char *path, struct buffer *out, struct error_note *note)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        bool is_missing = errno == ENOENT || errno == ENOTDIR;
        error_note_set(note, "%s: %s", path, strerror(errno));
        return is_missing ? STATUS_NOT_FOUND : STATUS_IO;
    }
    char piece[16384];
    ssize_t bytes;
    while ((bytes = read(file, piece, sizeof(piece))) > 0 || (bytes < 0 && errno == EINTR))
        if (bytes > 0)
            buffer_append(out, piece, (size_t)bytes);
    status result = out->failed;
    if (bytes < 0) {
        error_note_set(note, "%s: %s", path, strerror(errno));
        result = STATUS_IO;
    } else if (result != STATUS_OK) {
        error_note_set(note, "%s: larger than %zu bytes", path, out->bytes_max);
    }
    close(file);
    return result;
}
