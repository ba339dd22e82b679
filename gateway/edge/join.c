/* How a replica on another machine comes to its gateway
 *
 *   control    join_order: a token for this uid, good once and for as long as a start may take; it goes with the order
 *   member     starts `penstock replica --join` there with the order's environment
 *   replica    makes a key of its own, binds a port, and registers: token, pin of its key, address
 *   gateway    answers with a session, the config's text, the model: the slot has a link now
 *   replica    loads, and reports until it ends; the reports become the slot's page, and events for the control thread
 *   control    join_forget when it has ended, or is given up: the link goes, and with it what was sent over it
 *
 * Who is who. The order travels over the member's own API, which is trusted to start programs anyway. It has the pin of the gateway's
 * key, so the token is shown to nobody else; the token says which replica this is; over that connection the replica tells its own pin, so
 * requests go to nobody else; and the session, which it is told then, is shown with each of them and with each report. No
 * authority, no file with a key, nothing that outlives a replica.
 *
 * Threads. The listener is a server of its own with one loop: its clients are few and of one kind, what they say must be heard while
 * the API drains, and nothing of it should wait for requests, or they for it. What it shares with the control thread
 * is under one lock, held for microseconds. Loops that send requests look at the atomic number of a slot's link, and come here
 * only when it has changed (targets.c). */
#include "join.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "clock.h"
#include "control.h"
#include "hash.h"
#include "hex.h"
#include "join_private.h"
#include "log.h"
#include "memory.h"

#define KEY_RANDOM_BYTES   32u
#define ID_DIGITS          8u
#define KEY_TEXT_BYTES     (ID_DIGITS + 1 + 2 * KEY_RANDOM_BYTES)
#define TEXT_BYTES_MAX     (1u << 20) /* of a config */
#define BUFFERED_BYTES_MAX (64ull << 20)
#define BODY_TIMEOUT_NS    (10 * NS_PER_SECOND)
#define IDLE_TIMEOUT_NS    (60 * NS_PER_SECOND) /* replicas speak every quarter of a second */

_Static_assert(KEY_TEXT_BYTES < JOIN_KEY_BYTES, "a key fits its text");

/* --- links --- */

void replica_link_release(struct replica_link *link)
{
    /* acq_rel: who destroys it sees what the others did with it. */
    if (link == NULL || atomic_fetch_sub_explicit(&link->count, 1, memory_order_acq_rel) > 1)
        return;
    http_remote_destroy(link->remote);
    memory_release(link);
}

struct replica_link *join_link(struct edge *edge, const struct edge_replica *replica)
{
    struct join *join = edge->join;
    struct replica_link *link;

    if (join == NULL)
        return NULL;
    pthread_mutex_lock(&join->lock);
    link = join->slots[replica->id].link;
    if (link != NULL)
        (void)atomic_fetch_add_explicit(&link->count, 1, memory_order_relaxed);
    pthread_mutex_unlock(&join->lock);
    return link;
}

/* --- keys --- */

void join_key_make(const struct join *join, const struct join_slot *slot, char out[JOIN_KEY_BYTES])
{
    unsigned char secret[KEY_RANDOM_BYTES];
    int at = snprintf(out, JOIN_KEY_BYTES, "%08x-", join_slot_id(join, slot));

    random_bytes(secret, sizeof(secret));
    for (size_t i = 0; i < sizeof(secret); i++)
        at += snprintf(out + at, JOIN_KEY_BYTES - (size_t)at, "%02x", secret[i]);
    OPENSSL_cleanse(secret, sizeof(secret));
}

/* The slot that the key names; NULL: it is no key. */
static struct join_slot *slot_named(struct join *join, struct text_slice key)
{
    uint32_t id = 0;

    if (key.bytes != KEY_TEXT_BYTES)
        return NULL;
    for (size_t i = 0; i < ID_DIGITS; i++) {
        int digit = hex_digit_value(key.data[i]);

        if (digit < 0)
            return NULL;
        id = id << 4 | (uint32_t)digit;
    }
    return id < join->edge->replica_count ? &join->slots[id] : NULL;
}

static bool is_key(const char *known, struct text_slice shown)
{
    return known[0] != '\0' && CRYPTO_memcmp(known, shown.data, KEY_TEXT_BYTES) == 0;
}

struct join_slot *join_slot_of_token(struct join *join, struct text_slice token, uint64_t now_ns)
{
    struct join_slot *slot = slot_named(join, token);

    return slot != NULL && is_key(slot->token, token) && now_ns < slot->token_until_ns ? slot
                                                                                       : NULL;
}

struct join_slot *join_slot_of_session(struct join *join, struct text_slice session)
{
    struct join_slot *slot = slot_named(join, session);

    return slot != NULL && is_key(slot->session, session) ? slot : NULL;
}

/* --- slots --- */

