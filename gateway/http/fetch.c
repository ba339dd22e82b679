/* One GET, blocking, for threads that have nothing else to do: health checks and metrics of servers elsewhere. The time-out is a
 * deadline for all of it: each wait for the socket gets what is left. */
#include <errno.h>
#include <openssl/err.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "http1_chunked.h"
#include "http1_head.h"
#include "remote.h"

#define FETCH_HEAD_BYTES_MAX   65536u
#define FETCH_HEADER_COUNT_MAX 128u

struct fetch {
    int fd;
    SSL *tls; /* NULL: cleartext */
    uint64_t deadline_ns;
    struct error_note *note;
};

static status fail(struct fetch *fetch, status result, const char *what)
{
    error_note_set(fetch->note, "%s", what);
    return result;
}

/* Until the socket is ready for `events`. */
static status wait_for(struct fetch *fetch, short events)
{
    struct pollfd entry = {.fd = fetch->fd, .events = events};

    for (;;) {
        uint64_t now_ns = clock_now_ns();
        int ready;

        if (now_ns >= fetch->deadline_ns)
            return fail(fetch, STATUS_TIMEOUT, "no answer in time");
        ready = poll(&entry, 1, (int)((fetch->deadline_ns - now_ns) / NS_PER_MS) + 1);
        if (ready > 0)
            return STATUS_OK;
        if (ready < 0 && errno != EINTR)
            return fail(fetch, STATUS_CLOSED, strerrordesc_np(errno));
    }
}

static status tcp_connect(struct fetch *fetch, const struct address *address)
{
    int code = 0;
    socklen_t bytes = sizeof(code);
    status result;

    fetch->fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fetch->fd < 0)
        return fail(fetch, STATUS_CLOSED, strerrordesc_np(errno));
    if (connect(fetch->fd, (const struct sockaddr *)&address->storage, address->bytes) == 0)
        return STATUS_OK;
    if (errno != EINPROGRESS)
        return fail(fetch, STATUS_CLOSED, strerrordesc_np(errno));
    result = wait_for(fetch, POLLOUT);
    if (result != STATUS_OK)
        return result;
    if (getsockopt(fetch->fd, SOL_SOCKET, SO_ERROR, &code, &bytes) != 0 || code != 0)
        return fail(fetch, STATUS_CLOSED, strerrordesc_np(code));
    return STATUS_OK;
}

/* What a call of the library wants before it is made again; false: it has failed, and the note tells why. */
static status tls_wait(struct fetch *fetch, int returned)
{
    int code = SSL_get_error(fetch->tls, returned);
    long verified = SSL_get_verify_result(fetch->tls);
    char reason[256];

    if (code == SSL_ERROR_WANT_READ)
        return wait_for(fetch, POLLIN);
    if (code == SSL_ERROR_WANT_WRITE)
        return wait_for(fetch, POLLOUT);
    if (verified != X509_V_OK)
        return fail(fetch, STATUS_CLOSED, X509_verify_cert_error_string(verified));
    ERR_error_string_n(ERR_get_error(), reason, sizeof(reason));
    return fail(fetch, STATUS_CLOSED, reason);
}

static status tls_connect(struct fetch *fetch, const http_remote *remote)
{
    status result = STATUS_OK;
    int returned;

    ERR_clear_error();
    fetch->tls = SSL_new(remote->tls);
    if (fetch->tls == NULL || SSL_set_fd(fetch->tls, fetch->fd) != 1 ||
        SSL_set_tlsext_host_name(fetch->tls, remote->url.host) != 1)
        return fail(fetch, STATUS_NO_MEMORY, "out of memory");
    while (result == STATUS_OK && (returned = SSL_connect(fetch->tls)) != 1)
        result = tls_wait(fetch, returned);
    return result;
}

static status send_all(struct fetch *fetch, struct text_slice bytes)
{
    status result = STATUS_OK;

    while (bytes.bytes > 0 && result == STATUS_OK) {
        ssize_t sent = fetch->tls != NULL ? SSL_write(fetch->tls, bytes.data, (int)bytes.bytes)
                                          : send(fetch->fd, bytes.data, bytes.bytes, MSG_NOSIGNAL);

        if (sent > 0) {
            bytes.data += sent;
            bytes.bytes -= (size_t)sent;
        } else if (fetch->tls != NULL) {
            result = tls_wait(fetch, (int)sent);
        } else if (errno == EAGAIN || errno == EINTR) {
            result = wait_for(fetch, POLLOUT);
        } else {
            result = fail(fetch, STATUS_CLOSED, strerrordesc_np(errno));
        }
    }
    return result;
}

/* Some bytes; 0: the other side has ended. */
static status receive(struct fetch *fetch, char *out, size_t room, size_t *got)
{
    for (;;) {
        ssize_t count = fetch->tls != NULL ? SSL_read(fetch->tls, out, (int)room)
                                           : recv(fetch->fd, out, room, 0);
        status result;

        if (count >= 0 && (count > 0 || fetch->tls == NULL)) {
            *got = (size_t)count;
            return STATUS_OK;
        }
        if (fetch->tls != NULL &&
            (SSL_get_error(fetch->tls, (int)count) == SSL_ERROR_ZERO_RETURN)) {
            *got = 0;
            return STATUS_OK;
        }
        if (fetch->tls != NULL)
            result = tls_wait(fetch, (int)count);
        else if (errno == EAGAIN || errno == EINTR)
            result = wait_for(fetch, POLLIN);
        else
            result = fail(fetch, STATUS_CLOSED, strerrordesc_np(errno));
        if (result != STATUS_OK)
            return result;
    }
}

