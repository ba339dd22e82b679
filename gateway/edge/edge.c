#include "edge.h"

#include <stdio.h>

#include "clock.h"
#include "wire_format.h"

#define ERROR_BODY_BYTES_MAX 16384u /* a message of 1,024 bytes, each escaped */

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
        if (edge_ready_count(&edge->models[i]) == 0)
            return false;
    }
    return !atomic_load_explicit(&edge->is_draining, memory_order_relaxed);
}

void edge_reply(struct edge_record *record, int status_code, const char *content_type,
                struct text_slice body)
{
    record->status_code = status_code;
    http_reply(record->request, status_code, NULL, 0, content_type, body);
}

void edge_reply_error(struct edge_record *record, const struct api_error *error)
{
    struct http_header headers[4];
    size_t count = 0;
    char seconds[24], milliseconds[24];
    struct buffer body;

    buffer_init(&body, ERROR_BODY_BYTES_MAX);
    record->format->error_write(&body, error, http_request_id(record->request));
    if (error->retry_after_ms > 0) {
        (void)snprintf(seconds, sizeof(seconds), "%llu",
                       (unsigned long long)(error->retry_after_ms + 999) / 1000);
        (void)snprintf(milliseconds, sizeof(milliseconds), "%llu",
                       (unsigned long long)error->retry_after_ms);
        headers[count++] =
            (struct http_header){text_slice_of("retry-after"), text_slice_of(seconds)};
        headers[count++] =
            (struct http_header){text_slice_of("retry-after-ms"), text_slice_of(milliseconds)};
    }
    if (record->format->request_id_header != NULL)
        headers[count++] = (struct http_header){text_slice_of(record->format->request_id_header),
                                                text_slice_of(http_request_id(record->request))};
    if (error->http_status == 401)
        headers[count++] =
            (struct http_header){text_slice_of("www-authenticate"), text_slice_of("Bearer")};
    record->status_code = error->http_status;
    http_reply(record->request, error->http_status, headers, count, "application/json",
               buffer_slice(&body));
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