static struct edge_replica *replica_of(const struct join *join, const struct join_slot *slot)
{
    return edge_replica_at(join->edge, join_slot_id(join, slot));
}

status join_slot_take(struct join *join, struct join_slot *slot, const char *address,
                      const char *pin, struct error_note *note)
{
    struct edge_replica *replica = replica_of(join, slot);
    struct replica_link *link = memory_allocate_array(1, sizeof(*link));
    char path[EDGE_PAGE_PATH_BYTES], session[JOIN_KEY_BYTES];
    status result;

    if (link == NULL)
        return STATUS_NO_MEMORY;
    join_key_make(join, slot, session);
    const struct http_header secret = {text_slice_of(JOIN_SESSION_HEADER), text_slice_of(session)};
    result = http_remote_create_pinned(address, pin, &secret, &link->remote, note);
    if (result == STATUS_OK) {
        edge_page_path(replica, path);
        result = shared_page_writer_open(path, &slot->page);
        if (result != STATUS_OK)
            error_note_set(note, "its page cannot be opened: %s", strerror(errno));
    }
    if (result != STATUS_OK) {
        http_remote_destroy(link->remote);
        memory_release(link);
        return result;
    }
    link->number = ++join->link_count;
    atomic_init(&link->count, 1);
    slot->link = link;
    slot->token[0] = slot->reason[0] = '\0';
    slot->beat_number = 0;
    memcpy(slot->session, session, sizeof(session));
    (void)snprintf(slot->address, sizeof(slot->address), "%s", address);
    atomic_store_explicit(&replica->link, link->number, memory_order_release);
    return STATUS_OK;
}

/* Whether there was a link. Under the lock. */
static bool slot_clear(struct join *join, struct join_slot *slot)
{
    bool had_link = slot->link != NULL;

    atomic_store_explicit(&replica_of(join, slot)->link, 0, memory_order_release);
    replica_link_release(slot->link);
    if (slot->page != NULL)
        shared_page_writer_clear(slot->page);
    shared_page_writer_close(slot->page);
    OPENSSL_cleanse(slot->token, sizeof(slot->token));
    OPENSSL_cleanse(slot->session, sizeof(slot->session));
    slot->uid = 0;
    slot->link = NULL;
    slot->page = NULL;
    slot->address[0] = '\0';
    return had_link;
}

static void variable_append(struct buffer *out, const char *name, const char *value)
{
    buffer_append_format(out, "%s=%s", name, value);
    buffer_append_byte(out, '\0');
}

status join_order(struct edge *edge, struct edge_replica *replica, uint64_t uid,
                  struct buffer *environment)
{
    struct join *join = edge->join;
    struct join_slot *slot;
    char seconds[24];
    bool had_link;

    if (join == NULL)
        return STATUS_UNSUPPORTED;
    slot = &join->slots[replica->id];
    pthread_mutex_lock(&join->lock);
    had_link = slot_clear(join, slot);
    join_key_make(join, slot, slot->token);
    slot->uid = uid;
    slot->token_until_ns = clock_now_ns() + join->token_ns;
    buffer_append_format(environment, "%s=https://%s", JOIN_URL_VARIABLE, join->authority);
    buffer_append_byte(environment, '\0');
    variable_append(environment, JOIN_PIN_VARIABLE, http_self_signed_pin(join->identity));
    variable_append(environment, JOIN_TOKEN_VARIABLE, slot->token);
    (void)snprintf(seconds, sizeof(seconds), "%llu",
                   (unsigned long long)((join->token_ns + NS_PER_SECOND - 1) / NS_PER_SECOND));
    variable_append(environment, JOIN_TIMEOUT_VARIABLE, seconds);
    pthread_mutex_unlock(&join->lock);
    if (had_link)
        control_wake_loops(edge);
    return environment->failed;
}

void join_forget(struct edge *edge, struct edge_replica *replica, uint64_t uid)
{
    struct join *join = edge->join;
    bool had_link = false;

    if (join == NULL || uid == 0)
        return;
    pthread_mutex_lock(&join->lock);
    if (join->slots[replica->id].uid == uid)
        had_link = slot_clear(join, &join->slots[replica->id]);
    pthread_mutex_unlock(&join->lock);
    if (had_link) /* loops let go of it */
        control_wake_loops(edge);
}

void join_facts_get(struct edge *edge, const struct edge_replica *replica, struct join_facts *out)
{
    struct join *join = edge->join;

    *out = (struct join_facts){"", ""};
    if (join == NULL)
        return;
    pthread_mutex_lock(&join->lock);
    memcpy(out->address, join->slots[replica->id].address, sizeof(out->address));
    memcpy(out->reason, join->slots[replica->id].reason, sizeof(out->reason));
    pthread_mutex_unlock(&join->lock);
}

/* --- the config --- */

