/* The stored keys behind an atomic pointer
 *
 *   state database --(identity thread: has changed? load)--> struct key_table --(release)--> keys
 *                                                                                              |
 *   loop: authenticate --(acquire)-------------------------------------------------------------+
 *
 * A table is immutable; the one that was replaced is freed when every loop has passed a quiet point. A revoked key is
 * therefore refused within POLL_NS of the commit that revoked it; a key's end by time needs no swap, as each entry
 * carries it. */
#include "identity.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "clock.h"
#include "issuers.h"
#include "key_store.h"
#include "leader.h"
#include "log.h"
#include "loops_passed.h"
#include "memory.h"
#include "ring.h"
#include "scope.h"
#include "spend_book.h"
#include "thread.h"
#include "token_identity.h"

#define WRITE_NS  NS_PER_SECOND
#define WANT_NS   (20 * NS_PER_MS) /* between writes that a budget near its end asks for */
#define SWEEP_NS  (3600 * NS_PER_SECOND)
#define KEPT_DAYS 30u /* of secrets that have ended, for whoever looks at the table */
#define DAY_S     86400u
#define POLL_NS   (200 * NS_PER_MS) /* revoked within a second, with room for a slow disk */

struct identity {
    state_database *database; /* owned; NULL: none. The thread's, once it runs */
    _Atomic(struct key_table *)
        keys;                 /* release by the thread, acquire by loops; NULL: no database */
    struct issuers *issuers;  /* owned */
    struct spend_book *spent; /* owned */
    leader *leader;           /* owned; the thread's, but for asking */
    uint64_t written_ns,
        swept_ns; /* when what is spent was written last, and what is old deleted; the thread's */
    http_server *server;
    pthread_t thread;
    struct parking parking;
    bool is_running;
    _Atomic bool is_writer;   /* of what is spent; release by main, acquire by the thread */
    _Atomic bool is_stopping; /* release by main, acquire by the thread */
    bool is_unwritten;        /* what is spent could not be written; the thread's */
    _Atomic bool is_failing;  /* the last look at the database has failed */
};

/* --- the thread --- */

static void keys_retire(void *table)
{
    key_table_destroy(table);
}

static status keys_reload(struct identity *identity, struct error_note *note)
{
    loops_passed *passed = NULL;
    struct key_table *fresh = NULL, *old;
    status result = key_store_load(identity->database, clock_wall_ms() / 1000, &fresh, note);

    if (result != STATUS_OK)
        return result;
    result = loops_passed_create(identity->server, &passed);
    if (result != STATUS_OK) {
        key_table_destroy(fresh);
        return result;
    }
    log_info("gateway/identity", "the stored keys have changed: %u are good",
             key_table_count(fresh));
    old = atomic_exchange_explicit(&identity->keys, fresh, memory_order_acq_rel);
    loops_passed_then(passed, keys_retire, old);
    return STATUS_OK;
}

/* A failure is tried again at each look, and told once. */
static void keys_look(struct identity *identity)
{
    struct error_note note = {""};
    bool has_changed = false;
    status result = state_database_has_changed(identity->database, &has_changed, &note);

    if (result == STATUS_OK && (has_changed || identity->is_failing))
        result = keys_reload(identity, &note);
    if (result != STATUS_OK && !identity->is_failing)
        log_error("gateway/identity", "%s; the keys stay as they were",
                  note.text[0] != '\0' ? note.text : status_name(result));
    identity->is_failing = result != STATUS_OK;
}

static bool wait(struct identity *identity)
{
    uint32_t ticket = parking_prepare(&identity->parking);
    bool is_stopping = atomic_load_explicit(&identity->is_stopping, memory_order_acquire);

    if (is_stopping)
        parking_cancel(&identity->parking);
    else
        parking_wait(&identity->parking, ticket,
                     spend_book_is_wanting(identity->spent) ? WANT_NS : POLL_NS);
    return !is_stopping;
}

static void spent_write(struct identity *identity)
{
    struct error_note note = {""};
    status result;

    identity->written_ns = clock_now_ns();
    if (!atomic_load_explicit(&identity->is_writer, memory_order_acquire))
        return;
    result = spend_book_tick(identity->spent, identity->database, clock_wall_ms() / 1000, &note);
    if (result != STATUS_OK && !identity->is_unwritten)
        log_error("gateway/identity", "%s; what is spent is kept beside it and tried again",
                  note.text[0] != '\0' ? note.text : status_name(result));
    identity->is_unwritten = result != STATUS_OK;
}

/* One transaction, which ends with nothing where another gateway leads by now. */
static status sweep(struct identity *identity, uint64_t now_s, struct error_note *note)
{
    status result = state_database_begin(identity->database, note);

    if (result != STATUS_OK)
        return result;
    result = leader_confirm(identity->leader, identity->database, note);
    if (result == STATUS_OK)
        result = key_store_sweep(identity->database, now_s - KEPT_DAYS * DAY_S, note);
    if (result == STATUS_OK)
        result = spend_sweep(identity->database, now_s, note);
    if (result == STATUS_OK)
        return state_database_commit(identity->database, note);
    state_database_roll_back(identity->database);
    return result;
}

