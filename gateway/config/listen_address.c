#include "listen_address.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "decimal.h"

#define HOST_BYTES_MAX 63u

static bool port_is_valid(const char *text)
{
    uint64_t port;

    return strlen(text) <= 5 && decimal_read(text_slice_of(text), UINT16_MAX, &port);
}

/* The host without brackets; false when there is no ":port" or the host is too long. */
static bool host_copy(const char *address, char host[HOST_BYTES_MAX + 1], bool *is_ip6)
{
    size_t bytes = listen_address_host_bytes(address);

    *is_ip6 = address[0] == '[';
    if (*is_ip6) {
        if (bytes < 3 || address[bytes - 1] != ']')
            return false;
        address++;
        bytes -= 2;
    }
    if (bytes > HOST_BYTES_MAX)
        return false;
    memcpy(host, address, bytes);
    host[bytes] = '\0';
    return true;
}

static status unix_check(const char *path, struct error_note *note)
{
    struct sockaddr_un socket_address;

    if (path[0] != '/') {
        error_note_set(note, "a Unix socket needs an absolute path, like unix:/run/penstock.sock");
        return STATUS_INVALID;
    }
    if (strlen(path) >= sizeof(socket_address.sun_path)) {
        error_note_set(note,
                       "the path of a Unix socket has at most %zu bytes; choose a shorter one",
                       sizeof(socket_address.sun_path) - 1);
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

status listen_address_check(const char *address, struct error_note *note)
{
    const char *colon = strrchr(address, ':');
    char host[HOST_BYTES_MAX + 1];
    unsigned char bytes[16];
    bool is_ip6;

    if (strncmp(address, "unix:", 5) == 0)
        return unix_check(address + 5, note);
    if (colon == NULL || !port_is_valid(colon + 1)) {
        error_note_set(note, "'%.64s' has no port from 0 to 65535; write it like 127.0.0.1:8080",
                       address);
        return STATUS_INVALID;
    }
    if (!host_copy(address, host, &is_ip6) ||
        inet_pton(is_ip6 ? AF_INET6 : AF_INET, host, bytes) != 1) {
        if (colon == address)
            error_note_set(note,
                           "the host is missing; write 127.0.0.1%s for this machine only, "
                           "0.0.0.0%s for every interface",
                           colon, colon);
        else
            error_note_set(note,
                           "'%.64s' is no numeric address; write it like 127.0.0.1:8080, "
                           "[::1]:8080 or unix:/path",
                           address);
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

size_t listen_address_host_bytes(const char *address)
{
    const char *colon = strrchr(address, ':');

    if (strncmp(address, "unix:", 5) == 0 || colon == NULL)
        return 0;
    return (size_t)(colon - address);
}

bool listen_address_is_local(const char *address)
{
    return strncmp(address, "unix:", 5) == 0 || strncmp(address, "127.", 4) == 0 ||
           strncmp(address, "[::1]:", 6) == 0;
}
