#include "jwks_source.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "buffer.h"

#define FETCH_TIMEOUT_S 10L

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

static size_t on_bytes(char *data, size_t size, size_t count, void *context)
{
    struct buffer *out = context;

    buffer_append(out, data, size * count);
    return out->failed == STATUS_OK ? size * count : 0;
}

static int on_progress(void *context, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const _Atomic bool *is_stopping = context;

    (void)a, (void)b, (void)c, (void)d;
    return is_stopping != NULL && atomic_load_explicit(is_stopping, memory_order_acquire);
}

static status url_fetch(const char *url, const _Atomic bool *is_stopping, struct buffer *out,
                        struct error_note *note)
{
    char reason[CURL_ERROR_SIZE] = "";
    CURL *handle = curl_easy_init();
    long code = 0;
    CURLcode result;

    if (handle == NULL)
        return STATUS_NO_MEMORY;
    (void)curl_easy_setopt(handle, CURLOPT_URL, url);
    (void)curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(handle, CURLOPT_TIMEOUT, FETCH_TIMEOUT_S);
    (void)curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(handle, CURLOPT_FAILONERROR, 1L);
    (void)curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, reason);
    (void)curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, on_bytes);
    (void)curl_easy_setopt(handle, CURLOPT_WRITEDATA, out);
    (void)curl_easy_setopt(handle, CURLOPT_NOPROGRESS, 0L);
    (void)curl_easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, on_progress);
    (void)curl_easy_setopt(handle, CURLOPT_XFERINFODATA, (void *)(uintptr_t)is_stopping);
    result = curl_easy_perform(handle);
    (void)curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &code);
    curl_easy_cleanup(handle);
    if (result == CURLE_ABORTED_BY_CALLBACK)
        return STATUS_CANCELLED;
    if (result == CURLE_OK && code == 200)
        return STATUS_OK;
    error_note_set(note, "%s cannot be fetched: %s", url,
                   reason[0] != '\0' ? reason : curl_easy_strerror(result));
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
