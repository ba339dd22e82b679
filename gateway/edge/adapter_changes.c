/* Changes of the adapters by clients
 *
 *   loop   parses the body, puts the change on a list, wakes main
 *   main   notes it where starting replicas are told (runtime_adapters.h), tells each replica of the model,
 *          and puts a config that has the adapter in force, by which requests find it
 *   loop   answers
 *
 * A replica that starts after the note reads the adapter from its command line; one that started before it is either ready,
 * and told here, or it is not, and the change is refused: so no replica is left out, whenever it dies. A replica that does
 * not answer is taken for one that will be started again.
 *
 * Main may wait: it only has signals to hear, and those that end the gateway end the waiting. */

#include "adapter_changes.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "clock.h"
#include "edge_audit.h"
#include "http_fetch.h"
#include "json.h"
#include "log.h"
#include "memory.h"
#include "openai.h"
#include "replica_call.h"
#include "reply.h"
#include "version_settings.h"
#include "wire_format.h"

#define AREA              "gateway/edge"
#define CALL_TIMEOUT_NS   (120 * NS_PER_SECOND) /* an adapter of gigabytes from a slow disk */
#define CALL_BYTES_MAX    (64u * 1024u)
#define ANSWER_BYTES_MAX  (1u << 20)
#define RETRY_STARTING_MS 1000u
#define ACTOR_BYTES       256u

struct adapter_change {
    struct http_message message; /* to the loop: it is made */
    struct adapter_change *next; /* list; guarded */
    http_loop *loop;
    struct edge_record *record; /* loop; NULL: the client has gone */
    struct api_adapter_request parsed;
    bool loads;
    char actor[ACTOR_BYTES];
    int code;             /* of the answer */
    struct buffer answer; /* a replica's; when code is not 0 */
    struct api_error error;
};

static void change_destroy(struct adapter_change *change)
{
    api_adapter_request_deinit(&change->parsed);
    buffer_deinit(&change->answer);
    memory_release(change);
}

/* --- loop --- */

static void answer(struct http_message *message, http_loop *loop)
{
    struct adapter_change *change = CONTAINER_OF(message, struct adapter_change, message);

    (void)loop;
    if (change->record != NULL && change->code != 0)
        edge_reply(change->record, change->code,
                   change->code == 200 ? "text/plain; charset=utf-8" : "application/json",
                   buffer_slice(&change->answer));
    else if (change->record != NULL)
        edge_reply_error(change->record, &change->error);
    change_destroy(change);
}

static void on_gone(http_request *request, void *context)
{
    (void)request;
    ((struct adapter_change *)context)->record = NULL;
}

/* False: the gateway ends. */
static bool hand_over(struct edge *edge, struct adapter_change *change)
{
    struct adapter_queue *queue = &edge->adapter_queue;
    bool is_open;

    pthread_mutex_lock(&queue->lock);
    is_open = queue->is_open;
    if (is_open) {
        *queue->tail = change;
        queue->tail = &change->next;
    }
    pthread_mutex_unlock(&queue->lock);
    if (is_open)
        (void)pthread_kill(queue->main, ADAPTER_CHANGES_SIGNAL);
    return is_open;
}

static void set_closing(struct api_error *error)
{
    api_error_set(error, 503, "server_error", "shutting_down", "", "The gateway is shutting down");
}

static void set_unaudited(struct api_error *error)
{
    api_error_set(error, 503, "server_error", "audit_log_failed", "",
                  "The audit log cannot be written, and without it nothing is changed");
}

static bool is_allowed(const struct config *config)
{
    for (uint32_t i = 0; i < config->models.count; i++) {
        if (config_model_at(config, i)->allow_runtime_lora_updating)
            return true;
    }
    return false;
}

