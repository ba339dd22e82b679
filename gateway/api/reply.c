#include "reply.h"

#include <inttypes.h>
#include <stdio.h>
#include <strings.h>

#include "check.h"

/* The version of OpenAI's REST API that these bodies follow; it has had no other since. */
const struct http_header api_answer_headers[] = {{{"openai-version", 14}, {"2020-10-01", 10}}};
const size_t api_answer_header_count = ARRAY_COUNT(api_answer_headers);

/* Whether the same request may succeed when it is sent again. What fails inside fails again: the
 * same request gives the same numbers. Without this header clients repeat every 5xx. */
static bool is_worth_repeating(const struct api_error *error)
{
    if (error->is_final)
        return false;
    switch (error->http_status) {
    case 408:
    case 429:
    case 502:
    case 503:
    case 504:
        return true;
    default:
        return error->retry_after_ms > 0;
    }
}

static void add(struct api_error_headers *out, const char *name, const char *value)
{
    CHECK(out->count < API_ERROR_HEADERS_MAX);
    out->items[out->count++] = (struct http_header){text_slice_of(name), text_slice_of(value)};
}

void api_error_headers_make(const struct api_error *error, const struct wire_format *format,
                            const http_request *request, struct api_error_headers *out)
{
    out->count = 0;
    add(out, "x-should-retry", is_worth_repeating(error) ? "true" : "false");
    if (error->retry_after_ms > 0) {
        snprintf(out->seconds, sizeof out->seconds, "%" PRIu64,
                 (error->retry_after_ms + 999) / 1000);
        snprintf(out->milliseconds, sizeof out->milliseconds, "%" PRIu64, error->retry_after_ms);
        add(out, "retry-after", out->seconds);
        add(out, "retry-after-ms", out->milliseconds);
    }
    if (error->allow != NULL)
        add(out, "allow", error->allow);
    if (error->http_status == 401)
        add(out, "www-authenticate", "Bearer");
    if (format->request_id_header != NULL)
        add(out, format->request_id_header, http_request_id(request));
}

/* "application/json", or anything that ends in "+json" (RFC 6839), parameters left aside. */
static bool is_json(struct text_slice type)
{
    size_t bytes = 0;
    while (bytes < type.bytes && type.data[bytes] != ';' && type.data[bytes] != ' ')
        bytes++;
    const size_t json = sizeof "application/json" - 1, suffix = sizeof "+json" - 1;
    return (bytes == json && strncasecmp(type.data, "application/json", json) == 0) ||
           (bytes > suffix && strncasecmp(type.data + bytes - suffix, "+json", suffix) == 0);
}

bool api_check_content_type(const http_request *request, struct api_error *error)
{
    struct text_slice type = http_request_header(request, "content-type");
    if (type.bytes == 0 || is_json(type))
        return true;
    api_error_set(error, 415, "invalid_request_error", "unsupported_media_type", "",
                  "The body must be JSON with 'content-type: application/json', not '%.*s'.",
                  (int)(type.bytes < 64 ? type.bytes : 64), type.data);
    return false;
}

static int shown(struct text_slice text, size_t bytes_max)
{
    return (int)(text.bytes < bytes_max ? text.bytes : bytes_max);
}

void api_error_set_unknown_path(struct api_error *error, const http_request *request)
{
    struct text_slice method = http_request_method(request), path = http_request_path(request);
    api_error_set(error, 404, "invalid_request_error", "unknown_url", "",
                  "Unknown request URL: %.*s %.*s. Please check the URL for typos.",
                  shown(method, 32), method.data, shown(path, 512), path.data);
}

void api_error_set_method(struct api_error *error, const http_request *request, const char *allow)
{
    struct text_slice method = http_request_method(request), path = http_request_path(request);
    api_error_set(error, 405, "invalid_request_error", "method_not_allowed", "",
                  "Not allowed to %.*s %.*s; allowed: %s.", shown(method, 32), method.data,
                  shown(path, 512), path.data, allow);
    error->allow = allow;
}
