/* The small routes: health, version, metrics, models. They cost next to nothing and tell what is.
 */

#include "replica.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "hex.h"
#include "openapi.h"

#define METRICS_BYTES_MAX (16u * 1024u * 1024u)
#define PROBE_BYTES_MAX   (256u * 1024u)
/* 1024 adapters with a path of 4 KiB, half of it escaped, and the model's own names */
#define MODELS_BYTES_MAX (8u * 1024u * 1024u)

enum replica_phase replica_phase(const struct replica *replica)
{
    return (enum replica_phase)atomic_load_explicit(&replica->phase, memory_order_acquire);
}

bool replica_is_alive(const struct replica *replica)
{
    uint64_t now_ns = clock_now_ns();
    uint64_t limit_ns = replica->config->supervise.heartbeat_timeout_ns;
    if (!http_server_is_alive(replica->http, now_ns, limit_ns))
        return false;
    if (replica_phase(replica) == REPLICA_LOADING)
        return true;
    return replica->engine != NULL ? engine_is_alive(replica->engine, now_ns, limit_ns)
                                   : encoder_is_alive(replica->encoder, now_ns, limit_ns);
}

static const char *readiness(const struct replica *replica)
{
    switch (replica_phase(replica)) {
    case REPLICA_LOADING:
        return "loading";
    case REPLICA_READY:
        if (!replica_is_alive(replica))
            return "stuck";
        return replica_is_asleep(replica) ? "asleep" : "ready";
    case REPLICA_DRAINING:
    case REPLICA_CLOSING:
        break;
    }
    return "draining";
}

static void reply_status(http_request *request, int http_status, const char *text)
{
    struct buffer body;
    buffer_init(&body, PROBE_BYTES_MAX);
    buffer_append_text(&body, "{\"status\":");
    json_write_text(&body, text);
    buffer_append_byte(&body, '}');
    reply_json(request, http_status, &body);
    buffer_deinit(&body);
}

void probe_live(struct replica *replica, http_request *request)
{
    bool alive = replica_is_alive(replica);
    reply_status(request, alive ? 200 : 503, alive ? "alive" : "stuck");
}

uint32_t replica_capabilities(const struct replica *replica)
{
    uint32_t bits =
        API_CAN_COMPLETE | API_CAN_STRUCTURE | API_CAN_EMBED | API_CAN_RERANK | API_CAN_SCORE;
    if (replica->engine == NULL) {
        bool has_classes = encoder_get_info(replica->encoder)->class_count > 0;
        return API_CAN_RERANK | API_CAN_SCORE | (has_classes ? 0 : API_CAN_EMBED);
    }
    if (engine_get_chat_template(replica->engine) != NULL)
        bits |= API_CAN_CHAT | (replica->limits.hides_calls ? 0 : API_CAN_CALL_TOOLS);
    if (engine_get_fim_tokens(replica->engine) != NULL)
        bits |= API_CAN_INFILL;
    return bits;
}

/* The header tells a gateway what it serves (replica_probe.c). */
void probe_ready(struct replica *replica, http_request *request)
{
    const char *state = readiness(replica);
    char facts[64];
    struct http_header header;
    struct buffer body;
    bool is_ready = strcmp(state, "ready") == 0;
    buffer_init(&body, PROBE_BYTES_MAX);
    buffer_append_format(&body, "{\"status\":\"%s\"}", state);
    if (is_ready) {
        snprintf(facts, sizeof facts, "context=%u, capabilities=%u", replica_context_max(replica),
                 replica_capabilities(replica));
        header = (struct http_header){text_slice_of("x-penstock-model"), text_slice_of(facts)};
    }
    http_reply(request, is_ready ? 200 : 503, &header, is_ready ? 1 : 0, "application/json",
               buffer_slice(&body));
    buffer_deinit(&body);
}

