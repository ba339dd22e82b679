#include "http_download.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "clock.h"
#include "http_transfer.h"

#define REDIRECTIONS_MAX    8L
#define CONNECT_SECONDS_MAX 30L
#define REFUSAL_BYTES_MAX   1024u
#define AUTHORIZATION_BYTES 8192u
#define CODE_OK             200
#define CODE_PARTIAL        206

struct transfer {
    const struct http_download *download;
    struct http_download_head *head;
    struct buffer *refusal;
    bool is_begun; /* on_head has been called */
    bool is_cancelled;
};

static bool is_file(const struct http_download_head *head)
{
    return head->code == CODE_OK || head->code == CODE_PARTIAL;
}

static struct text_slice trimmed(struct text_slice text)
{
    while (text.bytes > 0 && isspace((unsigned char)text.data[0])) {
        text.data++;
        text.bytes--;
    }
    while (text.bytes > 0 && isspace((unsigned char)text.data[text.bytes - 1]))
        text.bytes--;
    return text;
}

static void copy(struct text_slice text, char *out, size_t bytes)
{
    out[0] = '\0';
    if (text.bytes < bytes && memchr(text.data, '\0', text.bytes) == NULL) {
        memcpy(out, text.data, text.bytes);
        out[text.bytes] = '\0';
    }
}

/* "bytes 100-199/200": RFC 9110, section 14.4. */
static void range_read(const char *text, struct http_download_head *head)
{
    unsigned long long begin, end, total;

    if (sscanf(text, "bytes %llu-%llu/%llu", &begin, &end, &total) == 3 && begin <= end &&
        end < total) {
        head->begin = begin;
        head->total_bytes = total;
    }
}

/* <URL>; rel="next": RFC 8288. Lists of several links are not taken apart: none of the servers sends them. */
static void link_read(struct text_slice value, struct http_download_head *head)
{
    const char *end =
        value.bytes > 0 && value.data[0] == '<' ? memchr(value.data, '>', value.bytes) : NULL;

    if (end != NULL &&
        memmem(end, value.bytes - (size_t)(end - value.data), "rel=\"next\"", 10) != NULL)
        copy((struct text_slice){value.data + 1, (size_t)(end - value.data) - 1}, head->next,
             sizeof(head->next));
}

static bool is_named(struct text_slice name, const char *other)
{
    return name.bytes == strlen(other) && strncasecmp(name.data, other, name.bytes) == 0;
}

/* Each answer on the way (redirections, "100 Continue") begins with its status line: what the one before said is forgotten. */
static size_t on_header(char *data, size_t size, size_t count, void *context)
{
    struct transfer *transfer = context;
    struct http_download_head *head = transfer->head;
    size_t bytes = size * count;
    const char *colon = memchr(data, ':', bytes);
    struct text_slice name, value;
    char number[64];

    if (bytes >= 5 && memcmp(data, "HTTP/", 5) == 0) {
        const char *space = memchr(data, ' ', bytes);

        *head = (struct http_download_head){.total_bytes = UINT64_MAX};
        if (space != NULL && bytes - (size_t)(space - data) > 3)
            head->code =
                (int)strtol(space + 1, NULL, 10); /* behind it stands a space or the line's end */
        return bytes;
    }
    if (colon == NULL)
        return bytes;
    name = (struct text_slice){data, (size_t)(colon - data)};
    value = trimmed((struct text_slice){colon + 1, bytes - name.bytes - 1});
    if (is_named(name, "etag") && !(value.bytes > 1 && value.data[0] == 'W')) {
        copy(value, head->tag, sizeof(head->tag));
    } else if (is_named(name, "content-range")) {
        copy(value, number, sizeof(number));
        range_read(number, head);
    } else if (is_named(name, "content-length") && head->code == CODE_OK) {
        copy(value, number, sizeof(number));
        head->total_bytes = number[0] != '\0' ? strtoull(number, NULL, 10) : UINT64_MAX;
    } else if (is_named(name, "link")) {
        link_read(value, head);
    }
    return bytes;
}

static bool begin(struct transfer *transfer)
{
    if (!transfer->is_begun) {
        transfer->is_begun = true;
        transfer->is_cancelled =
            !transfer->download->on_head(transfer->download->context, transfer->head);
    }
    return !transfer->is_cancelled;
}