status join_set_config(struct join *join, struct text_slice text, bool changes_replicas)
{
    char *copy, *old;

    if (join == NULL)
        return STATUS_OK;
    CHECK(text.bytes <= TEXT_BYTES_MAX);
    copy = memory_allocate(text.bytes + 1);
    if (copy == NULL)
        return STATUS_NO_MEMORY;
    memcpy(copy, text.data, text.bytes);
    copy[text.bytes] = '\0';
    pthread_mutex_lock(&join->lock);
    old = join->text;
    join->text = copy;
    join->text_bytes = text.bytes;
    join->text_number += changes_replicas;
    pthread_mutex_unlock(&join->lock);
    memory_release(old);
    return STATUS_OK;
}

/* --- life --- */

/* pool.advertise, or pool.listen with the port that it got; the former may lack a port. */
static void authority_make(struct join *join, const struct config_pool *pool)
{
    const char *text = pool->advertise[0] != '\0' ? pool->advertise : pool->listen;
    const char *bracket = strrchr(text, ']'), *colon = strrchr(text, ':');
    bool has_port = colon != NULL && (bracket == NULL || colon > bracket);
    size_t host_bytes = has_port ? (size_t)(colon - text) : strlen(text);

    if (has_port && pool->advertise[0] != '\0')
        (void)snprintf(join->authority, sizeof(join->authority), "%s", text);
    else
        (void)snprintf(join->authority, sizeof(join->authority), "%.*s:%u", (int)host_bytes, text,
                       http_server_port(join->server, 0));
}

static status server_open(struct join *join, const struct config *config, struct error_note *note)
{
    struct http_limits limits = config_http_limits(config);
    const struct http_listener_options listener = {.address = config->pool.listen,
                                                   .identity = join->identity,
                                                   .handler = join_handle,
                                                   .context = join};
    struct http_server_options options = {
        .loop_count = 1, .listeners = &listener, .listener_count = 1, .server_name = "penstock"};

    limits.body_bytes_max = heartbeat_bytes_max();
    limits.upload_bytes_max = limits.buffered_bytes_max = BUFFERED_BYTES_MAX;
    limits.body_timeout_ns = limits.header_timeout_ns = BODY_TIMEOUT_NS;
    limits.idle_timeout_ns = IDLE_TIMEOUT_NS;
    limits.response_buffer_bytes_max = BUFFERED_BYTES_MAX;
    options.limits = limits;
    return http_server_create(&options, &join->server, note);
}

static status join_fill(struct join *join, const struct config *config, struct error_note *note)
{
    status result = http_self_signed_create(&join->identity, note);

    join->token_ns = config->supervise.start_timeout_ns;
    if (realpath(config->file, join->file) == NULL)
        (void)snprintf(join->file, sizeof(join->file), "%s", config->file);
    join->slots = memory_allocate_array(join->edge->replica_count, sizeof(join->slots[0]));
    if (join->slots == NULL)
        return STATUS_NO_MEMORY;
    if (result == STATUS_OK)
        result = server_open(join, config, note);
    if (result != STATUS_OK) {
        error_note_prefix(note, "pool.listen");
        return result;
    }
    authority_make(join, &config->pool);
    return join_set_config(join, config->text, false);
}

status join_open(struct edge *edge, const struct config *config, bool has_model_path,
                 struct join **out, struct error_note *note)
{
    struct join *join;
    status result;
    int rc;

    *out = NULL;
    if (config->pool.listen[0] == '\0')
        return STATUS_OK;
    join = memory_allocate_array(1, sizeof(*join));
    if (join == NULL)
        return STATUS_NO_MEMORY;
    rc = pthread_mutex_init(&join->lock, NULL);
    CHECK(rc == 0);
    join->edge = edge;
    join->has_model_path = has_model_path;
    result = join_fill(join, config, note);
    if (result != STATUS_OK) {
        join_close(join);
        return result;
    }
    *out = join;
    return STATUS_OK;
}

status join_start(struct join *join, const struct join_sink *sink)
{
    status result;

    if (join == NULL)
        return STATUS_OK;
    join->sink = *sink;
    result = http_server_start(join->server, NULL, NULL);
    if (result == STATUS_OK)
        log_info("gateway/edge", "replicas on other machines register at %s (port %u)",
                 join->authority, http_server_port(join->server, 0));
    return result;
}

void join_stop(struct join *join)
{
    if (join != NULL)
        http_server_stop(join->server);
}

void join_close(struct join *join)
{
    if (join == NULL)
        return;
    http_server_destroy(join->server);
    for (uint32_t id = 0; join->slots != NULL && id < join->edge->replica_count; id++)
        (void)slot_clear(join, &join->slots[id]);
    memory_release(join->slots);
    memory_release(join->text);
    http_self_signed_destroy(join->identity);
    (void)pthread_mutex_destroy(&join->lock);
    memory_release(join);
}

const char *join_authority(const struct join *join)
{
    return join->authority;
}
