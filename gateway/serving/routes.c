/* The table of routes, and how errors are answered. */

#include "replica.h"

#include <string.h>

#include "check.h"
#include "gateway_link_calls.h"
#include "reply.h"

struct route {
    const char *method, *path;
    bool is_prefix; /* the path is followed by a name */
    route_fn *run;
    const struct wire_format *format; /* of errors */
};

// clang-format off
static const struct route routes[] = {
    {"POST",   "/v1/chat/completions",       false, job_start_chat,            &wire_format_chat},
    {"POST",   "/v1/completions",            false, job_start_text,            &wire_format_text},
    {"POST",   "/v1/messages",               false, job_start_messages,        &wire_format_messages},
    {"POST",   "/v1/messages/count_tokens",  false, job_start_messages_count,  &wire_format_messages},
    {"POST",   "/v1/responses",              false, job_start_responses,       &wire_format_responses},
    {"POST",   "/v1/responses/input_tokens", false, job_start_responses_count, &wire_format_responses},
    {"GET",    "/v1/responses/",             true,  responses_get,             &wire_format_responses},
    {"DELETE", "/v1/responses/",             true,  responses_delete,          &wire_format_responses},
    {"POST",   "/v1/responses/",             true,  responses_cancel,          &wire_format_responses},
    {"POST",   "/v1/embeddings",             false, job_start_pooling,         &wire_format_text},
    {"POST",   "/rerank",                    false, job_start_pooling,         &wire_format_text},
    {"POST",   "/v1/rerank",                 false, job_start_pooling,         &wire_format_text},
    {"POST",   "/v2/rerank",                 false, job_start_pooling,         &wire_format_text},
    {"POST",   "/score",                     false, job_start_pooling,         &wire_format_text},
    {"POST",   "/v1/score",                  false, job_start_pooling,         &wire_format_text},
    {"GET",    "/v1/models",                 false, probe_models,              &wire_format_chat},
    {"GET",    "/v1/models/",                true,  probe_model,               &wire_format_chat},
    {"POST",   "/v1/load_lora_adapter",      false, job_start_load_adapter,    &wire_format_chat},
    {"POST",   "/v1/unload_lora_adapter",    false, job_start_unload_adapter,  &wire_format_chat},
    {"POST",   "/sleep",                     false, job_start_sleep,           &wire_format_chat},
    {"POST",   "/wake_up",                   false, job_start_wake,            &wire_format_chat},
    {"GET",    "/is_sleeping",               false, probe_sleeping,            &wire_format_chat},
    {"POST",   "/tokenize",                  false, job_start_tokenize,        &wire_format_chat},
    {"POST",   "/detokenize",                false, job_start_detokenize,      &wire_format_chat},
    {"GET",    "/tokenizer_info",            false, probe_tokenizer_info,      &wire_format_chat},
    {"GET",    "/openapi.json",              false, probe_openapi,             &wire_format_chat},
    {"GET",    "/livez",                     false, probe_live,                &wire_format_chat},
    {"GET",    "/readyz",                    false, probe_ready,               &wire_format_chat},
    {"GET",    "/health",                    false, probe_health,              &wire_format_chat},
    {"GET",    "/version",                   false, probe_version,             &wire_format_chat},
    {"GET",    "/flight",                    false, flight_get,                &wire_format_chat},
    {"GET",    "/stories/",                  true,  stories_get,               &wire_format_chat},
    {"GET",    "/metrics",                   false, probe_metrics,             &wire_format_chat},
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
    struct api_error_headers headers;
    struct buffer body;
    buffer_init(&body, 16384);
    format->error_write(&body, error, http_request_id(request));
    api_error_headers_make(error, format, request, &headers);
    http_reply(request, error->http_status, headers.items, headers.count, "application/json",
               buffer_slice(&body));
    buffer_deinit(&body);
}

static bool route_matches(const struct route *route, struct text_slice path)
{
    if (!route->is_prefix)
        return text_slice_is(path, route->path);
    return path.bytes > strlen(route->path) && text_slice_starts_with(path, route->path);
}

static bool method_matches(const struct route *route, struct text_slice method)
{
    bool is_get = strcmp(route->method, "GET") == 0;
    return text_slice_is(method, route->method) || (is_get && text_slice_is(method, "HEAD"));
}

static void route_run(const struct route *route, struct replica *replica, http_request *request)
{
    struct api_error error;
    if (strcmp(route->method, "POST") == 0 && !api_check_content_type(request, &error))
        reply_error(request, route->format, &error);
    else
        route->run(replica, request);
}

static void refuse_method(const struct route *route, http_request *request)
{
    struct api_error error;
    bool is_get = strcmp(route->method, "GET") == 0;
    api_error_set_method(&error, request, is_get ? "GET, HEAD" : "POST");
    reply_error(request, route->format, &error);
}

void replica_handle(http_request *request, void *context)
{
    struct replica *replica = context;
    struct text_slice path = http_request_path(request);
    struct api_error error;
    if (replica->link != NULL && !gateway_link_is_gateway(replica->link, request)) {
        api_error_set(&error, 401, "invalid_request_error", "not_the_gateway", "",
                      "This replica serves its gateway only.");
        reply_error(request, &wire_format_chat, &error);
        return;
    }
    if (replica_phase(replica) == REPLICA_CLOSING) {
        api_error_from_status(&error, STATUS_CLOSED, NULL);
        reply_error(request, &wire_format_chat, &error);
        return;
    }
    const struct route *other = NULL; /* of this path, with another method */
    for (size_t i = 0; i < ARRAY_COUNT(routes); i++) {
        if (!route_matches(&routes[i], path))
            continue;
        if (method_matches(&routes[i], http_request_method(request))) {
            route_run(&routes[i], replica, request);
            return;
        }
        other = other != NULL ? other : &routes[i];
    }
    if (other != NULL) {
        refuse_method(other, request);
        return;
    }
    api_error_set_unknown_path(&error, request);
    reply_error(request, &wire_format_chat, &error);
}