static bool begin(struct edge_record *record, struct adapter_change *change)
{
    const struct config *config = config_store_get(&record->edge->configs)->config;
    const struct api_limits limits = {.json_depth_max = (uint32_t)config->limits.json_depth,
                                      .json_values_max = (uint32_t)config->limits.json_values};
    struct api_error *error = &change->error;

    if (!is_allowed(config)) {
        api_error_set(error, 404, "invalid_request_error", "not_found", "",
                      "Adapters cannot be changed at run time here; see "
                      "allow_runtime_lora_updating in the config.");
        return false;
    }
    if (!api_check_content_type(record->request, error) ||
        api_adapter_request_parse(http_request_body(record->request), &limits, change->loads,
                                  &change->parsed, error) != STATUS_OK)
        return false;
    http_request_on_gone(record->request, on_gone, change);
    if (hand_over(record->edge, change))
        return true;
    set_closing(error);
    return false;
}

static void start(struct edge_record *record, bool loads)
{
    struct adapter_change *change = memory_allocate_array(1, sizeof(*change));
    struct api_error error = {0};

    if (change == NULL) {
        api_error_from_status(&error, STATUS_NO_MEMORY, NULL);
        edge_reply_error(record, &error);
        return;
    }
    *change = (struct adapter_change){.message = {.run = answer},
                                      .loop = http_request_loop(record->request),
                                      .record = record,
                                      .loads = loads};
    (void)snprintf(change->actor, sizeof(change->actor), "%s%s%.*s", record->caller->key_id,
                   record->caller->key_id[0] != '\0' ? " at " : "",
                   (int)http_request_peer(record->request).bytes,
                   http_request_peer(record->request).data);
    buffer_init(&change->answer, ANSWER_BYTES_MAX);
    if (begin(record, change))
        return;
    error = change->error;
    http_request_on_gone(record->request, NULL, NULL);
    change_destroy(change);
    edge_reply_error(record, &error);
}

void answer_load_adapter(struct edge_record *record, struct text_slice rest)
{
    (void)rest;
    start(record, true);
}

void answer_unload_adapter(struct edge_record *record, struct text_slice rest)
{
    (void)rest;
    start(record, false);
}

/* --- main: what replicas are told --- */

static bool is_asked_to_end(const void *context)
{
    sigset_t pending;

    (void)context;
    return sigpending(&pending) == 0 &&
           (sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1);
}

/* The answer's status; 0: there was none. */
static int tell(struct edge *edge, const struct edge_replica *replica, bool loads,
                const struct api_adapter_request *wanted, struct buffer *answer)
{
    struct http_fetch fetch = {.timeout_ns = CALL_TIMEOUT_NS, .is_over = is_asked_to_end};
    struct error_note note = {""};
    struct buffer body;
    int code = 0;

    if (edge_replica_state(replica) == REPLICA_STOPPED) /* it will read it when it starts */
        return 0;
    buffer_init(&body, CALL_BYTES_MAX);
    buffer_append_byte(&body, '{');
    json_write_key(&body, "lora_name");
    json_write_text(&body, wanted->name);
    if (loads) {
        json_write_key(&body, "lora_path");
        json_write_text(&body, wanted->path);
    }
    buffer_append_byte(&body, '}');
    fetch.body = buffer_slice(&body);
    if (body.failed == STATUS_OK &&
        replica_call(edge, replica, loads ? "/v1/load_lora_adapter" : "/v1/unload_lora_adapter",
                     &fetch, &code, answer, &note) != STATUS_OK)
        code = 0;
    buffer_deinit(&body);
    if (code == 0)
        log_warn(AREA, "replica %s#%u did not answer a change of adapter %s: %s",
                 replica->model->name, replica->index, wanted->name, note.text);
    return code;
}

/* All replicas of the model unload it; those that have it not say so. */
static void take_back(struct edge *edge, const struct edge_model *model,
                      const struct api_adapter_request *wanted)
{
    for (uint32_t i = 0; i < model->replica_count; i++) {
        struct buffer unread;

        if (edge_replica_state(&model->replicas[i]) == REPLICA_STOPPED)
            continue;
        buffer_init(&unread, ANSWER_BYTES_MAX);
        (void)tell(edge, &model->replicas[i], false, wanted, &unread);
        buffer_deinit(&unread);
    }
}

