#ifndef PENSTOCK_JOIN_WORLD_H
#define PENSTOCK_JOIN_WORLD_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "config.h"
#include "edge.h"
#include "edge_admission.h"
#include "join.h"
#include "memory.h"
#include "targets.h"

/* As much of a gateway as replicas on other machines need: a config, one model with its slots, a server whose loops can send, and
 * the listener where replicas register. What the control thread would hear is kept. */

#define WORLD_SLOTS 2u

struct join_world {
    struct edge edge;
    struct edge_model model;
    struct edge_replica slots[WORLD_SLOTS];
    char folder[32], file[64];
    struct join_sink sink;
    _Atomic uint64_t event_uid[WORLD_SLOTS];
    _Atomic uint32_t answered[WORLD_SLOTS], not_ready[WORLD_SLOTS];
};

static inline void world_event(void *context, uint32_t id, uint64_t uid, enum replica_event event)
{
    struct join_world *world = context;

    atomic_store(&world->event_uid[id], uid);
    atomic_fetch_add(event == REPLICA_ANSWERED ? &world->answered[id] : &world->not_ready[id], 1);
}

static inline void world_wake(struct http_message *message, http_loop *loop)
{
    struct edge_loop *state = CONTAINER_OF(message, struct edge_loop, wake);

    (void)loop;
    (void)atomic_exchange(&state->wake_is_sent, false);
    targets_prune(state);
}

static inline void world_loop_start(void *context, http_loop *loop)
{
    struct edge *edge = context;
    struct edge_loop *state = memory_allocate_array(1, sizeof(*state));

    CHECK(state != NULL);
    state->edge = edge;
    state->loop = loop;
    state->wake.run = world_wake;
    targets_create(state);
    http_loop_set(loop, EDGE_LOOP_SLOT, state);
}

static inline void world_answer(http_request *request, void *context)
{
    (void)context;
    http_reply(request, 404, NULL, 0, "text/plain", text_slice_of(""));
}

static inline void world_config(struct join_world *world, const char *text)
{
    struct config_overrides overrides = CONFIG_OVERRIDES_NONE;
    struct settings_report report;
    struct config *config = NULL;
    FILE *file = fopen(world->file, "we");

    CHECK(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
    overrides.is_elsewhere = true;
    if (config_load(world->file, &overrides, &config, &report) != STATUS_OK) {
        (void)fprintf(stderr, "%s\n", report.errors[0].text);
        abort();
    }
    CHECK(config_store_init(&world->edge.configs, config) == STATUS_OK);
}

static inline void world_slot(struct join_world *world, uint32_t index)
{
    struct edge_replica *slot = &world->slots[index];
    char path[EDGE_PAGE_PATH_BYTES];

    slot->id = slot->index = index;
    slot->model = &world->model;
    (void)snprintf(slot->address, sizeof(slot->address), "unix:%s/%u.sock", world->folder, index);
    edge_page_path(slot, path);
    CHECK(shared_page_create(path, &slot->page) == STATUS_OK);
}

/* `text`: the config's, with one model and pool.listen. */
static inline void world_open(struct join_world *world, const char *text)
{
    struct error_note note = {""};
    char address[64];

    memset(world, 0, sizeof(*world));
    (void)snprintf(world->folder, sizeof(world->folder), "/tmp/join_XXXXXX");
    CHECK(mkdtemp(world->folder) != NULL);
    (void)snprintf(world->file, sizeof(world->file), "%s/config.yaml", world->folder);
    world_config(world, text);
    world->edge.version = PENSTOCK_VERSION;
    world->edge.models = &world->model;
    world->edge.model_count = 1;
    world->edge.replica_count = world->model.replica_count = WORLD_SLOTS;
    world->model.name = config_model_at(world->edge.configs.first->config, 0)->name;
    world->model.replicas = world->slots;
    for (uint32_t i = 0; i < WORLD_SLOTS; i++)
        world_slot(world, i);
    runtime_adapters_init(&world->edge.adapters);
    (void)snprintf(address, sizeof(address), "unix:%s/api", world->folder);
    const struct http_listener_options listener = {.address = address, .handler = world_answer};
    const struct http_server_options options = {
        .loop_count = 1,
        .limits = config_http_limits(world->edge.configs.first->config),
        .listeners = &listener,
        .listener_count = 1};
    CHECK(http_server_create(&options, &world->edge.server, &note) == STATUS_OK);
    CHECK(http_server_start(world->edge.server, world_loop_start, &world->edge) == STATUS_OK);
    world->sink = (struct join_sink){world_event, world};
    if (join_open(&world->edge, world->edge.configs.first->config, false, &world->edge.join,
                  &note) != STATUS_OK) {
        (void)fprintf(stderr, "%s\n", note.text);
        abort();
    }
    CHECK(join_start(world->edge.join, &world->sink) == STATUS_OK);
}

static inline void world_loop_close(struct http_message *message, http_loop *loop)
{
    (void)loop;
    targets_close(CONTAINER_OF(message, struct edge_loop, close));
}

static inline void world_close(struct join_world *world)
{
    struct edge_loop *state =
        http_loop_get(http_server_loop(world->edge.server, 0), EDGE_LOOP_SLOT);
    char path[EDGE_PAGE_PATH_BYTES];

    state->close.run = world_loop_close;
    http_loop_send(state->loop, &state->close);
    join_stop(world->edge.join);
    http_server_stop(world->edge.server);
    targets_free(state);
    memory_release(state);
    http_server_destroy(world->edge.server);
    join_close(world->edge.join);
    for (uint32_t i = 0; i < WORLD_SLOTS; i++) {
        edge_page_path(&world->slots[i], path);
        shared_page_destroy(world->slots[i].page, path);
    }
    runtime_adapters_deinit(&world->edge.adapters);
    config_store_deinit(&world->edge.configs);
    (void)unlink(world->file);
    (void)rmdir(world->folder);
}

#endif
