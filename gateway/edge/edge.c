#include "edge.h"

#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "hex.h"
#include "reply.h"
#include "wire_format.h"

#define ERROR_BODY_BYTES_MAX 16384u /* a message of 1,024 bytes, each escaped */

const struct config *edge_version_config(const struct edge *edge,
                                         const struct edge_replica *replica)
{
    const struct config *config = model_versions_config(
        &replica->model->versions, atomic_load_explicit(&replica->version, memory_order_relaxed));

    return config != NULL ? config : edge->configs.first->config;
}

uint32_t edge_ready_count(const struct edge_model *model)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < model->replica_count; i++)
        count += edge_replica_state(&model->replicas[i]) == REPLICA_READY;
    return count;
}

bool edge_is_ready(const struct edge *edge)
{
    for (uint32_t i = 0; i < edge->model_count; i++) {
        const struct edge_model *model = &edge->models[i];

        /* A server that is not ours comes and goes without us. */
        if (model->replica_count > 0 && model->replicas[0].upstream == NULL &&
            !model->scales_from_zero && edge_ready_count(model) == 0)
            return false;
    }
    return !atomic_load_explicit(&edge->is_draining, memory_order_relaxed);
}

void edge_page_path(const struct edge_replica *replica, char out[EDGE_PAGE_PATH_BYTES])
{
    (void)snprintf(out, EDGE_PAGE_PATH_BYTES, "%s.page", replica->address + strlen("unix:"));
}

struct text_slice edge_percent_decode(http_request *request, struct text_slice text)
{
    char *out = http_request_allocate(request, text.bytes + 1);
    size_t bytes = 0;

    for (size_t i = 0; i < text.bytes; i++) {
        int high =
            text.data[i] == '%' && i + 2 < text.bytes ? hex_digit_value(text.data[i + 1]) : -1;
        int low = high >= 0 ? hex_digit_value(text.data[i + 2]) : -1;

        if (low >= 0) {
            out[bytes++] = (char)(high << 4 | low);
            i += 2;
        } else {
            out[bytes++] = text.data[i];
        }
    }
    out[bytes] = '\0';
    return (struct text_slice){out, bytes};
}

void edge_note_error(struct edge_record *record, const char *code)
{
    (void)snprintf(record->error_code, sizeof(record->error_code), "%s", code);
}

void edge_reply(struct edge_record *record, int status_code, const char *content_type,
                struct text_slice body)
{
    record->status_code = status_code;
    http_reply(record->request, status_code, NULL, 0, content_type, body);
}

void edge_refuse(struct edge_record *record, int http_status, const char *code, const char *text)
{
    struct api_error error = {0};

    api_error_set(&error, http_status, http_status < 500 ? "invalid_request_error" : "server_error",
                  code, "", "%s", text);
    edge_reply_error(record, &error);
}

void edge_reply_error(struct edge_record *record, const struct api_error *error)
{
    struct api_error_headers headers;
    struct buffer body;

    buffer_init(&body, ERROR_BODY_BYTES_MAX);
    record->format->error_write(&body, error, http_request_id(record->request));
    api_error_headers_make(error, record->format, record->request, &headers);
    record->status_code = error->http_status;
    edge_note_error(record, error->code);
    http_reply(record->request, error->http_status, headers.items, headers.count,
               "application/json", buffer_slice(&body));
    buffer_deinit(&body);
}

void edge_reply_json(struct edge_record *record, int status_code, struct buffer *json)
{
    struct api_error error = {0};

    if (json->failed == STATUS_OK) {
        edge_reply(record, status_code, "application/json", buffer_slice(json));
    } else {
        api_error_from_status(&error, json->failed, NULL);
        edge_reply_error(record, &error);
    }
    buffer_deinit(json);
}