static void write_figures(const struct replica *replica, struct buffer *body)
{
    if (replica->engine != NULL) {
        struct engine_stats stats;
        engine_get_stats(replica->engine, &stats);
        buffer_append_format(body,
                             ",\"running\":%u,\"waiting\":%u,\"blocks_total\":%u,"
                             "\"blocks_free\":%u,\"step_ms\":",
                             stats.running, stats.waiting, stats.blocks_total, stats.blocks_free);
        json_write_double(body, (double)stats.step_ms);
        return;
    }
    struct encoder_stats stats;
    encoder_get_stats(replica->encoder, &stats);
    buffer_append_format(body, ",\"running\":%u,\"waiting\":%u,\"pass_ms\":", stats.running,
                         stats.waiting);
    json_write_double(body, (double)stats.pass_ms);
}

/* Readiness with figures, for people. */
void probe_health(struct replica *replica, http_request *request)
{
    const char *state = readiness(replica);
    struct buffer body;
    buffer_init(&body, PROBE_BYTES_MAX);
    buffer_append_text(&body, "{\"status\":");
    json_write_text(&body, state);
    json_write_key(&body, "model");
    json_write_text(&body, replica->model->name);
    if (replica_phase(replica) != REPLICA_LOADING) {
        json_write_key(&body, "backend");
        json_write_text(&body, replica_backend(replica));
        write_figures(replica, &body);
        json_write_key(&body, "start_seconds");
        start_moments_write(&replica->start, &body);
    }
    buffer_append_byte(&body, '}');
    reply_json(request, strcmp(state, "ready") == 0 ? 200 : 503, &body);
    buffer_deinit(&body);
}

void probe_version(struct replica *replica, http_request *request)
{
    (void)replica;
    struct buffer body;
    buffer_init(&body, PROBE_BYTES_MAX);
    buffer_append_text(&body, "{\"version\":");
    json_write_text(&body, PENSTOCK_VERSION);
    buffer_append_byte(&body, '}');
    reply_json(request, 200, &body);
    buffer_deinit(&body);
}

void probe_metrics(struct replica *replica, http_request *request)
{
    struct buffer body;
    buffer_init(&body, METRICS_BYTES_MAX);
    enum metrics_format format = metrics_format_accepted(http_request_header(request, "accept"));
    metrics_write(replica->metrics, format, &body);
    http_reply(request, 200, NULL, 0, metrics_content_type(format), buffer_slice(&body));
    buffer_deinit(&body);
}

bool replica_is_model(const struct replica *replica, const char *name)
{
    const char *const *aliases = replica->model->aliases.items;
    if (strcmp(name, replica->model->name) == 0)
        return true;
    for (uint32_t i = 0; i < replica->model->aliases.count; i++)
        if (strcmp(name, aliases[i]) == 0)
            return true;
    return false;
}

void probe_openapi(struct replica *replica, http_request *request)
{
    struct buffer body;
    buffer_init(&body, PROBE_BYTES_MAX);
    api_openapi_write(API_REPLICA, replica->model->name, &body);
    reply_json(request, 200, &body);
    buffer_deinit(&body);
}

void probe_tokenizer_info(struct replica *replica, http_request *request)
{
    struct api_error error;
    struct buffer body;
    if (replica_phase(replica) == REPLICA_LOADING) {
        api_error_from_status(&error, STATUS_AGAIN, NULL);
        reply_error(request, &wire_format_chat, &error);
        return;
    }
    struct api_tokenizer_info info = {
        .vocabulary = tokenizer_token_count(replica_tokenizer(replica)),
        .context_max = replica_context_max(replica),
        .bos = replica->bos_text[0] != '\0' ? replica->bos_text : NULL,
        .eos = replica->eos_text[0] != '\0' ? replica->eos_text : NULL,
    };
    if (replica->engine != NULL)
        info.chat_template = engine_get_chat_template_text(replica->engine);
    buffer_init(&body, METRICS_BYTES_MAX);
    api_tokenizer_info_write(&body, &info);
    reply_json(request, 200, &body);
    buffer_deinit(&body);
}

