#include "pull_name.h"

#include <string.h>

#include "hex.h"

static bool part_is_safe(const char *part, size_t bytes)
{
    if (bytes == 0 || bytes > PULL_NAME_BYTES_MAX)
        return false;
    if (part[0] == '.' && (bytes == 1 || (bytes == 2 && part[1] == '.')))
        return false;
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)part[i];

        if (c < ' ' || c == 0x7f || c == '\\')
            return false;
    }
    return true;
}

bool pull_path_is_safe(const char *path)
{
    unsigned depth = 0;

    if (strlen(path) > PULL_PATH_BYTES_MAX)
        return false;
    for (;;) {
        size_t bytes = strcspn(path, "/");

        if (!part_is_safe(path, bytes) || ++depth > PULL_DEPTH_MAX)
            return false;
        if (path[bytes] == '\0')
            return true;
        path += bytes + 1;
    }
}

bool pull_repository_is_safe(const char *name)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_./";
    const char *slash = strchr(name, '/');

    return pull_path_is_safe(name) && strspn(name, allowed) == strlen(name) &&
           (slash == NULL || strchr(slash + 1, '/') == NULL);
}

bool pull_url_name(const char *url, char out[PULL_NAME_BYTES_MAX + 1])
{
    const char *host = strstr(url, "://"), *path = host != NULL ? strchr(host + 3, '/') : NULL;
    size_t bytes = path != NULL ? strcspn(path, "?#") : 0, count = 0;
    const char *at;

    for (at = path != NULL ? path + bytes : NULL; at != NULL && at > path && at[-1] != '/'; at--)
        ;
    for (; at != NULL && at < path + bytes; at++) {
        int high = at[0] == '%' && at + 2 < path + bytes ? hex_digit_value(at[1]) : -1;
        int low = high >= 0 ? hex_digit_value(at[2]) : -1;

        if (count == PULL_NAME_BYTES_MAX)
            return false;
        if (low >= 0)
            at += 2;
        out[count++] = low >= 0 ? (char)(high * 16 + low) : *at;
    }
    out[count] = '\0';
    return strlen(out) == count && strchr(out, '/') == NULL && part_is_safe(out, count);
}

bool pull_url_is_allowed(const char *url)
{
    static const char *const here[] = {"http://127.0.0.1", "http://localhost", "http://[::1]"};

    if (strncmp(url, "https://", 8) == 0)
        return url[8] != '\0';
    for (size_t i = 0; i < sizeof(here) / sizeof(here[0]); i++) {
        size_t bytes = strlen(here[i]);

        if (strncmp(url, here[i], bytes) == 0 &&
            (url[bytes] == '\0' || strchr(":/", url[bytes]) != NULL))
            return true;
    }
    return false;
}
