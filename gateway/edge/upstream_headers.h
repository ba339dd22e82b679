#ifndef PENSTOCK_EDGE_UPSTREAM_HEADERS_H
#define PENSTOCK_EDGE_UPSTREAM_HEADERS_H

#include "http_server.h"

/* Which headers cross the gateway. Towards a replica only those named here do, so nothing that a
 * client invents is ever believed by a replica; towards the client all do, but for those that
 * belong to one connection or that the server writes itself (RFC 9110, section 7.6.1). */

#define UPSTREAM_HEADER_COUNT_MAX 12u
#define UPSTREAM_HEADER_COUNT_OWN 4u
#define ANSWER_HEADER_COUNT_MAX   32u
#define ANSWER_HEADER_COUNT_OWN   4u /* that the gateway adds */

/* Fills `out` but for its last UPSTREAM_HEADER_COUNT_OWN places, which are the caller's; values are
 * borrowed from the request. `tenant` is copied into its memory; NULL: none. */
size_t upstream_headers_make(http_request *request, const char *tenant,
                             struct http_header out[UPSTREAM_HEADER_COUNT_MAX]);

/* The same for a server that is not ours, which is told nothing of the caller. */
size_t upstream_headers_make_foreign(http_request *request,
                                     struct http_header out[UPSTREAM_HEADER_COUNT_MAX]);

/* Copies what may pass into the request's memory, at most ANSWER_HEADER_COUNT_MAX, with room for
 * ANSWER_HEADER_COUNT_OWN more. Returns the count. Of a server that is not ours (`is_foreign`) only what clients act on does. */
size_t upstream_headers_copy(http_request *request, bool is_foreign,
                             const struct http_header *headers, size_t count,
                             struct http_header **out, const char **content_type);

/* Whether a header of a replica's answer (lower-case) may go to the client. */
bool upstream_header_passes(struct text_slice name);

#endif