static struct api_model model_named(const struct replica *replica, const char *name)
{
    bool is_loaded = replica_phase(replica) != REPLICA_LOADING;
    return (struct api_model){
        .id = name,
        .root = replica->model->name,
        .created_s = replica->created_s,
        .context_max =
            is_loaded ? replica_context_max(replica) : (uint32_t)replica->model->max_model_len,
        .capabilities = is_loaded ? replica_capabilities(replica) : 0,
    };
}

/* Writes the adapters that can be asked for: all, or the one of this name. */
struct adapter_writer {
    const struct replica *replica;
    struct buffer *body;
    const char *name; /* NULL: all */
    bool was_found;
};

static void write_adapter(void *context, const struct engine_adapter_info *info)
{
    struct adapter_writer *writer = context;
    if (writer->name != NULL && strcmp(info->name, writer->name) != 0)
        return;
    struct api_model model = model_named(writer->replica, info->name);
    model.root = info->folder;
    model.parent = writer->replica->model->name;
    writer->was_found = true;
    if (writer->name == NULL)
        json_write_comma(writer->body);
    api_model_write(writer->body, &model);
}

static bool write_adapters(const struct replica *replica, const char *name, struct buffer *body)
{
    struct adapter_writer writer = {.replica = replica, .body = body, .name = name};
    if (replica_phase(replica) != REPLICA_LOADING && replica->engine != NULL)
        engine_list_adapters(replica->engine, write_adapter, &writer);
    return writer.was_found;
}

void probe_models(struct replica *replica, http_request *request)
{
    const char *const *aliases = replica->model->aliases.items;
    struct buffer body;
    buffer_init(&body, MODELS_BYTES_MAX);
    buffer_append_text(&body, "{\"object\":\"list\",\"data\":[");
    struct api_model model = model_named(replica, replica->model->name);
    api_model_write(&body, &model);
    for (uint32_t i = 0; i < replica->model->aliases.count; i++) {
        model = model_named(replica, aliases[i]);
        json_write_comma(&body);
        api_model_write(&body, &model);
    }
    (void)write_adapters(replica, NULL, &body);
    buffer_append_text(&body, "]}");
    reply_json(request, 200, &body);
    buffer_deinit(&body);
}

/* Resolves %XX; false: too long, broken, or a NUL. */
static bool percent_decode(struct text_slice text, char *out, size_t out_bytes)
{
    size_t used = 0;
    for (size_t i = 0; i < text.bytes; i++) {
        char c = text.data[i];
        if (c == '%') {
            int high = i + 2 < text.bytes ? hex_digit_value(text.data[i + 1]) : -1;
            int low = i + 2 < text.bytes ? hex_digit_value(text.data[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (c == '\0' || used + 1 >= out_bytes)
            return false;
        out[used++] = c;
    }
    out[used] = '\0';
    return true;
}

void probe_model(struct replica *replica, http_request *request)
{
    struct text_slice path = http_request_path(request);
    size_t prefix = strlen("/v1/models/");
    char name[API_TEXT_BYTES_MAX];
    struct text_slice rest = {path.data + prefix, path.bytes - prefix};
    struct buffer body;
    buffer_init(&body, PROBE_BYTES_MAX);
    bool is_named = percent_decode(rest, name, sizeof name);
    if (is_named && replica_is_model(replica, name)) {
        struct api_model model = model_named(replica, name);
        api_model_write(&body, &model);
        reply_json(request, 200, &body);
    } else if (is_named && write_adapters(replica, name, &body)) {
        reply_json(request, 200, &body);
    } else {
        struct api_error error;
        api_error_set(&error, 404, "invalid_request_error", "model_not_found", "model",
                      "The model '%.*s' does not exist.",
                      (int)(rest.bytes < 256 ? rest.bytes : 256), rest.data);
        reply_error(request, &wire_format_chat, &error);
    }
    buffer_deinit(&body);
}