/* True: all that answer have it; the answer of one is in the change. False: none has it, and the change says why. */
static bool load_everywhere(struct edge *edge, const struct edge_model *model,
                            struct adapter_change *change)
{
    for (uint32_t i = 0; i < model->replica_count; i++) {
        struct buffer text;
        int code;

        if (edge_replica_state(&model->replicas[i]) == REPLICA_STOPPED)
            continue;
        buffer_init(&text, ANSWER_BYTES_MAX);
        code = tell(edge, &model->replicas[i], true, &change->parsed, &text);
        if (code != 0 && (change->code == 0 || code != 200)) {
            change->code = code;
            buffer_clear(&change->answer);
            buffer_append(&change->answer, text.data, text.bytes);
        }
        buffer_deinit(&text);
        if (code != 0 && code != 200)
            break;
    }
    if (change->code == 200)
        return true;
    if (change->code == 0)
        api_error_set(&change->error, 503, "server_error", "replicas_silent", "",
                      "No replica of the model '%s' answered", model->name);
    take_back(edge, model, &change->parsed);
    return false;
}

/* --- main: the changes --- */

static bool all_ready(const struct edge_model *model, struct api_error *error)
{
    if (edge_ready_count(model) == atomic_load_explicit(&model->wanted, memory_order_relaxed))
        return true;
    api_error_set(error, 503, "server_error", "replicas_starting", "",
                  "Not all replicas of the model '%s' are ready: its adapters can be changed when "
                  "they are",
                  model->name);
    error->retry_after_ms = RETRY_STARTING_MS;
    return false;
}

/* What is in force, with the adapters as they are in the list by now. */
static bool put_in_force(struct edge *edge, const struct gateway_options *options,
                         struct api_error *error)
{
    struct settings_report report;
    struct config *config = NULL;
    status result = version_settings_load(edge, options, &config, &report);

    if (result == STATUS_OK)
        result = config_store_swap(&edge->configs, edge->server, config);
    if (result == STATUS_OK)
        return true;
    config_destroy(config);
    api_error_set(error, 500, "server_error", "config_failed", "", "%s",
                  report.error_count > 0 ? report.errors[0].text : status_name(result));
    return false;
}

/* The model that the client means; NULL: the error is set. */
static const struct edge_model *model_meant(const struct edge *edge, struct adapter_change *change)
{
    const struct config *config = config_store_get(&edge->configs)->config;
    const char *name = change->parsed.model;
    int32_t found = -1;

    if (name != NULL)
        found = config_model_find(config, text_slice_of(name));
    for (uint32_t i = 0; name == NULL && i < config->models.count; i++) {
        if (!config_model_at(config, i)->allow_runtime_lora_updating)
            continue;
        if (found >= 0) {
            api_error_set(&change->error, 400, "invalid_request_error",
                          "missing_required_parameter", "model",
                          "'model' is missing, and more than one model takes adapters");
            return NULL;
        }
        found = (int32_t)i;
    }
    if (found < 0) {
        api_error_set(&change->error, 404, "invalid_request_error", "model_not_found", "model",
                      "The model '%.256s' does not exist; see /v1/models", name);
        return NULL;
    }
    return &edge->models[found];
}

static void load(struct edge *edge, const struct gateway_options *options,
                 struct adapter_change *change)
{
    const struct config *config = config_store_get(&edge->configs)->config;
    const struct edge_model *model = model_meant(edge, change);
    struct api_error *error = &change->error;

    if (model == NULL)
        return;
    if (config_model_find(config, text_slice_of(change->parsed.name)) >= 0) {
        api_error_set(error, 400, "invalid_request_error", "invalid_value", "lora_name",
                      "There is a model or an adapter '%s' already.", change->parsed.name);
        return;
    }
    struct config_runtime_adapter row = {model->name, change->parsed.name, change->parsed.path};
    status noted = runtime_adapters_add(&edge->adapters, &row);
    if (noted == STATUS_TOO_LARGE)
        api_error_set(error, 400, "invalid_request_error", "too_many_adapters", "lora_name",
                      "The names and paths of all adapters that are loaded at run time have at "
                      "most %u bytes together.",
                      RUNTIME_ADAPTERS_BYTES_MAX);
    else if (noted != STATUS_OK)
        api_error_from_status(error, noted, NULL);
    if (noted != STATUS_OK)
        return;
    if (all_ready(model, error) && load_everywhere(edge, model, change)) {
        if (put_in_force(edge, options, error)) {
            log_info(AREA, "adapter %s of model %s: loaded from %s for a client", row.name,
                     row.model, row.path);
            return;
        }
        change->code = 0;
        take_back(edge, model, &change->parsed);
    }
    runtime_adapters_remove(&edge->adapters, row.name);
}

