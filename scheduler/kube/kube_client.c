#include "kube_client.h"

#include <string.h>
#include <time.h>

#include "clock.h"

#define CONNECT_NS        (10 * NS_PER_SECOND)
#define CALL_NS           (30 * NS_PER_SECOND)
#define TRIES_MAX         4u
#define RETRY_SECONDS_MAX 5u
#define PAUSE_NS          (100 * NS_PER_MS) /* between looks whether it is to stop */
#define URL_BYTES_MAX     65536u

status kube_client_open(struct kube_client *client, const struct kube_access *access,
                        const _Atomic bool *is_stopping, struct error_note *note)
{
    *client = (struct kube_client){.access = access, .is_stopping = is_stopping};
    kube_credential_init(&client->credential, access, is_stopping);
    client->session = http_fetch_session_create();
    client->streams = http_streams_create();
    if (client->session != NULL && client->streams != NULL)
        return STATUS_OK;
    error_note_set(note, "no memory for an HTTP client");
    return STATUS_NO_MEMORY;
}

void kube_client_close(struct kube_client *client)
{
    http_fetch_session_destroy(client->session);
    http_streams_destroy(client->streams);
    kube_credential_deinit(&client->credential);
    *client = (struct kube_client){0};
}

static bool is_over(const void *context)
{
    const struct kube_client *client = context;
    return client->is_stopping != NULL && atomic_load(client->is_stopping);
}

/* What a request is made of, as long as it is asked. */
struct request {
    struct buffer url, host, authorization;
    struct http_header header;
};

static void request_deinit(struct request *request)
{
    buffer_deinit(&request->url);
    buffer_deinit(&request->host);
    buffer_deinit(&request->authorization);
}

/* The server's address; where its certificate has another name, that name, and the host to connect to in `host`. */
static void address_write(const struct kube_access *access, const char *path,
                          struct request *request)
{
    const char *host = strstr(access->server, "://") + 3;
    bool is_bracketed = *host == '[';
    size_t bytes = is_bracketed ? strcspn(host + 1, "]") : strcspn(host, ":/");
    const char *rest = host + bytes + (is_bracketed ? 1 : 0);
    if (is_bracketed && *rest == ']')
        rest++;
    if (*access->tls_server_name == '\0') {
        buffer_append_format(&request->url, "%s%s", access->server, path);
        return;
    }
    buffer_append_format(&request->url, "%.*s%s%s%s", (int)(host - access->server), access->server,
                         access->tls_server_name, rest, path);
    buffer_append(&request->host, host + is_bracketed, bytes);
}

static status request_make(struct kube_client *client, const char *path, struct request *request,
                           struct http_fetch *out, struct error_note *note)
{
    const struct kube_access *access = client->access;
    struct kube_credential *credential = &client->credential;
    buffer_init(&request->url, URL_BYTES_MAX);
    buffer_init(&request->host, 1024);
    buffer_init(&request->authorization, 2u << 20);
    status result = kube_credential_refresh(credential, false, note);
    if (result != STATUS_OK)
        return result;
    address_write(access, path, request);
    const char *token = kube_credential_token(credential);
    buffer_append_format(&request->authorization, "Bearer %s", token);
    request->header =
        (struct http_header){text_slice_of("authorization"), buffer_slice(&request->authorization)};
    bool is_given = credential->certificate_pem.bytes > 0;
    *out = (struct http_fetch){.url = request->url.data,
                               .connect_to = request->host.bytes > 0 ? request->host.data : NULL,
                               .ca_pem = access->ca_pem,
                               .certificate_pem = is_given ? credential->certificate_pem.data
                                                           : access->certificate_pem,
                               .key_pem = is_given ? credential->key_pem.data : access->key_pem,
                               .is_unchecked = access->is_insecure,
                               .uses_proxy = true,
                               .proxy = access->proxy_url,
                               .headers = &request->header,
                               .header_count = *token != '\0' ? 1 : 0};
    bool is_whole = request->url.failed == STATUS_OK && request->host.failed == STATUS_OK &&
                    request->authorization.failed == STATUS_OK;
    if (is_whole)
        return STATUS_OK;
    error_note_set(note, "the server's address or the credential is too long");
    return STATUS_TOO_LARGE;
}

static status call_once(struct kube_client *client, const struct kube_call *call, int *code,
                        struct buffer *body, uint64_t *retry_s, struct error_note *note)
{
    struct request request;
    struct http_fetch fetch;
    buffer_clear(body);
    status result = request_make(client, call->path, &request, &fetch, note);
    if (result == STATUS_OK) {
        fetch.method = call->method;
        fetch.body = call->body;
        fetch.content_type = call->content_type;
        fetch.accepts_gzip = true;
        fetch.session = client->session;
        fetch.timeout_ns = CALL_NS;
        fetch.is_over = is_over;
        fetch.context = client;
        fetch.retry_after_s = retry_s;
        result = http_fetch(&fetch, code, body, note);
    }
    request_deinit(&request);
    return result;
}

static bool pause_made(const struct kube_client *client, uint64_t seconds)
{
    uint64_t until_ns = clock_now_ns() + seconds * NS_PER_SECOND;
    while (clock_now_ns() < until_ns && !is_over(client))
        (void)nanosleep(&(struct timespec){.tv_nsec = (long)PAUSE_NS}, NULL);
    return !is_over(client);
}

status kube_client_call(struct kube_client *client, const struct kube_call *call, int *code,
                        struct buffer *body, struct error_note *note)
{
    bool was_refused = false;
    for (uint32_t try = 1;; try++) {
        uint64_t retry_s = 0, asked_ns = clock_now_ns();
        status result = call_once(client, call, code, body, &retry_s, note);
        if (result != STATUS_OK)
            return result;
        if (*code == 401 && !was_refused) {
            was_refused = true;
            result = kube_credential_renew(&client->credential, asked_ns, note);
            if (result != STATUS_OK)
                return result;
            continue;
        }
        bool is_busy = *code == 429 || (*code == 503 && retry_s > 0);
        retry_s = retry_s > 0 ? retry_s : 1;
        if (!is_busy || try >= TRIES_MAX || retry_s > RETRY_SECONDS_MAX)
            return STATUS_OK;
        if (!pause_made(client, retry_s)) {
            error_note_set(note, "stopped");
            return STATUS_CANCELLED;
        }
    }
}

status kube_client_watch(struct kube_client *client, const char *path, struct buffer *body,
                         struct http_stream **out, struct error_note *note)
{
    struct request request;
    struct http_fetch fetch;
    status result = request_make(client, path, &request, &fetch, note);
    if (result == STATUS_OK) {
        fetch.timeout_ns = CONNECT_NS;
        result = http_stream_open(client->streams, &fetch, body, out);
        if (result != STATUS_OK)
            error_note_set(note, result == STATUS_TOO_LARGE ? "the credential is too long"
                                                            : "no memory for a watch");
    }
    request_deinit(&request);
    return result;
}