static size_t on_body(char *data, size_t size, size_t count, void *context)
{
    struct transfer *transfer = context;
    size_t bytes = size * count, room = REFUSAL_BYTES_MAX - transfer->refusal->bytes;

    if (!is_file(transfer->head)) {
        buffer_append(transfer->refusal, data, bytes < room ? bytes : room);
        return bytes;
    }
    if (!begin(transfer))
        return 0;
    transfer->is_cancelled =
        !transfer->download->on_bytes(transfer->download->context, data, bytes);
    return transfer->is_cancelled ? 0 : bytes;
}

static void options_set(CURL *handle, struct transfer *transfer, const struct curl_slist *headers,
                        char *reason)
{
    const struct http_download *download = transfer->download;
    bool is_secure = strncmp(download->url, "https://", 8) == 0;

    (void)curl_easy_setopt(handle, CURLOPT_URL, download->url);
    (void)curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(handle, CURLOPT_REDIR_PROTOCOLS_STR, is_secure ? "https" : "http,https");
    (void)curl_easy_setopt(handle, CURLOPT_FOLLOWLOCATION, 1L);
    (void)curl_easy_setopt(handle, CURLOPT_MAXREDIRS, REDIRECTIONS_MAX);
    (void)curl_easy_setopt(handle, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    (void)curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, reason);
    (void)curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS_MAX);
    (void)curl_easy_setopt(handle, CURLOPT_LOW_SPEED_LIMIT, 1L);
    (void)curl_easy_setopt(handle, CURLOPT_LOW_SPEED_TIME,
                           (long)(download->idle_ns / NS_PER_SECOND));
    (void)curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, on_header);
    (void)curl_easy_setopt(handle, CURLOPT_HEADERDATA, transfer);
    (void)curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(handle, CURLOPT_WRITEDATA, transfer);
}

static bool list_append(struct curl_slist **list, const char *text)
{
    struct curl_slist *longer = curl_slist_append(*list, text);

    if (longer != NULL)
        *list = longer;
    return longer != NULL;
}

/* The library sends an "authorization" of its user's to no other host than the URL's (CVE-2018-1000007, CVE-2022-27776). */
static status headers_make(const struct http_download *download, struct curl_slist **headers)
{
    char line[AUTHORIZATION_BYTES];
    bool is_good = true;

    if (download->bearer != NULL && download->bearer[0] != '\0') {
        if (snprintf(line, sizeof(line), "authorization: Bearer %s", download->bearer) >=
            (int)sizeof(line))
            return STATUS_TOO_LARGE;
        is_good = list_append(headers, line);
        explicit_bzero(line, sizeof(line));
    }
    if (is_good && download->offset > 0) {
        (void)snprintf(line, sizeof(line), "range: bytes=%llu-",
                       (unsigned long long)download->offset);
        is_good = list_append(headers, line);
        if (is_good && download->if_range != NULL && download->if_range[0] != '\0') {
            (void)snprintf(line, sizeof(line), "if-range: %s", download->if_range);
            is_good = list_append(headers, line);
        }
    }
    return is_good ? STATUS_OK : STATUS_NO_MEMORY;
}

static status perform(CURL *handle, struct transfer *transfer, const struct curl_slist *headers,
                      struct error_note *note)
{
    char reason[CURL_ERROR_SIZE] = "";
    CURLcode returned;

    options_set(handle, transfer, headers, reason);
    returned = curl_easy_perform(handle);
    if (returned == CURLE_OK && is_file(transfer->head) && !begin(transfer))
        returned = CURLE_WRITE_ERROR;
    if (transfer->is_cancelled)
        return STATUS_CANCELLED;
    return transfer_status(returned, transfer->refusal, reason, note);
}

status http_download(const struct http_download *download, struct http_download_head *head,
                     struct buffer *refusal, struct error_note *note)
{
    struct transfer transfer = {.download = download, .head = head, .refusal = refusal};
    struct curl_slist *headers = NULL;
    CURL *handle = curl_easy_init();
    status result = handle != NULL ? headers_make(download, &headers) : STATUS_NO_MEMORY;

    *head = (struct http_download_head){.total_bytes = UINT64_MAX};
    if (result == STATUS_OK)
        result = perform(handle, &transfer, headers, note);
    else
        error_note_set(note,
                       result == STATUS_TOO_LARGE ? "the token is too long" : "out of memory");
    curl_slist_free_all(headers);
    curl_easy_cleanup(handle);
    return result;
}
