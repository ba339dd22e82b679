#include "status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const status_names[STATUS_COUNT] = {
    [STATUS_OK] = "ok",
    [STATUS_AGAIN] = "again",
    [STATUS_FULL] = "full",
    [STATUS_NO_MEMORY] = "no_memory",
    [STATUS_INVALID] = "invalid",
    [STATUS_NOT_FOUND] = "not_found",
    [STATUS_UNSUPPORTED] = "unsupported",
    [STATUS_TOO_LARGE] = "too_large",
    [STATUS_IO] = "io",
    [STATUS_TIMEOUT] = "timeout",
    [STATUS_CANCELLED] = "cancelled",
    [STATUS_CLOSED] = "closed",
    [STATUS_DENIED] = "denied",
    [STATUS_INTERNAL] = "internal",
};

const char *status_name(status s)
{
    if ((unsigned)s >= STATUS_COUNT)
        return "unknown";
    return status_names[s];
}

/* What a server has said may be in a note, and a terminal would obey it. */
static void controls_replace(char *text)
{
    for (; *text != '\0'; text++) {
        if (((unsigned char)*text < 0x20 && *text != '\n' && *text != '\t') || *text == 0x7f)
            *text = '?';
    }
}

void error_note_set(struct error_note *note, const char *format, ...)
{
    if (note == NULL)
        return;
    va_list args;
    va_start(args, format);
    if (vsnprintf(note->text, sizeof note->text, format, args) < 0)
        note->text[0] = '\0';
    va_end(args);
    controls_replace(note->text);
}

void error_note_prefix(struct error_note *note, const char *format, ...)
{
    if (note == NULL)
        return;
    char prefix[sizeof note->text];
    va_list args;
    va_start(args, format);
    int written = vsnprintf(prefix, sizeof prefix - 2, format, args);
    va_end(args);
    if (written < 0)
        return;
    size_t prefix_bytes = strlen(prefix);
    prefix[prefix_bytes++] = ':';
    prefix[prefix_bytes++] = ' ';
    size_t room = sizeof note->text - 1 - prefix_bytes;
    size_t kept = strnlen(note->text, sizeof note->text - 1);
    if (kept > room)
        kept = room;
    memmove(note->text + prefix_bytes, note->text, kept);
    memcpy(note->text, prefix, prefix_bytes);
    note->text[prefix_bytes + kept] = '\0';
}
