/* The table of routes, and how errors are answered. */

#include "replica.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "clock.h"

struct route {
    const char *method, *path;
    bool is_prefix; /* the path is followed by a name */
    route_fn *run;
    const struct wire_format *format; /* of errors */
};

// clang-format off
static const struct route routes[] = {
    {"POST", "/v1/chat/completions",      false, job_start_chat,           &wire_format_chat},
    {"POST", "/v1/completions",           false, job_start_text,           &wire_format_text},
    {"POST", "/v1/messages",              false, job_start_messages,       &wire_format_messages},
    {"POST", "/v1/messages/count_tokens", false, job_start_messages_count, &wire_format_messages},
    {"GET",  "/v1/models",                false, probe_models,             &wire_format_chat},
    {"GET",  "/v1/models/",               true,  probe_model,              &wire_format_chat},
    {"POST", "/tokenize",                 false, job_start_tokenize,       &wire_format_chat},
    {"POST", "/detokenize",               false, job_start_detokenize,     &wire_format_chat},
    {"GET",  "/livez",                    false, probe_live,               &wire_format_chat},
    {"GET",  "/readyz",                   false, probe_ready,              &wire_format_chat},
    {"GET",  "/health",                   false, probe_health,             &wire_format_chat},
    {"GET",  "/version",                  false, probe_version,            &wire_format_chat},
    {"GET",  "/metrics",                  false, probe_metrics,            &wire_format_chat},
};
// clang-format on

void reply_json(http_request *request, int http_status, const struct buffer *body)
{
    http_reply(request, http_status, NULL, 0, "application/json", buffer_slice(body));
}

bool reply_id_header(const http_request *request, const struct wire_format *format,
                     struct http_header *out)
{
    if (format->request_id_header == NULL)
        return false;
    *out = (struct http_header){text_slice_of(format->request_id_header),
                                text_slice_of(http_request_id(request))};
    return true;
}

void reply_error(http_request *request, const struct wire_format *format,
                 const struct api_error *error)
{
    char seconds[32], milliseconds[32];
    struct http_header headers[3];
    size_t count = 0;
    struct buffer body;
    buffer_init(&body, 16384);
    format->error_write(&body, error, http_request_id(request));
    if (error->retry_after_ms > 0) {
        snprintf(seconds, sizeof seconds, "%" PRIu64, (error->retry_after_ms + 999) / 1000);
        snprintf(milliseconds, sizeof milliseconds, "%" PRIu64, error->retry_after_ms);
        headers[count++] =
            (struct http_header){text_slice_of("retry-after"), text_slice_of(seconds)};
        headers[count++] =
            (struct http_header){text_slice_of("retry-after-ms"), text_slice_of(milliseconds)};
    }
    if (reply_id_header(request, format, &headers[count]))
        count++;
    http_reply(request, error->http_status, headers, count, "application/json",
               buffer_slice(&body));
    buffer_deinit(&body);
}

static bool route_matches(const struct route *route, struct text_slice path)
{
    size_t bytes = strlen(route->path);
    if (!route->is_prefix)
        return text_slice_is(path, route->path);
    return path.bytes > bytes && memcmp(path.data, route->path, bytes) == 0;
}

static void reply_method(http_request *request, const struct route *route)
{
    bool is_get = strcmp(route->method, "GET") == 0;
    struct http_header allow = {text_slice_of("allow"),
                                text_slice_of(is_get ? "GET, HEAD" : "POST")};
    struct api_error error;
    struct buffer body;
    api_error_set(&error, 405, "invalid_request_error", "method_not_allowed", "",
                  "Not allowed to %.*s here; allowed: %.*s.",
                  (int)http_request_method(request).bytes, http_request_method(request).data,
                  (int)allow.value.bytes, allow.value.data);
    buffer_init(&body, 16384);
    route->format->error_write(&body, &error, http_request_id(request));
    http_reply(request, 405, &allow, 1, "application/json", buffer_slice(&body));
    buffer_deinit(&body);
}

void replica_handle(http_request *request, void *context)
{
    struct replica *replica = context;
    struct text_slice method = http_request_method(request);
    struct text_slice path = http_request_path(request);
    struct api_error error;
    if (replica_phase(replica) == REPLICA_CLOSING) {
        api_error_from_status(&error, STATUS_CLOSED, NULL);
        reply_error(request, &wire_format_chat, &error);
        return;
    }
    for (size_t i = 0; i < ARRAY_COUNT(routes); i++) {
        if (!route_matches(&routes[i], path))
            continue;
        bool is_head = text_slice_is(method, "HEAD") && strcmp(routes[i].method, "GET") == 0;
        if (text_slice_is(method, routes[i].method) || is_head)
            routes[i].run(replica, request);
        else
            reply_method(request, &routes[i]);
        return;
    }
    api_error_set(&error, 404, "invalid_request_error", "unknown_url", "",
                  "Unknown request URL: %.*s %.*s. Please check the URL for typos.",
                  (int)(method.bytes < 32 ? method.bytes : 32), method.data,
                  (int)(path.bytes < 512 ? path.bytes : 512), path.data);
    reply_error(request, &wire_format_chat, &error);
}
