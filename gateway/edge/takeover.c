#include "takeover.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "config.h"
#include "control.h"
#include "identity.h"
#include "log.h"
#include "memory.h"
#include "run_directory.h"
#include "settings.h"

#define OFFER_WAIT_MS 10000 /* the old gateway sends without waiting for anything */
#define LOOK_MS       20

int takeover_socket(void)
{
    const char *text = getenv(HANDOVER_VARIABLE);
    int socket = text != NULL ? (int)strtol(text, NULL, 10) : -1;

    (void)unsetenv(HANDOVER_VARIABLE); /* replicas are not meant */
    if (socket > STDERR_FILENO && fcntl(socket, F_SETFD, FD_CLOEXEC) == 0)
        return socket;
    return -1;
}

/* --- the offer --- */

/* STATUS_IO: it is longer than a gateway of this protocol could have made it. */
static status text_take(char *out, size_t bytes, const char *text)
{
    size_t length = strlen(text);

    if (length >= bytes)
        return STATUS_IO;
    memcpy(out, text, length + 1);
    return STATUS_OK;
}

static status hello_take(struct takeover *takeover, const struct handover_message *message,
                         struct error_note *note)
{
    if (message->kind != HANDOVER_HELLO || message->numbers[0] != HANDOVER_PROTOCOL) {
        error_note_set(note,
                       "the running gateway (version %s) hands over in another way; stop it and "
                       "start this one",
                       message->kind == HANDOVER_HELLO ? message->texts[1] : "unknown");
        return STATUS_UNSUPPORTED;
    }
    takeover->epoch = message->numbers[1];
    takeover->run_directory_is_ours = message->numbers[2] != 0;
    takeover->keeper = (int32_t)message->numbers[3];
    log_info("gateway/edge", "taking over from version %s", message->texts[1]);
    return text_take(takeover->run_directory, sizeof(takeover->run_directory), message->texts[0]);
}

static status listener_take(struct takeover *takeover, const struct handover_message *message,
                            const int *descriptors, uint32_t count)
{
    struct takeover_listener *listener = &takeover->listeners[takeover->listener_count];

    if (takeover->listener_count == TAKEOVER_LISTENERS_MAX)
        return STATUS_IO;
    memcpy(listener->descriptors, descriptors, count * sizeof(int));
    listener->count = count;
    takeover->listener_count++;
    return text_take(listener->address, sizeof(listener->address), message->texts[0]);
}

static status replica_take(struct takeover *takeover, const struct handover_message *message,
                           const int *descriptors, uint32_t count)
{
    struct takeover_replica *rows, *row;

    if (count != 2 || takeover->replica_count == TAKEOVER_REPLICAS_MAX)
        return STATUS_IO;
    rows = memory_resize(takeover->replicas, (takeover->replica_count + 1) * sizeof(rows[0]));
    if (rows == NULL)
        return STATUS_NO_MEMORY;
    takeover->replicas = rows;
    row = &rows[takeover->replica_count++];
    *row = (struct takeover_replica){.model_index = message->numbers[0],
                                     .index = message->numbers[1],
                                     .process = {.uid = message->sizes[0],
                                                 .pid = (int32_t)message->numbers[2],
                                                 .pid_fd = descriptors[0],
                                                 .lifeline_fd = descriptors[1],
                                                 .memory_bytes = message->sizes[1],
                                                 .compute_milli = message->numbers[3]}};
    if (text_take(row->model, sizeof(row->model), message->texts[0]) != STATUS_OK)
        return STATUS_IO;
    if (text_take(row->process.slice, sizeof(row->process.slice), message->texts[2]) != STATUS_OK)
        return STATUS_IO;
    return text_take(row->address, sizeof(row->address), message->texts[1]);
}

/* Of a model that is no more: dropped. */
static status adapter_take(struct edge *edge, const struct config *config,
                           const struct handover_message *message)
{
    int32_t model = config_model_find(config, text_slice_of(message->texts[0]));
    struct config_runtime_adapter row = {.name = message->texts[1], .path = message->texts[2]};

    if (model < 0)
        return STATUS_OK;
    row.model = config_model_at(config, (uint32_t)model)->name;
    return runtime_adapters_add(&edge->adapters, &row);
}

static status message_take(struct takeover *takeover, struct edge *edge,
                           const struct config *config, const struct handover_message *message,
                           const int *descriptors, uint32_t count)
{
    switch ((enum handover_kind)message->kind) {
    case HANDOVER_LISTENER:
        return listener_take(takeover, message, descriptors, count);
    case HANDOVER_REPLICA:
        return replica_take(takeover, message, descriptors, count);
    case HANDOVER_ADAPTER:
        return adapter_take(edge, config, message);
    case HANDOVER_END:
        return STATUS_OK;
    default:
        return STATUS_IO;
    }
}

