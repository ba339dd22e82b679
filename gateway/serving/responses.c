/* The responses API beside its answers: what is stored is listed, fetched, deleted and continued. */

#include "responses.h"

#include <stdio.h>
#include <string.h>

#include "check.h"
#include "clock.h"
#include "job.h"
#include "log.h"
#include "reply.h"

#define AREA             "gateway/serving"
#define ANSWER_BYTES_MAX (1024u * 1024u * 1024u)
#define ID_PREFIX        "resp_"

/* --- for requests --- */

static status history_find(void *context, struct text_slice id, struct buffer *out)
{
    struct job *job = context;
    response_store *store = job->replica->responses;
    const struct response_record *record =
        response_store_get(store, id, job->tenant_salt, clock_now_ns());
    if (record == NULL)
        return STATUS_NOT_FOUND;
    const struct text_slice parts[] = {record->context, record->input, record->output};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (out->bytes > 0 && parts[i].bytes > 0)
            buffer_append_byte(out, ',');
        buffer_append_slice(out, parts[i]);
    }
    response_store_release(store, record);
    return out->failed == STATUS_OK ? STATUS_OK : STATUS_NO_MEMORY;
}

/* The item of this id among those of one answer. */
static json_t *output_find(struct text_slice output, const char *id)
{
    struct buffer text;
    json_t *found = NULL, *item;
    size_t index;
    buffer_init(&text, SIZE_MAX / 2);
    buffer_append_byte(&text, '[');
    buffer_append_slice(&text, output);
    buffer_append_byte(&text, ']');
    json_t *items =
        text.failed == STATUS_OK ? json_loadb(text.data, text.bytes, JSON_ALLOW_NUL, NULL) : NULL;
    buffer_deinit(&text);
    json_array_foreach(items, index, item)
    {
        const char *own = json_string_value(json_object_get(item, "id"));
        if (found == NULL && own != NULL && strcmp(own, id) == 0)
            found = json_incref(item);
    }
    json_decref(items);
    return found;
}

/* An item's id is its answer's, with another prefix and four digits behind. */
static json_t *history_find_item(void *context, const char *id)
{
    struct job *job = context;
    const char *unique = strchr(id, '_');
    char name[64];
    size_t bytes = unique != NULL ? strlen(unique + 1) : 0;
    if (bytes <= 4 || bytes - 4 + sizeof ID_PREFIX > sizeof name)
        return NULL;
    snprintf(name, sizeof name, ID_PREFIX "%.*s", (int)(bytes - 4), unique + 1);
    response_store *store = job->replica->responses;
    const struct response_record *record =
        response_store_get(store, text_slice_of(name), job->tenant_salt, clock_now_ns());
    if (record == NULL)
        return NULL;
    json_t *found = output_find(record->output, id);
    response_store_release(store, record);
    return found;
}

struct api_history job_history(struct job *job)
{
    return (struct api_history){
        .context = job, .find = history_find, .find_item = history_find_item};
}

void job_store_response(struct job *job, const struct api_choice *choice,
                        const struct api_usage *usage)
{
    const struct api_responses *responses = job->parsed.responses;
    struct buffer response, output;
    if (job->format->record_write == NULL || !responses->is_stored)
        return;
    buffer_init(&response, ANSWER_BYTES_MAX);
    buffer_init(&output, ANSWER_BYTES_MAX);
    job->format->record_write(&job->answer, choice, usage, &response, &output);
    struct response_record record = {
        .response = buffer_slice(&response),
        .context = buffer_slice(&responses->context),
        .input = buffer_slice(&responses->input),
        .output = buffer_slice(&output),
    };
    status s = response.failed != STATUS_OK || output.failed != STATUS_OK
                   ? STATUS_NO_MEMORY
                   : response_store_put(job->replica->responses, job->id, job->tenant_salt, &record,
                                        clock_now_ns());
    if (s != STATUS_OK)
        log_warn(AREA, "response %s is not stored: %s", job->id, status_name(s));
    buffer_deinit(&response);
    buffer_deinit(&output);
}

/* --- routes --- */

/* The path behind "/v1/responses/": an id, and what may follow it. */
struct stored_path {
    struct text_slice id, rest;
};

