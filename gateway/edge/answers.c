#include "answers.h"

#include "clock.h"
#include "control.h"
#include "json.h"
#include "openai.h"

#define ANSWER_BYTES_MAX (1u << 20)
#define ALIVE_LIMIT_NS                                                                             \
    (5 * NS_PER_SECOND) /* loops and the control thread turn at least every second */

/* One entry of /v1/models, with vLLM's additions: `root` is the model behind an alias. */
static void model_write(const struct edge *edge, const struct config_model *model, const char *id,
                        struct buffer *out)
{
    buffer_append_byte(out, '{');
    json_write_key(out, "id");
    json_write_text(out, id);
    json_write_key(out, "object");
    json_write_text(out, "model");
    json_write_key(out, "created");
    buffer_append_u64(out, edge->start_wall_ms / 1000);
    json_write_key(out, "owned_by");
    json_write_text(out, "penstock");
    json_write_key(out, "root");
    json_write_text(out, model->name);
    json_write_key(out, "parent");
    json_write_text(out, NULL);
    if (model->max_model_len > 0) {
        json_write_key(out, "max_model_len");
        buffer_append_i64(out, model->max_model_len);
    }
    buffer_append_byte(out, '}');
}

void answer_models(struct edge_record *record, struct text_slice rest)
{
    const struct config *config = config_store_get(&record->edge->configs)->config;
    struct buffer out;

    (void)rest;
    buffer_init(&out, ANSWER_BYTES_MAX);
    buffer_append_text(&out, "{\"object\":\"list\",\"data\":[");
    for (uint32_t i = 0; i < config->models.count; i++) {
        const struct config_model *model = config_model_at(config, i);
        const char *const *aliases = model->aliases.items;

        json_write_comma(&out);
        model_write(record->edge, model, model->name, &out);
        for (uint32_t j = 0; j < model->aliases.count; j++) {
            json_write_comma(&out);
            model_write(record->edge, model, aliases[j], &out);
        }
    }
    buffer_append_text(&out, "]}");
    edge_reply_json(record, 200, &out);
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
        return (c | 0x20) - 'a' + 10;
    return -1;
}

/* Names with slashes come percent-encoded from the official client. */
static struct text_slice path_decode(http_request *request, struct text_slice text)
{
    char *out = http_request_allocate(request, text.bytes + 1);
    size_t bytes = 0;

    for (size_t i = 0; i < text.bytes; i++) {
        int high = text.data[i] == '%' && i + 2 < text.bytes ? hex_value(text.data[i + 1]) : -1;
        int low = high >= 0 ? hex_value(text.data[i + 2]) : -1;

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

void answer_model(struct edge_record *record, struct text_slice rest)
{
    const struct config *config = config_store_get(&record->edge->configs)->config;
    struct text_slice name = path_decode(record->request, rest);
    int32_t index = config_model_find(config, name);
    struct api_error error = {0};
    struct buffer out;

    if (index < 0) {
        api_error_set(&error, 404, "invalid_request_error", "model_not_found", "model",
                      "The model '%.*s' does not exist; see /v1/models",
                      (int)(name.bytes < 256 ? name.bytes : 256), name.data);
        edge_reply_error(record, &error);
        return;
    }
    buffer_init(&out, ANSWER_BYTES_MAX);
    model_write(record->edge, config_model_at(config, (uint32_t)index), name.data, &out);
    edge_reply_json(record, 200, &out);
}

/* This thread turns, or nobody would answer: what is looked at are the others. */
void answer_livez(struct edge_record *record, struct text_slice rest)
{
    uint64_t now_ns = clock_now_ns();
    bool is_alive = http_server_is_alive(record->edge->server, now_ns, ALIVE_LIMIT_NS) &&
                    control_is_alive(record->edge->control, now_ns, ALIVE_LIMIT_NS);

    (void)rest;
    edge_reply(record, is_alive ? 200 : 503, "application/json",
               text_slice_of(is_alive ? "{\"status\":\"alive\"}" : "{\"status\":\"stuck\"}"));
}

static const char *model_state(const struct edge_model *model)
{
    enum replica_state best = REPLICA_FAILED;

    if (edge_ready_count(model) > 0)
        return replica_state_name(REPLICA_READY);
    for (uint32_t i = 0; i < model->replica_count; i++) {
        if (edge_replica_state(&model->replicas[i]) != REPLICA_FAILED)
            best = edge_replica_state(&model->replicas[i]);
    }
    return replica_state_name(best);
}

void answer_readyz(struct edge_record *record, struct text_slice rest)
{
    const struct edge *edge = record->edge;
    bool is_ready = edge_is_ready(edge);
    struct buffer out;

    (void)rest;
    buffer_init(&out, ANSWER_BYTES_MAX);
    buffer_append_format(&out, "{\"status\":\"%s\",\"models\":{", is_ready ? "ready" : "not ready");
    for (uint32_t i = 0; i < edge->model_count; i++) {
        const struct edge_model *model = &edge->models[i];

        json_write_key(&out, model->name);
        buffer_append_format(&out, "{\"state\":\"%s\",\"ready\":%u,\"replicas\":%u}",
                             model_state(model), edge_ready_count(model), model->replica_count);
    }
    buffer_append_text(&out, "}}");
    edge_reply_json(record, is_ready ? 200 : 503, &out);
}

void answer_version(struct edge_record *record, struct text_slice rest)
{
    struct buffer out;

    (void)rest;
    buffer_init(&out, ANSWER_BYTES_MAX);
    buffer_append_byte(&out, '{');
    json_write_key(&out, "version");
    json_write_text(&out, record->edge->version);
    buffer_append_byte(&out, '}');
    edge_reply_json(record, 200, &out);
}
