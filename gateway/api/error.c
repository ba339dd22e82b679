#include "openai.h"

#include <stdarg.h>
#include <stdio.h>

#include "check.h"

/* The one table status -> what a client is told. `retryable` ones carry a Retry-After, so that
 * clients wait as long as we say and not as long as they guess. */
struct error_row {
    int http_status;
    const char *type;
    const char *code;
    const char *message;
    uint64_t retry_after_ms;
};

#define RETRY_SOON_MS 1000u

static const struct error_row error_rows[STATUS_COUNT] = {
    [STATUS_OK] = {500, "server_error", "internal_error", "The server reported no error.", 0},
    [STATUS_AGAIN] = {503, "server_error", "unavailable", "Not ready yet; try again.",
                      RETRY_SOON_MS},
    [STATUS_FULL] = {429, "rate_limit_error", "overloaded",
                     "The queue is full; try again after the time in Retry-After.", RETRY_SOON_MS},
    [STATUS_NO_MEMORY] = {503, "server_error", "out_of_memory",
                          "Not enough memory for this request now; try again.", RETRY_SOON_MS},
    [STATUS_INVALID] = {400, "invalid_request_error", "invalid_value", "The request is invalid.",
                        0},
    [STATUS_NOT_FOUND] = {404, "invalid_request_error", "not_found", "There is no such thing.", 0},
    [STATUS_UNSUPPORTED] = {400, "invalid_request_error", "unsupported_parameter",
                            "This model or server cannot do that.", 0},
    [STATUS_TOO_LARGE] = {400, "invalid_request_error", "request_too_large",
                          "The request is over a limit.", 0},
    [STATUS_IO] = {500, "server_error", "internal_error", "The operating system reported an error.",
                   0},
    [STATUS_TIMEOUT] = {504, "server_error", "timeout", "The time for this request is over.", 0},
    [STATUS_CANCELLED] = {499, "invalid_request_error", "cancelled", "The request was cancelled.",
                          0},
    [STATUS_CLOSED] = {503, "server_error", "shutting_down",
                       "This server is shutting down; try again.", RETRY_SOON_MS},
    [STATUS_DENIED] = {401, "authentication_error", "invalid_api_key",
                       "The API key is missing or not known.", 0},
    [STATUS_INTERNAL] = {500, "server_error", "internal_error",
                         "The server failed while it worked on this request.", 0},
};

void api_error_set(struct api_error *error, int http_status, const char *type, const char *code,
                   const char *param, const char *format, ...)
{
    error->http_status = http_status;
    error->type = type;
    error->retry_after_ms = 0;
    error->is_final = false;
    error->allow = NULL;
    snprintf(error->code, sizeof error->code, "%s", code);
    snprintf(error->param, sizeof error->param, "%s", param);
    va_list args;
    va_start(args, format);
    vsnprintf(error->message, sizeof error->message, format, args);
    va_end(args);
}

void api_error_from_status(struct api_error *error, status s, const char *message)
{
    CHECK(s >= 0 && s < STATUS_COUNT);
    const struct error_row *row = &error_rows[s];
    api_error_set(error, row->http_status, row->type, row->code, "", "%s",
                  message != NULL ? message : row->message);
    error->retry_after_ms = row->retry_after_ms;
}

static void write_text_or_null(struct buffer *out, const char *name, const char *text)
{
    json_write_key(out, name);
    json_write_text(out, text[0] != '\0' ? text : NULL);
}

void api_error_write(const struct api_error *error, struct buffer *out)
{
    buffer_append_text(out, "{\"error\":{");
    json_write_key(out, "message");
    json_write_text(out, error->message);
    json_write_key(out, "type");
    json_write_text(out, error->type);
    write_text_or_null(out, "param", error->param);
    write_text_or_null(out, "code", error->code);
    buffer_append_text(out, "}}");
}
