#include "upstream.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "control.h"
#include "edge_admission.h"
#include "http_fetch.h"
#include "log.h"
#include "memory.h"
#include "thread.h"
#include "upstream_headers.h"
#include "upstream_metrics.h"

#define KEY_BYTES_MAX    4096u
#define ANSWER_BYTES_MAX (4u << 20) /* of /v1/models and /metrics */
#define FETCH_TIMEOUT_NS (2 * NS_PER_SECOND)
/* So many unanswered questions in a row, and it is taken to be gone: one may be lost. */
#define FAILURE_COUNT_MAX 2u
#define BEARER            "Bearer "

/* --- the key --- */

/* Without the white space around it; false: it has none, or something that cannot stand in a header. */
static bool key_take(struct edge_upstream *upstream, const char *text, size_t bytes)
{
    while (bytes > 0 && isspace((unsigned char)text[bytes - 1]))
        bytes--;
    while (bytes > 0 && isspace((unsigned char)*text)) {
        text++;
        bytes--;
    }
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] <= ' ' || text[i] >= 0x7f)
            return false;
    }
    if (bytes == 0 || bytes > KEY_BYTES_MAX)
        return false;
    upstream->authorization = memory_allocate_array(1, sizeof(BEARER) + bytes);
    if (upstream->authorization == NULL)
        return false;
    memcpy(upstream->authorization, BEARER, sizeof(BEARER) - 1);
    memcpy(upstream->authorization + sizeof(BEARER) - 1, text, bytes);
    return true;
}

static status key_file_read(struct edge_upstream *upstream, const char *path,
                            struct error_note *note)
{
    char text[KEY_BYTES_MAX + 64];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t bytes = fd >= 0 ? read(fd, text, sizeof(text)) : -1;
    bool is_good;

    if (fd >= 0)
        close(fd);
    if (bytes < 0) {
        error_note_set(note, "the key file %s: %s", path, strerrordesc_np(errno));
        return STATUS_IO;
    }
    is_good = key_take(upstream, text, (size_t)bytes);
    OPENSSL_cleanse(text, sizeof(text));
    if (!is_good)
        error_note_set(note, "the key file %s has no key of 1 to %u characters", path,
                       KEY_BYTES_MAX);
    return is_good ? STATUS_OK : STATUS_INVALID;
}

static status key_read(struct edge_upstream *upstream, const struct config_model_upstream *row,
                       struct error_note *note)
{
    const char *value;

    if (row->api_key_file[0] != '\0')
        return key_file_read(upstream, row->api_key_file, note);
    if (row->api_key_env[0] == '\0')
        return STATUS_OK;
    value = getenv(row->api_key_env);
    if (value != NULL && key_take(upstream, value, strlen(value)))
        return STATUS_OK;
    error_note_set(note, "the environment variable %s holds no key", row->api_key_env);
    return STATUS_INVALID;
}

/* --- watching --- */

static void state_set(struct edge_upstream *upstream, enum replica_state state,
                      const struct error_note *note)
{
    struct edge_replica *replica = upstream->replica;
    enum replica_state before = edge_replica_state(replica);

    if (state == before)
        return;
    atomic_store_explicit(&replica->state_since_ns, clock_now_ns(), memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&replica->generation, state == REPLICA_READY,
                                    memory_order_relaxed);
    if (state == REPLICA_READY)
        prefix_memory_clear(upstream->sent);
    atomic_store_explicit(&replica->state, state, memory_order_release);
    log_write(state == REPLICA_READY ? LOG_INFO : LOG_WARN, "gateway/edge",
              "upstream %s (%s): %s -> %s%s%s", replica->model->name, replica->address,
              replica_state_name(before), replica_state_name(state),
              note->text[0] != '\0' ? ": " : "", note->text);
    edge_slots_update(upstream->edge, replica->model);
    control_wake_loops(upstream->edge);
}

/* A GET with the key; true: answered with 200. */
static bool ask(const struct edge_upstream *upstream, const char *path, struct buffer *body,
                struct error_note *note)
{
    const struct http_header key = {text_slice_of("authorization"),
                                    text_slice_of(upstream->authorization)};
    const struct http_fetch fetch = {.headers = &key,
                                     .header_count = upstream->authorization != NULL ? 1 : 0,
                                     .timeout_ns = FETCH_TIMEOUT_NS};
    int code = 0;

    buffer_clear(body);
    if (http_remote_fetch(upstream->remote, path, &fetch, &code, body, note) != STATUS_OK)
        return false;
    if (code != 200)
        error_note_set(note, "%s is answered with %d", path, code);
    return code == 200;
}

/* What is there beside our own requests. */
static void load_take(struct edge_upstream *upstream, const struct upstream_load *load)
{
    uint32_t all = load->running + load->waiting;
    uint32_t ours = atomic_load_explicit(&upstream->replica->outstanding, memory_order_relaxed);
    uint32_t others = all > ours ? all - ours : 0;

    atomic_store_explicit(&upstream->others, others, memory_order_relaxed);
    atomic_store_explicit(&upstream->waiting, load->waiting < others ? load->waiting : others,
                          memory_order_relaxed);
}

