#include "address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "decimal.h"
#include "http_server.h"

static status parse_unix(const char *path, struct address *out, struct error_note *note)
{
    struct sockaddr_un *un = (struct sockaddr_un *)&out->storage;
    size_t bytes = strlen(path);
    if (bytes == 0 || bytes >= sizeof un->sun_path) {
        error_note_set(note, "path of a Unix socket must have 1 to %zu bytes, has %zu",
                       sizeof un->sun_path - 1, bytes);
        return STATUS_INVALID;
    }
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path, bytes + 1);
    out->bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes + 1);
    return STATUS_OK;
}

/* 0..65535 in decimal, nothing else; -1: not that. */
static int parse_port(const char *text)
{
    uint64_t port;
    if (strlen(text) > 5 || !decimal_read(text_slice_of(text), UINT16_MAX, &port))
        return -1;
    return (int)port;
}

status address_parse(const char *text, struct address *out, struct error_note *note)
{
    struct address parsed = {.bytes = 0};
    if (strncmp(text, "unix:", 5) == 0) {
        status s = parse_unix(text + 5, &parsed, note);
        if (s == STATUS_OK)
            *out = parsed;
        return s;
    }
    char host[INET6_ADDRSTRLEN + 2];
    const char *colon = strrchr(text, ':');
    int port = colon != NULL ? parse_port(colon + 1) : -1;
    size_t host_bytes = colon != NULL ? (size_t)(colon - text) : 0;
    if (port < 0 || host_bytes == 0 || host_bytes >= sizeof host)
        goto invalid;
    memcpy(host, text, host_bytes);
    host[host_bytes] = '\0';
    if (host[0] == '[' && host[host_bytes - 1] == ']') {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&parsed.storage;
        host[host_bytes - 1] = '\0';
        if (inet_pton(AF_INET6, host + 1, &in6->sin6_addr) != 1)
            goto invalid;
        in6->sin6_family = AF_INET6;
        parsed.bytes = sizeof *in6;
    } else {
        struct sockaddr_in *in = (struct sockaddr_in *)&parsed.storage;
        if (inet_pton(AF_INET, host, &in->sin_addr) != 1)
            goto invalid;
        in->sin_family = AF_INET;
        parsed.bytes = sizeof *in;
    }
    address_set_port(&parsed, (uint16_t)port);
    *out = parsed;
    return STATUS_OK;
invalid:
    error_note_set(
        note, "\"%s\" is not an address: expected 127.0.0.1:8080, [::1]:8080 or unix:/path", text);
    return STATUS_INVALID;
}

/* A datagram socket that is connected has its own end, and nothing has been sent. */
static bool own_end(const struct addrinfo *there, struct address *out)
{
    int descriptor = socket(there->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool is_good;
    out->bytes = sizeof out->storage;
    is_good = descriptor >= 0 && connect(descriptor, there->ai_addr, there->ai_addrlen) == 0 &&
              getsockname(descriptor, (struct sockaddr *)&out->storage, &out->bytes) == 0;
    if (descriptor >= 0)
        close(descriptor);
    return is_good;
}

status http_address_towards(const char *host, char out[HTTP_ADDRESS_TEXT_BYTES],
                            struct error_note *note)
{
    /* Any port will do; 9 discards (RFC 863). */
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_DGRAM};
    struct addrinfo *list = NULL;
    struct address end;
    char text[ADDRESS_TEXT_BYTES];
    int code = getaddrinfo(host, "9", &hints, &list);
    if (code != 0) {
        error_note_set(note, "%s: %s", host,
                       code == EAI_SYSTEM ? strerrordesc_np(errno) : gai_strerror(code));
        return STATUS_NOT_FOUND;
    }
    const struct addrinfo *at = list;
    while (at != NULL && !own_end(at, &end))
        at = at->ai_next;
    freeaddrinfo(list);
    if (at == NULL) {
        error_note_set(note, "there is no way to %s: %s", host, strerrordesc_np(errno));
        return STATUS_NOT_FOUND;
    }
    address_host_text(&end, text);
    (void)snprintf(out, HTTP_ADDRESS_TEXT_BYTES, strchr(text, ':') != NULL ? "[%s]" : "%s", text);
    return STATUS_OK;
}

void address_host_text(const struct address *address, char out[ADDRESS_TEXT_BYTES])
{
    const struct sockaddr_storage *storage = &address->storage;
    const void *number = NULL;
    if (storage->ss_family == AF_INET)
        number = &((const struct sockaddr_in *)storage)->sin_addr;
    else if (storage->ss_family == AF_INET6)
        number = &((const struct sockaddr_in6 *)storage)->sin6_addr;
    if (number == NULL || inet_ntop(storage->ss_family, number, out, ADDRESS_TEXT_BYTES) == NULL)
        (void)snprintf(out, ADDRESS_TEXT_BYTES, "unix");
}

uint16_t address_port(const struct address *address)
{
    if (address->storage.ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)&address->storage)->sin_port);
    if (address->storage.ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)&address->storage)->sin6_port);
    return 0;
}

void address_set_port(struct address *address, uint16_t port)
{
    if (address->storage.ss_family == AF_INET)
        ((struct sockaddr_in *)&address->storage)->sin_port = htons(port);
    else if (address->storage.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&address->storage)->sin6_port = htons(port);
}