static void sweep_sometimes(struct identity *identity)
{
    struct error_note note = {""};
    uint64_t now_ns = clock_now_ns();

    if (!leader_is(identity->leader, now_ns) ||
        (identity->swept_ns != 0 && now_ns - identity->swept_ns < SWEEP_NS))
        return;
    identity->swept_ns = now_ns;
    if (sweep(identity, clock_wall_ms() / 1000, &note) != STATUS_OK)
        log_warn("gateway/identity", "what is past its time stays for now: %s", note.text);
}

static bool must_write(const struct identity *identity)
{
    uint64_t passed_ns = clock_now_ns() - identity->written_ns;

    return passed_ns >= (spend_book_is_wanting(identity->spent) ? WANT_NS : WRITE_NS);
}

static void *identity_run(void *context)
{
    struct identity *identity = context;

    while (wait(identity)) {
        if (identity->database != NULL) {
            keys_look(identity);
            leader_tick(identity->leader, identity->database, clock_now_ns());
            sweep_sometimes(identity);
        }
        if (must_write(identity))
            spent_write(identity);
    }
    spent_write(identity);
    if (identity->database != NULL)
        leader_resign(identity->leader, identity->database);
    return NULL;
}

/* --- life --- */

static void on_wanting(void *context)
{
    parking_signal(&((struct identity *)context)->parking);
}

static status spent_open(struct identity *identity, const struct config *config, bool is_successor,
                         struct error_note *note)
{
    const struct spend_sharing sharing = {.share = config->state.share,
                                          .hold_ms = config->state.lease_ns / NS_PER_MS};
    char file[PATH_MAX];
    bool has_file = state_spool_path(&config->state, "spent", file, sizeof(file));
    status result = (is_successor ? spend_book_take_over : spend_book_open)(
        has_file ? file : NULL, identity->database, &sharing, clock_wall_ms() / 1000,
        &identity->spent, note);

    atomic_init(&identity->is_writer, !is_successor);
    if (result == STATUS_OK)
        spend_book_on_wanting(identity->spent, on_wanting, identity);
    return result;
}

const leader *identity_leader(const struct identity *identity)
{
    return identity->leader;
}

bool identity_is_away(const struct identity *identity)
{
    return identity->is_failing;
}

struct spend_book *identity_spent(const struct identity *identity)
{
    return identity->spent;
}

status identity_open(const struct config *config, bool is_successor, struct identity **out,
                     struct error_note *note)
{
    struct identity *identity = memory_allocate_array(1, sizeof(*identity));
    struct key_table *keys = NULL;
    status result = STATUS_OK;

    if (identity == NULL)
        return STATUS_NO_MEMORY;
    if (config_keeps_state(&config->state))
        result = state_database_open_waiting(&config->state, &identity->database, note);
    if (result == STATUS_OK)
        result = leader_create(identity->database, config->state.lease_ns / NS_PER_MS,
                               &identity->leader);
    if (result == STATUS_OK && identity->database != NULL)
        result = key_store_load(identity->database, clock_wall_ms() / 1000, &keys, note);
    atomic_init(&identity->keys, keys);
    if (result == STATUS_OK)
        result = issuers_open(config, &identity->issuers, note);
    if (result == STATUS_OK)
        result = spent_open(identity, config, is_successor, note);
    if (result != STATUS_OK) {
        identity_close(identity);
        return result;
    }
    *out = identity;
    return STATUS_OK;
}

status identity_start(struct identity *identity, http_server *server)
{
    status result;

    identity->server = server;
    result = issuers_start(identity->issuers, server);
    if (result != STATUS_OK)
        return result;
    result = thread_start(&identity->thread, "identity", identity_run, identity);
    identity->is_running = result == STATUS_OK;
    return result;
}

void identity_own(struct identity *identity)
{
    atomic_store_explicit(&identity->is_writer, true, memory_order_release);
}

void identity_disown(struct identity *identity)
{
    atomic_store_explicit(&identity->is_writer, false, memory_order_release);
}

bool identity_is_ready(const struct identity *identity)
{
    return issuers_are_asked(identity->issuers);
}

void identity_stop(struct identity *identity)
{
    if (identity == NULL)
        return;
    issuers_stop(identity->issuers);
    if (!identity->is_running)
        return;
    atomic_store_explicit(&identity->is_stopping, true, memory_order_release);
    parking_signal(&identity->parking);
    (void)pthread_join(identity->thread, NULL);
    identity->is_running = false;
}

void identity_close(struct identity *identity)
{
    if (identity == NULL)
        return;
    key_table_destroy(atomic_load_explicit(&identity->keys, memory_order_relaxed));
    spend_book_close(identity->spent);
    leader_destroy(identity->leader);
    state_database_close(identity->database);
    issuers_close(identity->issuers);
    memory_release(identity);
}

/* --- callers --- */

