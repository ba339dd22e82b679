#include "remote.h"

#include <errno.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "http1_head.h"
#include "http_fetch.h"
#include "memory.h"
#include "self_signed.h"

#define URL_BYTES_MAX 4096u

/* TLS 1.2 and up, the peer's certificate and its name checked, HTTP/1.1 by ALPN. */
static status tls_create(const struct http_url *url, const char *ca_file, SSL_CTX **out,
                         struct error_note *note)
{
    static const unsigned char protocols[] = "\x08http/1.1";
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    bool is_good;

    if (context == NULL)
        return STATUS_NO_MEMORY;
    ERR_clear_error();
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    is_good = X509_VERIFY_PARAM_set1_host(SSL_CTX_get0_param(context), url->host, 0) == 1 &&
              SSL_CTX_set_alpn_protos(context, protocols, sizeof(protocols) - 1) == 0;
    if (!is_good) {
        SSL_CTX_free(context);
        return STATUS_NO_MEMORY;
    }
    is_good = ca_file[0] != '\0' ? SSL_CTX_load_verify_file(context, ca_file) == 1
                                 : SSL_CTX_set_default_verify_paths(context) == 1;
    if (!is_good) {
        char reason[256];

        ERR_error_string_n(ERR_get_error(), reason, sizeof(reason));
        ERR_clear_error();
        error_note_set(note, "authorities %s: %s", ca_file[0] != '\0' ? ca_file : "of the system",
                       reason);
        SSL_CTX_free(context);
        return STATUS_INVALID;
    }
    *out = context;
    return STATUS_OK;
}

status http_remote_create(const struct http_url *url, const char *ca_file, http_remote **out,
                          struct error_note *note)
{
    http_remote *remote = memory_allocate_array(1, sizeof(*remote));
    bool is_v6 = strchr(url->host, ':') != NULL;
    status result = STATUS_OK;

    if (remote == NULL)
        return STATUS_NO_MEMORY;
    remote->url = *url;
    remote->ca_file = ca_file;
    if (url->port == (url->is_tls ? 443 : 80))
        (void)snprintf(remote->authority, sizeof(remote->authority), is_v6 ? "[%s]" : "%s",
                       url->host);
    else
        (void)snprintf(remote->authority, sizeof(remote->authority), is_v6 ? "[%s]:%u" : "%s:%u",
                       url->host, url->port);
    if (url->is_tls)
        result = tls_create(url, ca_file, &remote->tls, note);
    if (result != STATUS_OK) {
        http_remote_destroy(remote);
        return result;
    }
    *out = remote;
    return STATUS_OK;
}

/* --- a server that is known by its key --- */

static bool text_copy(struct text_slice text, struct text_slice *out)
{
    char *copy = memory_allocate(text.bytes + 1);

    if (copy == NULL)
        return false;
    memcpy(copy, text.data, text.bytes);
    copy[text.bytes] = '\0';
    *out = (struct text_slice){copy, text.bytes};
    return true;
}

/* The address never changes: another one would be another server. */
static status pinned_fill(http_remote *remote, const char *address,
                          const struct http_header *secret, struct error_note *note)
{
    struct remote_address *found = memory_allocate_array(1, sizeof(*found));
    status result;

    if (found == NULL)
        return STATUS_NO_MEMORY;
    atomic_store_explicit(&remote->address, found, memory_order_release);
    result = address_parse(address, &found->address, note);
    if (result != STATUS_OK)
        return result;
    if (address_is_unix(&found->address) || address_port(&found->address) == 0) {
        error_note_set(note, "\"%.100s\" has no port to connect to", address);
        return STATUS_INVALID;
    }
    if (!http1_is_token(secret->name) || !http1_is_field_value(secret->value)) {
        error_note_set(note, "what each request should carry is no header");
        return STATUS_INVALID;
    }
    (void)snprintf(remote->authority, sizeof(remote->authority), "%s", address);
    (void)snprintf(remote->url.host, sizeof(remote->url.host), "%s", SELF_SIGNED_NAME);
    if (!text_copy(secret->name, &remote->secret_name) ||
        !text_copy(secret->value, &remote->secret))
        return STATUS_NO_MEMORY;
    return self_signed_expect(remote->pin, &remote->tls);
}

status http_remote_create_pinned(const char *address, const char *pin,
                                 const struct http_header *secret, http_remote **out,
                                 struct error_note *note)
{
    http_remote *remote = memory_allocate_array(1, sizeof(*remote));
    status result;

