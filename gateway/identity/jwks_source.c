#include "jwks_source.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "clock.h"
#include "http_fetch.h"

#define FETCH_TIMEOUT_NS (10 * NS_PER_SECOND)

bool jwks_source_is_url(const char *source)
{
    return strncmp(source, "https://", 8) == 0 || strncmp(source, "http://", 7) == 0;
}

static status file_read(const char *path, struct buffer *out, struct error_note *note)
{
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    char piece[4096];
    ssize_t bytes = -1;

    if (descriptor >= 0) {
        while ((bytes = read(descriptor, piece, sizeof(piece))) > 0 && out->failed == STATUS_OK)
            buffer_append(out, piece, (size_t)bytes);
        close(descriptor);
    }
    if (bytes >= 0)
        return out->failed;
    error_note_set(note, "%s cannot be read: %s", path, strerror(errno));
    return STATUS_IO;
}

static bool is_stopped(const void *context)
{
    const _Atomic bool *is_stopping = context;

    return is_stopping != NULL && atomic_load_explicit(is_stopping, memory_order_acquire);
}

static status url_fetch(const char *url, const _Atomic bool *is_stopping, struct buffer *out,
                        struct error_note *note)
{
    const struct http_fetch fetch = {.url = url,
                                     .uses_proxy = true,
                                     .timeout_ns = FETCH_TIMEOUT_NS,
                                     .is_over = is_stopped,
                                     .context = is_stopping};
    int code = 0;
    status result = http_fetch(&fetch, &code, out, note);

    if (result == STATUS_OK && code == 200)
        return STATUS_OK;
    if (result == STATUS_CANCELLED || result == STATUS_NO_MEMORY)
        return result;
    if (result == STATUS_OK)
        error_note_set(note, "it is answered with %d", code);
    error_note_prefix(note, "%s cannot be fetched", url);
    return STATUS_IO;
}

status jwks_source_read(const char *source, const _Atomic bool *is_stopping, struct jwks **out,
                        struct error_note *note)
{
    struct buffer text;
    status result;

    buffer_init(&text, JWKS_BYTES_MAX);
    result = jwks_source_is_url(source) ? url_fetch(source, is_stopping, &text, note)
                                        : file_read(source, &text, note);
    if (result == STATUS_OK) {
        result = jwks_read(buffer_slice(&text), out, note);
        if (result == STATUS_INVALID)
            error_note_prefix(note, "%s", source);
    }
    buffer_deinit(&text);
    return result;
}
