#include "http_fetch.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"

#define HEADER_BYTES_MAX 8192u
#define HOST_TEXT_BYTES  640u

static size_t on_bytes(char *data, size_t size, size_t count, void *context)
{
    struct buffer *out = context;

    buffer_append(out, data, size * count);
    return out->failed == STATUS_OK ? size * count : 0;
}

static int on_progress(void *context, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const struct http_fetch *fetch = context;

    (void)a, (void)b, (void)c, (void)d;
    return fetch->is_over(fetch->context);
}

/* The lists that the library reads while it works. */
struct lists {
    struct curl_slist *headers, *connect_to;
};

static bool list_append(struct curl_slist **list, const char *text)
{
    struct curl_slist *longer = curl_slist_append(*list, text);

    if (longer != NULL)
        *list = longer;
    return longer != NULL;
}

static status headers_make(const struct http_fetch *fetch, struct lists *lists)
{
    struct buffer line;
    bool is_good = true;

    buffer_init(&line, HEADER_BYTES_MAX);
    for (size_t i = 0; i < fetch->header_count && is_good; i++) {
        buffer_clear(&line);
        buffer_append_slice(&line, fetch->headers[i].name);
        buffer_append_text(&line, ": ");
        buffer_append_slice(&line, fetch->headers[i].value);
        buffer_append_byte(&line, '\0');
        is_good = line.failed == STATUS_OK && list_append(&lists->headers, line.data);
    }
    buffer_deinit(&line);
    /* Without the second, a longer body would wait for "100 Continue". */
    if (is_good && fetch->body.data != NULL)
        is_good = list_append(&lists->headers, "content-type: application/json") &&
                  list_append(&lists->headers, "expect:");
    return is_good ? STATUS_OK : STATUS_NO_MEMORY;
}

/* Whichever host and port the URL names, the connection goes to this address, at the URL's port. */
static status connect_to_make(const struct http_fetch *fetch, struct lists *lists)
{
    const char *form = strchr(fetch->connect_to, ':') != NULL ? "::[%s]:" : "::%s:";
    char text[HOST_TEXT_BYTES];

    (void)snprintf(text, sizeof(text), form, fetch->connect_to);
    return list_append(&lists->connect_to, text) ? STATUS_OK : STATUS_NO_MEMORY;
}

static void options_set(CURL *handle, const struct http_fetch *fetch, const struct lists *lists,
                        struct buffer *body, char *reason)
{
    (void)curl_easy_setopt(handle, CURLOPT_URL, fetch->url);
    (void)curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(handle, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(handle, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    (void)curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, (long)(fetch->timeout_ns / NS_PER_MS));
    (void)curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, reason);
    (void)curl_easy_setopt(handle, CURLOPT_HTTPHEADER, lists->headers);
    (void)curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, on_bytes);
    (void)curl_easy_setopt(handle, CURLOPT_WRITEDATA, body);
    if (!fetch->uses_proxy)
        (void)curl_easy_setopt(handle, CURLOPT_PROXY, "");
    if (fetch->unix_socket != NULL)
        (void)curl_easy_setopt(handle, CURLOPT_UNIX_SOCKET_PATH, fetch->unix_socket);
    if (lists->connect_to != NULL)
        (void)curl_easy_setopt(handle, CURLOPT_CONNECT_TO, lists->connect_to);
    if (fetch->ca_file != NULL && fetch->ca_file[0] != '\0') {
        (void)curl_easy_setopt(handle, CURLOPT_CAINFO, fetch->ca_file);
        (void)curl_easy_setopt(handle, CURLOPT_CAPATH, NULL);
    }
    if (fetch->body.data != NULL) {
        (void)curl_easy_setopt(handle, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)fetch->body.bytes);
        (void)curl_easy_setopt(handle, CURLOPT_POSTFIELDS, fetch->body.data);
    }
    if (fetch->is_over != NULL) {
        (void)curl_easy_setopt(handle, CURLOPT_NOPROGRESS, 0L);
        (void)curl_easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, on_progress);
        (void)curl_easy_setopt(handle, CURLOPT_XFERINFODATA, (void *)(uintptr_t)fetch);
    }
}

static status status_of(CURLcode result, const struct buffer *body)
{
    switch (result) {
    case CURLE_OK:
        return STATUS_OK;
    case CURLE_OPERATION_TIMEDOUT:
        return STATUS_TIMEOUT;
    case CURLE_ABORTED_BY_CALLBACK:
        return STATUS_CANCELLED;
    case CURLE_OUT_OF_MEMORY:
        return STATUS_NO_MEMORY;
    case CURLE_WRITE_ERROR:
        return body->failed != STATUS_OK ? body->failed : STATUS_CLOSED;
    default:
        return STATUS_CLOSED;
    }
}

static status perform(CURL *handle, const struct http_fetch *fetch, const struct lists *lists,
                      int *status_code, struct buffer *body, struct error_note *note)
{
    char reason[CURL_ERROR_SIZE] = "";
    long code = 0;
    CURLcode returned;
    status result;

    options_set(handle, fetch, lists, body, reason);
    returned = curl_easy_perform(handle);
    (void)curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &code);
    *status_code = (int)code;
    result = status_of(returned, body);
    if (result == STATUS_TOO_LARGE)
        error_note_set(note, "the answer is too long");
    else if (result != STATUS_OK)
        error_note_set(note, "%s", reason[0] != '\0' ? reason : curl_easy_strerror(returned));
    return result;
}

status http_fetch(const struct http_fetch *fetch, int *status_code, struct buffer *body,
                  struct error_note *note)
{
    CURL *handle = curl_easy_init();
    struct lists lists = {0};
    status result = handle != NULL ? headers_make(fetch, &lists) : STATUS_NO_MEMORY;

    if (result == STATUS_OK && fetch->connect_to != NULL)
        result = connect_to_make(fetch, &lists);
    if (result == STATUS_OK)
        result = perform(handle, fetch, &lists, status_code, body, note);
    else
        error_note_set(note, "out of memory");
    curl_slist_free_all(lists.headers);
    curl_slist_free_all(lists.connect_to);
    curl_easy_cleanup(handle);
    return result;
}
