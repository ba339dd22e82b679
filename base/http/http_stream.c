#include "http_stream.h"

#include "check.h"
#include "clock.h"
#include "http_transfer.h"
#include "memory.h"

struct http_streams {
    CURLM *transfers; /* owned; knows the connections */
};

struct http_stream {
    struct http_streams *streams; /* borrowed */
    CURL *handle;                 /* owned */
    struct transfer_lists lists;
    struct buffer *body; /* borrowed until closed */
    bool has_ended;
    CURLcode outcome; /* once it has */
    uint64_t heard_ns;
    char reason[CURL_ERROR_SIZE];
};

struct http_streams *http_streams_create(void)
{
    struct http_streams *streams = memory_allocate(sizeof(*streams));

    if (streams == NULL)
        return NULL;
    streams->transfers = curl_multi_init();
    if (streams->transfers != NULL)
        return streams;
    memory_release(streams);
    return NULL;
}

void http_streams_destroy(struct http_streams *streams)
{
    if (streams == NULL)
        return;
    (void)curl_multi_cleanup(streams->transfers);
    memory_release(streams);
}

static size_t on_bytes(char *data, size_t size, size_t count, void *context)
{
    struct http_stream *stream = context;

    stream->heard_ns = clock_now_ns();
    buffer_append(stream->body, data, size * count);
    return stream->body->failed == STATUS_OK ? size * count : 0;
}

status http_stream_open(struct http_streams *streams, const struct http_fetch *fetch,
                        struct buffer *body, struct http_stream **out)
{
    struct http_stream *stream = memory_allocate_array(1, sizeof(*stream));
    status result;

    if (stream == NULL)
        return STATUS_NO_MEMORY;
    stream->streams = streams;
    stream->body = body;
    stream->heard_ns = clock_now_ns();
    stream->handle = curl_easy_init();
    result = stream->handle != NULL ? transfer_lists_make(fetch, &stream->lists) : STATUS_NO_MEMORY;
    if (result != STATUS_OK) {
        transfer_lists_free(&stream->lists);
        curl_easy_cleanup(stream->handle);
        memory_release(stream);
        return result;
    }
    CURL *handle = stream->handle;
    transfer_options_set(handle, fetch, &stream->lists, stream->reason);
    (void)curl_easy_setopt(handle, CURLOPT_PRIVATE, stream);
    (void)curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS,
                           (long)(fetch->timeout_ns / NS_PER_MS));
    (void)curl_easy_setopt(handle, CURLOPT_TCP_KEEPALIVE, 1L);
    (void)curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, on_bytes);
    (void)curl_easy_setopt(handle, CURLOPT_WRITEDATA, stream);
    CHECK(curl_multi_add_handle(streams->transfers, handle) == CURLM_OK);
    *out = stream;
    return STATUS_OK;
}

void http_stream_close(struct http_stream *stream)
{
    if (stream == NULL)
        return;
    (void)curl_multi_remove_handle(stream->streams->transfers, stream->handle);
    curl_easy_cleanup(stream->handle);
    transfer_lists_free(&stream->lists);
    memory_release(stream);
}

void http_streams_poll(struct http_streams *streams, int timeout_ms)
{
    const CURLMsg *message;
    int count;

    (void)curl_multi_perform(streams->transfers, &count);
    if (timeout_ms > 0) {
        (void)curl_multi_poll(streams->transfers, NULL, 0, timeout_ms, NULL);
        (void)curl_multi_perform(streams->transfers, &count);
    }
    while ((message = curl_multi_info_read(streams->transfers, &count)) != NULL) {
        struct http_stream *stream = NULL;

        if (message->msg != CURLMSG_DONE)
            continue;
        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&stream);
        stream->has_ended = true;
        stream->outcome = message->data.result;
    }
}

int http_stream_code(const struct http_stream *stream)
{
    long code = 0;

    (void)curl_easy_getinfo(stream->handle, CURLINFO_RESPONSE_CODE, &code);
    return (int)code;
}

bool http_stream_has_ended(const struct http_stream *stream, status *result,
                           struct error_note *note)
{
    if (stream->has_ended)
        *result = transfer_status(stream->outcome, stream->body, stream->reason, note);
    return stream->has_ended;
}

uint64_t http_stream_heard_ns(const struct http_stream *stream)
{
    return stream->heard_ns;
}

uint64_t http_stream_retry_after(const struct http_stream *stream)
{
    return transfer_retry_after(stream->handle);
}
