#include "http_transfer.h"

#include <stdio.h>
#include <string.h>

#define HEADER_BYTES_MAX 65536u /* tokens that name many groups have some thousand */
#define HOST_TEXT_BYTES  640u

static bool is_given(const char *text)
{
    return text != NULL && text[0] != '\0';
}

static bool list_append(struct curl_slist **list, const char *text)
{
    struct curl_slist *longer = curl_slist_append(*list, text);

    if (longer != NULL)
        *list = longer;
    return longer != NULL;
}

static status header_append(struct transfer_lists *lists, struct buffer *line,
                            struct text_slice name, struct text_slice value)
{
    buffer_clear(line);
    buffer_append_slice(line, name);
    buffer_append_text(line, ": ");
    buffer_append_slice(line, value);
    if (line->failed != STATUS_OK)
        return line->failed;
    return list_append(&lists->headers, line->data) ? STATUS_OK : STATUS_NO_MEMORY;
}

static status headers_make(const struct http_fetch *fetch, struct transfer_lists *lists)
{
    const char *type = fetch->content_type != NULL ? fetch->content_type : "application/json";
    struct buffer line;
    status result = STATUS_OK;

    buffer_init(&line, HEADER_BYTES_MAX);
    for (size_t i = 0; i < fetch->header_count && result == STATUS_OK; i++)
        result = header_append(lists, &line, fetch->headers[i].name, fetch->headers[i].value);
    if (result == STATUS_OK && fetch->body.data != NULL) {
        result = header_append(lists, &line, text_slice_of("content-type"), text_slice_of(type));
        /* Without this, a longer body would wait for "100 Continue". */
        if (result == STATUS_OK && !list_append(&lists->headers, "expect:"))
            result = STATUS_NO_MEMORY;
    }
    buffer_deinit(&line);
    return result;
}

/* Whichever host and port the URL names, the connection goes to this address, at the URL's port. */
static status connect_to_make(const struct http_fetch *fetch, struct transfer_lists *lists)
{
    const char *form = strchr(fetch->connect_to, ':') != NULL ? "::[%s]:" : "::%s:";
    char text[HOST_TEXT_BYTES];

    if (snprintf(text, sizeof(text), form, fetch->connect_to) >= (int)sizeof(text))
        return STATUS_TOO_LARGE;
    return list_append(&lists->connect_to, text) ? STATUS_OK : STATUS_NO_MEMORY;
}

status transfer_lists_make(const struct http_fetch *fetch, struct transfer_lists *lists)
{
    status result = headers_make(fetch, lists);

    if (result == STATUS_OK && fetch->connect_to != NULL)
        result = connect_to_make(fetch, lists);
    return result;
}

void transfer_lists_free(struct transfer_lists *lists)
{
    curl_slist_free_all(lists->headers);
    curl_slist_free_all(lists->connect_to);
}

static void pem_set(CURL *handle, CURLoption option, const char *pem)
{
    struct curl_blob blob = {.data = (void *)(uintptr_t)pem, .flags = CURL_BLOB_COPY};

    if (!is_given(pem))
        return;
    blob.len = strlen(pem);
    (void)curl_easy_setopt(handle, option, &blob);
}

static void identities_set(CURL *handle, const struct http_fetch *fetch)
{
    (void)curl_easy_setopt(handle, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (is_given(fetch->ca_file) || is_given(fetch->ca_pem))
        (void)curl_easy_setopt(handle, CURLOPT_CAPATH, NULL);
    if (is_given(fetch->ca_file))
        (void)curl_easy_setopt(handle, CURLOPT_CAINFO, fetch->ca_file);
    pem_set(handle, CURLOPT_CAINFO_BLOB, fetch->ca_pem);
    pem_set(handle, CURLOPT_SSLCERT_BLOB, fetch->certificate_pem);
    pem_set(handle, CURLOPT_SSLKEY_BLOB, fetch->key_pem);
    if (fetch->public_key_pin != NULL)
        (void)curl_easy_setopt(handle, CURLOPT_PINNEDPUBLICKEY, fetch->public_key_pin);
    if (fetch->is_unchecked || fetch->public_key_pin != NULL) {
        (void)curl_easy_setopt(handle, CURLOPT_SSL_VERIFYPEER, 0L);
        (void)curl_easy_setopt(handle, CURLOPT_SSL_VERIFYHOST, 0L);
    }
}

static void route_set(CURL *handle, const struct http_fetch *fetch,
                      const struct transfer_lists *lists)
{
    if (is_given(fetch->proxy))
        (void)curl_easy_setopt(handle, CURLOPT_PROXY, fetch->proxy);
    else if (!fetch->uses_proxy)
        (void)curl_easy_setopt(handle, CURLOPT_PROXY, "");
    if (fetch->unix_socket != NULL)
        (void)curl_easy_setopt(handle, CURLOPT_UNIX_SOCKET_PATH, fetch->unix_socket);
    if (lists->connect_to != NULL)
        (void)curl_easy_setopt(handle, CURLOPT_CONNECT_TO, lists->connect_to);
}

void transfer_options_set(CURL *handle, const struct http_fetch *fetch,
                          const struct transfer_lists *lists, char *reason)
{
    (void)curl_easy_setopt(handle, CURLOPT_URL, fetch->url);
    (void)curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(handle, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, reason);
    (void)curl_easy_setopt(handle, CURLOPT_HTTPHEADER, lists->headers);
    identities_set(handle, fetch);
    route_set(handle, fetch, lists);
    if (fetch->accepts_gzip)
        (void)curl_easy_setopt(handle, CURLOPT_ACCEPT_ENCODING, "gzip");
    if (fetch->body.data != NULL) {
        (void)curl_easy_setopt(handle, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)fetch->body.bytes);
        (void)curl_easy_setopt(handle, CURLOPT_POSTFIELDS, fetch->body.data);
    }
    if (fetch->method != NULL)
        (void)curl_easy_setopt(handle, CURLOPT_CUSTOMREQUEST, fetch->method);
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
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
        return STATUS_DENIED;
    case CURLE_WRITE_ERROR:
        return body->failed != STATUS_OK ? body->failed : STATUS_CLOSED;
    default:
        return STATUS_CLOSED;
    }
}

status transfer_status(CURLcode result, const struct buffer *body, const char *reason,
                       struct error_note *note)
{
    status meaning = status_of(result, body);

    if (meaning == STATUS_TOO_LARGE)
        error_note_set(note, "the answer is too long");
    else if (meaning != STATUS_OK)
        error_note_set(note, "%s", reason[0] != '\0' ? reason : curl_easy_strerror(result));
    return meaning;
}

uint64_t transfer_retry_after(CURL *handle)
{
    curl_off_t seconds = 0;

    (void)curl_easy_getinfo(handle, CURLINFO_RETRY_AFTER, &seconds);
    return seconds > 0 ? (uint64_t)seconds : 0;
}
