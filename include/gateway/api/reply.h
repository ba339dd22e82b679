#ifndef PENSTOCK_GATEWAY_API_REPLY_H
#define PENSTOCK_GATEWAY_API_REPLY_H

#include "http_server.h"
#include "wire_format.h"

/* What every API answer says beside its body: the official clients act on some of it. One place for
 * both roles, so that an answer says the same whoever made it. Pure: any thread. */

/* Of every answer on an API's listener (http_listener_options). An answer that was passed on keeps
 * those that it came with. */
#define API_TIME_HEADER "openai-processing-ms"
extern const struct http_header api_answer_headers[];
extern const size_t api_answer_header_count;

/* Headers of an error, with the memory of their texts. */
#define API_ERROR_HEADERS_MAX 6u
struct api_error_headers {
    struct http_header items[API_ERROR_HEADERS_MAX];
    size_t count;
    char seconds[24], milliseconds[24];
};
/* x-should-retry always; retry-after and retry-after-ms where the error says when; allow and
 * www-authenticate where HTTP wants them; the request's id where the format has its own name for
 * it. `error` and `request` are borrowed with the result. */
void api_error_headers_make(const struct api_error *error, const struct wire_format *format,
                            const http_request *request, struct api_error_headers *out);

/* False: the body is said to be something else than JSON, and `error` is complete (415). A client
 * that says nothing is believed. */
bool api_check_content_type(const http_request *request, struct api_error *error);

/* 404 and 405 for a path or method that there is not. `allow` is static text: "GET, HEAD". */
void api_error_set_unknown_path(struct api_error *error, const http_request *request);
void api_error_set_method(struct api_error *error, const http_request *request, const char *allow);

#endif
