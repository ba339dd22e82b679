/* LoRA adapters of the replica: those of the config, and those that clients bring where the config lets them. The engine keeps
 * the table; a worker looks a name up once for each request (job->adapter). Loading reads files, so it is a job of the
 * workers too, or the main thread's at a reload, and never a loop's. */

#include <stdio.h>
#include <string.h>

#include "job.h"
#include "log.h"
#include "replica_life.h"

#define AREA             "gateway/serving"
#define ANSWER_BYTES_MAX 1024u

static status load(struct replica *replica, const struct config_adapter *adapter,
                   struct error_note *note)
{
    status s = engine_load_adapter(replica->engine, adapter->name, adapter->path, note);
    if (s != STATUS_OK)
        error_note_prefix(note, "adapter %s", adapter->name);
    else
        log_info(AREA, "adapter %s: loaded from %s", adapter->name, adapter->path);
    return s;
}

/* "NAME=PATH" lines. What went away since then must not keep the replica from coming back. */
static void load_lines(struct replica *replica, const char *lines)
{
    while (*lines != '\0') {
        char name[API_ADAPTER_NAME_BYTES_MAX + 1], path[API_TEXT_BYTES_MAX + 1];
        size_t bytes = strcspn(lines, "\n"), name_bytes = strcspn(lines, "=\n");
        struct config_adapter adapter = {name, path};
        struct error_note note = {""};
        if (name_bytes < bytes && name_bytes < sizeof name && bytes - name_bytes <= sizeof path) {
            memcpy(name, lines, name_bytes);
            memcpy(path, lines + name_bytes + 1, bytes - name_bytes - 1);
            name[name_bytes] = path[bytes - name_bytes - 1] = '\0';
            if (load(replica, &adapter, &note) != STATUS_OK)
                log_error(AREA, "%s", note.text);
        }
        lines += bytes + (lines[bytes] == '\n');
    }
}

status replica_load_adapters(struct replica *replica, struct error_note *note)
{
    const struct config_adapter *adapters = replica->model->adapters.items;
    status s = STATUS_OK;
    if (replica->engine == NULL && config_adapters_max(replica->model) > 0) {
        error_note_set(note, "the model encodes, and takes no adapters");
        return STATUS_UNSUPPORTED;
    }
    for (uint32_t i = 0; s == STATUS_OK && i < replica->model->adapters.count; i++)
        s = load(replica, &adapters[i], note);
    if (s == STATUS_OK && replica->engine != NULL)
        load_lines(replica, replica->runtime_adapters);
    return s;
}

static bool is_in(const struct config_model *model, const struct config_adapter *adapter)
{
    const struct config_adapter *same = config_adapter_find(model, text_slice_of(adapter->name));
    return same != NULL && strcmp(same->path, adapter->path) == 0;
}

static bool is_loaded(const struct replica *replica, const char *name)
{
    engine_adapter *adapter = engine_find_adapter(replica->engine, name);
    engine_release_adapter(adapter);
    return adapter != NULL;
}

void replica_change_adapters(struct replica *replica, const struct config_model *before,
                             const struct config_model *after)
{
    const struct config_adapter *old = before->adapters.items, *wanted = after->adapters.items;
    for (uint32_t i = 0; i < before->adapters.count; i++)
        if (!is_in(after, &old[i]) &&
            engine_unload_adapter(replica->engine, old[i].name) == STATUS_OK)
            log_info(AREA, "adapter %s: unloaded", old[i].name);
    for (uint32_t i = 0; i < after->adapters.count; i++) {
        struct error_note note = {""};
        if (is_in(before, &wanted[i]) && is_loaded(replica, wanted[i].name))
            continue; /* one that could not be loaded the last time is tried again */
        if (load(replica, &wanted[i], &note) != STATUS_OK)
            log_error(AREA, "reload: %s", note.text);
    }
}

/* --- names --- */

bool job_find_model(struct job *job, const char *model, engine_adapter **adapter)
{
    engine_adapter *found = NULL;
    bool is_model = model == NULL || replica_is_model(job->replica, model);
    if (!is_model && job->replica->engine != NULL)
        found = engine_find_adapter(job->replica->engine, model);
    bool is_served = is_model || found != NULL;
    if (adapter != NULL)
        *adapter = found;
    else
        engine_release_adapter(found);
    if (is_served)
        return true;
    api_error_set(&job->error, 404, "invalid_request_error", "model_not_found", "model",
                  "The model '%.256s' does not exist.", model);
    return false;
}

/* --- /v1/load_lora_adapter, /v1/unload_lora_adapter --- */

/* The way of vLLM: without the permission there are no such paths. */
static bool is_allowed(struct job *job)
{
    if (job->replica->engine != NULL && job->replica->model->allow_runtime_lora_updating)
        return true;
    api_error_set(&job->error, 404, "invalid_request_error", "not_found", "",
                  "Adapters cannot be changed at run time here; see allow_runtime_lora_updating "
                  "in the config.");
    return false;
}

static void fail(struct job *job, int http_status, const char *code, const char *param,
                 const char *text)
{
    api_error_set(&job->error, http_status,
                  http_status == 500 ? "server_error" : "invalid_request_error", code, param, "%s",
                  text);
}

static status load_named(struct job *job, const struct api_adapter_request *parsed)
{
    struct error_note note = {""};
    status s = STATUS_INVALID;
    if (replica_is_model(job->replica, parsed->name)) {
        fail(job, 400, "invalid_value", "lora_name", "This is the name of the model itself.");
        return s;
    }
    s = engine_load_adapter(job->replica->engine, parsed->name, parsed->path, &note);
    if (s == STATUS_OK)
        log_info(AREA, "adapter %s: loaded from %s for a client", parsed->name, parsed->path);
    else if (s == STATUS_NOT_FOUND)
        fail(job, 404, "not_found", "lora_path", note.text);
    else if (s == STATUS_NO_MEMORY)
        api_error_from_status(&job->error, s, NULL);
    else if (s == STATUS_IO)
        fail(job, 500, "io_error", "lora_path", note.text);
    else
        fail(job, 400, s == STATUS_FULL ? "too_many_adapters" : "invalid_value", "lora_path",
             note.text);
    return s;
}

static status unload_named(struct job *job, const struct api_adapter_request *parsed)
{
    char text[API_ADAPTER_NAME_BYTES_MAX + 64];
    status s = engine_unload_adapter(job->replica->engine, parsed->name);
    if (s == STATUS_OK) {
        log_info(AREA, "adapter %s: unloaded for a client", parsed->name);
        return s;
    }
    (void)snprintf(text, sizeof text, "The lora adapter '%s' cannot be found.", parsed->name);
    fail(job, 404, "not_found", "lora_name", text);
    return s;
}

enum job_stage adapter_answer(struct job *job)
{
    struct api_adapter_request parsed;
    bool loads = job->kind == JOB_LOAD_ADAPTER;
    if (!is_allowed(job) ||
        api_adapter_request_parse(buffer_slice(&job->body), &job->replica->limits, loads, &parsed,
                                  &job->error) != STATUS_OK)
        return JOB_FAILED;
    status s = loads ? load_named(job, &parsed) : unload_named(job, &parsed);
    if (s == STATUS_OK) {
        buffer_deinit(&job->body);
        buffer_init(&job->body, ANSWER_BYTES_MAX);
        buffer_append_format(&job->body, "Success: LoRA adapter '%s' %s successfully.", parsed.name,
                             loads ? "added" : "removed");
    }
    api_adapter_request_deinit(&parsed);
    return s == STATUS_OK ? JOB_ANSWERED : JOB_FAILED;
}
