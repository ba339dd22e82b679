#include "http_remote.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "decimal.h"

static status refuse(struct error_note *note, const char *text, const char *why)
{
    error_note_set(note, "\"%.200s\" %s; write it like https://host/v1 or http://127.0.0.1:8000",
                   text, why);
    return STATUS_INVALID;
}

static bool is_host(const char *host, bool is_in_brackets)
{
    unsigned char number[16];

    if (is_in_brackets)
        return inet_pton(AF_INET6, host, number) == 1;
    for (const char *c = host; *c != '\0'; c++) {
        if (!isalnum((unsigned char)*c) && *c != '-' && *c != '.' && *c != '_')
            return false;
    }
    return host[0] != '\0' && host[0] != '-' && host[0] != '.';
}

static bool port_read(const char *text, size_t bytes, uint16_t *out)
{
    uint64_t port;

    if (bytes > 5 || !decimal_read((struct text_slice){text, bytes}, UINT16_MAX, &port))
        return false;
    *out = (uint16_t)port;
    return port > 0;
}

/* "host", "host:port", "[::1]:port". */
static bool authority_read(const char *text, size_t bytes, struct http_url *url)
{
    bool is_in_brackets = bytes > 0 && text[0] == '[';
    const char *end = text + bytes, *host_end, *rest;

    if (is_in_brackets) {
        text++;
        host_end = memchr(text, ']', (size_t)(end - text));
        if (host_end == NULL)
            return false;
        rest = host_end + 1;
    } else {
        host_end = memchr(text, ':', bytes);
        host_end = host_end != NULL ? host_end : end;
        rest = host_end;
    }
    if ((size_t)(host_end - text) >= sizeof(url->host))
        return false;
    memcpy(url->host, text, (size_t)(host_end - text));
    url->host[host_end - text] = '\0';
    if (!is_host(url->host, is_in_brackets))
        return false;
    return rest == end ||
           (*rest == ':' && port_read(rest + 1, (size_t)(end - rest - 1), &url->port));
}

static bool prefix_read(const char *text, struct http_url *url)
{
    size_t bytes = strlen(text);

    while (bytes > 0 && text[bytes - 1] == '/')
        bytes--;
    if (bytes >= sizeof(url->prefix))
        return false;
    for (size_t i = 0; i < bytes; i++) {
        if ((unsigned char)text[i] <= ' ' || (unsigned char)text[i] >= 0x7f ||
            strchr("?#\"<>\\^`{|}", text[i]) != NULL)
            return false;
    }
    memcpy(url->prefix, text, bytes);
    url->prefix[bytes] = '\0';
    return true;
}

status http_url_parse(const char *text, struct http_url *out, struct error_note *note)
{
    struct http_url url = {.is_tls = strncmp(text, "https://", 8) == 0};
    const char *authority = text + (url.is_tls ? 8 : 7), *path;
    unsigned char number[16];

    if (!url.is_tls && strncmp(text, "http://", 7) != 0)
        return refuse(note, text, "is no http or https URL");
    url.port = url.is_tls ? 443 : 80;
    path = authority + strcspn(authority, "/?#");
    if (memchr(authority, '@', (size_t)(path - authority)) != NULL)
        return refuse(note, "the URL", "has credentials in it: give api_key_file or api_key_env");
    if (!authority_read(authority, (size_t)(path - authority), &url))
        return refuse(note, text, "has no host that can be");
    if (!prefix_read(path, &url))
        return refuse(note, text, "has a path that cannot be");
    if (url.is_tls && (inet_pton(AF_INET, url.host, number) == 1 || strchr(url.host, ':') != NULL))
        return refuse(note, text, "has a number for a host, which no certificate is checked for");
    *out = url;
    return STATUS_OK;
}
