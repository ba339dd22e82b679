#include "replica_call.h"

#include <string.h>

#include "check.h"
#include "join.h"

#define URL_BYTES_MAX 4096u

status replica_call(struct edge *edge, const struct edge_replica *replica, const char *path,
                    const struct http_fetch *fetch, int *code, struct buffer *answer,
                    struct error_note *note)
{
    struct replica_link *link = join_link(edge, replica);
    struct http_fetch local = *fetch;
    struct buffer url;
    status result;

    if (link != NULL) {
        result = http_remote_fetch(link->remote, path, fetch, code, answer, note);
        replica_link_release(link);
        return result;
    }
    CHECK(strncmp(replica->address, "unix:", 5) == 0);
    buffer_init(&url, URL_BYTES_MAX);
    buffer_append_text(&url, "http://replica");
    buffer_append_text(&url, path);
    local.url = url.data;
    local.unix_socket = replica->address + strlen("unix:");
    result = url.failed == STATUS_OK ? http_fetch(&local, code, answer, note) : url.failed;
    buffer_deinit(&url);
    return result;
}