/* One block for the caller and all its texts, which a reload or a revocation may take from under it. */
static struct caller *caller_make(http_request *request, const struct key_identity *key,
                                  const char *tenant)
{
    const char *texts[] = {key->id,   key->organisation, key->team,
                           key->name, key->models,       key->organisation};
    const char *copies[ARRAY_COUNT(texts)];
    size_t lengths[ARRAY_COUNT(texts)], bytes = sizeof(struct caller);
    struct caller *caller;
    char *at;

    for (size_t i = 0; i < ARRAY_COUNT(texts); i++)
        bytes += lengths[i] = strlen(texts[i]) + 1;
    caller = http_request_allocate(request, bytes + strlen(tenant) + 1);
    at = (char *)(caller + 1);
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        copies[i] = memcpy(at, texts[i], lengths[i]);
        at += lengths[i];
    }
    /* The last copy goes on as "organisation/tenant". */
    at[-1] = '/';
    (void)stpcpy(at, tenant);
    *caller = (struct caller){
        .key_id = copies[0],
        .organisation = copies[1],
        .team = copies[2],
        .name = copies[3],
        .models = copies[4],
        .tenant = key->organisation[0] != '\0' ? copies[5] : at,
        .scopes = key->scopes,
        .organisation_weight = CALLER_WEIGHT_DEFAULT,
        .team_weight = CALLER_WEIGHT_DEFAULT,
        .key_weight = key->weight,
        .priority_max = key->priority_max,
        .ttft_slo_ns = key->ttft_slo_ns,
    };
    return caller;
}

/* NULL: nobody's key. */
static struct caller *caller_of_key(const struct identity *identity,
                                    const struct key_table *static_keys, http_request *request,
                                    struct text_slice shown, uint64_t now_s)
{
    const struct key_identity *key;
    uint8_t hash[KEY_HASH_BYTES];

    if (!key_hash(shown, hash))
        return NULL;
    key = key_table_find(static_keys, hash, now_s);
    if (key == NULL)
        key = key_table_find(atomic_load_explicit(&identity->keys, memory_order_acquire), hash,
                             now_s);
    return key != NULL ? caller_make(request, key, key->name) : NULL;
}

static status caller_of_token(const struct identity *identity, http_request *request,
                              struct text_slice token, uint64_t now_s, struct caller **out,
                              const char **why)
{
    const struct config_issuer *issuer;
    struct token_identity made;
    json_t *claims = NULL;
    status result = issuers_verify(identity->issuers, token, now_s, &issuer, &claims, why);

    if (result != STATUS_OK)
        return result;
    result = token_identity_read(&made, issuer, claims, why);
    if (result == STATUS_OK)
        *out = caller_make(request, &made.key, made.key.id);
    json_decref(claims);
    return result;
}

/* NULL: none was shown, or its time is over since. */
static struct caller *caller_of_certificate(http_request *request, uint64_t now_s)
{
    const struct http_certificate *certificate = http_request_certificate(request);
    char id[sizeof("cert:") + HTTP_CERTIFICATE_NAME_BYTES];

    if (certificate == NULL || certificate->name[0] == '\0' || now_s >= certificate->end_s)
        return NULL;
    (void)snprintf(id, sizeof(id), "cert:%s", certificate->name);
    const struct key_identity key = {
        .id = id,
        .organisation = certificate->organisation,
        .team = certificate->unit,
        .name = certificate->name,
        .models = "",
        .scopes = SCOPE_DEFAULT,
        .weight = CALLER_WEIGHT_DEFAULT,
    };
    return caller_make(request, &key, id);
}

status identity_authenticate(const struct identity *identity, const struct config *config,
                             const struct key_table *static_keys, http_request *request,
                             const struct caller **out, const char **why)
{
    struct text_slice shown = http_request_header(request, "authorization");
    uint64_t now_s = clock_wall_ms() / 1000;
    struct caller *caller;

    *why = NULL;
    if (!config_asks_for_keys(config)) {
        *out = &caller_anonymous;
        return STATUS_OK;
    }
    shown = shown.data != NULL ? key_of_bearer(shown) : http_request_header(request, "x-api-key");
    if (shown.data == NULL && http_request_header(request, "authorization").data == NULL)
        caller = caller_of_certificate(request, now_s);
    else
        caller = caller_of_key(identity, static_keys, request, shown, now_s);
    if (caller == NULL && config->auth.jwt.count > 0 && jwt_is_like(shown)) {
        status result = caller_of_token(identity, request, shown, now_s, &caller, why);

        if (result != STATUS_OK)
            return result;
    }
    if (caller == NULL)
        return STATUS_DENIED;
    caller_weigh(&config->tenants, caller);
    *out = caller;
    return STATUS_OK;
}

void caller_weigh(const struct config_tenants *config, struct caller *caller)
{
    const struct config_group *groups = config->groups.items;

    for (uint32_t i = 0; i < config->groups.count; i++) {
        if (strcmp(groups[i].organisation, caller->organisation) != 0)
            continue;
        if (groups[i].team[0] == '\0')
            caller->organisation_weight = (uint32_t)groups[i].weight;
        else if (strcmp(groups[i].team, caller->team) == 0)
            caller->team_weight = (uint32_t)groups[i].weight;
    }
}

bool caller_may_use(const struct caller *caller, const char *model)
{
    return patterns_match(caller->models, model);
}