static void unload(struct edge *edge, const struct gateway_options *options,
                   struct adapter_change *change)
{
    const char *name = change->parsed.name;
    const struct config *config = config_store_get(&edge->configs)->config;
    const struct config_runtime_adapter *row = runtime_adapters_find(&edge->adapters, name);
    int32_t found = config_model_find(config, text_slice_of(name));
    struct api_error *error = &change->error;

    if (row == NULL) {
        bool is_known = found >= 0 && config_adapter_find(config_model_at(config, (uint32_t)found),
                                                          text_slice_of(name)) != NULL;
        api_error_set(error, is_known ? 400 : 404, "invalid_request_error",
                      is_known ? "invalid_value" : "not_found", "lora_name",
                      is_known ? "The lora adapter '%s' is the config's: it goes with a reload."
                               : "The lora adapter '%s' cannot be found.",
                      name);
        return;
    }
    const struct edge_model *model = &edge->models[found];
    struct config_runtime_adapter kept = {model->name, name, NULL};
    char path[API_TEXT_BYTES_MAX + 1];
    if (!all_ready(model, error))
        return;
    kept.path = memcpy(path, row->path, strlen(row->path) + 1);
    runtime_adapters_remove(&edge->adapters, name);
    if (!put_in_force(edge, options, error)) {
        if (runtime_adapters_add(&edge->adapters, &kept) != STATUS_OK)
            log_error(AREA, "adapter %s: a replica that starts will not have it", name);
        return;
    }
    take_back(edge, model, &change->parsed);
    log_info(AREA, "adapter %s of model %s: unloaded for a client", name, model->name);
    change->code = 200;
    buffer_append_format(&change->answer, "Success: LoRA adapter '%s' removed successfully.", name);
}

static struct adapter_change *take(struct adapter_queue *queue)
{
    struct adapter_change *change;

    pthread_mutex_lock(&queue->lock);
    change = queue->head;
    if (change != NULL)
        queue->head = change->next;
    if (queue->head == NULL)
        queue->tail = &queue->head;
    pthread_mutex_unlock(&queue->lock);
    return change;
}

void adapter_changes_open(struct edge *edge)
{
    struct adapter_queue *queue = &edge->adapter_queue;
    int rc = pthread_mutex_init(&queue->lock, NULL);

    CHECK(rc == 0);
    queue->main = pthread_self();
    queue->tail = &queue->head;
    queue->is_open = true;
}

/* Before it is tried: an attempt that fails stands there too. */
static bool change_audit(struct edge *edge, const struct adapter_change *change)
{
    const struct audit_event event = {
        change->actor, change->loads ? "adapter.load" : "adapter.unload", change->parsed.name,
        change->loads ? change->parsed.path : ""};

    return edge_audit(edge, &event);
}

void adapter_changes_make(struct edge *edge, const struct gateway_options *options)
{
    struct adapter_change *change;

    while ((change = take(&edge->adapter_queue)) != NULL) {
        if (!change_audit(edge, change))
            set_unaudited(&change->error);
        else if (change->loads)
            load(edge, options, change);
        else
            unload(edge, options, change);
        http_loop_send(change->loop, &change->message);
    }
}

void adapter_changes_close(struct edge *edge)
{
    struct adapter_queue *queue = &edge->adapter_queue;
    struct adapter_change *change;

    pthread_mutex_lock(&queue->lock);
    queue->is_open = false;
    pthread_mutex_unlock(&queue->lock);
    while ((change = take(queue)) != NULL) {
        set_closing(&change->error);
        http_loop_send(change->loop, &change->message);
    }
}
