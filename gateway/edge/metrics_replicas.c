/* GET /metrics/replicas: where Prometheus finds the metrics of this gateway's replicas, as its http_sd_configs reads it; and GET
 * /metrics/replicas/{model}/{index}, which passes a replica's own page on: replicas listen on sockets of this machine or behind mutual
 * TLS, where nobody else comes. */
#include "metrics_replicas.h"

#include <stdio.h>
#include <string.h>

#include "check.h"
#include "edge.h"
#include "json.h"
#include "memory.h"
#include "openai.h"
#include "replica_question.h"

#define PATH              "/metrics/replicas/"
#define TARGETS_BYTES_MAX (16u << 20)
#define PAGE_BYTES_MAX    (8u << 20)
#define PATH_BYTES_MAX    4096u

/* --- where they are --- */

static void label_write(struct buffer *out, const char *name, const char *value)
{
    json_write_key(out, name);
    json_write_text(out, value);
}

/* A name as a part of a path. */
static void path_write(struct buffer *out, const struct edge_replica *replica)
{
    buffer_append_text(out, PATH);
    for (const char *c = replica->model->name; *c != '\0'; c++) {
        bool is_plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
                        (*c >= '0' && *c <= '9') || strchr("-._~/", *c) != NULL;

        if (is_plain)
            buffer_append_byte(out, *c);
        else
            buffer_append_format(out, "%%%02X", (unsigned)(unsigned char)*c);
    }
    buffer_append_format(out, "/%u", replica->index);
}

/* `host`: by which we were asked, and so are found. */
static void target_write(struct buffer *out, const struct edge_replica *replica,
                         struct text_slice host)
{
    struct buffer path;
    char index[16];

    (void)snprintf(index, sizeof(index), "%u", replica->index);
    buffer_init(&path, PATH_BYTES_MAX);
    path_write(&path, replica);
    if (path.failed != STATUS_OK) {
        buffer_deinit(&path); /* the next time that Prometheus asks there may be memory */
        return;
    }
    json_write_comma(out);
    buffer_append_text(out, "{\"targets\":[");
    json_write_string(out, host);
    buffer_append_text(out, "],\"labels\":{");
    label_write(out, "__metrics_path__", path.data);
    /* All have the same address, and an instance of their own. */
    json_write_key(out, "instance");
    json_write_text(out, path.data + strlen(PATH));
    label_write(out, "penstock_model", replica->model->name);
    label_write(out, "penstock_replica", index);
    buffer_append_text(out, "}}");
    buffer_deinit(&path);
}

void metrics_replicas_list(struct edge_record *record, struct text_slice rest)
{
    const struct edge *edge = record->edge;
    struct text_slice host = http_request_header(record->request, "host");
    struct buffer out;

    (void)rest;
    if (host.bytes == 0)
        host = text_slice_of(config_store_get(&record->edge->configs)->config->server.admin_listen);
    buffer_init(&out, TARGETS_BYTES_MAX);
    buffer_append_byte(&out, '[');
    for (uint32_t i = 0; i < edge->model_count; i++) {
        for (uint32_t j = 0; j < edge->models[i].replica_count; j++) {
            const struct edge_replica *replica = &edge->models[i].replicas[j];

            if (replica->upstream == NULL && edge_replica_state(replica) == REPLICA_READY)
                target_write(&out, replica, host);
        }
    }
    buffer_append_byte(&out, ']');
    edge_reply_json(record, 200, &out);
}

/* --- one of them --- */

struct page_question {
    struct replica_question asked;
    struct edge_record *record;
};

static void answered(struct replica_question *asked)
{
    struct page_question *question = CONTAINER_OF(asked, struct page_question, asked);
    struct edge_record *record = question->record;

    http_request_on_gone(record->request, NULL, NULL);
    if (asked->result == STATUS_OK)
        edge_reply(record, 200, metrics_content_type(METRICS_TEXT), buffer_slice(&asked->body));
    else
        edge_refuse(record, 502, "replica_lost", "The replica does not tell its metrics");
}

static void on_gone(http_request *request, void *context)
{
    (void)request;
    replica_question_cancel(&((struct page_question *)context)->asked);
}

/* "{model}/{index}"; a model's name may have slashes itself. NULL: there is none. */
static const struct edge_replica *replica_find(const struct edge *edge, struct text_slice name)
{
    uint32_t index = 0, digits = 0;

    while (name.bytes > 0 && name.data[name.bytes - 1 - digits] >= '0' &&
           name.data[name.bytes - 1 - digits] <= '9' && digits < name.bytes - 1)
        digits++;
    if (digits == 0 || digits > 6 || name.data[name.bytes - 1 - digits] != '/')
        return NULL;
    for (size_t i = name.bytes - digits; i < name.bytes; i++)
        index = index * 10 + (uint32_t)(name.data[i] - '0');
    name.bytes -= digits + 1;
    for (uint32_t i = 0; i < edge->model_count; i++) {
        if (text_slice_is(name, edge->models[i].name) && index < edge->models[i].replica_count)
            return &edge->models[i].replicas[index];
    }
    return NULL;
}

void metrics_replicas_page(struct edge_record *record, struct text_slice rest)
{
    struct edge_loop *loop = http_loop_get(http_request_loop(record->request), EDGE_LOOP_SLOT);
    const struct edge_replica *replica =
        replica_find(record->edge, edge_percent_decode(record->request, rest));
    struct page_question *question = http_request_allocate(record->request, sizeof(*question));
    status result;

    *question = (struct page_question){.asked.answered = answered, .record = record};
    if (replica == NULL) {
        edge_refuse(record, 404, "not_found", "There is no such replica; see /metrics/replicas");
        return;
    }
    http_request_on_gone(record->request, on_gone, question);
    result = replica_question_ask(&question->asked, loop, replica, "/metrics", PAGE_BYTES_MAX);
    if (result == STATUS_OK)
        return;
    http_request_on_gone(record->request, NULL, NULL);
    if (result == STATUS_NOT_FOUND)
        edge_refuse(
            record, 404, "not_found",
            "The replica is not ready, or it is a server of its own; see /metrics/replicas");
    else
        edge_refuse(record, 503, "overloaded", "The gateway has no room for another request");
}