static struct stored_path path_split(const http_request *request)
{
    struct text_slice tail = http_request_path(request);
    bool is_below = text_slice_skip(&tail, "/v1/responses/");
    CHECK(is_below);
    const char *slash = memchr(tail.data, '/', tail.bytes);
    size_t bytes = slash != NULL ? (size_t)(slash - tail.data) : tail.bytes;
    return (struct stored_path){{tail.data, bytes}, {tail.data + bytes, tail.bytes - bytes}};
}

static void reply_not_found(http_request *request, struct text_slice id)
{
    struct api_error error;
    api_error_set(&error, 404, "invalid_request_error", "response_not_found", "",
                  "Response with id '%.*s' not found: it was not stored, or is not any more.",
                  (int)(id.bytes < 64 ? id.bytes : 64), id.data);
    reply_error(request, &wire_format_responses, &error);
}

static void reply_unknown_path(http_request *request)
{
    struct api_error error;
    api_error_set_unknown_path(&error, request);
    reply_error(request, &wire_format_responses, &error);
}

static bool query_has(struct text_slice query, const char *word)
{
    return query.bytes > 0 && memmem(query.data, query.bytes, word, strlen(word)) != NULL;
}

static void reply_items(http_request *request, const struct response_record *record)
{
    struct api_error error;
    struct buffer body;
    buffer_init(&body, ANSWER_BYTES_MAX);
    if (api_responses_write_items(&body, record->input, http_request_query(request), &error) !=
        STATUS_OK) {
        reply_error(request, &wire_format_responses, &error);
    } else if (body.failed != STATUS_OK) {
        api_error_from_status(&error, STATUS_NO_MEMORY, NULL);
        reply_error(request, &wire_format_responses, &error);
    } else {
        reply_json(request, 200, &body);
    }
    buffer_deinit(&body);
}

void responses_get(struct replica *replica, http_request *request)
{
    struct stored_path path = path_split(request);
    struct api_error error;
    bool is_list = text_slice_is(path.rest, "/input_items");
    if (path.rest.bytes > 0 && !is_list) {
        reply_unknown_path(request);
        return;
    }
    if (query_has(http_request_query(request), "stream=true")) {
        api_error_set(&error, 400, "invalid_request_error", "unsupported_parameter", "stream",
                      "Unsupported parameter: 'stream'. A stored response is fetched whole.");
        reply_error(request, &wire_format_responses, &error);
        return;
    }
    const struct response_record *record = response_store_get(
        replica->responses, path.id, replica_request_tenant(replica, request), clock_now_ns());
    if (record == NULL) {
        reply_not_found(request, path.id);
        return;
    }
    if (is_list)
        reply_items(request, record);
    else
        http_reply(request, 200, NULL, 0, "application/json", record->response);
    response_store_release(replica->responses, record);
}

void responses_delete(struct replica *replica, http_request *request)
{
    struct stored_path path = path_split(request);
    struct buffer body;
    if (path.rest.bytes > 0) {
        reply_unknown_path(request);
        return;
    }
    if (!response_store_delete(replica->responses, path.id,
                               replica_request_tenant(replica, request), clock_now_ns())) {
        reply_not_found(request, path.id);
        return;
    }
    buffer_init(&body, 1024);
    buffer_append_text(&body, "{\"id\":");
    json_write_string(&body, path.id);
    buffer_append_text(&body, ",\"object\":\"response\",\"deleted\":true}");
    reply_json(request, 200, &body);
    buffer_deinit(&body);
}

/* Only answers that are made in the background can be cancelled by id; here there are none: who
 * waits for an answer cancels it by going. */
void responses_cancel(struct replica *replica, http_request *request)
{
    struct stored_path path = path_split(request);
    struct api_error error;
    if (!text_slice_is(path.rest, "/cancel")) {
        reply_unknown_path(request);
        return;
    }
    const struct response_record *record = response_store_get(
        replica->responses, path.id, replica_request_tenant(replica, request), clock_now_ns());
    if (record == NULL) {
        reply_not_found(request, path.id);
        return;
    }
    response_store_release(replica->responses, record);
    api_error_set(&error, 400, "invalid_request_error", "", "",
                  "Cannot cancel a response that was not made in the background.");
    reply_error(request, &wire_format_responses, &error);
}
