#ifndef PENSTOCK_BASE_HTTP_DOWNLOAD_H
#define PENSTOCK_BASE_HTTP_DOWNLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "buffer.h"

/* A GET whose answer may be larger than memory and is handed on as it comes: files of models. Redirections are followed (never
 * from https to http); what is secret goes to the first host only. Certificates are checked against the system's authorities; the
 * environment's proxies are used. */

#define HTTP_DOWNLOAD_TAG_BYTES  256u
#define HTTP_DOWNLOAD_LINK_BYTES 2048u

/* What the last answer's head says. */
struct http_download_head {
    int code;
    uint64_t begin;       /* of 206: where in the file the body begins */
    uint64_t total_bytes; /* of the whole file; UINT64_MAX: not told */
    char tag
        [HTTP_DOWNLOAD_TAG_BYTES]; /* ETag with its quotes, for If-Range; "": none, or a weak one */
    char next[HTTP_DOWNLOAD_LINK_BYTES]; /* of Link, the URL with rel="next"; "": none */
};

struct http_download {
    const char *url;    /* http:// or https:// */
    const char *bearer; /* a token for the URL's own host; NULL or "": none */
    uint64_t offset;    /* asks for what comes from here on; 0: for all of it */
    const char *
        if_range; /* with an offset: only if the file still has this tag, else all of it; NULL or "": in any case */
    uint64_t idle_ns; /* longest time without any byte */
    /* Once before the first byte of an answer of 200 or 206, also of one without a body, then for each piece. False ends it. */
    bool (*on_head)(void *context, const struct http_download_head *head);
    bool (*on_bytes)(void *context, const void *data, size_t bytes);
    void *context;
};

/* STATUS_OK with `head`: look at its code; of other codes than 200 and 206 `refusal` (initialised by the caller) gets the begin of the
 * body. Else the note says why: STATUS_CLOSED (no connection, or it broke off before the promised length), STATUS_TIMEOUT,
 * STATUS_DENIED (certificate), STATUS_CANCELLED (by a callback), STATUS_NO_MEMORY, STATUS_TOO_LARGE (the token). Any thread but a loop. */
NODISCARD status http_download(const struct http_download *download,
                               struct http_download_head *head, struct buffer *refusal,
                               struct error_note *note);

#endif