static status request_send(struct fetch *fetch, const http_remote *remote,
                           const struct http_fetch *what)
{
    struct buffer head;
    status result;

    buffer_init(&head, FETCH_HEAD_BYTES_MAX);
    buffer_append_format(&head, "GET %s%s HTTP/1.1\r\nhost: %s\r\nconnection: close\r\n",
                         remote->url.prefix, what->path, remote->authority);
    for (size_t i = 0; i < what->header_count; i++) {
        buffer_append_slice(&head, what->headers[i].name);
        buffer_append_text(&head, ": ");
        buffer_append_slice(&head, what->headers[i].value);
        buffer_append_text(&head, "\r\n");
    }
    buffer_append_text(&head, "\r\n");
    result = head.failed == STATUS_OK ? send_all(fetch, buffer_slice(&head))
                                      : fail(fetch, head.failed, "the request is too long");
    buffer_deinit(&head);
    return result;
}

/* Hands what came of the body on; STATUS_AGAIN: there is more of it. */
static status body_take(const struct http1_head *head, struct chunked *chunked, char *bytes,
                        size_t count, struct buffer *body)
{
    status result = STATUS_AGAIN;

    if (head->is_chunked) {
        result = chunked_decode(chunked, bytes, &count, NULL);
        if (result == STATUS_INVALID)
            return result;
    }
    buffer_append(body, bytes, count);
    if (body->failed != STATUS_OK)
        return body->failed;
    if (!head->is_chunked && head->content_length != HTTP1_NO_LENGTH)
        return body->bytes >= head->content_length ? STATUS_OK : STATUS_AGAIN;
    return result;
}

static status head_read(struct fetch *fetch, char *bytes, size_t *used, size_t *head_bytes,
                        struct http1_head *head)
{
    static _Thread_local struct http_header headers[FETCH_HEADER_COUNT_MAX];
    size_t scanned = 0, got;
    const char *why = "";
    status found;

    *used = 0;
    do {
        status result = *used < FETCH_HEAD_BYTES_MAX
                            ? receive(fetch, bytes + *used, FETCH_HEAD_BYTES_MAX - *used, &got)
                            : fail(fetch, STATUS_INVALID, "the answer's head is too long");

        if (result != STATUS_OK)
            return result;
        if (got == 0)
            return fail(fetch, STATUS_CLOSED, "the connection was closed without an answer");
        *used += got;
        found = http1_head_find(bytes, *used, &scanned, head_bytes);
    } while (found == STATUS_AGAIN);
    if (found == STATUS_OK)
        found =
            http1_response_parse(bytes, *head_bytes, headers, FETCH_HEADER_COUNT_MAX, head, &why);
    return found == STATUS_OK ? STATUS_OK
                              : fail(fetch, STATUS_INVALID, "the answer is not HTTP/1.1");
}

static status answer_read(struct fetch *fetch, int *status_code, struct buffer *body)
{
    static _Thread_local char bytes[FETCH_HEAD_BYTES_MAX];
    struct http1_head head;
    struct chunked chunked;
    size_t used, head_bytes, got = 0;
    status result = head_read(fetch, bytes, &used, &head_bytes, &head);

    if (result != STATUS_OK)
        return result;
    *status_code = head.status_code;
    chunked_init(&chunked);
    result = body_take(&head, &chunked, bytes + head_bytes, used - head_bytes, body);
    while (result == STATUS_AGAIN) {
        result = receive(fetch, bytes, sizeof(bytes), &got);
        if (result != STATUS_OK)
            return result;
        if (got == 0)
            return !head.is_chunked && head.content_length == HTTP1_NO_LENGTH
                       ? STATUS_OK
                       : fail(fetch, STATUS_CLOSED, "the answer was cut off");
        result = body_take(&head, &chunked, bytes, got, body);
    }
    if (result == STATUS_TOO_LARGE)
        return fail(fetch, result, "the answer is too long");
    return result == STATUS_OK ? STATUS_OK : fail(fetch, result, "the answer is broken");
}

status http_remote_fetch(const http_remote *remote, const struct http_fetch *what, int *status_code,
                         struct buffer *body, struct error_note *note)
{
    const struct remote_address *address =
        atomic_load_explicit(&remote->address, memory_order_acquire);
    struct fetch fetch = {.fd = -1, .deadline_ns = clock_now_ns() + what->timeout_ns, .note = note};
    status result;

    if (address == NULL)
        return fail(&fetch, STATUS_CLOSED, "its name was not found");
    result = tcp_connect(&fetch, &address->address);
    if (result == STATUS_OK && remote->tls != NULL)
        result = tls_connect(&fetch, remote);
    if (result == STATUS_OK)
        result = request_send(&fetch, remote, what);
    if (result == STATUS_OK)
        result = answer_read(&fetch, status_code, body);
    SSL_free(fetch.tls);
    if (fetch.fd >= 0)
        close(fetch.fd);
    return result;
}
