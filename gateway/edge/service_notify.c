#include "service_notify.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* False: there is none, or it is no path. */
static bool address_read(struct sockaddr_un *out, socklen_t *bytes)
{
    const char *path = getenv("NOTIFY_SOCKET");
    size_t length = path != NULL ? strlen(path) : 0;

    if (length < 2 || length >= sizeof(out->sun_path) || (path[0] != '/' && path[0] != '@'))
        return false;
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(out->sun_path, path, length);
    if (path[0] == '@') /* a name without a file */
        out->sun_path[0] = '\0';
    *bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    return true;
}

bool service_is_managed(void)
{
    struct sockaddr_un address;
    socklen_t bytes;

    return address_read(&address, &bytes);
}

void service_notify(const char *format, ...)
{
    struct sockaddr_un address;
    socklen_t address_bytes;
    char text[128];
    va_list values;
    int descriptor, bytes;

    if (!address_read(&address, &address_bytes))
        return;
    va_start(values, format);
    bytes = vsnprintf(text, sizeof(text), format, values);
    va_end(values);
    descriptor = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0)
        return;
    /* A manager that does not listen is not our concern. */
    (void)sendto(descriptor, text, (size_t)bytes, MSG_NOSIGNAL, (struct sockaddr *)&address,
                 address_bytes);
    (void)close(descriptor);
}
