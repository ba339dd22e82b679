#ifndef PENSTOCK_GATEWAY_HTTP_HTTP1_HEAD_H
#define PENSTOCK_GATEWAY_HTTP_HTTP1_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http_server.h"

/* Strict HTTP/1.1 heads (RFC 9112), of requests and of answers, in place and without memory of its
 * own. Why not the library's parser: it takes bare LF, obs-fold, a duplicate Content-Length (the
 * first wins) and CL beside TE, and each of these has been used to make two servers read two
 * different requests from one stream. Whatever is not exactly the grammar is refused. */

#define HTTP1_METHOD_BYTES_MAX 32u
#define HTTP1_NO_LENGTH        UINT64_MAX

struct http1_head {
    struct text_slice method, path,
        query;         /* requests; path and query split, absolute-form reduced */
    int status_code;   /* answers */
    int minor_version; /* HTTP/1.x */
    struct http_header
        *headers; /* the caller's array; names lower-cased in place, values trimmed */
    size_t header_count;
    uint64_t content_length; /* or HTTP1_NO_LENGTH */
    bool is_chunked;
    bool is_keep_alive;
    bool expects_continue;
};

/* Looks for the empty line. `scanned` starts at 0 and remembers how far the search came. STATUS_OK
 * sets `head_bytes` (the empty line included); STATUS_AGAIN: not there yet; STATUS_INVALID: a line
 * feed without carriage return. */
NODISCARD status http1_head_find(const char *bytes, size_t count, size_t *scanned,
                                 size_t *head_bytes);

/* Parse a head of `head_bytes` bytes that http1_head_find accepted. STATUS_INVALID: `why` (static
 * text) tells; STATUS_TOO_LARGE: more than `header_count_max` fields; STATUS_UNSUPPORTED: a version
 * or transfer coding that we do not speak. The slices point into `bytes`. */
NODISCARD status http1_request_parse(char *bytes, size_t head_bytes, struct http_header *headers,
                                     size_t header_count_max, struct http1_head *out,
                                     const char **why);
NODISCARD status http1_response_parse(char *bytes, size_t head_bytes, struct http_header *headers,
                                      size_t header_count_max, struct http1_head *out,
                                      const char **why);

/* For those who write heads. */
bool http1_is_token(struct text_slice text);
bool http1_is_lower_case_token(struct text_slice text);
bool http1_is_field_value(struct text_slice text); /* no CR, LF, NUL or other control but tab */

#endif