static void look(struct edge_upstream *upstream)
{
    struct error_note note = {""};
    struct upstream_load load;
    struct buffer body;
    bool is_there;

    buffer_init(&body, ANSWER_BYTES_MAX);
    is_there = http_remote_resolve(upstream->remote, &note) == STATUS_OK &&
               ask(upstream, upstream->takes_v1 ? "/v1/models" : "/models", &body, &note);
    upstream->failure_count = is_there ? 0 : upstream->failure_count + 1;
    if (is_there)
        state_set(upstream, REPLICA_READY, &(struct error_note){""});
    else if (upstream->failure_count >= FAILURE_COUNT_MAX ||
             edge_replica_state(upstream->replica) != REPLICA_READY)
        state_set(upstream, REPLICA_BACKING_OFF, &note);
    /* Metrics are at the server's root; who has none is measured by what we have sent. */
    if (is_there && upstream->takes_v1 && ask(upstream, "/metrics", &body, &note) &&
        upstream_metrics_read(buffer_slice(&body), &load))
        load_take(upstream, &load);
    buffer_deinit(&body);
}

static void *watch(void *context)
{
    struct edge_upstream *upstream = context;
    struct pollfd stop = {.fd = upstream->stop_fd, .events = POLLIN};

    do
        look(upstream);
    while (poll(&stop, 1, (int)(upstream->interval_ns / NS_PER_MS)) == 0);
    return NULL;
}

/* --- life --- */

status edge_upstream_create(struct edge *edge, struct edge_replica *replica,
                            const struct config_model *row, const char *url_text,
                            struct error_note *note)
{
    struct edge_upstream *upstream = memory_allocate_array(1, sizeof(*upstream));
    struct http_url url;
    status result = upstream != NULL ? http_url_parse(url_text, &url, note) : STATUS_NO_MEMORY;

    if (upstream == NULL)
        return result;
    replica->upstream = upstream;
    upstream->edge = edge;
    upstream->replica = replica;
    upstream->model = row->upstream.model[0] != '\0' ? row->upstream.model : row->name;
    upstream->interval_ns = row->upstream.health_interval_ns;
    upstream->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (result == STATUS_OK) {
        size_t bytes = strlen(url.prefix);

        upstream->takes_v1 = bytes < 3 || strcmp(url.prefix + bytes - 3, "/v1") != 0;
        result = key_read(upstream, &row->upstream, note);
    }
    if (result == STATUS_OK && upstream->stop_fd < 0)
        result = STATUS_IO;
    if (result == STATUS_OK && (upstream->sent = prefix_memory_create()) == NULL)
        result = STATUS_NO_MEMORY;
    if (result == STATUS_OK)
        result = http_remote_create(&url, row->upstream.ca_file, &upstream->remote, note);
    if (result == STATUS_OK)
        atomic_init(&replica->state, REPLICA_STARTING);
    return result;
}

status edge_upstream_start(struct edge_upstream *upstream)
{
    status result = thread_start(&upstream->thread, "upstream", watch, upstream);

    upstream->has_thread = result == STATUS_OK;
    return result;
}

void edge_upstream_end(struct edge_upstream *upstream)
{
    (void)eventfd_write(upstream->stop_fd, 1);
}

void edge_upstream_join(struct edge_upstream *upstream)
{
    if (upstream->has_thread)
        (void)pthread_join(upstream->thread, NULL);
    upstream->has_thread = false;
}

void edge_upstream_destroy(struct edge_upstream *upstream)
{
    if (upstream == NULL)
        return;
    http_remote_destroy(upstream->remote);
    prefix_memory_destroy(upstream->sent);
    if (upstream->authorization != NULL)
        OPENSSL_cleanse(upstream->authorization, strlen(upstream->authorization));
    memory_release(upstream->authorization);
    if (upstream->stop_fd >= 0)
        close(upstream->stop_fd);
    memory_release(upstream);
}

/* --- requests --- */

const char *edge_upstream_path(const struct edge_upstream *upstream, http_request *request,
                               const char *path)
{
    const char *prefix = http_remote_prefix(upstream->remote);
    const char *rest =
        !upstream->takes_v1 && strncmp(path, "/v1/", 4) == 0 ? path + strlen("/v1") : path;
    char *out;

    if (prefix[0] == '\0')
        return rest;
    out = http_request_allocate(request, strlen(prefix) + strlen(rest) + 1);
    (void)stpcpy(stpcpy(out, prefix), rest);
    return out;
}

size_t edge_upstream_headers(const struct edge_upstream *upstream, http_request *request,
                             struct http_header *out)
{
    size_t count = upstream_headers_make_foreign(request, out);

    if (upstream->authorization != NULL)
        out[count++] = (struct http_header){text_slice_of("authorization"),
                                            text_slice_of(upstream->authorization)};
    return count;
}
