#include "answers.h"

#include "clock.h"
#include "control.h"
#include "json.h"
#include "openai_response.h"
#include "openapi.h"

#define ANSWER_BYTES_MAX (1u << 20)
#define ALIVE_LIMIT_NS                                                                             \
    (5 * NS_PER_SECOND) /* loops and the control thread turn at least every second */

/* adapter: NULL: the model itself, or an alias. */
static void model_write(const struct edge *edge, uint32_t index, const char *id,
                        const struct config_adapter *adapter, struct buffer *out)
{
    const struct config *config = config_store_get(&edge->configs)->config;
    const struct config_model *row = config_model_at(config, index);
    const struct edge_model *known = &edge->models[index];
    struct api_model model = {
        .id = id,
        .root = adapter != NULL ? adapter->path : row->name,
        .parent = adapter != NULL ? row->name : NULL,
        .created_s = edge->start_wall_ms / 1000,
        .context_max = atomic_load_explicit(&known->context_max, memory_order_relaxed),
        .capabilities = atomic_load_explicit(&known->capabilities, memory_order_relaxed),
    };

    if (model.context_max == 0)
        model.context_max = (uint32_t)row->max_model_len;
    api_model_write(out, &model);
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
        const struct config_adapter *adapters = model->adapters.items;

        if (!caller_may_use(record->caller, model->name))
            continue;
        json_write_comma(&out);
        model_write(record->edge, i, model->name, NULL, &out);
        for (uint32_t j = 0; j < model->aliases.count; j++) {
            json_write_comma(&out);
            model_write(record->edge, i, aliases[j], NULL, &out);
        }
        for (uint32_t j = 0; j < model->adapters.count; j++) {
            json_write_comma(&out);
            model_write(record->edge, i, adapters[j].name, &adapters[j], &out);
        }
    }
    buffer_append_text(&out, "]}");
    edge_reply_json(record, 200, &out);
}

void answer_model(struct edge_record *record, struct text_slice rest)
{
    const struct config *config = config_store_get(&record->edge->configs)->config;
    struct text_slice name = edge_percent_decode(record->request, rest);
    int32_t index = config_model_find(config, name);
    struct api_error error = {0};
    struct buffer out;

    if (index < 0 ||
        !caller_may_use(record->caller, config_model_at(config, (uint32_t)index)->name)) {
        api_error_set(&error, 404, "invalid_request_error", "model_not_found", "model",
                      "The model '%.*s' does not exist; see /v1/models",
                      (int)(name.bytes < 256 ? name.bytes : 256), name.data);
        edge_reply_error(record, &error);
        return;
    }
    buffer_init(&out, ANSWER_BYTES_MAX);
    model_write(record->edge, (uint32_t)index, name.data,
                config_adapter_find(config_model_at(config, (uint32_t)index), name), &out);
    edge_reply_json(record, 200, &out);
}

void answer_openapi(struct edge_record *record, struct text_slice rest)
{
    struct buffer out;

    (void)rest;
    buffer_init(&out, ANSWER_BYTES_MAX);
    api_openapi_write(API_GATEWAY, record->edge->models[0].name, &out);
    edge_reply_json(record, 200, &out);
}

/* This thread turns, or nobody would answer: what is looked at are the others. */
void answer_livez(struct edge_record *record, struct text_slice rest)
{
    uint64_t now_ns = clock_now_ns();
    bool is_alive = http_server_is_alive(record->edge->server, now_ns, ALIVE_LIMIT_NS) &&
                    control_is_alive(edge_control(record->edge), now_ns, ALIVE_LIMIT_NS);

    (void)rest;
    edge_reply(record, is_alive ? 200 : 503, "application/json",
               text_slice_of(is_alive ? "{\"status\":\"alive\"}" : "{\"status\":\"stuck\"}"));
}

static const char *model_state(const struct edge_model *model)
{
    enum replica_state best = REPLICA_STOPPED;

    if (edge_ready_count(model) > 0)
        return replica_state_name(REPLICA_READY);
    for (uint32_t i = 0; i < model->replica_count; i++) {
        enum replica_state state = edge_replica_state(&model->replicas[i]);

        if (state != REPLICA_STOPPED && (best == REPLICA_STOPPED || state != REPLICA_FAILED))
            best = state;
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
                             model_state(model), edge_ready_count(model),
                             model->replicas != NULL && model->replica_count > 0 &&
                                     model->replicas[0].upstream != NULL
                                 ? model->replica_count
                                 : atomic_load_explicit(&model->wanted, memory_order_relaxed));
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