    if (remote == NULL)
        return STATUS_NO_MEMORY;
    remote->ca_file = "";
    if (!http_pin_read(pin, remote->pin)) {
        error_note_set(note, "\"%.100s\" is no pin of a key", pin);
        memory_release(remote);
        return STATUS_INVALID;
    }
    memcpy(remote->pin_text, pin, sizeof(remote->pin_text));
    result = pinned_fill(remote, address, secret, note);
    if (result != STATUS_OK) {
        http_remote_destroy(remote);
        return result;
    }
    *out = remote;
    return STATUS_OK;
}

void http_remote_destroy(http_remote *remote)
{
    struct remote_address *address;

    if (remote == NULL)
        return;
    address = atomic_load_explicit(&remote->address, memory_order_acquire);
    while (address != NULL) {
        struct remote_address *older = address->older;

        memory_release(address);
        address = older;
    }
    SSL_CTX_free(remote->tls);
    memory_release((void *)(uintptr_t)remote->secret_name.data);
    if (remote->secret.bytes > 0)
        OPENSSL_cleanse((void *)(uintptr_t)remote->secret.data, remote->secret.bytes);
    memory_release((void *)(uintptr_t)remote->secret.data);
    memory_release(remote);
}

const char *http_remote_prefix(const http_remote *remote)
{
    return remote->url.prefix;
}

static bool is_listed(const struct addrinfo *list, const struct remote_address *known)
{
    for (; list != NULL; list = list->ai_next) {
        if (list->ai_addrlen == known->address.bytes &&
            memcmp(list->ai_addr, &known->address.storage, list->ai_addrlen) == 0)
            return true;
    }
    return false;
}

status http_remote_resolve(http_remote *remote, struct error_note *note)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct remote_address *known = atomic_load_explicit(&remote->address, memory_order_relaxed);
    struct remote_address *fresh;
    struct addrinfo *list = NULL;
    char port[8];
    int code;

    (void)snprintf(port, sizeof(port), "%u", remote->url.port);
    code = getaddrinfo(remote->url.host, port, &hints, &list);
    if (code != 0 || list == NULL) {
        error_note_set(note, "%s: %s", remote->url.host,
                       code == EAI_SYSTEM ? strerrordesc_np(errno) : gai_strerror(code));
        return STATUS_NOT_FOUND;
    }
    if (known == NULL || !is_listed(list, known)) {
        fresh = memory_allocate_array(1, sizeof(*fresh));
        if (fresh == NULL) {
            freeaddrinfo(list);
            return STATUS_NO_MEMORY;
        }
        memcpy(&fresh->address.storage, list->ai_addr, list->ai_addrlen);
        fresh->address.bytes = list->ai_addrlen;
        fresh->older = known;
        atomic_store_explicit(&remote->address, fresh, memory_order_release);
    }
    freeaddrinfo(list);
    return STATUS_OK;
}

/* What the remote's server is known by, added to what the caller wants. */
static status fetch_fill(const http_remote *remote, const struct http_fetch *wanted,
                         struct http_fetch *fetch, struct http_header **headers)
{
    size_t count = wanted->header_count;

    *fetch = *wanted;
    fetch->ca_file = remote->ca_file;
    if (remote->pin_text[0] == '\0')
        return STATUS_OK;
    *headers = memory_allocate_array(count + 1, sizeof(**headers));
    if (*headers == NULL)
        return STATUS_NO_MEMORY;
    if (count > 0)
        memcpy(*headers, wanted->headers, count * sizeof(**headers));
    (*headers)[count] = (struct http_header){remote->secret_name, remote->secret};
    fetch->headers = *headers;
    fetch->header_count = count + 1;
    fetch->public_key_pin = remote->pin_text;
    return STATUS_OK;
}

status http_remote_fetch(const http_remote *remote, const char *path,
                         const struct http_fetch *wanted, int *status_code, struct buffer *body,
                         struct error_note *note)
{
    const struct remote_address *found =
        atomic_load_explicit(&remote->address, memory_order_acquire);
    char address[ADDRESS_TEXT_BYTES];
    struct http_header *headers = NULL;
    struct http_fetch fetch;
    struct buffer url;
    status result;

    if (found == NULL) {
        error_note_set(note, "its name was not found");
        return STATUS_CLOSED;
    }
    address_host_text(&found->address, address);
    buffer_init(&url, URL_BYTES_MAX);
    buffer_append_format(&url, "%s://%s%s%s", remote->tls != NULL ? "https" : "http",
                         remote->authority, remote->url.prefix, path);
    buffer_append_byte(&url, '\0');
    result = url.failed == STATUS_OK ? fetch_fill(remote, wanted, &fetch, &headers) : url.failed;
    if (result == STATUS_OK) {
        fetch.url = url.data;
        fetch.connect_to = address;
        result = http_fetch(&fetch, status_code, body, note);
    }
    buffer_deinit(&url);
    memory_release(headers);
    return result;
}