static status offer_read(struct takeover *takeover, struct edge *edge, const struct config *config,
                         struct handover_message *message, struct error_note *note)
{
    int descriptors[HANDOVER_DESCRIPTORS_MAX];
    uint32_t count = 0;
    status result = handover_receive(takeover->socket, OFFER_WAIT_MS, message, descriptors, &count);

    if (result == STATUS_OK)
        result = hello_take(takeover, message, note);
    while (result == STATUS_OK && message->kind != HANDOVER_END) {
        result = handover_receive(takeover->socket, OFFER_WAIT_MS, message, descriptors, &count);
        if (result == STATUS_OK)
            result = message_take(takeover, edge, config, message, descriptors, count);
    }
    if (result != STATUS_OK && note->text[0] == '\0')
        error_note_set(note, "the running gateway's offer cannot be read (%s)",
                       status_name(result));
    return result;
}

status takeover_open(int socket, struct edge *edge, const struct config *config,
                     struct takeover **out, struct error_note *note)
{
    struct takeover *takeover = memory_allocate_array(1, sizeof(*takeover));
    struct handover_message *message = memory_allocate_array(1, sizeof(*message));
    status result = STATUS_NO_MEMORY;

    if (takeover != NULL)
        takeover->socket = socket;
    if (takeover != NULL && message != NULL)
        result = offer_read(takeover, edge, config, message, note);
    memory_release(message);
    if (result == STATUS_OK)
        *out = takeover;
    else
        takeover_close(takeover);
    return result;
}

void takeover_close(struct takeover *takeover)
{
    if (takeover == NULL)
        return;
    for (uint32_t i = 0; i < takeover->listener_count; i++) {
        for (uint32_t k = 0; k < takeover->listeners[i].count; k++)
            (void)close(takeover->listeners[i].descriptors[k]);
    }
    for (uint32_t i = 0; i < takeover->replica_count; i++) {
        if (takeover->replicas[i].process.pid_fd >= 0)
            (void)close(takeover->replicas[i].process.pid_fd);
        if (takeover->replicas[i].process.lifeline_fd >= 0)
            (void)close(takeover->replicas[i].process.lifeline_fd);
    }
    memory_release(takeover->replicas);
    (void)close(takeover->socket);
    memory_release(takeover);
}

/* --- what is of use --- */

struct comparison {
    struct takeover *takeover;
    bool is_all; /* something has changed that every replica reads */
};

/* "models[3].max_model_len": a key of one model; "server.": nothing that replicas read. */
static void difference_take(void *context, const char *key, const struct setting *row)
{
    struct comparison *comparison = context;
    struct takeover *takeover = comparison->takeover;
    unsigned index = 0;

    /* How many there are is no matter of each. */
    if (row->reload == RELOAD_LIVE || strncmp(key, "server.", strlen("server.")) == 0 ||
        strcmp(row->key, "replicas") == 0)
        return;
    if (sscanf(key, "models[%u]", &index) != 1) {
        comparison->is_all = true;
        return;
    }
    for (uint32_t i = 0; i < takeover->replica_count; i++) {
        if (takeover->replicas[i].model_index == index)
            takeover->replicas[i].is_adopted = false;
    }
}

/* A model that was added or taken away shows as a change of the list, not of its rows. */
static bool is_of(const struct takeover_replica *replica, const struct config *config)
{
    const struct config_model *model;

    if (replica->model_index >= config->models.count)
        return false;
    model = config_model_at(config, replica->model_index);
    return strcmp(model->name, replica->model) == 0 && config_model_is_local(model) &&
           replica->index < (uint32_t)config_model_slots(model);
}

void takeover_compare(struct takeover *takeover, const struct config *config,
                      const struct gateway_options *options)
{
    struct comparison comparison = {takeover, false};
    struct config_overrides overrides = options->overrides;
    struct settings_report report;
    struct config *old = NULL;
    char copy[160];

    run_directory_config_path(takeover->run_directory, copy, sizeof(copy));
    overrides.text_file = copy;
    if (config_load(options->config_file, &overrides, &old, &report) != STATUS_OK) {
        log_warn("gateway/edge", "the running gateway's config is none for this program: all "
                                 "replicas are started anew");
        return;
    }
    for (uint32_t i = 0; i < takeover->replica_count; i++)
        takeover->replicas[i].is_adopted = is_of(&takeover->replicas[i], config);
    settings_compare(config_table, old, config, difference_take, &comparison);
    for (uint32_t i = 0; comparison.is_all && i < takeover->replica_count; i++)
        takeover->replicas[i].is_adopted = false;
    config_destroy(old);
}

