#include "http_fetch.h"

#include "clock.h"
#include "http_transfer.h"
#include "memory.h"

struct http_fetch_session {
    CURL *handle; /* owned; it keeps its connections when its options are reset */
};

struct http_fetch_session *http_fetch_session_create(void)
{
    struct http_fetch_session *session = memory_allocate(sizeof(*session));

    if (session == NULL)
        return NULL;
    session->handle = curl_easy_init();
    if (session->handle != NULL)
        return session;
    memory_release(session);
    return NULL;
}

void http_fetch_session_destroy(struct http_fetch_session *session)
{
    if (session == NULL)
        return;
    curl_easy_cleanup(session->handle);
    memory_release(session);
}

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

static status perform(CURL *handle, const struct http_fetch *fetch,
                      const struct transfer_lists *lists, int *status_code, struct buffer *body,
                      struct error_note *note)
{
    char reason[CURL_ERROR_SIZE] = "";
    long code = 0;
    CURLcode returned;

    transfer_options_set(handle, fetch, lists, reason);
    (void)curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, (long)(fetch->timeout_ns / NS_PER_MS));
    (void)curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, on_bytes);
    (void)curl_easy_setopt(handle, CURLOPT_WRITEDATA, body);
    if (fetch->is_over != NULL) {
        (void)curl_easy_setopt(handle, CURLOPT_NOPROGRESS, 0L);
        (void)curl_easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, on_progress);
        (void)curl_easy_setopt(handle, CURLOPT_XFERINFODATA, (void *)(uintptr_t)fetch);
    }
    returned = curl_easy_perform(handle);
    (void)curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &code);
    *status_code = (int)code;
    if (fetch->retry_after_s != NULL)
        *fetch->retry_after_s = transfer_retry_after(handle);
    return transfer_status(returned, body, reason, note);
}

status http_fetch(const struct http_fetch *fetch, int *status_code, struct buffer *body,
                  struct error_note *note)
{
    CURL *handle = fetch->session != NULL ? fetch->session->handle : curl_easy_init();
    struct transfer_lists lists = {0};
    status result = handle != NULL ? transfer_lists_make(fetch, &lists) : STATUS_NO_MEMORY;

    if (result == STATUS_OK)
        result = perform(handle, fetch, &lists, status_code, body, note);
    else
        error_note_set(note, result == STATUS_TOO_LARGE ? "a header or the host is too long"
                                                        : "out of memory");
    transfer_lists_free(&lists);
    if (fetch->session == NULL)
        curl_easy_cleanup(handle);
    else
        curl_easy_reset(handle);
    return result;
}
