#ifndef PENSTOCK_BASE_HTTP_TRANSFER_H
#define PENSTOCK_BASE_HTTP_TRANSFER_H

#include <curl/curl.h>

#include "http_fetch.h"

/* What http_fetch and http_stream ask of the library alike. */

/* The lists that the library reads while it works. */
struct transfer_lists {
    struct curl_slist *headers, *connect_to;
};

/* STATUS_OK, STATUS_NO_MEMORY, STATUS_TOO_LARGE; the lists are freed by the caller in any case. */
NODISCARD status transfer_lists_make(const struct http_fetch *fetch, struct transfer_lists *lists);
void transfer_lists_free(struct transfer_lists *lists);

/* All but the timeouts and where the answer goes. `reason`: CURL_ERROR_SIZE bytes. */
void transfer_options_set(CURL *handle, const struct http_fetch *fetch,
                          const struct transfer_lists *lists, char *reason);

/* What the library's word means; `body`: where the answer went. */
status transfer_status(CURLcode result, const struct buffer *body, const char *reason,
                       struct error_note *note);

uint64_t transfer_retry_after(CURL *handle);

#endif