const struct takeover_listener *takeover_listener_find(const struct takeover *takeover,
                                                       const char *address)
{
    for (uint32_t i = 0; takeover != NULL && i < takeover->listener_count; i++) {
        if (strcmp(takeover->listeners[i].address, address) == 0)
            return &takeover->listeners[i];
    }
    return NULL;
}

struct takeover_replica *takeover_replica_find(struct takeover *takeover, uint32_t model_index,
                                               uint32_t index)
{
    for (uint32_t i = 0; takeover != NULL && i < takeover->replica_count; i++) {
        struct takeover_replica *replica = &takeover->replicas[i];

        if (replica->is_adopted && replica->model_index == model_index && replica->index == index)
            return replica;
    }
    return NULL;
}

/* --- the change --- */

static bool is_all_ready(const struct edge *edge)
{
    for (uint32_t id = 0; id < edge->replica_count; id++) {
        enum replica_state state = edge_replica_state(edge_replica_at(edge, id));

        if (state == REPLICA_PLACING || state == REPLICA_STARTING)
            return false;
    }
    return edge_is_ready(edge) && identity_is_ready(edge->identity);
}

/* STATUS_OK: it is gone, which leaves the place to us. */
static status old_look(const struct takeover *takeover, struct handover_message *message,
                       int wait_ms)
{
    status result = handover_receive(takeover->socket, wait_ms, message, NULL, NULL);

    if (result == STATUS_IO) {
        log_warn("gateway/edge", "the gateway before this one is gone; this one takes its place");
        message->kind = HANDOVER_GO;
        return STATUS_OK;
    }
    if (result == STATUS_OK && message->kind != HANDOVER_GO)
        return STATUS_IO;
    return result;
}

static bool end_is_asked(const sigset_t *signals)
{
    const struct timespec none = {0, 0};
    int number = sigtimedwait(signals, NULL, &none);

    return number == SIGTERM || number == SIGINT;
}

static status ready_say(const struct takeover *takeover, struct handover_message *message)
{
    status result = STATUS_OK;

    for (uint32_t i = 0; result == STATUS_OK && i < takeover->replica_count; i++) {
        const struct takeover_replica *replica = &takeover->replicas[i];

        if (!replica->is_adopted)
            continue;
        *message = (struct handover_message){
            .kind = HANDOVER_ADOPTED,
            .numbers = {replica->model_index, replica->index, (uint32_t)replica->process.pid, 0}};
        result = handover_send(takeover->socket, message, NULL, 0);
    }
    *message = (struct handover_message){.kind = HANDOVER_READY};
    return result == STATUS_OK ? handover_send(takeover->socket, message, NULL, 0) : result;
}

/* From ready to the word that it may begin. */
static status word_await(const struct takeover *takeover, const struct edge *edge,
                         const sigset_t *signals, struct handover_message *message)
{
    bool is_said = false;
    status result = STATUS_AGAIN;

    while (result == STATUS_AGAIN) {
        if (end_is_asked(signals))
            return STATUS_AGAIN;
        if (!is_said && is_all_ready(edge))
            is_said = ready_say(takeover, message) == STATUS_OK;
        result = old_look(takeover, message, LOOK_MS);
    }
    return result;
}

static void place_take(struct edge *edge)
{
    edge->has_place = true;
    for (uint32_t id = 0; id < edge->replica_count; id++)
        edge_replica_at(edge, id)->is_borrowed = false;
    control_own(edge->control);
}

status takeover_finish(struct takeover *takeover, struct edge *edge, const sigset_t *signals,
                       struct error_note *note)
{
    struct handover_message *message = memory_allocate_array(1, sizeof(*message));
    status result;

    if (message == NULL)
        return STATUS_NO_MEMORY;
    result = word_await(takeover, edge, signals, message);
    if (result == STATUS_OK) {
        place_take(edge);
        identity_own(edge->identity);
        http_server_accept(edge->server);
        *message = (struct handover_message){.kind = HANDOVER_TAKEN};
        if (handover_send(takeover->socket, message, NULL, 0) != STATUS_OK)
            log_warn("gateway/edge", "the gateway before this one has ended");
        log_info("gateway/edge", "has taken over");
    } else if (result == STATUS_IO) {
        error_note_set(note, "the running gateway has not handed over");
    }
    memory_release(message);
    return result;
}
